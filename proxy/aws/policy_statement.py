"""Statements of IAM policies: what each one says of a question.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from proxy.aws import arn


@dataclass(frozen=True)
class Question:
    """May this principal do this to that?"""

    principal: str
    """Its ARN; an account's root is ``arn:aws:iam::<account>:root``."""
    account: str
    """The principal's account, twelve digits."""
    action: str
    """Such as ``kms:Decrypt``."""
    resource: str
    """An ARN, or ``*`` for an action that has no resource."""
    conditions: Mapping[str, str | None] = field(default_factory=lambda: MappingProxyType({}))
    """Values by condition key, in lower case (``kms:viaservice``); None for one known to be absent."""


class Reach(Enum):
    """How a resource policy's statement reaches a principal."""

    NOT = 0
    ACCOUNT = 1
    """By its account: the account's own identity policies have the last word."""
    DIRECT = 2


@lru_cache(maxsize=4096)
def _wildcard(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    """``*`` and ``?`` as a regular expression whose time is bounded, whatever a policy's author writes: what stands
    between two stars matches where it first can, and is never tried again."""
    first, *others = ("".join("." if char == "?" else re.escape(char) for char in part) for part in pattern.split("*"))
    expression = first
    if others:
        expression += "".join(f"(?>.*?{part})" for part in others[:-1] if part) + ".*" + others[-1]
    return re.compile(expression, re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def _matches_any(patterns: Sequence[str], text: str, *, ignore_case: bool) -> bool:
    return any(pattern == "*" or _wildcard(pattern, ignore_case).fullmatch(text) is not None for pattern in patterns)


@dataclass(frozen=True)
class Principals:
    """The AWS principals of a statement; those of other kinds match no caller."""

    everyone: bool = False
    accounts: frozenset[str] = frozenset()
    arns: frozenset[str] = frozenset()

    def reach(self, question: Question) -> Reach:
        names = _names(question.principal)
        if self.everyone or not self.arns.isdisjoint(names):
            return Reach.DIRECT
        if question.account in self.accounts:
            return Reach.DIRECT if question.principal.endswith(":root") else Reach.ACCOUNT
        return Reach.NOT


@lru_cache(maxsize=1024)
def _names(principal: str) -> frozenset[str]:
    """The ARNs that name a principal in a policy: its own, and for a role's session the role's."""
    try:
        parsed = arn.parse(principal)
    except ValueError:
        return frozenset((principal,))
    if parsed.service == "sts" and parsed.resource_type == "assumed-role":
        role = parsed.resource_id.partition("/")[0]
        return frozenset((principal, f"arn:{parsed.partition}:iam::{parsed.account}:role/{role}"))
    return frozenset((principal,))


@dataclass(frozen=True)
class Condition:
    operator: str
    key: str
    """In lower case."""
    values: tuple[str, ...]

    def holds(self, conditions: Mapping[str, str | None]) -> bool | None:
        """None: this version cannot tell."""
        compare = _OPERATORS.get(self.operator)
        if compare is None or self.key not in conditions or any("${" in value for value in self.values):
            return None
        negated, test = compare
        value = conditions[self.key]
        matched = value is not None and any(test(value, wanted) for wanted in self.values)
        return matched is not negated


_OPERATORS: Final[Mapping[str, tuple[bool, Callable[[str, str], bool]]]] = {
    "StringEquals": (False, lambda value, wanted: value == wanted),
    "StringNotEquals": (True, lambda value, wanted: value == wanted),
    "StringEqualsIgnoreCase": (False, lambda value, wanted: value.casefold() == wanted.casefold()),
    "StringLike": (False, lambda value, wanted: _wildcard(wanted, False).fullmatch(value) is not None),
    "StringNotLike": (True, lambda value, wanted: _wildcard(wanted, False).fullmatch(value) is not None),
}


@dataclass(frozen=True)
class Statement:
    allow: bool
    actions: tuple[str, ...]
    actions_negated: bool
    resources: tuple[str, ...]
    resources_negated: bool
    principals: Principals | None
    principals_negated: bool
    conditions: tuple[Condition, ...]

    def applies(self, question: Question) -> bool:
        """Whether action, resource and conditions match; the principal aside."""
        if _matches_any(self.actions, question.action, ignore_case=True) is self.actions_negated:
            return False
        if any("${" in resource for resource in self.resources):
            return not self.allow
        if _matches_any(self.resources, question.resource, ignore_case=False) is self.resources_negated:
            return False
        return self._conditions_hold(question.conditions)

    def _conditions_hold(self, conditions: Mapping[str, str | None]) -> bool:
        answers = [condition.holds(conditions) for condition in self.conditions]
        if False in answers:
            return False
        return not self.allow if None in answers else True

    def reach(self, question: Question) -> Reach:
        if self.principals is None:
            return Reach.DIRECT
        reach = self.principals.reach(question)
        if not self.principals_negated:
            return reach
        if self.allow:
            return Reach.DIRECT if reach is Reach.NOT else Reach.NOT
        # AWS asks to list the principal and its account; who is listed by half is denied.
        listed = reach is Reach.DIRECT and (self.principals.everyone or question.account in self.principals.accounts)
        return Reach.NOT if listed else Reach.DIRECT


@dataclass(frozen=True)
class Policy:
    """A policy that was found valid."""

    statements: tuple[Statement, ...]

    def ask(self, question: Question) -> tuple[bool, Reach]:
        """Whether it denies, and how far it allows."""
        allowed = Reach.NOT
        for statement in self.statements:
            if statement.allow and allowed is Reach.DIRECT:
                continue
            reach = statement.reach(question)
            if reach is Reach.NOT or not statement.applies(question):
                continue
            if not statement.allow:
                return True, Reach.NOT
            if reach is Reach.DIRECT or allowed is Reach.NOT:
                allowed = reach
        return False, allowed
