"""The key policies that the service itself writes, and the check of those that clients write.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
"""

import json
from functools import lru_cache
from typing import Any, Final

from proxy.aws import policy
from proxy.aws.policy import MalformedPolicy, Policy
from proxy.aws.policy_document import InvalidPrincipal, KeyCheck
from proxy.aws.policy_principals import PrincipalDirectory
from proxy.kms import condition_keys, errors
from proxy.kms.model import partition

NAME: Final = "default"
"""The only name that a key policy can have."""

_MAX_SIZE: Final = 32 * 1024
_INVALID_PRINCIPALS: Final = "Policy contains a statement with one or more invalid principals."


def _root(account: str, region: str) -> dict[str, str]:
    return {"AWS": f"arn:{partition(region)}:iam::{account}:root"}


def _text(id: str, *statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Id": id, "Statement": statements}, indent=2)


def default(account: str, region: str) -> str:
    """The policy of a key that was made without one: the account decides by its IAM policies."""
    return _text(
        "key-default-1",
        {
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": _root(account, region),
            "Action": "kms:*",
            "Resource": "*",
        },
    )


def aws_managed_s3(account: str, region: str) -> str:
    """The policy of the AWS managed key of S3: use through S3 alone, and metadata for the account. As nothing else is
    allowed, and nobody may change it, such a key can't be disabled, deleted or given another policy."""
    return _text(
        "auto-s3-2",
        {
            "Sid": "Allow access through S3 for all principals in the account that are authorized to use S3",
            "Effect": "Allow",
            "Principal": {"AWS": "*"},
            "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
            "Resource": "*",
            "Condition": {
                "StringEquals": {
                    "kms:ViaService": f"s3.{region}.amazonaws.com",
                    "kms:CallerAccount": account,
                }
            },
        },
        {
            "Sid": "Allow direct access to key metadata to the account",
            "Effect": "Allow",
            "Principal": _root(account, region),
            "Action": ["kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant"],
            "Resource": "*",
        },
    )


@lru_cache(maxsize=1024)
def parse(text: str) -> Policy:
    """A key policy, as it was stored.

    Raises:
        KmsError: MalformedPolicyDocumentException.
    """
    return _parse(text, None)


def check(text: str, principals: PrincipalDirectory | None) -> None:
    """Checks the key policy that a client gives.

    Raises:
        KmsError: MalformedPolicyDocumentException or LimitExceededException.
    """
    if len(text.encode()) > _MAX_SIZE:
        raise errors.limit_exceeded(f"Policy exceeds the maximum size of {_MAX_SIZE} bytes.")
    parsed = _parse(text, condition_keys.fault)
    if principals is None:
        return
    for statement in parsed.statements:
        named = statement.principals.arns if statement.principals is not None else ()
        if not all(map(principals.exists, named)):
            raise errors.malformed_policy(_INVALID_PRINCIPALS)


def _parse(text: str, check: KeyCheck | None) -> Policy:
    try:
        return policy.parse_resource(text, check)
    except InvalidPrincipal:
        raise errors.malformed_policy(_INVALID_PRINCIPALS) from None
    except MalformedPolicy as error:
        raise errors.malformed_policy(str(error)) from None
