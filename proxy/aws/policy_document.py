"""IAM policy documents: their validation, from JSON to statements.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from proxy.aws import policy_conditions, policy_principals
from proxy.aws import policy_patterns as patterns
from proxy.aws.policy_conditions import Condition, Quantifier
from proxy.aws.policy_patterns import Pattern
from proxy.aws.policy_principals import Principals
from proxy.aws.policy_statement import Policy, Statement

KeyCheck = Callable[[str, Quantifier | None], str | None]
"""What is wrong with naming a condition key (in lower case) under a set operator; None for nothing."""

_WITH_VARIABLES: Final = "2012-10-17"
_WITHOUT_VARIABLES: Final = "2008-10-17"
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
_ACTION: Final = re.compile(r"\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+")
_SERVICE: Final = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


class MalformedPolicy(ValueError):
    """A document is no valid policy; the text says why."""


class InvalidPrincipal(MalformedPolicy):
    """A statement names what is no principal."""

    def __init__(self) -> None:
        super().__init__("Invalid principal in policy")


def parse_identity(document: str | Mapping[str, Any], check: KeyCheck | None = None) -> Policy:
    """A policy attached to a principal.

    With ``check``, unknown operators are refused and condition keys checked; without, a statement that depends on
    one that is not known never allows, and denies if it is a Deny.

    Raises MalformedPolicy."""
    return _Parser(document, check, resource_policy=False).policy()


def parse_resource(document: str | Mapping[str, Any], check: KeyCheck | None = None) -> Policy:
    """A policy attached to a resource; each statement names a principal. ``check`` as in ``parse_identity``.

    Raises MalformedPolicy."""
    return _Parser(document, check, resource_policy=True).policy()


class _Parser:
    def __init__(self, document: str | Mapping[str, Any], check: KeyCheck | None, *, resource_policy: bool) -> None:
        self._document = _read(document)
        self._check = check
        self._resource_policy = resource_policy
        self._variables = self._document.get("Version") == _WITH_VARIABLES

    def policy(self) -> Policy:
        document = self._document
        unknown = document.keys() - _TOP_LEVEL
        if unknown:
            raise MalformedPolicy(f"Unknown field {min(unknown)}")
        if document.get("Version", _WITH_VARIABLES) not in (_WITH_VARIABLES, _WITHOUT_VARIABLES):
            raise MalformedPolicy("Invalid policy version")
        if not isinstance(document.get("Id", ""), str):
            raise MalformedPolicy("Invalid Id")
        if "Statement" not in document:
            raise MalformedPolicy("Missing required field Statement")
        statements = document["Statement"]
        if isinstance(statements, Mapping):
            statements = [statements]
        if not isinstance(statements, list) or not statements:
            raise MalformedPolicy("Statement is empty or not a list")
        parsed = tuple(map(self._statement, statements))
        ids = [statement["Sid"] for statement in statements if statement.get("Sid")]
        if len(set(ids)) != len(ids):
            raise MalformedPolicy("Statement IDs (SID) in a single policy must be unique.")
        return Policy(parsed)

    def _statement(self, statement: object) -> Statement:
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
        return Statement(
            statement["Effect"] == "Allow",
            tuple(patterns.wildcard(action, variables=False, ignore_case=True) for action in actions),
            actions_negated,
            tuple(map(self._resource, resources)),
            resources_negated,
            self._principals(statement),
            "NotPrincipal" in statement,
            self._conditions(statement.get("Condition", {})),
        )

    def _resource(self, text: str) -> Pattern:
        if text != "*" and not text.startswith("arn:"):
            raise MalformedPolicy(f"Invalid Resource {text}")
        try:
            return patterns.wildcard(text, variables=self._variables)
        except ValueError:
            raise MalformedPolicy(f"Invalid Resource {text}") from None

    def _principals(self, statement: Mapping[str, Any]) -> Principals | None:
        named = statement.keys() & {"Principal", "NotPrincipal"}
        if not self._resource_policy:
            if named:
                raise MalformedPolicy("Policy document should not specify a principal.")
            return None
        if not named:
            raise MalformedPolicy("Missing required field Principal")
        if len(named) > 1:
            raise MalformedPolicy("Principal and NotPrincipal stand in one statement")
        return _parse_principals(statement[named.pop()])

    def _conditions(self, value: object) -> tuple[Condition, ...]:
        if not isinstance(value, Mapping):
            raise MalformedPolicy("Invalid Condition")
        conditions: list[Condition] = []
        for operator, keys in value.items():
            if not isinstance(keys, Mapping):
                raise MalformedPolicy("Invalid Condition")
            for key, wanted in keys.items():
                conditions.append(self._condition(operator, key, wanted))
        return tuple(conditions)

    def _condition(self, operator: str, key: str, wanted: object) -> Condition:
        values = wanted if isinstance(wanted, list) else [wanted]
        if not values or not all(isinstance(value, str | bool | int | float) for value in values):
            raise MalformedPolicy("Invalid Condition")
        texts = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
        try:
            condition = policy_conditions.parse(operator, key.lower(), texts, variables=self._variables)
        except ValueError:
            raise MalformedPolicy(f"Invalid value of {key} for the operator {operator}") from None
        if self._check is not None:
            if not condition.known:
                raise MalformedPolicy(f"Invalid Condition type : {operator}")
            fault = self._check(condition.key, condition.quantifier)
            if fault is not None:
                raise MalformedPolicy(fault)
        return condition


def _read(document: str | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(document, str):
        try:
            document = json.loads(document, object_pairs_hook=_no_duplicates)
        except (ValueError, RecursionError) as error:
            raise MalformedPolicy(str(error) if isinstance(error, MalformedPolicy) else "Not valid JSON") from None
    if not isinstance(document, Mapping):
        raise MalformedPolicy("A policy is a JSON object")
    return document


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise MalformedPolicy("A field stands twice in one object")
    return result


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


def _parse_principals(value: object) -> Principals:
    if value == "*":
        return Principals(everyone=True)
    if not isinstance(value, Mapping) or not value or value.keys() - _PRINCIPAL_TYPES:
        raise InvalidPrincipal
    try:
        names = {kind: _texts(listed, "principal in policy") for kind, listed in value.items()}
    except MalformedPolicy:
        raise InvalidPrincipal from None
    if not all(_SERVICE.fullmatch(service) for service in names.get("Service", ())):
        raise InvalidPrincipal
    everyone = False
    accounts: set[str] = set()
    arns: set[str] = set()
    for name in names.get("AWS", ()):
        if name == "*":
            everyone = True
        elif policy_principals.ACCOUNT.fullmatch(name):
            accounts.add(name)
        else:
            try:
                parsed = policy_principals.parse(name)
            except ValueError:
                raise InvalidPrincipal from None
            if parsed.resource == "root":
                accounts.add(parsed.account)
            else:
                arns.add(name)
    return Principals(everyone, frozenset(accounts), frozenset(arns))
