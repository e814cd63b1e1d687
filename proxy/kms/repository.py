"""Entities read from the store, decoded once and kept while nothing has changed there."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final, TypeVar

from proxy.kms import errors, model
from proxy.kms.model import Alias, Grant, KeyName, KmsKey
from proxy.kms.store import KeyStore, Record

T = TypeVar("T")

_RELATED: Final = "related"
_BY_GRANTEE: Final = "grants by grantee"
_BY_TARGET: Final = "aliases by target"
_MAX_ENTRIES: Final = 20_000
_PAGE: Final = 1000


@dataclass(frozen=True)
class RelatedKeys:
    """The keys that share their material: the primary key and its replicas, or a key that has none."""

    keys: tuple[KmsKey, ...]
    """The primary first."""

    @cached_property
    def next_event(self) -> datetime | None:
        """When time alone next changes one of them."""
        return min((key.next_event for key in self.keys if key.next_event is not None), default=None)


class Repository:
    """Reads are as fresh as the store's ``generation`` can tell, which every read asks first: a change made by any
    process is seen by the next read here."""

    def __init__(self, store: KeyStore) -> None:
        self.store = store
        self._generation: int | None = None
        self._entries: dict[tuple[str, str], Any] = {}
        self._rehearses = False

    def rehearsal(self) -> "Repository":
        """A repository of the same store that refuses to write, for dry runs."""
        twin = Repository(self.store)
        twin._rehearses = True
        return twin

    async def _cached(self, kind: str, id: str, load: Callable[[], Awaitable[T]]) -> T:
        generation = self.store.generation()
        if generation != self._generation or len(self._entries) > _MAX_ENTRIES:
            self._entries.clear()
            self._generation = generation
        place = (kind, id)
        if place in self._entries:
            entry: T = self._entries[place]
            return entry
        entry = await load()
        # Another task may have noticed a change while this one was reading.
        if self._generation == generation:
            self._entries[place] = entry
        return entry

    async def key(self, name: KeyName) -> KmsKey | None:
        async def load() -> KmsKey | None:
            record = await self.store.get(name.kind, name.record_id)
            return model.key_from(record) if record else None

        return await self._cached(name.kind, name.record_id, load)

    async def related(self, key: KmsKey) -> "RelatedKeys":
        """A key and, of a multi-Region key, all its related keys, the primary first."""

        async def load() -> RelatedKeys:
            found = [await self.key(name) for name in key.related_names]
            return RelatedKeys(tuple(each for each in found if each is not None))

        known: RelatedKeys | None = self._entries.get((_RELATED, key.name.record_id))
        # What stands beside the very key is as fresh as that is.
        if known is not None and self._entries.get((key.name.kind, key.name.record_id)) is key:
            return known
        return await self._cached(_RELATED, key.name.record_id, load)

    async def alias(self, account: str, region: str, name: str) -> Alias | None:
        id = f"{account}/{region}/{name}"

        async def load() -> Alias | None:
            record = await self.store.get(model.ALIAS, id)
            return model.alias_from(record) if record else None

        return await self._cached(model.ALIAS, id, load)

    async def grants(self, key: KeyName) -> tuple[Grant, ...]:
        """All the grants on a key, in the order of their ids."""
        prefix = key.record_id + "/"

        async def load() -> tuple[Grant, ...]:
            return tuple(model.grant_from(record) for record in await self.scan_all(model.GRANT, prefix))

        return await self._cached(model.GRANT, prefix, load)

    async def grants_by_grantee(self, key: KeyName) -> Mapping[str, Sequence[Grant]]:
        """All the grants on a key, by the ARNs of their grantees."""

        async def load() -> Mapping[str, Sequence[Grant]]:
            found: dict[str, list[Grant]] = {}
            for grant in await self.grants(key):
                found.setdefault(grant.grantee, []).append(grant)
            return found

        return await self._cached(_BY_GRANTEE, key.record_id, load)

    async def aliases_of(self, key: KeyName) -> Sequence[Alias]:
        """The aliases of a key, in the order of their names."""

        async def load() -> Mapping[str, Sequence[Alias]]:
            found: dict[str, list[Alias]] = {}
            for record in await self.scan_all(model.ALIAS, f"{key.account}/{key.region}/"):
                alias = model.alias_from(record)
                found.setdefault(alias.target, []).append(alias)
            return found

        by_target = await self._cached(_BY_TARGET, f"{key.account}/{key.region}", load)
        return by_target.get(key.id, ())

    async def grant(self, record_id: str) -> Grant | None:
        record = await self.store.get(model.GRANT, record_id)
        return model.grant_from(record) if record else None

    async def scan_all(self, kind: str, prefix: str) -> list[Record]:
        """Every record of a kind under a prefix."""
        records: list[Record] = []
        while True:
            page = await self.store.scan(kind, prefix, records[-1].id if records else "", _PAGE)
            records += page
            if len(page) < _PAGE:
                return records

    async def write(self, puts: Sequence[Record], deletes: Sequence[Record] = ()) -> None:
        """One write of the store. Raises Conflict, after which the caller starts over from fresh reads, or KmsError
        (DryRunOperationException) in a rehearsal."""
        if self._rehearses:
            raise errors.dry_run()
        try:
            await self.store.write(puts, deletes)
        finally:
            # What was read before is stale whether or not the write came through.
            self._generation = None
