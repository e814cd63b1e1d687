"""Bucket policies: their validation when they are put, and the policy of a bucket as it is evaluated.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketPolicy.html,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-policies.html and recorded answers for the messages.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from proxy.aws import arn, policy_patterns
from proxy.aws.errors import AwsError
from proxy.aws.policy import MalformedPolicy, Policy, parse_resource
from proxy.aws.policy_principals import PrincipalDirectory
from proxy.aws.policy_statement import no_conditions
from proxy.s3.access import condition_keys, public_policies
from proxy.s3.access.accounts import canonical_id
from proxy.s3.access.actions import ON_BUCKETS, ON_OBJECTS
from proxy.s3.state.ports import BucketRecord

MAX_SIZE: Final = 20 * 1024
"""Bytes of a policy document."""

_NOT_JSON: Final = "This policy contains invalid Json"
_INVALID_PRINCIPAL: Final = "Invalid principal in policy"
_INVALID_ACTION: Final = "Policy has invalid action"
_INVALID_RESOURCE: Final = "Policy has invalid resource"

_IN_OTHER_WORDS: Final = (
    ("Not valid JSON", _NOT_JSON),
    ("Invalid policy version", "The policy must contain a valid version string"),
    ("Statement is empty or not a list", "Could not parse the policy: Statement is empty!"),
    ("Invalid Action", _INVALID_ACTION),
    ("Invalid Resource", _INVALID_RESOURCE),
    ("Invalid condition key", condition_keys.INVALID),
)
"""What the parser of policies says, from its beginning, and what S3 says of the same."""


class BucketPolicy(NamedTuple):
    """A bucket's policy as it is evaluated."""

    policy: Policy
    public: bool


def policy_of(bucket: BucketRecord) -> BucketPolicy | None:
    """The policy of a bucket; parsed once for each document."""
    return None if bucket.policy is None else _parsed(bucket.policy, bucket.account)


@lru_cache(maxsize=1024)
def _parsed(text: str, account: str) -> BucketPolicy:
    document = _with_known_principals(json.loads(text), account)
    return BucketPolicy(parse_resource(document), public_policies.is_public(document))


def parse(body: bytes, bucket: BucketRecord, principals: PrincipalDirectory | None) -> BucketPolicy:
    """The policy in the body of a PutBucketPolicy for ``bucket``. ``principals`` tells which there are.

    Raises:
        AwsError: MalformedPolicy, in AWS's words; PolicyTooLarge.
    """
    if len(body) > MAX_SIZE:
        raise AwsError("PolicyTooLarge", "Policy exceeds the maximum allowed document size.", 400)
    if not body.startswith(b"{"):
        raise _malformed("Policies must be valid JSON and the first byte must be '{'")
    try:
        document = json.loads(body)
        # It finds a field that stands twice in one object, which is gone from what json.loads has made.
        parse_resource(body.decode(), condition_keys.fault)
        document = _with_known_principals(document, bucket.account)
        policy = parse_resource(document, condition_keys.fault)
    except MalformedPolicy as error:
        raise _malformed(_in_s3_words(str(error))) from None
    except (ValueError, RecursionError):
        raise _malformed(_NOT_JSON) from None
    for statement in policy.statements:
        named = statement.principals.arns if statement.principals is not None else frozenset[str]()
        if principals is not None and not all(map(principals.exists, named)):
            raise _malformed(_INVALID_PRINCIPAL)
    for written in _statements(document):
        _check_scope(written, bucket.name)
    return BucketPolicy(policy, public_policies.is_public(document))


def _in_s3_words(text: str) -> str:
    return next((words for beginning, words in _IN_OTHER_WORDS if text.startswith(beginning)), text)


def _with_known_principals(document: Mapping[str, Any], account: str) -> Mapping[str, Any]:
    """The document with the owner's account in place of its canonical user id, which S3 takes for the same.

    Raises:
        MalformedPolicy: it names another canonical user id, which nobody here has.
    """
    if b"CanonicalUser" not in json.dumps(document).encode():
        return document
    statements = [_with_known_principal(statement, account) for statement in _statements(document)]
    return {**document, "Statement": statements}


def _with_known_principal(statement: Mapping[str, Any], account: str) -> Mapping[str, Any]:
    for element in ("Principal", "NotPrincipal"):
        named = statement.get(element)
        if not isinstance(named, Mapping) or "CanonicalUser" not in named:
            continue
        if any(each != canonical_id(account) for each in _texts(named["CanonicalUser"])):
            raise MalformedPolicy(_INVALID_PRINCIPAL)
        others = {kind: value for kind, value in named.items() if kind != "CanonicalUser"}
        statement = {**statement, element: {**others, "AWS": [*_texts(named.get("AWS", [])), account]}}
    return statement


def _check_scope(statement: Mapping[str, Any], bucket: str) -> None:
    """Each action must be one of S3's and have something among the resources that it applies to, and each resource
    must be the bucket or in it.

    Raises:
        AwsError: MalformedPolicy.
    """
    resources = [_scope(text, bucket) for text in _texts(statement.get("Resource") or statement.get("NotResource"))]
    if not all(scope.bucket or scope.objects for scope in resources):
        raise _malformed(_INVALID_RESOURCE)
    everywhere = "NotResource" in statement
    on_bucket = everywhere or any(scope.bucket for scope in resources)
    on_objects = everywhere or any(scope.objects for scope in resources)
    for text in _texts(statement.get("Action") or statement.get("NotAction")):
        about_buckets, about_objects = _matches(text, ON_BUCKETS), _matches(text, ON_OBJECTS)
        if not (about_buckets or about_objects):
            raise _malformed(_INVALID_ACTION)
        if "Action" in statement and not ((about_buckets and on_bucket) or (about_objects and on_objects)):
            raise _malformed("Action does not apply to any resource(s) in statement")


def _matches(text: str, actions: frozenset[str]) -> bool:
    pattern = policy_patterns.wildcard(text, variables=False, ignore_case=True)
    return any(pattern.matches(action, no_conditions) for action in actions)


class _Scope(NamedTuple):
    """What of a bucket a resource covers: itself, and objects in it."""

    bucket: bool
    objects: bool


def _scope(text: str, bucket: str) -> _Scope:
    if text == "*":
        return _Scope(True, True)
    try:
        parsed = arn.parse(text)
    except ValueError:
        return _Scope(False, False)
    if parsed.partition != "aws" or parsed.service != "s3" or parsed.region or parsed.account:
        return _Scope(False, False)
    name, slash, _ = parsed.resource.partition("/")
    pattern = policy_patterns.wildcard(name, variables=False)
    is_bucket = pattern.matches(bucket, no_conditions) is True
    if slash:
        return _Scope(False, is_bucket)
    # A wildcard goes past the slash after the bucket's name.
    return _Scope(is_bucket, pattern.matches(f"{bucket}/", no_conditions) is True)


def _statements(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    statements = document["Statement"]
    return list(statements) if isinstance(statements, list) else [statements]


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _malformed(message: str) -> AwsError:
    return AwsError("MalformedPolicy", message, 400)
