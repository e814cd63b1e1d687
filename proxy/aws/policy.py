"""Decisions by IAM policies.

Two kinds are known: identity policies, attached to a principal, and resource policies, attached to a KMS key or a
bucket. Evaluated are Effect, Action, NotAction, Resource, NotResource, Principal, NotPrincipal, and conditions with
the string operators over the condition keys that the caller of ``decide`` supplies. What this version cannot evaluate
(another operator, another condition key, a policy variable) never allows, and denies wherever it stands in a Deny.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from proxy.aws.credentials import Caller
from proxy.aws.policy_document import MalformedPolicy, parse_identity, parse_resource
from proxy.aws.policy_statement import Policy, Question, Reach

__all__ = [
    "Answer",
    "Decision",
    "MalformedPolicy",
    "Policy",
    "PolicyKind",
    "Question",
    "decide",
    "evaluate_identity",
    "identity_policies",
    "parse_identity",
    "parse_resource",
]


class PolicyKind(Enum):
    """Which kind of policy decided; the value is AWS's word for it in error messages."""

    IDENTITY = "identity-based policy"
    RESOURCE = "resource-based policy"


class Decision(Enum):
    ALLOWED = "allowed"
    EXPLICITLY_DENIED = "explicitly denied"
    IMPLICITLY_DENIED = "implicitly denied"


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
    by_identity = Reach.NOT
    for policy in identity:
        denied, reach = policy.ask(question)
        if denied:
            return Answer(Decision.EXPLICITLY_DENIED, PolicyKind.IDENTITY)
        if reach is not Reach.NOT:
            by_identity = reach
    by_resource = Reach.NOT
    if resource is not None:
        denied, by_resource = resource.ask(question)
        if denied:
            return Answer(Decision.EXPLICITLY_DENIED, PolicyKind.RESOURCE)
    identity_allows = by_identity is not Reach.NOT or question.principal.endswith(f":iam::{question.account}:root")
    if question.account != owner or resource_must_allow:
        if by_resource is Reach.NOT:
            return Answer(Decision.IMPLICITLY_DENIED, PolicyKind.RESOURCE)
        if by_resource is Reach.DIRECT and question.account == owner:
            return Answer(Decision.ALLOWED)
    elif by_resource is Reach.DIRECT:
        return Answer(Decision.ALLOWED)
    if identity_allows:
        return Answer(Decision.ALLOWED)
    return Answer(Decision.IMPLICITLY_DENIED, PolicyKind.IDENTITY)


_PARSED_POLICIES: Final = 256


@lru_cache(maxsize=_PARSED_POLICIES)
def _parse_identity_json(text: str) -> Policy:
    return parse_identity(text)


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
