"""Backup, restore and root key rotation of an endpoint that serves, and keys that are in AWS KMS."""

import asyncio
import base64
import contextlib
import os
import secrets
import sqlite3
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from proxy.kms import material, model, root_key_state
from proxy.kms.root_keys.file import LocalRootKey
from tests.e2e.stores import COMMAND, REGION, Dev, Endpoint, Program, Serve, wait_for

PART = 5 * 1024 * 1024


def command(*arguments: str | Path, env: dict[str, str] | None = None) -> tuple[int, str, list[str]]:
    """Runs ``sse-kms-proxy``: exit code, what it said, and its errors by line, but for the log's."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, env={**os.environ, **(env or {})}, check=False
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("sse-kms-proxy: ") or "Traceback" in line]
    return done.returncode, done.stdout, errors


def new_root_key(path: Path) -> LocalRootKey:
    key = secrets.token_bytes(32)
    path.touch(mode=0o600)
    path.write_bytes(base64.b64encode(key) + b"\n")
    return LocalRootKey(key, secrets.token_bytes)


@dataclass
class Contents:
    """Objects under several keys and modes, to be read again later."""

    endpoint: Endpoint
    bucket: str
    objects: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.s3, self.kms = self.endpoint.client("s3"), self.endpoint.client("kms")
        self.s3.create_bucket(Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": REGION})

    def key(self) -> str:
        return str(self.kms.create_key()["KeyMetadata"]["KeyId"])

    def put(self, name: str, body: bytes, **how: Any) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=name, Body=body, **how)
        self.objects[name] = body

    def put_in_parts(self, name: str, key_id: str) -> None:
        made = self.s3.create_multipart_upload(
            Bucket=self.bucket, Key=name, ServerSideEncryption="aws:kms", SSEKMSKeyId=key_id
        )
        where = {"Bucket": self.bucket, "Key": name, "UploadId": made["UploadId"]}
        bodies = [b"a" * PART, b"b" * 100]
        parts = [
            {"PartNumber": number, "ETag": self.s3.upload_part(**where, PartNumber=number, Body=body)["ETag"]}
            for number, body in enumerate(bodies, 1)
        ]
        self.s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
        self.objects[name] = b"".join(bodies)

    def fill(self) -> None:
        """SSE-KMS under two keys, one of them rotated; with a bucket key; SSE-S3; the AWS managed key; multipart."""
        first, second = self.key(), self.key()
        kms = {"ServerSideEncryption": "aws:kms"}
        self.put("first", b"1" * 1000, **kms, SSEKMSKeyId=first)
        self.kms.rotate_key_on_demand(KeyId=first)
        self.put("rotated", b"2" * 70_000, **kms, SSEKMSKeyId=first)
        self.put("bucket-key", b"3", **kms, SSEKMSKeyId=second, BucketKeyEnabled=True)
        self.put("sse-s3", b"4" * 2_000_000)
        self.put("managed", b"5", **kms)
        self.put_in_parts("parts", second)

    def check(self, endpoint: Endpoint) -> None:
        """Everything reads back, from an endpoint with the same users."""
        s3 = endpoint.client("s3")
        for name, body in self.objects.items():
            assert s3.get_object(Bucket=self.bucket, Key=name)["Body"].read() == body, name
        listed = s3.list_objects_v2(Bucket=self.bucket)["Contents"]
        sizes = {each["Key"]: each["Size"] for each in listed}
        assert {name: sizes[name] for name in self.objects} == {name: len(body) for name, body in self.objects.items()}


@contextlib.contextmanager
def writing(contents: Contents, key_id: str) -> Iterator[dict[str, bytes]]:
    """Keeps putting objects and making keys as long as the block lasts; what was acknowledged."""
    ended, failures = threading.Event(), list[BaseException]()
    acknowledged: dict[str, bytes] = {}
    s3, kms = contents.endpoint.client("s3"), contents.endpoint.client("kms")

    def run() -> None:
        number = 0
        try:
            while not ended.is_set():
                number += 1
                body = b"%d" % number
                own = kms.create_key()["KeyMetadata"]["KeyId"] if number % 3 == 0 else key_id
                sse = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": own}
                s3.put_object(Bucket=contents.bucket, Key=f"w{number}", Body=body, **sse)
                acknowledged[f"w{number}"] = body
                assert s3.get_object(Bucket=contents.bucket, Key=f"w{number}")["Body"].read() == body
        except BaseException as error:  # noqa: BLE001 - it is told to the test
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_for(lambda: len(acknowledged) > 5 or not thread.is_alive(), "writes are under way")
        yield acknowledged
        seen = len(acknowledged)
        wait_for(lambda: len(acknowledged) > seen + 5 or not thread.is_alive(), "writes go on")
    finally:
        ended.set()
        thread.join()
    assert failures == []


def start_again(dev: Dev) -> Endpoint:
    """Starts an endpoint whose bucket ``kept`` has objects, and waits until the store has found its volumes: for a
    moment after it is up, it answers reads with 500."""
    endpoint = dev.start()
    store = endpoint.store.client()
    name = store.list_objects_v2(Bucket="kept")["Contents"][0]["Key"]

    def reads() -> bool:
        try:
            return bool(store.get_object(Bucket="kept", Key=name)["Body"].read())
        except ClientError:
            return False

    wait_for(reads, "the store reads")
    return endpoint


def lose(folder: Path) -> None:
    """All that the proxy keeps, but for the root key and the credentials."""
    for path in [*folder.glob("keys.db*"), *folder.glob("state.db*"), *folder.glob("quotas.db*")]:
        path.unlink()


def test_everything_comes_back_from_a_backup_that_was_made_while_serving(dev: Dev, tmp_path: Path) -> None:
    dev.arguments = ("--workers", "2")
    endpoint = dev.start()
    contents = Contents(endpoint, "kept")
    contents.fill()
    archive = tmp_path / "backup"
    with writing(contents, contents.key()) as acknowledged:
        before = dict(acknowledged)
        code, said, errors = command("keys", "backup", "--data-dir", dev.folder, archive)
    assert (code, errors) == (0, [])
    assert str(archive) in said
    assert archive.stat().st_mode & 0o777 == 0o600
    assert command("keys", "backup", "--data-dir", dev.folder, archive)[2] == [
        f"sse-kms-proxy: {archive} is there already; a backup overwrites nothing"
    ]
    contents.objects |= before
    root_key = base64.b64decode((dev.folder / "root.key").read_bytes())
    assert root_key not in archive.read_bytes()

    # Not while something serves, whatever is left of the files.
    code, _, errors = command("keys", "restore", "--data-dir", dev.folder, "--force", archive)
    assert (code, errors) == (
        1,
        [f"sse-kms-proxy: {dev.folder / 'keys.db'} is in use: stop what serves it first"],
    )
    assert endpoint.program.stop() == 0
    lose(dev.folder)
    code, said, errors = command("keys", "restore", "--data-dir", dev.folder, archive)
    assert (code, errors) == (0, [])
    assert "the root key opens all" in said
    contents.check(start_again(dev))


def test_what_is_there_is_not_lost_by_a_restore(dev: Dev, tmp_path: Path) -> None:
    endpoint = dev.start()
    contents = Contents(endpoint, "kept")
    contents.put("early", b"early", ServerSideEncryption="aws:kms", SSEKMSKeyId=contents.key())
    archive = tmp_path / "backup"
    assert command("keys", "backup", "--data-dir", dev.folder, archive)[0] == 0
    contents.put("late", b"late", ServerSideEncryption="aws:kms", SSEKMSKeyId=contents.key())
    assert endpoint.program.stop() == 0

    code, _, errors = command("keys", "restore", "--data-dir", dev.folder, archive)
    assert code == 1
    assert errors == [
        f"sse-kms-proxy: {dev.folder / 'state.db'} is not empty; with --force it is kept under another name"
    ]
    code, said, errors = command("keys", "restore", "--data-dir", dev.folder, "--force", archive)
    assert (code, errors) == (0, [])
    kept = [Path(line.rpartition(" ")[2]) for line in said.splitlines() if "is kept as" in line]
    assert [path.name.partition(".before-restore-")[0] for path in kept] == ["keys.db", "state.db"]

    restored = start_again(dev)
    s3 = restored.client("s3")
    assert s3.get_object(Bucket="kept", Key="early")["Body"].read() == b"early"
    with pytest.raises(ClientError):
        s3.get_object(Bucket="kept", Key="late")
    assert restored.program.stop() == 0
    # And back again.
    for path in [*dev.folder.glob("keys.db"), *dev.folder.glob("state.db")]:
        path.unlink()
    for path in kept:
        path.rename(dev.folder / path.name.partition(".before-restore-")[0])
    contents.check(start_again(dev))


def test_a_backup_that_cannot_be_restored_changes_nothing(dev: Dev, tmp_path: Path) -> None:
    endpoint = dev.start()
    Contents(endpoint, "kept").fill()
    archive, spoilt = tmp_path / "backup", tmp_path / "spoilt"
    assert command("keys", "backup", "--data-dir", dev.folder, archive)[0] == 0
    assert endpoint.program.stop() == 0
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    spoilt.write_bytes(content)
    files = {path.name: path.read_bytes() for path in dev.folder.iterdir() if path.is_file()}

    code, _, errors = command("keys", "restore", "--data-dir", dev.folder, "--force", spoilt)
    assert code == 1
    assert len(errors) == 1
    assert "is no backup, or is damaged" in errors[0]
    assert command("keys", "restore", "--data-dir", dev.folder, tmp_path / "missing")[0] == 1

    other = new_root_key(tmp_path / "other.key")
    (tmp_path / "other.key").replace(dev.folder / "root.key")
    code, _, errors = command("keys", "restore", "--data-dir", dev.folder, "--force", archive)
    assert code == 1
    assert len(errors) == 1
    assert errors[0].startswith("sse-kms-proxy: the backup needs another root key: ")
    assert other.id in errors[0]

    del files["root.key"]
    for name, there in files.items():
        assert (dev.folder / name).read_bytes() == there
    assert {path.name for path in dev.folder.iterdir() if path.is_file()} - {"root.key"} == set(files)


def test_the_root_key_is_rotated_while_two_workers_serve(dev: Dev, tmp_path: Path) -> None:
    dev.arguments = ("--workers", "2")
    endpoint = dev.start()
    contents = Contents(endpoint, "kept")
    contents.fill()
    backup_before = tmp_path / "backup"
    assert command("keys", "backup", "--data-dir", dev.folder, backup_before)[0] == 0
    root_key, former = dev.folder / "root.key", tmp_path / "former.key"
    former.write_bytes(root_key.read_bytes())
    former.chmod(0o600)
    new = new_root_key(tmp_path / "new.key")
    assert command("root-key", "status", "--data-dir", dev.folder)[0] == 0

    with writing(contents, contents.key()) as acknowledged:
        code, said, errors = command(
            "root-key", "rotate", "--data-dir", dev.folder, "--new-root-key-file", tmp_path / "new.key"
        )
        assert (code, errors) == (0, [])
        assert f"open under the root key {new.id} alone" in said
        assert command("root-key", "status", "--data-dir", dev.folder)[0] == 1
        # A worker that is replaced now starts with the former root key.
        os.kill(endpoint.workers[0], 15)
        wait_for(lambda: "it is replaced" in endpoint.program.output(), "a worker is replaced")
        (tmp_path / "new.key").replace(root_key)
        code, said, errors = command("root-key", "rotate", "--data-dir", dev.folder)
        assert (code, errors) == (0, [])
        assert "no other root key opens anything" in said
    code, said, _ = command("root-key", "status", "--data-dir", dev.folder)
    assert code == 0
    assert said.splitlines()[-1] == "the configured root key opens everything; no other one is needed"
    contents.objects |= acknowledged
    contents.check(endpoint)
    assert endpoint.program.stop() == 0
    contents.check(start_again(dev))
    assert dev.programs[-1].stop() == 0

    root_key.write_bytes(former.read_bytes())
    refused = dev.launch()
    assert refused.process.wait(60) == 1
    (line,) = [line for line in refused.output().splitlines() if line.startswith("sse-kms-proxy: ")]
    assert f"the one with id {new.id} has taken its place on " in line
    # The former root key still opens the backups from its time.
    code, _, errors = command("keys", "restore", "--data-dir", dev.folder, "--force", backup_before)
    assert (code, errors) == (0, [])


def add_sealed_records(database: Path, root_key: LocalRootKey, count: int) -> None:
    """Material as of so many keys, in one write."""

    async def bodies() -> list[tuple[str, bytes]]:
        header = root_key_state.header(root_key.id)
        ids = [f"key/111122223333/{REGION}/filler-{number:08d}/0000000001" for number in range(count)]
        return [(id, header + await root_key.wrap(bytes(32), header + material.WRAP_LABEL + id.encode())) for id in ids]

    with closing(sqlite3.connect(database, timeout=30)) as connection:
        rows = [(model.MATERIAL, id, body) for id, body in asyncio.run(bodies())]
        connection.executemany("INSERT INTO record (kind, id, version, body) VALUES (?, ?, 1, ?)", rows)
        connection.commit()


def sealed_under(database: Path, root_key: LocalRootKey) -> int:
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM record WHERE substr(body, 1, 9) = ?", (root_key_state.header(root_key.id),)
        ).fetchone()
        return int(count)


def test_a_root_key_rotation_that_is_killed_is_taken_up(dev: Dev, tmp_path: Path) -> None:
    endpoint = dev.start()
    contents = Contents(endpoint, "kept")
    contents.fill()
    root_key, database = dev.folder / "root.key", dev.folder / "keys.db"
    former = LocalRootKey(base64.b64decode(root_key.read_bytes()), secrets.token_bytes)
    add_sealed_records(database, former, 20_000)
    new = new_root_key(tmp_path / "new.key")
    rotate = [COMMAND, "root-key", "rotate", "--data-dir", str(dev.folder)]
    for number in range(1, 4):
        # Each time it gets a little further.
        program = Program(
            [*rotate, "--new-root-key-file", str(tmp_path / "new.key")], tmp_path / f"rotation{number}.log"
        )
        seen = sealed_under(database, new)
        wait_for(lambda: sealed_under(database, new) > seen or not program.is_running(), "it seals")  # noqa: B023
        program.kill()
        assert sealed_under(database, former) > 0, program.output()
        assert sealed_under(database, new) > seen
        contents.check(endpoint)
        contents.put(f"between-{number}", b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=contents.key())
    assert endpoint.program.stop() == 0
    # The new root key alone is enough to go on.
    (tmp_path / "new.key").replace(root_key)
    code, _, errors = command("root-key", "rotate", "--data-dir", dev.folder)
    assert (code, errors) == (0, [])
    assert sealed_under(database, former) == 0
    assert command("root-key", "status", "--data-dir", dev.folder)[0] == 0
    contents.check(start_again(dev))


def test_faults_of_a_rotation_are_one_line(dev: Dev, tmp_path: Path) -> None:
    missing = tmp_path / "missing.key"
    code, _, errors = command("root-key", "rotate", "--data-dir", dev.folder, "--new-root-key-file", missing)
    assert (code, len(errors)) == (1, 1)
    endpoint = dev.start()
    assert endpoint.program.stop() == 0

    def fault(*arguments: str | Path, env: dict[str, str] | None = None) -> str:
        code, _, errors = command("root-key", "rotate", "--data-dir", dev.folder, *arguments, env=env)
        assert (code, len(errors)) == (1, 1)
        return errors[0].removeprefix("sse-kms-proxy: ")

    assert fault() == "name the new root key with --new-root-key-file; no rotation is under way"
    assert fault("--new-root-key-file", missing) == (
        f"the root key file {missing} cannot be read: No such file or directory"
    )
    new = new_root_key(tmp_path / "new.key")
    (tmp_path / "new.key").chmod(0o644)
    assert "has mode 0644" in fault("--new-root-key-file", tmp_path / "new.key")
    (tmp_path / "new.key").chmod(0o600)
    assert command("root-key", "rotate", "--data-dir", dev.folder, "--new-root-key-file", tmp_path / "new.key")[0] == 0
    another = new_root_key(tmp_path / "another.key")
    assert fault("--new-root-key-file", tmp_path / "another.key") == (
        f"the rotation to the root key with id {new.id} is not finished; run this again with that one"
    )
    (tmp_path / "another.key").replace(dev.folder / "root.key")
    assert another.id in fault()
    assert new.id in fault()


@pytest.fixture
def at_aws(dev: Dev, tmp_path: Path) -> Iterator[tuple[Endpoint, Serve]]:
    """An endpoint that is AWS KMS, and another, in front of the same store, whose keys are there."""
    aws = dev.start()
    owned = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    own = aws.environment()
    serve = Serve(tmp_path / "proxy", aws.store)
    serve.configure()
    text = serve.config.read_text().replace(
        "[keys]\n",
        f'[keys]\nprovider = "aws"\nendpoint_url = "{aws.url}"\nregion = "{REGION}"\ns3_owned_key_id = "{owned}"\n'
        f'access_key_id = "{own["AWS_ACCESS_KEY_ID"]}"\nsecret_access_key = "{own["AWS_SECRET_ACCESS_KEY"]}"\n',
    )
    serve.config.write_text(text)
    yield aws, serve
    serve.close()


def launched(serve: Serve) -> Endpoint:
    """``Serve.start`` with the configuration as it is."""
    variables = read_variables(serve)
    program = serve.launch()
    wait_for(lambda: "ready: " in program.output() or not program.is_running(), "the endpoint is ready")
    assert program.is_running(), program.output()
    return Endpoint(serve.store, variables, program, serve.folder)


def read_variables(serve: Serve) -> dict[str, str]:
    document = tomllib.loads(serve.config.read_text())
    found: dict[str, str] = {"AWS_ACCOUNT_ID": document["users"][0]["account"]}
    for prefix, user in zip(("", "APP_"), document["users"], strict=True):
        found[f"{prefix}AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{serve.port}"
        found[f"{prefix}AWS_ACCESS_KEY_ID"] = user["access_key_id"]
        found[f"{prefix}AWS_SECRET_ACCESS_KEY"] = user["secret_access_key"]
    return found


def test_objects_under_keys_that_are_in_aws_kms(at_aws: tuple[Endpoint, Serve]) -> None:
    aws, serve = at_aws
    endpoint = launched(serve)
    kms, s3 = aws.client("kms"), endpoint.client("s3")
    key_arn = kms.create_key()["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/photos", TargetKeyId=key_arn)
    s3.create_bucket(Bucket="at-aws", CreateBucketConfiguration={"LocationConstraint": REGION})
    bodies = {"kms": b"k" * 200_000, "alias": b"a", "sse-s3": b"s" * 2_000_000, "layers": b"l" * 200_000}
    put = s3.put_object(
        Bucket="at-aws", Key="kms", Body=bodies["kms"], ServerSideEncryption="aws:kms", SSEKMSKeyId=key_arn
    )
    assert put["SSEKMSKeyId"] == key_arn
    aliased = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/photos", "BucketKeyEnabled": True}
    assert s3.put_object(Bucket="at-aws", Key="alias", Body=b"a", **aliased)["SSEKMSKeyId"] == key_arn
    assert s3.put_object(Bucket="at-aws", Key="sse-s3", Body=bodies["sse-s3"])["ServerSideEncryption"] == "AES256"
    layers = {"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": key_arn}
    assert s3.put_object(Bucket="at-aws", Key="layers", Body=bodies["layers"], **layers)["SSEKMSKeyId"] == key_arn
    for name, body in bodies.items():
        assert s3.get_object(Bucket="at-aws", Key=name)["Body"].read() == body

    kms.disable_key(KeyId=key_arn)
    for name in ("kms", "layers"):
        with pytest.raises(ClientError) as refused:
            s3.get_object(Bucket="at-aws", Key=name)
        assert refused.value.response["Error"]["Code"] == "KMS.DisabledException"
    # AWS tells nobody of changes: a bucket key is used until its time is over.
    assert s3.get_object(Bucket="at-aws", Key="alias")["Body"].read() == b"a"
    assert s3.get_object(Bucket="at-aws", Key="sse-s3")["Body"].read() == bodies["sse-s3"]
    kms.enable_key(KeyId=key_arn)

    # Keys are managed at AWS, not here.
    with pytest.raises(ClientError) as refused:
        endpoint.client("kms").create_key()
    assert refused.value.response["Error"]["Code"] == "UnsupportedOperationException"
    assert endpoint.client("sts").get_caller_identity()["Account"] == endpoint.account

    # Who may nothing here gets nothing there.
    with pytest.raises(ClientError) as refused:
        endpoint.client("s3", "app").get_object(Bucket="at-aws", Key="kms")
    assert refused.value.response["Error"]["Code"] == "AccessDenied"

    assert aws.program.stop() == 0


def test_without_a_key_behind_sse_s3_it_does_not_start(at_aws: tuple[Endpoint, Serve]) -> None:
    _, serve = at_aws
    lines = serve.config.read_text().splitlines()
    serve.config.write_text("\n".join(line for line in lines if not line.startswith("s3_owned_key_id")))
    code, _, errors = command("check-config", "--config", serve.config)
    assert code == 2
    assert len(errors) == 1
    assert '[keys] s3_owned_key_id: is required with provider = "aws"' in errors[0]


def test_when_aws_kms_is_away_the_client_may_try_again(at_aws: tuple[Endpoint, Serve]) -> None:
    _, serve = at_aws
    port = serve.config.read_text().partition('endpoint_url = "http://127.0.0.1:')[2].partition('"')[0]
    serve.config.write_text(serve.config.read_text().replace(f"127.0.0.1:{port}", "127.0.0.1:9", 1))
    serve.config.write_text(serve.config.read_text().replace("[keys]\n", "[keys]\ntimeout = 3\n"))
    s3 = launched(serve).client("s3")
    s3.create_bucket(Bucket="away", CreateBucketConfiguration={"LocationConstraint": REGION})
    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket="away", Key="k", Body=b"x")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
