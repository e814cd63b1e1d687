"""IAM policy documents: their validation, from JSON to statements."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from proxy.aws import arn
from proxy.aws.policy_statement import Condition, Policy, Principals, Statement

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


def _parse_statement(statement: object, resource_policy: bool) -> Statement:
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
    principals: Principals | None = None
    if resource_policy:
        if ("Principal" in statement) is ("NotPrincipal" in statement):
            raise MalformedPolicy("Missing required field Principal")
        principals = _parse_principals(statement.get("Principal", statement.get("NotPrincipal")))
    elif "Principal" in statement or "NotPrincipal" in statement:
        raise MalformedPolicy("Policy document should not specify a principal")
    return Statement(
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


def _parse_principals(value: object) -> Principals:
    if value == "*":
        return Principals(everyone=True)
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
    return Principals(everyone, frozenset(accounts), frozenset(arns))


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


def _parse_conditions(value: object) -> tuple[Condition, ...]:
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
            conditions.append(Condition(operator, key.lower(), tuple(_condition_text(item) for item in values)))
    return tuple(conditions)


def _condition_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
