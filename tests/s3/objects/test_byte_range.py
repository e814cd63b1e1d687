import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.aws.errors import AwsError
from proxy.s3.objects.byte_range import parse


@pytest.mark.parametrize(
    ("value", "size", "expected"),
    [
        ("bytes=0-0", 10, (0, 0)),
        ("bytes=2-5", 10, (2, 5)),
        ("bytes=2-", 10, (2, 9)),
        ("bytes=2-500", 10, (2, 9)),
        ("bytes=-3", 10, (7, 9)),
        ("bytes=-30", 10, (0, 9)),
        ("Bytes = 1 - 2", 10, (1, 2)),
        (f"bytes=0-{10**30}", 10, (0, 9)),
    ],
)
def test_a_range_resolves_against_the_size(value, size, expected):
    found = parse(value)
    assert found is not None
    assert found.resolve(size) == expected


@pytest.mark.parametrize(
    "value", [None, "", "bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,3-4", "items=0-1", "0-1", "bytes=a-b", "bytes=--1"]
)
def test_what_is_not_one_range_is_ignored_as_s3_does(value):
    assert parse(value) is None


@pytest.mark.parametrize(("value", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-1", 0)])
def test_a_range_without_a_byte_of_the_object_is_416(value, size):
    found = parse(value)
    assert found is not None
    with pytest.raises(AwsError) as error:
        found.resolve(size)
    assert (error.value.status, error.value.code) == (416, "InvalidRange")
    assert error.value.detail == {"RangeRequested": value, "ActualObjectSize": str(size)}


@given(st.binary(min_size=1, max_size=50), st.integers(0, 60), st.integers(0, 60))
def test_a_resolved_range_is_what_slicing_gives(body, first, last):
    found = parse(f"bytes={first}-{last}")
    if last < first:
        assert found is None
    elif first < len(body):
        assert found is not None
        start, end = found.resolve(len(body))
        assert body[start : end + 1] == body[first : last + 1]
