"""AWS's JSON protocols: input decoded and validated by declared shapes, output encoded.

A shape says what AWS's service model says of a member: type, length, range, pattern, enumeration. A wrong JSON type is
a SerializationException; values that break a constraint are gathered into one ValidationException with AWS's wording
("2 validation errors detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null; …").
Blobs are base64, timestamps are seconds since the epoch.
Source: https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NoReturn, Protocol

from proxy.aws.errors import AwsError

Values = dict[str, Any]
"""A decoded structure: AWS's member names, absent members left out."""


class Shape(Protocol):
    """The type and the constraints of a value."""

    def decode(self, value: Any, path: str, faults: list[str]) -> Any:
        """The value as Python has it; broken constraints are added to ``faults``.

        Raises AwsError (SerializationException): it is of another JSON type."""
        ...


def _wrong_type(value: Any, wanted: str) -> NoReturn:
    if isinstance(value, dict):
        raise serialization_error("Start of structure or map found where not expected.")
    if isinstance(value, list):
        raise serialization_error("Start of list found where not expected")
    token = {bool: "TRUE_VALUE" if value else "FALSE_VALUE", str: "STRING_VALUE"}.get(type(value), "NUMBER_VALUE")
    raise serialization_error(f"{token} cannot be converted to {wanted}")


def serialization_error(message: str) -> AwsError:
    return AwsError("SerializationException", message)


def _fault(shown: str, path: str, constraint: str) -> str:
    return f"Value {shown}at '{path}' failed to satisfy constraint: {constraint}"


def _length_faults(length: int, least: int, most: int | None, shown: str, path: str, faults: list[str]) -> None:
    if length < least:
        faults.append(_fault(shown, path, f"Member must have length greater than or equal to {least}"))
    elif most is not None and length > most:
        faults.append(_fault(shown, path, f"Member must have length less than or equal to {most}"))


@dataclass(frozen=True)
class String:
    """Text of ``min`` to ``max`` characters, wholly matched by ``pattern``, or one of ``enum``. What is ``sensitive``
    is never shown in an error."""

    min: int = 0
    max: int | None = None
    pattern: str | None = None
    enum: tuple[str, ...] = ()
    sensitive: bool = False
    _compiled: re.Pattern[str] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_compiled", re.compile(self.pattern) if self.pattern else None)

    def decode(self, value: Any, path: str, faults: list[str]) -> str:
        if not isinstance(value, str):
            _wrong_type(value, "String")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise serialization_error("Text holds an unpaired surrogate.") from None
        shown = "" if self.sensitive else f"'{value}' "
        if self.enum and value not in self.enum:
            constraint = f"Member must satisfy enum value set: [{', '.join(self.enum)}]"
            faults.append(_fault(shown, path, constraint))
        if len(value) < self.min or (self.max is not None and len(value) > self.max):
            _length_faults(len(value), self.min, self.max, shown, path, faults)
        if self._compiled is not None and not self._compiled.fullmatch(value):
            constraint = f"Member must satisfy regular expression pattern: {self.pattern}"
            faults.append(_fault(shown, path, constraint))
        return value


@dataclass(frozen=True)
class Blob:
    """Bytes, ``min`` to ``max`` of them; never shown in an error."""

    min: int = 0
    max: int | None = None

    def decode(self, value: Any, path: str, faults: list[str]) -> bytes:
        if not isinstance(value, str):
            _wrong_type(value, "ByteBuffer")
        try:
            data = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise serialization_error("Invalid Base64 in a blob.") from None
        _length_faults(len(data), self.min, self.max, "", path, faults)
        return data


@dataclass(frozen=True)
class Integer:
    """A whole number of ``min`` to ``max``."""

    min: int | None = None
    max: int | None = None

    def decode(self, value: Any, path: str, faults: list[str]) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            _wrong_type(value, "Integer")
        if self.min is not None and value < self.min:
            constraint = f"Member must have value greater than or equal to {self.min}"
            faults.append(_fault(f"'{value}' ", path, constraint))
        if self.max is not None and value > self.max:
            faults.append(_fault(f"'{value}' ", path, f"Member must have value less than or equal to {self.max}"))
        return value


@dataclass(frozen=True)
class Boolean:
    def decode(self, value: Any, path: str, faults: list[str]) -> bool:  # noqa: ARG002
        if not isinstance(value, bool):
            _wrong_type(value, "Boolean")
        return value


@dataclass(frozen=True)
class Timestamp:
    """A point in time, with its zone (UTC)."""

    def decode(self, value: Any, path: str, faults: list[str]) -> datetime:  # noqa: ARG002
        if isinstance(value, bool) or not isinstance(value, int | float):
            _wrong_type(value, "Timestamp")
        try:
            return datetime.fromtimestamp(value, UTC)
        except (ValueError, OverflowError, OSError):
            raise serialization_error("A timestamp is out of range.") from None


@dataclass(frozen=True)
class ListOf:
    """A list of ``min`` to ``max`` members of one shape."""

    member: Shape
    min: int = 0
    max: int | None = None

    def decode(self, value: Any, path: str, faults: list[str]) -> list[Any]:
        if not isinstance(value, list):
            if isinstance(value, dict):
                _wrong_type(value, "List")
            raise serialization_error("Unexpected field type")
        shown = f"'[{', '.join(map(str, value))}]' "
        _length_faults(len(value), self.min, self.max, shown, path, faults)
        members = []
        for position, member in enumerate(value, 1):
            if member is None:
                faults.append(_fault("null ", f"{path}.{position}.member", "Member must not be null"))
            else:
                members.append(self.member.decode(member, f"{path}.{position}.member", faults))
        return members


@dataclass(frozen=True)
class MapOf:
    """A map of texts to values of one shape."""

    value: Shape
    key: Shape = field(default_factory=String)

    def decode(self, value: Any, path: str, faults: list[str]) -> dict[str, Any]:
        if not isinstance(value, dict):
            if isinstance(value, list):
                _wrong_type(value, "Map")
            raise serialization_error("Unexpected field type")
        decoded = {}
        for name, item in value.items():
            self.key.decode(name, path, faults)
            if item is None:
                faults.append(_fault("null ", f"{path}.{name}.member", "Member must not be null"))
            else:
                decoded[name] = self.value.decode(item, f"{path}.{name}.member", faults)
        return decoded


class Structure:
    """Named members; those in ``required`` must be there and not null. Unknown members are ignored, as AWS does."""

    def __init__(self, members: Mapping[str, Shape], required: tuple[str, ...] = ()) -> None:
        unknown = set(required) - set(members)
        if unknown:
            raise ValueError(f"required, but not a member: {unknown}")
        self.members = dict(members)
        self.required = required
        self._paths = {name: name[0].lower() + name[1:] for name in members}

    def decode(self, value: Any, path: str, faults: list[str]) -> Values:
        if not isinstance(value, dict):
            if isinstance(value, list):
                _wrong_type(value, "Structure")
            raise serialization_error("Unexpected field type")
        prefix = f"{path}." if path else ""
        faults.extend(
            _fault("null ", prefix + self._paths[name], "Member must not be null")
            for name in self.required
            if value.get(name) is None
        )
        members = self.members
        return {
            name: members[name].decode(item, prefix + self._paths[name], faults)
            for name, item in value.items()
            if item is not None and name in members
        }


def decode(shape: Structure, body: bytes) -> Values:
    """Decodes a request's body; an empty one is an empty structure.

    Raises:
        AwsError: SerializationException or ValidationException, 400.
    """
    faults: list[str] = []
    try:
        document = json.loads(body, parse_constant=_no_constant) if body else {}
    except (ValueError, RecursionError):
        raise serialization_error("The request is not well-formed JSON.") from None
    values = shape.decode(document, "", faults)
    if faults:
        noun = "error" if len(faults) == 1 else "errors"
        raise AwsError("ValidationException", f"{len(faults)} validation {noun} detected: {'; '.join(faults)}")
    return values


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _encode_value(value: object) -> object:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime):
        return round(value.timestamp(), 3)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), default=_encode_value)


def encode(values: Mapping[str, Any]) -> bytes:
    """A structure as JSON. Bytes become base64, times seconds with at most three decimals; None is written as null."""
    return _ENCODER.encode(values).encode("ascii")
