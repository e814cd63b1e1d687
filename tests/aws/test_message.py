"""Queries are taken apart as S3 does it."""

import pytest

from proxy.aws.message import Request, decode_percent, parse_query


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("", ()),
        ("acl", (("acl", ""),)),
        ("a=1&b=2&a=3", (("a", "1"), ("b", "2"), ("a", "3"))),
        ("a==b", (("a", "=b"),)),
        ("&a=1&&", (("a", "1"),)),
        ("prefix=a+b%2Bc%20d", (("prefix", "a b+c d"),)),
        ("k+1=v", (("k 1", "v"),)),
        ("a=%c3%A9", (("a", "\N{LATIN SMALL LETTER E WITH ACUTE}"),)),
        ("a=%ff", (("a", "\udcff"),)),
        ("a=%zz%", (("a", "%zz%"),)),
    ],
)
def test_queries(query: str, parameters: tuple[tuple[str, str], ...]) -> None:
    assert parse_query(query) == parameters
    assert Request("GET", "/", query).parameters == parameters


def test_the_first_value_of_a_parameter_by_its_exact_name() -> None:
    request = Request("GET", "/", "a=1&a=2&B=3")
    assert (request.parameter("a"), request.parameter("b"), request.parameter("B")) == ("1", None, "3")


def test_a_plus_in_a_path_is_a_plus() -> None:
    assert decode_percent("/a+b%20c") == "/a+b c"
