"""Port KeyStore: where the key service keeps its records.

Record kinds and the layout of their bodies belong to ``kms.model``; a store sees opaque bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Record:
    """One entity. ``version`` counts its writes from 1; as an argument it is the version expected to be there now,
    0 for none."""

    kind: str
    id: str
    version: int
    body: bytes


class Conflict(Exception):
    """Some record was not at its expected version; nothing was written."""


class StoreUnavailable(Exception):
    """The store could not be read or written (disk full, locked for too long, gone); a write may not have happened."""


class KeyStore(Protocol):
    """Records by kind and id, with compare-and-set over several at once.

    A write is durable when ``write`` returns, and all of it or none of it is there after a crash. Every process that
    shares the store sees a completed write at its next read. Methods raise nothing but Conflict and StoreUnavailable.
    Order is promised for ``scan`` only: by id, compared as code points.
    """

    async def get(self, kind: str, id: str) -> Record | None:
        """The record as it is now."""
        ...

    async def write(
        self, puts: Sequence[Record], deletes: Sequence[Record] = (), unchanged: Sequence[Record] = ()
    ) -> None:
        """Writes and deletes all the records or, if any is not at its expected version, none of them (Conflict).

        ``unchanged`` have to be at their expected versions, too, but are left alone; their bodies do not count."""
        ...

    async def scan(self, kind: str, prefix: str = "", after: str = "", limit: int = 1000) -> list[Record]:
        """The records whose ids start with ``prefix`` and are greater than ``after``, at most ``limit``, in order."""
        ...

    def generation(self) -> int:
        """A number that differs from the last answer if any process may have written since; cheap (microseconds)."""
        ...

    async def aclose(self) -> None: ...
