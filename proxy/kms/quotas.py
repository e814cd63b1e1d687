"""Quotas of the key service: how many requests of a kind an account may make per second in a Region.

The rule is a sliding one: in any second no more than the quota. Time is cut into slots of 10 milliseconds; what was
admitted in the current slot and the hundred before it may not exceed the quota. The counts lie in a store that all
workers share. A worker takes from it in batches, together at most 2.5 % of a quota, so that a request far from the
limit costs a subtraction; what is admitted in a second is therefore off by less than 5 %.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/requests-per-second.html
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Protocol

from proxy.kms.errors import KmsError

logger = logging.getLogger(__name__)

SLOTS: Final = 100
"""Per second."""

_BATCH: Final = 0.025
_MAX_HELD: Final = 10_000

SYMMETRIC: Final = "cryptographic_symmetric"
RSA: Final = "cryptographic_rsa"
ECC: Final = "cryptographic_ecc"
ML_DSA: Final = "cryptographic_ml_dsa"

_SYMMETRIC_BY_REGION: Final[Mapping[str, int]] = {
    **dict.fromkeys(("us-east-1", "us-west-2", "eu-west-1"), 100_000),
    **dict.fromkeys(
        ("us-east-2", "ap-northeast-1", "ap-southeast-1", "ap-southeast-2", "eu-central-1", "eu-west-2"), 20_000
    ),
}
_SYMMETRIC_ELSEWHERE: Final = 10_000

_SYMMETRIC_OPERATIONS: Final = (
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "GenerateRandom",
    "ReEncrypt",
    "VerifyMac",
)

CRYPTOGRAPHIC_RATES: Final[Mapping[str, int]] = {
    RSA: 1000,
    ECC: 1000,
    ML_DSA: 1000,
    "GenerateDataKeyPair_ECC": 100,
    "GenerateDataKeyPair_RSA_2048": 20,
    "GenerateDataKeyPair_RSA_3072": 4,
    "GenerateDataKeyPair_RSA_4096": 1,
}
"""Requests per second of the groups of cryptographic operations, but for SYMMETRIC, which depends on the Region."""

MANAGEMENT_RATES: Final[Mapping[str, int]] = {
    **dict.fromkeys(("DescribeKey", "GetPublicKey", "ListResourceTags"), 2000),
    **dict.fromkeys(("GetKeyPolicy", "GetKeyRotationStatus"), 1000),
    **dict.fromkeys(("ListKeys", "ListAliases"), 500),
    **dict.fromkeys(("ListGrants", "ListKeyPolicies", "ListKeyRotations", "ListRetirableGrants"), 100),
    **dict.fromkeys(("CreateGrant", "RetireGrant", "RevokeGrant"), 50),
    **dict.fromkeys(
        (
            "DeleteAlias",
            "DeleteImportedKeyMaterial",
            "EnableKeyRotation",
            "ImportKeyMaterial",
            "PutKeyPolicy",
            "ScheduleKeyDeletion",
        ),
        15,
    ),
    "TagResource": 10,
    "GetParametersForImport": 1,
    **dict.fromkeys(
        (
            "CancelKeyDeletion",
            "ConnectCustomKeyStore",
            "CreateAlias",
            "CreateCustomKeyStore",
            "CreateKey",
            "DeleteCustomKeyStore",
            "DescribeCustomKeyStores",
            "DisableKey",
            "DisableKeyRotation",
            "DisconnectCustomKeyStore",
            "EnableKey",
            "GetKeyLastUsage",
            "ReplicateKey",
            "RotateKeyOnDemand",
            "UntagResource",
            "UpdateAlias",
            "UpdateCustomKeyStore",
            "UpdateKeyDescription",
            "UpdatePrimaryRegion",
        ),
        5,
    ),
}
"""Requests per second of the operations on keys rather than with them."""

GROUPS: Final = frozenset((SYMMETRIC, *CRYPTOGRAPHIC_RATES, *MANAGEMENT_RATES))


def default_rate(group: str, region: str) -> int:
    """AWS's quota of a group, in requests per second."""
    if group == SYMMETRIC:
        return _SYMMETRIC_BY_REGION.get(region, _SYMMETRIC_ELSEWHERE)
    return CRYPTOGRAPHIC_RATES.get(group) or MANAGEMENT_RATES[group]


def group_of(operation: str, request: Mapping[str, Any]) -> str:
    """The group that a request counts for; the algorithm or spec that it names tells the kind of key.

    Raises KeyError for an operation that AWS does not have."""
    algorithm: str
    match operation:
        case "GenerateDataKeyPair" | "GenerateDataKeyPairWithoutPlaintext":
            spec = request["KeyPairSpec"]
            return f"GenerateDataKeyPair_{spec}" if spec.startswith("RSA_") else "GenerateDataKeyPair_ECC"
        case "Sign" | "Verify":
            algorithm = request["SigningAlgorithm"]
            if algorithm.startswith("RSASSA"):
                return RSA
            return ML_DSA if algorithm.startswith("ML_DSA") else ECC
        case "DeriveSharedSecret":
            return ECC
        case "Encrypt" | "Decrypt":
            return RSA if request.get("EncryptionAlgorithm", "").startswith("RSA") else SYMMETRIC
        case "ReEncrypt":
            named = (request.get("SourceEncryptionAlgorithm", ""), request.get("DestinationEncryptionAlgorithm", ""))
            return RSA if any(algorithm.startswith("RSA") for algorithm in named) else SYMMETRIC
    if operation in _SYMMETRIC_OPERATIONS:
        return SYMMETRIC
    if operation not in MANAGEMENT_RATES:
        raise KeyError(operation)
    return operation


class QuotaStore(Protocol):
    """Counts that all workers share. It may lose what is older than a second."""

    def lease(self, scope: str, limit: int, wanted: int, slot: int) -> int:
        """Counts up to ``wanted`` requests in ``slot``, as many as ``limit`` still leaves in it and the ``SLOTS``
        slots before it, and returns how many; ``wanted`` where the store can't be used. What was counted more than a
        second ahead, before the clock was put back, is forgotten."""
        ...

    def close(self) -> None: ...


class MemoryQuotaStore(QuotaStore):
    """Counts of one process."""

    def __init__(self) -> None:
        self._counts: dict[str, list[tuple[int, int]]] = {}

    def lease(self, scope: str, limit: int, wanted: int, slot: int) -> int:
        if len(self._counts) > _MAX_HELD:
            self._counts.clear()
        counts = [each for each in self._counts.get(scope, ()) if slot - SLOTS <= each[0] <= slot + SLOTS]
        granted = max(0, min(wanted, limit - sum(count for _, count in counts)))
        if granted:
            counts.append((slot, granted))
        self._counts[scope] = counts
        return granted

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class _Held:
    """What one worker has left of what it took for one account, Region and group."""

    scope: str
    limit: int
    batch: int
    left: int = 0
    refused_in: int = -1
    """The slot in which the store had nothing left; it is not asked again in the same."""


class RequestQuotas:
    """The request quotas, as one worker applies them."""

    def __init__(
        self,
        store: QuotaStore,
        clock: Callable[[], datetime],
        *,
        workers: int = 1,
        rates: Mapping[str, int] = MappingProxyType({}),
        management: bool = True,
    ) -> None:
        """``rates`` replace AWS's, by group. Without ``management`` only groups of cryptographic operations, and
        those in ``rates``, have a quota."""
        self._store = store
        self._clock = clock
        self._workers = workers
        self._rates = dict(rates)
        self._management = management
        self._held: dict[tuple[str, str, str], _Held] = {}

    def charge(self, account: str, region: str, operation: str, request: Mapping[str, Any]) -> None:
        """Counts a request of an account.

        Raises:
            KmsError: ThrottlingException; the account has used up its quota.
        """
        try:
            group = group_of(operation, request)
        except KeyError:
            return
        self._take(account, region, group, 1)
        if operation == "ReplicateKey":
            self._take(account, request["ReplicaRegion"], "CreateKey", 2)

    def _take(self, account: str, region: str, group: str, count: int) -> None:
        if group in MANAGEMENT_RATES and not self._management and group not in self._rates:
            return
        held = self._held.get((account, region, group))
        if held is None:
            held = self._hold(account, region, group)
        if held.left < count:
            slot = int(self._clock().timestamp() * SLOTS)
            if slot == held.refused_in:
                raise throttled()
            held.left += self._store.lease(held.scope, held.limit, max(held.batch, count - held.left), slot)
            if held.left < count:
                held.refused_in = slot
                raise throttled()
        held.left -= count

    def _hold(self, account: str, region: str, group: str) -> _Held:
        # A caller may name any Region.
        if len(self._held) >= _MAX_HELD:
            self._held.clear()
        limit = self._rates.get(group) or default_rate(group, region)
        held = _Held(f"{account}/{region}/{group}", limit, max(1, int(limit * _BATCH / self._workers)))
        self._held[account, region, group] = held
        return held

    def close(self) -> None:
        self._store.close()


def throttled() -> KmsError:
    return KmsError(
        "ThrottlingException",
        "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.",
    )
