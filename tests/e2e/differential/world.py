"""What all rules of the differential test share: the sides, the names, and what has been written so far."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from tests.e2e.differential.asks import Ask, Pair, Sides
from tests.e2e.differential.comparing import Books, Difference, compare
from tests.e2e.differential.deviations import explained
from tests.e2e.samples import MIB, body
from tests.e2e.wire import Answer

NAMES = (
    "a",
    "b",
    "dir/a",
    "dir/b",
    "dir/sub/a",
    "dir-/a",
    "uploads/a",
    "a b+c%2Fd&e=f?g#h",
    "ü/日本語 🗝",
    "<x>&'\"",
    "marker/",
    "z" * 200,
)
NO_NAMES = ("none", "dir", "a/b")
"""Keys that nothing is written to."""

SIZES = (0, 1, 3, 100, 65_479, 65_480, 65_481, 131_000, 131_001, 200_000)
FEW_SIZES = (MIB - 1, MIB, MIB + 1, 1_500_000)

names = st.sampled_from(NAMES)
any_names = st.sampled_from(NAMES + NO_NAMES)
sizes = st.one_of(st.sampled_from(SIZES), st.sampled_from(SIZES), st.sampled_from(SIZES + FEW_SIZES))
picks = st.integers(0, 11)

targets = st.one_of(picks, picks, picks, any_names)
"""Most often what is there."""

Target = int | str
T = TypeVar("T")


@dataclass
class Upload:
    """A multipart upload, under way or ended."""

    key: str
    id: Pair
    parts: dict[int, Pair] = field(default_factory=dict)
    """ETags of the parts that are there, by number."""
    sizes: dict[int, int] = field(default_factory=dict)


class World(RuleBasedStateMachine):
    """Sends requests to both sides of one pair of buckets, under a prefix that no other example uses."""

    bucket_pairs: ClassVar[Mapping[tuple[str, bool], Sides]]
    """By how the proxy's bucket encrypts and whether versions are kept."""
    examples: ClassVar[int] = 0
    requests: ClassVar[int] = 0
    run_name: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__()
        World.examples += 1
        self.prefix = f"{self.run_name}{World.examples:06d}/"
        self.books = Books()
        self.etags: dict[str, list[Pair]] = defaultdict(list)
        """Of what was written to each key, in order."""
        self.versions: list[tuple[str, Pair]] = []
        self.uploads: list[Upload] = []
        self.ended: list[Upload] = []
        self.over = False
        """Whether the sides have parted for a reason that is known: nothing more can be learnt from them."""
        self.asked: list[str] = []
        self.versioned = self.suspended = False
        self._bodies = 0
        self.sides: Sides

    def key(self, name: str) -> str:
        return self.prefix + name

    def target(self, what: Target) -> str:
        """A key: one that has an object, by its place among them, or any by its name."""
        if isinstance(what, str):
            return self.key(what)
        return pick([key for key, written in self.etags.items() if written], what) or self.key(NAMES[what])

    def content(self, size: int) -> bytes:
        """A body that was not sent before."""
        self._bodies += 1
        return body(size, self._bodies)

    def send(self, ask: Ask) -> tuple[Answer, Answer]:
        """The answers of both sides, which say the same or differ as the table of deviations has it."""
        World.requests += 2
        direct, proxy = self.sides.send(ask)
        self.asked.append(f"{direct.status} {proxy.status} {shown(ask)}")
        found = compare(ask, direct, proxy, self.books)
        unexplained = [each for each in found if not explained(self.sides, ask, each)]
        if found and ask.changes and any(each.what == "status" for each in found):
            self.over = True
        if unexplained:
            text = report(self.sides, ask, direct, proxy, unexplained)
            raise AssertionError("\n".join([text, "--- what was asked before:", *self.asked]))
        return direct, proxy

    def wrote(self, key: str, etag: Pair, version: Pair | None) -> None:
        """Takes down what was written, as the answers to it have told."""
        self.etags[key].append(etag)
        if version is not None and version.direct != "null":
            self.versions.append((key, version))

    def stale(self, key: str) -> Pair | None:
        """The ETag of what was written to a key before, if the store's is not that of what is there now."""
        written = self.etags[key]
        others = [pair for pair in written[:-1] if pair.direct != written[-1].direct]
        return others[-1] if others else None


def pick(rows: Sequence[T], index: int) -> T | None:
    """One of the rows, for any index; None if there are none."""
    return rows[index % len(rows)] if rows else None


def report(sides: Sides, ask: Ask, direct: Answer, proxy: Answer, found: Sequence[Difference]) -> str:
    lines = [f"{sides.store}, {sides.mode}: {ask.operation}", *map(str, found), shown(ask)]
    for side, answer in (("store", direct), ("proxy", proxy)):
        lines += [f"--- {side}: {answer.status}", str(answer.headers).strip(), repr(answer.body[:2000])]
    text = "\n".join(lines)
    note(text)
    return text


def shown(ask: Ask) -> str:
    sent: Any = f"{len(ask.body)} bytes" if isinstance(ask.body, bytes) else ask.body
    return f"{ask.method} {ask.key!r} {list(ask.query)} {dict(ask.headers)} {sent}"
