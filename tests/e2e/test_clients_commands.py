"""Commands with their default settings: the aws CLI, s3cmd, rclone.

Nothing tells them of encryption or checksums, and what they check by themselves (rclone and s3cmd compare MD5 sums
with ETags) they check here. Small, multipart, ranged, copied, versioned and deleted objects come back byte for byte.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.clients import LARGE, NAMES, OTHER, SMALL, Buckets, Files, buckets, files, run
from tests.e2e.samples import MIB, keys_in, s3
from tests.e2e.stores import BIN, REGION

__all__ = ["buckets", "files"]

Command = Callable[..., str]


def test_aws_cli(buckets: Buckets, files: Files) -> None:
    def aws(*arguments: str) -> str:
        done = buckets.endpoint.aws(*arguments)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    contents = {"a b+c.txt": SMALL, "dir/ü.txt": OTHER, "large.bin": LARGE}
    write_tree(files.folder / "tree", contents)
    aws("s3", "sync", str(files.folder / "tree"), f"s3://{buckets.kms}/tree")
    assert aws("s3", "sync", str(files.folder / "tree"), f"s3://{buckets.kms}/tree") == ""  # nothing is left to do
    aws("s3", "sync", f"s3://{buckets.kms}/tree", f"s3://{buckets.s3}/tree")
    aws("s3", "sync", f"s3://{buckets.s3}/tree", str(files.folder / "back"))
    aws("s3", "mv", f"s3://{buckets.s3}/tree/large.bin", f"s3://{buckets.s3}/moved")
    buckets.check(buckets.s3, "moved", LARGE)
    assert read_tree(files.folder / "back") == contents
    for name, data in contents.items():
        buckets.check(buckets.kms, f"tree/{name}", data)
    where = ("--bucket", buckets.kms, "--key", "tree/large.bin")
    down = files.down()
    aws("s3api", "get-object", *where, "--range", "bytes=8388600-8388700", str(down))
    assert down.read_bytes() == LARGE[8_388_600:8_388_701]
    aws("s3", "cp", str(files.other), f"s3://{buckets.kms}/tree/large.bin")
    versions = json.loads(aws("s3api", "list-object-versions", *where[:2], "--prefix", "tree/large.bin"))["Versions"]
    assert [row["Size"] for row in versions] == [len(OTHER), len(LARGE)]
    aws("s3api", "get-object", *where, "--version-id", versions[1]["VersionId"], str(down))
    assert down.read_bytes() == LARGE
    aws("s3", "rm", "--recursive", f"s3://{buckets.kms}/tree")
    assert keys_in(buckets.endpoint, buckets.s3) == ["moved", "tree/a b+c.txt", "tree/dir/ü.txt"]
    assert keys_in(buckets.endpoint, buckets.kms) == []


@pytest.fixture
def s3cmd(buckets: Buckets, files: Files) -> Command:
    own = buckets.endpoint.environment()
    config = files.folder / "s3cfg"
    config.write_text(
        "[default]\n"
        f"access_key = {own['AWS_ACCESS_KEY_ID']}\nsecret_key = {own['AWS_SECRET_ACCESS_KEY']}\n"
        f"host_base = 127.0.0.1:{buckets.endpoint.port}\nhost_bucket = 127.0.0.1:{buckets.endpoint.port}\n"
        f"bucket_location = {REGION}\nca_certs_file = {buckets.endpoint.ca_bundle}\n",
        encoding="utf-8",
    )
    config.chmod(0o600)
    return lambda *arguments, **more: run([str(BIN / "s3cmd"), "--config", str(config), *arguments], **more)


def test_s3cmd(buckets: Buckets, files: Files, s3cmd: Command) -> None:
    name = NAMES[1]
    for bucket in buckets:
        s3cmd("put", str(files.small), f"s3://{bucket}/{name}")
        s3cmd("put", "--multipart-chunk-size-mb=5", str(files.large), f"s3://{bucket}/large")
        for key, data in ((name, SMALL), ("large", LARGE)):
            down = files.down()
            told = s3cmd("get", f"s3://{bucket}/{key}", str(down))
            assert down.read_bytes() == data
            assert "MD5" not in told
            buckets.check(bucket, key, data)
    # The rest of a file that is there in part.
    down = files.down()
    down.write_bytes(LARGE[: 5 * MIB])
    s3cmd("get", "--continue", f"s3://{buckets.kms}/large", str(down))
    assert down.read_bytes() == LARGE
    s3cmd("cp", f"s3://{buckets.s3}/{name}", f"s3://{buckets.kms}/copy/{name}")
    buckets.check(buckets.kms, f"copy/{name}", SMALL)
    s3cmd("cp", f"s3://{buckets.kms}/large", f"s3://{buckets.s3}/copy/large")
    s3cmd("mv", f"s3://{buckets.s3}/copy/large", f"s3://{buckets.s3}/moved")
    buckets.check(buckets.s3, "moved", LARGE)
    s3cmd("put", str(files.other), f"s3://{buckets.kms}/{name}")
    versions = s3(buckets.endpoint).list_object_versions(Bucket=buckets.kms, Prefix=name)["Versions"]
    assert [row["Size"] for row in versions] == [len(OTHER), len(SMALL)]
    assert s3cmd("ls", "--recursive", f"s3://{buckets.kms}").count("\n") == 3
    for bucket in buckets:
        s3cmd("del", "--recursive", "--force", f"s3://{bucket}")
        assert keys_in(buckets.endpoint, bucket) == []
    s3cmd("get", f"s3://{buckets.kms}/large", str(files.down()), fails=True)


@pytest.fixture
def rclone(buckets: Buckets, files: Files) -> Command:
    own = buckets.endpoint.environment()
    env = {
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CA_CERT": buckets.endpoint.ca_bundle or "",
        "RCLONE_CONFIG_P_TYPE": "s3",
        "RCLONE_CONFIG_P_PROVIDER": "AWS",
        "RCLONE_CONFIG_P_ENDPOINT": buckets.endpoint.url,
        "RCLONE_CONFIG_P_REGION": REGION,
        "RCLONE_CONFIG_P_LOCATION_CONSTRAINT": REGION,
        "RCLONE_CONFIG_P_ACCESS_KEY_ID": own["AWS_ACCESS_KEY_ID"],
        "RCLONE_CONFIG_P_SECRET_ACCESS_KEY": own["AWS_SECRET_ACCESS_KEY"],
        "RCLONE_CONFIG_P_FORCE_PATH_STYLE": "true",
        "RCLONE_CACHE_DIR": str(files.folder / "cache"),
    }
    return lambda *arguments, **more: run([str(BIN / "rclone"), *arguments], env, **more)


def test_rclone(buckets: Buckets, files: Files, rclone: Command) -> None:
    tree = files.folder / "tree"
    contents = {"a b+c.txt": SMALL, "dir/ü 日本.txt": OTHER, "large.bin": LARGE, "empty": b""}
    write_tree(tree, contents)
    for bucket in buckets:
        rclone("copy", str(tree), f"p:{bucket}/one")
        rclone("copy", "--s3-upload-cutoff", "5M", str(tree), f"p:{bucket}/parts")
        for folder in ("one", "parts"):
            rclone("check", str(tree), f"p:{bucket}/{folder}")
            rclone("check", "--download", str(tree), f"p:{bucket}/{folder}")
            rclone("copy", f"p:{bucket}/{folder}", str(files.folder / f"{bucket}-{folder}"))
            assert read_tree(files.folder / f"{bucket}-{folder}") == contents
        piece = rclone("cat", "--offset", str(5 * MIB - 3), "--count", "10", f"p:{bucket}/parts/large.bin")
        assert piece.encode(errors="surrogateescape") == LARGE[5 * MIB - 3 : 5 * MIB + 7]
        for name, data in contents.items():
            buckets.check(bucket, f"parts/{name}", data)
    for source, bucket in ((buckets.kms, buckets.s3), (buckets.s3, buckets.kms)):
        rclone("sync", f"p:{source}/parts", f"p:{bucket}/copy")
        rclone("check", "--download", f"p:{source}/parts", f"p:{bucket}/copy")
    rclone("moveto", f"p:{buckets.s3}/copy/large.bin", f"p:{buckets.s3}/copy/moved.bin")
    buckets.check(buckets.s3, "copy/moved.bin", LARGE)
    rclone("copyto", str(files.other), f"p:{buckets.kms}/one/large.bin")
    listed = rclone("lsf", "--s3-versions", f"p:{buckets.kms}/one", "--format", "s").split()
    assert sorted(int(size) for size in listed if size != "-1") == sorted([0, len(SMALL), len(OTHER), len(LARGE)])
    for bucket in buckets:
        rclone("delete", f"p:{bucket}")
        assert rclone("lsf", "-R", f"p:{bucket}") == ""


def write_tree(folder: Path, contents: dict[str, bytes]) -> None:
    for name, data in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        # A store that keeps whole seconds has a file of this very second as older than it is, and sync sends it again.
        os.utime(folder / name, (1_700_000_000, 1_700_000_000))


def read_tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
