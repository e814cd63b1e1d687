"""Who may use which key, directly and through S3, with boto3: the user ``app``, which may do everything in S3 and has
no right on any key of its own."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import boto3
import pytest
from botocore.config import Config as ClientConfig

from tests.e2e.samples import kms, new_bucket, new_key, new_kms_key, refused, s3
from tests.e2e.stores import REGION, Endpoint, Endpoints, Serve

OTHER_ACCOUNT = "999900001111"
OUTSIDER = ("AKIAOUTSIDEROUTSIDER", "outsider-secret-outsider-secret-outsider")
S3_ONLY = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}'
USERS = f"""policies = ['{S3_ONLY}']

[[users]]
name = "outsider"
account = "{OTHER_ACCOUNT}"
access_key_id = "{OUTSIDER[0]}"
secret_access_key = "{OUTSIDER[1]}"
administrator = true

[[roles]]
name = "reader"
account = "{{account}}"
trust_policy = '{{trust}}'
policies = ['{S3_ONLY}']
"""
"""Continues the section of the last user, ``app``."""

BODY = b"b" * 100_000


class WithUsers(Serve):
    """An endpoint with the users above."""

    def configure(self) -> dict[str, str]:
        variables = super().configure()
        account = variables["AWS_ACCOUNT_ID"]
        trust = {"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"}
        text = json.dumps({"Version": "2012-10-17", "Statement": trust})
        more = USERS.replace("{account}", account).replace("{trust}", text)
        with self.config.open("a", encoding="utf-8") as config:
            config.write(more)
        return variables


@pytest.fixture(scope="module")
def endpoint(endpoints: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    serve = WithUsers(tmp_path_factory.mktemp("authorization") / "proxy", endpoints.get("seaweedfs").store)
    with closing(serve):
        yield serve.start()


@pytest.fixture(scope="module")
def bucket(endpoint: Endpoint) -> str:
    return new_bucket(endpoint)


def client(endpoint: Endpoint, service: str, key: tuple[str, str], token: str | None = None) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint.url,
        region_name=REGION,
        aws_access_key_id=key[0],
        aws_secret_access_key=key[1],
        aws_session_token=token,
        config=ClientConfig(retries={"total_max_attempts": 1}),
    )


def user(endpoint: Endpoint, name: str) -> str:
    return f"arn:aws:iam::{endpoint.account}:user/{name}"


def statement(principal: Any, *actions: str, **others: Any) -> dict[str, Any]:
    named = principal if principal == "*" else {"AWS": principal}
    return {"Effect": "Allow", "Principal": named, "Action": list(actions), "Resource": "*", **others}


def key_with(endpoint: Endpoint, *statements: dict[str, Any]) -> str:
    """A KMS key whose policy has these statements beside the account's; its ARN."""
    account = statement(f"arn:aws:iam::{endpoint.account}:root", "kms:*")
    return new_kms_key(endpoint, Policy=json.dumps({"Version": "2012-10-17", "Statement": [account, *statements]}))


def put(client: Any, bucket: str, key_arn: str, body: bytes = BODY, **others: Any) -> str:
    key = new_key()
    sse = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_arn, **others}
    client.put_object(Bucket=bucket, Key=key, Body=body, **sse)
    return key


def get(client: Any, bucket: str, key: str) -> bytes:
    return bytes(client.get_object(Bucket=bucket, Key=key)["Body"].read())


def denial(endpoint: Endpoint, action: str, key_arn: str, reason: str | None = None) -> str:
    reason = reason or f"because no identity-based policy allows the {action} action"
    return f"User: {user(endpoint, 'app')} is not authorized to perform: {action} on resource: {key_arn} {reason}"


def test_who_may_use_s3_but_not_the_key_is_refused(endpoint: Endpoint, bucket: str) -> None:
    app, key_arn = s3(endpoint, "app"), new_kms_key(endpoint)
    key = put(s3(endpoint), bucket, key_arn)
    with refused(403, "AccessDenied", denial(endpoint, "kms:GenerateDataKey", key_arn)):
        put(app, bucket, key_arn)
    with refused(403, "AccessDenied", denial(endpoint, "kms:Decrypt", key_arn)):
        get(app, bucket, key)
    with refused(403, "AccessDenied", denial(endpoint, "kms:GenerateDataKey", key_arn)):
        app.create_multipart_upload(Bucket=bucket, Key=key, ServerSideEncryption="aws:kms", SSEKMSKeyId=key_arn)
    # What needs no key it may do.
    assert app.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(BODY)
    assert get(s3(endpoint), bucket, key) == BODY
    plain = new_key()
    app.put_object(Bucket=bucket, Key=plain, Body=BODY)
    assert get(app, bucket, plain) == BODY


def test_rights_by_the_key_policy(endpoint: Endpoint, bucket: str) -> None:
    app = s3(endpoint, "app")
    writing = key_with(endpoint, statement(user(endpoint, "app"), "kms:GenerateDataKey"))
    key = put(app, bucket, writing)
    with refused(403, "AccessDenied", denial(endpoint, "kms:Decrypt", writing)):
        get(app, bucket, key)
    both = key_with(endpoint, statement(user(endpoint, "app"), "kms:GenerateDataKey", "kms:Decrypt"))
    assert get(app, bucket, put(app, bucket, both)) == BODY
    policy = {"Version": "2012-10-17", "Statement": statement(f"arn:aws:iam::{endpoint.account}:root", "kms:*")}
    last = put(app, bucket, both)
    kms(endpoint).put_key_policy(KeyId=both, Policy=json.dumps(policy))
    with refused(403, "AccessDenied", denial(endpoint, "kms:Decrypt", both)):
        get(app, bucket, last)


def test_a_deny_wins(endpoint: Endpoint, bucket: str) -> None:
    app = s3(endpoint, "app")
    given = statement(user(endpoint, "app"), "kms:GenerateDataKey", "kms:Decrypt")
    denied = statement("*", "kms:Decrypt", Condition={"StringEquals": {"aws:username": "app"}}) | {"Effect": "Deny"}
    key_arn = key_with(endpoint, given, denied)
    kms(endpoint).create_grant(KeyId=key_arn, GranteePrincipal=user(endpoint, "app"), Operations=["Decrypt"])
    key = put(app, bucket, key_arn)
    with refused(
        403,
        "AccessDenied",
        denial(endpoint, "kms:Decrypt", key_arn, "with an explicit deny in a resource-based policy"),
    ):
        get(app, bucket, key)
    assert get(s3(endpoint), bucket, key) == BODY


def test_rights_by_a_grant(endpoint: Endpoint, bucket: str) -> None:
    app, key_arn = s3(endpoint, "app"), new_kms_key(endpoint)
    key = put(s3(endpoint), bucket, key_arn)
    with refused(403, "AccessDenied"):
        get(app, bucket, key)
    made = kms(endpoint).create_grant(
        KeyId=key_arn, GranteePrincipal=user(endpoint, "app"), Operations=["Decrypt", "GenerateDataKey"]
    )
    assert get(app, bucket, key) == BODY
    assert get(app, bucket, put(app, bucket, key_arn)) == BODY
    kms(endpoint).revoke_grant(KeyId=key_arn, GrantId=made["GrantId"])
    for call in (lambda: get(app, bucket, key), lambda: put(app, bucket, key_arn)):
        with refused(403, "AccessDenied"):
            call()


def test_a_grant_for_some_objects_only(endpoint: Endpoint, bucket: str) -> None:
    """The encryption context names the object, or with an S3 Bucket Key the bucket."""
    app, admin, key_arn = s3(endpoint, "app"), s3(endpoint), new_kms_key(endpoint)
    one, other = put(admin, bucket, key_arn), put(admin, bucket, key_arn)
    context = {"aws:s3:arn": f"arn:aws:s3:::{bucket}/{one}"}
    kms(endpoint).create_grant(
        KeyId=key_arn,
        GranteePrincipal=user(endpoint, "app"),
        Operations=["Decrypt"],
        Constraints={"EncryptionContextEquals": context},
    )
    assert get(app, bucket, one) == BODY
    with refused(403, "AccessDenied", denial(endpoint, "kms:Decrypt", key_arn)):
        get(app, bucket, other)
    of_bucket = {"StringEquals": {"kms:EncryptionContext:aws:s3:arn": f"arn:aws:s3:::{bucket}"}}
    bucket_key = key_with(endpoint, statement(user(endpoint, "app"), "kms:Decrypt", Condition=of_bucket))
    assert get(app, bucket, put(admin, bucket, bucket_key, BucketKeyEnabled=True)) == BODY
    with refused(403, "AccessDenied"):
        get(app, bucket, put(admin, bucket, bucket_key))


def test_a_key_for_s3_alone(endpoint: Endpoint, bucket: str) -> None:
    """With kms:ViaService, the key can be used through S3 and not otherwise."""
    condition = {
        "StringEquals": {"kms:ViaService": f"s3.{REGION}.amazonaws.com", "kms:CallerAccount": endpoint.account}
    }
    given = statement("*", "kms:GenerateDataKey*", "kms:Decrypt", "kms:Encrypt", Condition=condition)
    key_arn = key_with(endpoint, given)
    app = s3(endpoint, "app")
    assert get(app, bucket, put(app, bucket, key_arn)) == BODY
    with refused(400, "AccessDeniedException", denial(endpoint, "kms:Encrypt", key_arn)):
        kms(endpoint, "app").encrypt(KeyId=key_arn, Plaintext=b"x")
    denied = {
        "StringNotEqualsIfExists": {"kms:ViaService": f"s3.{REGION}.amazonaws.com"},
        "Null": {"kms:ViaService": True},
    }
    only = key_with(endpoint, statement("*", "kms:Encrypt", "kms:Decrypt", Condition=denied) | {"Effect": "Deny"})
    admin = s3(endpoint)
    assert get(admin, bucket, put(admin, bucket, only)) == BODY
    with refused(400, "AccessDeniedException"):
        kms(endpoint).encrypt(KeyId=only, Plaintext=b"x")


def test_a_session_of_a_role(endpoint: Endpoint, bucket: str) -> None:
    role = f"arn:aws:iam::{endpoint.account}:role/reader"
    session_arn = f"arn:aws:sts::{endpoint.account}:assumed-role/reader/one"
    for_role = key_with(endpoint, statement(role, "kms:Decrypt"))
    for_session = key_with(endpoint, statement(session_arn, "kms:Decrypt"))
    granted = new_kms_key(endpoint)
    kms(endpoint).create_grant(KeyId=granted, GranteePrincipal=role, Operations=["Decrypt"])
    objects = {arn: put(s3(endpoint), bucket, arn) for arn in (for_role, for_session, granted)}

    def assume(**members: Any) -> Any:
        given = endpoint.client("sts").assume_role(RoleArn=role, RoleSessionName="one", **members)["Credentials"]
        return client(endpoint, "s3", (given["AccessKeyId"], given["SecretAccessKey"]), given["SessionToken"])

    whole = assume()
    for key in objects.values():
        assert get(whole, bucket, key) == BODY
    limited = assume(Policy=S3_ONLY)
    assert get(limited, bucket, objects[for_session]) == BODY
    for arn in (for_role, granted):
        reason = "because no session policy allows the kms:Decrypt action"
        expected = denial(endpoint, "kms:Decrypt", arn, reason).replace(user(endpoint, "app"), session_arn)
        with refused(403, "AccessDenied", expected):
            get(limited, bucket, objects[arn])
    nothing = assume(Policy=S3_ONLY.replace("s3:*", "kms:*"))
    with refused(403, "AccessDenied") as error:
        get(nothing, bucket, objects[for_session])
    assert error["Message"].endswith("because no session policy allows the s3:GetObject action")


def test_another_account(endpoint: Endpoint, bucket: str) -> None:
    """It needs the key's policy, and gets nothing of a bucket without that one's."""
    outside_kms, outside_s3 = (client(endpoint, service, OUTSIDER) for service in ("kms", "s3"))
    key_arn = new_kms_key(endpoint)
    reason = (
        "because the resource does not exist in this Region, no resource-based policies allow access, "
        "or a resource-based policy explicitly denies access"
    )
    outsider = f"arn:aws:iam::{OTHER_ACCOUNT}:user/outsider"
    with refused(
        400,
        "AccessDeniedException",
        f"User: {outsider} is not authorized to perform: kms:Encrypt on resource: {key_arn} {reason}",
    ):
        outside_kms.encrypt(KeyId=key_arn, Plaintext=b"x")
    shared = key_with(endpoint, statement(f"arn:aws:iam::{OTHER_ACCOUNT}:root", "kms:Encrypt", "kms:GenerateDataKey"))
    assert outside_kms.encrypt(KeyId=shared, Plaintext=b"x")["KeyId"] == shared
    own = f"own-{time.time_ns()}"
    outside_s3.create_bucket(Bucket=own, CreateBucketConfiguration={"LocationConstraint": REGION})
    key = put(outside_s3, own, shared)
    with refused(403, "AccessDenied"):
        get(outside_s3, own, key)
    for stranger, name in ((outside_s3, bucket), (s3(endpoint), own)):
        with refused(403, "AccessDenied", "Access Denied"):
            stranger.list_objects_v2(Bucket=name)


def test_principals_that_do_not_exist(endpoint: Endpoint) -> None:
    missing = statement(user(endpoint, "nobody"), "kms:Decrypt")
    with refused(400, "MalformedPolicyDocumentException") as error:
        key_with(endpoint, missing)
    assert error["Message"] == "Policy contains a statement with one or more invalid principals."
    key_with(endpoint, statement(f"arn:aws:iam::{endpoint.account}:role/reader", "kms:Decrypt"))
    key_with(endpoint, statement(f"arn:aws:iam::{'1' * 12}:user/anybody", "kms:Decrypt"))
    with refused(400, "InvalidArnException"):
        kms(endpoint).create_grant(
            KeyId=new_kms_key(endpoint), GranteePrincipal=user(endpoint, "nobody"), Operations=["Decrypt"]
        )


def test_a_user_of_the_key_service(endpoint: Endpoint) -> None:
    """The life of a grant, from the grantee's side."""
    app, admin, key_arn = kms(endpoint, "app"), kms(endpoint), new_kms_key(endpoint)
    with refused(400, "AccessDeniedException", denial(endpoint, "kms:Encrypt", key_arn)):
        app.encrypt(KeyId=key_arn, Plaintext=b"x")
    made = admin.create_grant(
        KeyId=key_arn,
        GranteePrincipal=user(endpoint, "app"),
        RetiringPrincipal=user(endpoint, "app"),
        Operations=["Encrypt", "Decrypt", "CreateGrant"],
        Constraints={"EncryptionContextSubset": {"team": "red"}},
    )
    context = {"team": "red", "more": "x"}
    sealed = app.encrypt(KeyId=key_arn, Plaintext=b"x", EncryptionContext=context, GrantTokens=[made["GrantToken"]])
    opened = app.decrypt(CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=context)
    assert opened["Plaintext"] == b"x"
    with refused(400, "AccessDeniedException"):
        app.encrypt(KeyId=key_arn, Plaintext=b"x", EncryptionContext={"team": "blue"})
    with refused(400, "AccessDeniedException"):
        app.create_grant(KeyId=key_arn, GranteePrincipal=user(endpoint, "admin"), Operations=["Encrypt"])
    narrower = {"EncryptionContextEquals": {"team": "red"}}
    app.create_grant(
        KeyId=key_arn, GranteePrincipal=user(endpoint, "admin"), Operations=["Encrypt"], Constraints=narrower
    )
    listed = admin.list_retirable_grants(RetiringPrincipal=user(endpoint, "app"))["Grants"]
    assert made["GrantId"] in {each["GrantId"] for each in listed}
    app.retire_grant(GrantToken=made["GrantToken"])
    with refused(400, "AccessDeniedException"):
        app.encrypt(KeyId=key_arn, Plaintext=b"x", EncryptionContext=context)


def test_a_copy_needs_decrypt_of_its_source_and_a_data_key_of_its_own(endpoint: Endpoint, bucket: str) -> None:
    app, admin = s3(endpoint, "app"), s3(endpoint)
    readable = key_with(endpoint, statement(user(endpoint, "app"), "kms:Decrypt"))
    writable = key_with(endpoint, statement(user(endpoint, "app"), "kms:GenerateDataKey"))
    source, other = put(admin, bucket, readable), put(admin, bucket, writable)
    to = {"Bucket": bucket, "Key": new_key(), "ServerSideEncryption": "aws:kms"}
    app.copy_object(**to, CopySource=f"{bucket}/{source}", SSEKMSKeyId=writable)
    assert get(admin, bucket, to["Key"]) == BODY
    with refused(403, "AccessDenied", denial(endpoint, "kms:GenerateDataKey", readable)):
        app.copy_object(**to, CopySource=f"{bucket}/{source}", SSEKMSKeyId=readable)
    with refused(403, "AccessDenied", denial(endpoint, "kms:Decrypt", writable)):
        app.copy_object(**to, CopySource=f"{bucket}/{other}", SSEKMSKeyId=writable)
    upload_id = admin.create_multipart_upload(Bucket=bucket, Key=to["Key"])["UploadId"]
    part = {"Bucket": bucket, "Key": to["Key"], "UploadId": upload_id, "PartNumber": 1}
    with refused(403, "AccessDenied", denial(endpoint, "kms:Decrypt", writable)):
        app.upload_part_copy(**part, CopySource=f"{bucket}/{other}")
    app.upload_part_copy(**part, CopySource=f"{bucket}/{source}")
    with refused(403, "AccessDenied", denial(endpoint, "kms:GenerateDataKey", readable)):
        change = {"SSEKMS": {"KMSKeyArn": readable}}
        app.update_object_encryption(Bucket=bucket, Key=source, ObjectEncryption=change)
