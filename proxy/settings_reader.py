"""Reads typed values out of a parsed TOML document and remembers every fault, so that all are reported together."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

ENVIRONMENT_PREFIX = "SSE_KMS_PROXY_"

T = TypeVar("T")

_NEVER = datetime.max.replace(tzinfo=UTC)


class Faults:
    """What is wrong with one file, line by line, in the order in which it was found."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: list[str] = []

    def add(self, where: str, expectation: str) -> None:
        self.lines.append(f"{self.file}: {where}: {expectation}")


class Environment:
    """The variables that start with ``SSE_KMS_PROXY_``; it remembers which ones were asked for."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._values = {name: value for name, value in environ.items() if name.startswith(ENVIRONMENT_PREFIX)}
        self._known: set[str] = set()

    def get(self, name: str) -> str | None:
        """The variable's value; one that is set to nothing counts as not set."""
        self._known.add(ENVIRONMENT_PREFIX + name)
        return self._values.get(ENVIRONMENT_PREFIX + name) or None

    def report_unknown(self, faults: Faults) -> None:
        for name in sorted(self._values.keys() - self._known):
            faults.add(f"environment variable {name}", "is not one that is read" + suggestion(name, self._known))


class Section:
    """One table of the document. Each method reads one key; ``finish`` reports the keys that nobody read.

    A value that is missing or wrong is reported and replaced by a stand-in of the right type, so that reading can go
    on; the caller must look at the faults before it uses any value.
    """

    def __init__(self, name: str, table: Any, faults: Faults, environment: Environment) -> None:
        self.name = name
        self._faults = faults
        self._environment = environment
        self._known: set[str] = set()
        self._table: Mapping[str, Any] = {}
        if isinstance(table, dict):
            self._table = table
        else:
            faults.add(self.name, f"must be a table, not {_kind(table)}")

    @property
    def folder(self) -> Path:
        """What file names in the document are relative to."""
        return self._faults.file.parent

    def fault(self, key: str, expectation: str) -> None:
        self._faults.add(f"{self.name} {key}", expectation)

    def has(self, key: str) -> bool:
        return key in self._table

    def text(self, key: str, default: str | None = None) -> str:
        """A string that is not empty; required if there is no default."""
        value = self._value(key, str, "a string", default, "")
        if value == "" and key in self._table and isinstance(self._table[key], str):
            self.fault(key, "must not be empty")
        return value

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        value = self._value(key, str, "a string", default, default)
        if value not in choices:
            self.fault(key, f"must be one of {', '.join(choices)}, not {value!r}" + suggestion(value, choices))
        return value

    def boolean(self, key: str, default: bool) -> bool:
        return self._value(key, bool, "true or false", default, default)

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number, both bounds included."""
        value = self._value(key, int, "a whole number", default, default)
        if not low <= value <= high:
            self.fault(key, f"must be from {low} to {high}, not {value}")
        return value

    def seconds(self, key: str, default: float) -> float:
        value = float(self._value(key, (int, float), "a number of seconds", default, default))
        if not 0 < value <= 86_400:
            self.fault(key, f"must be more than 0 and at most 86400 seconds, not {value:g}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; empty if the key is missing."""
        values: list[Any] = self._value(key, list, "a list of strings", [], [])
        if not all(isinstance(value, str) and value for value in values):
            self.fault(key, "must be a list of strings, none of them empty")
            return ()
        return tuple(values)

    def integers(self, known: Iterable[str], low: int, high: int) -> dict[str, int]:
        """All the keys of the table that are among ``known``, each a whole number; others are reported."""
        names = sorted(known)
        self._known.update(names)
        return {name: self.integer(name, low, low, high) for name in names if name in self._table}

    def optional_time(self, key: str) -> datetime | None:
        """A date and time with its offset from UTC, as TOML has them: ``2026-11-23T06:00:00Z``."""
        value = self._value(key, datetime, "a date and time, such as 2026-11-23T06:00:00Z", _NEVER, _NEVER)
        if value is _NEVER:
            return None
        if value.tzinfo is None:
            self.fault(key, "must name its offset from UTC, such as the Z of 2026-11-23T06:00:00Z")
            return None
        return value.astimezone(UTC)

    def subsection(self, key: str) -> "Section":
        """A table inside this one; an empty one if it is missing. Whoever asks for it finishes it."""
        self._known.add(key)
        return Section(f"{self.name[:-1]}.{key}]", self._table.get(key, {}), self._faults, self._environment)

    def path(self, key: str, *, exists: bool) -> Path:
        """A required file name, relative to the folder of the configuration file."""
        return self._resolve(key, self.text(key), exists=exists)

    def optional_path(self, key: str, *, exists: bool = True) -> Path | None:
        self._known.add(key)
        return self._resolve(key, self.text(key), exists=exists) if key in self._table else None

    def secret(self, key: str, variable: str) -> str:
        """A secret from the environment variable, else from the file that ``KEY_file`` names, else from ``KEY``."""
        found = self.optional_secret(key, variable)
        if found is None:
            hint = f"or {key}_file, or the environment variable {ENVIRONMENT_PREFIX}{variable}"
            self.fault(key, f"is required (here, {hint})")
        return found or ""

    def optional_secret(self, key: str, variable: str) -> str | None:
        """The same, and None where it is given nowhere."""
        from_environment = self._environment.get(variable)
        file = self.optional_path(f"{key}_file")
        inline = self.text(key) if key in self._table else None
        if file is not None and inline is not None:
            self.fault(key, f"is given twice: here and in {key}_file")
        if from_environment is not None:
            return from_environment
        if file is not None:
            return self._read_secret(f"{key}_file", file) if file.is_file() else ""
        return inline

    def finish(self) -> None:
        for key in self._table:
            if key not in self._known:
                self.fault(key, "is not a known key" + suggestion(key, self._known))

    def _value(self, key: str, kind: type | tuple[type, ...], name: str, default: T | None, stand_in: T) -> T:
        self._known.add(key)
        if key not in self._table:
            if default is None:
                self.fault(key, f"is required: {name}")
                return stand_in
            return default
        value = self._table[key]
        # bool is a subclass of int, but `workers = true` is a mistake.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.fault(key, f"must be {name}, not {_kind(value)}")
            return stand_in
        return cast(T, value)

    def _resolve(self, key: str, text: str, *, exists: bool) -> Path:
        path = self.folder / text
        if exists and text and not path.is_file():
            self.fault(key, f"names a file that does not exist: {path}")
        return path

    def _read_secret(self, key: str, file: Path) -> str:
        try:
            value = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            self.fault(key, f"cannot be read: {error}")
            return ""
        if not value:
            self.fault(key, f"names an empty file: {file}")
        return value


def suggestion(name: str, known: Iterable[str]) -> str:
    """``; did you mean …?`` where something known looks alike, else nothing."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def checked(section: Section, key: str, parse: Callable[[], T], stand_in: T) -> T:
    """The result of ``parse``; a ValueError becomes a fault of the key."""
    try:
        return parse()
    except ValueError as error:
        section.fault(key, str(error))
        return stand_in


def _kind(value: Any) -> str:
    names = {bool: "a boolean", int: "a whole number", float: "a number", str: "a string", list: "a list"}
    return names.get(type(value), "a table" if isinstance(value, dict) else f"a {type(value).__name__}")
