"""The condition keys of AWS KMS: which there are, and their values in a request.

Most of them speak of members of the request, which every call brings along (``CallOrigin.request``), or of the key.
Sources: https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html
https://docs.aws.amazon.com/service-authorization/latest/reference/list_awskeymanagementservice.html
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from proxy.aws import policy_keys
from proxy.aws.credentials import CallOrigin
from proxy.aws.policy_conditions import Quantifier
from proxy.aws.policy_keys import Circumstances, flag, optional
from proxy.aws.policy_patterns import Values
from proxy.kms.model import AWS_KMS, ENCRYPT_DECRYPT, SYMMETRIC_DEFAULT, KmsKey

PREFIX: Final = "kms:"

RESOURCE_ALIASES: Final = "kms:resourcealiases"
RE_ENCRYPT_ON_SAME_KEY: Final = "kms:reencryptonsamekey"
TRAILING_DAYS: Final = "kms:trailingdayswithoutkeyusage"
LOOKED_UP: Final = frozenset((RESOURCE_ALIASES, RE_ENCRYPT_ON_SAME_KEY, TRAILING_DAYS))
"""Keys whose values are in the store: who asks brings them along (``Subject.found``)."""

_CONTEXT: Final = "kms:encryptioncontext:"
_ATTESTATION: Final = re.compile(r"kms:recipientattestation:(imagesha384|(nitrotpm)?pcr([0-9]|[12][0-9]|3[01]))")


class Subject(NamedTuple):
    """What a decision of the key service is about."""

    origin: CallOrigin
    clock: Callable[[], datetime]
    action: str
    """Without ``kms:``."""
    key: KmsKey | None
    context: Mapping[str, str]
    key_id: str | None = None
    """How the request names the key; None: by the member that it has for that."""
    found: Mapping[str, Values] | None = None
    """The values of LOOKED_UP."""

    def lookup(self, name: str) -> Values | None:
        """The values of a condition key, given in lower case. None: this service cannot tell."""
        value = _KEYS.get(name)
        if value is not None:
            return value(self)
        if name.startswith(_CONTEXT):
            wanted = name.removeprefix(_CONTEXT)
            return tuple(value for key, value in _context(self) if key.lower() == wanted)
        if name.startswith(policy_keys.PREFIX):
            return policy_keys.values(name, self._circumstances()) if name != "aws:tagkeys" else _tag_keys(self)
        if name in LOOKED_UP:
            return None if self.found is None else self.found.get(name)
        if name.startswith(PREFIX):
            # There are no attestation documents here.
            return () if _ATTESTATION.fullmatch(name) else None
        # A key of another service is absent from requests to this one.
        return ()

    def _circumstances(self) -> Circumstances:
        origin = self.origin
        return Circumstances(
            origin,
            self.clock,
            self.key.name.account if self.key is not None else origin.caller.account,
            dict(self.key.tags) if self.key is not None else {},
            {tag["TagKey"]: tag["TagValue"] for tag in origin.request.get("Tags", ())},
            user_agent=origin.user_agent or None,
            headers_known=True,
        )


_Value = Callable[[Subject], Values | None]

_CREATING: Final = ("CreateKey",)
_CRYPTOGRAPHIC: Final = frozenset(
    (
        "Encrypt",
        "Decrypt",
        "ReEncryptFrom",
        "ReEncryptTo",
        "GenerateDataKey",
        "GenerateDataKeyWithoutPlaintext",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
    )
)
_NAMED_BY_ALIAS: Final = _CRYPTOGRAPHIC | {
    "DeriveSharedSecret",
    "DescribeKey",
    "GenerateMac",
    "GetPublicKey",
    "Sign",
    "Verify",
    "VerifyMac",
}
_KEY_ID: Final = {"ReEncryptFrom": "SourceKeyId", "ReEncryptTo": "DestinationKeyId"}
_ALGORITHM: Final = {
    "Encrypt": "EncryptionAlgorithm",
    "Decrypt": "EncryptionAlgorithm",
    "ReEncryptFrom": "SourceEncryptionAlgorithm",
    "ReEncryptTo": "DestinationEncryptionAlgorithm",
}


def _member(name: str, *actions: str, default: str | None = None) -> _Value:
    """A member of the requests for some actions, with AWS's default where policies see that too."""

    def value(it: Subject) -> Values:
        if it.action not in actions:
            return ()
        found = it.origin.request.get(name, default)
        return () if found is None else (_text(found),)

    return value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value.timestamp()) if isinstance(value, datetime) else str(value)


def _property(of_key: Callable[[KmsKey], str], *members: str, default: str) -> _Value:
    """A property of the key, or at CreateKey of the key to be made."""

    def value(it: Subject) -> Values:
        if it.key is not None:
            return (of_key(it.key),)
        if it.action not in _CREATING:
            return ()
        request = it.origin.request
        return (_text(next((request[name] for name in members if name in request), default)),)

    return value


def _multi_region_key_type(it: Subject) -> Values:
    if it.key is not None:
        return (("REPLICA" if it.key.is_replica else "PRIMARY"),) if it.key.multi_region else ()
    if it.action not in _CREATING:
        return ()
    if "ReplicaRegion" in it.origin.request:
        return ("REPLICA",)
    return ("PRIMARY",) if it.origin.request.get("MultiRegion") else ()


def _multi_region(it: Subject) -> Values:
    if it.key is not None:
        return flag(it.key.multi_region)
    if it.action not in _CREATING:
        return ()
    return flag("ReplicaRegion" in it.origin.request or bool(it.origin.request.get("MultiRegion")))


def _encryption_algorithm(it: Subject) -> Values:
    if it.action not in _CRYPTOGRAPHIC:
        return ()
    return (str(it.origin.request.get(_ALGORITHM.get(it.action, ""), SYMMETRIC_DEFAULT)),)


def _context(it: Subject) -> tuple[tuple[str, str], ...]:
    """The pairs of the encryption context; those of a grant's constraints when one is made."""
    if it.action != "CreateGrant":
        return tuple(it.context.items())
    constraints = it.origin.request.get("Constraints", {})
    pairs = {**constraints.get("EncryptionContextSubset", {}), **constraints.get("EncryptionContextEquals", {})}
    return tuple(pairs.items())


def _constraint_types(it: Subject) -> Values:
    return tuple(it.origin.request.get("Constraints", {})) if it.action == "CreateGrant" else ()


def _constraint_source_arn(it: Subject) -> Values:
    constraints = it.origin.request.get("Constraints", {}) if it.action == "CreateGrant" else {}
    return optional(constraints.get("SourceArn"))


def _grant_operations(it: Subject) -> Values:
    return tuple(it.origin.request.get("Operations", ())) if it.action == "CreateGrant" else ()


def _grant_is_for_aws_resource(it: Subject) -> Values:
    if it.action not in ("CreateGrant", "ListGrants", "RevokeGrant"):
        return ()
    return flag(it.origin.via_service is not None)


def _request_alias(it: Subject) -> Values:
    if it.action not in _NAMED_BY_ALIAS:
        return ()
    key_id = it.key_id or it.origin.request.get(_KEY_ID.get(it.action, "KeyId"), "")
    if key_id.startswith("alias/"):
        return (key_id,)
    _, is_alias, name = key_id.partition(":alias/")
    return (f"alias/{name}",) if is_alias else ()


def _tag_keys(it: Subject) -> Values:
    request = it.origin.request
    return (*(tag["TagKey"] for tag in request.get("Tags", ())), *request.get("TagKeys", ()))


_KEYS: Final[Mapping[str, _Value]] = {
    "kms:bypasspolicylockoutsafetycheck": _member(
        "BypassPolicyLockoutSafetyCheck", "CreateKey", "PutKeyPolicy", "ReplicateKey"
    ),
    "kms:calleraccount": lambda it: (it.origin.caller.account,),
    "kms:customermasterkeyspec": _property(
        lambda key: key.spec, "KeySpec", "CustomerMasterKeySpec", default=SYMMETRIC_DEFAULT
    ),
    "kms:customermasterkeyusage": _property(lambda key: key.usage, "KeyUsage", default=ENCRYPT_DECRYPT),
    "kms:datakeypairspec": _member("KeyPairSpec", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"),
    "kms:encryptionalgorithm": _encryption_algorithm,
    "kms:encryptioncontextkeys": lambda it: tuple(key for key, _ in _context(it)),
    "kms:expirationmodel": _member("ExpirationModel", "ImportKeyMaterial"),
    "kms:grantconstraintsourcearn": _constraint_source_arn,
    "kms:grantconstrainttype": _constraint_types,
    "kms:grantisforawsresource": _grant_is_for_aws_resource,
    "kms:grantoperations": _grant_operations,
    "kms:granteeprincipal": _member("GranteePrincipal", "CreateGrant"),
    "kms:granteeserviceprincipal": _member("GranteeServicePrincipal", "CreateGrant"),
    "kms:keyagreementalgorithm": _member("KeyAgreementAlgorithm", "DeriveSharedSecret"),
    "kms:keyorigin": _property(lambda key: key.origin, "Origin", default=AWS_KMS),
    "kms:keyspec": _property(lambda key: key.spec, "KeySpec", "CustomerMasterKeySpec", default=SYMMETRIC_DEFAULT),
    "kms:keyusage": _property(lambda key: key.usage, "KeyUsage", default=ENCRYPT_DECRYPT),
    "kms:macalgorithm": _member("MacAlgorithm", "GenerateMac", "VerifyMac"),
    "kms:messagetype": _member("MessageType", "Sign", "Verify", default="RAW"),
    "kms:multiregion": _multi_region,
    "kms:multiregionkeytype": _multi_region_key_type,
    "kms:primaryregion": _member("PrimaryRegion", "UpdatePrimaryRegion"),
    "kms:replicaregion": _member("ReplicaRegion", "ReplicateKey"),
    "kms:requestalias": _request_alias,
    "kms:retiringprincipal": _member("RetiringPrincipal", "CreateGrant"),
    "kms:retiringserviceprincipal": _member("RetiringServicePrincipal", "CreateGrant"),
    "kms:rotationperiodindays": _member("RotationPeriodInDays", "EnableKeyRotation", default="365"),
    "kms:schedulekeydeletionpendingwindowindays": _member("PendingWindowInDays", "ScheduleKeyDeletion", default="30"),
    "kms:signingalgorithm": _member("SigningAlgorithm", "Sign", "Verify"),
    "kms:validto": _member("ValidTo", "ImportKeyMaterial"),
    "kms:viaservice": lambda it: optional(it.origin.via_service),
    "kms:wrappingalgorithm": _member("WrappingAlgorithm", "GetParametersForImport"),
    "kms:wrappingkeyspec": _member("WrappingKeySpec", "GetParametersForImport"),
}


def fault(name: str, quantifier: Quantifier | None) -> str | None:
    """What is wrong with naming a condition key, in lower case, in a key policy; None for nothing. Keys of services
    other than KMS are not looked into."""
    if name.startswith(policy_keys.PREFIX):
        return policy_keys.fault(name, quantifier)
    if name.startswith(_CONTEXT) and name != _CONTEXT:
        if quantifier is Quantifier.FOR_ALL_VALUES:
            return policy_keys.OVERLY_PERMISSIVE.format("encryption context")
        return None
    known = name in _KEYS or name in LOOKED_UP or _ATTESTATION.fullmatch(name) is not None
    if known or (":" in name and not name.startswith(PREFIX)):
        return None
    return f"Invalid condition key {name}"
