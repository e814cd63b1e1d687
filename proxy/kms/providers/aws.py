"""AWS KMS itself as a KeyProvider, through aiobotocore.

Two decisions stand before each use of a key. The first is made here: the caller's own policies, and those of its
session, have to allow the KMS action on the key, with the condition keys of the request, and an explicit deny wins.
The second is AWS's: requests are signed with the proxy's own credentials, so key policies, grants and CloudTrail see
one principal, the proxy's, whoever the caller is. It needs kms:GenerateDataKey, kms:Decrypt, kms:ReEncrypt* and
kms:DescribeKey on the keys, and its calls do not come ``kms:ViaService`` S3. A rule for one user therefore belongs into
that user's policies at the proxy; a key policy at AWS cannot tell the users apart.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore import exceptions

from proxy.aws import arn, policy
from proxy.aws.arn import is_arn
from proxy.aws.credentials import CallOrigin
from proxy.aws.policy import Question
from proxy.aws.policy_patterns import Values
from proxy.kms import audit_events, errors
from proxy.kms.audit import Audit, AuditUnavailable, Call, record_of
from proxy.kms.condition_keys import Subject
from proxy.kms.errors import KmsError
from proxy.kms.model import KeyName, KmsKey
from proxy.kms.provider import (
    AWS_MANAGED_S3_KEY,
    S3_OWNED_KEY,
    DataKey,
    EncryptionContext,
    KeyDescription,
    KeyProvider,
)
from proxy.kms.providers.aws_settings import AwsKms

logger = logging.getLogger(__name__)

T = TypeVar("T")
Answer = Mapping[str, Any]

_DATA_KEY_SIZE: Final = 32
_DESCRIPTIONS_KEPT: Final = 10_000
_DESCRIPTION_AGE: Final = timedelta(seconds=60)

_CLIENTS: Final = frozenset(
    (
        "AccessDeniedException",
        "DependencyTimeoutException",
        "DisabledException",
        "IncorrectKeyException",
        "InvalidArnException",
        "InvalidCiphertextException",
        "InvalidGrantTokenException",
        "InvalidKeyUsageException",
        "KMSInternalException",
        "KMSInvalidStateException",
        "KeyUnavailableException",
        "LimitExceededException",
        "NotFoundException",
        "ThrottlingException",
        "UnsupportedOperationException",
        "ValidationException",
    )
)
"""AWS's answers that are the client's to hear. Others speak of the proxy's own credentials or setup."""

_THROTTLING: Final = frozenset(("Throttling", "ThrottledException", "RequestLimitExceeded", "TooManyRequestsException"))

_NO_CREDENTIALS: Final = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.TokenRetrievalError,
    exceptions.UnauthorizedSSOTokenError,
)


@dataclass(frozen=True)
class _Described:
    """What DescribeKey told of a key, for the conditions of policies."""

    arn: str
    key: KmsKey
    until: datetime


class AwsKeyProvider(KeyProvider):
    """One client for each Region, made when it is first needed, and freed by ``aclose``."""

    def __init__(
        self,
        settings: AwsKms,
        clock: Callable[[], datetime],
        random: Callable[[int], bytes],
        audit: Audit | None = None,
    ) -> None:
        """``audit`` gets an event of each call that a caller makes, also of one that is refused here."""
        self._settings = settings
        self._clock = clock
        self._random = random
        self._audit = audit
        self._cleanup = AsyncExitStack()
        self._clients: dict[str, Any] = {}
        self._making = asyncio.Lock()
        self._described: dict[tuple[str, str], _Described] = {}

    async def generate_data_key(self, origin: CallOrigin, key_id: str, context: EncryptionContext) -> DataKey:
        request = {"KeyId": key_id, "KeySpec": "AES_256", "EncryptionContext": context}

        async def run() -> DataKey:
            named = await self._authorized(origin, request, "GenerateDataKey", key_id, context)
            return await self._call(origin, key_id, "generate_data_key", _data_key, {**request, "KeyId": named})

        return await self._recorded(origin, "GenerateDataKey", request, run, lambda made: made.key_arn)

    async def decrypt(self, origin: CallOrigin, key_id: str, wrapped: bytes, context: EncryptionContext) -> bytes:
        request = {"KeyId": key_id, "CiphertextBlob": wrapped, "EncryptionContext": context}

        async def run() -> bytes:
            named = await self._authorized(origin, request, "Decrypt", key_id, context)
            return await self._call(origin, key_id, "decrypt", _plaintext, {**request, "KeyId": named})

        return await self._recorded(origin, "Decrypt", request, run, lambda _: key_id)

    async def re_encrypt(
        self,
        origin: CallOrigin,
        wrapped: bytes,
        source_key_id: str,
        source_context: EncryptionContext,
        key_id: str,
        context: EncryptionContext,
    ) -> tuple[str, bytes]:
        request = {
            "CiphertextBlob": wrapped,
            "SourceKeyId": source_key_id,
            "SourceEncryptionContext": source_context,
            "DestinationKeyId": key_id,
            "DestinationEncryptionContext": context,
        }

        async def run() -> tuple[str, bytes]:
            source = await self._authorized(origin, request, "ReEncryptFrom", source_key_id, source_context)
            named = await self._authorized(origin, request, "ReEncryptTo", key_id, context)
            members = {**request, "SourceKeyId": source, "DestinationKeyId": named}
            return await self._call(origin, key_id, "re_encrypt", _re_encrypted, members)

        return await self._recorded(origin, "ReEncrypt", request, run, lambda made: made[0])

    async def describe_key(self, origin: CallOrigin, key_id: str) -> KeyDescription:
        request = {"KeyId": key_id}

        async def run() -> KeyDescription:
            named = await self._authorized(origin, request, "DescribeKey", key_id, {})
            return await self._call(origin, key_id, "describe_key", _description, {"KeyId": named})

        return await self._recorded(origin, "DescribeKey", request, run, lambda found: found.arn)

    def stamp(self) -> object | None:
        """Always the same: AWS tells nobody of changes."""
        return 0

    async def aclose(self) -> None:
        self._clients.clear()
        await self._cleanup.aclose()

    async def _recorded(
        self,
        origin: CallOrigin,
        name: str,
        request: Mapping[str, Any],
        run: Callable[[], Awaitable[T]],
        key_of: Callable[[T], str],
    ) -> T:
        """Runs a call and records it, but for the key behind SSE-S3, which nobody answers for. Raises KmsError."""
        if self._audit is None or S3_OWNED_KEY in (request.get("KeyId"), request.get("DestinationKeyId")):
            return await run()
        try:
            result = await run()
        except KmsError as error:
            await self._record(self._audit, origin, name, request, None, error)
            raise
        await self._record(self._audit, origin, name, request, key_of(result), None)
        return result

    async def _record(
        self,
        audit: Audit,
        origin: CallOrigin,
        name: str,
        request: Mapping[str, Any],
        used: str | None,
        error: KmsError | None,
    ) -> None:
        """What can't be recorded is not answered. Raises KmsError."""
        named = [request.get(member) for member in ("KeyId", "SourceKeyId", "DestinationKeyId")]
        arns = dict.fromkeys(each for each in (*named, used) if each is not None and is_arn(each))
        resources = [(each, "AWS::KMS::Key") for each in arns]
        call = Call(audit_events.SOURCE, name, True, audit_events.shown(request), None, resources, error)
        audit.record(partial(record_of, call, origin, self._clock(), self._random(16)))
        try:
            await audit.settle()
        except AuditUnavailable:
            logger.exception("%s the audit log is not available", origin.request_id)
            raise errors.dependency_timeout() from None

    async def _authorized(
        self, origin: CallOrigin, request: Mapping[str, Any], action: str, key_id: str, context: EncryptionContext
    ) -> str:
        """The key's ARN, once the caller's policies allow the action on it; what is configured for the key behind
        SSE-S3, which is nobody's to allow.

        Raises KmsError (AccessDeniedException, or AWS's refusal to describe the key)."""
        if key_id == S3_OWNED_KEY:
            return self._settings.owned_key_id
        described = await self._describe(origin, self._at_aws(key_id))
        subject = Subject(replace(origin, request=request), self._clock, action, described.key, context, key_id)
        question = Question(origin.caller, f"kms:{action}", described.arn, lambda name: _lookup(subject, name))
        answer = policy.decide(question, origin.caller.account)
        if not answer.allowed:
            raise errors.access_denied(answer.denial(question))
        return described.arn

    async def _describe(self, origin: CallOrigin, key_id: str) -> _Described:
        """What does not change of a key, from a minute ago at most: an alias may meanwhile name another."""
        place = (self._region(origin, key_id), key_id)
        known = self._described.get(place)
        now = self._clock()
        if known is not None and now < known.until:
            return known
        named, key = await self._call(origin, key_id, "describe_key", _properties, {"KeyId": key_id})
        if len(self._described) >= _DESCRIPTIONS_KEPT:
            self._described.clear()
        self._described[place] = _Described(named, key, now + _DESCRIPTION_AGE)
        return self._described[place]

    def _at_aws(self, key_id: str) -> str:
        """What AWS knows a key by."""
        if key_id == S3_OWNED_KEY:
            return self._settings.owned_key_id
        if key_id == AWS_MANAGED_S3_KEY:
            return self._settings.managed_key_id or key_id
        return key_id

    def _region(self, origin: CallOrigin, key_id: str) -> str:
        # The key behind SSE-S3 may be one for the buckets of all Regions.
        if key_id == S3_OWNED_KEY and self._settings.owned_key_id.startswith("arn:"):
            return self._settings.owned_key_id.split(":")[3]
        return self._settings.region or origin.region

    async def _call(
        self, origin: CallOrigin, key_id: str, method: str, read: Callable[[Answer], T], members: Mapping[str, Any]
    ) -> T:
        """What ``read`` takes out of the answer to one call. Raises KmsError."""
        region = self._region(origin, key_id)

        async def run() -> T:
            client = self._clients.get(region) or await self._make_client(region)
            async with asyncio.timeout(self._settings.timeout):
                return read(await getattr(client, method)(**members))

        return await _translated(run, origin.request_id)

    async def _make_client(self, region: str) -> Any:
        async with self._making:
            if region not in self._clients:
                settings = self._settings
                config = AioConfig(
                    connect_timeout=settings.connect_timeout,
                    read_timeout=settings.timeout,
                    retries={"total_max_attempts": settings.attempts, "mode": "standard"},
                    max_pool_connections=settings.connections,
                    # AWS says what is wrong with a parameter, in words that clients know.
                    parameter_validation=False,
                    # AWS_ENDPOINT_URL in the environment is for clients of this proxy, and would lead back to it.
                    ignore_configured_endpoint_urls=True,
                )
                context = get_session().create_client(
                    "kms",
                    region_name=region,
                    endpoint_url=settings.endpoint_url,
                    aws_access_key_id=settings.access_key_id,
                    aws_secret_access_key=settings.secret_access_key,
                    aws_session_token=settings.session_token,
                    verify=None if settings.ca_file is None else str(settings.ca_file),
                    config=config,
                )
                self._clients[region] = await self._cleanup.enter_async_context(context)
            return self._clients[region]


def _data_key(answer: Answer) -> DataKey:
    if len(answer["Plaintext"]) != _DATA_KEY_SIZE:
        raise ValueError("a data key has 32 bytes")
    return DataKey(answer["KeyId"], answer["CiphertextBlob"], answer["Plaintext"])


def _plaintext(answer: Answer) -> bytes:
    return bytes(answer["Plaintext"])


def _re_encrypted(answer: Answer) -> tuple[str, bytes]:
    return answer["KeyId"], answer["CiphertextBlob"]


def _description(answer: Answer) -> KeyDescription:
    found = answer["KeyMetadata"]
    return KeyDescription(
        found["Arn"], found["AWSAccountId"], found["KeyState"], found["KeyUsage"], found["KeySpec"], found["KeyManager"]
    )


def _properties(answer: Answer) -> tuple[str, KmsKey]:
    """A key's ARN, and what policies may ask of it; its own policy and tags are not among that."""
    found = answer["KeyMetadata"]
    parsed = arn.parse(found["Arn"])
    key = KmsKey(
        KeyName(parsed.account, parsed.region, found["KeyId"]),
        found["CreationDate"],
        policy="",
        origin=found["Origin"],
        spec=found["KeySpec"],
        usage=found["KeyUsage"],
        manager=found["KeyManager"],
        multi_region=found["MultiRegion"],
    )
    return found["Arn"], key


def _lookup(subject: Subject, name: str) -> Values | None:
    """The values of a condition key; None for what only AWS knows."""
    return None if name.startswith("aws:resourcetag/") else subject.lookup(name)


async def _translated(call: Callable[[], Awaitable[T]], request_id: str) -> T:
    """Runs a call, every fault turned into an error of KMS, which is recorded as one."""
    try:
        return await call()
    except exceptions.ClientError as error:
        raise _as_kms_error(error, request_id) from None
    except _NO_CREDENTIALS as error:
        logger.error("%s there are no credentials for AWS KMS: %s", request_id, error)
        raise errors.key_unavailable() from None
    except (exceptions.ConnectionError, exceptions.HTTPClientError, TimeoutError, OSError) as error:
        logger.error("%s AWS KMS cannot be reached: %s: %s", request_id, type(error).__name__, error)
        raise errors.dependency_timeout() from None
    except Exception:
        logger.exception("%s a call to AWS KMS failed", request_id)
        raise errors.internal() from None


def _as_kms_error(error: exceptions.ClientError, request_id: str) -> KmsError:
    told = error.response.get("Error", {})
    code, message = told.get("Code", ""), told.get("Message") or None
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    if code in _CLIENTS:
        return KmsError(code, message)
    if code in _THROTTLING:
        return KmsError("ThrottlingException", message)
    logger.error("%s AWS KMS answered %s %s: %s", request_id, status, code, message)
    return errors.internal() if status >= 500 else errors.key_unavailable()
