"""Root key rotation: every sealed record is sealed anew under another root key, while the key service serves.

From the first write on, all processes seal under the new root key and hold both (see
``proxy.kms.root_keys.versioned``); then the records are taken in turn. Each write leaves a store that works, so a
rotation that was ended in whatever way is taken up by running it again, with either root key configured. The material
itself stays what it was, and so do ciphertexts, tokens, and what is cached.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from proxy.kms import material, model, root_key_state
from proxy.kms.errors import WrongRootKey
from proxy.kms.root_key import RootKey
from proxy.kms.root_keys.file import LocalRootKey
from proxy.kms.root_keys.versioned import VersionedRootKey
from proxy.kms.service import SECRET_ID, SECRET_LABEL
from proxy.kms.store import Conflict, KeyStore, Record

_SEALED_KINDS: Final = (model.SERVICE, model.MATERIAL)
_PAGE: Final = 200


class RotationRefused(Exception):
    """The rotation cannot be done like this; the text says why and what to do instead."""


@dataclass(frozen=True)
class Rotation:
    """What a run of ``rotate`` came to."""

    former: str
    """The id of the root key that sealed before; the current one's, where there was nothing to rotate."""
    current: str
    resealed: int
    """How many records this run sealed anew."""
    records: int
    """How many sealed records there are; all of them open under the current root key alone."""
    finished: bool
    """Whether the former root key is cut off; else the new one has yet to become the configured one."""


@dataclass(frozen=True)
class Status:
    """What stands in the way of doing without any root key but the configured one."""

    configured: str
    current: str
    version: int
    sealed: dict[str, int]
    """Records by the id of the root key that seals them; "" for those that do not say (the first releases')."""
    damaged: tuple[str, ...]
    """Records that do not open: kind and id."""
    handover: bool
    """Whether the former root key still leads to the current one."""

    @property
    def is_sufficient(self) -> bool:
        """Whether the configured root key opens everything, and no other one opens anything."""
        return (
            self.configured == self.current
            and not self.handover
            and not self.damaged
            and set(self.sealed) <= {self.current}
        )


async def start(root_key: VersionedRootKey, store: KeyStore) -> None:
    """Starts the versions of a store's root key; a store from before there were any is held to the configured one.

    Raises WrongRootKey."""
    await root_key.start([(await store.get(model.SERVICE, SECRET_ID), SECRET_LABEL)])


async def rotate(
    store: KeyStore,
    root_key: VersionedRootKey,
    target: LocalRootKey | None,
    progress: Callable[[int], None] = lambda _: None,
) -> Rotation:
    """Rotates to ``target``; without it, the rotation that is under way or the configured root key is completed.

    ``root_key`` has been started; ``store`` is the guarded one. ``progress`` hears how many records have been sealed
    anew so far. Raises:
        RotationRefused: another rotation is under way, or the target has been the root key before.
        WrongRootKey: records are damaged; all others are sealed anew and work as before.
    """
    await root_key.refresh()
    former = root_key.id
    if root_key.state.handover is not None:
        former = root_key.state.handover.source
        if target is not None and target.id != root_key.id:
            raise RotationRefused(
                f"the rotation to the root key with id {root_key.id} is not finished; run this again with that one"
            )
    elif target is not None and target.id != root_key.id:
        earlier = root_key.state.version_of(target.id)
        if earlier is not None:
            raise RotationRefused(
                f"the new root key (id {target.id}) is a former one, of {earlier.since:%Y-%m-%d}; make a fresh one"
            )
        try:
            await root_key.begin_rotation(target)
        except Conflict:
            raise RotationRefused("another rotation has begun at the same time; run this again") from None
    resealed = await _reseal_all(store, root_key, progress)
    records = await _check_all(store, root_key)
    await root_key.complete_rotation()
    await root_key.finish()
    return Rotation(former, root_key.id, resealed, records, root_key.state.handover is None)


async def status(store: KeyStore, root_key: VersionedRootKey) -> Status:
    """Opens every sealed record, and changes nothing."""
    await root_key.refresh()
    sealed: dict[str, int] = {}
    damaged: list[str] = []
    async for record, associated_data in sealed_records(store):
        id = root_key_state.sealed_under(record.body) or ""
        sealed[id] = sealed.get(id, 0) + 1
        try:
            await root_key.unwrap(record.body, associated_data)
        except WrongRootKey:
            damaged.append(f"{record.kind} {record.id}")
    state = root_key.state
    return Status(
        root_key.configured.id,
        state.current.id,
        state.current.version,
        sealed,
        tuple(damaged),
        state.handover is not None,
    )


async def sealed_records(store: KeyStore) -> AsyncIterator[tuple[Record, bytes]]:
    """Every record whose body a root key has sealed, and its associated data."""
    for kind in _SEALED_KINDS:
        after = ""
        while page := await store.scan(kind, after=after, limit=_PAGE):
            for record in page:
                associated_data = _associated_data(record)
                if associated_data is not None:
                    yield record, associated_data
            after = page[-1].id
            # The reads do not wait for anything; others may want their turn.
            await asyncio.sleep(0)


def _associated_data(record: Record) -> bytes | None:
    """What a sealed record is bound to; None for one that is not sealed."""
    if record.kind == model.MATERIAL:
        return material.WRAP_LABEL + record.id.encode()
    if record.id == SECRET_ID:
        return SECRET_LABEL
    is_sealed = root_key_state.sealed_under(record.body) is not None
    return root_key_state.service_label(record.id) if is_sealed else None


async def _reseal_all(store: KeyStore, root_key: VersionedRootKey, progress: Callable[[int], None]) -> int:
    done = 0
    damaged: list[str] = []
    batch: list[tuple[Record, bytes]] = []
    async for record, associated_data in sealed_records(store):
        if root_key_state.sealed_under(record.body) != root_key.id:
            batch.append((record, associated_data))
        if len(batch) == _PAGE:
            done += await _reseal(store, root_key, batch, damaged)
            progress(done)
            batch = []
    done += await _reseal(store, root_key, batch, damaged)
    progress(done)
    if damaged:
        raise WrongRootKey(
            f"{', '.join(damaged)}: no root key at hand opens this; all else is sealed anew, but the former root key "
            "is kept"
        )
    return done


async def _reseal(store: KeyStore, root_key: RootKey, batch: list[tuple[Record, bytes]], damaged: list[str]) -> int:
    """Seals records anew in one write; where one of them has changed meanwhile or is damaged, each by itself."""
    if not batch:
        return 0
    try:
        await store.write([await _resealed(root_key, *each) for each in batch])
    except (Conflict, WrongRootKey):
        return sum([await _reseal_one(store, root_key, *each, damaged) for each in batch])
    return len(batch)


async def _reseal_one(
    store: KeyStore, root_key: RootKey, record: Record, associated_data: bytes, damaged: list[str]
) -> int:
    """1, or 0 where the record is gone, needs it no more, or is damaged."""
    while True:
        now = await store.get(record.kind, record.id)
        if now is None or root_key_state.sealed_under(now.body) == root_key.id:
            return 0
        try:
            await store.write([await _resealed(root_key, now, associated_data)])
        except Conflict:
            continue
        except WrongRootKey:
            damaged.append(f"{record.kind} {record.id}")
            return 0
        return 1


async def _resealed(root_key: RootKey, record: Record, associated_data: bytes) -> Record:
    plaintext = await root_key.unwrap(record.body, associated_data)
    return Record(record.kind, record.id, record.version, await root_key.wrap(plaintext, associated_data))


async def _check_all(store: KeyStore, root_key: VersionedRootKey) -> int:
    """How many sealed records there are, each of which opens under the current root key alone."""
    count = 0
    async for record, associated_data in sealed_records(store):
        try:
            await root_key.unwrap_current(record.body, associated_data)
        except WrongRootKey:
            message = f"{record.kind} {record.id}: the root key does not open this; the former root key is kept"
            raise WrongRootKey(message) from None
        count += 1
    return count
