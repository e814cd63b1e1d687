"""Wildcards and policy variables."""

import re
import time
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.aws import policy_patterns as patterns
from proxy.aws.policy_patterns import Lookup, Values


def lookup(values: Mapping[str, Values | None]) -> Lookup:
    """Keys that are not named are absent."""
    return lambda key: values.get(key, ())


NOTHING = lookup({})
BOB = lookup({"aws:username": ("bob",), "aws:many": ("a", "b"), "aws:unknown": None})

LETTERS = st.text(alphabet="ab\n.*?$", max_size=12)


def reference(pattern: str, value: str) -> bool:
    """The plain meaning of wildcards, by recursion over both."""
    if not pattern:
        return not value
    if pattern[0] == "*":
        return any(reference(pattern[1:], value[start:]) for start in range(len(value) + 1))
    return bool(value) and pattern[0] in ("?", value[0]) and reference(pattern[1:], value[1:])


@given(LETTERS, LETTERS)
def test_wildcards_mean_what_they_say(pattern: str, value: str) -> None:
    assert patterns.wildcard(pattern, variables=False).matches(value, NOTHING) is reference(pattern, value)


@given(LETTERS, LETTERS)
def test_an_exact_pattern_is_the_text(pattern: str, value: str) -> None:
    made = patterns.exact(pattern, variables=False)
    assert made.matches(value, NOTHING) is (pattern == value)
    assert made.text == pattern


@given(LETTERS)
def test_every_pattern_without_wildcards_matches_itself(text: str) -> None:
    escaped = re.sub(r"[*?$]", lambda char: f"${{{char[0]}}}", text)
    assert patterns.wildcard(escaped, variables=True).matches(text, NOTHING) is True


def test_a_hostile_pattern_takes_no_time() -> None:
    pattern = patterns.wildcard("*a" * 40 + "b", variables=False)
    started = time.perf_counter()
    assert pattern.matches("a" * 5000, NOTHING) is False
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    ("text", "value", "matches"),
    [
        ("home/${aws:username}/*", "home/bob/x", True),
        ("home/${aws:username}/*", "home/bobby/x", False),
        ("home/${AWS:UserName}/*", "home/bob/x", True),
        ("${aws:username}${aws:username}", "bobbob", True),
        ("${aws:userid, 'anonymous'}", "anonymous", True),
        ("${aws:username, 'anonymous'}", "bob", True),
        ("${aws:username,'anonymous'}", "anonymous", False),
        ("${aws:userid}", "", False),
        ("${aws:userid}", "${aws:userid}", False),
        ("x*${aws:userid}", "xy", False),
        ("${*}", "*", True),
        ("${*}", "x", False),
        ("${?}${$}", "?$", True),
        ("a${?}b", "a.b", False),
        ("$x{y}", "$x{y}", True),
        ("${aws:many}", "a", None),
        ("${aws:unknown}", "a", None),
    ],
)
def test_variables(text: str, value: str, matches: bool | None) -> None:
    assert patterns.wildcard(text, variables=True).matches(value, BOB) is matches


def test_what_a_variable_stands_for_is_taken_literally() -> None:
    hostile = lookup({"aws:username": ("*",)})
    pattern = patterns.wildcard("home/${aws:username}/*", variables=True)
    assert pattern.matches("home/bob/x", hostile) is False
    assert pattern.matches("home/*/x", hostile) is True


def test_variables_are_text_in_old_policies() -> None:
    pattern = patterns.wildcard("${aws:username}", variables=False)
    assert pattern.matches("${aws:username}", BOB) is True
    assert pattern.matches("bob", BOB) is False
    assert pattern.keys == frozenset()


@pytest.mark.parametrize("text", ["${", "a${aws:username", "${}", "${ }", "${a, b}", "${a, 'b}", "${a,}"])
def test_what_is_no_variable(text: str) -> None:
    with pytest.raises(ValueError):
        patterns.exact(text, variables=True)


def test_the_keys_of_a_pattern() -> None:
    text = "arn:aws:s3:::${aws:PrincipalTag/Team}/${aws:username, 'x'}/${*}"
    expected = {"aws:principaltag/team", "aws:username"}
    assert patterns.wildcard(text, variables=True).keys == expected
    assert patterns.arn(text, variables=True).keys == expected


def test_completeness() -> None:
    def complete(text: str) -> bool:
        return patterns.exact(text, variables=True).is_complete(BOB)

    assert complete("x") and complete("${aws:username}") and complete("${aws:userid, 'x'}")
    assert not complete("${aws:userid}") and not complete("${aws:many}") and not complete("${aws:unknown}")


ROLE = "arn:aws:iam::111122223333:role/path/name"


@pytest.mark.parametrize(
    ("text", "value", "matches"),
    [
        (ROLE, ROLE, True),
        (ROLE, ROLE + "x", False),
        ("*", ROLE, True),
        ("*", "no ARN", False),
        ("arn:*:iam::*:role/*", ROLE, True),
        ("arn:aws:iam::111122223333:role/*", ROLE, True),
        ("arn:aws:iam:*:role/*", ROLE, False),
        ("arn:*", ROLE, False),
        ("arn:aws:iam::1111222?3333:role/path/nam?", ROLE, True),
        ("arn:aws:iam::111122223333:role/${aws:username}", "arn:aws:iam::111122223333:role/bob", True),
        ("arn:aws:iam::${aws:many}:role/x", "arn:aws:iam::a:role/x", None),
        ("arn:aws:iam::${aws:many}:role/x", "arn:aws:iam::a:role/y", False),
        ("arn:aws:s3:::a:b:*", "arn:aws:s3:::a:b:c:d", True),
        # The example of AWS's documentation: a wildcard does not reach over a colon.
        (
            "arn:aws:someservice:*:111122223333:finance/*",
            "arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt",
            False,
        ),
    ],
)
def test_arns(text: str, value: str, matches: bool | None) -> None:
    assert patterns.arn(text, variables=True).matches(value, BOB) is matches


def test_none_of_several() -> None:
    def none(*texts: str, value: str = "x") -> bool | None:
        return patterns.matches_none([patterns.exact(text, variables=True) for text in texts], value, BOB)

    assert none("x", "y") is False
    assert none("y", "z") is True
    assert none("x", "${aws:userid}") is False
    assert none("y", "${aws:userid}") is None, "nobody can be told apart from a name that is not there"
    assert none("y", "${aws:unknown}") is None


@pytest.mark.parametrize(
    ("answers", "both", "either"),
    [
        ([], True, False),
        ([True], True, True),
        ([False], False, False),
        ([None], None, None),
        ([True, None], None, True),
        ([False, None], False, None),
        ([True, False, None], False, True),
    ],
)
def test_logic_with_what_is_not_known(answers: list[bool | None], both: bool | None, either: bool | None) -> None:
    assert patterns.all_of(answers) is both
    assert patterns.any_of(answers) is either
