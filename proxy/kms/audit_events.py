"""What an audit record says of a call to the key service: its parameters without secrets, and the keys it concerns.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/understanding-kms-entries.html
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from proxy.aws import arn
from proxy.aws.credentials import CallOrigin
from proxy.aws.errors import AwsError
from proxy.aws.json_codec import Values
from proxy.kms import blob, key_ids, model
from proxy.kms.audit import Call, Event, record_of, time_text
from proxy.kms.errors import KmsError
from proxy.kms.key_ids import AliasName
from proxy.kms.model import KeyName

if TYPE_CHECKING:
    from proxy.kms.service import KeyService

SOURCE: Final = "kms.amazonaws.com"

KEY: Final = "AWS::KMS::Key"
_ALIAS: Final = "AWS::KMS::Alias"

HIDDEN: Final = frozenset(
    (
        "AccessKeyId",
        "GrantToken",
        "GrantTokens",
        "KeyStorePassword",
        "XksProxyAuthenticationCredential",
        "CiphertextForRecipient",
        "Recipient",
    )
)
"""Members that give rights or are secret; so is every blob."""

_MAPS: Final = frozenset(
    (
        "EncryptionContext",
        "SourceEncryptionContext",
        "DestinationEncryptionContext",
        "EncryptionContextEquals",
        "EncryptionContextSubset",
    )
)
"""Members whose names are the client's own."""

_READING: Final = ("Describe", "Get", "List", "Generate")
_USING: Final = frozenset(("Encrypt", "Decrypt", "ReEncrypt", "Sign", "Verify", "VerifyMac", "DeriveSharedSecret"))

_KEY_MEMBERS: Final = ("KeyId", "TargetKeyId", "SourceKeyId", "DestinationKeyId")


@lru_cache(maxsize=128)
def is_read_only(operation: str) -> bool:
    """Whether CloudTrail calls the operation readOnly, which every use of a key is."""
    return operation.startswith(_READING) or operation in _USING


def shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """Members as CloudTrail has them: without blobs and secrets, names with a small first letter."""
    result = {}
    for name, value in values.items():
        if isinstance(value, bytes) or name in HIDDEN:
            continue
        result[_member(name)] = value if isinstance(value, str) or name in _MAPS else _shown_value(value)
    return result


@lru_cache(maxsize=512)
def _member(name: str) -> str:
    return name[0].lower() + name[1:]


def _shown_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return shown(value)
    if isinstance(value, list | tuple):
        return [_shown_value(item) for item in value if not isinstance(item, bytes)]
    return time_text(value) if isinstance(value, datetime) else value


def call_of(
    operation: str,
    request: Mapping[str, Any] | None,
    answer: Mapping[str, Any] | None,
    resources: Sequence[tuple[str, str]],
    error: AwsError | None,
) -> Call:
    """What the record says of a call. ``request`` and ``answer`` are as ``shown`` makes them; ``request`` is None when
    it could not be read."""
    read_only = is_read_only(operation)
    response = None
    if not read_only and error is None:
        response = answer
        if not response and resources:
            # As CloudTrail does since 2022-12, though the operation itself answers nothing.
            response = {"keyId": resources[-1][0]}
    return Call(SOURCE, operation, read_only, request or None, response, resources, error)


def event_of(
    operation: str,
    request: Mapping[str, Any] | None,
    answer: Mapping[str, Any] | None,
    resources: Sequence[tuple[str, str]],
    error: AwsError | None,
    origin: CallOrigin,
    now: datetime,
    random: Callable[[int], bytes],
) -> Event:
    """The whole record of a call: ``call_of`` and ``record_of``."""
    return record_of(call_of(operation, request, answer, resources, error), origin, now, random(16))


async def resources_of(
    service: "KeyService", origin: CallOrigin, request: Values, answer: Values
) -> tuple[tuple[str, str], ...]:
    """The aliases and keys that a call concerns: those that the answer names, else what the request names, as far as
    its form and the aliases tell."""
    known = answer.get("KeyId", "")
    if known.startswith("arn:") and "SourceKeyId" not in answer and "AliasName" not in request:
        return ((known, KEY),)
    found: dict[str, str] = {}
    if "AliasName" in request:
        found[model.alias_arn(origin.caller.account, origin.region, request["AliasName"])] = _ALIAS
    for member in ("SourceKeyId", "KeyId"):
        if arn.is_arn(answer.get(member, "")):
            found[answer[member]] = KEY
    for member in ("KeyMetadata", "ReplicaKeyMetadata"):
        if member in answer:
            found[answer[member]["Arn"]] = KEY
    if KEY not in found.values():
        for name in await _named_keys(service, origin, request):
            found[name.arn] = KEY
    return tuple(found.items())


async def _named_keys(service: "KeyService", origin: CallOrigin, request: Values) -> list[KeyName]:
    names: list[KeyName] = []
    try:
        if isinstance(request.get("CiphertextBlob"), bytes):
            parsed = blob.parse(request["CiphertextBlob"])
            if parsed.key.kind != blob.SERVICE_OWNED:
                names.append(KeyName(parsed.key.account, origin.region, parsed.key.key_id))
        for member in _KEY_MEMBERS:
            if member in request:
                named = key_ids.parse(request[member], origin)
                found = await _target(service, named) if isinstance(named, AliasName) else named
                names += [found] if found is not None and found not in names else []
        if "GrantToken" in request:
            account, region, key_id, _ = service.open_grant_token(request["GrantToken"]).split("/")
            names.append(KeyName(account, region, key_id))
    except KmsError:
        # What names no key has been refused; the record tells what was asked for.
        return names
    return names


async def _target(service: "KeyService", named: AliasName) -> KeyName | None:
    alias = await service.repository.alias(named.account, named.region, named.name)
    return None if alias is None else KeyName(alias.account, alias.region, alias.target)
