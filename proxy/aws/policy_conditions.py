"""Conditions of IAM policies: their operators, and whether one holds in a request.

Sources: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
"""

import base64
import binascii
import ipaddress
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import cached_property, partial
from typing import Any, Final

from proxy.aws import policy_patterns as patterns
from proxy.aws.policy_patterns import Lookup, Matcher

_IF_EXISTS: Final = "IfExists"
_NULL: Final = "Null"
_EPOCH: Final = re.compile(r"-?\d+(\.\d+)?")
_YEAR: Final = re.compile(r"\d{4}")
_YEAR_AND_MONTH: Final = re.compile(r"\d{4}-\d{2}")
_NO_KEYS: Final[frozenset[str]] = frozenset()


class Quantifier(Enum):
    """How a multivalued key is compared; AWS calls these set operators."""

    FOR_ALL_VALUES = "ForAllValues"
    FOR_ANY_VALUE = "ForAnyValue"


class _Comparison(Matcher):
    """A value of a kind that has to be read: a number, a time, an address."""

    keys = _NO_KEYS

    def __init__(self, read: Callable[[str], Any], compare: Callable[[Any, Any], bool], wanted: Any) -> None:
        self._read = read
        self._compare = compare
        self._wanted = wanted

    def matches(self, value: str, lookup: Lookup) -> bool | None:  # noqa: ARG002 - no variables
        try:
            return self._compare(self._read(value), self._wanted)
        except ValueError:
            return None

    def is_complete(self, lookup: Lookup) -> bool:  # noqa: ARG002 - no variables
        return True


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError("not a number") from None
    if not number.is_finite():
        raise ValueError("not a number")
    return number


def _date(text: str) -> Decimal:
    """Seconds since the epoch, of epoch time or of a date of ISO 8601 as W3C profiles it."""
    if _YEAR.fullmatch(text):
        text += "-01-01"
    elif _EPOCH.fullmatch(text):
        return Decimal(text)
    elif _YEAR_AND_MONTH.fullmatch(text):
        text += "-01"
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return Decimal(repr(time.timestamp()))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def _binary(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None


def _bool(text: str, variables: bool) -> Matcher:
    pattern = patterns.exact(text, variables=variables, ignore_case=True)
    if pattern.text is not None:
        _truth(pattern.text)
    return pattern


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("neither true nor false")
    return text.lower() == "true"


def _string(text: str, variables: bool, *, wildcards: bool = False, ignore_case: bool = False) -> Matcher:
    make = patterns.wildcard if wildcards else patterns.exact
    return make(text, variables=variables, ignore_case=ignore_case)


def _arn(text: str, variables: bool) -> Matcher:
    return patterns.arn(text, variables=variables)


def _ordered(read: Callable[[str], Any], compare: Callable[[Any, Any], bool], text: str, _variables: bool) -> Matcher:
    return _Comparison(read, compare, read(text))


def _ip(text: str, _variables: bool) -> Matcher:
    network = ipaddress.ip_network(text, strict=False)
    return _Comparison(_address, _lies_in, network)


def _lies_in(address: Any, network: Any) -> bool:
    return address.version == network.version and address in network


@dataclass(frozen=True)
class _Operator:
    make: Callable[[str, bool], Matcher]
    """Reads one value of a policy; the flag tells whether it may have variables. Raises ValueError."""
    negated: bool = False


def _comparisons(family: str, read: Callable[[str], Any]) -> dict[str, _Operator]:
    return {
        f"{family}Equals": _Operator(partial(_ordered, read, operator.eq)),
        f"{family}NotEquals": _Operator(partial(_ordered, read, operator.eq), negated=True),
        f"{family}LessThan": _Operator(partial(_ordered, read, operator.lt)),
        f"{family}LessThanEquals": _Operator(partial(_ordered, read, operator.le)),
        f"{family}GreaterThan": _Operator(partial(_ordered, read, operator.gt)),
        f"{family}GreaterThanEquals": _Operator(partial(_ordered, read, operator.ge)),
    }


_OPERATORS: Final[Mapping[str, _Operator]] = {
    "StringEquals": _Operator(_string),
    "StringNotEquals": _Operator(_string, negated=True),
    "StringEqualsIgnoreCase": _Operator(partial(_string, ignore_case=True)),
    "StringNotEqualsIgnoreCase": _Operator(partial(_string, ignore_case=True), negated=True),
    "StringLike": _Operator(partial(_string, wildcards=True)),
    "StringNotLike": _Operator(partial(_string, wildcards=True), negated=True),
    "ArnEquals": _Operator(_arn),
    "ArnLike": _Operator(_arn),
    "ArnNotEquals": _Operator(_arn, negated=True),
    "ArnNotLike": _Operator(_arn, negated=True),
    **_comparisons("Numeric", _number),
    **_comparisons("Date", _date),
    "Bool": _Operator(_bool),
    "BinaryEquals": _Operator(partial(_ordered, _binary, operator.eq)),
    "IpAddress": _Operator(_ip),
    "NotIpAddress": _Operator(_ip, negated=True),
}

OPERATORS: Final = frozenset((*_OPERATORS, _NULL))
"""The names of all operators, without ``IfExists`` and set operators."""


@dataclass(frozen=True)
class Condition:
    """One operator with one key and the values that a policy gives for it."""

    key: str
    """In lower case."""
    wanted: tuple[Matcher, ...] = ()
    negated: bool = False
    if_exists: bool = False
    quantifier: Quantifier | None = None
    null: tuple[bool, ...] | None = None
    """The values of the operator Null; None for another operator."""
    known: bool = True
    """False for an operator that AWS does not have."""

    @cached_property
    def keys(self) -> frozenset[str]:
        """All condition keys that have a part in it, in lower case."""
        return frozenset((self.key,)).union(*(matcher.keys for matcher in self.wanted))

    def holds(self, lookup: Lookup) -> bool | None:
        """None: this service cannot tell.

        A key that is absent satisfies negated operators, those with IfExists, and ForAllValues; it never satisfies
        ForAnyValue. Several values without a set operator are a question that has no answer."""
        values = lookup(self.key) if self.known else None
        if values is None:
            return None
        if self.null is not None:
            return (not values) in self.null
        if self.quantifier is Quantifier.FOR_ALL_VALUES:
            return patterns.all_of([self._holds_for(value, lookup) for value in values])
        if self.quantifier is Quantifier.FOR_ANY_VALUE:
            return patterns.any_of([self._holds_for(value, lookup) for value in values])
        if not values:
            return self.negated or self.if_exists
        return self._holds_for(values[0], lookup) if len(values) == 1 else None

    def _holds_for(self, value: str, lookup: Lookup) -> bool | None:
        compare = patterns.matches_none if self.negated else patterns.matches_any
        return compare(self.wanted, value, lookup)


def parse(name: str, key: str, values: Sequence[str], *, variables: bool) -> Condition:
    """Reads a condition. An operator that AWS does not have makes one that is not ``known``.

    Raises:
        ValueError: a value does not fit the operator.
    """
    quantifier = None
    prefix, colon, base = name.partition(":")
    if colon:
        if prefix not in (each.value for each in Quantifier):
            return Condition(key, known=False)
        quantifier = Quantifier(prefix)
    else:
        base = name
    if base == _NULL and quantifier is None:
        return Condition(key, null=tuple(map(_truth, values)))
    if_exists = base.endswith(_IF_EXISTS)
    found = _OPERATORS.get(base.removesuffix(_IF_EXISTS))
    if found is None:
        return Condition(key, known=False)
    wanted = tuple(found.make(value, variables) for value in values)
    return Condition(key, wanted, found.negated, if_exists, quantifier)
