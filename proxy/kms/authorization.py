"""Who may do what with which key: key policies, the policies of callers and their sessions, and grants.

Sources: https://docs.aws.amazon.com/kms/latest/developerguide/policy-evaluation.html
https://docs.aws.amazon.com/kms/latest/developerguide/grants.html
"""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from proxy.aws import policy, policy_principals
from proxy.aws.credentials import Caller, CallOrigin
from proxy.aws.policy import Answer, Decision, Policy, PolicyKind, Question, Reach
from proxy.aws.policy_patterns import Values
from proxy.kms import blob, condition_keys, errors, grants, key_ids, key_policies, shapes
from proxy.kms.condition_keys import Subject
from proxy.kms.errors import KmsError
from proxy.kms.key_ids import AliasName
from proxy.kms.model import Grant, KeyName, KmsKey

if TYPE_CHECKING:
    from proxy.kms.service import KeyService

_DAY: Final = timedelta(days=1)

Suits = Callable[[Grant], bool]
"""Whether a grant that allows an action may be used for it."""


async def authorize(service: "KeyService", subject: Subject, key: KmsKey, suits: Suits | None = None) -> Grant | None:
    """Refuses what neither the policies nor a grant allow; the grant, where it is one that allows.

    Raises KmsError (AccessDeniedException)."""
    key_policy = key_policies.parse(key.policy)
    subject = await _with_looked_up(service, subject, key, key_policy)
    question = Question(subject.origin.caller, f"kms:{subject.action}", key.arn, subject.lookup)
    answer = _decide(question, key, key_policy)
    if answer.allowed:
        return None
    if answer.decision is not Decision.EXPLICITLY_DENIED and subject.action in shapes.GRANT_OPERATIONS:
        for grant in await _grants(service, subject, key):
            if suits is not None and not suits(grant):
                continue
            reach = policy_principals.reach(grant.grantee, subject.origin.caller)
            answer = _decide(question, key, key_policy, reach, trusted=_is_issuer(grant, subject.origin))
            if answer.allowed:
                return grant
    raise _denial(subject.origin, key, question, answer)


def authorize_account(subject: Subject, resource: str) -> None:
    """Refuses what the caller's own policies do not allow, for actions on no key.

    Raises KmsError (AccessDeniedException)."""
    caller = subject.origin.caller
    question = Question(caller, f"kms:{subject.action}", resource, subject.lookup)
    answer = policy.decide(question, caller.account)
    if not answer.allowed:
        raise errors.access_denied(answer.denial(question))


async def authorize_retiring(service: "KeyService", subject: Subject, key: KmsKey, grant: Grant) -> None:
    """RetireGrant: the retiring principal may, the grantee where the grant says so, the account that issued it, and
    whom that account or the key policy allows it.

    Raises KmsError (AccessDeniedException)."""
    caller = subject.origin.caller
    named = [grant.issuing_account]
    if grant.retiring is not None:
        named.append(grant.retiring)
    if "RetireGrant" in grant.operations:
        named.append(grant.grantee)
    reach = max(policy_principals.reach(principal, caller) for principal in named)
    key_policy = key_policies.parse(key.policy)
    subject = await _with_looked_up(service, subject, key, key_policy)
    question = Question(caller, "kms:RetireGrant", key.arn, subject.lookup)
    answer = _decide(question, key, key_policy, reach, trusted=True)
    if not answer.allowed:
        raise _denial(subject.origin, key, question, answer)


def check_lockout(subject: Subject, key: KmsKey) -> None:
    """Refuses a key policy that would not let the caller, or its account, change it again.

    Raises KmsError (MalformedPolicyDocumentException)."""
    question = Question(subject.origin.caller, "kms:PutKeyPolicy", key.arn, subject.lookup)
    # A policy that denies reaches nobody.
    _, reach = key_policies.parse(key.policy).ask(question)
    if reach is Reach.NOT:
        raise errors.malformed_policy("The new key policy will not allow you to update the key policy in the future.")


def foreign_denial(origin: CallOrigin, action: str, arn: str) -> KmsError:
    """What callers learn of another account's key that does not let them: not even whether it is there."""
    return errors.access_denied(
        f"User: {origin.caller.arn} is not authorized to perform: kms:{action} on resource: {arn} because the resource "
        "does not exist in this Region, no resource-based policies allow access, or a resource-based policy "
        "explicitly denies access"
    )


def _decide(
    question: Question, key: KmsKey, key_policy: Policy, granted: Reach = Reach.NOT, *, trusted: bool = False
) -> Answer:
    return policy.decide(
        question, key.name.account, key_policy, resource_must_allow=True, granted=granted, trusted=trusted
    )


def _denial(origin: CallOrigin, key: KmsKey, question: Question, answer: Answer) -> KmsError:
    if key.name.account != origin.caller.account and answer.kind is PolicyKind.RESOURCE:
        return foreign_denial(origin, question.action.removeprefix("kms:"), key.arn)
    return errors.access_denied(answer.denial(question))


async def _grants(service: "KeyService", subject: Subject, key: KmsKey) -> list[Grant]:
    """The grants that allow the action to the caller in its encryption context."""
    by_grantee = await service.repository.grants_by_grantee(key.name)
    if not by_grantee:
        return []
    names = policy_principals.names(subject.origin.caller) | {policy_principals.account_root(subject.origin.caller)}
    return [
        grant
        for name in names
        for grant in by_grantee.get(name, ())
        if grants.allows(grant, subject.action, subject.context)
    ]


def _is_issuer(grant: Grant, origin: CallOrigin) -> bool:
    """Whether the caller's own account has made the grant."""
    return f"::{origin.caller.account}:" in grant.issuing_account


def allow_alike(subject: Subject, key: KmsKey, same: frozenset[str]) -> bool:
    """Whether policies allow it without a grant, and would allow every other request of the same caller for the same
    action on this key in which the condition keys ``same`` have the same values."""
    caller, action = subject.origin.caller, f"kms:{subject.action}"
    key_policy = key_policies.parse(key.policy)
    if not _named_keys(caller, key_policy, action) <= same:
        return False
    return _decide(Question(caller, action, key.arn, subject.lookup), key, key_policy).allowed


def _named_keys(caller: Caller, key_policy: Policy, action: str) -> frozenset[str]:
    named = policy.identity_policy(caller).keys(action) | key_policy.keys(action)
    session = policy.session_policy(caller)
    return named if session is None else named | session.keys(action)


async def _with_looked_up(service: "KeyService", subject: Subject, key: KmsKey, key_policy: Policy) -> Subject:
    """The subject with the values of those condition keys that have to be looked up in the store, if some policy
    names one of them."""
    named = _named_keys(subject.origin.caller, key_policy, f"kms:{subject.action}")
    if condition_keys.LOOKED_UP.isdisjoint(named):
        return subject
    return subject._replace(
        found={name: await _LOOK_UP[name](service, subject, key) for name in condition_keys.LOOKED_UP & named}
    )


async def _resource_aliases(service: "KeyService", _: Subject, key: KmsKey) -> Values:
    return tuple(alias.name for alias in await service.repository.aliases_of(key.name))


async def _re_encrypts_on_same_key(service: "KeyService", subject: Subject, key: KmsKey) -> Values:
    """Whether ReEncrypt's destination is the key that its ciphertext is under."""
    request = subject.origin.request
    other: KeyName | None = None
    if subject.action == "ReEncryptFrom" and "DestinationKeyId" in request:
        other = await _named(service, subject.origin, request["DestinationKeyId"])
    elif subject.action == "ReEncryptTo" and "SourceKeyId" in request:
        other = await _named(service, subject.origin, request["SourceKeyId"])
    elif subject.action == "ReEncryptTo" and "CiphertextBlob" in request:
        parsed = blob.parse(request["CiphertextBlob"]).key
        other = KeyName(parsed.account, subject.origin.region, parsed.key_id)
    if subject.action not in ("ReEncryptFrom", "ReEncryptTo"):
        return ()
    return ("true",) if other == key.name else ("false",)


async def _named(service: "KeyService", origin: CallOrigin, key_id: str) -> KeyName | None:
    try:
        named = key_ids.parse(key_id, origin)
    except KmsError:
        return None
    if not isinstance(named, AliasName):
        return named
    alias = await service.repository.alias(named.account, named.region, named.name)
    return KeyName(alias.account, alias.region, alias.target) if alias is not None else None


async def _trailing_days(service: "KeyService", subject: Subject, key: KmsKey) -> Values:
    """Whole days since the last use, or since the key was made."""
    if subject.action not in ("DisableKey", "ScheduleKeyDeletion"):
        return ()
    usage = await service.last_usage.find(key.name)
    return (str((subject.clock() - (usage.time if usage is not None else key.created)) // _DAY),)


_LOOK_UP: Final = {
    condition_keys.RESOURCE_ALIASES: _resource_aliases,
    condition_keys.RE_ENCRYPT_ON_SAME_KEY: _re_encrypts_on_same_key,
    condition_keys.TRAILING_DAYS: _trailing_days,
}
