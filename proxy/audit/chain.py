"""One line of a chain: an event with its number, the MAC of the line before, and its own. Pure.

A line is the event's JSON with one more member, the last: ``"chain":{"name":…,"number":…,"previous":…,"mac":…}``.
Numbers count from 1, through all files and all runs of a worker. The MAC is HMAC-SHA256, under a key that follows from
the key service's own secret and the chain's name, over the number (8 bytes, big-endian), the previous MAC (32 bytes;
zeros before the first line), and the event's JSON as it stands in the line, without that member.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

START: Final = bytes(32)
"""What stands for the MAC before the first line."""

_CHAIN: Final = re.compile(
    rb',"chain":\{"name":"([A-Za-z0-9._-]{1,64})","number":([1-9][0-9]{0,17}),'
    rb'"previous":"([0-9a-f]{64})","mac":"([0-9a-f]{64})"\}\}\Z'
)
_NUMBER: Final = re.compile(rb'"number":([0-9]{1,18}),')
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False)


@dataclass(frozen=True)
class Place:
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
        self._name = name
        self._mac = hmac.new(chain_key(key, name), digestmod=hashlib.sha256)

    def line(self, event: Mapping[str, Any]) -> bytes:
        """The next line, with its line feed."""
        text = _ENCODER.encode(event).encode()
        number, previous = self.place.number + 1, self.place.mac
        state = self._mac.copy()
        state.update(b"%b%b%b" % (number.to_bytes(8, "big"), previous, text))
        mac = state.digest()
        self.place = Place(number, mac)
        return b'%b,"chain":{"name":"%b","number":%d,"previous":"%b","mac":"%b"}}\n' % (
            text[:-1],
            self._name.encode(),
            number,
            previous.hex().encode(),
            mac.hex().encode(),
        )


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
