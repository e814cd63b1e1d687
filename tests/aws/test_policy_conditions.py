"""Every condition operator, with every form of it, on every number of values."""

from itertools import product
from typing import Any

import pytest

from proxy.aws import policy_conditions
from proxy.aws.policy_patterns import Lookup, Values

SAMPLES: dict[str, tuple[str, str, str]] = {
    # What the policy has, a value that equals it or stands in the relation, and one that does not.
    "StringEquals": ("Value", "Value", "value"),
    "StringNotEquals": ("Value", "Value", "value"),
    "StringEqualsIgnoreCase": ("Value", "vALUE", "values"),
    "StringNotEqualsIgnoreCase": ("Value", "vALUE", "values"),
    "StringLike": ("v?l*", "value", "Value"),
    "StringNotLike": ("v?l*", "value", "Value"),
    "ArnEquals": ("arn:aws:iam::*:role/x", "arn:aws:iam::111122223333:role/x", "arn:aws:iam::111122223333:role/y"),
    "ArnLike": ("arn:aws:iam::*:role/x", "arn:aws:iam::111122223333:role/x", "arn:aws:iam::111122223333:role/y"),
    "ArnNotEquals": ("arn:aws:s3:::b/*", "arn:aws:s3:::b/k", "arn:aws:s3:::c/k"),
    "ArnNotLike": ("arn:aws:s3:::b/*", "arn:aws:s3:::b/k", "arn:aws:s3:::c/k"),
    "NumericEquals": ("10", "10.0", "11"),
    "NumericNotEquals": ("10", "10.0", "11"),
    "NumericLessThan": ("10", "9.99", "10"),
    "NumericLessThanEquals": ("10", "10", "10.01"),
    "NumericGreaterThan": ("-1", "0", "-1"),
    "NumericGreaterThanEquals": ("1e3", "1000", "999"),
    "DateEquals": ("2026-11-23T06:00:00Z", "1795413600", "2026-11-23T06:00:01Z"),
    "DateNotEquals": ("2026-11-23", "2026-11-23T00:00:00Z", "2026-11-23T00:00:00.5Z"),
    "DateLessThan": ("2026", "2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z"),
    "DateLessThanEquals": ("2026-11", "2026-11-01T00:00:00Z", "2026-11-01T00:00:01Z"),
    "DateGreaterThan": ("2026-11-23T06:00:00+09:00", "2026-11-22T21:00:01Z", "2026-11-22T21:00:00Z"),
    "DateGreaterThanEquals": ("0", "1970-01-01T00:00:00Z", "-1"),
    "Bool": ("true", "true", "false"),
    "BinaryEquals": ("QmluYXJ5", "QmluYXJ5", "QmluYXJz"),
    "IpAddress": ("203.0.113.0/24", "203.0.113.255", "203.0.114.0"),
    "NotIpAddress": ("2001:DB8::/32", "2001:db8::1", "203.0.113.1"),
}
NEGATED = {name for name in SAMPLES if "Not" in name}

T, F, U = True, False, None
FORMS = ("", "IfExists", "ForAllValues:", "ForAnyValue:")
STATES = ("absent", "m", "n", "mm", "mn", "nn")
"""The values of the key in the request: m matches the policy's value, n does not."""
TABLE: dict[tuple[str, bool], tuple[bool | None, ...]] = {
    # By form and negation; U: nobody can tell.
    #                     absent  m  n  mm mn nn
    ("", False):          (F,     T, F, U, U, U),
    ("", True):           (T,     F, T, U, U, U),
    ("IfExists", False):  (T,     T, F, U, U, U),
    ("IfExists", True):   (T,     F, T, U, U, U),
    ("ForAllValues:", False): (T, T, F, T, F, F),
    ("ForAllValues:", True):  (T, F, T, F, F, T),
    ("ForAnyValue:", False):  (F, T, F, T, T, F),
    ("ForAnyValue:", True):   (F, F, T, F, T, T),
}  # fmt: skip


def holds(operator: str, *wanted: str, values: Values | None, variables: bool = True, **others: Any) -> bool | None:
    condition = policy_conditions.parse(operator, "test:key", wanted, variables=variables)

    def lookup(key: str) -> Values | None:
        return values if key == "test:key" else others.get(key.replace(":", "_"), ())

    return condition.holds(lookup)


def test_the_samples_are_all_operators() -> None:
    assert set(SAMPLES) | {"Null"} == policy_conditions.OPERATORS


@pytest.mark.parametrize(("operator", "form", "state"), list(product(SAMPLES, FORMS, STATES)))
def test_every_operator_in_every_form(operator: str, form: str, state: str) -> None:
    wanted, match, other = SAMPLES[operator]
    values = () if state == "absent" else tuple(match if letter == "m" else other for letter in state)
    expected = TABLE[form, operator in NEGATED][STATES.index(state)]
    if form == "IfExists":
        assert holds(f"{operator}IfExists", wanted, values=values) is expected
    else:
        assert holds(f"{form}{operator}", wanted, values=values) is expected
    if form.endswith(":"):
        # With a set operator a missing key is decided by that, not by IfExists.
        assert holds(f"{form}{operator}IfExists", wanted, values=values) is expected


@pytest.mark.parametrize(
    ("operator", "form"), list(product(SAMPLES, ("{}", "{}IfExists", "ForAllValues:{}", "ForAnyValue:{}")))
)
def test_a_key_that_is_not_known_decides_nothing(operator: str, form: str) -> None:
    assert holds(form.format(operator), SAMPLES[operator][0], values=None) is None


@pytest.mark.parametrize("operator", SAMPLES)
def test_several_wanted_values_are_alternatives(operator: str) -> None:
    wanted, match, other = SAMPLES[operator]
    unlike = "2001:db8:1::/48" if operator == "NotIpAddress" else {"IpAddress": "10.0.0.0/8"}.get(operator, wanted)
    for together in ((wanted, unlike), (unlike, wanted)):
        assert holds(operator, *together, values=(match,)) is (operator not in NEGATED)
        assert holds(operator, *together, values=(other,)) is (operator in NEGATED)


@pytest.mark.parametrize(
    ("wanted", "values", "expected"),
    [
        ("true", (), True),
        ("true", ("x",), False),
        ("true", ("x", "y"), False),
        ("false", (), False),
        ("False", ("x",), True),
        ("false", ("",), True),
        ("true", None, None),
    ],
)
def test_null(wanted: str, values: Values | None, expected: bool | None) -> None:
    assert holds("Null", wanted, values=values) is expected


@pytest.mark.parametrize(
    "operator",
    ["", "StringSounds", "stringequals", "IfExists", "NullIfExists", "ForAnyValue:Null", "ForSome:StringEquals",
     "ForAnyValue:", "ForAnyValue:ForAnyValue:StringEquals", "StringEqualsIfExistsIfExists"],
)  # fmt: skip
def test_operators_that_aws_has_not(operator: str) -> None:
    condition = policy_conditions.parse(operator, "test:key", ["true"], variables=True)
    assert not condition.known
    lookup: Lookup = lambda _: ("true",)  # noqa: E731
    assert condition.holds(lookup) is None


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        ("NumericEquals", "ten"),
        ("NumericEquals", "NaN"),
        ("NumericLessThan", "Infinity"),
        ("NumericEquals", "${aws:EpochTime}"),
        ("DateEquals", "yesterday"),
        ("DateLessThan", "2026-13-01"),
        ("Bool", "yes"),
        ("BinaryEquals", "***"),
        ("IpAddress", "203.0.113.0/33"),
        ("NotIpAddress", "anywhere"),
        ("Null", "maybe"),
        ("StringEquals", "${aws:username"),
        ("ArnLike", "${}"),
    ],
)
def test_values_that_do_not_fit_their_operator(operator: str, value: str) -> None:
    with pytest.raises(ValueError):
        policy_conditions.parse(operator, "test:key", [value], variables=True)


@pytest.mark.parametrize(
    ("operator", "wanted", "value"),
    [
        ("NumericLessThan", "10", "many"),
        ("NumericNotEquals", "10", "many"),
        ("DateLessThan", "2026", "soon"),
        ("NotIpAddress", "10.0.0.0/8", "somewhere"),
        ("BinaryEquals", "QQ==", "!"),
    ],
)
def test_a_request_that_does_not_fit_the_operator_decides_nothing(operator: str, wanted: str, value: str) -> None:
    assert holds(operator, wanted, values=(value,)) is None


def test_addresses() -> None:
    assert holds("IpAddress", "203.0.113.7", values=("203.0.113.7",)) is True
    assert holds("IpAddress", "203.0.113.7", values=("203.0.113.8",)) is False
    assert holds("IpAddress", "203.0.113.77/24", values=("203.0.113.8",)) is True
    assert holds("IpAddress", "203.0.113.0/24", values=("::ffff:203.0.113.8",)) is True
    assert holds("IpAddress", "::/0", values=("203.0.113.8",)) is False
    assert holds("IpAddress", "0.0.0.0/0", "::/0", values=("2001:db8::1",)) is True


def test_variables_in_conditions() -> None:
    assert holds("StringEquals", "${aws:username}", values=("bob",), aws_username=("bob",)) is True
    assert holds("StringEquals", "${aws:username}", values=("eve",), aws_username=("bob",)) is False
    assert holds("StringEquals", "${aws:username}", values=("bob",)) is False
    assert holds("StringNotEquals", "${aws:username}", values=("bob",)) is None
    assert holds("StringEquals", "${aws:username}", values=("bob",), aws_username=None) is None
    assert holds("StringLike", "home/${aws:username}/*", values=("home/bob/x",), aws_username=("bob",)) is True
    assert holds("Bool", "${aws:SecureTransport}", values=("true",), aws_securetransport=("true",)) is True
    assert holds("StringEquals", "${aws:username}", values=("${aws:username}",), variables=False) is True


def test_the_keys_of_a_condition() -> None:
    condition = policy_conditions.parse("StringEquals", "a:b", ["${c:D}", "x"], variables=True)
    assert condition.keys == {"a:b", "c:d"}
