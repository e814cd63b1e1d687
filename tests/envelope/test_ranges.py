"""Sizes and ranges, against a plain model of what is stored."""

from bisect import bisect_right
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.envelope import ranges
from proxy.envelope.ranges import ByteRange, PartsPlan, Window

MIB = 1_048_576
TABLE = [
    # plaintext, segments, stored
    (0, 1, 56),
    (1, 1, 57),
    (65_479, 1, 65_535),
    (65_480, 1, 65_536),
    (65_481, 2, 65_553),
    (131_000, 2, 131_072),
    (131_001, 3, 131_089),
    (MIB - 1, 17, MIB - 1 + 40 + 17 * 16),
    (MIB, 17, MIB + 40 + 17 * 16),
    (MIB + 1, 17, MIB + 1 + 40 + 17 * 16 + 128),
    (5 * 1024**3, 81_941, 5 * 1024**3 + 40 + 81_941 * 16 + 128),
]
sizes = st.integers(0, 400_000) | st.integers(0, 5 * 1024**3)


def model_segments(size: int) -> list[int]:
    """The plaintext bytes of each segment, by taking them off one after another."""
    segments = [min(size, 65_480)]
    size -= segments[0]
    while size:
        segments.append(min(size, 65_520))
        size -= segments[-1]
    return segments


@pytest.mark.parametrize(("plaintext", "segments", "stored"), TABLE)
def test_the_table_of_sizes(plaintext: int, segments: int, stored: int) -> None:
    assert ranges.segment_count(plaintext) == segments
    assert ranges.stored_size(plaintext) == stored
    assert ranges.plaintext_size(stored) == plaintext


@given(st.integers(0, 700_000))
def test_segments_are_as_in_the_model(size: int) -> None:
    model = model_segments(size)
    assert ranges.segment_count(size) == len(model)
    assert ranges.stream_size(size) == 40 + sum(model) + 16 * len(model)


@given(sizes, sizes)
def test_sizes_are_one_to_one_and_in_order(left: int, right: int) -> None:
    assert ranges.plaintext_size(ranges.stored_size(left)) == left
    assert ranges.part_plaintext_size(ranges.part_stored_size(left)) == left
    assert (left < right) == (ranges.stored_size(left) < ranges.stored_size(right))
    assert (left < right) == (ranges.part_stored_size(left) < ranges.part_stored_size(right))


def test_every_stored_size_around_the_boundaries_is_in_the_image_or_refused() -> None:
    for edge in (0, 65_480, 65_480 + 65_520, MIB):
        image = {ranges.stored_size(size): size for size in range(max(0, edge - 400), edge + 400)}
        low, high = min(image), max(image)
        for stored in range(low, high + 1):
            if stored in image:
                assert ranges.plaintext_size(stored) == image[stored]
            else:
                with pytest.raises(ValueError, match="no single PUT"):
                    ranges.plaintext_size(stored)


@pytest.mark.parametrize("stored", [-1, 0, 1, 40, 55, 65_537, 65_552, 131_073, MIB + 40 + 17 * 16 + 1])
def test_stored_sizes_of_nothing_are_refused(stored: int) -> None:
    with pytest.raises(ValueError, match="no single PUT"):
        ranges.plaintext_size(stored)


@pytest.mark.parametrize("stored", [0, 56, 160, 215, 65_536 + 160 + 1, 65_536 + 160 + 16])
def test_stored_sizes_of_no_part_are_refused(stored: int) -> None:
    with pytest.raises(ValueError, match="no part"):
        ranges.part_plaintext_size(stored)


def test_negative_sizes_are_refused() -> None:
    for function in (ranges.stored_size, ranges.part_stored_size):
        with pytest.raises(ValueError, match="not negative"):
            function(-1)


@given(st.integers(0, 10**13))
def test_a_position_lies_in_its_segment(position: int) -> None:
    index = ranges.segment_of(position)
    assert ranges.segment_start(index) <= position < ranges.segment_start(index + 1)


@pytest.mark.parametrize(
    ("position", "index"), [(0, 0), (65_479, 0), (65_480, 1), (130_999, 1), (131_000, 2), (196_519, 2), (196_520, 3)]
)
def test_segments_at_their_edges(position: int, index: int) -> None:
    assert ranges.segment_of(position) == index


def answer(asked: ByteRange, stored: int) -> tuple[int, int] | None:
    """What a store answers: the first and last byte, or None for 416."""
    if asked.suffix is not None:
        return max(0, stored - asked.suffix), stored - 1
    if asked.start >= stored:
        return None
    return asked.start, stored - 1 if asked.end is None else min(asked.end, stored - 1)


def assert_covers(window: Window, first: int, last: int, size: int, start: int, end: int) -> None:
    """The window over the stored bytes ``start`` to ``end`` gives exactly the plaintext ``first`` to ``last``."""
    model = model_segments(size)
    stored_starts = [0, *accumulate(n + 16 + (0 if i else 40) for i, n in enumerate(model))]
    plain_starts = [0, *accumulate(model)]
    assert start + window.lead == stored_starts[window.first_segment]
    assert end + 1 - window.trail == stored_starts[window.last_segment + 1]
    assert plain_starts[window.first_segment] + window.skip == first
    assert window.length == last - first + 1
    assert window.skip < max(1, model[window.first_segment])
    assert plain_starts[window.last_segment] <= last < plain_starts[window.last_segment + 1]


edges = st.sampled_from([0, 1, 65_479, 65_480, 65_481, 130_999, 131_000, 131_001, MIB - 1, MIB, MIB + 1])
some_sizes = st.integers(1, 300_000) | edges.filter(bool) | st.integers(MIB - 70_000, MIB + 70_000)
positions = edges | st.integers(0, MIB + 100_000)


@given(some_sizes, positions, positions | st.none(), st.booleans())
def test_a_range_is_covered(size: int, first: int, last: int | None, size_known: bool) -> None:
    if last is not None and last < first:
        first, last = last, first
    if first >= size:
        with pytest.raises(ValueError, match="after the end"):
            ranges.plan(first, last, size=size)
        return
    asked = ranges.plan(first, last, size=size if size_known else None)
    answered = answer(asked, ranges.stored_size(size))
    assert answered is not None
    start, end = answered
    clamped = size - 1 if last is None else min(last, size - 1)
    window = ranges.window(first, clamped, size=size, start=start, end=end)
    assert_covers(window, first, clamped, size, start, end)
    assert window.lead == 0
    if size_known:
        assert (asked.start, asked.end) == (start, end)
        assert window.trail == 0


@given(some_sizes, st.integers(1, 200_000) | edges.filter(bool))
def test_a_suffix_of_unknown_size_is_covered(size: int, length: int) -> None:
    asked = ranges.plan_suffix(length)
    answered = answer(asked, ranges.stored_size(size))
    assert answered is not None
    start, end = answered
    first = max(0, size - length)
    window = ranges.window(first, size - 1, size=size, start=start, end=end)
    assert_covers(window, first, size - 1, size, start, end)
    assert window.lead <= 2 * 65_536


def test_a_range_after_the_end_is_answered_by_the_store_or_seen_after_it() -> None:
    asked = ranges.plan(70_000, 70_001)
    assert answer(asked, ranges.stored_size(65_000)) is None
    start, end = answer(ranges.plan(65_200, 65_201), ranges.stored_size(65_100)) or (0, 0)
    with pytest.raises(ValueError, match="within the object"):
        ranges.window(65_200, 65_201, size=65_100, start=start, end=end)


def test_stored_bytes_that_do_not_cover_are_refused() -> None:
    for start, end in ((1, 65_535), (0, 65_534), (65_536, 131_071)):
        with pytest.raises(ValueError, match="do not cover"):
            ranges.window(0, 1, size=65_480, start=start, end=end)


def test_empty_ranges_are_refused() -> None:
    for first, last in ((-1, 4), (5, 4)):
        with pytest.raises(ValueError, match="empty"):
            ranges.plan(first, last)
    for length in (0, -1):
        with pytest.raises(ValueError, match="empty"):
            ranges.plan_suffix(length)


def test_range_headers() -> None:
    assert ranges.plan(0, 0).header == "bytes=0-65535"
    assert ranges.plan(65_480, None).header == "bytes=65536-"
    assert ranges.plan(65_480, None, size=65_481).header == "bytes=65536-65552"
    assert ranges.plan_suffix(1).header == f"bytes=-{65_520 + 3 * 16 + 40 + 128}"


@pytest.mark.parametrize("size", [0, MIB])
def test_short_bodies_have_no_footer(size: int) -> None:
    assert ranges.footer_range(size) is None


def test_long_bodies_end_with_their_footer() -> None:
    asked = ranges.footer_range(MIB + 1)
    stored = ranges.stored_size(MIB + 1)
    assert asked == ByteRange(stored - 128, stored - 1)


def covered(parts: list[int], plan: PartsPlan) -> tuple[int, int]:
    """The plaintext that a plan yields by the model: its first and last byte."""
    part_starts = [0, *accumulate(ranges.part_stored_size(size) for size in parts)]
    plain_starts = [0, *accumulate(parts)]
    segments = model_segments(parts[plan.first_part])
    inside = 32 + 40 + sum(segments[: plan.first_segment]) + 16 * plan.first_segment if plan.first_segment else 0
    assert plan.start == part_starts[plan.first_part] + inside
    segments = model_segments(parts[plan.last_part])
    upto = 32 + 40 + sum(segments[: plan.last_segment + 1]) + 16 * (plan.last_segment + 1)
    assert plan.end == part_starts[plan.last_part] + upto + (128 if plan.whole else 0) - 1
    first_segments = model_segments(parts[plan.first_part])
    first = plain_starts[plan.first_part] + sum(first_segments[: plan.first_segment]) + plan.skip
    return first, first + plan.length - 1


part_sizes = st.lists(st.sampled_from([0, 1, 65_480, 65_481, 131_000, 150_000]) | st.integers(0, 200_000), min_size=1)


@given(part_sizes, st.data())
def test_a_range_over_parts_is_covered(parts: list[int], data: st.DataObject) -> None:
    total = sum(parts)
    if not total:
        with pytest.raises(ValueError, match="within the object"):
            ranges.plan_parts(parts, 0, None)
        return
    first = data.draw(st.integers(0, total - 1))
    last = data.draw(st.integers(first, total + 10) | st.none())
    plan = ranges.plan_parts(parts, first, last)
    clamped = total - 1 if last is None else min(last, total - 1)
    assert covered(parts, plan) == (first, clamped)
    ends = list(accumulate(parts))
    assert plan.first_part == bisect_right(ends, first)
    assert plan.last_part == bisect_right(ends, clamped)
    assert not plan.whole


@given(part_sizes)
def test_all_parts_are_everything(parts: list[int]) -> None:
    plan = ranges.plan_all_parts(parts)
    assert (plan.start, plan.end) == (0, sum(map(ranges.part_stored_size, parts)) - 1)
    assert plan.whole
    assert covered(parts, plan) == (0, sum(parts) - 1)


@given(part_sizes, st.data())
def test_one_part_is_all_of_it(parts: list[int], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(parts) - 1))
    plan = ranges.plan_part(parts, index)
    before = sum(map(ranges.part_stored_size, parts[:index]))
    assert (plan.start, plan.end + 1 - plan.start) == (before, ranges.part_stored_size(parts[index]))
    assert plan.whole
    assert (plan.first_part, plan.last_part) == (index, index)
    assert covered(parts, plan) == (sum(parts[:index]), sum(parts[: index + 1]) - 1)


def test_an_object_without_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="has a part"):
        ranges.plan_all_parts([])
    with pytest.raises(ValueError, match="within the object"):
        ranges.plan_parts([], 0, None)


@pytest.mark.parametrize(("first", "last"), [(10, 12), (-1, 2), (5, 4)])
def test_ranges_outside_all_parts_are_refused(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="within the object"):
        ranges.plan_parts([4, 6], first, last)
