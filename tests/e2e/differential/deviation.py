"""What a row of the table of deviations is, and what its conditions are made of."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote_plus

from tests.e2e.differential.asks import Ask, Sides
from tests.e2e.differential.comparing import Difference

ANY = frozenset({"seaweedfs", "minio"})
SEAWEEDFS = frozenset({"seaweedfs"})
MINIO = frozenset({"minio"})


@dataclass(frozen=True)
class Deviation:
    stores: frozenset[str]
    operations: str
    """Names, separated by spaces; ``*`` for all."""
    what: str
    """As in ``Difference.what``, with ``*`` for any text."""
    why: str
    applies: Callable[[Ask, Any, Any], bool] = lambda ask, direct, proxy: True
    """Of the request and of what the store and the proxy say."""

    def explains(self, sides: Sides, ask: Ask, found: Difference) -> bool:
        named = self.operations == "*" or ask.operation in self.operations.split()
        return (
            sides.store in self.stores
            and named
            and fnmatchcase(found.what, self.what)
            and self.applies(ask, found.direct, found.proxy)
        )


def both(one: tuple[int, str | None], other: tuple[int, str | None]) -> Callable[[Ask, Any, Any], bool]:
    return lambda ask, direct, proxy: (direct, proxy) == (one, other)


def is_no_range(ask: Ask) -> bool:
    """Whether the request's Range is malformed, has several ranges, or ends before it begins."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", str(ask.headers["Range"])) if "Range" in ask.headers else None
    if found is None:
        return True
    first, last = found.groups()
    return not (first or last) or bool(first and last and int(last) < int(first))


def names_list(ask: Ask) -> bool:
    return any(isinstance(value, tuple) for name, value in ask.headers.items() if name.lower().endswith("-match"))


def not_encoded(ask: Ask, direct: Any, proxy: Any) -> bool:
    return [unquote_plus(text) for text in proxy] == direct


def store_has_none(ask: Ask, direct: Any, proxy: Any) -> bool:
    return not direct and bool(proxy)
