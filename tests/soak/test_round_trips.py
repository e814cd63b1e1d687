"""1 GiB with the clients that people use: what comes back is what went up, and every size is told right."""

import filecmp
import json
from pathlib import Path

import pytest

from tests.e2e.memory import MIB, Pattern
from tests.e2e.samples import new_bucket, s3
from tests.e2e.stores import Endpoint, Endpoints

BLOCKS = 1024
SIZE = BLOCKS * MIB


@pytest.fixture(params=["http", "https"])
def any_endpoint(endpoints: Endpoints, store_name: str, request: pytest.FixtureRequest) -> Endpoint:
    return endpoints.get(store_name, tls=request.param == "https")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bodies") / "1-gib"
    body = Pattern(BLOCKS)
    with path.open("wb") as out:
        while piece := body.read(MIB):
            out.write(piece)
    assert path.stat().st_size == SIZE
    return path


def test_s3_cp_and_s3api(any_endpoint: Endpoint, file: Path, tmp_path: Path) -> None:
    endpoint, client = any_endpoint, s3(any_endpoint)
    bucket, down = new_bucket(endpoint, "aws:kms"), tmp_path / "down"
    commands = {
        "cp": (
            ["s3", "cp", "--no-progress", str(file), f"s3://{bucket}/cp"],
            ["s3", "cp", "--no-progress", f"s3://{bucket}/cp", str(down)],
        ),
        "s3api": (
            ["s3api", "put-object", "--bucket", bucket, "--key", "s3api", "--body", str(file)],
            ["s3api", "get-object", "--bucket", bucket, "--key", "s3api", str(down)],
        ),
    }
    for key, (up, back) in commands.items():
        for command in (up, back):
            done = endpoint.aws(*command)
            assert done.returncode == 0, done.stderr.decode()
        assert filecmp.cmp(file, down, shallow=False)
        down.unlink()
        assert client.head_object(Bucket=bucket, Key=key)["ContentLength"] == SIZE
        part = client.get_object(Bucket=bucket, Key=key, Range=f"bytes={SIZE - 100}-")
        assert part["Body"].read() == file_end(file)
    told = json.loads(endpoint.aws("s3api", "list-objects-v2", "--bucket", bucket).stdout)
    assert {each["Key"]: each["Size"] for each in told["Contents"]} == {"cp": SIZE, "s3api": SIZE}
    for key in commands:
        client.delete_object(Bucket=bucket, Key=key)


def file_end(file: Path) -> bytes:
    with file.open("rb") as content:
        content.seek(-100, 2)
        return content.read()
