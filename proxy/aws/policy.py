"""Decisions by IAM policies: the one place where S3, the key service and STS learn what a caller may do.

Asked are the policies attached to the caller, those of its session, and the policy of the resource (a key policy, a
bucket policy). An explicit deny in any of them wins. What this service cannot tell (a condition key that it does not
know, several values where one is compared) never allows, and denies wherever it stands in a Deny.
Sources: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from proxy.aws.credentials import Caller
from proxy.aws.policy_document import MalformedPolicy, parse_identity, parse_resource
from proxy.aws.policy_principals import Reach, is_root
from proxy.aws.policy_statement import Policy, Question

__all__ = [
    "Answer",
    "Decision",
    "MalformedPolicy",
    "Policy",
    "PolicyKind",
    "Question",
    "Reach",
    "decide",
    "identity_policy",
    "parse_identity",
    "parse_resource",
    "session_policy",
]


class PolicyKind(Enum):
    """Which kind of policy decided; the value is AWS's word for it in error messages."""

    IDENTITY = "identity-based policy"
    SESSION = "session policy"
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

    def reason(self, action: str) -> str:
        """The end of AWS's text for a refusal, from ``because`` or ``with`` on."""
        if self.kind is None:
            return ""
        if self.decision is Decision.EXPLICITLY_DENIED:
            article = "an" if self.kind is PolicyKind.IDENTITY else "a"
            return f"with an explicit deny in {article} {self.kind.value}"
        return f"because no {self.kind.value} allows the {action} action"

    def denial(self, question: Question) -> str:
        """AWS's text for a refusal."""
        subject = f"User: {question.caller.arn} is not authorized to perform: {question.action}"
        return f"{subject} on resource: {question.resource} {self.reason(question.action)}"


ALLOWED: Final = Answer(Decision.ALLOWED)


def decide(
    question: Question,
    owner: str,
    resource: Policy | None = None,
    *,
    resource_must_allow: bool = False,
    granted: Reach = Reach.NOT,
    trusted: bool = False,
) -> Answer:
    """Decides by the caller's policies and the policy of a resource that belongs to the account ``owner``.

    Within one account either side may allow; ``resource_must_allow`` is the rule of KMS keys, whose policy has to
    allow the principal or hand the decision to its account. Across accounts both sides must allow. The policies of a
    session limit what its role is allowed, but not what a resource's policy allows to the session itself. An anonymous
    caller has no other side.

    ``granted`` is how far a grant reaches the caller, which counts as if the resource's policy said it; ``trusted``
    tells that the caller's own account has made the grant, so that its policies need not allow it again.
    """
    caller = question.caller
    denied, by_identity = identity_policy(caller).ask(question)
    if denied:
        return Answer(Decision.EXPLICITLY_DENIED, PolicyKind.IDENTITY)
    session = session_policy(caller)
    by_session = Reach.DIRECT
    if session is not None:
        denied, by_session = session.ask(question)
        if denied:
            return Answer(Decision.EXPLICITLY_DENIED, PolicyKind.SESSION)
    by_resource = granted
    if resource is not None:
        denied, allowed = resource.ask(question)
        if denied:
            return Answer(Decision.EXPLICITLY_DENIED, PolicyKind.RESOURCE)
        by_resource = max(allowed, granted)

    at_home = caller.account == owner
    if by_resource is Reach.NOT and (resource_must_allow or not at_home):
        return Answer(Decision.IMPLICITLY_DENIED, PolicyKind.RESOURCE)
    if (at_home or caller.anonymous) and by_resource is Reach.DIRECT:
        return ALLOWED
    named = by_resource >= Reach.ROLE and (at_home or trusted)
    if not named and by_identity is Reach.NOT and not is_root(caller):
        return Answer(Decision.IMPLICITLY_DENIED, PolicyKind.IDENTITY)
    if by_session is Reach.NOT:
        return Answer(Decision.IMPLICITLY_DENIED, PolicyKind.SESSION)
    return ALLOWED


_PARSED_POLICIES: Final = 256

Documents = Sequence[Mapping[str, Any]]


@lru_cache(maxsize=_PARSED_POLICIES)
def _parse_text(text: str) -> Policy:
    return parse_identity(text)


_by_documents: dict[int, tuple[Documents, Policy]] = {}
"""Parsed policies by the identity of the sequence that a Caller holds. It is kept, so its id stays its own."""


def _together(documents: Documents) -> Policy:
    known = _by_documents.get(id(documents))
    if known is not None:
        return known[1]
    parsed = [_parse_text(json.dumps(document)) for document in documents]
    together = Policy(tuple(statement for policy in parsed for statement in policy.statements))
    if len(_by_documents) >= _PARSED_POLICIES:
        _by_documents.clear()
    _by_documents[id(documents)] = (documents, together)
    return together


def identity_policy(caller: Caller) -> Policy:
    """The policies attached to a caller, as one. Raises MalformedPolicy."""
    return _together(caller.policies)


def session_policy(caller: Caller) -> Policy | None:
    """The policies of a caller's session, as one; None where there are none to limit it. Raises MalformedPolicy."""
    if caller.session is None or not caller.session.policies:
        return None
    return _together(caller.session.policies)
