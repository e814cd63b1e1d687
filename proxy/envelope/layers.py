"""Sealers and openers of bodies and parts, whether encrypted once or twice. See FORMAT.md, section 9.

An object that is encrypted twice is an outer stream whose plaintext is a whole body, or part, of one layer. Its data
key is the inner layer's key and after it the outer layer's, 64 bytes: a data key's size tells how many layers there
are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import field

from proxy.envelope import footer as footers
from proxy.envelope import keys
from proxy.envelope.digests import Digests
from proxy.envelope.keys import DATA_KEY_SIZE, OVER_LABEL, Expander
from proxy.envelope.parts import Part, make_frame
from proxy.envelope.ranges import FOOTER_SIZE, FOOTER_THRESHOLD, PartsPlan, Window, stream_size
from proxy.envelope.segments import Expect, Opener, Sealer, Section, Segments, Skip, Stream, new_stream
from proxy.stream import Buffer, Pipeline
from proxy.values import value_class


class LayeredSealer(Pipeline):
    """A sealer whose output is sealed again."""

    def __init__(self, inner: Sealer, outer: Sealer) -> None:
        super().__init__(inner, outer)
        self.salt = outer.salt
        """Of the outer stream: the object's or the part's."""
        self.stored_size = outer.stored_size
        """The size of the whole output."""
        self._inner, self._outer = inner, outer

    def gather(self, pieces: Sequence[Buffer]) -> Buffer:
        """As ``update`` with the pieces joined."""
        return self._outer.update(self._inner.gather(pieces))


class LayeredOpener(Pipeline):
    """An opener of what the opener of the outer layer gives."""

    def __init__(self, outer: Opener, inner: Opener) -> None:
        super().__init__(outer, inner)
        self.length = inner.length
        """The size of the whole output."""


AnySealer = Sealer | LayeredSealer
AnyOpener = Opener | LayeredOpener


@value_class
class Place:
    """What a body or part is sealed for: its key, its salt, what it is bound to (``keys.binding``), and its plaintext's
    size."""

    data_key: bytes = field(repr=False)
    salt: bytes
    bound: bytes
    size: int
    expander: Expander | None = field(default=None, repr=False, compare=False)
    """Of data key and salt, if it is at hand."""

    def streams(self, *, with_footer: bool) -> tuple[Stream, Stream | None]:
        """The stream of the plaintext and, with two layers, the one around that and its footer."""
        if len(self.data_key) <= DATA_KEY_SIZE:
            expander = self.expander or Expander(self.data_key, self.salt)
            return new_stream(expander, self.salt, self.bound, self.size), None
        inner_key, inner_salt = self._inner
        outer_size = stream_size(self.size) + (FOOTER_SIZE if with_footer else 0)
        outer = Expander(self.data_key[DATA_KEY_SIZE:], self.salt)
        return (
            new_stream(Expander(inner_key, inner_salt), inner_salt, self.bound, self.size),
            new_stream(outer, self.salt, self.bound, outer_size, OVER_LABEL),
        )

    def seal_footer(self, content: Digests) -> bytes:
        inner_key, inner_salt = self._inner
        return footers.seal(inner_key, inner_salt, self.bound, content)

    def open_footer(self, data: Buffer) -> Digests:
        """Raises EnvelopeError: the footer is damaged or belongs to another stream."""
        inner_key, inner_salt = self._inner
        return footers.open_(inner_key, inner_salt, self.bound, data)

    @property
    def _inner(self) -> tuple[bytes, bytes]:
        """The key and salt of the stream that holds the plaintext."""
        if len(self.data_key) <= DATA_KEY_SIZE:
            return self.data_key, self.salt
        inner_key = self.data_key[:DATA_KEY_SIZE]
        return inner_key, keys.inner_salt(inner_key, self.salt)


def sealer(place: Place, footer: Callable[[], Digests] | None, frame: bytes = b"") -> AnySealer:
    """The sealer of a body or part; ``footer`` is called when its plaintext has ended, None: it has no footer."""
    stream, outer = place.streams(with_footer=footer is not None)
    seal_footer = None if footer is None else lambda: place.seal_footer(footer())
    if outer is None:
        return Sealer(stream, frame, seal_footer)
    return LayeredSealer(Sealer(stream, footer=seal_footer), Sealer(outer, frame))


def whole_opener(place: Place) -> AnyOpener:
    """The opener of a whole single PUT."""
    with_footer = place.size > FOOTER_THRESHOLD
    stream, outer = place.streams(with_footer=with_footer)
    check = place.open_footer if with_footer else None
    opener = Opener((Expect(stream.header), Segments(stream, 0, stream.last, check)), 0, place.size)
    if outer is None:
        return opener
    return LayeredOpener(
        Opener((Expect(outer.header), Segments(outer, 0, outer.last)), 0, outer.size),
        opener,
    )


def window_opener(place: Place, window: Window) -> AnyOpener:
    """The opener of a range of a single PUT."""
    stream, outer = place.streams(with_footer=place.size > FOOTER_THRESHOLD)
    if outer is None or window.inner is None:
        return _window_opener(stream, window)
    return LayeredOpener(_window_opener(outer, window), _window_opener(stream, window.inner))


def footer_of(place: Place, window: Window | None, data: Buffer) -> Digests:
    """What a footer says; with two layers, ``window`` says how it lies in ``data``.

    Raises:
        EnvelopeError: it is damaged or another object's.
    """
    _, outer = place.streams(with_footer=True)
    if outer is None or window is None:
        return place.open_footer(data)
    opener = _window_opener(outer, window)
    return place.open_footer(b"".join((opener.update(data), opener.finalize())))


def parts_opener(place_of: Callable[[Part], Place], parts: Sequence[Part], plan: PartsPlan) -> AnyOpener:
    """The opener of a multipart object or a range of it."""
    if plan.inner is None:
        return Opener(_part_sections(place_of, parts, plan, framed=True), plan.skip, plan.length)
    return LayeredOpener(
        Opener(_outer_sections(place_of, parts, plan), plan.skip, plan.length),
        Opener(_part_sections(place_of, parts, plan.inner, framed=False), plan.inner.skip, plan.inner.length),
    )


def _window_opener(stream: Stream, window: Window) -> Opener:
    sections: list[Section] = [Skip(window.lead)]
    if not window.first_segment:
        sections.append(Expect(stream.header))
    sections.append(Segments(stream, window.first_segment, window.last_segment))
    sections.append(Skip(window.trail))
    return Opener(sections, window.skip, window.length)


def _part_sections(
    place_of: Callable[[Part], Place], parts: Sequence[Part], plan: PartsPlan, *, framed: bool
) -> Iterator[Section]:
    for index in range(plan.first_part, plan.last_part + 1):
        part = parts[index]
        place = place_of(part)
        stream, _ = place.streams(with_footer=True)
        first = plan.first_segment if index == plan.first_part else 0
        if not first:
            frame = make_frame(part.number, part.size, part.salt) if framed else b""
            yield Expect(frame + stream.header)
        if index < plan.last_part or plan.whole:
            yield Segments(stream, first, stream.last, place.open_footer)
        else:
            yield Segments(stream, first, plan.last_segment)


def _outer_sections(place_of: Callable[[Part], Place], parts: Sequence[Part], plan: PartsPlan) -> Iterator[Section]:
    for index in range(plan.first_part, plan.last_part + 1):
        part = parts[index]
        _, outer = place_of(part).streams(with_footer=True)
        if outer is None:
            raise ValueError("the data key is that of one layer")
        first = plan.first_segment if index == plan.first_part else 0
        if not first:
            yield Expect(make_frame(part.number, part.size, part.salt) + outer.header)
        last = outer.last if index < plan.last_part or plan.whole else plan.last_segment
        yield Segments(outer, first, last)
