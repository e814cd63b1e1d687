"""Verification of an audit log: reads every line of every chain and says what is wrong, where, and since when."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from proxy.audit import chain, files
from proxy.audit.chain import BEGINNING, Line, Place
from proxy.audit.heads import Anchored, Heads
from proxy.audit.log import CLOSED, OPENED


class Fault(Enum):
    """What may be wrong; the value is the word for it."""

    ALTERED = "altered"
    """A line is not as it was written, or is no line of this chain."""
    REMOVED = "removed"
    """Lines are missing, with others after them."""
    REORDERED = "reordered"
    """A line stands after ones that were written later."""
    REPEATED = "repeated"
    """A number stands there twice."""
    REPLACED = "replaced"
    """A line is genuine, but does not follow the one before it: one of them is from another history."""
    TRUNCATED = "truncated"
    """The end is missing: what the anchor tells of is not there."""
    ANCHOR_MISSING = "anchor missing"
    ANCHORS_ALTERED = "anchors altered"
    GAP = "gap"
    """A run ended without its last word (SIGKILL, loss of power): what it had not yet written is lost."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    fault: Fault
    chain: str
    where: str
    text: str

    def __str__(self) -> str:
        where = f" {self.where}:" if self.where else ""
        return f"{self.fault.value}: {self.chain}:{where} {self.text}"


@dataclass
class Report:
    """What was found."""

    findings: list[Finding] = field(default_factory=list)
    chains: dict[str, int] = field(default_factory=dict)
    """Events by chain."""

    @property
    def is_tampered(self) -> bool:
        return any(finding.fault is not Fault.GAP for finding in self.findings)


def verify(directory: Path, key: bytes) -> Report:
    """Reads a whole audit log; it may be in use meanwhile. ``key`` is that of the audit log.

    Raises OSError: it can't be read."""
    report = Report()
    # The anchors first: what is written later is not anchored in them.
    anchored = _anchors(directory, key, report)
    found = files.chains(directory)
    for name in sorted({*found, *anchored.heads}):
        _Chain(directory, name, key, report).verify(found.get(name, []), anchored.heads.get(name))
    return report


def _anchors(directory: Path, key: bytes, report: Report) -> Anchored:
    path = directory / files.HEADS
    if not path.exists():
        if files.chains(directory):
            text = "there is no file of anchors, so what is missing at the end of a chain does not show"
            report.findings.append(Finding(Fault.ANCHOR_MISSING, "all chains", files.HEADS, text))
        return Anchored({}, is_genuine=True)
    try:
        heads = Heads(path, key, create=False)
        try:
            anchored = heads.read()
        finally:
            heads.close()
    except sqlite3.Error as error:
        report.findings.append(Finding(Fault.ANCHORS_ALTERED, "all chains", files.HEADS, f"cannot be read: {error}"))
        return Anchored({}, is_genuine=False)
    if not anchored.is_genuine:
        text = "the anchors were not all written by this program, or not with this root key"
        report.findings.append(Finding(Fault.ANCHORS_ALTERED, "all chains", files.HEADS, text))
    return anchored


class _Chain:
    """The reading of one chain."""

    def __init__(self, directory: Path, name: str, key: bytes, report: Report) -> None:
        self._directory = directory
        self._name = name
        self._key = chain.chain_key(key, name)
        self._report = report
        self._last = BEGINNING
        """Of the line before: what the next one has to follow."""
        self._most = 0
        """The greatest number so far."""
        self._missing: list[tuple[int, int, str]] = []
        """First and last number, and where the next line after them is."""
        self._last_event = ""
        self._last_time = ""
        self._anchored_mac: bytes | None = None

    def verify(self, paths: list[Path], anchor: Place | None) -> None:
        # Asked first, so that a run that ends while it is read is not taken for one that was killed.
        in_use = files.is_written(self._directory, self._name)
        count = 0
        for where, line in self._lines(paths):
            count += 1
            self._take(where, line, anchor)
        self._report.chains[self._name] = count
        for first, last, where in self._missing:
            self._find(Fault.REMOVED, where, f"{_events(first, last)} missing before this line")
        self._check_anchor(anchor, bool(paths))
        if not in_use and self._last_event not in ("", CLOSED):
            self._find(Fault.GAP, "", self._lost("it has not been started again"))

    def _lines(self, paths: list[Path]) -> Iterator[tuple[str, Line]]:
        for path in paths:
            for number, text, is_whole in files.lines(path):
                where = f"{path.name} line {number}"
                if not is_whole:
                    # The end of a write that was cut short, or is under way; it was never part of the chain.
                    continue
                line = chain.read(text, self._name, self._key)
                if line is None:
                    self._find(Fault.ALTERED, where, f"this is no line of {self._name}")
                    self._last = Place(self._last.number + 1, b"")
                    self._most = max(self._most, self._last.number)
                else:
                    yield where, line

    def _take(self, where: str, line: Line, anchor: Place | None) -> None:
        number = line.place.number
        if anchor is not None and number == anchor.number:
            self._anchored_mac = line.place.mac
        if not line.is_genuine:
            self._find(Fault.ALTERED, where, f"event {number} is not as it was written")
        if number > self._most + 1:
            self._missing.append((self._most + 1, number - 1, where))
        elif number <= self._most:
            self._take_back(where, number)
        elif line.is_genuine and self._last.number == number - 1 and self._last.mac and self._last.mac != line.previous:
            self._find(Fault.REPLACED, where, f"event {number} does not follow event {number - 1} above it")
        self._note_run(where, line)
        self._last = line.place
        self._most = max(self._most, number)

    def _take_back(self, where: str, number: int) -> None:
        for index, (first, last, before) in enumerate(self._missing):
            if first <= number <= last:
                parts = [(first, number - 1, before), (number + 1, last, before)]
                self._missing[index : index + 1] = [part for part in parts if part[0] <= part[1]]
                self._find(Fault.REORDERED, where, f"event {number} stands after event {self._most}")
                return
        self._find(Fault.REPEATED, where, f"event {number} stands there twice")

    def _note_run(self, where: str, line: Line) -> None:
        name = str(line.event.get("eventName", ""))
        if line.is_genuine and name == OPENED:
            if self._last_event not in ("", CLOSED):
                self._find(Fault.GAP, where, self._lost(f"the next run began at {line.event.get('eventTime')}"))
            details = line.event.get("serviceEventDetails", {})
            if details.get("anchors") != "whole":
                state = details.get("anchors")
                text = f"the anchors were {state} when this run began; what was cut off before does not show"
                self._find(Fault.ANCHOR_MISSING, where, text)
        self._last_event = name or "?"
        self._last_time = str(line.event.get("eventTime", ""))

    def _lost(self, what_then: str) -> str:
        return (
            f"the run was ended by force after event {self._most} of {self._last_time}; what happened within a second "
            f"after that may be missing; {what_then}"
        )

    def _check_anchor(self, anchor: Place | None, has_files: bool) -> None:
        if anchor is None:
            if has_files and (self._directory / files.HEADS).exists():
                self._find(Fault.ANCHOR_MISSING, files.HEADS, "this chain has no anchor")
        elif anchor.number > self._most:
            self._find(Fault.TRUNCATED, "", f"{_events(self._most + 1, anchor.number)} missing at the end")
        elif self._anchored_mac is not None and self._anchored_mac != anchor.mac:
            text = f"event {anchor.number} is not the one that was anchored"
            self._find(Fault.REPLACED, files.HEADS, text)

    def _find(self, fault: Fault, where: str, text: str) -> None:
        self._report.findings.append(Finding(fault, self._name, where, text))


def _events(first: int, last: int) -> str:
    return f"event {first} is" if first == last else f"events {first} to {last} are"
