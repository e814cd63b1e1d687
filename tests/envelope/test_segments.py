"""The stream of segments: any chunking gives the same bytes, and nothing that was tampered with comes out."""

import itertools
from hashlib import shake_128
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.envelope import keys
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.segments import Expect, Opener, Sealer, Segments, Skip, Stream, new_stream
from proxy.stream import Buffer, Pipeline

KEY = bytes(range(32))
SALT = shake_128(b"salt").digest(32)
BINDING = keys.binding(SALT[:16], 0, keys.NO_ATTEMPT, 0)
TABLE = [0, 1, 65_479, 65_480, 65_481, 130_999, 131_000, 131_001, 196_520]
sizes = st.sampled_from(TABLE) | st.integers(0, 200_000)
cuts = st.lists(st.integers(0, 200_000) | st.sampled_from([65_480, 65_536, 131_000, 131_072]), max_size=6)
few = settings(max_examples=60, deadline=None)


def stream(size: int) -> Stream:
    return new_stream(keys.Expander(KEY, SALT), SALT, BINDING, size)


def model(data: bytes) -> bytes:
    """The stream written down segment by segment, as the specification has it."""
    key = keys.derive(KEY, SALT, b"sse-proxy/1 body" + BINDING)
    pieces = [data[:65_480]]
    pieces += [data[start : start + 65_520] for start in range(65_480, len(data), 65_520)]
    output = b"\x28" + SALT + SALT[25:]
    for index, piece in enumerate(pieces):
        last = index == len(pieces) - 1
        nonce = SALT[25:] + index.to_bytes(4, "big") + (b"\1" if last else b"\0")
        output += AESGCM(key).encrypt(nonce, piece, None)
    return output


def whole(size: int) -> Opener:
    one = stream(size)
    return Opener([Expect(one.header), Segments(one, 0, one.last)], 0, size)


@few
@given(size=sizes, cuts=cuts)
def test_sealing_gives_the_model_for_any_chunking(size: int, cuts: list[int], run: Any, pattern: Any) -> None:
    sealer = Sealer(stream(size))
    data = pattern(size)
    sealed = run(sealer, data, cuts)
    assert sealed == model(data)
    assert sealer.stored_size == len(sealed)


@few
@given(size=sizes, cuts=cuts)
def test_opening_gives_the_plaintext_for_any_chunking(size: int, cuts: list[int], run: Any, pattern: Any) -> None:
    data = pattern(size)
    assert run(whole(size), model(data), cuts) == data


@few
@given(size=sizes, cuts=cuts, together=st.integers(1, 4))
def test_sealing_what_lies_in_several_places(size: int, cuts: list[int], together: int, pattern: Any) -> None:
    sealer, data = Sealer(stream(size)), pattern(size)
    edges = [0, *sorted(min(cut, size) for cut in cuts), size]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    sealed = [bytes(sealer.gather(pieces[at : at + together])) for at in range(0, len(pieces), together)]
    assert b"".join(sealed) + bytes(sealer.finalize()) == model(data)


def test_too_much_in_several_places_fails_at_once() -> None:
    with pytest.raises(ValueError, match="longer"):
        Sealer(stream(5)).gather((b"abc", b"def"))
    assert Sealer(stream(5)).gather(()) == b""


def test_byte_by_byte(run: Any, pattern: Any) -> None:
    data = pattern(66_000)
    sealed = model(data)
    assert run(Sealer(stream(len(data))), (data[i : i + 1] for i in range(len(data)))) == sealed
    assert run(whole(len(data)), (sealed[i : i + 1] for i in range(len(sealed)))) == data


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_buffer(kind: Any, run: Any, pattern: Any) -> None:
    data = pattern(140_000)
    sealed = run(Sealer(stream(len(data))), [kind(data[:70_000]), kind(data[70_000:])])
    assert run(whole(len(data)), [kind(sealed[:70_000]), kind(sealed[70_000:])]) == data


def test_output_buffers_are_not_used_again(pattern: Any) -> None:
    data = pattern(400_000)
    sealer = Sealer(stream(len(data)))
    first = sealer.update(data[:140_000])
    copy = bytes(first)
    second = sealer.update(data[140_000:])
    sealed = copy + bytes(second) + bytes(sealer.finalize())
    assert bytes(first) == copy
    opener = whole(len(data))
    opened = opener.update(sealed[:140_000])
    copy = bytes(opened)
    opener.update(sealed[140_000:])
    assert bytes(opened) == copy == data[: len(copy)]


@pytest.mark.parametrize("size", TABLE)
def test_the_last_segment_leaves_at_the_end_only(size: int, pattern: Any) -> None:
    sealer = Sealer(stream(size))
    before = bytes(sealer.update(pattern(size)))
    after = bytes(sealer.finalize())
    last = stream(size).last_size() + 16
    assert len(after) == last + (40 if not before else 0)
    assert before + after == model(pattern(size))


@pytest.mark.parametrize("size", TABLE)
def test_too_much_fails_at_once_and_too_little_in_the_end(size: int, pattern: Any) -> None:
    sealer = Sealer(stream(size))
    sealer.update(pattern(size))
    with pytest.raises(ValueError, match="longer"):
        sealer.update(b"x")
    with pytest.raises(ValueError, match="longer"):
        Sealer(stream(size)).update(pattern(size + 1))
    if size:
        sealer = Sealer(stream(size))
        sealer.update(pattern(size - 1))
        with pytest.raises(ValueError, match="shorter"):
            sealer.finalize()


def opens(size: int, sealed: bytes, cuts: list[int], run: Any) -> bytes | None:
    """What comes out, or None where it is refused. Nothing but EnvelopeError may be raised."""
    try:
        return bytes(run(whole(size), sealed, cuts))
    except EnvelopeError:
        return None


@few
@given(size=sizes, data=st.data())
def test_a_changed_bit_is_refused(size: int, data: st.DataObject, run: Any, pattern: Any) -> None:
    sealed = bytearray(model(pattern(size)))
    position = data.draw(st.integers(0, len(sealed) - 1))
    sealed[position] ^= 1 << data.draw(st.integers(0, 7))
    assert opens(size, bytes(sealed), data.draw(cuts), run) is None


@few
@given(size=sizes, data=st.data())
def test_a_cut_is_refused(size: int, data: st.DataObject, run: Any, pattern: Any) -> None:
    sealed = model(pattern(size))
    length = data.draw(st.integers(0, len(sealed) - 1) | st.sampled_from([0, 40, len(sealed) - 1, len(sealed) - 16]))
    assert opens(size, sealed[:length], data.draw(cuts), run) is None


@few
@given(size=sizes, more=st.binary(min_size=1, max_size=40), cuts=cuts)
def test_an_extension_is_refused(size: int, more: bytes, cuts: list[int], run: Any, pattern: Any) -> None:
    assert opens(size, model(pattern(size)) + more, cuts, run) is None


@pytest.mark.parametrize(("left", "right"), [(0, 1), (1, 2), (2, 3), (1, 3)])
def test_exchanged_segments_are_refused(left: int, right: int, run: Any, pattern: Any) -> None:
    size = 65_480 + 3 * 65_520
    sealed = model(pattern(size))
    segments = [sealed[start : start + 65_536] for start in range(0, len(sealed), 65_536)]
    segments[left], segments[right] = segments[right], segments[left]
    assert opens(size, b"".join(segments), [], run) is None


@pytest.mark.parametrize("dropped", [0, 1, 2, 3])
def test_a_dropped_or_doubled_segment_is_refused(dropped: int, run: Any, pattern: Any) -> None:
    size = 65_480 + 3 * 65_520
    sealed = model(pattern(size))
    segments = [sealed[start : start + 65_536] for start in range(0, len(sealed), 65_536)]
    shorter = b"".join(segments[:dropped] + segments[dropped + 1 :])
    assert opens(size, shorter, [], run) is None
    assert opens(size - 65_520, shorter, [], run) is None
    assert opens(size, b"".join(segments[: dropped + 1] + segments[dropped:]), [], run) is None


def test_nothing_unverified_comes_out(pattern: Any) -> None:
    data = pattern(65_480 + 65_520 + 10)
    sealed = bytearray(model(data))
    sealed[65_536 + 100] ^= 1
    opener = whole(len(data))
    assert opener.update(sealed[:65_536]) == data[:65_480]
    assert opener.update(sealed[65_536:131_071]) == b""
    with pytest.raises(EnvelopeError):
        opener.update(sealed[131_071:])
    with pytest.raises(EnvelopeError):
        opener.finalize()


def test_a_segment_range_with_skips_on_both_sides(run: Any, pattern: Any) -> None:
    data = pattern(300_000)
    sealed = model(data)
    one = stream(len(data))
    sections = [Skip(65_536), Segments(one, 1, 2), Skip(len(sealed) - 3 * 65_536)]
    for cuts in ([], [1], [65_536], [65_540, 140_000, 200_000], list(range(0, len(sealed), 1_000))):
        assert run(Opener(sections, 7, 100_000), sealed, cuts) == data[65_480 + 7 : 65_480 + 100_007]
    with pytest.raises(EnvelopeError):
        run(Opener(sections, 7, 100_000), sealed[:-1])


@pytest.mark.parametrize(("salt", "prefix"), [(bytes(31), bytes(7)), (bytes(32), bytes(8))])
def test_salts_and_prefixes_have_their_sizes(salt: bytes, prefix: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Stream(keys.Expander(KEY, salt), salt, prefix, b"", 0)


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_data_keys_have_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        new_stream(keys.Expander(bytes(size), SALT), SALT, BINDING, 0)


def test_labels_make_distinct_keys() -> None:
    labels = [keys.BODY_LABEL, keys.HEAD_LABEL, keys.FOOT_LABEL, keys.PART_LABEL, keys.WRAP_LABEL]
    assert len(set(labels)) == len(labels)
    assert {len(label) for label in labels} == {16}


def test_the_model_is_not_the_implementation(pattern: Any) -> None:
    sealed = model(pattern(10))
    key = keys.derive(KEY, SALT, b"sse-proxy/1 body" + BINDING)
    assert AESGCM(key).decrypt(SALT[25:] + b"\0\0\0\0\1", sealed[40:], None) == pattern(10)
    with pytest.raises(InvalidTag):
        AESGCM(key).decrypt(SALT[25:] + b"\0\0\0\0\0", sealed[40:], None)


@few
@given(size=sizes, cuts=cuts)
def test_sealing_and_opening_in_one_pipeline(size: int, cuts: list[int], run: Any, pattern: Any) -> None:
    assert run(Pipeline(Sealer(stream(size)), whole(size)), pattern(size), cuts) == pattern(size)


def test_a_verifier_before_the_sealer_keeps_the_last_segment_back(pattern: Any) -> None:
    class Mismatch:
        def update(self, data: Buffer) -> Buffer:
            return data

        def finalize(self) -> Buffer:
            raise ValueError("wrong checksum")

    data = pattern(140_000)
    pipeline = Pipeline(Mismatch(), Sealer(stream(len(data))))
    left = bytes(pipeline.update(data))
    with pytest.raises(ValueError, match="wrong checksum"):
        pipeline.finalize()
    assert left == model(data)[: 2 * 65_536]
