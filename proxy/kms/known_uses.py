"""Uses of keys that were found to be allowed, for as long as nothing has changed that the finding rests on.

S3 uses the same key for the same caller over and over. A finding rests on what is in the key store (its generation),
on the caller (who is another object after every change of the configuration) and, for a key that time alone will
change, on the time. Remembered is only what policies decide by caller, action, key and service: a grant's constraints,
or any other condition, may see the next request differently.
"""

from datetime import datetime
from typing import Final, NamedTuple

from proxy.aws.credentials import Caller, CallOrigin
from proxy.kms.model import OWNED_KEY, KmsKey
from proxy.kms.provider import S3_OWNED_KEY
from proxy.kms.service import KeyService
from proxy.kms.store import StoreUnavailable
from proxy.xaes import XAES256GCM

_MOST: Final = 4096
_DECIDED_BY: Final = frozenset(("kms:viaservice", "kms:calleraccount"))
"""Condition keys that say the same of every request that a finding is for."""


class KnownUse(NamedTuple):
    """A key that may be used, and its cipher."""

    key: KmsKey
    cipher: XAES256GCM


class _Finding(NamedTuple):
    caller: Caller
    """Kept, so that its id stays its own."""
    key: KmsKey
    ordinal: int
    until: datetime | None


_Place = tuple[int, str | None, str, str, str, bytes]


class KnownUses:
    """Findings of one process."""

    def __init__(self, service: KeyService) -> None:
        self._service = service
        self._generation: int | None = None
        self._found: dict[_Place, _Finding] = {}

    def generation(self) -> int | None:
        """What ``remember`` is to be told: the store's generation before the use; None while it can't be read."""
        try:
            return self._service.repository.store.generation()
        except StoreUnavailable:
            return None

    def find(self, origin: CallOrigin, operation: str, key_id: str, header: bytes = b"") -> KnownUse | None:
        """The key to be used, if the same was found to be allowed before. ``header`` is that of the blob, if there is
        one."""
        generation = self.generation()
        if generation is None or generation != self._generation:
            self._found.clear()
            self._generation = generation
            return None
        found = self._found.get((id(origin.caller), origin.via_service, origin.region, operation, key_id, header))
        if found is None or (found.until is not None and self._service.now() >= found.until):
            return None
        # The material itself is not kept here: what is deleted must be gone from memory.
        cipher = self._service.ring.at_hand(found.key.name, found.ordinal)
        return None if cipher is None else KnownUse(found.key, cipher)

    def remember(
        self,
        generation: int | None,
        origin: CallOrigin,
        operation: str,
        key_id: str,
        key: KmsKey,
        ordinal: int,
        header: bytes = b"",
    ) -> None:
        """Takes down a use that was allowed and succeeded. ``generation`` is that from before it."""
        if generation is None or generation != self._generation or key.transient is not None or key.replica_regions:
            return
        # The service's own key is everybody's under its name, and has no policy.
        is_owned = key.name.kind == OWNED_KEY
        if is_owned is not (key_id == S3_OWNED_KEY):
            return
        if not is_owned and not self._service.allow_alike(origin, key, operation, _DECIDED_BY):
            return
        if len(self._found) >= _MOST:
            self._found.clear()
        place = (id(origin.caller), origin.via_service, origin.region, operation, key_id, header)
        self._found[place] = _Finding(origin.caller, key, ordinal, key.next_event)
