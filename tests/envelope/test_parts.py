"""Multipart objects: parts, their table, ranges over them, and rebuilding the table from the object."""

from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.envelope import parts, ranges, v1
from proxy.envelope.digests import Digests
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.header import Header
from proxy.envelope.parts import Part, PartsTable

few = settings(max_examples=40, deadline=None)
SIZES = [150_000, 0, 1, 65_480, 65_481, 131_000, 70_000]
NUMBERS = [1, 2, 5, 6, 7, 9, 10_000]
CRC = {"CRC64NVME": b64encode(b"checksum").decode()}


@dataclass(frozen=True)
class Sealed:
    """A multipart object and all that is known of it."""

    header: Header
    unlocked: v1.Unlocked
    stored: list[bytes]
    parts: list[Part]
    plaintext: bytes
    raw_table: bytes

    @property
    def table(self) -> PartsTable:
        return parts.verify(self.raw_table, self.header, self.unlocked.data_key)


@pytest.fixture(scope="module")
def seal(data_key: bytes, wrapping: Any, fixed_random: Any, run: Any, pattern: Any) -> Any:
    def make(seed: bytes, sizes: list[int] = SIZES) -> Sealed:
        random = fixed_random(seed)
        header = v1.new_multipart(
            data_key, wrapping, checksum_algorithm="CRC64NVME", checksum_type="FULL_OBJECT", random=random
        )
        unlocked = v1.unlock(header, data_key)
        stored, accepted, plaintext = [], [], b""
        for number, size in zip(NUMBERS, sizes, strict=False):
            data = pattern(size, seed + bytes((number % 256,)))
            sealer = v1.seal_part(unlocked, number, size, footer=lambda: Digests(CRC), random=random)
            stored.append(run(sealer, data))
            assert len(stored[-1]) == sealer.stored_size == ranges.part_stored_size(size)
            accepted.append(Part(number, size, sealer.salt, CRC))
            plaintext += data
        table = PartsTable(header.object_id, accepted, CRC, "FULL_OBJECT")
        return Sealed(header, unlocked, stored, accepted, plaintext, parts.encode(table, header, data_key))

    return make


@pytest.fixture(scope="module")
def sealed(seal: Any) -> Sealed:
    made = seal(b"sealed")
    assert isinstance(made, Sealed)
    return made


def test_the_record_tells_the_uploads_checksum(sealed: Sealed) -> None:
    assert sealed.unlocked.plaintext_size is None
    assert (sealed.unlocked.checksum_algorithm, sealed.unlocked.checksum_type) == ("CRC64NVME", "FULL_OBJECT")


@pytest.mark.parametrize(("algorithm", "type"), [("CRC9", None), ("CRC32", "OTHER")])
def test_unknown_checksums_are_refused(algorithm: str, type: str | None, data_key: bytes, wrapping: Any) -> None:
    with pytest.raises(ValueError, match="not known"):
        v1.new_multipart(data_key, wrapping, checksum_algorithm=algorithm, checksum_type=type, random=bytes)


def test_the_table_there_and_back(sealed: Sealed) -> None:
    found = parts.decode(sealed.raw_table)
    assert list(found.parts) == sealed.parts
    assert found.parts[-1] == sealed.parts[-1]
    assert found.parts[1:3] == sealed.parts[1:3]
    assert (found.checksums, found.checksum_type) == (CRC, "FULL_OBJECT")
    assert (list(found.sizes), found.total) == (SIZES, sum(SIZES))
    assert not found.verified
    assert sealed.table.verified
    assert sealed.table == found
    assert [part.attempt for part in found.parts] == [part.salt[:16] for part in sealed.parts]
    with pytest.raises(IndexError):
        found.parts[len(SIZES)]


checksums = st.dictionaries(st.sampled_from(["CRC32", "CRC32C"]), st.binary(min_size=4, max_size=4)).map(
    lambda drawn: {name: b64encode(value).decode() for name, value in drawn.items()}
)
numbers = st.sets(st.integers(1, 10_000), min_size=1, max_size=5).map(sorted)


@given(numbers=numbers, data=st.data())
def test_any_table_there_and_back(numbers: list[int], data: st.DataObject, sealed: Sealed, data_key: bytes) -> None:
    made = [
        Part(number, data.draw(st.integers(0, 1 << 40)), bytes((number % 256,)) * 32, data.draw(checksums))
        for number in numbers
    ]
    table = PartsTable(
        sealed.header.object_id, made, data.draw(checksums), data.draw(st.sampled_from([None, "COMPOSITE"]))
    )
    raw = parts.encode(table, sealed.header, data_key)
    assert parts.verify(raw, sealed.header, data_key) == table
    assert parts.decode(raw).total == sum(part.size for part in made)


@few
@given(data=st.data())
def test_every_bit_of_the_table_counts(data: st.DataObject, sealed: Sealed, data_key: bytes) -> None:
    raw = bytearray(sealed.raw_table)
    position = data.draw(st.integers(0, len(raw) - 1) | st.integers(0, 40))
    raw[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(EnvelopeError):
        parts.verify(bytes(raw), sealed.header, data_key)
    with suppress(EnvelopeError):  # and nothing else
        parts.decode(bytes(raw))
    for damaged in (sealed.raw_table[:position], sealed.raw_table + b"\0"):
        with pytest.raises(EnvelopeError):
            parts.verify(damaged, sealed.header, data_key)


@pytest.mark.parametrize("length", [0, 10, 35, 66, 100])
def test_a_short_table_is_refused_without_a_key_too(length: int, sealed: Sealed) -> None:
    with pytest.raises(EnvelopeError):
        parts.decode(sealed.raw_table[:length])


@pytest.mark.parametrize("position", [0, 20, 24, 32, 33, 34, 35])
def test_damage_that_the_form_shows(position: int, sealed: Sealed) -> None:
    raw = bytearray(sealed.raw_table)
    raw[position] ^= 0x40
    with pytest.raises(EnvelopeError):
        parts.decode(bytes(raw))


def test_a_table_of_another_object_is_refused(sealed: Sealed, seal: Any, data_key: bytes) -> None:
    other = seal(b"other")
    with pytest.raises(EnvelopeError):
        parts.verify(other.raw_table, sealed.header, data_key)
    with pytest.raises(EnvelopeError):
        v1.open_parts(sealed.unlocked, other.table, ranges.plan_all_parts(SIZES))
    with pytest.raises(ValueError, match="another object"):
        parts.encode(other.table, sealed.header, data_key)


def test_a_table_that_was_not_verified_opens_nothing(sealed: Sealed) -> None:
    with pytest.raises(ValueError, match="not verified"):
        v1.open_parts(sealed.unlocked, parts.decode(sealed.raw_table), ranges.plan_all_parts(SIZES))


@pytest.mark.parametrize("numbers", [[], [0], [10_001], [1, 1], [2, 1]])
def test_parts_out_of_order_are_no_table(numbers: list[int], sealed: Sealed, data_key: bytes) -> None:
    table = PartsTable(sealed.header.object_id, [Part(number, 1, bytes(32)) for number in numbers])
    with pytest.raises(ValueError, match="part numbers"):
        parts.encode(table, sealed.header, data_key)


def test_ten_thousand_parts_are_compact(sealed: Sealed, data_key: bytes) -> None:
    many = [Part(number, 8 << 20, bytes(32), CRC) for number in range(1, 10_001)]
    raw = parts.encode(PartsTable(sealed.header.object_id, many), sealed.header, data_key)
    assert len(raw) == 35 + 1 + 10_000 * (2 + 8 + 32 + 2 + 8) + 32
    table = parts.verify(raw, sealed.header, data_key)
    assert table.total == 10_000 * (8 << 20)
    assert table.parts[9_999] == many[9_999]


def test_the_whole_object(sealed: Sealed, run: Any) -> None:
    stored = b"".join(sealed.stored)
    for cuts in ([], range(0, len(stored), 262_144), range(0, len(stored), 10_007)):
        opener = v1.open_parts(sealed.unlocked, sealed.table, ranges.plan_all_parts(sealed.table.sizes))
        assert opener.length == len(sealed.plaintext)
        assert run(opener, stored, cuts) == sealed.plaintext


def test_an_object_of_one_empty_part(seal: Any, run: Any) -> None:
    empty = seal(b"empty", [0])
    opener = v1.open_parts(empty.unlocked, empty.table, ranges.plan_all_parts([0]))
    assert run(opener, empty.stored[0]) == b""


@pytest.mark.parametrize("index", range(len(SIZES)))
def test_each_part_by_itself(index: int, sealed: Sealed, run: Any) -> None:
    """Its footer is verified before its last segment is handed out."""
    plan = ranges.plan_part(sealed.table.sizes, index)
    stored = b"".join(sealed.stored)[plan.start : plan.end + 1]
    assert stored == sealed.stored[index]
    before = sum(SIZES[:index])
    plaintext = sealed.plaintext[before : before + SIZES[index]]
    assert run(v1.open_parts(sealed.unlocked, sealed.table, plan), stored) == plaintext
    damaged = stored[:-1] + bytes((stored[-1] ^ 1,))
    with pytest.raises(EnvelopeError):
        run(v1.open_parts(sealed.unlocked, sealed.table, plan), damaged)


TOTAL = sum(SIZES)
positions = st.integers(0, TOTAL - 1) | st.sampled_from([0, 149_999, 150_000, 150_001, 215_481, TOTAL - 1])


@few
@given(left=positions, right=positions, cuts=st.lists(st.integers(0, TOTAL), max_size=4))
def test_ranges_over_parts_are_slices(left: int, right: int, cuts: list[int], sealed: Sealed, run: Any) -> None:
    first, last = sorted((left, right))
    plan = ranges.plan_parts(sealed.table.sizes, first, last)
    answer = b"".join(sealed.stored)[plan.start : plan.end + 1]
    assert len(answer) == plan.end + 1 - plan.start
    opener = v1.open_parts(sealed.unlocked, sealed.table, plan)
    assert run(opener, answer, cuts) == sealed.plaintext[first : last + 1]


@few
@given(data=st.data())
def test_tampered_ranges_over_parts_are_refused(data: st.DataObject, sealed: Sealed, run: Any) -> None:
    first, last = sorted((data.draw(positions), data.draw(positions)))
    plan = ranges.plan_parts(sealed.table.sizes, first, last)
    answer = bytearray(b"".join(sealed.stored)[plan.start : plan.end + 1])
    position = data.draw(st.integers(0, len(answer) - 1))
    flipped = answer[:position] + bytes((answer[position] ^ 1,)) + answer[position + 1 :]
    for damaged in (flipped, answer[:position], answer + b"\0"):
        with pytest.raises(EnvelopeError):
            run(v1.open_parts(sealed.unlocked, sealed.table, plan), damaged)


def refuses(sealed: Sealed, stored: list[bytes], run: Any) -> None:
    plan = ranges.plan_all_parts(sealed.table.sizes)
    with pytest.raises(EnvelopeError):
        run(v1.open_parts(sealed.unlocked, sealed.table, plan), b"".join(stored), range(0, 600_000, 100_000))


@pytest.mark.parametrize("index", range(len(SIZES)))
def test_a_dropped_part_is_refused(index: int, sealed: Sealed, run: Any) -> None:
    refuses(sealed, sealed.stored[:index] + sealed.stored[index + 1 :], run)


@pytest.mark.parametrize("index", range(len(SIZES) - 1))
def test_exchanged_parts_are_refused(index: int, sealed: Sealed, run: Any) -> None:
    stored = list(sealed.stored)
    stored[index], stored[index + 1] = stored[index + 1], stored[index]
    refuses(sealed, stored, run)


@pytest.mark.parametrize("index", range(len(SIZES)))
def test_an_earlier_attempt_of_a_part_is_refused(
    index: int, sealed: Sealed, run: Any, random: Any, pattern: Any
) -> None:
    number, size = NUMBERS[index], SIZES[index]
    earlier = run(v1.seal_part(sealed.unlocked, number, size, random=random), pattern(size))
    stored = list(sealed.stored)
    stored[index] = earlier
    refuses(sealed, stored, run)
    # Nor does it help to give it the accepted attempt's frame and salt.
    stored[index] = sealed.stored[index][:72] + earlier[72:]
    refuses(sealed, stored, run)


def test_a_part_of_another_object_is_refused(sealed: Sealed, seal: Any, run: Any) -> None:
    other = seal(b"another")
    for index in range(len(SIZES)):
        stored = list(sealed.stored)
        stored[index] = other.stored[index]
        refuses(sealed, stored, run)


def test_a_table_without_a_part_does_not_open_the_object(sealed: Sealed, data_key: bytes, run: Any) -> None:
    shorter = PartsTable(sealed.header.object_id, sealed.parts[:-1])
    table = parts.verify(parts.encode(shorter, sealed.header, data_key), sealed.header, data_key)
    with pytest.raises(EnvelopeError, match="after the end"):
        run(v1.open_parts(sealed.unlocked, table, ranges.plan_all_parts(table.sizes)), b"".join(sealed.stored))


def test_the_table_is_rebuilt_from_the_object(sealed: Sealed, data_key: bytes, run: Any) -> None:
    stored = b"".join(sealed.stored)
    found, position = [], 0
    while position < len(stored):
        frame = parts.parse_frame(stored[position : position + parts.PREAMBLE_SIZE])
        position += ranges.part_stored_size(frame.size)
        footer = stored[position - 128 : position]
        told = v1.open_part_footer(sealed.unlocked, frame.number, frame.size, frame.salt, footer)
        found.append(Part(frame.number, frame.size, frame.salt, told.checksums))
    assert position == len(stored)
    assert found == sealed.parts
    raw = parts.encode(PartsTable(sealed.header.object_id, found), sealed.header, data_key)
    table = parts.verify(raw, sealed.header, data_key)
    opener = v1.open_parts(sealed.unlocked, table, ranges.plan_all_parts(table.sizes))
    assert run(opener, stored) == sealed.plaintext


@pytest.mark.parametrize("position", [0, 4, 8, 16, 31, 32, 33, 48, 65, 71])
def test_what_is_no_frame_is_refused(position: int, sealed: Sealed) -> None:
    preamble = bytearray(sealed.stored[0][:72])
    preamble[position] ^= 0x80
    with pytest.raises(EnvelopeError):
        parts.parse_frame(bytes(preamble))


def test_another_salt_in_a_frame_shows_when_the_part_is_opened(sealed: Sealed) -> None:
    preamble = bytearray(sealed.stored[0][:72])
    preamble[32 + 1 + 16] ^= 1
    frame = parts.parse_frame(bytes(preamble))
    assert frame.salt != sealed.parts[0].salt
    with pytest.raises(EnvelopeError, match="footer"):
        v1.open_part_footer(sealed.unlocked, frame.number, frame.size, frame.salt, sealed.stored[0][-128:])


def test_a_short_frame_is_refused(sealed: Sealed) -> None:
    with pytest.raises(EnvelopeError, match="cut short"):
        parts.parse_frame(sealed.stored[0][:71])


def test_part_arguments_out_of_form_are_refused(sealed: Sealed, data_key: bytes, wrapping: Any, random: Any) -> None:
    for number in (0, 10_001):
        with pytest.raises(ValueError, match="part numbers"):
            v1.seal_part(sealed.unlocked, number, 1, random=random)
    with pytest.raises(ValueError, match="not negative"):
        v1.seal_part(sealed.unlocked, 1, -1, random=random)
    single, _ = v1.seal_single(data_key, wrapping, plaintext_size=1, random=random)
    with pytest.raises(ValueError, match="no parts"):
        v1.seal_part(v1.unlock(single, data_key), 1, 1, random=random)


def test_a_multipart_object_is_not_opened_as_a_single_put(sealed: Sealed) -> None:
    with pytest.raises(ValueError, match="by its parts"):
        v1.open_single(sealed.unlocked)
    with pytest.raises(ValueError, match="by its parts"):
        v1.open_range(sealed.unlocked, ranges.Window(0, 0, 0, 0, 1, 0))
    with pytest.raises(ValueError, match="by its parts"):
        v1.open_footer(sealed.unlocked, bytes(128))


def test_rewrapping_a_multipart_object(sealed: Sealed, data_key: bytes, random: Any, run: Any, wrapping: Any) -> None:
    again = v1.rewrap(sealed.header, data_key, replace(wrapping, wrapped_key=b"new"), random=random)
    unlocked = v1.unlock(again, data_key)
    table = parts.verify(sealed.raw_table, again, data_key)
    plan = ranges.plan_all_parts(table.sizes)
    assert run(v1.open_parts(unlocked, table, plan), b"".join(sealed.stored)) == sealed.plaintext
