"""Streams of segments: the transforms that seal and open the bytes of an object. See FORMAT.md, section 3.

Both transforms write the segments of one ``update`` side by side into one new buffer. Input that has to wait for more
is copied, at most a segment at a time; what comes in whole segments is not.
"""

from collections.abc import Callable, Generator, Iterable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proxy.buffers import new_buffer
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
    """The beginning of a unit whose rest has not come."""

    def __init__(self, room: int) -> None:
        """``room`` is the size of the greatest unit."""
        self._room = room
        self._place: memoryview | None = None
        self.size = 0

    def add(self, piece: Buffer) -> None:
        if self._place is None:
            self._place = new_buffer(self._room)
        end = self.size + len(piece)
        self._place[self.size : end] = piece
        self.size = end

    def take(self) -> memoryview:
        """All of it; to be used before anything is added again."""
        size, self.size = self.size, 0
        return memoryview(b"") if self._place is None else self._place[:size]


class Sealer:
    """Turns the plaintext of a single PUT or of a part into what is stored. A Transform.

    The last segment leaves in ``finalize`` only.
    """

    def __init__(self, stream: Stream, frame: bytes = b"", footer: Callable[[], bytes] | None = None) -> None:
        """``footer`` is called in ``finalize``; without it there is none."""
        self._stream = stream
        self._preamble = frame + stream.header
        self._footer = footer
        self._held = _Held(min(stream.size, SEGMENT_PLAINTEXT))
        self._left = stream.size
        self._index = 0
        self._room = FIRST_PLAINTEXT
        self.salt = stream.salt
        """Of this stream; the first sixteen bytes are a single PUT's object id and a part's attempt id."""
        self.stored_size = len(frame) + stream_size(stream.size) + (FOOTER_SIZE if footer is not None else 0)
        """The size of the whole output."""

    def update(self, data: Buffer) -> Buffer:
        """Raises ValueError once there is more than was declared."""
        return self.gather((data,))

    def gather(self, pieces: Sequence[Buffer]) -> Buffer:
        """As ``update`` with each of the pieces in turn; what comes out is in one."""
        size = sum(map(len, pieces))
        if size > self._left:
            raise ValueError("the plaintext is longer than was declared")
        self._left -= size
        whole = self._held.size + size
        if whole < self._room:
            for piece in pieces:
                self._held.add(piece)
            return b""
        output = new_buffer(len(self._preamble) + whole + (2 + whole // SEGMENT_PLAINTEXT) * TAG_SIZE)
        end = 0
        for piece in pieces:
            end = self._take(memoryview(piece), output, end)
        return output[:end]

    def finalize(self) -> Buffer:
        """Raises ValueError if there was less than was declared."""
        if self._left:
            raise ValueError("the plaintext is shorter than was declared")
        held, start = self._held.take(), len(self._preamble)
        output = new_buffer(start + len(held) + TAG_SIZE)
        output[:start] = self._preamble
        self._stream.cipher.encrypt_into(self._stream.last_nonce(), held, None, output[start:])
        return output if self._footer is None else b"".join((output, self._footer()))

    def _take(self, view: memoryview, output: memoryview, start: int) -> int:
        """Seals what is complete with ``view``, to ``start`` of ``output``, and holds the rest; returns where in
        ``output`` it ends."""
        size, held, most = len(view), self._held, self._stream.last - self._index
        missing = self._room - held.size
        if size < missing or not most:
            held.add(view)
            return start
        count = (size - missing) // SEGMENT_PLAINTEXT
        if count >= most:
            count = most - 1
        first = view[:missing]
        if held.size:
            held.add(first)
            first = held.take()
        end = self._seal(first, view, missing, count, output, start)
        rest = missing + count * SEGMENT_PLAINTEXT
        if rest < size:
            held.add(view[rest:])
        return end

    def _seal(self, first: Buffer, view: memoryview, position: int, count: int, output: memoryview, start: int) -> int:
        """Seals ``first`` and after it the ``count`` segments at ``position`` of ``view``, none of them the last."""
        encrypt_into = self._stream.cipher.encrypt_into
        if self._preamble:
            preamble, self._preamble = self._preamble, b""
            output[: len(preamble)] = preamble
            start = len(preamble)
        nonce = self._stream.nonces | self._index << 8
        end = start + len(first) + TAG_SIZE
        encrypt_into(nonce.to_bytes(12, "big"), first, None, output[start:end])
        for until in range(position + SEGMENT_PLAINTEXT, position + count * SEGMENT_PLAINTEXT + 1, SEGMENT_PLAINTEXT):
            nonce += 256
            start, end = end, end + SEGMENT_SIZE
            encrypt_into(nonce.to_bytes(12, "big"), view[position:until], None, output[start:end])
            position = until
        self._index += count + 1
        self._room = SEGMENT_PLAINTEXT
        return end


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
        self._held = _Held(SEGMENT_SIZE + FOOTER_SIZE)
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
        rest = self._consume(view)
        if rest:
            self._held.add(rest)
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
                self._held.add(view[:missing])
                units, view = self._held.take(), view[missing:]
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


def open_only(stream: Stream, stored: Buffer) -> bytes:
    """The plaintext of a stream of one segment, all of which is at hand: what an Opener would make of it.

    Raises:
        EnvelopeError: anything is missing, too much or not right.
    """
    view = memoryview(stored)
    start = len(stream.header)
    if stream.last or len(view) != start + stream.size + TAG_SIZE:
        raise EnvelopeError("the stored bytes are not those of one segment")
    if view[:start] != stream.header:
        raise EnvelopeError("a header or frame is not the expected one")
    try:
        return stream.cipher.decrypt(stream.last_nonce(), view[start:], None)
    except InvalidTag:
        raise EnvelopeError("a segment is damaged or not in its place") from None


class _Output:
    """Where one ``update`` of an opener writes plaintext."""

    def __init__(self) -> None:
        self._buffer = memoryview(b"")
        self._written = 0

    def begin(self, size: int) -> None:
        self._buffer = new_buffer(size)
        self._written = 0

    def end(self) -> memoryview:
        plaintext = self._buffer[: self._written]
        self._buffer = memoryview(b"")
        return plaintext

    def open_segments(self, stream: Stream, index: int, units: memoryview, size: int) -> int:
        """Opens segments of ``size`` stored bytes from ``index`` on, none of them the last; returns their number."""
        decrypt_into = stream.cipher.decrypt_into
        nonce = stream.nonces | index << 8
        buffer, end, plain = self._buffer, self._written, size - TAG_SIZE
        for position in range(0, len(units), size):
            start, end = end, end + plain
            decrypt_into(nonce.to_bytes(12, "big"), units[position : position + size], None, buffer[start:end])
            nonce += 256
        self._written = end
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
