"""Key states, and AWS's table of what each operation answers in each of them.

A state is not stored: it follows from the key's record and the time.
Source: https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html; where the table allows two answers
("2 or 3"), the one that AWS was seen to give.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

from proxy.kms import errors
from proxy.kms.errors import KmsError
from proxy.kms.model import EXTERNAL, BackingKey, KmsKey


class KeyState(StrEnum):
    """KeyState as DescribeKey answers it."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PENDING_DELETION = "PendingDeletion"
    PENDING_REPLICA_DELETION = "PendingReplicaDeletion"
    PENDING_IMPORT = "PendingImport"
    UNAVAILABLE = "Unavailable"
    CREATING = "Creating"
    UPDATING = "Updating"


def is_deleted(key: KmsKey, now: datetime) -> bool:
    """Whether the waiting time is over, so that the key is gone, whatever is left of its records."""
    return key.deletion_date is not None and now >= key.deletion_date


def waits_for_replicas(key: KmsKey) -> bool:
    """Whether a primary key is to be deleted once its replicas are gone."""
    return key.deletion_window is not None and key.deletion_date is None


def is_present(backing: BackingKey, now: datetime) -> bool:
    """Whether a backing key's material can be used."""
    return backing.present and (backing.expires is None or now < backing.expires)


def state_of(key: KmsKey, now: datetime) -> KeyState:
    """The state of a key that is not deleted. Material that waits for its rotation does not count."""
    if key.deletion_date is not None:
        return KeyState.PENDING_DELETION
    if waits_for_replicas(key):
        return KeyState.PENDING_REPLICA_DELETION
    if key.transient is not None and key.transient_until is not None and now < key.transient_until:
        return KeyState(key.transient)
    if key.origin == EXTERNAL and not (
        key.current and all(is_present(backing, now) for backing in key.backing_keys if backing.ordinal <= key.current)
    ):
        return KeyState.PENDING_IMPORT
    return KeyState.ENABLED if key.enabled else KeyState.DISABLED


_WAITING: Final = {
    KeyState.PENDING_DELETION: "pending deletion",
    KeyState.PENDING_REPLICA_DELETION: "pending replica deletion",
}

_FOOTNOTES: Final[Mapping[str, Callable[[KmsKey, KeyState], KmsError]]] = {
    "1": lambda key, _: errors.disabled(key.arn),
    "3": lambda key, state: errors.invalid_state(f"{key.arn} is {_WAITING[state]}."),
    "4": lambda key, _: errors.invalid_state(f"{key.arn} is not pending deletion."),
    "5": lambda key, _: errors.invalid_state(f"{key.arn} is pending import."),
    "6": lambda key, _: errors.unsupported_origin(key.arn, key.origin),
    "7": lambda key, _: errors.unsupported_origin(key.arn, key.origin),
    "9": lambda key, _: errors.unsupported_origin(key.arn, key.origin),
    "11": lambda key, _: errors.invalid_state(f"{key.arn} is unavailable."),
    "14": lambda key, _: errors.invalid_state(f"{key.arn} is creating."),
    "15": lambda key, _: errors.invalid_state(f"{key.arn} is updating."),
}
"""AWS's footnotes by number. The others depend on more than the state and are checked by the operation itself."""

_COLUMNS: Final = (
    KeyState.ENABLED,
    KeyState.DISABLED,
    KeyState.PENDING_DELETION,
    KeyState.PENDING_IMPORT,
    KeyState.UNAVAILABLE,
    KeyState.CREATING,
    KeyState.UPDATING,
)
"""PendingReplicaDeletion answers as PendingDeletion does."""

_TABLE: Final = """
CancelKeyDeletion                    4   4   ok  4   4   4   4
CreateAlias                          ok  ok  3   ok  ok  ok  ok
CreateGrant                          ok  1   3   5   ok  14  ok
Decrypt                              ok  1   3   5   11  14  ok
DeleteAlias                          ok  ok  ok  ok  ok  ok  ok
DeleteImportedKeyMaterial            ok  ok  ok  ok  ok  14  15
DeriveSharedSecret                   ok  1   3   5   11  14  ok
DescribeKey                          ok  ok  ok  ok  ok  ok  ok
DisableKey                           ok  ok  3   5   ok  14  15
DisableKeyRotation                   ok  1   3   6   7   14  ok
EnableKey                            ok  ok  3   5   ok  14  15
EnableKeyRotation                    ok  1   3   6   7   14  ok
Encrypt                              ok  1   3   5   11  14  ok
GenerateDataKey                      ok  1   3   5   11  14  ok
GenerateDataKeyPair                  ok  1   3   5   7   14  ok
GenerateDataKeyPairWithoutPlaintext  ok  1   3   5   7   14  ok
GenerateDataKeyWithoutPlaintext      ok  1   3   5   11  14  ok
GenerateMac                          ok  1   3   5   11  14  ok
GetKeyLastUsage                      ok  ok  ok  ok  ok  ok  ok
GetKeyPolicy                         ok  ok  ok  ok  ok  ok  ok
GetKeyRotationStatus                 ok  ok  ok  6   7   ok  ok
GetParametersForImport               ok  ok  3   ok  9   14  15
GetPublicKey                         ok  ok  3   ok  11  14  ok
ImportKeyMaterial                    ok  ok  3   ok  9   14  15
ListAliases                          ok  ok  ok  ok  ok  ok  ok
ListGrants                           ok  ok  ok  ok  ok  ok  ok
ListKeyPolicies                      ok  ok  ok  ok  ok  ok  ok
ListKeyRotations                     ok  ok  ok  ok  7   ok  ok
ListResourceTags                     ok  ok  ok  ok  ok  ok  ok
PutKeyPolicy                         ok  ok  ok  ok  ok  ok  ok
ReEncrypt                            ok  1   3   5   11  14  ok
ReplicateKey                         ok  1   3   5   11  14  15
RetireGrant                          ok  ok  ok  ok  ok  ok  ok
RevokeGrant                          ok  ok  ok  ok  ok  ok  ok
RotateKeyOnDemand                    ok  1   3   5   7   14  ok
ScheduleKeyDeletion                  ok  ok  3   ok  ok  ok  15
Sign                                 ok  1   3   5   11  14  ok
TagResource                          ok  ok  3   ok  ok  ok  ok
UntagResource                        ok  ok  3   ok  ok  ok  ok
UpdateAlias                          ok  ok  3   ok  ok  ok  ok
UpdateKeyDescription                 ok  ok  3   ok  ok  ok  ok
UpdatePrimaryRegion                  ok  1   3   5   11  14  ok
Verify                               ok  1   3   5   11  14  ok
VerifyMac                            ok  1   3   5   11  14  ok
"""
"""By operation and state: ok, or the footnote of the refusal. The columns are ``_COLUMNS``. UpdateAlias speaks of the
key that the alias is moved to."""


def _parse(table: str) -> dict[str, dict[KeyState, str | None]]:
    rows: dict[str, dict[KeyState, str | None]] = {}
    for line in table.split("\n"):
        if not line:
            continue
        operation, *cells = line.split()
        row = {state: None if cell == "ok" else cell for state, cell in zip(_COLUMNS, cells, strict=True)}
        row[KeyState.PENDING_REPLICA_DELETION] = row[KeyState.PENDING_DELETION]
        rows[operation] = row
    return rows


KEY_STATE_TABLE: Final[Mapping[str, Mapping[KeyState, str | None]]] = _parse(_TABLE)
"""The footnote of AWS's refusal by operation and state, None where the operation succeeds."""


def check_state(operation: str, key: KmsKey, now: datetime) -> None:
    """Refuses an operation that the key's state does not allow.

    Raises:
        KmsError: DisabledException, KMSInvalidStateException or UnsupportedOperationException, with AWS's text.
    """
    error = refusal(operation, key, state_of(key, now))
    if error is not None:
        raise error


def refusal(operation: str, key: KmsKey, state: KeyState) -> KmsError | None:
    """What an operation answers in a state in which it does not succeed."""
    footnote = KEY_STATE_TABLE[operation][state]
    return None if footnote is None else _FOOTNOTES[footnote](key, state)
