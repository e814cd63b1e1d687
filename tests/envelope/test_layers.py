"""Two layers: what goes in comes out, at any size and range, and each layer stands guard by itself."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.envelope import header as headers
from proxy.envelope import keys, parts, ranges, v1
from proxy.envelope.digests import Digests
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.header import Mode
from proxy.envelope.layers import LayeredOpener, LayeredSealer
from proxy.envelope.parts import Part, PartsTable
from proxy.envelope.segments import Sealer, new_stream
from tests.envelope.conftest import FixedRandom, pattern, run

MIB = 1_048_576
SIZES = [0, 1, 65_423, 65_424, 65_425, 65_480, 65_481, 131_001, 196_000, MIB, MIB + 1, 3 * MIB]
KEY = pattern(64, b"two keys")
INNER, OUTER = KEY[:32], KEY[32:]
DSSE = v1.Wrapping(
    Mode.KMS_DSSE,
    "arn:aws:kms:eu-west-1:123456789012:key/1",
    b"inner blob" * 10,
    {"department": "10103.0"},
    outer_wrapped_key=b"outer blob" * 10,
)
CRC = Digests({"CRC32": "AAAAAA=="})
WHOLE = pattern(3 * MIB)


def sealed(size: int, seed: bytes = b"seed") -> tuple[headers.Header, bytes]:
    header, sealer = v1.seal_single(KEY, DSSE, plaintext_size=size, footer=lambda: CRC, random=FixedRandom(seed))
    body = run(sealer, WHOLE[:size], range(0, size, 100_000))
    assert isinstance(sealer, LayeredSealer)
    assert sealer.stored_size == len(body)
    assert sealer.salt == header.salt
    return header, body


@pytest.mark.parametrize("size", SIZES)
def test_what_goes_in_comes_out(size: int) -> None:
    header, body = sealed(size)
    found = headers.decode(headers.encode(header))
    assert found == header
    unlocked = v1.unlock(header, KEY)
    opener = v1.open_single(unlocked)
    assert isinstance(opener, LayeredOpener)
    assert opener.length == size
    assert run(opener, body, range(0, len(body), 70_001)) == WHOLE[:size]
    assert len(body) == ranges.stored_size(size, 2)
    assert ranges.plaintext_size(len(body), 2) == size


@pytest.mark.parametrize("size", SIZES)
def test_sealing_what_lies_in_several_places(size: int) -> None:
    _, sealer = v1.seal_single(KEY, DSSE, plaintext_size=size, footer=lambda: CRC, random=FixedRandom(b"seed"))
    data = WHOLE[:size]
    body = [
        bytes(sealer.gather([data[at : at + 70_000], data[at + 70_000 : at + 99_000]])) for at in range(0, size, 99_000)
    ]
    assert b"".join(body) + bytes(sealer.finalize()) == sealed(size)[1]


@given(st.integers(0, 2**45))
def test_sizes_have_an_inverse(size: int) -> None:
    stored = ranges.stored_size(size, 2)
    assert ranges.plaintext_size(stored, 2) == size
    assert ranges.stored_size(size + 1, 2) > stored


def test_sizes_that_nothing_has() -> None:
    there = {ranges.stored_size(size, 2) for size in range(70_000)}
    for stored in range(66_000):
        if stored not in there:
            with pytest.raises(ValueError, match="no single PUT"):
                ranges.plaintext_size(stored, 2)


SEALED = {size: sealed(size) for size in (65_500, 3 * MIB)}


@settings(max_examples=60)
@given(st.sampled_from(sorted(SEALED)), st.data())
def test_any_range_costs_one_read_that_is_little_longer(size: int, data: Any) -> None:
    header, body = SEALED[size]
    first = data.draw(st.integers(0, size - 1))
    last = min(size - 1, first + data.draw(st.sampled_from([0, 99, 65_535, 65_536, size])))
    asked = ranges.plan(first, last, size=size, layers=2)
    assert asked.end is not None
    assert asked.end + 1 - asked.start <= last - first + 4 * 65_536
    stored = body[asked.start : asked.end + 1]
    window = ranges.window(first, last, size=size, start=asked.start, end=asked.end, layers=2)
    opener = v1.open_range(v1.unlock(header, KEY), window)
    assert run(opener, stored, [data.draw(st.integers(0, len(stored)))]) == WHOLE[first : last + 1]


def test_a_range_of_64_kib_reads_at_most_three_times_that() -> None:
    for first in range(0, 64 * MIB, 997_331):
        asked = ranges.plan(first, first + 65_535, size=70 * MIB, layers=2)
        assert asked.end is not None
        assert asked.end + 1 - asked.start <= 3 * 65_536


def test_a_footer_is_read_through_the_outer_layer() -> None:
    for size in (MIB + 1, *range(20 * 65_520, 20 * 65_520 + 200, 7)):
        header, body = sealed(size)
        where = ranges.footer_range(size, 2)
        assert where is not None
        assert where.end == len(body) - 1
        assert v1.open_footer(v1.unlock(header, KEY), body[where.start :]) == CRC
    assert ranges.footer_range(MIB, 2) is None


LAYOUT = {1: 65_481, 2: 0, 5: 200_000, 7: 10}


def multipart() -> tuple[v1.Unlocked, PartsTable, bytes, bytes]:
    random = FixedRandom(b"multipart")
    header = v1.new_multipart(KEY, DSSE, random=random)
    unlocked = v1.unlock(header, KEY)
    stored, plaintext, accepted = b"", b"", []
    for number, size in LAYOUT.items():
        sealer = v1.seal_part(unlocked, number, size, footer=lambda: CRC, random=random)
        part = run(sealer, pattern(size, b"part %d" % number))
        assert len(part) == sealer.stored_size == ranges.part_stored_size(size, 2)
        frame = parts.parse_frame(part[:72])
        assert (frame.number, frame.size, frame.salt) == (number, size, sealer.salt)
        where = ranges.part_footer_range(size, 2)
        assert where.end == len(part) - 1
        assert v1.open_part_footer(unlocked, number, size, sealer.salt, part[where.start :]) == CRC
        accepted.append(Part(number, size, sealer.salt, CRC.checksums))
        stored, plaintext = stored + part, plaintext + pattern(size, b"part %d" % number)
    table = PartsTable(header.object_id, accepted, {}, "FULL_OBJECT")
    found = parts.verify(parts.encode(table, header, KEY), header, KEY)
    return unlocked, found, stored, plaintext


MULTIPART = multipart()


def test_parts() -> None:
    unlocked, table, stored, plaintext = MULTIPART
    plan = ranges.plan_all_parts(table.sizes, 2)
    assert (plan.start, plan.end) == (0, len(stored) - 1)
    assert run(v1.open_parts(unlocked, table, plan), stored, range(0, len(stored), 33_333)) == plaintext
    for index, size in enumerate(table.sizes):
        plan = ranges.plan_part(table.sizes, index, 2)
        before = sum(table.sizes[:index])
        opened = run(v1.open_parts(unlocked, table, plan), stored[plan.start : plan.end + 1])
        assert opened == plaintext[before : before + size]


@settings(max_examples=60)
@given(st.data())
def test_ranges_over_parts(data: Any) -> None:
    unlocked, table, stored, plaintext = MULTIPART
    first = data.draw(st.integers(0, len(plaintext) - 1))
    last = data.draw(st.integers(first, len(plaintext) - 1))
    plan = ranges.plan_parts(table.sizes, first, last, 2)
    opened = run(v1.open_parts(unlocked, table, plan), stored[plan.start : plan.end + 1])
    assert opened == plaintext[first : last + 1]


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes((data[position] ^ 1,)) + data[position + 1 :]


@pytest.mark.parametrize("position", [0, 1, 39, 40, 100, 65_535, 65_536, -1])
def test_the_outer_layer_alone_notices_damage(position: int) -> None:
    header, body = sealed(MIB + 1)
    with pytest.raises(EnvelopeError):
        run(v1.open_single(v1.unlock(header, KEY)), flipped(body, position % len(body)))
    for cut in (body[:-1], body + b"\0", b""):
        with pytest.raises(EnvelopeError):
            run(v1.open_single(v1.unlock(header, KEY)), cut)


@pytest.mark.parametrize("position", [0, 1, 39, 40, 100, 65_535, 65_536, -129, -128, -1])
def test_the_inner_layer_alone_notices_damage(position: int) -> None:
    """Whoever has the outer key can make an outer layer of anything; the inner one must still hold."""
    header, body = sealed(MIB + 1)
    inside = inner_body(header, body, MIB + 1)
    assert run(v1.open_single(v1.unlock(header, KEY)), around(header, inside, MIB + 1)) == WHOLE[: MIB + 1]
    damaged = around(header, flipped(inside, position % len(inside)), MIB + 1)
    with pytest.raises(EnvelopeError):
        run(v1.open_single(v1.unlock(header, KEY)), damaged)


def outer_stream(header: headers.Header, size: int) -> Any:
    bound = keys.binding(header.object_id, 0, bytes(16), size)
    expander = keys.Expander(OUTER, header.salt)
    return new_stream(expander, header.salt, bound, ranges.stored_size(size), keys.OVER_LABEL)


def inner_body(header: headers.Header, body: bytes, size: int) -> bytes:
    """What the outer layer holds, by hand."""
    stream, plaintext = outer_stream(header, size), b""
    segments = [body[40:65_536]] + [body[start : start + 65_536] for start in range(65_536, len(body), 65_536)]
    for index, segment in enumerate(segments):
        nonce = header.salt[25:] + index.to_bytes(4, "big") + bytes((index == len(segments) - 1,))
        plaintext += stream.cipher.decrypt(nonce, segment, None)
    return plaintext


def around(header: headers.Header, inside: bytes, size: int) -> bytes:
    return run(Sealer(outer_stream(header, size)), inside)


def test_the_inner_body_of_another_object_does_not_open() -> None:
    header, body = sealed(1000)
    other, other_body = sealed(1000, b"another")
    swapped = around(header, inner_body(other, other_body, 1000), 1000)
    with pytest.raises(EnvelopeError):
        run(v1.open_single(v1.unlock(header, KEY)), swapped)
    assert run(v1.open_single(v1.unlock(header, KEY)), body) == WHOLE[:1000]


@pytest.mark.parametrize("wrong", [INNER + bytes(32), bytes(32) + OUTER, OUTER + INNER, INNER, KEY + b"\0"])
def test_the_header_commits_to_both_keys(wrong: bytes) -> None:
    header, _ = sealed(10)
    with pytest.raises(EnvelopeError, match="data key"):
        v1.unlock(header, wrong)


def test_neither_layer_can_be_taken_off_by_the_store() -> None:
    header, body = sealed(1000)
    inside = inner_body(header, body, 1000)
    for metadata in (header, replace(header, outer_wrapped_key=None)):
        for key in (KEY, INNER, OUTER):
            with pytest.raises(EnvelopeError):
                run(v1.open_single(v1.unlock(metadata, key)), inside)


def test_the_layers_share_neither_keys_nor_salts() -> None:
    header, body = sealed(1000)
    inside = inner_body(header, body, 1000)
    assert inside[1:33] == keys.inner_salt(INNER, header.salt)
    assert inside[1:33] != header.salt
    assert inside[33:40] != body[33:40]


def test_what_has_two_layers_is_not_wrapped_anew(data_key: bytes, wrapping: Any) -> None:
    header, _ = sealed(10)
    one, _ = v1.seal_single(data_key, wrapping, plaintext_size=1, random=FixedRandom(b"one"))
    for each, key, new in ((header, KEY, wrapping), (header, KEY, DSSE), (one, data_key, DSSE)):
        with pytest.raises(ValueError, match="two layers"):
            v1.rewrap(each, key, new, random=FixedRandom(b"again"))


def test_the_number_of_keys_and_of_layers_go_together(data_key: bytes, wrapping: Any) -> None:
    for key, new in ((data_key, DSSE), (KEY, wrapping)):
        with pytest.raises(ValueError, match="32 bytes"):
            v1.seal_single(key, new, plaintext_size=1, random=FixedRandom(b"x"))


def test_the_size_must_be_known_beforehand() -> None:
    with pytest.raises(ValueError, match="must be known"):
        ranges.plan(0, 10, layers=2)


def test_secrets_are_not_shown() -> None:
    header, _ = sealed(10)
    assert repr(INNER)[2:20] not in repr(v1.unlock(header, KEY))
