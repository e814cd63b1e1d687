"""A KeyStore in memory, for tests and for looking around; nothing outlives the process."""

from collections.abc import Sequence

from proxy.kms.store import Conflict, KeyStore, Record


class MemoryKeyStore(KeyStore):
    """Records in a dictionary."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], Record] = {}
        self._generation = 0

    async def get(self, kind: str, id: str) -> Record | None:
        return self._records.get((kind, id))

    async def write(
        self, puts: Sequence[Record], deletes: Sequence[Record] = (), unchanged: Sequence[Record] = ()
    ) -> None:
        for record in (*puts, *deletes, *unchanged):
            there = self._records.get((record.kind, record.id))
            if (there.version if there else 0) != record.version:
                raise Conflict(f"{record.kind} {record.id}")
        self._generation += 1
        for record in puts:
            self._records[record.kind, record.id] = Record(record.kind, record.id, record.version + 1, record.body)
        for record in deletes:
            self._records.pop((record.kind, record.id), None)

    async def scan(self, kind: str, prefix: str = "", after: str = "", limit: int = 1000) -> list[Record]:
        ids = sorted(id for there, id in self._records if there == kind and id.startswith(prefix) and id > after)
        return [self._records[kind, id] for id in ids[:limit]]

    def generation(self) -> int:
        return self._generation

    async def aclose(self) -> None:
        self._records.clear()
