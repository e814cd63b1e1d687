"""Who may do what with which bucket and object.

The same policies decide as for the key service. Each bucket belongs to an account; whoever is of another account needs
the bucket's policy as well.
Sources: https://docs.aws.amazon.com/AmazonS3/latest/userguide/how-s3-evaluates-access-control.html and
https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from proxy.aws import policy
from proxy.aws.errors import AwsError
from proxy.aws.policy import Policy, Question
from proxy.s3 import errors
from proxy.s3.condition_keys import Subject
from proxy.s3.gateway import Call, Target

_IMPLIED: Final = (
    ("x-amz-tagging", "s3:PutObjectTagging"),
    ("x-amz-object-lock-mode", "s3:PutObjectRetention"),
    ("x-amz-object-lock-retain-until-date", "s3:PutObjectRetention"),
    ("x-amz-object-lock-legal-hold", "s3:PutObjectLegalHold"),
    ("x-amz-bypass-governance-retention", "s3:BypassGovernanceRetention"),
)
"""Headers of a write that need a permission of their own."""


def check_owner(call: Call) -> None:
    """Refuses a request that expects another owner of the bucket.

    Raises:
        AwsError: AccessDenied.
    """
    expected = call.request.headers.get("x-amz-expected-bucket-owner")
    if expected is not None and call.bucket is not None and expected != call.bucket.account:
        raise errors.access_denied()


def authorize(
    call: Call, action: str, target: Target, clock: Callable[[], datetime], bucket_policy: Policy | None = None
) -> None:
    """Refuses what the caller may not do with ``target``: the action, and what the call's headers imply.

    Raises:
        AwsError: AccessDenied.
    """
    actions = [action]
    if call.request.method not in ("GET", "HEAD"):
        headers = call.request.headers
        actions += [implied for name, implied in _IMPLIED if headers.get(name, "false").lower() != "false"]
    for each in actions:
        refused = refusal(call, each, target, clock, bucket_policy)
        if refused is not None:
            raise refused


def refusal(
    call: Call, action: str, target: Target, clock: Callable[[], datetime], bucket_policy: Policy | None = None
) -> AwsError | None:
    """The error for what the caller may not do with a target, which may be another one than the call's; None for
    what it may. Other accounts learn no reasons."""
    caller = call.caller
    question = Question(caller, action, target.arn, Subject(call, action, clock).lookup)
    owner = call.bucket.account if call.bucket is not None else caller.account
    answer = policy.decide(question, owner, bucket_policy)
    if answer.allowed:
        return None
    if owner != caller.account:
        return errors.access_denied()
    return errors.access_denied(
        f'User: {caller.arn} is not authorized to perform: {action} on resource: "{question.resource}" '
        f"{answer.reason(action)}"
    )
