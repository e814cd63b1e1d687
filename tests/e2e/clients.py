"""What the tests of clients have in common: two buckets of different encryption, and bodies to send."""

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.samples import MIB, body, new_bucket, s3
from tests.e2e.stores import Endpoint, clean_environment

SMALL = b"a small object\n"
OTHER = b"another small object, which comes after it\n"
LARGE = body(9 * MIB + 5, 17)
"""More than clients send in one piece; those with larger parts by default are told another size."""

NAMES = ("plain.txt", "with space + plus & ü/日本.txt")
"""Keys that clients encode in their own ways."""


@dataclass(frozen=True)
class Buckets:
    """One that encrypts with SSE-KMS by default, and keeps versions, and one with SSE-S3, which does not."""

    endpoint: Endpoint
    kms: str
    s3: str

    def __iter__(self) -> Iterator[str]:
        yield self.kms
        yield self.s3

    def check(self, bucket: str, key: str, data: bytes) -> None:
        """The object is there, encrypted as its bucket has it, and the proxy gives these bytes to another client."""
        found = s3(self.endpoint).get_object(Bucket=bucket, Key=key)
        assert found["ServerSideEncryption"] == ("aws:kms" if bucket == self.kms else "AES256")
        assert found["Body"].read() == data


def make_buckets(endpoint: Endpoint) -> Buckets:
    found = Buckets(endpoint, new_bucket(endpoint, "aws:kms"), new_bucket(endpoint, "AES256"))
    enabled = {"Status": "Enabled"}
    s3(endpoint).put_bucket_versioning(Bucket=found.kms, VersioningConfiguration=enabled)
    return found


@pytest.fixture
def buckets(tls_endpoint: Endpoint) -> Buckets:
    """Over https, as clients have it by default, on each store in turn."""
    return make_buckets(tls_endpoint)


@dataclass(frozen=True)
class Files:
    """The bodies as files, and a place to put others."""

    folder: Path
    small: Path
    other: Path
    large: Path

    def down(self, name: str = "down") -> Path:
        """A file that is not there yet."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        return path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    found = Files(tmp_path, tmp_path / "small.txt", tmp_path / "other.txt", tmp_path / "large.bin")
    found.small.write_bytes(SMALL)
    found.other.write_bytes(OTHER)
    found.large.write_bytes(LARGE)
    return found


def run(arguments: list[str], env: Mapping[str, str] | None = None, *, fails: bool = False) -> str:
    """What a command prints, bytes that are no text as surrogates. It has to end well, or not, as is said."""
    done = subprocess.run(
        arguments,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**clean_environment(), **(env or {})},
        timeout=120,
        check=False,
    )
    told = f"{' '.join(arguments)}: {done.returncode}\n{done.stdout!r}\n{done.stderr.decode()}"
    assert (done.returncode != 0) == fails, told
    return done.stdout.decode(errors="surrogateescape")
