"""The head of an HTTP/1.1 message on the wire (RFC 9112, sections 2 to 5)."""

import re
from collections.abc import Iterable

from multidict import istr

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS = bytes(range(9)) + bytes(range(10, 32)) + b"\x7f"
"""What must not stand in a head but for the line ends themselves; a tab may."""

_MOST_NAMES = 512
_names: set[str] = set()
"""Names that have been found to be tokens: nearly always the same few dozen."""


def encode_head(first_line: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """A head, with the empty line that ends it. Values are UTF-8 with ``surrogateescape``, so that bytes which were
    received leave as they came.

    Raises:
        ValueError: a name is not a token, or a line break or another control character stands somewhere. Nothing
            that comes from a client can thus add a field or end the head.
    """
    lines = [first_line]
    for name, value in fields:
        if name not in _names:
            _check_name(name)
        lines.append(f"{name}: {value}")
    lines.append("\r\n")
    head = "\r\n".join(lines).encode("utf-8", "surrogateescape")
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls != 2 * len(lines) or head.count(b"\r\n") != len(lines):
        raise ValueError("a control character in the head of an HTTP message")
    return head


_read: dict[bytes, str] = {}
_LONGEST_KEPT = 64


def field_name(name: bytes) -> str:
    """The name of a field that was received, as header dictionaries keep it; made once for each of the few there are.
    It must be a token."""
    known = _read.get(name)
    if known is None:
        known = istr(name.decode("ascii"))
        if len(name) <= _LONGEST_KEPT:
            if len(_read) >= _MOST_NAMES:
                _read.clear()
            _read[name] = known
    return known


def is_field_name(text: str) -> bool:
    """Whether it can name a field (RFC 9110, section 5.1)."""
    return _TOKEN.fullmatch(text) is not None


def _check_name(name: str) -> None:
    if not is_field_name(name):
        raise ValueError("the name of a header field is not a token")
    if len(_names) >= _MOST_NAMES:
        _names.clear()
    _names.add(name)
