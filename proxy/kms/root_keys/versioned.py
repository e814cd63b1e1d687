"""The root key in its versions: the one that seals and, while one takes another's place, both.

Processes that serve need no restart for a root key rotation. What seals a record names its root key; a process that
meets one that it does not hold looks into the key store's ``Handover``, then at where its root key came from, whose
content may be another one by now. What a process seals counts only while its root key is still the current one: see
``GuardedKeyStore``.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Final

from proxy.kms import model, root_key_state
from proxy.kms.errors import RootKeyUnusable, WrongRootKey
from proxy.kms.root_key import RootKey
from proxy.kms.root_key_state import Handover, RootKeyState, RootKeyVersion
from proxy.kms.root_keys.file import LocalRootKey
from proxy.kms.store import Conflict, KeyStore, Record

logger = logging.getLogger(__name__)

_NOT_THE_ONE: Final = (
    "the root key is not the one that this key store was sealed with; start with the key it was made with"
)
_FOLLOW_SECONDS: Final = 1.0
_HANDOVER_LABEL: Final = b"root key handover v1\x00"


class VersionedRootKey(RootKey):
    """Seals under the key store's current root key, and opens what any root key at hand has sealed.

    ``start`` must have returned before anything else is called."""

    def __init__(
        self,
        store: KeyStore,
        configured: LocalRootKey,
        clock: Callable[[], datetime],
        random: Callable[[int], bytes],
        reload: Callable[[], LocalRootKey] | None = None,
    ) -> None:
        """``configured`` is the root key that the configuration names; ``reload`` reads it once more."""
        self._store = store
        self._configured = configured
        self._clock = clock
        self._random = random
        self._reload = reload
        self._held = {configured.id: configured}
        self._state: RootKeyState | None = None
        self._generation: int | None = None

    @property
    def state(self) -> RootKeyState:
        """As it was last read; ``refresh`` reads it again."""
        if self._state is None:
            raise RuntimeError("the root key has not been started")
        return self._state

    @property
    def id(self) -> str:
        return self.state.current.id

    @property
    def versions(self) -> tuple[RootKeyVersion, ...]:
        """Every root key that the store has had, the current one last. Where ``refresh`` runs every second, a rotation
        shows here within a second."""
        return self.state.versions

    @property
    def configured(self) -> LocalRootKey:
        return self._configured

    async def start(self, sealed: Sequence[tuple[Record | None, bytes]] = ()) -> None:
        """Finds the current root key. A store without a record of it belongs to the configured one, if that opens
        ``sealed``: records that may be there, and their associated data.

        Raises WrongRootKey when the configured root key is neither the current one nor leads to it."""
        if await self._read() is None:
            await self._check_bare(sealed)
            first = RootKeyState((RootKeyVersion(1, self._configured.id, self._clock()),))
            # Where another process was first, its record counts.
            with suppress(Conflict):
                await self._store.write([root_key_state.to_record(first)])
        await self.refresh()
        current = self.id
        if current not in self._held:
            raise WrongRootKey(self._why_not())
        if current != self._configured.id:
            logger.warning(
                "the root key %s has taken the place of the configured one, %s: configure the new one",
                current,
                self._configured.id,
            )

    async def _check_bare(self, sealed: Sequence[tuple[Record | None, bytes]]) -> None:
        try:
            for record, associated_data in sealed:
                if record is not None:
                    await self._configured.unwrap(record.body, associated_data)
        except WrongRootKey:
            raise WrongRootKey(_NOT_THE_ONE) from None

    async def finish(self) -> bool:
        """Cuts off the former root key, once every record opens under the current one and that is the configured one.
        Whether there was anything to cut off."""
        handover = self.state.handover
        if handover is None or not handover.complete or self._configured.id != self.id:
            return False
        return await self._change(replace(self.state, handover=None))

    async def begin_rotation(self, target: LocalRootKey) -> None:
        """Makes ``target`` the root key that seals, in every process. Raises Conflict when another did so first."""
        source = self._held[self.id]
        label = _handover_label(source.id, target.id)
        handover = Handover(
            source.id,
            target.id,
            await source.wrap(target.export(), label),
            await target.wrap(source.export(), label),
        )
        await self._store.write([root_key_state.to_record(self.state.rotated(handover, self._clock()))])
        await self.refresh()

    async def complete_rotation(self) -> None:
        """Notes that every record opens under the current root key alone."""
        handover = self.state.handover
        if handover is not None and not handover.complete:
            await self._change(replace(self.state, handover=replace(handover, complete=True)))

    async def _change(self, state: RootKeyState) -> bool:
        """Whether this process made the change, which another may do at the same time."""
        try:
            await self._store.write([root_key_state.to_record(state)])
        except Conflict:
            return False
        finally:
            await self.refresh()
        return True

    async def refresh(self) -> None:
        """Takes in what has changed in the store; costs next to nothing where nothing has."""
        generation = self._store.generation()
        if generation != self._generation:
            await self._read()
            self._generation = generation

    async def _read(self) -> RootKeyState | None:
        record = await self._store.get(model.SERVICE, root_key_state.RECORD_ID)
        if record is None:
            return None
        if self._state is None or record.version != self._state.record_version:
            self._state = root_key_state.from_record(record)
            await self._take_over()
        return self._state

    async def _take_over(self) -> None:
        """Gets hold of the keys that those at hand lead to."""
        handover = self.state.handover
        if handover is not None:
            label = _handover_label(handover.source, handover.target)
            source, target = self._held.get(handover.source), self._held.get(handover.target)
            if source is not None and target is None:
                self._hold(await source.unwrap(handover.target_under_source, label))
            if target is not None and source is None:
                self._hold(await target.unwrap(handover.source_under_target, label))
        if self.id not in self._held and self._reload is not None:
            with suppress(RootKeyUnusable):
                self._configured = self._reload()
                self._held[self._configured.id] = self._configured

    def _hold(self, key: bytes) -> None:
        found = LocalRootKey(key, self._random)
        self._held[found.id] = found

    def _why_not(self) -> str:
        former = self.state.version_of(self._configured.id)
        if former is None:
            return f"{_NOT_THE_ONE} (its id is {self.id}; the configured one has {self._configured.id})"
        return (
            f"the configured root key (id {former.id}) no longer opens this key store: the one with id {self.id} has "
            f"taken its place on {self.state.current.since:%Y-%m-%d %H:%M} UTC; configure that one"
        )

    async def wrap(self, plaintext: bytes, associated_data: bytes) -> bytes:
        await self.refresh()
        header = root_key_state.header(self.id)
        return header + await self._key(self.id).wrap(plaintext, header + associated_data)

    async def unwrap(self, wrapped: bytes, associated_data: bytes) -> bytes:
        id = root_key_state.sealed_under(wrapped)
        if id is None:
            return await self._unwrap_bare(wrapped, associated_data)
        if id not in self._held:
            await self.refresh()
        size = root_key_state.HEADER_SIZE
        return await self._key(id).unwrap(wrapped[size:], wrapped[:size] + associated_data)

    async def unwrap_current(self, wrapped: bytes, associated_data: bytes) -> bytes:
        """As ``unwrap``, by the current root key alone."""
        if root_key_state.sealed_under(wrapped) != self.id:
            raise WrongRootKey(f"a record is not sealed under the root key {self.id}")
        return await self.unwrap(wrapped, associated_data)

    def _key(self, id: str) -> LocalRootKey:
        key = self._held.get(id)
        if key is None:
            raise WrongRootKey(f"a record is sealed under the root key {id}, which is not at hand")
        return key

    async def _unwrap_bare(self, wrapped: bytes, associated_data: bytes) -> bytes:
        for key in self._held.values():
            with suppress(WrongRootKey):
                return await key.unwrap(wrapped, associated_data)
        await self.refresh()
        return await self._key(self.state.versions[0].id).unwrap(wrapped, associated_data)


def _handover_label(source: str, target: str) -> bytes:
    return _HANDOVER_LABEL + f"{source}>{target}".encode()


async def follow(root_key: VersionedRootKey) -> None:
    """Takes in a root key rotation, while the former root key still leads to the new one, until it is cancelled."""
    while True:
        await asyncio.sleep(_FOLLOW_SECONDS)
        try:
            await root_key.refresh()
        except Exception:
            # Whatever it is: with this task ended, a rotation would be missed.
            logger.exception("the root key's record cannot be read")


class GuardedKeyStore(KeyStore):
    """A key store that takes a sealed record only while the root key that sealed it is the current one; later, it is a
    Conflict, after which the caller seals anew. So when a root key rotation has been through once, nothing is left
    that is sealed under the former root key."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store

    async def get(self, kind: str, id: str) -> Record | None:
        return await self._store.get(kind, id)

    async def write(
        self, puts: Sequence[Record], deletes: Sequence[Record] = (), unchanged: Sequence[Record] = ()
    ) -> None:
        sealed = {id for record in puts if (id := root_key_state.sealed_under(record.body)) is not None}
        if sealed:
            current = await self._store.get(model.SERVICE, root_key_state.RECORD_ID)
            if current is None or sealed != {root_key_state.from_record(current).current.id}:
                raise Conflict("another root key has become the current one")
            unchanged = [*unchanged, current]
        await self._store.write(puts, deletes, unchanged)

    async def scan(self, kind: str, prefix: str = "", after: str = "", limit: int = 1000) -> list[Record]:
        return await self._store.scan(kind, prefix, after, limit)

    def generation(self) -> int:
        return self._store.generation()

    async def aclose(self) -> None:
        await self._store.aclose()
