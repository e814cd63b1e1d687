"""A KeyStore in one SQLite file, safe for several processes on one machine."""

from collections.abc import Sequence
from pathlib import Path

from proxy.kms.store import KeyStore, Record


class SqliteKeyStore(KeyStore):
    """Records in one table of a database in WAL mode; the file is made with mode 0600."""

    def __init__(self, path: Path, *, busy_timeout: float = 5.0) -> None:
        """``busy_timeout`` in seconds. Raises StoreUnavailable when the file cannot be opened or is no database."""
        raise NotImplementedError

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
