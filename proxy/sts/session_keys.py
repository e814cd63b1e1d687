"""The keys that session tokens are sealed under: one for each version of the root key, made when it is first used.

The record ``service``/``session-key/<version>`` of the key store holds 32 random bytes, sealed under the root key. A
rotation of the root key begins a new one; the former is deleted when no session that was issued under it can last
any longer.
"""

import contextlib
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from proxy.kms import model, root_key_state
from proxy.kms.errors import WrongRootKey
from proxy.kms.root_key import RootKey
from proxy.kms.root_key_state import RootKeyState
from proxy.kms.store import Conflict, KeyStore, Record, StoreUnavailable
from proxy.xaes import XAES256GCM

RECORD_PREFIX: Final = "session-key/"
LONGEST_SESSION: Final = timedelta(seconds=129_600)
"""That of GetSessionToken."""

_ATTEMPTS: Final = 10
_GRACE: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class SessionKey:
    """One key, ready for use."""

    version: int
    cipher: XAES256GCM = field(repr=False)
    secrets: bytes = field(repr=False)
    """The key that secret access keys are derived from."""


class SessionKeys:
    """The session keys in use. ``refresh`` must have returned before anything else is called."""

    def __init__(
        self,
        store: KeyStore,
        root_key: RootKey,
        clock: Callable[[], datetime],
        random: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._root_key = root_key
        self._clock = clock
        self._random = random
        self._keys: dict[int, SessionKey] = {}
        self._generation: int | None = None
        self.current_version = 0

    @property
    def current(self) -> SessionKey:
        """The one that new tokens are sealed under."""
        return self._keys[self.current_version]

    @property
    def known(self) -> Mapping[int, SessionKey]:
        """All that tokens may be sealed under, by version."""
        return self._keys

    async def refresh(self) -> None:
        """Takes in what has changed in the store; makes the key of the current version, and deletes what is over.

        Raises RootKeyUnusable or StoreUnavailable."""
        generation = self._store.generation()
        if generation == self._generation and self.current_version:
            return
        for _ in range(_ATTEMPTS):
            record = await self._store.get(model.SERVICE, root_key_state.RECORD_ID)
            state = root_key_state.from_record(record) if record is not None else None
            version = state.current.version if state is not None else 1
            await self._load()
            if version not in self._keys:
                await self._make(version)
            if version in self._keys:
                break
        else:
            raise StoreUnavailable("the session key could not be written")
        self.current_version = version
        if state is not None:
            await self._delete_old(state)
        self._generation = self._store.generation()

    async def _load(self) -> None:
        records = await self._store.scan(model.SERVICE, RECORD_PREFIX)
        versions = set()
        for record in records:
            version = int(record.id.removeprefix(RECORD_PREFIX))
            versions.add(version)
            if version in self._keys:
                continue
            # One that the root key does not open belonged to a root key that is gone, and so do its sessions.
            with contextlib.suppress(WrongRootKey):
                self._keys[version] = _ready(
                    version, await self._root_key.unwrap(record.body, root_key_state.service_label(record.id))
                )
        for version in self._keys.keys() - versions:
            del self._keys[version]

    async def _make(self, version: int) -> None:
        id = f"{RECORD_PREFIX}{version:010d}"
        wrapped = await self._root_key.wrap(self._random(32), root_key_state.service_label(id))
        there = await self._store.get(model.SERVICE, id)
        # Where another process was first, its key counts, and where the root key is rotated meanwhile, the next
        # version's; one that can't be opened is of no use to anybody.
        with contextlib.suppress(Conflict):
            await self._store.write([Record(model.SERVICE, id, there.version if there else 0, wrapped)])
        await self._load()

    async def _delete_old(self, state: RootKeyState) -> None:
        now = self._clock()
        ended = {
            former.version: following.since
            for former, following in zip(state.versions, state.versions[1:], strict=False)
        }
        for version in [version for version in self._keys if version in ended]:
            if now > ended[version] + LONGEST_SESSION + _GRACE:
                record = await self._store.get(model.SERVICE, f"{RECORD_PREFIX}{version:010d}")
                with contextlib.suppress(Conflict):
                    await self._store.write([], [record] if record else [])
                del self._keys[version]


def _ready(version: int, key: bytes) -> SessionKey:
    return SessionKey(version, XAES256GCM(key), hmac.new(key, b"secret access keys", hashlib.sha256).digest())
