"""One line of a chain: an event with its number, the MAC of the line before, and its own. Pure.

A line is the event's JSON with one more member, the last: ``"chain":{"name":…,"number":…,"previous":…,"mac":…}``.
Numbers count from 1, through all files and all runs of a worker. The MAC is HMAC-SHA256, under a key that follows from
the key service's own secret and the chain's name, over the number (8 bytes, big-endian), the previous MAC (32 bytes;
zeros before the first line), and the event's JSON as it stands in the line, without that member.
"""

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

START: Final = bytes(32)
"""What stands for the MAC before the first line."""

_CHAIN: Final = re.compile(
    rb',"chain":\{"name":"([A-Za-z0-9._-]{1,64})","number":([1-9][0-9]{0,17}),'
    rb'"previous":"([0-9a-f]{64})","mac":"([0-9a-f]{64})"\}\}\Z'
)
_NUMBER: Final = re.compile(rb'"number":([0-9]{1,18}),')
_IDENTITY: Final = "userIdentity"
_MAX_IDENTITIES: Final = 1024
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False)


class Place(NamedTuple):
    """How far a chain goes."""

    number: int
    mac: bytes


BEGINNING: Final = Place(0, START)


@dataclass(frozen=True)
class Line:
    """A line that was read."""

    place: Place
    previous: bytes
    is_genuine: bool
    """Whether the MAC is right."""
    event: Mapping[str, Any]


def chain_key(key: bytes, name: str) -> bytes:
    """The key of one chain; ``key`` is that of the audit log."""
    return hmac.digest(key, b"chain " + name.encode(), "sha256")


class Chain:
    """Adds lines to a chain."""

    def __init__(self, name: str, key: bytes, place: Place) -> None:
        """``key`` is that of the audit log."""
        self.place = place
        # To be copied. Unlike hmac.digest, it does not let another thread take the interpreter in between, which for
        # each of many lines in a row costs more than the line.
        self._mac = HMAC(chain_key(key, name), SHA256())
        self._begin = b',"chain":{"name":"%b","number":' % name.encode()
        self._previous = place.mac.hex().encode()
        # By the object's identity; it is kept, so its id stays its own.
        self._identities: dict[int, tuple[Mapping[str, Any], str]] = {}

    def line(self, event: Mapping[str, Any]) -> bytes:
        """The next line, with its line feed."""
        text = self._encode(event)
        number, previous = self.place.number + 1, self.place.mac
        context = self._mac.copy()
        context.update(b"%b%b%b" % (number.to_bytes(8, "big"), previous, text))
        mac = context.finalize()
        self.place = Place(number, mac)
        before, self._previous = self._previous, mac.hex().encode()
        return b'%b%b%d,"previous":"%b","mac":"%b"}}\n' % (text[:-1], self._begin, number, before, self._previous)

    def _encode(self, event: Mapping[str, Any]) -> bytes:
        """The event's JSON. Who calls is said in the same words over and over, so that part is encoded once."""
        rest = dict(event)
        identity = rest.pop(_IDENTITY, None)
        if not identity or not rest:
            return _ENCODER.encode(event).encode()
        known = self._identities.get(id(identity))
        if known is None:
            if len(self._identities) >= _MAX_IDENTITIES:
                self._identities.clear()
            known = (identity, f'{{"{_IDENTITY}":{_ENCODER.encode(identity)},')
            self._identities[id(identity)] = known
        return (known[1] + _ENCODER.encode(rest)[1:]).encode()


def number_of(line: bytes) -> int | None:
    """The number that a line claims to have."""
    found = _NUMBER.search(line, max(0, line.rfind(b',"chain":{')))
    return int(found[1]) if found else None


def read(line: bytes, name: str, key: bytes) -> Line | None:
    """A line without its line feed; None for what is no line of this chain. ``key`` is the chain's."""
    found = _CHAIN.search(line)
    if found is None or found[1] != name.encode():
        return None
    text = line[: found.start()] + b"}"
    number, previous, mac = int(found[2]), bytes.fromhex(found[3].decode()), bytes.fromhex(found[4].decode())
    expected = hmac.digest(key, number.to_bytes(8, "big") + previous + text, "sha256")
    is_genuine = hmac.compare_digest(mac, expected)
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        event = {}
    return Line(Place(number, mac), previous, is_genuine, event if isinstance(event, dict) else {})
