"""The configuration: what a whole one gives, and that every fault of a broken one is reported at once."""

import base64
import dataclasses
import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import Config, ConfigError, StartError, available_cores, is_loopback, load
from proxy.sts.principals import ADMINISTRATOR_ACCESS

ROOT_KEY = base64.b64encode(bytes(range(32))).decode()

WHOLE = """
[upstream]
url = "http://127.0.0.1:8333"
access_key_id = "storekey"
secret_access_key = "storesecret"
[keys]
database = "keys.db"
root_key_file = "root.key"
[state]
database = "/var/lib/state.db"
[[users]]
name = "admin"
account = "111122223333"
access_key_id = "AKIAADMIN"
secret_access_key = "admin-secret"
administrator = true
"""


def read(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    (folder / "root.key").write_text(ROOT_KEY)
    file = folder / "proxy.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, environ or {})


def faults(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """What is reported, without the file's name, which every line starts with."""
    with pytest.raises(ConfigError) as caught:
        read(folder, text, environ)
    start = f"{folder / 'proxy.toml'}: "
    assert all(fault.startswith(start) for fault in caught.value.faults)
    return [fault.removeprefix(start) for fault in caught.value.faults]


def test_a_short_file_is_filled_with_defaults(tmp_path: Path) -> None:
    config = read(tmp_path, WHOLE)
    assert config.listen.host == "127.0.0.1"
    assert config.listen.port == 9000
    assert config.listen.workers == available_cores() >= 1
    assert config.listen.allow_plaintext_kms
    assert config.listen.tls_certificate is None
    assert config.upstream.url == "http://127.0.0.1:8333"
    assert config.upstream.region == "us-east-1"
    assert config.upstream.store == "auto"
    assert config.keys.database == tmp_path / "keys.db"
    assert config.keys.root_key_file == tmp_path / "root.key"
    assert config.keys.root_key is None
    assert config.state.database == Path("/var/lib/state.db")
    assert config.sse_s3.md5_etags
    assert (config.sse_c.enabled, config.sse_c.blocked_on_new_buckets) == (True, True)
    assert (config.bucket_keys.lifetime_seconds, config.bucket_keys.uses) == (300, 10_000)
    assert not config.copies.fresh_data_key
    assert config.log_level == "info"


def test_a_user_becomes_an_access_key_with_its_caller(tmp_path: Path) -> None:
    (key,) = read(tmp_path, WHOLE).users
    assert (key.id, key.secret) == ("AKIAADMIN", "admin-secret")
    assert key.caller.account == "111122223333"
    assert key.caller.arn == "arn:aws:iam::111122223333:user/admin"
    assert key.caller.access_key_id == "AKIAADMIN"
    assert key.caller.policies == (ADMINISTRATOR_ACCESS,)
    assert len(key.caller.user_id) == 21
    assert key.caller.user_id.startswith("AIDA")
    assert read(tmp_path, WHOLE).users[0].caller.user_id == key.caller.user_id
    assert read(tmp_path, WHOLE.replace('"admin"', '"other"')).users[0].caller.user_id != key.caller.user_id


def test_what_is_given_wins_over_what_is_derived(tmp_path: Path) -> None:
    arn = "arn:aws:sts::111122223333:assumed-role/reporting/nightly"
    (key,) = read(tmp_path, WHOLE + f'arn = "{arn}"\nuser_id = "AROAEXAMPLE:nightly"').users
    assert key.caller.arn == arn
    assert key.caller.user_id == "AROAEXAMPLE:nightly"


def test_the_user_id_of_an_accounts_root_is_the_account(tmp_path: Path) -> None:
    (key,) = read(tmp_path, WHOLE + 'arn = "arn:aws:iam::111122223333:root"').users
    assert key.caller.user_id == "111122223333"


def test_policies_stand_in_the_file_or_beside_it(tmp_path: Path) -> None:
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
    (tmp_path / "policy.json").write_text(json.dumps(document))
    inline = json.dumps({**document, "Id": "inline"})
    (key,) = read(tmp_path, WHOLE + f"policies = ['''{inline}''', 'policy.json']").users
    assert key.caller.policies == (ADMINISTRATOR_ACCESS, {**document, "Id": "inline"}, document)


def test_secrets_come_from_the_environment_first_then_from_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-the-file\n")
    text = WHOLE.replace('secret_access_key = "storesecret"', 'secret_access_key_file = "secret"')
    assert read(tmp_path, text).upstream.secret_access_key == "from-the-file"
    environ = {
        "SSE_KMS_PROXY_UPSTREAM_ACCESS_KEY_ID": "other",
        "SSE_KMS_PROXY_UPSTREAM_SECRET_ACCESS_KEY": "from-the-environment",
        "SSE_KMS_PROXY_USER_ADMIN_SECRET_ACCESS_KEY": "the-admins-secret",
        "SSE_KMS_PROXY_ROOT_KEY": ROOT_KEY,
        "UNRELATED": "is left alone",
    }
    config = read(tmp_path, text, environ)
    assert config.upstream.access_key_id == "other"
    assert config.upstream.secret_access_key == "from-the-environment"
    assert config.users[0].secret == "the-admins-secret"
    assert config.keys.root_key == bytes(range(32))
    assert config.keys.root_key_file is None


def test_a_users_variable_is_its_name_in_capitals(tmp_path: Path) -> None:
    text = WHOLE.replace('name = "admin"', 'name = "back-up.1"').replace('secret_access_key = "admin-secret"\n', "")
    environ = {"SSE_KMS_PROXY_USER_BACK_UP_1_SECRET_ACCESS_KEY": "eight characters"}
    assert read(tmp_path, text, environ).users[0].secret == "eight characters"


def test_no_secret_shows_in_its_representation(tmp_path: Path) -> None:
    shown = repr(read(tmp_path, WHOLE, {"SSE_KMS_PROXY_ROOT_KEY": ROOT_KEY}))
    assert "storekey" in shown
    for secret in ("storesecret", "admin-secret", ROOT_KEY, repr(bytes(range(32)))):
        assert secret not in shown


def test_it_goes_through_a_pipe_whole(tmp_path: Path) -> None:
    config = read(tmp_path, WHOLE, {"SSE_KMS_PROXY_ROOT_KEY": ROOT_KEY})
    assert pickle.loads(pickle.dumps(config)) == config


def test_it_is_frozen(tmp_path: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        read(tmp_path, WHOLE).listen.port = 1  # type: ignore[misc]


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    broken = """
    [listen]
    port = 70000
    workers = true
    tls_key = "missing.key"
    colour = "red"
    [upstream]
    url = "127.0.0.1:8333/bucket"
    store = "minoi"
    connect_timeout = 0
    [keys]
    database = 7
    [lmits]
    [[users]]
    name = "admin"
    account = "123"
    access_key_id = "A/B"
    secret_access_key = "short"
    polices = []
    [[users]]
    """
    assert faults(tmp_path, broken, {"SSE_KMS_PROXY_ROOTKEY": "x"}) == [
        f"[listen] tls_key: names a file that does not exist: {tmp_path / 'missing.key'}",
        "[listen] tls_certificate: is required too: https needs both tls_certificate and tls_key",
        "[listen] port: must be from 1 to 65535, not 70000",
        "[listen] workers: must be a whole number, not a boolean",
        "[upstream] access_key_id: is required: a string",
        "[upstream] url: must be http://HOST[:PORT] or https://HOST[:PORT], without path, query or user, not "
        "'127.0.0.1:8333/bucket'",
        "[upstream] secret_access_key: is required (here, or secret_access_key_file, or the environment variable "
        "SSE_KMS_PROXY_UPSTREAM_SECRET_ACCESS_KEY)",
        "[upstream] store: must be one of auto, s3, aws, ceph, minio, seaweedfs, not 'minoi'; did you mean minio?",
        "[upstream] connect_timeout: must be more than 0 and at most 86400 seconds, not 0",
        "[keys] database: must be a string, not a whole number",
        "[keys] root_key_file: is required (or the environment variable SSE_KMS_PROXY_ROOT_KEY)",
        "[state] database: is required: a string",
        "[[users]] admin account: must be twelve digits in quotes, not '123'",
        "[[users]] admin access_key_id: must be 3 to 128 letters, digits and .@+_-",
        "[[users]] admin secret_access_key: must have at least 8 characters",
        "[[users]] admin polices: is not a known key; did you mean policies?",
        "[[users]] number 2 name: is required: a string",
        "[[users]] number 2 account: is required: a string",
        "[[users]] number 2 access_key_id: is required: a string",
        "[[users]] number 2 secret_access_key: is required (here, or secret_access_key_file, or the environment "
        "variable SSE_KMS_PROXY_USER__SECRET_ACCESS_KEY)",
        "[listen] colour: is not a known key",
        "[lmits]: is not a known section; did you mean limits?",
        "environment variable SSE_KMS_PROXY_ROOTKEY: is not one that is read; did you mean SSE_KMS_PROXY_ROOT_KEY?",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "[[users]]: at least one is required: nobody could sign in"),
        ("listen = 3", "[listen]: must be a table, not a whole number"),
        ("users = 3", "[[users]]: at least one is required: nobody could sign in"),
        ("users = [3]", "[[users]] number 1: must be a table, not a whole number"),
        ('[listen]\nhost = ""', "[listen] host: must not be empty"),
        ('[listen]\ndomains = ["S3.example.com"]', "[listen] domains: must be host names in lower case, without port,"),
        ('[listen]\ndomains = "a.example"', "[listen] domains: must be a list of strings, not a string"),
        ("[listen]\ndomains = [1]", "[listen] domains: must be a list of strings, none of them empty"),
        ('[upstream]\nregion = "EU"', "[upstream] region: must be the name of a Region, such as eu-west-1, not 'EU'"),
        ('[sse_s3]\nmd5_etags = "yes"', "[sse_s3] md5_etags: must be true or false, not a string"),
        ("[sse_c]\nenabled = 1", "[sse_c] enabled: must be true or false, not a whole number"),
        ("[bucket_keys]\nuses = 0", "[bucket_keys] uses: must be"),
        ("[bucket_keys]\nlifetime_seconds = -1", "[bucket_keys] lifetime_seconds: must be"),
        ("[copies]\nfresh_data_key = 1", "[copies] fresh_data_key: must be true or false, not a whole number"),
        ("[limits]\nsmall_body_memory = 1.5", "[limits] small_body_memory: must be a whole number, not a number"),
        ('[log]\nlevel = "warn"', "[log] level: must be one of debug, info, warning, error, not 'warn'; did you mean"),
    ],
)
def test_a_fault_names_section_key_and_expectation(tmp_path: Path, text: str, expected: str) -> None:
    assert any(fault.startswith(expected) for fault in faults(tmp_path, text))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            'arn = "arn:aws:iam::444455556666:user/admin"',
            "arn: must be the ARN of an IAM user, role session or root of",
        ),
        ('policies = ["{"]', "policies: a policy given as JSON is not JSON: "),
        ("policies = ['{\"a\": 1}']", "policies: a policy given as JSON must be an IAM policy document"),
        ('policies = ["missing.json"]', "policies: names a file that cannot be read: missing.json: No such file"),
        (
            'secret_access_key_file = "root.key"',
            "secret_access_key: is given twice: here and in secret_access_key_file",
        ),
        ("[[users]]\naccess_key_id = 'AKIAADMIN'", "access_key_id: is another user's too: AKIAADMIN"),
    ],
)
def test_a_fault_of_a_user_names_the_user(tmp_path: Path, line: str, expected: str) -> None:
    found = faults(tmp_path, WHOLE + line)
    assert any(fault.startswith(("[[users]] admin " + expected, "[[users]] number 2 " + expected)) for fault in found)


@pytest.mark.parametrize("text", ["short", base64.b64encode(bytes(31)).decode(), "not base64!" * 4])
def test_a_root_key_that_is_none_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    (fault,) = faults(tmp_path, WHOLE, {"SSE_KMS_PROXY_ROOT_KEY": text})
    assert "must be base64 of 32 bytes" in fault
    assert text not in fault


def test_an_empty_secret_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    text = WHOLE.replace('secret_access_key = "storesecret"', 'secret_access_key_file = "empty"')
    expected = f"[upstream] secret_access_key_file: names an empty file: {tmp_path / 'empty'}"
    assert faults(tmp_path, text)[0] == expected


def test_a_missing_file_and_one_that_is_not_toml_are_faults(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "missing.toml", {})
    (tmp_path / "bad.toml").write_text("[listen\n")
    with pytest.raises(ConfigError, match="is not TOML"):
        load(tmp_path / "bad.toml", {})


def test_an_error_goes_through_a_pipe_whole() -> None:
    copied = pickle.loads(pickle.dumps(ConfigError(["one", "two"])))
    assert copied.faults == ("one", "two")
    assert str(pickle.loads(pickle.dumps(StartError("why")))) == "why"


@pytest.mark.parametrize(
    ("url", "accepted"),
    [
        ("http://store", "http://store"),
        ("https://[::1]:9000/", "https://[::1]:9000"),
        ("ftp://store", None),
        ("http://store/path", None),
        ("http://user@store", None),
        ("http://store?x", None),
        ("http://store:99999", None),
        ("http://:80", None),
        ("http://[::1", None),
    ],
)
def test_the_stores_url_has_no_path(tmp_path: Path, url: str, accepted: str | None) -> None:
    text = WHOLE.replace("http://127.0.0.1:8333", url)
    if accepted is None:
        assert faults(tmp_path, text)[0].startswith("[upstream] url: must be http://HOST[:PORT]")
    else:
        assert read(tmp_path, text).upstream.url == accepted


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("::", False)],
)
def test_sse_kms_over_plain_http_is_for_loopback_unless_the_file_says_otherwise(
    tmp_path: Path, host: str, loopback: bool
) -> None:
    assert is_loopback(host) == loopback
    assert read(tmp_path, f'{WHOLE}[listen]\nhost = "{host}"').listen.allow_plaintext_kms == loopback
    told = f'{WHOLE}[listen]\nhost = "{host}"\nallow_plaintext_kms = {str(not loopback).lower()}'
    assert read(tmp_path, told).listen.allow_plaintext_kms != loopback


VALUES = st.recursive(
    st.booleans() | st.integers(-5, 99999) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)
KEYS = {
    "listen": ["host", "port", "workers", "domains", "tls_certificate", "tls_key", "drain_seconds", "x"],
    "upstream": ["url", "region", "store", "connections", "idle_timeout", "secret_access_key_file", "ca_file", "x"],
    "keys": ["database", "root_key_file"],
    "state": ["database"],
    "limits": ["small_body_memory"],
    "log": ["level"],
}


@given(
    st.fixed_dictionaries({}, optional={name: st.dictionaries(st.sampled_from(k), VALUES) for name, k in KEYS.items()})
)
def test_whatever_stands_in_the_file_is_reported_as_faults(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, dict[str, object]]
) -> None:
    """Without users no configuration is whole; so each of them has to end in faults, never in another error."""
    file = tmp_path_factory.getbasetemp() / "generated.toml"
    sections = [
        [f"[{name}]", *(f"{key} = {json.dumps(v)}" for key, v in table.items())] for name, table in document.items()
    ]
    file.write_text("\n".join(line for section in sections for line in section), encoding="utf-8")
    with pytest.raises(ConfigError):
        load(file, {})
