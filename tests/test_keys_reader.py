"""``[keys]`` of the configuration."""

import base64
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.config import ConfigError, load
from proxy.keys_reader import KeysSettings
from proxy.kms.providers.aws_settings import AwsKms

ROOT_KEY = base64.b64encode(bytes(range(32))).decode()
OWNED = "arn:aws:kms:eu-west-1:111122223333:key/00000000-0000-4000-8000-00000000beef"

REST = """
[upstream]
url = "http://127.0.0.1:8333"
access_key_id = "storekey"
secret_access_key = "storesecret"
[state]
database = "state.db"
[[users]]
name = "admin"
account = "111122223333"
access_key_id = "AKIAADMIN"
secret_access_key = "admin-secret"
[keys]
database = "keys.db"
"""


def read(folder: Path, keys: str, environ: Mapping[str, str] | None = None) -> KeysSettings:
    (folder / "root.key").write_text(ROOT_KEY)
    file = folder / "proxy.toml"
    file.write_text(REST + keys)
    return load(file, environ or {}).keys


def faults(folder: Path, keys: str, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, keys, environ)
    return [fault.removeprefix(f"{folder / 'proxy.toml'}: ") for fault in caught.value.faults]


def test_keys_are_embedded_unless_said_otherwise(tmp_path: Path) -> None:
    keys = read(tmp_path, 'root_key_file = "root.key"')
    assert keys == KeysSettings(tmp_path / "keys.db", tmp_path / "root.key")
    assert keys.aws is None


def test_root_keys_of_the_environment(tmp_path: Path) -> None:
    new = bytes(32)
    environ = {
        "SSE_KMS_PROXY_ROOT_KEY": ROOT_KEY,
        "SSE_KMS_PROXY_NEW_ROOT_KEY": base64.b64encode(new).decode(),
    }
    keys = read(tmp_path, "", environ)
    assert (keys.root_key, keys.new_root_key, keys.root_key_file) == (bytes(range(32)), new, None)
    assert repr(new)[2:-1] not in repr(keys)
    for name in environ:
        (fault,) = faults(tmp_path, "", {**environ, name: "c2hvcnQ="})
        assert fault == f"[keys] {name}: must be base64 of 32 bytes, as `openssl rand -base64 32` prints them"
    (fault,) = faults(tmp_path, "")
    assert fault.startswith("[keys] root_key_file: is required")


def test_a_whole_section_of_aws(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    keys = read(
        tmp_path,
        f"""
        root_key_file = "root.key"
        provider = "aws"
        region = "eu-west-1"
        endpoint_url = "https://vpce-1.kms.eu-west-1.vpce.amazonaws.com"
        s3_owned_key_id = "{OWNED}"
        s3_managed_key_id = "alias/mine"
        access_key_id = "AKIAATAWS"
        secret_access_key = "secret-at-aws"
        ca_file = "ca.pem"
        connections = 8
        connect_timeout = 1
        timeout = 5.5
        """,
    )
    assert keys.aws == AwsKms(
        OWNED,
        "alias/mine",
        "eu-west-1",
        "https://vpce-1.kms.eu-west-1.vpce.amazonaws.com",
        "AKIAATAWS",
        "secret-at-aws",
        ca_file=tmp_path / "ca.pem",
        connections=8,
        connect_timeout=1.0,
        timeout=5.5,
    )
    assert "secret-at-aws" not in repr(keys)
    assert pickle.loads(pickle.dumps(keys)) == keys


AWS = f'root_key_file = "root.key"\nprovider = "aws"\ns3_owned_key_id = "{OWNED}"\n'


def test_credentials_at_aws(tmp_path: Path) -> None:
    keys = read(tmp_path, AWS)
    assert keys.aws == AwsKms(OWNED)
    environ = {"SSE_KMS_PROXY_KEYS_ACCESS_KEY_ID": "AKIA2", "SSE_KMS_PROXY_KEYS_SECRET_ACCESS_KEY": "secret-2"}
    keys = read(tmp_path, AWS, environ)
    assert keys.aws == AwsKms(OWNED, access_key_id="AKIA2", secret_access_key="secret-2")
    (fault,) = faults(tmp_path, AWS + 'access_key_id = "AKIA1"')
    assert fault.startswith("[keys] secret_access_key: is required")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('region = "Europe"', "[keys] region: must be the name of a Region, such as eu-west-1, not 'Europe'"),
        (
            'endpoint_url = "kms.local"',
            "[keys] endpoint_url: must be http://HOST[:PORT] or https://HOST[:PORT], not 'kms.local'",
        ),
        ("timeout = 0", "[keys] timeout: must be more than 0 and at most 86400 seconds, not 0"),
        ('regoin = "eu-west-1"', "[keys] regoin: is not a known key; did you mean region?"),
    ],
)
def test_faults_of_aws(tmp_path: Path, line: str, fault: str) -> None:
    assert faults(tmp_path, AWS + line) == [fault]


def test_the_key_behind_sse_s3_has_to_be_named(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, 'root_key_file = "root.key"\nprovider = "aws"')
    assert fault.startswith('[keys] s3_owned_key_id: is required with provider = "aws"')


def test_other_providers(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, 'root_key_file = "root.key"\nprovider = "awss"')
    assert fault == "[keys] provider: must be one of embedded, aws, not 'awss'; did you mean aws?"
    # What belongs to AWS says nothing elsewhere.
    (fault,) = faults(tmp_path, 'root_key_file = "root.key"\nregion = "eu-west-1"')
    assert fault.startswith("[keys] region: is not a known key")
