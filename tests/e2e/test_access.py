"""Bucket policies, PublicAccessBlock, ACLs, CORS, requests that nobody has signed, and users with credentials of their
own at the store: two workers in front of each store, whose other users are there, too."""

import contextlib
import http.client
import json
import secrets
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config as ClientConfig
from minio import MinioAdmin
from minio.credentials import StaticProvider

from proxy.embedded_store import EmbeddedStore, StoreFolder
from proxy.processes import StopSignal
from tests.e2e.samples import body, keys_in, kms, new_bucket, new_key, new_kms_key, refused, s3
from tests.e2e.stores import REGION, Endpoint, Endpoints, Serve, Store, wait_for

OTHER_ACCOUNT = "999900001111"
KEYS = {
    name: (f"AKIA{name.upper():X<16}", f"secret-of-{name}-" + "x" * 20)
    for name in ("outsider", "bare", "root", "reader")
}
READER_AT_STORE = ("storereader", secrets.token_hex(20))
S3_AND_KMS = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": ["s3:*", "kms:*"], "Resource": "*"}}'
ROW = 'name = "{0}"\naccount = "{1}"\naccess_key_id = "{2[0]}"\nsecret_access_key = "{2[1]}"\n'
MAPPED = f'upstream_access_key_id = "{READER_AT_STORE[0]}"\nupstream_secret_access_key = "{READER_AT_STORE[1]}"\n'


class WithUsers(Serve):
    """An endpoint with users of another account, the root user of its own, and one who is a reader at the store."""

    sign_anonymous = False

    def configure(self) -> dict[str, str]:
        variables = super().configure()
        account = variables["AWS_ACCOUNT_ID"]
        others = [
            ("outsider", OTHER_ACCOUNT, f"policies = ['{S3_AND_KMS}']\n"),
            ("bare", OTHER_ACCOUNT, ""),
            ("root", account, f'arn = "arn:aws:iam::{account}:root"\n'),
            ("reader", account, f"administrator = true\n{MAPPED}"),
        ]
        rows = [f"\n[[users]]\n{ROW.format(name, owner, KEYS[name])}{more}" for name, owner, more in others]
        text = self.config.read_text(encoding="utf-8")
        if self.sign_anonymous:
            text = text.replace("[upstream]\n", "[upstream]\nsign_anonymous = true\n")
        self.config.write_text(text + "".join(rows), encoding="utf-8")
        return variables


class PolicyDecides(WithUsers):
    """With the bucket policy alone to decide for whoever has not signed."""

    sign_anonymous = True


class OpenStore(EmbeddedStore):
    """A SeaweedFS with a reader, and with everything to read for whoever has not signed."""

    def _prepare(self) -> None:
        super()._prepare()
        file = self._folder.identities
        known = json.loads(file.read_text(encoding="ascii"))
        reader = {"accessKey": READER_AT_STORE[0], "secretKey": READER_AT_STORE[1]}
        known["identities"] += [
            {"name": "reader", "credentials": [reader], "actions": ["Read", "List"]},
            {"name": "anonymous", "actions": ["Read", "Write"]},
        ]
        file.write_text(json.dumps(known), encoding="ascii")


@contextlib.contextmanager
def open_seaweedfs(folder: Path) -> Iterator[Store]:
    own = Store("seaweedfs", "", "seaweedproxy", secrets.token_hex(20))
    store = OpenStore(StoreFolder(folder), own.access_key_id, own.secret_access_key)
    with StopSignal() as stop:
        assert store.start(stop)
    try:
        yield Store("seaweedfs", store.url, own.access_key_id, own.secret_access_key)
    finally:
        store.stop()


def with_reader(store: Store) -> Store:
    """A MinIO, with the reader among its users."""
    admin = MinioAdmin(
        endpoint=store.url.removeprefix("http://"),
        credentials=StaticProvider(store.access_key_id, store.secret_access_key),
        secure=False,
    )
    admin.user_add(*READER_AT_STORE)
    admin.attach_policy(["readonly"], user=READER_AT_STORE[0])
    return store


@dataclass
class Access:
    """An endpoint, its configuration, and the clients of its users."""

    endpoint: Endpoint
    serve: Serve

    def client(self, name: str) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint.url,
            region_name=REGION,
            aws_access_key_id=KEYS[name][0],
            aws_secret_access_key=KEYS[name][1],
            config=ClientConfig(retries={"total_max_attempts": 1}),
        )

    def unsigned(self, method: str, path: str, content: bytes = b"", **headers: str) -> tuple[int, Any, bytes]:
        """Status, headers and body of the answer to a request that nobody has signed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.endpoint.port, timeout=60)
        with closing(connection):
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, content or None, fields)
            response = connection.getresponse()
            return response.status, response.headers, response.read()


@pytest.fixture(scope="module")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_seaweedfs(tmp_path_factory.mktemp("access") / "store") as store:
        yield store


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Access]]:
    with contextlib.ExitStack() as stack:
        made: dict[str, Access] = {}
        yield made
        for access in made.values():
            stack.callback(access.serve.close)


@pytest.fixture
def access(
    request: pytest.FixtureRequest,
    endpoints: Endpoints,
    store_name: str,
    started: dict[str, Access],
    tmp_path_factory: pytest.TempPathFactory,
) -> Access:
    if store_name not in started:
        store = with_reader(endpoints.minio()) if store_name == "minio" else request.getfixturevalue("seaweedfs")
        serve = WithUsers(tmp_path_factory.mktemp("access") / store_name, store, workers=2)
        started[store_name] = Access(serve.start(), serve)
    return started[store_name]


@pytest.fixture
def bucket(access: Access) -> str:
    return new_bucket(access.endpoint)


def user(access: Access, name: str) -> str:
    return f"arn:aws:iam::{access.endpoint.account}:user/{name}"


def policy(bucket: str, *statements: dict[str, Any]) -> str:
    arn = f"arn:aws:s3:::{bucket}"
    filled = [{"Effect": "Allow", "Resource": [arn, f"{arn}/*"], **statement} for statement in statements]
    return json.dumps({"Version": "2012-10-17", "Statement": filled})


def set_policy(access: Access, bucket: str, *statements: dict[str, Any]) -> None:
    s3(access.endpoint).put_bucket_policy(Bucket=bucket, Policy=policy(bucket, *statements))


def open_to_the_public(access: Access, bucket: str, *actions: str) -> None:
    s3(access.endpoint).delete_public_access_block(Bucket=bucket)
    set_policy(access, bucket, {"Principal": "*", "Action": list(actions) or ["s3:GetObject", "s3:ListBucket"]})
    if access.endpoint.store.name == "minio":
        text = policy(
            bucket, {"Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject", "s3:ListBucket", "s3:PutObject"]}
        )
        access.endpoint.store.client().put_bucket_policy(Bucket=bucket, Policy=text)


def put(access: Access, bucket: str, key: str | None = None, content: bytes = b"mine", **settings: Any) -> str:
    key = key or new_key()
    s3(access.endpoint).put_object(Bucket=bucket, Key=key, Body=content, **settings)
    return key


def read(client: Any, bucket: str, key: str, **settings: Any) -> bytes:
    return bytes(client.get_object(Bucket=bucket, Key=key, **settings)["Body"].read())


def test_policies_and_what_blocks_public_ones(access: Access, bucket: str) -> None:
    client = s3(access.endpoint)
    given = policy(bucket, {"Principal": {"AWS": OTHER_ACCOUNT}, "Action": "s3:*"})
    public = policy(bucket, {"Principal": "*", "Action": "s3:*"})
    with refused(404, "NoSuchBucketPolicy"):
        client.get_bucket_policy(Bucket=bucket)
    client.put_bucket_policy(Bucket=bucket, Policy=given)
    assert client.get_bucket_policy(Bucket=bucket)["Policy"] == given
    assert client.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"] == {"IsPublic": False}
    with refused(403, "AccessDenied") as error:
        client.put_bucket_policy(Bucket=bucket, Policy=public)
    assert "prevented by the BlockPublicPolicy setting" in error["Message"]
    assert all(client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    only_restricted = {"RestrictPublicBuckets": True}
    client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=only_restricted)
    client.put_bucket_policy(Bucket=bucket, Policy=public)
    assert client.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"] == {"IsPublic": True}
    with refused(400, "MalformedPolicy"):
        client.put_bucket_policy(Bucket=bucket, Policy="{}")
    client.delete_public_access_block(Bucket=bucket)
    with refused(404, "NoSuchPublicAccessBlockConfiguration"):
        client.get_public_access_block(Bucket=bucket)
    client.delete_bucket_policy(Bucket=bucket)
    with refused(404, "NoSuchBucketPolicy"):
        client.get_bucket_policy(Bucket=bucket)
    # The store has never heard of any of it.
    with refused(404, "NoSuchBucketPolicy"):
        access.endpoint.store.client().get_bucket_policy(Bucket=bucket)


def test_the_cli_sets_a_policy(access: Access, bucket: str) -> None:
    given = policy(bucket, {"Principal": {"AWS": OTHER_ACCOUNT}, "Action": "s3:*"})
    done = access.endpoint.aws("s3api", "put-bucket-policy", "--bucket", bucket, "--policy", given)
    assert done.returncode == 0, done.stderr
    assert s3(access.endpoint).get_bucket_policy(Bucket=bucket)["Policy"] == given
    failed = access.endpoint.aws("s3api", "put-bucket-acl", "--bucket", bucket, "--acl", "public-read")
    assert b"(AccessControlListNotSupported)" in failed.stderr


def test_another_account_needs_both_sides(access: Access, bucket: str) -> None:
    key, outsider, bare = put(access, bucket), access.client("outsider"), access.client("bare")
    with refused(403, "AccessDenied", "Access Denied"):
        read(outsider, bucket, key)
    set_policy(access, bucket, {"Principal": {"AWS": OTHER_ACCOUNT}, "Action": ["s3:GetObject", "s3:ListBucket"]})
    for _ in range(6):  # whichever worker answers
        assert read(outsider, bucket, key) == b"mine"
        with refused(403, "AccessDenied", "Access Denied"):
            read(bare, bucket, key)
    assert [row["Key"] for row in outsider.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    for call in (
        lambda: outsider.put_object(Bucket=bucket, Key=key, Body=b"theirs"),
        lambda: outsider.delete_object(Bucket=bucket, Key=key),
        lambda: outsider.get_bucket_location(Bucket=bucket),
    ):
        with refused(403, "AccessDenied", "Access Denied"):
            call()
    # What there is not is told to those who may list, and to no others.
    with refused(404, "NoSuchKey"):
        read(outsider, bucket, "none")
    set_policy(access, bucket, {"Principal": {"AWS": OTHER_ACCOUNT}, "Action": "s3:GetObject"} | only_objects(bucket))
    with refused(403, "AccessDenied"):
        read(outsider, bucket, "none")
    assert read(outsider, bucket, key) == b"mine"
    with refused(405, "MethodNotAllowed"):
        set_policy(access, bucket, {"Principal": {"AWS": OTHER_ACCOUNT}, "Action": "s3:*"})
        outsider.get_bucket_policy(Bucket=bucket)
    s3(access.endpoint).delete_bucket_policy(Bucket=bucket)
    with refused(403, "AccessDenied"):
        read(outsider, bucket, key)


def test_another_account_needs_the_keys_policy_too(access: Access, bucket: str) -> None:
    outsider, key_arn = access.client("outsider"), new_kms_key(access.endpoint)
    key = put(access, bucket, ServerSideEncryption="aws:kms", SSEKMSKeyId=key_arn)
    set_policy(access, bucket, {"Principal": {"AWS": OTHER_ACCOUNT}, "Action": "s3:*"})
    with refused(403, "AccessDenied") as error:
        read(outsider, bucket, key)
    assert error["Message"].startswith("The ciphertext refers to a customer master key that does not exist")
    account = {"Effect": "Allow", "Principal": {"AWS": access.endpoint.account}, "Action": "kms:*", "Resource": "*"}
    theirs = {**account, "Principal": {"AWS": OTHER_ACCOUNT}, "Action": ["kms:Decrypt", "kms:GenerateDataKey"]}
    both = json.dumps({"Version": "2012-10-17", "Statement": [account, theirs]})
    kms(access.endpoint).put_key_policy(KeyId=key_arn, Policy=both)
    assert read(outsider, bucket, key) == b"mine"
    # What they put is the bucket's owner's.
    outsider.put_object(Bucket=bucket, Key="theirs", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=key_arn)
    assert read(s3(access.endpoint), bucket, "theirs") == b"x"


def test_a_copy_asks_the_policies_of_both_buckets(access: Access, bucket: str) -> None:
    outsider, other = access.client("outsider"), f"own-{secrets.token_hex(10)}"
    outsider.create_bucket(Bucket=other, CreateBucketConfiguration={"LocationConstraint": REGION})
    key = put(access, bucket)
    source = {"Bucket": bucket, "Key": key}

    def copy() -> None:
        outsider.copy_object(Bucket=other, Key="copy", CopySource=source)

    with refused(403, "AccessDenied"):
        copy()
    set_policy(access, bucket, {"Principal": {"AWS": OTHER_ACCOUNT}, "Action": "s3:GetObject"} | only_objects(bucket))
    copy()
    assert read(outsider, other, "copy") == b"mine"
    with refused(403, "AccessDenied"):
        read(s3(access.endpoint), other, "copy")
    set_policy(access, bucket, {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject"} | only_objects(bucket))
    with refused(403, "AccessDenied"):
        copy()
    with refused(403, "AccessDenied"):
        outsider.copy_object(Bucket=other, Key="copy", CopySource=source, ExpectedSourceBucketOwner=OTHER_ACCOUNT)
    # Not allowed to write there: an object of one's own does not help.
    with refused(403, "AccessDenied"):
        s3(access.endpoint).copy_object(Bucket=other, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    outsider.delete_object(Bucket=other, Key="copy")
    outsider.delete_bucket(Bucket=other)


def only_objects(bucket: str) -> dict[str, Any]:
    return {"Resource": f"arn:aws:s3:::{bucket}/*"}


def test_a_deny_wins_also_for_each_object_of_many(access: Access, bucket: str) -> None:
    client = s3(access.endpoint)
    keys = [put(access, bucket, name) for name in ("kept/1", "kept/2", "gone/1")]
    deny = {
        "Effect": "Deny",
        "Principal": {"AWS": user(access, "admin")},
        "Action": ["s3:DeleteObject", "s3:GetObject"],
    }
    set_policy(access, bucket, deny | {"Resource": f"arn:aws:s3:::{bucket}/kept/*"})
    reason = "with an explicit deny in a resource-based policy"
    with refused(403, "AccessDenied") as error:
        client.delete_object(Bucket=bucket, Key="kept/1")
    assert error["Message"].endswith(f'on resource: "arn:aws:s3:::{bucket}/kept/1" {reason}')
    with refused(403, "AccessDenied"):
        read(client, bucket, "kept/2")
    with refused(403, "403"):
        client.head_object(Bucket=bucket, Key="kept/2")
    outcome = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
    assert [row["Key"] for row in outcome["Deleted"]] == ["gone/1"]
    assert {(row["Key"], row["Code"]) for row in outcome["Errors"]} == {
        ("kept/1", "AccessDenied"),
        ("kept/2", "AccessDenied"),
    }
    assert keys_in(access.endpoint, bucket) == ["kept/1", "kept/2"]


def test_a_bucket_that_takes_nothing_but_one_kms_key(access: Access, bucket: str) -> None:
    """The documented policy, on what the request says, not on what the bucket does by default."""
    client, key_arn = s3(access.endpoint), new_kms_key(access.endpoint)
    base = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", **only_objects(bucket)}
    other_key = {"StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": key_arn}}
    no_kms = {"StringNotEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}}
    set_policy(access, bucket, base | {"Condition": no_kms}, base | {"Condition": other_key})
    for settings in ({}, {"ServerSideEncryption": "AES256"}, {"ServerSideEncryption": "aws:kms"}):
        with refused(403, "AccessDenied"):
            put(access, bucket, **settings)
        with refused(403, "AccessDenied"):
            client.create_multipart_upload(Bucket=bucket, Key="k", **settings)
    key = put(access, bucket, ServerSideEncryption="aws:kms", SSEKMSKeyId=key_arn)
    assert read(client, bucket, key) == b"mine"


def test_conditions_of_the_connection_and_the_listing(access: Access, bucket: str) -> None:
    outsider = access.client("outsider")
    put(access, bucket, "open/1")
    principal = {"Principal": {"AWS": OTHER_ACCOUNT}, "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}"}
    set_policy(access, bucket, principal | {"Condition": {"StringLike": {"s3:prefix": "open/*"}}})
    assert outsider.list_objects_v2(Bucket=bucket, Prefix="open/")["KeyCount"] == 1
    with refused(403, "AccessDenied"):
        outsider.list_objects_v2(Bucket=bucket)
    set_policy(access, bucket, principal | {"Condition": {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}})
    assert outsider.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    set_policy(access, bucket, principal | {"Condition": {"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}}})
    with refused(403, "AccessDenied"):
        outsider.list_objects_v2(Bucket=bucket)
    plain = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Condition": {"Bool": {"aws:SecureTransport": False}},
    }
    set_policy(access, bucket, plain)
    with refused(403, "AccessDenied"):
        put(access, bucket)
    access.client("root").delete_bucket_policy(Bucket=bucket)


def test_the_version_of_tls(tls_endpoint: Endpoint) -> None:
    client, own = s3(tls_endpoint), new_bucket(tls_endpoint)
    client.put_object(Bucket=own, Key="k", Body=b"mine")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", **only_objects(own)}
    for least, is_enough in (("1.2", True), ("1.4", False)):
        condition = {"NumericLessThan": {"s3:TlsVersion": least}}
        client.put_bucket_policy(Bucket=own, Policy=policy(own, deny | {"Condition": condition}))
        if is_enough:
            assert read(client, own, "k") == b"mine"
        else:
            with refused(403, "AccessDenied"):
                read(client, own, "k")


def test_tags_that_an_object_has(access: Access, bucket: str) -> None:
    client, outsider = s3(access.endpoint), access.client("outsider")
    opened, closed = put(access, bucket, Tagging="access=open"), put(access, bucket)
    condition = {"StringEquals": {"s3:ExistingObjectTag/access": "open"}}
    to_them = {"Principal": {"AWS": OTHER_ACCOUNT}, "Action": "s3:GetObject", "Condition": condition}
    set_policy(access, bucket, to_them | only_objects(bucket))
    assert read(outsider, bucket, opened) == b"mine"
    assert outsider.head_object(Bucket=bucket, Key=opened)["ContentLength"] == 4
    for key in (closed, "none"):
        with refused(403, "AccessDenied"):
            read(outsider, bucket, key)
    client.put_object_tagging(Bucket=bucket, Key=closed, Tagging={"TagSet": [{"Key": "access", "Value": "open"}]})
    client.delete_object_tagging(Bucket=bucket, Key=opened)
    assert read(outsider, bucket, closed) == b"mine"
    with refused(403, "AccessDenied"):
        read(outsider, bucket, opened)


def test_the_root_user_is_never_locked_out(access: Access, bucket: str) -> None:
    client, root = s3(access.endpoint), access.client("root")
    client.delete_public_access_block(Bucket=bucket)
    client.put_bucket_policy(
        Bucket=bucket,
        Policy=policy(bucket, {"Effect": "Deny", "Principal": "*", "Action": "s3:*"}),
        ConfirmRemoveSelfBucketAccess=True,
    )
    for denied in (client, root):
        with refused(403, "AccessDenied"):
            denied.list_objects_v2(Bucket=bucket)
    with refused(403, "AccessDenied"):
        client.delete_bucket_policy(Bucket=bucket)
    assert '"Deny"' in root.get_bucket_policy(Bucket=bucket)["Policy"]
    root.delete_bucket_policy(Bucket=bucket)
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_whoever_has_not_signed_is_let_in_by_policy_and_store(access: Access, bucket: str) -> None:
    large = body(300_000)
    key, hidden = put(access, bucket, content=large), put(access, bucket, ServerSideEncryption="aws:kms")
    path = f"/{bucket}/{key}"
    for denied in (f"/{bucket}", path, f"/{bucket}/none", "/"):
        status, _, answer = access.unsigned("GET", denied)
        assert status == 403
        assert b"<Code>AccessDenied</Code><Message>Access Denied</Message>" in answer
    open_to_the_public(access, bucket)
    for _ in range(4):
        status, headers, answer = access.unsigned("GET", path)
        assert (status, headers["x-amz-server-side-encryption"]) == (200, "AES256")
        assert answer == large
    status, headers, answer = access.unsigned("GET", path, Range="bytes=100000-100009")
    assert (status, answer) == (206, large[100_000:100_010])
    assert access.unsigned("HEAD", path)[0] == 200
    for method in ("GET", "HEAD"):
        status, _, answer = access.unsigned(method, f"/{bucket}/{hidden}")
        assert status == 400
        assert method == "HEAD" or b"require AWS Signature Version 4." in answer
    status, _, answer = access.unsigned("GET", f"{path}?response-content-type=text/html")
    assert (status, b"cannot be used for anonymous GET requests." in answer) == (400, True)
    status, _, answer = access.unsigned("PUT", path, b"not mine")
    assert status == 403
    status, _, answer = access.unsigned("DELETE", path)
    assert status == 403
    assert read(s3(access.endpoint), bucket, key) == large
    assert read(access.client("outsider"), bucket, key) == large
    s3(access.endpoint).put_public_access_block(
        Bucket=bucket, PublicAccessBlockConfiguration={"RestrictPublicBuckets": True}
    )
    assert access.unsigned("GET", path)[0] == 403
    with refused(403, "AccessDenied"):
        read(access.client("outsider"), bucket, key)
    assert read(s3(access.endpoint), bucket, key) == large


def test_whoever_has_not_signed_writes_encrypted_too(access: Access, bucket: str) -> None:
    open_to_the_public(access, bucket, "s3:PutObject", "s3:GetObject")
    for content in (b"short", body(1_500_000)):
        status, headers, answer = access.unsigned("PUT", f"/{bucket}/k", content)
        assert (status, headers["x-amz-server-side-encryption"]) == (200, "AES256"), answer
        assert read(s3(access.endpoint), bucket, "k") == content
        assert content[:20] not in read(access.endpoint.store.client(), bucket, "k")
    status, _, answer = access.unsigned("PUT", f"/{bucket}/k", b"x", x_amz_server_side_encryption="aws:kms")
    assert (status, b"<Code>InvalidArgument</Code>" in answer) == (400, True)
    status, _, answer = access.unsigned("PUT", f"/{bucket}/k", b"x", x_amz_content_sha256="0" * 64)
    assert (status, b"XAmzContentSHA256Mismatch" in answer) == (400, True)
    assert len(read(s3(access.endpoint), bucket, "k")) == 1_500_000


def test_nobody_signs_for_the_key_service(access: Access) -> None:
    for headers, more in (({"X_Amz_Target": "TrentService.ListKeys"}, "/"), ({}, "/?Action=GetCallerIdentity")):
        status, _, answer = access.unsigned("POST", more, b"{}", **headers)
        assert status in (400, 403)
        assert b"MissingAuthenticationToken" in answer
    status, _, answer = access.unsigned("GET", "/", Authorization="AWS AKIDEXAMPLE:c2lnbmF0dXJl")
    assert (status, b"Please use AWS4-HMAC-SHA256" in answer) == (400, True)


def test_a_user_with_credentials_of_their_own_at_the_store(access: Access, bucket: str) -> None:
    """An administrator here, a reader there."""
    content = body(200_000)
    key, reader = put(access, bucket, content=content), access.client("reader")
    assert read(reader, bucket, key) == content
    assert read(reader, bucket, key, Range="bytes=5-9") == content[5:10]
    assert reader.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(content)
    if access.endpoint.store.name == "seaweedfs":
        assert reader.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    for call in (
        lambda: reader.put_object(Bucket=bucket, Key=key, Body=b"theirs"),
        lambda: reader.put_object(Bucket=bucket, Key=key, Body=body(2_000_000)),
        lambda: reader.delete_object(Bucket=bucket, Key=key),
        lambda: reader.create_multipart_upload(Bucket=bucket, Key=key),
    ):
        with refused(403, "AccessDenied"):
            call()
    assert read(s3(access.endpoint), bucket, key) == content
    log = access.endpoint.program.output()
    assert READER_AT_STORE[1] not in log
    assert KEYS["reader"][1] not in log


def test_credentials_at_the_store_are_taken_in_anew(access: Access, bucket: str) -> None:
    reader = access.client("reader")
    text = access.serve.config.read_text(encoding="utf-8")
    with refused(403, "AccessDenied"):
        reader.put_object(Bucket=bucket, Key="k", Body=b"x")

    def reload(changed: str, said: int) -> None:
        access.serve.config.write_text(changed, encoding="utf-8")
        access.endpoint.program.process.send_signal(signal.SIGHUP)
        wait_for(lambda: access.endpoint.program.output().count("reloaded") >= said, "three processes have read it")

    reload(text.replace(MAPPED, ""), 3)
    for _ in range(6):
        reader.put_object(Bucket=bucket, Key="k", Body=b"x")
    reload(text, 6)
    with refused(403, "AccessDenied"):
        reader.put_object(Bucket=bucket, Key="k", Body=b"y")
    assert read(reader, bucket, "k") == b"x"


def test_acls_are_the_owners(access: Access, bucket: str) -> None:
    client = s3(access.endpoint)
    key = put(access, bucket, ACL="bucket-owner-full-control")
    owner = client.list_buckets()["Owner"]["ID"]
    for acl in (client.get_bucket_acl(Bucket=bucket), client.get_object_acl(Bucket=bucket, Key=key)):
        assert acl["Owner"]["ID"] == owner
        (grant,) = acl["Grants"]
        assert grant == {"Grantee": {"ID": owner, "Type": "CanonicalUser"}, "Permission": "FULL_CONTROL"}
        client.put_object_acl(
            Bucket=bucket, Key=key, AccessControlPolicy={"Owner": acl["Owner"], "Grants": acl["Grants"]}
        )
    client.put_bucket_acl(Bucket=bucket, ACL="private")
    for call in (
        lambda: client.put_bucket_acl(Bucket=bucket, ACL="public-read"),
        lambda: client.put_object_acl(Bucket=bucket, Key=key, ACL="public-read"),
        lambda: client.put_object(Bucket=bucket, Key=key, Body=b"x", ACL="public-read"),
        lambda: client.put_object(Bucket=bucket, Key=key, Body=b"x", GrantRead=f'id="{owner}"'),
        lambda: client.create_multipart_upload(Bucket=bucket, Key=key, ACL="aws-exec-read"),
    ):
        with refused(400, "AccessControlListNotSupported", "The bucket does not allow ACLs"):
            call()
    with refused(404, "NoSuchKey"):
        client.get_object_acl(Bucket=bucket, Key="none")
    rules = client.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    client.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": rules})
    with refused(501, "NotImplemented"):
        client.put_bucket_ownership_controls(
            Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
        )
    assert read(client, bucket, key) == b"mine"


def test_a_page_of_another_origin(access: Access, bucket: str) -> None:
    client, page = s3(access.endpoint), "https://app.example.com"
    asked = {"Origin": page, "Access_Control_Request_Method": "PUT", "Access_Control_Request_Headers": "X-Amz-Date"}
    status, _, answer = access.unsigned("OPTIONS", f"/{bucket}/k", **asked)
    assert (status, b"CORSResponse: CORS is not enabled for this bucket." in answer) == (403, True)
    with refused(404, "NoSuchCORSConfiguration"):
        client.get_bucket_cors(Bucket=bucket)
    rules = [
        {
            "ID": "pages",
            "AllowedOrigins": ["https://*.example.com"],
            "AllowedMethods": ["GET", "PUT"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["ETag"],
            "MaxAgeSeconds": 600,
        }
    ]
    client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
    assert client.get_bucket_cors(Bucket=bucket)["CORSRules"] == rules
    for _ in range(4):
        status, headers, _ = access.unsigned("OPTIONS", f"/{bucket}/k", **asked)
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, page)
        assert (headers["Access-Control-Allow-Headers"], headers["Access-Control-Max-Age"]) == ("x-amz-date", "600")
    put(access, bucket, "k")
    presigning = access.endpoint.client("s3", signature_version="s3v4")
    url = presigning.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    path = url.partition(f":{access.endpoint.port}")[2]
    status, headers, answer = access.unsigned("GET", path, Origin=page)
    assert (status, answer) == (200, b"mine")
    assert headers["Access-Control-Allow-Origin"] == page
    assert headers["Access-Control-Expose-Headers"] == "ETag"
    assert "Access-Control-Allow-Origin" not in access.unsigned("GET", path, Origin="https://elsewhere")[1]
    assert "Access-Control-Allow-Origin" in access.unsigned("GET", f"/{bucket}/k", Origin=page)[1]
    client.delete_bucket_cors(Bucket=bucket)
    assert access.unsigned("OPTIONS", f"/{bucket}/k", **asked)[0] == 403


def test_the_requester_says_who_pays(access: Access, bucket: str) -> None:
    """The owner pays here, so that there is nothing to be charged."""
    key = put(access, bucket, RequestPayer="requester")
    answer = s3(access.endpoint).get_object(Bucket=bucket, Key=key, RequestPayer="requester")
    assert (answer["Body"].read(), answer.get("RequestCharged")) == (b"mine", None)


def test_the_bucket_policy_alone_may_decide(
    endpoints: Endpoints, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """In front of a store that lets nobody in who has not signed."""
    store = endpoints.get("seaweedfs").store
    with closing(PolicyDecides(tmp_path / "proxy", store)) as serve:
        access = Access(serve.start(), serve)
        bucket = new_bucket(access.endpoint)
        key = put(access, bucket)
        path = f"/{bucket}/{key}"
        assert access.unsigned("GET", path)[0] == 403
        s3(access.endpoint).delete_public_access_block(Bucket=bucket)
        set_policy(access, bucket, {"Principal": "*", "Action": "s3:GetObject"} | only_objects(bucket))
        assert access.unsigned("GET", path)[2] == b"mine"
        assert access.unsigned("PUT", path, b"theirs")[0] == 403
        hidden = put(access, bucket, ServerSideEncryption="aws:kms")
        assert access.unsigned("GET", f"/{bucket}/{hidden}")[0] == 400
        kms(access.endpoint).list_keys()
