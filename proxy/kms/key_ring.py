"""Backing keys in use: made, wrapped under the root key, unwrapped and kept ready in memory.

Every related key of a multi-Region key has a copy of the material of its own, bound to its place.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from proxy.kms import material, model
from proxy.kms.model import BackingKey, KeyName, KmsKey
from proxy.kms.root_key import RootKey
from proxy.kms.store import KeyStore, Record
from proxy.xaes import XAES256GCM

T = TypeVar("T")

_MAX_LOADED: Final = 20_000


@dataclass(frozen=True)
class WrappedMaterial:
    """New material, ready to be stored."""

    material_id: str
    record: Record


class KeyRing:
    """Material is immutable, so what was unwrapped once stays valid; ``forget`` drops what has been deleted."""

    def __init__(self, store: KeyStore, root_key: RootKey, random: Callable[[int], bytes]) -> None:
        self._store = store
        self._root_key = root_key
        self._random = random
        self._loaded: dict[tuple[KeyName, int], Any] = {}

    async def cipher(self, name: KeyName, ordinal: int) -> XAES256GCM:
        """The cipher of a backing key whose material is present.

        Raises RootKeyUnusable or StoreUnavailable; LookupError when the store has lost the material."""
        return await self.loaded(name, ordinal, XAES256GCM)

    def at_hand(self, name: KeyName, ordinal: int) -> XAES256GCM | None:
        """The cipher of a backing key of a symmetric key, if it is ready in memory."""
        found: XAES256GCM | None = self._loaded.get((name, ordinal))
        return found

    async def loaded(self, name: KeyName, ordinal: int, load: Callable[[bytes], T]) -> T:
        """What ``load`` makes of the material of a backing key that is present; for one key always the same ``load``.

        Raises as ``cipher``."""
        found: T | None = self._loaded.get((name, ordinal))
        if found is None:
            found = load(await self._unwrapped(name, ordinal))
            if len(self._loaded) >= _MAX_LOADED:
                self._loaded.clear()
            self._loaded[name, ordinal] = found
        return found

    async def _unwrapped(self, name: KeyName, ordinal: int) -> bytes:
        record = await self.record(name, ordinal)
        if record is None:
            raise LookupError(f"no material for {name.arn}, backing key {ordinal}")
        return await self._root_key.unwrap(record.body, material.associated_data(name, ordinal))

    async def generate(self, name: KeyName, ordinal: int) -> WrappedMaterial:
        """Fresh material for a new backing key."""
        return await self.wrap(name, ordinal, self._random(material.MATERIAL_SIZE))

    async def generate_for(self, names: Sequence[KeyName], ordinal: int) -> tuple[str, list[Record]]:
        """Fresh material for a new backing key that all these related keys share: its id, and a copy for each."""
        plaintext = self._random(material.MATERIAL_SIZE)
        wrapped = [await self.wrap(name, ordinal, plaintext) for name in names]
        return wrapped[0].material_id, [each.record for each in wrapped]

    async def copy(self, source: KeyName, ordinals: Iterable[int], to: KeyName) -> list[Record]:
        """Copies of a key's material for a new replica of it. Raises LookupError when the store has lost some."""
        copies: list[Record] = []
        for ordinal in ordinals:
            plaintext = await self._unwrapped(source, ordinal)
            copies.append((await self.wrap(to, ordinal, plaintext)).record)
        return copies

    async def wrap(self, name: KeyName, ordinal: int, plaintext: bytes) -> WrappedMaterial:
        """Given material (an import) for a backing key that has none."""
        wrapped = await self._root_key.wrap(plaintext, material.associated_data(name, ordinal))
        record = Record(model.MATERIAL, model.material_record_id(name, ordinal), 0, wrapped)
        return WrappedMaterial(material.material_id(name, plaintext), record)

    async def record(self, name: KeyName, ordinal: int) -> Record | None:
        """The stored material as it is, for its deletion."""
        return await self._store.get(model.MATERIAL, model.material_record_id(name, ordinal))

    @property
    def held(self) -> frozenset[tuple[KeyName, int]]:
        """The backing keys that are ready in memory."""
        return frozenset(self._loaded)

    def drop(self, name: KeyName, ordinal: int) -> None:
        """Drops a backing key from memory."""
        self._loaded.pop((name, ordinal), None)

    def forget(self, key: KmsKey, gone: Callable[[BackingKey], bool]) -> None:
        """Drops the ciphers of the backing keys that are gone."""
        for backing in key.backing_keys:
            if gone(backing):
                self._loaded.pop((key.name, backing.ordinal), None)
