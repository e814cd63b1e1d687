"""multipart/form-data as browsers and curl send it: the fields before the file, and the file to its closing boundary.

Sources: RFC 7578 and https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy.aws.errors import AwsError
from proxy.stream import Buffer

MAX_FIELDS: Final = 20 * 1024
"""Bytes that may come before the file's own, as on AWS."""

_FILE: Final = "file"
_TYPE = re.compile(r"multipart/form-data\s*(?:;|$)", re.IGNORECASE)
_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))\s*(?:;|$)', re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([A-Za-z*]+)=(?:"((?:[^"\\]|\\"|\\(?!"))*)"|([^\s;"]*))')


@dataclass(frozen=True)
class Field:
    """A field of a form."""

    name: str
    value: str


@dataclass(frozen=True)
class FormHead:
    """What comes before the bytes of a form's file."""

    fields: Sequence[Field]
    """In order, without the file's."""
    filename: str
    """As the client gave it, without folders; empty where it gave none."""
    content_type: str | None
    """Of the file's part."""
    size: int
    """Bytes of the body before the file's first."""
    boundary: bytes


def malformed() -> AwsError:
    message = "The body of your POST request is not well-formed multipart/form-data."
    return AwsError("MalformedPOSTRequest", message, 400)


def is_form(content_type: str) -> bool:
    return _TYPE.match(content_type) is not None


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names.

    Raises:
        AwsError: MalformedPOSTRequest.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise malformed()
    return (found[1] or found[2]).encode("utf-8", "surrogateescape")


class FormReader:
    """Takes the beginning of a form's body, piece by piece, until the file's first byte. Each byte is looked at once,
    however small the pieces are."""

    def __init__(self, boundary: bytes) -> None:
        self._boundary = boundary
        self._delimiter = b"\r\n--" + boundary
        self._data = bytearray()
        self._fields: list[Field] = []
        self._at = 0
        """Where what has not been read yet begins: the first boundary, what follows one, or the two line ends before a
        field's value, of which the second may be that of a boundary already."""
        self._searched = 0
        """Where the end of that can begin at the earliest."""
        self._opened = False
        self._name: str | None = None
        """Of the field whose value is to come."""
        self.head: FormHead | None = None
        """What was read, once it is complete."""
        self.rest: bytes = b""
        """What has come of the file, and of what follows it, by then."""

    def update(self, data: Buffer) -> bool:
        """Whether the head is complete.

        Raises:
            AwsError: MalformedPOSTRequest; MaxPostPreDataLengthExceededError; IncorrectNumberOfFilesInPostRequest
                for a form that ends without a file.
        """
        self._data += data
        while self.head is None and self._read_on():
            pass
        if self.head is None and len(self._data) > MAX_FIELDS + 1024:
            raise _too_much()
        if self.head is not None:
            if self.head.size > MAX_FIELDS:
                raise _too_much()
            self.rest = bytes(self._data[self.head.size :])
        return self.head is not None

    def _read_on(self) -> bool:
        """Reads the next part of the head; whether it has come whole."""
        if not self._opened:
            return self._read_opening()
        return self._read_headers() if self._name is None else self._read_value(self._name)

    def _read_opening(self) -> bool:
        opening = self._delimiter[2:]
        if not opening.startswith(self._data[: len(opening)]):
            raise malformed()
        self._opened = len(self._data) >= len(opening)
        self._go_to(len(opening))
        return self._opened

    def _read_headers(self) -> bool:
        """What follows a boundary, up to the value behind it."""
        data, at = self._data, self._at
        if len(data) < at + 2:
            return False
        if data.startswith(b"--", at):
            raise AwsError(
                "IncorrectNumberOfFilesInPostRequest", "POST requires exactly one file upload per request.", 400
            )
        if not data.startswith(b"\r\n", at):
            raise malformed()
        end = self._find(b"\r\n\r\n")
        if end < 0:
            return False
        headers = _headers(bytes(data[at + 2 : end]))
        name, filename = _disposition(headers.get("content-disposition", ""))
        if name == _FILE:
            self.head = FormHead(self._fields, filename, headers.get("content-type"), end + 4, self._boundary)
            return True
        self._name = name
        self._go_to(end + 2)
        return True

    def _read_value(self, name: str) -> bool:
        end = self._find(self._delimiter)
        if end < 0:
            return False
        self._fields.append(Field(name, _text(bytes(self._data[self._at + 2 : end]))))
        self._name = None
        self._go_to(end + len(self._delimiter))
        return True

    def _find(self, end: bytes) -> int:
        found = self._data.find(end, self._searched)
        if found < 0:
            self._searched = max(self._searched, len(self._data) - len(end) + 1)
        return found

    def _go_to(self, place: int) -> None:
        self._at = self._searched = place


class FormFile:
    """A Transform from what follows a form's head to the file's bytes.

    With ``length``, the file must have so many bytes and be all that is left of the form. Without, whatever comes after
    the file is left out, as on AWS.
    """

    def __init__(self, boundary: bytes, length: int | None = None) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._left = length
        self._held = b""
        self._ended = False

    def update(self, data: Buffer) -> Buffer:
        """Raises AwsError: the file is shorter or longer than was told."""
        self._held = self._held + bytes(data) if self._held else bytes(data)
        if self._ended:
            return b""
        end = self._held.find(self._delimiter)
        if end >= 0:
            self._ended = True
            ready, self._held = self._held[:end], self._held[end + len(self._delimiter) :]
        else:
            keep = len(self._delimiter) - 1
            ready, self._held = self._held[:-keep], self._held[-keep:]
        if self._left is not None:
            self._left -= len(ready)
            if self._left < 0 or (self._ended and self._left):
                raise malformed()
        return ready

    def finalize(self) -> Buffer:
        """Raises AwsError: there was no closing boundary."""
        wanted = (b"--\r\n",) if self._left is not None else (b"--", b"\r\n")
        if not self._ended or not self._held.startswith(wanted):
            raise malformed()
        return b""


def file_length(head: FormHead, body_length: int) -> int:
    """The length of a file that ends the form, as browsers and curl end it, in a body of so many bytes.

    Raises:
        AwsError: MalformedPOSTRequest.
    """
    length = body_length - head.size - len(b"\r\n--" + head.boundary + b"--\r\n")
    if length < 0:
        raise malformed()
    return length


def _headers(block: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in block.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon or name.strip() != name:
            raise malformed()
        found[_text(name).lower()] = _text(value).strip()
    return found


def _disposition(value: str) -> tuple[str, str]:
    """The name of a field and the file's, from its Content-Disposition."""
    kind, _, _ = value.partition(";")
    if kind.strip().lower() != "form-data":
        raise malformed()
    found = {
        match[1].lower(): match[2].replace('\\"', '"') if match[2] is not None else match[3]
        for match in _PARAMETER.finditer(value)
    }
    if not found.get("name"):
        raise malformed()
    name = found.get("filename", "").replace("\\", "/").rpartition("/")[2]
    # Browsers put these three so; a percent sign stays as it is.
    for sent, meant in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):
        name = name.replace(sent, meant)
    return found["name"], name


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise malformed() from None


def _too_much() -> AwsError:
    message = "Your POST request fields preceding the upload file were too large."
    return AwsError("MaxPostPreDataLengthExceededError", message, 400, detail={"MaxPostPreDataLength": str(MAX_FIELDS)})
