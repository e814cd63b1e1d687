"""A KeyStore in memory, for tests and for looking around; nothing outlives the process."""

from collections.abc import Sequence

from proxy.kms.store import KeyStore, Record


class MemoryKeyStore(KeyStore):
    """Records in a dictionary."""

    async def get(self, kind: str, id: str) -> Record | None:
        raise NotImplementedError

    async def write(self, puts: Sequence[Record], deletes: Sequence[Record] = ()) -> None:
        raise NotImplementedError

    async def scan(self, kind: str, prefix: str = "", after: str = "", limit: int = 1000) -> list[Record]:
        raise NotImplementedError

    def generation(self) -> int:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError
