"""Who may do what with buckets and objects, and the condition keys of S3."""

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from proxy.aws import xml_codec
from proxy.aws.credentials import ANONYMOUS, Caller
from proxy.aws.errors import AwsError
from proxy.aws.message import Peer
from proxy.aws.policy_patterns import Values
from proxy.s3.access import authorization
from proxy.s3.access.condition_keys import Subject
from proxy.s3.gateway import Call, Target
from proxy.s3.operations.delete_objects import delete_objects
from proxy.s3.operations.table import OPERATIONS
from proxy.s3.operations.unimplemented import UNIMPLEMENTED
from proxy.s3.state.ports import BucketRecord, PublicAccessBlock
from tests.s3.fakes import ACCOUNT, OTHER_ACCOUNT, FakeUpstream, StoredThing, caller, make_call, make_gateway

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
BUCKET = BucketRecord("bucket", ACCOUNT, "eu-west-1", NOW)
OBJECT = Target("bucket", "home/tester/x")
ARN = "arn:aws:s3:::bucket/home/tester/x"


def allow(action: Any = "s3:*", effect: str = "Allow", **others: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": "*", **others}


def document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def call_of(
    *statements: dict[str, Any], method: str = "GET", target: Target = OBJECT, account: str = ACCOUNT, **others: Any
) -> Call:
    made = make_call(method, target, record=BUCKET, **others)
    who = caller(account, (document(*statements),) if statements else ())
    return replace(made, caller=who)


def refusal(
    call: Call,
    action: str = "s3:GetObject",
    bucket_policy: dict[str, Any] | None = None,
    block: PublicAccessBlock | None = None,
) -> str | None:
    if bucket_policy is not None:
        record = replace(call.record, policy=json.dumps(bucket_policy), public_access_block=block)
        call = replace(call, bucket=record)
    try:
        authorization.authorize(call, action, call.target, lambda: NOW)
    except AwsError as error:
        assert (error.code, error.status) == ("AccessDenied", 403)  # noqa: PT017
        return error.message
    return None


def test_the_words_of_each_refusal() -> None:
    start = f'User: arn:aws:iam::{ACCOUNT}:user/tester is not authorized to perform: s3:GetObject on resource: "{ARN}" '
    assert refusal(call_of(allow())) is None
    assert refusal(call_of()) == start + "because no identity-based policy allows the s3:GetObject action"
    denied = call_of(allow(), allow("s3:Get*", "Deny"))
    assert refusal(denied) == start + "with an explicit deny in an identity-based policy"
    everyone = document(allow("s3:GetObject", "Deny", Principal="*"))
    assert (
        refusal(call_of(allow()), bucket_policy=everyone) == start + "with an explicit deny in a resource-based policy"
    )


def test_another_accounts_bucket_needs_its_policy_and_tells_no_reasons() -> None:
    theirs = call_of(allow(), account=OTHER_ACCOUNT)
    assert refusal(theirs) == "Access Denied"
    to_them = document(allow("s3:GetObject", Principal={"AWS": OTHER_ACCOUNT}))
    assert refusal(theirs, bucket_policy=to_them) is None
    assert refusal(call_of(account=OTHER_ACCOUNT), bucket_policy=to_them) == "Access Denied"
    assert refusal(theirs, "s3:PutObject", to_them) == "Access Denied"


def test_a_bucket_policy_lets_its_own_account_in() -> None:
    arn = f"arn:aws:iam::{ACCOUNT}:user/tester"
    assert refusal(call_of(), bucket_policy=document(allow("s3:GetObject", Principal={"AWS": arn}))) is None
    to_account = document(allow("s3:GetObject", Principal={"AWS": ACCOUNT}))
    assert refusal(call_of(), bucket_policy=to_account) is not None


def test_a_deny_of_the_bucket_wins_over_the_owners_own_policies() -> None:
    but_me = document(allow("s3:*", "Deny", NotPrincipal={"AWS": [ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/tester"]}))
    assert refusal(call_of(allow()), bucket_policy=but_me) is None
    other = replace(call_of(allow()), caller=Caller(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/other", "", "", ()))
    assert "with an explicit deny in a resource-based policy" in (refusal(other, bucket_policy=but_me) or "")
    by_name = document(allow("s3:GetObject", "Deny", Principal="*", Condition={"StringEquals": {"aws:username": "x"}}))
    assert refusal(call_of(allow()), bucket_policy=by_name) is None


def test_only_the_root_user_is_never_locked_out() -> None:
    nobody = document(allow("s3:*", "Deny", Principal="*"))
    root = replace(call_of(), caller=Caller(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT, "AKIA"))
    for action in ("s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"):
        assert refusal(root, action, nobody) is None
        assert refusal(call_of(allow()), action, nobody) is not None
    assert refusal(root, "s3:ListBucket", nobody) is not None
    theirs = replace(root, caller=Caller(OTHER_ACCOUNT, f"arn:aws:iam::{OTHER_ACCOUNT}:root", OTHER_ACCOUNT, "AKIA"))
    assert refusal(theirs, "s3:DeleteBucketPolicy", nobody) == "Access Denied"


EVERYBODY_READS = document(allow("s3:GetObject", Principal="*"))


def test_who_has_not_signed_may_do_what_a_policy_lets_everybody_do() -> None:
    call = replace(call_of(), caller=ANONYMOUS)
    assert refusal(call) == "Access Denied"
    assert refusal(call, bucket_policy=EVERYBODY_READS) is None
    assert refusal(call, "s3:PutObject", EVERYBODY_READS) == "Access Denied"
    for named in ({"AWS": ACCOUNT}, {"AWS": f"arn:aws:iam::{ACCOUNT}:user/tester"}):
        assert refusal(call, bucket_policy=document(allow("s3:GetObject", Principal=named))) == "Access Denied"
    of_nobody = replace(call, bucket=None)
    assert refusal(of_nobody, "s3:ListAllMyBuckets") == "Access Denied"
    assert refusal(of_nobody, "s3:CreateBucket") == "Access Denied"


def test_a_public_bucket_may_be_kept_for_its_own_account() -> None:
    restricted = PublicAccessBlock()
    anonymous = replace(call_of(), caller=ANONYMOUS)
    theirs = call_of(allow(), account=OTHER_ACCOUNT)
    for call in (anonymous, theirs):
        assert refusal(call, bucket_policy=EVERYBODY_READS) is None
        assert refusal(call, bucket_policy=EVERYBODY_READS, block=restricted) == "Access Denied"
    assert refusal(call_of(), bucket_policy=EVERYBODY_READS, block=restricted) is None
    # A policy that is not public goes on to count for other accounts.
    to_them = document(allow("s3:GetObject", Principal={"AWS": OTHER_ACCOUNT}))
    assert refusal(theirs, bucket_policy=to_them, block=restricted) is None


def test_another_buckets_policy() -> None:
    """As of a copy's source."""
    other = BucketRecord("other", OTHER_ACCOUNT, "us-east-1", NOW)
    source = Target("other", "k")
    call = call_of(allow())
    with pytest.raises(AwsError, match="AccessDenied"):
        authorization.authorize(call, "s3:GetObject", source, lambda: NOW, other)
    same = document(
        allow(
            "s3:GetObject", Principal={"AWS": ACCOUNT}, Condition={"StringEquals": {"aws:RequestedRegion": "us-east-1"}}
        )
    )
    open_to_us = replace(other, policy=json.dumps(same))
    authorization.authorize(call, "s3:GetObject", source, lambda: NOW, open_to_us)
    assert Subject(call, "s3:GetObject", lambda: NOW, open_to_us).lookup("s3:resourceaccount") == (OTHER_ACCOUNT,)


def test_the_expected_owner() -> None:
    def check(owner: str) -> None:
        authorization.check_owner(call_of(headers={"x-amz-expected-bucket-owner": owner}))

    check(ACCOUNT)
    with pytest.raises(AwsError, match="AccessDenied"):
        check(OTHER_ACCOUNT)
    for owner in ("", "1", f"{ACCOUNT}1", "x" * 12):
        with pytest.raises(AwsError, match="InvalidBucketOwnerAWSAccountID"):
            check(owner)
    authorization.check_owner(call_of())
    of_source = call_of(headers={"x-amz-source-expected-bucket-owner": OTHER_ACCOUNT})
    with pytest.raises(AwsError, match="AccessDenied"):
        authorization.check_expected_owner(of_source, "x-amz-source-expected-bucket-owner", BUCKET)


def test_headers_of_a_write_imply_actions_of_their_own() -> None:
    tagged = {"x-amz-tagging": "a=b"}
    call = call_of(allow("s3:PutObject"), method="PUT", headers=tagged)
    assert "s3:PutObjectTagging" in (refusal(call, "s3:PutObject") or "")
    both = allow(["s3:PutObject", "s3:PutObjectTagging"])
    assert refusal(call_of(both, method="PUT", headers=tagged), "s3:PutObject") is None
    unset = {"x-amz-bypass-governance-retention": "false"}
    assert refusal(call_of(allow("s3:PutObject"), method="PUT", headers=unset), "s3:PutObject") is None


def test_other_objects_than_the_calls() -> None:
    call = call_of(allow(Resource="arn:aws:s3:::bucket/mine/*"), method="POST", target=Target("bucket"))
    assert authorization.refusal(call, "s3:DeleteObject", Target("bucket", "mine/x"), lambda: NOW) is None
    refused = authorization.refusal(call, "s3:DeleteObject", Target("bucket", "theirs/x"), lambda: NOW)
    assert refused is not None
    assert '"arn:aws:s3:::bucket/theirs/x"' in (refused.message or "")


def test_a_home_directory_for_each_user() -> None:
    home = allow(Resource=["arn:aws:s3:::bucket/home/${aws:username}/*"])
    listing = allow("s3:ListBucket", Condition={"StringLike": {"s3:prefix": ["", "home/", "home/${aws:username}/*"]}})
    assert refusal(call_of(home)) is None
    assert refusal(call_of(home, target=Target("bucket", "home/other/x"))) is not None
    for query, allowed in (("prefix=home/tester/a", True), ("prefix=", True), ("prefix=home/o", False), ("", False)):
        call = call_of(home, listing, target=Target("bucket"), query=query)
        assert (refusal(call, "s3:ListBucket") is None) is allowed, query


SSE, KEY_ID = "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({SSE: "aws:kms", KEY_ID: "k"}, True),
        ({SSE: "aws:kms", KEY_ID: "other"}, False),
        ({SSE: "AES256"}, False),
        ({}, False),
    ],
)
def test_uploads_must_be_encrypted_as_the_policy_says(headers: dict[str, str], allowed: bool) -> None:
    """The statements of AWS's examples, which deny what is not so."""
    statements = (
        allow(),
        allow("s3:PutObject", "Deny", Condition={"StringNotEquals": {f"s3:{SSE}": "aws:kms"}}),
        allow("s3:PutObject", "Deny", Condition={"StringNotEquals": {f"s3:{KEY_ID}": "k"}}),
    )
    assert (refusal(call_of(*statements, method="PUT", headers=headers), "s3:PutObject") is None) is allowed


def lookup(name: str, action: str = "s3:GetObject", *, call: Call | None = None, **others: Any) -> Values | None:
    if action.startswith("s3:List"):
        others.setdefault("target", Target("bucket"))
    return Subject(call or call_of(allow(), **others), action, lambda: NOW).lookup(name.lower())


@pytest.mark.parametrize(
    ("name", "action", "request_parts", "expected"),
    [
        ("s3:prefix", "s3:ListBucket", {"query": "prefix=a%2Fb&prefix=c"}, ("a/b",)),
        ("s3:prefix", "s3:ListBucketVersions", {"query": "prefix="}, ("",)),
        ("s3:prefix", "s3:ListBucket", {}, ()),
        ("s3:prefix", "s3:GetObject", {"query": "prefix=a"}, ()),
        ("s3:prefix", "s3:ListBucket", {"query": "prefix=a", "target": OBJECT}, ()),
        ("s3:delimiter", "s3:ListBucket", {"query": "delimiter=/"}, ("/",)),
        ("s3:max-keys", "s3:ListBucket", {"query": "max-keys=10"}, ("10",)),
        ("s3:max-keys", "s3:ListBucket", {}, ("1000",)),
        ("s3:VersionId", "s3:GetObjectVersion", {"query": "versionId=v1"}, ("v1",)),
        ("s3:x-amz-acl", "s3:PutObject", {"headers": {"X-Amz-Acl": "private"}}, ("private",)),
        ("s3:x-amz-storage-class", "s3:PutObject", {}, ()),
        ("s3:x-amz-copy-source", "s3:PutObject", {"headers": {"x-amz-copy-source": "/b/k"}}, ("/b/k",)),
        ("s3:if-none-match", "s3:PutObject", {"headers": {"If-None-Match": "*"}}, ("*",)),
        ("s3:authType", "s3:GetObject", {}, ("REST-HEADER",)),
        ("s3:signatureversion", "s3:GetObject", {}, ("AWS4-HMAC-SHA256",)),
        ("s3:signatureAge", "s3:GetObject", {}, ("0",)),
        ("s3:ResourceAccount", "s3:GetObject", {}, (ACCOUNT,)),
        ("s3:RequestObjectTag/Team", "s3:PutObject", {"headers": {"x-amz-tagging": "team=a%20b&x=y"}}, ("a b",)),
        ("s3:RequestObjectTag/Team", "s3:PutObject", {}, ()),
        ("s3:RequestObjectTag/Team", "s3:PutObjectTagging", {}, None),
        ("s3:RequestObjectTagKeys", "s3:PutObject", {"headers": {"x-amz-tagging": "a=1&b=2"}}, ("a", "b")),
        ("s3:RequestObjectTagKeys", "s3:PutObjectTagging", {}, None),
        ("s3:ExistingObjectTag/Team", "s3:GetObject", {}, None),
        ("s3:ExistingObjectTag/Team", "s3:PutObject", {}, ()),
        ("s3:object-lock-mode", "s3:PutObject", {"headers": {"x-amz-object-lock-mode": "GOVERNANCE"}}, ("GOVERNANCE",)),
        ("s3:object-lock-mode", "s3:PutObjectRetention", {}, None),
        ("s3:LocationConstraint", "s3:CreateBucket", {}, None),
        ("s3:DataAccessPointArn", "s3:GetObject", {}, ()),
        ("s3:NoSuchKey", "s3:GetObject", {}, None),
        ("kms:ViaService", "s3:GetObject", {}, ()),
        ("aws:username", "s3:GetObject", {}, ("tester",)),
        ("aws:RequestedRegion", "s3:GetObject", {}, ("eu-west-1",)),
        ("aws:ResourceAccount", "s3:GetObject", {}, (ACCOUNT,)),
        ("aws:ViaAWSService", "s3:GetObject", {}, ("false",)),
        ("aws:UserAgent", "s3:GetObject", {"headers": {"User-Agent": "boto3"}}, ("boto3",)),
        ("aws:Referer", "s3:GetObject", {}, ()),
        ("aws:CurrentTime", "s3:GetObject", {}, ("2026-11-23T06:00:00Z",)),
        ("aws:ResourceTag/x", "s3:GetObject", {}, None),
        ("aws:RequestTag/x", "s3:PutBucketTagging", {}, None),
    ],
)  # fmt: skip
def test_values(name: str, action: str, request_parts: dict[str, Any], expected: Values | None) -> None:
    assert lookup(name, action, **request_parts) == expected


def test_what_the_signature_says() -> None:
    call = call_of(allow())
    presigned = replace(call, verified=replace(call.verified, presigned=True, payload_hash="UNSIGNED-PAYLOAD"))
    assert lookup("s3:authType", call=presigned) == ("REST-QUERY-STRING",)
    assert lookup("s3:x-amz-content-sha256", call=presigned) == ("UNSIGNED-PAYLOAD",)
    later = Subject(presigned, "s3:GetObject", lambda: NOW + timedelta(minutes=10))
    assert later.lookup("s3:signatureage") == ("600000",)


def test_what_the_connection_says() -> None:
    call = call_of(allow())

    def on(peer: Peer | None, name: str) -> Values | None:
        return lookup(name, call=replace(call, request=replace(call.request, peer=peer)))

    plain, secure = Peer("203.0.113.7", False), Peer("203.0.113.7", True)
    assert on(plain, "aws:SourceIp") == ("203.0.113.7",)
    assert on(plain, "aws:SecureTransport") == ("false",)
    assert on(secure, "aws:SecureTransport") == ("true",)
    assert on(plain, "s3:TlsVersion") == ()
    assert on(secure, "s3:TlsVersion") is None
    assert on(Peer("203.0.113.7", True, "TLSv1.3"), "s3:TlsVersion") == ("1.3",)


def test_a_call_on_no_bucket() -> None:
    call = replace(make_call("GET", Target()), caller=caller())
    assert refusal(call, "s3:ListAllMyBuckets") is None
    subject = Subject(call, "s3:ListAllMyBuckets", lambda: NOW)
    assert subject.lookup("aws:resourceaccount") == ()
    assert subject.lookup("aws:sourceip") == ()
    assert subject.lookup("aws:requestedregion") == ("us-east-1",)
    assert refusal(
        replace(call, caller=Caller(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/x", "", "")), "s3:ListAllMyBuckets"
    )


def test_only_what_authorizes_by_itself_or_is_refused_has_no_action() -> None:
    refused = {operation.name for operation in UNIMPLEMENTED} | {"MethodNotAllowed"}
    assert {operation.name for operation in OPERATIONS if not operation.action} - refused == {"DeleteObjects"}


async def test_each_deletion_of_many_is_authorized_for_itself() -> None:
    upstream = FakeUpstream({"bucket": {key: StoredThing(1, '"e"') for key in ("mine/a", "mine/b", "theirs/c")}})
    gateway = make_gateway(upstream)
    mine = "arn:aws:s3:::bucket/mine/*"
    statements = (allow("s3:DeleteObject", Resource=mine), allow("s3:DeleteObjectVersion", Resource=f"{mine}a"))

    async def delete(*objects: dict[str, str]) -> dict[str, Any]:
        body = xml_codec.render("Delete", {"Object": list(objects)})
        headers = {"Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode()}
        call = call_of(*statements, method="POST", target=Target("bucket"), query="delete", headers=headers, body=body)
        answer = await delete_objects.run(gateway, call)
        assert isinstance(answer.body, bytes)
        return dict(xml_codec.parse(answer.body, "DeleteResult", lists=("Deleted", "Error")))

    outcome = await delete({"Key": "mine/a"}, {"Key": "theirs/c"}, {"Key": "mine/b", "VersionId": "v1"})
    assert outcome["Deleted"] == [{"Key": "mine/a"}]
    refused = {(entry["Key"], entry.get("VersionId"), entry["Code"]): entry["Message"] for entry in outcome["Error"]}
    assert set(refused) == {("theirs/c", None, "AccessDenied"), ("mine/b", "v1", "AccessDenied")}
    assert refused["theirs/c", None, "AccessDenied"].endswith(
        'not authorized to perform: s3:DeleteObject on resource: "arn:aws:s3:::bucket/theirs/c" '
        "because no identity-based policy allows the s3:DeleteObject action"
    )
    assert set(upstream.buckets["bucket"]) == {"mine/b", "theirs/c"}
    asked = len(upstream.sent)
    assert "Deleted" not in await delete({"Key": "theirs/c"})
    assert len(upstream.sent) == asked, "the store is not asked to delete nothing"
