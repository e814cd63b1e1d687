"""Streams of segments: the transforms that seal and open the bytes of an object. See FORMAT.md, section 3.

Both transforms write the segments of one ``update`` side by side into one new buffer, and keep what has to wait for
more as views of their input: a buffer that was handed to them must not be changed afterwards.
"""

from collections.abc import Callable, Generator, Iterable
from typing import Final

from cffi import FFI  # type: ignore[import-untyped]
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proxy.envelope.errors import EnvelopeError
from proxy.envelope.keys import BODY_LABEL, PREFIX_SIZE, SALT_SIZE, Expander
from proxy.envelope.ranges import (
    FIRST_PLAINTEXT,
    FOOTER_SIZE,
    SEGMENT_PLAINTEXT,
    SEGMENT_SIZE,
    STREAM_HEADER_SIZE,
    TAG_SIZE,
    segment_count,
    stream_size,
)
from proxy.stream import Buffer
from proxy.values import value_class

# A bytearray is filled with zeros when it is made, which costs a quarter of what encrypting the same bytes does.
_allocate: Final = FFI().new_allocator(should_clear_after_alloc=False)
_view: Final = FFI().buffer

_MOST_PIECES: Final = 256


def _new_buffer(size: int) -> memoryview:
    """A new buffer with undefined content: no more of it may be handed out than was written."""
    return memoryview(_view(_allocate("unsigned char[]", size)))


class Stream:
    """One Tink AES-GCM-HKDF streaming ciphertext: its key, nonces and header."""

    def __init__(self, expander: Expander, salt: bytes, prefix: bytes, associated_data: bytes, size: int) -> None:
        """``expander`` is of the data key and the salt; ``size`` is the plaintext's. Raises ValueError unless salt and
        prefix have 32 and 7 bytes."""
        if len(salt) != SALT_SIZE or len(prefix) != PREFIX_SIZE:
            raise ValueError("a salt has 32 bytes and a nonce prefix 7")
        self.salt = salt
        self.size = size
        self.header = bytes((STREAM_HEADER_SIZE,)) + salt + prefix
        self.last = segment_count(size) - 1
        """The index of the last segment."""
        self.cipher = AESGCM(expander.derive(associated_data))
        self.nonces = int.from_bytes(prefix, "big") << 40
        """The nonce of segment i, if it is not the last, is this plus i * 256 as twelve bytes."""

    def last_nonce(self) -> bytes:
        return (self.nonces | self.last << 8 | 1).to_bytes(12, "big")

    def last_size(self) -> int:
        """The plaintext bytes of the last segment."""
        return self.size - max(0, self.last * SEGMENT_PLAINTEXT - STREAM_HEADER_SIZE)


def prefix_of(salt: bytes) -> bytes:
    """The nonce prefix that goes with a salt in this format: its last seven bytes."""
    return salt[-PREFIX_SIZE:]


def new_stream(expander: Expander, salt: bytes, binding: bytes, size: int, label: bytes = BODY_LABEL) -> Stream:
    """The stream of a single PUT or a part; ``expander`` is of the data key and ``salt``, ``binding`` is
    ``keys.binding``'s."""
    return Stream(expander, salt, prefix_of(salt), label + binding, size)


class _Held:
    """Bytes that wait for more."""

    def __init__(self) -> None:
        self._pieces: list[Buffer] = []
        self.size = 0

    def add(self, piece: memoryview) -> None:
        if not piece:
            return
        self._pieces.append(piece)
        self.size += len(piece)
        if len(self._pieces) >= _MOST_PIECES:
            # A body that comes in crumbs would otherwise cost many times its size in views.
            self._pieces = [b"".join(self._pieces)]

    def take(self, rest: Buffer = b"") -> bytes:
        """All of it, with ``rest`` after it, in one piece."""
        joined = b"".join((*self._pieces, rest))
        self._pieces.clear()
        self.size = 0
        return joined


class Sealer:
    """Turns the plaintext of a single PUT or of a part into what is stored. A Transform.

    The last segment leaves in ``finalize`` only.
    """

    def __init__(self, stream: Stream, frame: bytes = b"", footer: Callable[[], bytes] | None = None) -> None:
        """``footer`` is called in ``finalize``; without it there is none."""
        self._stream = stream
        self._preamble = frame + stream.header
        self._footer = footer
        self._held = _Held()
        self._left = stream.size
        self._index = 0
        self._room = FIRST_PLAINTEXT
        self.salt = stream.salt
        """Of this stream; the first sixteen bytes are a single PUT's object id and a part's attempt id."""
        self.stored_size = len(frame) + stream_size(stream.size) + (FOOTER_SIZE if footer is not None else 0)
        """The size of the whole output."""

    def update(self, data: Buffer) -> Buffer:
        """Raises ValueError once there is more than was declared."""
        view = memoryview(data)
        size = len(view)
        if size > self._left:
            raise ValueError("the plaintext is longer than was declared")
        self._left -= size
        missing = self._room - self._held.size
        if size < missing or self._index == self._stream.last:
            self._held.add(view)
            return b""
        count = min((size - missing) // SEGMENT_PLAINTEXT, self._stream.last - self._index - 1)
        output = _new_buffer(len(self._preamble) + self._room + TAG_SIZE + count * SEGMENT_SIZE)
        first = self._held.take(view[:missing]) if self._held.size else view[:missing]
        self._seal(first, view[missing:], count, output)
        self._held.add(view[missing + count * SEGMENT_PLAINTEXT :])
        return output

    def finalize(self) -> Buffer:
        """Raises ValueError if there was less than was declared."""
        if self._left:
            raise ValueError("the plaintext is shorter than was declared")
        last = self._stream.cipher.encrypt(self._stream.last_nonce(), self._held.take(), None)
        return b"".join((self._preamble, last, b"" if self._footer is None else self._footer()))

    def _seal(self, first: Buffer, rest: memoryview, count: int, output: memoryview) -> None:
        """Seals ``first`` and after it the ``count`` segments at the beginning of ``rest``, none of them the last."""
        encrypt_into = self._stream.cipher.encrypt_into
        start = len(self._preamble)
        output[:start] = self._preamble
        self._preamble = b""
        nonce = self._stream.nonces | self._index << 8
        start += encrypt_into(nonce.to_bytes(12, "big"), first, None, output[start : start + len(first) + TAG_SIZE])
        for position in range(0, count * SEGMENT_PLAINTEXT, SEGMENT_PLAINTEXT):
            nonce += 256
            segment = rest[position : position + SEGMENT_PLAINTEXT]
            encrypt_into(nonce.to_bytes(12, "big"), segment, None, output[start : start + SEGMENT_SIZE])
            start += SEGMENT_SIZE
        self._index += count + 1
        self._room = SEGMENT_PLAINTEXT


@value_class
class Skip:
    """Stored bytes that are dropped unread."""

    size: int


@value_class
class Expect:
    """Stored bytes that are known beforehand."""

    data: bytes


@value_class
class Segments:
    """Segments ``first`` to ``last`` of a stream. With ``footer``, which checks a footer, they end with the stream's
    last one, and that one is opened once the footer after it was found right."""

    stream: Stream
    first: int
    last: int
    footer: Callable[[memoryview], object] | None = None


Section = Skip | Expect | Segments
"""What stored bytes are made of, as an opener meets it."""


class Opener:
    """Turns stored bytes into plaintext, all of it verified. A Transform."""

    def __init__(self, sections: Iterable[Section], skip: int, length: int) -> None:
        """The output is ``length`` bytes of the sections' plaintext, after the first ``skip`` of it."""
        self._output = _Output()
        self._reader = _read(sections, self._output)
        self._request = next(self._reader, None)
        self._held = _Held()
        self._skip = skip
        self._left = length
        self.length = length
        """The size of the whole output."""

    def update(self, data: Buffer) -> Buffer:
        """Raises EnvelopeError at the first segment that is not right, or when there are bytes after the end."""
        view = memoryview(data)
        available = self._held.size + len(view)
        if self._request is not None and available < self._request[0]:
            self._held.add(view)
            return b""
        self._output.begin(available)
        self._held.add(self._consume(view))
        return self._cut(self._output.end())

    def finalize(self) -> Buffer:
        """Raises EnvelopeError if anything is missing."""
        if self._request is not None or self._left:
            raise EnvelopeError("the stored bytes end too early")
        return b""

    def _consume(self, view: memoryview) -> memoryview:
        """Has all whole units read from what is held and ``view``; returns what is left over."""
        while view:
            if self._request is None:
                raise EnvelopeError("there are bytes after the end")
            unit, most = self._request
            if self._held.size:
                missing = unit - self._held.size
                if missing > len(view):
                    break
                units, view = memoryview(self._held.take(view[:missing])), view[missing:]
            else:
                size = min(len(view) // unit, most) * unit
                if not size:
                    break
                units, view = view[:size], view[size:]
            try:
                self._request = self._reader.send(units)
            except StopIteration:
                self._request = None
            except InvalidTag:
                raise EnvelopeError("a segment is damaged or not in its place") from None
        return view

    def _cut(self, plaintext: memoryview) -> memoryview:
        """The part of the plaintext that is wanted."""
        if self._skip:
            dropped = min(self._skip, len(plaintext))
            self._skip -= dropped
            plaintext = plaintext[dropped:]
        if len(plaintext) > self._left:
            plaintext = plaintext[: self._left]
        self._left -= len(plaintext)
        return plaintext


class _Output:
    """Where one ``update`` of an opener writes plaintext."""

    def __init__(self) -> None:
        self._buffer = memoryview(b"")
        self._written = 0

    def begin(self, size: int) -> None:
        self._buffer = _new_buffer(size)
        self._written = 0

    def end(self) -> memoryview:
        plaintext = self._buffer[: self._written]
        self._buffer = memoryview(b"")
        return plaintext

    def open_segments(self, stream: Stream, index: int, units: memoryview, size: int) -> int:
        """Opens segments of ``size`` stored bytes from ``index`` on, none of them the last; returns their number."""
        decrypt_into = stream.cipher.decrypt_into
        nonce = stream.nonces | index << 8
        start = self._written
        for position in range(0, len(units), size):
            segment = units[position : position + size]
            start += decrypt_into(
                nonce.to_bytes(12, "big"), segment, None, self._buffer[start : start + size - TAG_SIZE]
            )
            nonce += 256
        self._written = start
        return len(units) // size

    def open_last(self, stream: Stream, segment: memoryview) -> None:
        end = self._written + len(segment) - TAG_SIZE
        stream.cipher.decrypt_into(stream.last_nonce(), segment, None, self._buffer[self._written : end])
        self._written = end


_Reader = Generator[tuple[int, int], memoryview, None]
"""Asks for units of so many bytes, at most so many of them, and is sent some of those, at least one."""


def _read(sections: Iterable[Section], output: _Output) -> _Reader:
    for section in sections:
        if isinstance(section, Segments):
            yield from _read_segments(section, output)
        elif isinstance(section, Expect):
            if (yield len(section.data), 1) != section.data:
                raise EnvelopeError("a header or frame is not the expected one")
        else:
            left = section.size
            while left:
                left -= len((yield 1, left))


def _read_segments(section: Segments, output: _Output) -> _Reader:
    stream, index = section.stream, section.first
    has_last = section.last == stream.last
    end = section.last if has_last else section.last + 1
    if not index and end:
        size = SEGMENT_SIZE - STREAM_HEADER_SIZE
        index += output.open_segments(stream, 0, (yield size, 1), size)
    while index < end:
        index += output.open_segments(stream, index, (yield SEGMENT_SIZE, end - index), SEGMENT_SIZE)
    if has_last:
        size = stream.last_size() + TAG_SIZE
        unit = yield size + (0 if section.footer is None else FOOTER_SIZE), 1
        if section.footer is not None:
            section.footer(unit[size:])
        output.open_last(stream, unit[:size])
