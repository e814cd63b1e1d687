"""Who may do what with which bucket and object.

The same policies decide as for the key service. Each bucket belongs to an account; whoever is of another account needs
the bucket's policy as well.
Sources: https://docs.aws.amazon.com/AmazonS3/latest/userguide/how-s3-evaluates-access-control.html and
https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Final

from proxy.aws import policy
from proxy.aws.errors import AwsError
from proxy.aws.policy import Question
from proxy.aws.policy_principals import is_root
from proxy.s3 import errors
from proxy.s3.access.bucket_policy import policy_of
from proxy.s3.access.condition_keys import EXISTING_TAG, ON_EXISTING, Subject
from proxy.s3.gateway import Call, Target
from proxy.s3.state.ports import BucketRecord

_IMPLIED: Final = (
    ("x-amz-tagging", "s3:PutObjectTagging"),
    ("x-amz-object-lock-mode", "s3:PutObjectRetention"),
    ("x-amz-object-lock-retain-until-date", "s3:PutObjectRetention"),
    ("x-amz-object-lock-legal-hold", "s3:PutObjectLegalHold"),
    ("x-amz-bypass-governance-retention", "s3:BypassGovernanceRetention"),
)
"""Headers of a write that need a permission of their own."""

_NEVER_LOCKED_OUT: Final = ("s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy")
"""What the root user of the owner's account may do whatever the bucket's policy says, so that nobody is locked out of
a bucket for good."""

_ACCOUNT = re.compile(r"[0-9]{12}")


def check_owner(call: Call) -> None:
    """Refuses a request that expects another owner of the bucket.

    Raises:
        AwsError: AccessDenied, InvalidBucketOwnerAWSAccountID.
    """
    check_expected_owner(call, "x-amz-expected-bucket-owner", call.bucket)


def check_expected_owner(call: Call, header: str, bucket: BucketRecord | None) -> None:
    """The same for any header of the request and the bucket that it speaks of.

    Raises:
        AwsError: AccessDenied, InvalidBucketOwnerAWSAccountID.
    """
    expected = call.request.headers.get(header)
    if expected is None:
        return
    if not _ACCOUNT.fullmatch(expected):
        message = f"The value of the expected bucket owner parameter must be an AWS Account ID... [{expected}]"
        raise AwsError("InvalidBucketOwnerAWSAccountID", message, 400)
    if bucket is not None and expected != bucket.account:
        raise errors.access_denied()


def authorize(
    call: Call, action: str, target: Target, clock: Callable[[], datetime], bucket: BucketRecord | None = None
) -> None:
    """Refuses what the caller may not do with ``target``: the action, and what the call's headers imply.

    ``bucket`` is the record of the target's bucket where that is another one than the call's; its policy counts then.

    Raises:
        AwsError: AccessDenied.
    """
    actions = [action]
    if call.request.method not in ("GET", "HEAD"):
        headers = call.request.headers
        actions += [implied for name, implied in _IMPLIED if headers.get(name, "false").lower() != "false"]
    for each in actions:
        refused = refusal(call, each, target, clock, bucket)
        if refused is not None:
            raise refused


def refusal(
    call: Call, action: str, target: Target, clock: Callable[[], datetime], bucket: BucketRecord | None = None
) -> AwsError | None:
    """The error for what the caller may not do with a target, which may be another one than the call's (``bucket`` as
    for ``authorize``); None for what it may. Other accounts, and whoever has not signed, learn no reasons."""
    caller = call.caller
    record = bucket or call.bucket
    question = Question(caller, action, target.arn, Subject(call, action, clock, record).lookup)
    owner = record.account if record is not None else caller.account
    at_home = owner == caller.account
    never_locked_out = action in _NEVER_LOCKED_OUT and at_home and is_root(caller)
    own = policy_of(record) if record is not None and not never_locked_out else None
    if not at_home and own is not None and own.public and _restricts(record):
        return errors.access_denied()
    answer = policy.decide(question, owner, own.policy if own is not None else None)
    if answer.allowed:
        return None
    if not at_home or caller.anonymous:
        return errors.access_denied()
    return errors.access_denied(
        f'User: {caller.arn} is not authorized to perform: {action} on resource: "{question.resource}" '
        f"{answer.reason(action)}"
    )


def asks_for_existing_tags(call: Call, action: str) -> bool:
    """Whether a policy that concerns the action names a tag of an object that is there."""
    if action not in ON_EXISTING:
        return False
    policies = [policy.identity_policy(call.caller), policy.session_policy(call.caller)]
    own = policy_of(call.bucket) if call.bucket is not None else None
    if own is not None:
        policies.append(own.policy)
    named = (key for each in policies if each is not None for key in each.keys(action))
    return any(key.startswith(EXISTING_TAG) for key in named)


def _restricts(bucket: BucketRecord | None) -> bool:
    """Whether a bucket with a public policy is for its own account alone."""
    block = bucket.public_access_block if bucket is not None else None
    return block is not None and block.restrict_public_buckets
