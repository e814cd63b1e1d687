"""Whether a caller may do what a call asks for: whose the bucket is, and what the caller's policies say.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
"""

from typing import Final

from proxy.aws.errors import AwsError
from proxy.aws.policy import Decision, evaluate_identity
from proxy.s3.errors import access_denied
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
    """Refuses buckets of other accounts, and of another than the client expects.

    Raises:
        AwsError: AccessDenied.
    """
    if call.bucket is None:
        return
    expected = call.request.headers.get("x-amz-expected-bucket-owner")
    if (expected is not None and expected != call.bucket.account) or call.bucket.account != call.caller.account:
        raise access_denied()


def authorize(call: Call, action: str, target: Target) -> None:
    """Refuses what the caller's policies do not allow on ``target``: the action, and what the call's headers imply.

    Raises:
        AwsError: AccessDenied.
    """
    _require(call, action, target.arn)
    if call.request.method in ("GET", "HEAD"):
        return
    headers = call.request.headers
    for name, implied in _IMPLIED:
        if name in headers and headers[name].lower() != "false":
            _require(call, implied, target.arn)


def may(call: Call, action: str, target: Target) -> bool:
    """Whether the caller's policies allow an action."""
    return evaluate_identity(call.caller, action, target.arn) is Decision.ALLOWED


def _require(call: Call, action: str, arn: str) -> None:
    decision = evaluate_identity(call.caller, action, arn)
    if decision is not Decision.ALLOWED:
        raise _refusal(call, action, arn, decision)


def _refusal(call: Call, action: str, arn: str, decision: Decision) -> AwsError:
    reason = (
        "with an explicit deny in an identity-based policy"
        if decision is Decision.EXPLICITLY_DENIED
        else f"because no identity-based policy allows the {action} action"
    )
    return access_denied(
        f'User: {call.caller.arn} is not authorized to perform: {action} on resource: "{arn}" {reason}'
    )
