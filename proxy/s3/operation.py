"""Operations as values, and the table that finds the one a request asks for.

A row names a method, a level and the query parameters and headers that must be there. Among the rows that match, the
one with the most conditions wins; names are compared whole, on the parsed query. Two equal rows are refused when the
table is made.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from proxy.aws.message import Request, Response
from proxy.s3.errors import not_implemented
from proxy.s3.gateway import Call, Gateway, Target

Run = Callable[[Gateway, Call], Awaitable[Response]]


class Level(StrEnum):
    """What a request's path names."""

    SERVICE = "service"
    BUCKET = "bucket"
    OBJECT = "object"

    @staticmethod
    def of(target: Target) -> "Level":
        if target.key:
            return Level.OBJECT
        return Level.BUCKET if target.bucket else Level.SERVICE


@dataclass(frozen=True)
class Operation:
    """One S3 operation: how it is recognised, what the caller must be allowed, and the function that does it."""

    name: str
    """As in AWS's API reference: ``PutObject``."""
    method: str
    level: Level
    action: str
    """The IAM action on the target, such as ``s3:PutObject``; ``""`` where the operation itself sees to it, or there is
    nothing to be allowed."""
    run: Run
    query: frozenset[str] = frozenset()
    """Parameters that must be there: ``name``, or ``name=value``."""
    headers: frozenset[str] = frozenset()
    """Header names, in lower case, that must be there."""
    makes_bucket: bool = False
    """Whether the target's bucket need not exist yet."""

    def matches(self, names: frozenset[str], request: Request) -> bool:
        """``names`` holds the request's parameters, as ``name`` and as ``name=value``."""
        return self.query <= names and all(header in request.headers for header in self.headers)


def operation(
    name: str,
    method: str,
    level: Level,
    action: str,
    *,
    query: Iterable[str] = (),
    headers: Iterable[str] = (),
    makes_bucket: bool = False,
) -> Callable[[Run], Operation]:
    """Makes an Operation of the function that it decorates."""

    def make(run: Run) -> Operation:
        return Operation(name, method, level, action, run, frozenset(query), frozenset(headers), makes_bucket)

    return make


_NO_NAMES: Final[frozenset[str]] = frozenset()


def _names_of(request: Request) -> frozenset[str]:
    return frozenset(
        item for name, value in request.parameters for item in ((name, f"{name}={value}") if value else (name,))
    )


class RouteTable:
    """Finds operations.

    Raises:
        ValueError: two rows have the same method, level and conditions.
    """

    def __init__(self, operations: Iterable[Operation]) -> None:
        rows: dict[tuple[str, Level], list[Operation]] = defaultdict(list)
        seen: dict[tuple[object, ...], str] = {}
        for row in operations:
            conditions = (row.method, row.level, row.query, row.headers)
            if conditions in seen:
                raise ValueError(f"{row.name} and {seen[conditions]} have the same row")
            seen[conditions] = row.name
            rows[row.method, row.level].append(row)
        for candidates in rows.values():
            candidates.sort(key=lambda row: len(row.query) + len(row.headers), reverse=True)
        self._rows = dict(rows)
        # Most requests have none of the parameters that any row asks for; they need not be held against those rows.
        self._bare = {key: [row for row in found if not row.query] for key, found in rows.items()}
        self._named = {key: frozenset().union(*(row.query for row in found)) for key, found in rows.items()}

    def find(self, request: Request, target: Target) -> Operation:
        """The operation that the request asks for.

        Raises:
            AwsError: 501 NotImplemented, when no row matches.
        """
        names = _names_of(request) if request.query else _NO_NAMES
        kind = (request.method, Level.of(target))
        asked = bool(names) and not names.isdisjoint(self._named.get(kind, ()))
        for row in (self._rows if asked else self._bare).get(kind, ()):
            if row.matches(names, request):
                return row
        raise not_implemented()
