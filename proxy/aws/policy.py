"""IAM policy documents: their validation and their evaluation.

Two kinds are known: identity policies, attached to a principal, and resource policies, attached to a KMS key or a
bucket. Evaluated are Effect, Action, NotAction, Resource, NotResource, Principal, NotPrincipal, and conditions with
the string operators over the condition keys that the caller of ``decide`` supplies. What this version cannot evaluate
(another operator, another condition key, a policy variable) never allows, and denies wherever it stands in a Deny.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from proxy.aws import arn
from proxy.aws.credentials import Caller

_VERSIONS: Final = ("2012-10-17", "2008-10-17")
_TOP_LEVEL: Final = {"Version", "Id", "Statement"}
_ELEMENTS: Final = {
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
}
_PRINCIPAL_TYPES: Final = {"AWS", "Service", "Federated", "CanonicalUser"}
_ACCOUNT: Final = re.compile(r"\d{12}")
_ACTION: Final = re.compile(r"\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+")


class MalformedPolicy(ValueError):
    """A document is no valid policy; the text says why."""


class PolicyKind(Enum):
    """Which kind of policy decided; the value is AWS's word for it in error messages."""

    IDENTITY = "identity-based policy"
    RESOURCE = "resource-based policy"


class Decision(Enum):
    ALLOWED = "allowed"
    EXPLICITLY_DENIED = "explicitly denied"
    IMPLICITLY_DENIED = "implicitly denied"


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


@dataclass(frozen=True)
class Answer:
    """A decision, and for a refusal which kind of policy it is owed to."""

    decision: Decision
    kind: PolicyKind | None = None

    @property
    def allowed(self) -> bool:
        return self.decision is Decision.ALLOWED

    def denial(self, question: Question) -> str:
        """AWS's text for a refusal."""
        text = (
            f"User: {question.principal} is not authorized to perform: {question.action} "
            f"on resource: {question.resource}"
        )
        if self.kind is None:
            return text
        if self.decision is Decision.EXPLICITLY_DENIED:
            article = "an" if self.kind is PolicyKind.IDENTITY else "a"
            return f"{text} with an explicit deny in {article} {self.kind.value}"
        return f"{text} because no {self.kind.value} allows the {question.action} action"


class _Reach(Enum):
    """How a resource policy's statement reaches a principal."""

    NOT = 0
    ACCOUNT = 1
    """By its account: the account's own identity policies have the last word."""
    DIRECT = 2


@lru_cache(maxsize=4096)
def _wildcard(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    expression = "".join(".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.compile(expression, re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def _matches_any(patterns: Sequence[str], text: str, *, ignore_case: bool) -> bool:
    return any(pattern == "*" or _wildcard(pattern, ignore_case).fullmatch(text) is not None for pattern in patterns)


@dataclass(frozen=True)
class _Principals:
    """The AWS principals of a statement; those of other kinds match no caller."""

    everyone: bool = False
    accounts: frozenset[str] = frozenset()
    arns: frozenset[str] = frozenset()

    def reach(self, question: Question) -> _Reach:
        names = _names(question.principal)
        if self.everyone or not self.arns.isdisjoint(names):
            return _Reach.DIRECT
        if question.account in self.accounts:
            return _Reach.DIRECT if question.principal.endswith(":root") else _Reach.ACCOUNT
        return _Reach.NOT


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
class _Condition:
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
class _Statement:
    allow: bool
    actions: tuple[str, ...]
    actions_negated: bool
    resources: tuple[str, ...]
    resources_negated: bool
    principals: _Principals | None
    principals_negated: bool
    conditions: tuple[_Condition, ...]

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

    def reach(self, question: Question) -> _Reach:
        if self.principals is None:
            return _Reach.DIRECT
        reach = self.principals.reach(question)
        if not self.principals_negated:
            return reach
        if self.allow:
            return _Reach.DIRECT if reach is _Reach.NOT else _Reach.NOT
        # AWS asks to list the principal and its account; who is listed by half is denied.
        listed = reach is _Reach.DIRECT and (self.principals.everyone or question.account in self.principals.accounts)
        return _Reach.NOT if listed else _Reach.DIRECT


@dataclass(frozen=True)
class Policy:
    """A policy that was found valid."""

    statements: tuple[_Statement, ...]

    def _ask(self, question: Question) -> tuple[bool, _Reach]:
        """Whether it denies, and how far it allows."""
        allowed = _Reach.NOT
        for statement in self.statements:
            if statement.allow and allowed is _Reach.DIRECT:
                continue
            reach = statement.reach(question)
            if reach is _Reach.NOT or not statement.applies(question):
                continue
            if not statement.allow:
                return True, _Reach.NOT
            if reach is _Reach.DIRECT or allowed is _Reach.NOT:
                allowed = reach
        return False, allowed


def decide(
    question: Question,
    owner: str,
    identity: Iterable[Policy],
    resource: Policy | None,
    *,
    resource_must_allow: bool = False,
) -> Answer:
    """Decides by identity policies and the policy of a resource that belongs to the account ``owner``.

    Within one account either side may allow; ``resource_must_allow`` is the rule of KMS keys, whose policy has to
    allow the principal or hand the decision to its account. Across accounts both sides must allow. An explicit deny
    on either side wins.
    """
    by_identity = _Reach.NOT
    for policy in identity:
        denied, reach = policy._ask(question)  # noqa: SLF001
        if denied:
            return Answer(Decision.EXPLICITLY_DENIED, PolicyKind.IDENTITY)
        if reach is not _Reach.NOT:
            by_identity = reach
    by_resource = _Reach.NOT
    if resource is not None:
        denied, by_resource = resource._ask(question)  # noqa: SLF001
        if denied:
            return Answer(Decision.EXPLICITLY_DENIED, PolicyKind.RESOURCE)
    identity_allows = by_identity is not _Reach.NOT or question.principal == f"arn:aws:iam::{question.account}:root"
    if question.account != owner or resource_must_allow:
        if by_resource is _Reach.NOT:
            return Answer(Decision.IMPLICITLY_DENIED, PolicyKind.RESOURCE)
        if by_resource is _Reach.DIRECT and question.account == owner:
            return Answer(Decision.ALLOWED)
    elif by_resource is _Reach.DIRECT:
        return Answer(Decision.ALLOWED)
    if identity_allows:
        return Answer(Decision.ALLOWED)
    return Answer(Decision.IMPLICITLY_DENIED, PolicyKind.IDENTITY)


_PARSED_POLICIES = 256


@lru_cache(maxsize=_PARSED_POLICIES)
def _parse_identity_json(text: str) -> Policy:
    return _parse(text, resource_policy=False)


_by_identity: dict[int, tuple[Sequence[Mapping[str, Any]], tuple[Policy, ...]]] = {}
"""Parsed policies by the identity of the tuple that a Caller holds. The tuple is kept, so its id stays its own."""


def identity_policies(caller: Caller) -> tuple[Policy, ...]:
    """The policies attached to a caller, parsed once. Raises MalformedPolicy."""
    known = _by_identity.get(id(caller.policies))
    if known is not None:
        return known[1]
    parsed = tuple(_parse_identity_json(json.dumps(document)) for document in caller.policies)
    if len(_by_identity) >= _PARSED_POLICIES:
        _by_identity.clear()
    _by_identity[id(caller.policies)] = (caller.policies, parsed)
    return parsed


def evaluate_identity(caller: Caller, action: str, resource: str) -> Decision:
    """What the caller's own policies alone say. An account's root may do everything in its account."""
    question = Question(caller.arn, caller.account, action, resource)
    return decide(question, caller.account, identity_policies(caller), None).decision


def parse_identity(document: str | Mapping[str, Any]) -> Policy:
    """A policy attached to a principal. Raises MalformedPolicy."""
    return _parse(document, resource_policy=False)


def parse_resource(document: str | Mapping[str, Any]) -> Policy:
    """A policy attached to a resource; each statement names a principal. Raises MalformedPolicy."""
    return _parse(document, resource_policy=True)


def _parse(document: str | Mapping[str, Any], *, resource_policy: bool) -> Policy:
    if isinstance(document, str):
        try:
            document = json.loads(document, object_pairs_hook=_no_duplicates)
        except (ValueError, RecursionError) as error:
            raise MalformedPolicy(str(error) if isinstance(error, MalformedPolicy) else "Not valid JSON") from None
    if not isinstance(document, Mapping):
        raise MalformedPolicy("A policy is a JSON object")
    unknown = document.keys() - _TOP_LEVEL
    if unknown:
        raise MalformedPolicy(f"Unknown field {min(unknown)}")
    if document.get("Version", _VERSIONS[0]) not in _VERSIONS:
        raise MalformedPolicy("Invalid policy version")
    if "Statement" not in document:
        raise MalformedPolicy("Missing required field Statement")
    statements = document["Statement"]
    if isinstance(statements, Mapping):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise MalformedPolicy("Statement is empty or not a list")
    return Policy(tuple(_parse_statement(statement, resource_policy) for statement in statements))


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise MalformedPolicy("A field stands twice in one object")
    return result


def _parse_statement(statement: object, resource_policy: bool) -> _Statement:
    if not isinstance(statement, Mapping):
        raise MalformedPolicy("A statement is a JSON object")
    unknown = statement.keys() - _ELEMENTS
    if unknown:
        raise MalformedPolicy(f"Unknown field {min(unknown)}")
    if statement.get("Effect") not in ("Allow", "Deny"):
        raise MalformedPolicy("Missing required field Effect" if "Effect" not in statement else "Invalid Effect")
    if not isinstance(statement.get("Sid", ""), str):
        raise MalformedPolicy("Invalid Sid")
    actions, actions_negated = _one_of(statement, "Action", "NotAction")
    for action in actions:
        if not _ACTION.fullmatch(action):
            raise MalformedPolicy(f"Invalid Action {action}")
    resources, resources_negated = _one_of(statement, "Resource", "NotResource")
    principals: _Principals | None = None
    if resource_policy:
        if ("Principal" in statement) is ("NotPrincipal" in statement):
            raise MalformedPolicy("Missing required field Principal")
        principals = _parse_principals(statement.get("Principal", statement.get("NotPrincipal")))
    elif "Principal" in statement or "NotPrincipal" in statement:
        raise MalformedPolicy("Policy document should not specify a principal")
    return _Statement(
        statement["Effect"] == "Allow",
        actions,
        actions_negated,
        resources,
        resources_negated,
        principals,
        "NotPrincipal" in statement,
        _parse_conditions(statement.get("Condition", {})),
    )


def _one_of(statement: Mapping[str, Any], name: str, negated: str) -> tuple[tuple[str, ...], bool]:
    if name not in statement and negated not in statement:
        raise MalformedPolicy(f"Missing required field {name}")
    if name in statement and negated in statement:
        raise MalformedPolicy(f"{name} and {negated} stand in one statement")
    is_negated = negated in statement
    return _texts(statement[negated if is_negated else name], name), is_negated


def _texts(value: object, name: str) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(item, str) and item for item in values):
        raise MalformedPolicy(f"Invalid {name}")
    return tuple(values)


def _parse_principals(value: object) -> _Principals:
    if value == "*":
        return _Principals(everyone=True)
    if not isinstance(value, Mapping) or not value:
        raise MalformedPolicy("Invalid principal in policy")
    unknown = value.keys() - _PRINCIPAL_TYPES
    if unknown:
        raise MalformedPolicy("Invalid principal in policy")
    names = {kind: _texts(listed, "principal in policy") for kind, listed in value.items()}
    everyone = False
    accounts: set[str] = set()
    arns: set[str] = set()
    for name in names.get("AWS", ()):
        if name == "*":
            everyone = True
        elif _ACCOUNT.fullmatch(name):
            accounts.add(name)
        else:
            account = _root_account(name)
            (accounts if account else arns).add(account or name)
    return _Principals(everyone, frozenset(accounts), frozenset(arns))


def _root_account(name: str) -> str | None:
    """The account when ``name`` is an account's root. Raises MalformedPolicy when it is no principal at all."""
    try:
        parsed = arn.parse(name)
    except ValueError:
        raise MalformedPolicy("Invalid principal in policy") from None
    valid = parsed.service in ("iam", "sts") and not parsed.region and _ACCOUNT.fullmatch(parsed.account)
    if not valid or "*" in parsed.resource:
        raise MalformedPolicy("Invalid principal in policy")
    if parsed.resource == "root":
        return parsed.account
    if not parsed.resource_id:
        raise MalformedPolicy("Invalid principal in policy")
    return None


def _parse_conditions(value: object) -> tuple[_Condition, ...]:
    if not isinstance(value, Mapping):
        raise MalformedPolicy("Invalid Condition")
    conditions = []
    for operator, keys in value.items():
        if not isinstance(keys, Mapping):
            raise MalformedPolicy("Invalid Condition")
        for key, wanted in keys.items():
            values = [wanted] if not isinstance(wanted, list) else wanted
            if not all(isinstance(item, str | bool | int | float) for item in values):
                raise MalformedPolicy("Invalid Condition")
            conditions.append(_Condition(operator, key.lower(), tuple(_condition_text(item) for item in values)))
    return tuple(conditions)


def _condition_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
