"""Statements of IAM policies: what each one says of a question.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from proxy.aws import policy_patterns as patterns
from proxy.aws.credentials import Caller
from proxy.aws.policy_conditions import Condition
from proxy.aws.policy_patterns import Lookup, Pattern, Values
from proxy.aws.policy_principals import Principals, Reach


def no_conditions(key: str) -> Values | None:  # noqa: ARG001 - a Lookup
    """The Lookup of a question whose context is not known."""
    return None


class Question(NamedTuple):
    """May this caller do this to that?"""

    caller: Caller
    action: str
    """Such as ``kms:Decrypt``."""
    resource: str
    """An ARN, or ``*`` for an action that has no resource."""
    lookup: Lookup = no_conditions
    """Asked only for the condition keys that policies name."""


@dataclass(frozen=True)
class Statement:
    allow: bool
    actions: tuple[Pattern, ...]
    actions_negated: bool
    resources: tuple[Pattern, ...]
    resources_negated: bool
    principals: Principals | None = None
    """None in a policy that is attached to a principal."""
    principals_negated: bool = False
    conditions: tuple[Condition, ...] = ()

    def is_about(self, action: str) -> bool:
        return (patterns.matches_any(self.actions, action, no_conditions) is True) is not self.actions_negated

    @cached_property
    def keys(self) -> frozenset[str]:
        """The condition keys that it depends on, in lower case."""
        of_resources = (pattern.keys for pattern in self.resources)
        return frozenset().union(*of_resources, *(condition.keys for condition in self.conditions))

    def applies(self, question: Question) -> bool:
        """Whether resource and conditions match; the action and the principal aside. What this service cannot tell
        never makes an Allow apply, and always a Deny."""
        on_resource = self._on_resource(question)
        if on_resource is False:
            return False
        if not self.conditions:
            return on_resource is True or not self.allow
        answers = [condition.holds(question.lookup) for condition in self.conditions]
        answers.append(on_resource)
        answer = patterns.all_of(answers)
        return not self.allow if answer is None else answer

    def _on_resource(self, question: Question) -> bool | None:
        if not self.resources_negated and self.resources[0].matches_all:
            return True
        compare = patterns.matches_none if self.resources_negated else patterns.matches_any
        return compare(self.resources, question.resource, question.lookup)

    def reach(self, caller: Caller) -> Reach:
        if self.principals is None:
            return Reach.DIRECT
        if not self.principals_negated:
            return self.principals.reach(caller)
        if self.allow:
            return Reach.DIRECT if self.principals.reach(caller) is Reach.NOT else Reach.NOT
        return Reach.NOT if self.principals.lists(caller) else Reach.DIRECT


class _Concerned(NamedTuple):
    """The statements that concern an action, and the condition keys that they depend on."""

    statements: tuple[Statement, ...]
    keys: frozenset[str]


@dataclass(frozen=True)
class Policy:
    """A policy that was found valid, or several of one kind together."""

    statements: tuple[Statement, ...] = ()
    _by_action: dict[str, _Concerned] = field(default_factory=dict, compare=False, repr=False)
    """Actions come from this program, so there are few."""

    def _about(self, action: str) -> _Concerned:
        found = self._by_action.get(action)
        if found is None:
            statements = tuple(statement for statement in self.statements if statement.is_about(action))
            keys = frozenset[str]().union(*(statement.keys for statement in statements))
            found = self._by_action[action] = _Concerned(statements, keys)
        return found

    def keys(self, action: str) -> frozenset[str]:
        """The condition keys that its answer for an action may depend on, in lower case."""
        return self._about(action).keys

    def ask(self, question: Question) -> tuple[bool, Reach]:
        """Whether it denies, and how far it allows."""
        allowed = Reach.NOT
        for statement in self._about(question.action).statements:
            if statement.allow and allowed is Reach.DIRECT:
                continue
            reach = statement.reach(question.caller)
            if reach is Reach.NOT or not statement.applies(question):
                continue
            if not statement.allow:
                return True, Reach.NOT
            allowed = max(allowed, reach)
        return False, allowed
