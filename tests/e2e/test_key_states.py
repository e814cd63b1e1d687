"""What S3 answers when the key is not to be used: exact, at once, on every worker, and before a byte of an answer."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.e2e.samples import MIB, body, exists, key_id, kms, new_bucket, new_key, new_kms_key, refused, s3, set_rule
from tests.e2e.samples import shared_bucket as bucket_of
from tests.e2e.stores import REGION, Endpoint
from tests.e2e.wire import Wire, wires_to_all_workers

KMS = {"ServerSideEncryption": "aws:kms"}


def import_material(endpoint: Endpoint, arn: str, material: bytes, padding_name: str = "RSAES_OAEP_SHA_256") -> None:
    keys = kms(endpoint)
    given = keys.get_parameters_for_import(KeyId=arn, WrappingAlgorithm=padding_name, WrappingKeySpec="RSA_2048")
    public = serialization.load_der_public_key(given["PublicKey"])
    assert isinstance(public, rsa.RSAPublicKey)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    keys.import_key_material(
        KeyId=arn,
        EncryptedKeyMaterial=public.encrypt(material, oaep),
        ImportToken=given["ImportToken"],
        ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
    )


def imported_key(endpoint: Endpoint, material: bytes | None = None) -> str:
    arn = new_kms_key(endpoint, Origin="EXTERNAL")
    import_material(endpoint, arn, material or os.urandom(32))
    return arn


@dataclass(frozen=True)
class Objects:
    """One of each kind under a key."""

    endpoint: Endpoint
    bucket: str
    arn: str
    prefix: str
    upload_id: str

    @classmethod
    def make(cls, endpoint: Endpoint, arn: str, bucket: str | None = None) -> "Objects":
        client, bucket, prefix = s3(endpoint), bucket or bucket_of(endpoint), new_key("state")
        sse: dict[str, Any] = {**KMS, "SSEKMSKeyId": arn}
        client.put_object(Bucket=bucket, Key=f"{prefix}/small", Body=body(1000), **sse)
        client.put_object(Bucket=bucket, Key=f"{prefix}/large", Body=body(2 * MIB), **sse)
        client.put_object(Bucket=bucket, Key=f"{prefix}/bucket-key", Body=body(1000), BucketKeyEnabled=True, **sse)
        begun = client.create_multipart_upload(Bucket=bucket, Key=f"{prefix}/upload", **sse)
        return cls(endpoint, bucket, arn, prefix, begun["UploadId"])

    def calls(self) -> dict[str, Callable[[], Any]]:
        """What needs the key."""
        client = s3(self.endpoint)
        sse: dict[str, Any] = {**KMS, "SSEKMSKeyId": self.arn}

        def where(name: str) -> dict[str, str]:
            return {"Bucket": self.bucket, "Key": f"{self.prefix}/{name}"}

        found: dict[str, Callable[[], Any]] = {
            "PutObject": lambda: client.put_object(**where("new"), Body=b"x", **sse),
            "PutObject of 2 MiB": lambda: client.put_object(**where("new"), Body=body(2 * MIB), **sse),
            "PutObject with a bucket key": lambda: client.put_object(
                **where("new"), Body=b"x", BucketKeyEnabled=True, **sse
            ),
            "CreateMultipartUpload": lambda: client.create_multipart_upload(**where("new"), **sse),
            "UploadPart": lambda: client.upload_part(
                **where("upload"), UploadId=self.upload_id, PartNumber=1, Body=b"x"
            ),
        }
        for name in ("small", "large", "bucket-key"):
            found[f"GetObject {name}"] = lambda name=name: client.get_object(**where(name))
            found[f"GetObject {name}, a range"] = lambda name=name: client.get_object(**where(name), Range="bytes=-10")
        return found

    def heads(self) -> None:
        """HEAD, which does not need the key, and listings."""
        client = s3(self.endpoint)
        for name, size in (("small", 1000), ("large", 2 * MIB), ("bucket-key", 1000)):
            head = client.head_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}")
            assert (head["ContentLength"], head["SSEKMSKeyId"]) == (size, self.arn)
            ranged = client.head_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}", Range="bytes=0-9")
            assert ranged["ContentLength"] == 10
            with refused(400, "400"):
                client.head_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}", ChecksumMode="ENABLED")
        listed = client.list_objects_v2(Bucket=self.bucket, Prefix=f"{self.prefix}/")["Contents"]
        assert [entry["Size"] for entry in listed] == [1000, 2 * MIB, 1000]

    def refused(self, code: str, message: str) -> None:
        for name, call in self.calls().items():
            with refused(400, code, message):
                call()
                raise AssertionError(f"{name} was allowed")
        self.heads()

    def allowed(self) -> None:
        for name, call in self.calls().items():
            answer = call()
            if "Body" in answer:
                expected = body(2 * MIB if "large" in name else 1000)
                assert answer["Body"].read() == (expected[-10:] if "range" in name else expected)
        client = s3(self.endpoint)
        client.delete_object(Bucket=self.bucket, Key=f"{self.prefix}/new")


def test_a_disabled_key(endpoint: Endpoint) -> None:
    arn = new_kms_key(endpoint)
    objects = Objects.make(endpoint, arn)
    kms(endpoint).disable_key(KeyId=arn)
    objects.refused("KMS.DisabledException", f"{arn} is disabled.")
    kms(endpoint).enable_key(KeyId=arn)
    objects.allowed()


def test_a_key_that_waits_for_deletion(endpoint: Endpoint) -> None:
    arn = new_kms_key(endpoint)
    objects = Objects.make(endpoint, arn)
    kms(endpoint).schedule_key_deletion(KeyId=arn)
    objects.refused("KMS.KMSInvalidStateException", f"{arn} is pending deletion.")
    kms(endpoint).cancel_key_deletion(KeyId=arn)
    objects.refused("KMS.DisabledException", f"{arn} is disabled.")
    kms(endpoint).enable_key(KeyId=arn)
    objects.allowed()


def test_a_key_whose_material_was_deleted(endpoint: Endpoint) -> None:
    material = os.urandom(32)
    arn = imported_key(endpoint, material)
    objects = Objects.make(endpoint, arn)
    kms(endpoint).delete_imported_key_material(KeyId=arn)
    objects.refused("KMS.KMSInvalidStateException", f"{arn} is pending import.")
    import_material(endpoint, arn, material)
    objects.allowed()


def test_a_key_that_was_never_given_material(endpoint: Endpoint) -> None:
    arn = new_kms_key(endpoint, Origin="EXTERNAL")
    bucket, key = bucket_of(endpoint), new_key()
    with refused(400, "KMS.KMSInvalidStateException", f"{arn} is pending import."):
        s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"x", **KMS, SSEKMSKeyId=arn)
    assert not exists(endpoint, bucket, key)


def test_a_rotated_key_opens_what_it_sealed_before(endpoint: Endpoint) -> None:
    arn = new_kms_key(endpoint)
    objects = Objects.make(endpoint, arn)
    for _ in range(2):
        kms(endpoint).rotate_key_on_demand(KeyId=arn)
    objects.allowed()


UNKNOWN = "01234567-89ab-4cde-8f01-23456789abcd"


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("fake-key-id", "Invalid keyId 'fake-key-id'"),
        (UNKNOWN, "Key 'arn:aws:kms:{region}:{account}:key/{unknown}' does not exist"),
        (
            "arn:aws:kms:{region}:{account}:key/{unknown}",
            "Key 'arn:aws:kms:{region}:{account}:key/{unknown}' does not exist",
        ),
        ("arn:aws:kms:us-west-2:{account}:key/{unknown}", "Invalid arn us-west-2"),
        ("alias/none", "Alias arn:aws:kms:{region}:{account}:alias/none is not found."),
        (
            "arn:aws:kms:{region}:{account}:alias/none",
            "Alias arn:aws:kms:{region}:{account}:alias/none is not found.",
        ),
    ],
)
def test_a_key_that_does_not_exist(endpoint: Endpoint, named: str, message: str) -> None:
    names = {"region": REGION, "account": endpoint.account, "unknown": UNKNOWN}
    client, bucket, key = s3(endpoint), bucket_of(endpoint), new_key()
    asked: dict[str, Any] = {**KMS, "SSEKMSKeyId": named.format(**names)}
    for size in (1, 2 * MIB):
        with refused(400, "KMS.NotFoundException", message.format(**names)):
            client.put_object(Bucket=bucket, Key=key, Body=body(size), **asked)
    with refused(400, "KMS.NotFoundException", message.format(**names)):
        client.create_multipart_upload(Bucket=bucket, Key=key, **asked)
    assert not exists(endpoint, bucket, key)


def test_a_key_of_another_account(endpoint: Endpoint) -> None:
    foreign = f"arn:aws:kms:{REGION}:999999999999:key/{UNKNOWN}"
    bucket, key = bucket_of(endpoint), new_key()
    with refused(403, "AccessDenied"):
        s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"x", **KMS, SSEKMSKeyId=foreign)
    assert not exists(endpoint, bucket, key)


@pytest.mark.parametrize(
    ("spec", "usage"),
    [("RSA_2048", "ENCRYPT_DECRYPT"), ("ECC_NIST_P256", "SIGN_VERIFY"), ("HMAC_256", "GENERATE_VERIFY_MAC")],
)
def test_a_key_for_something_else(endpoint: Endpoint, spec: str, usage: str) -> None:
    arn = new_kms_key(endpoint, KeySpec=spec, KeyUsage=usage)
    bucket, key = bucket_of(endpoint), new_key()
    with refused(400, "KMS.InvalidKeyUsageException"):
        s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"x", **KMS, SSEKMSKeyId=arn)
    assert not exists(endpoint, bucket, key)


# Rights.


def key_with(endpoint: Endpoint, **deny: Any) -> str:
    """A key whose policy allows everything but what is denied."""
    allow = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"}
    statements = [allow, {"Effect": "Deny", "Principal": {"AWS": "*"}, "Resource": "*", **deny}]
    return new_kms_key(endpoint, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))


@pytest.mark.parametrize("action", ["GenerateDataKey", "Decrypt"])
def test_a_key_policy_that_denies(endpoint: Endpoint, action: str) -> None:
    arn = key_with(endpoint, Action="kms:Nothing")
    objects = Objects.make(endpoint, arn)
    denying = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"},
            {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": f"kms:{action}", "Resource": "*"},
        ],
    }
    kms(endpoint).put_key_policy(KeyId=arn, Policy=json.dumps(denying))
    user = f"arn:aws:iam::{endpoint.account}:user/admin"
    message = (
        f"User: {user} is not authorized to perform: kms:{action} on resource: {arn} with an explicit deny in a "
        "resource-based policy"
    )
    for name, call in objects.calls().items():
        if name.startswith(("PutObject", "Create")) == (action == "GenerateDataKey"):
            with refused(403, "AccessDenied", message):
                call()
        else:
            answer = call()
            if "Body" in answer:
                answer["Body"].read()


def test_a_key_for_s3_alone(endpoint: Endpoint) -> None:
    """``kms:ViaService``: the objects open through S3, the data key that lies in the store does not by itself."""
    via = {"StringNotEquals": {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}}
    arn = key_with(endpoint, Action=["kms:Decrypt", "kms:GenerateDataKey"], Condition=via)
    Objects.make(endpoint, arn).allowed()
    with refused(400, "AccessDeniedException"):
        kms(endpoint).generate_data_key(KeyId=arn, KeySpec="AES_256")


def test_a_key_for_one_object(endpoint: Endpoint) -> None:
    bucket, key = bucket_of(endpoint), new_key()
    only = {"StringNotEquals": {"kms:EncryptionContext:aws:s3:arn": f"arn:aws:s3:::{bucket}/{key}"}}
    arn = key_with(endpoint, Action=["kms:Decrypt", "kms:GenerateDataKey"], Condition=only)
    client = s3(endpoint)
    client.put_object(Bucket=bucket, Key=key, Body=b"x", **KMS, SSEKMSKeyId=arn)
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == b"x"
    with refused(403, "AccessDenied"):
        client.put_object(Bucket=bucket, Key=f"{key}2", Body=b"x", **KMS, SSEKMSKeyId=arn)


def test_a_user_without_rights(endpoint: Endpoint) -> None:
    client, keys = s3(endpoint, "app"), kms(endpoint, "app")
    bucket, key = bucket_of(endpoint), new_key()
    s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"secret", **KMS)
    arn = new_kms_key(endpoint)
    user = f"arn:aws:iam::{endpoint.account}:user/app"
    where = {"Bucket": bucket, "Key": key}
    calls: dict[str, tuple[str, Callable[[], Any]]] = {
        "GetObject": (f"{bucket}/{key}", lambda: client.get_object(**where)),
        "PutObject": (f"{bucket}/{key}", lambda: client.put_object(**where, Body=b"x")),
        "DeleteObject": (f"{bucket}/{key}", lambda: client.delete_object(**where)),
        "ListBucket": (bucket, lambda: client.list_objects_v2(Bucket=bucket)),
        "DeleteBucket": (bucket, lambda: client.delete_bucket(Bucket=bucket)),
        "GetEncryptionConfiguration": (bucket, lambda: client.get_bucket_encryption(Bucket=bucket)),
        "PutEncryptionConfiguration": (bucket, lambda: client.delete_bucket_encryption(Bucket=bucket)),
        "CreateBucket": (
            f"{bucket}2",
            lambda: client.create_bucket(Bucket=f"{bucket}2", CreateBucketConfiguration={"LocationConstraint": REGION}),
        ),
        "ListAllMyBuckets": ("*", client.list_buckets),
    }
    for action, (resource, call) in calls.items():
        message = (
            f'User: {user} is not authorized to perform: s3:{action} on resource: "arn:aws:s3:::{resource}" because no '
            f"identity-based policy allows the s3:{action} action"
        )
        with refused(403, "AccessDenied", message):
            call()
    with refused(403, "403"):
        client.head_object(**where)
    for kms_call in (
        lambda: keys.describe_key(KeyId=arn),
        keys.create_key,
        keys.list_keys,
        lambda: keys.encrypt(KeyId=arn, Plaintext=b"x"),
        lambda: keys.generate_data_key(KeyId=arn, KeySpec="AES_256"),
        lambda: keys.disable_key(KeyId=arn),
        lambda: keys.schedule_key_deletion(KeyId=arn),
        lambda: keys.put_key_policy(KeyId=arn, Policy="{}"),
    ):
        with refused(400, "AccessDeniedException") as error:
            kms_call()
        assert error["Message"].startswith(f"User: {user} is not authorized to perform: kms:")
    identity = endpoint.client("sts", "app").get_caller_identity()
    assert (identity["Account"], identity["Arn"]) == (endpoint.account, user)
    assert s3(endpoint).get_object(**where)["Body"].read() == b"secret"


def test_who_the_cli_is(endpoint: Endpoint) -> None:
    for user in ("admin", "app"):
        told = endpoint.aws("sts", "get-caller-identity", "--query", "Arn", "--output", "text", user=user)
        assert told.stdout.decode().strip() == f"arn:aws:iam::{endpoint.account}:user/{user}", told.stderr


# Two workers.


def everything(wire: Wire, objects: Objects) -> dict[str, tuple[int, str | None]]:
    """Status and code of all that needs the key, over one connection."""
    path = f"/{objects.bucket}/{objects.prefix}"
    sse = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": objects.arn}
    part = [("partNumber", "1"), ("uploadId", objects.upload_id)]
    answers = {
        "put": wire.call("PUT", f"{path}/new", headers=sse, body=b"x"),
        "get": wire.call("GET", f"{path}/small"),
        "large": wire.call("GET", f"{path}/large"),
        "range": wire.call("GET", f"{path}/large", headers={"Range": "bytes=70000-70009"}),
        "bucket key": wire.call("GET", f"{path}/bucket-key"),
        "create": wire.call("POST", f"{path}/new2", [("uploads", "")], sse),
        "part": wire.call("PUT", f"{path}/upload", part, body=b"x"),
    }
    assert wire.call("HEAD", f"{path}/small").status == 200
    return {name: (answer.status, answer.code) for name, answer in answers.items()}


OPEN: dict[str, tuple[int, str | None]] = {
    **dict.fromkeys(("put", "get", "large", "bucket key", "create", "part"), (200, None)),
    "range": (206, None),
}


@pytest.mark.parametrize("what", ["disabled", "deleted material", "scheduled for deletion"])
def test_the_next_request_on_every_worker_is_refused(two_worker_endpoint: Endpoint, what: str) -> None:
    """Over connections that were open before, each to one worker, and over new ones to both."""
    endpoint = two_worker_endpoint
    material = os.urandom(32)
    arn = imported_key(endpoint, material) if what == "deleted material" else new_kms_key(endpoint)
    objects = Objects.make(endpoint, arn)
    kept = dict(wires_to_all_workers(endpoint, f"/{objects.bucket}/{objects.prefix}/small", 2))
    assert sorted(kept) == ["worker-1", "worker-2"]
    for by, wire in kept.items():
        for each in kept.values():
            assert everything(each, objects) == OPEN
        if what == "disabled":
            code = "KMS.DisabledException"
            closed = wire.kms("DisableKey", KeyId=arn)
        elif what == "deleted material":
            code = "KMS.KMSInvalidStateException"
            closed = wire.kms("DeleteImportedKeyMaterial", KeyId=arn)
        else:
            code = "KMS.KMSInvalidStateException"
            closed = wire.kms("ScheduleKeyDeletion", KeyId=arn)
        assert closed.status == 200, closed.body
        # The other worker is asked first.
        for name in sorted(kept, key=lambda name: name == by):
            assert everything(kept[name], objects) == dict.fromkeys(OPEN, (400, code)), (by, name)
        fresh = dict(wires_to_all_workers(endpoint, f"/{objects.bucket}/{objects.prefix}/small", 2))
        for name, new in fresh.items():
            assert everything(new, objects) == dict.fromkeys(OPEN, (400, code)), (by, name)
            new.close()
        if what == "disabled":
            assert wire.kms("EnableKey", KeyId=arn).status == 200
        elif what == "deleted material":
            import_material(endpoint, arn, material)
        else:
            assert wire.kms("CancelKeyDeletion", KeyId=arn).status == 200
            assert wire.kms("EnableKey", KeyId=arn).status == 200
        assert wire.opened == 1
    for each in kept.values():
        assert everything(each, objects) == OPEN
        each.close()


def test_a_rule_set_with_one_worker_is_known_to_the_other(two_worker_endpoint: Endpoint) -> None:
    endpoint = two_worker_endpoint
    bucket = new_bucket(endpoint)
    s3(endpoint).put_object(Bucket=bucket, Key="there", Body=b"x")
    wires = dict(wires_to_all_workers(endpoint, f"/{bucket}/there", 2))
    for round_number, (by, wire) in enumerate(wires.items()):
        arn = new_kms_key(endpoint)
        document = (
            "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms"
            f"</SSEAlgorithm><KMSMasterKeyID>{arn}</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule>"
            "</ServerSideEncryptionConfiguration>"
        ).encode()
        assert wire.call("PUT", f"/{bucket}", [("encryption", "")], body=document).status == 200
        for name, each in wires.items():
            put = each.call("PUT", f"/{bucket}/{round_number}-{name}", body=b"x")
            assert put.headers["x-amz-server-side-encryption-aws-kms-key-id"] == arn, (by, name)
    for each in wires.values():
        each.close()


# Bring your own key.


def test_the_journey_of_a_bucket_whose_owner_brings_keys(any_endpoint: Endpoint) -> None:
    endpoint, client, keys = any_endpoint, s3(any_endpoint), kms(any_endpoint)
    material = os.urandom(32)
    one = new_kms_key(endpoint, Origin="EXTERNAL", Description="imported_key")
    assert keys.describe_key(KeyId=one)["KeyMetadata"]["KeyState"] == "PendingImport"
    import_material(endpoint, one, material)
    described = keys.describe_key(KeyId=one)["KeyMetadata"]
    assert (described["KeyState"], described["Origin"]) == ("Enabled", "EXTERNAL")
    alias = f"alias/{new_key().replace('/', '-')}"
    keys.create_alias(AliasName=alias, TargetKeyId=one)
    bucket = new_bucket(endpoint, "aws:kms", key_id(one))
    for name in ("rewritten", "left"):
        client.put_object(Bucket=bucket, Key=name, Body=name.encode())
    assert client.head_object(Bucket=bucket, Key="left")["SSEKMSKeyId"] == one

    two = imported_key(endpoint)
    set_rule(endpoint, bucket, "aws:kms", key_id(two))
    assert client.head_object(Bucket=bucket, Key="left")["SSEKMSKeyId"] == one
    data = client.get_object(Bucket=bucket, Key="rewritten")["Body"].read()
    client.put_object(Bucket=bucket, Key="rewritten", Body=data)
    assert client.head_object(Bucket=bucket, Key="rewritten")["SSEKMSKeyId"] == two

    keys.disable_key(KeyId=one)
    assert client.get_object(Bucket=bucket, Key="rewritten")["Body"].read() == b"rewritten"
    with refused(400, "KMS.DisabledException", f"{one} is disabled."):
        client.get_object(Bucket=bucket, Key="left")
    down = endpoint.aws("s3api", "get-object", "--bucket", bucket, "--key", "left", os.devnull)
    assert down.returncode != 0
    assert f"An error occurred (KMS.DisabledException) when calling the GetObject operation: {one} is disabled." in (
        down.stderr.decode()
    )
    keys.enable_key(KeyId=one)
    assert client.get_object(Bucket=bucket, Key="left")["Body"].read() == b"left"

    keys.delete_imported_key_material(KeyId=one)
    assert keys.describe_key(KeyId=one)["KeyMetadata"]["KeyState"] == "PendingImport"
    with refused(400, "KMS.KMSInvalidStateException", f"{one} is pending import."):
        client.get_object(Bucket=bucket, Key="left")
    with refused(400, "IncorrectKeyMaterialException"):
        import_material(endpoint, one, os.urandom(32))
    import_material(endpoint, one, material)
    assert client.get_object(Bucket=bucket, Key="left")["Body"].read() == b"left"
