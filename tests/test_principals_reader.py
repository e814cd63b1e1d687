"""Roles, quotas and the audit log in the configuration: what a whole one gives, and every fault of a broken one."""

import json
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from proxy.aws.credentials import StoreCredentials
from proxy.config import AuditSettings, QuotaSettings
from proxy.kms.quotas import GROUPS
from proxy.principals_reader import user_id_of
from proxy.sts.principals import ADMINISTRATOR_ACCESS, Principals
from tests.test_config import WHOLE, faults, read

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}],
}


def role(**settings: Any) -> str:
    given: dict[str, Any] = {"name": "deploy", "account": "111122223333", "trust_policy": json.dumps(TRUST), **settings}
    lines = [f"{key} = {json.dumps(value)}" for key, value in given.items() if value is not None]
    return "\n".join([WHOLE, "[[roles]]", *lines, ""])


def test_a_role(tmp_path: Path) -> None:
    (made,) = read(tmp_path, role()).roles
    assert made.arn == "arn:aws:iam::111122223333:role/deploy"
    assert made.trust_policy == TRUST
    assert made.policies == ()
    assert made.max_session_duration == 3600
    assert made.not_before is None
    text = role(administrator=True, max_session_duration=43_200) + "not_before = 2026-11-23T07:30:00+01:00\n"
    config = read(tmp_path, text)
    (made,) = config.roles
    assert made.policies == (ADMINISTRATOR_ACCESS,)
    assert made.max_session_duration == 43_200
    assert made.not_before == datetime(2026, 11, 23, 6, 30, tzinfo=UTC)
    assert pickle.loads(pickle.dumps(config)) == config


def test_a_trust_policy_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "trust.json").write_text(json.dumps(TRUST))
    (made,) = read(tmp_path, role(trust_policy="trust.json")).roles
    assert made.trust_policy == TRUST


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"name": "with space"}, "name: must be 1 to 64 letters, digits and +=,.@_-"),
        ({"account": "1"}, "account: must be twelve digits in quotes, not '1'"),
        ({"trust_policy": None}, "trust_policy: is required: a string"),
        ({"trust_policy": "{"}, "trust_policy: a policy given as JSON is not JSON"),
        ({"trust_policy": '{"Statement": []}'}, "trust_policy: Statement is empty"),
        ({"trust_policy": json.dumps(ADMINISTRATOR_ACCESS)}, "trust_policy: Has prohibited field Resource"),
        ({"trust_policy": "missing.json"}, "trust_policy: names a file that cannot be read"),
        ({"max_session_duration": 3599}, "max_session_duration: must be from 3600 to 43200, not 3599"),
        ({"max_session_duration": 43_201}, "max_session_duration: must be from 3600 to 43200, not 43201"),
        (
            {"not_before": "2026-11-23"},
            "not_before: must be a date and time, such as 2026-11-23T06:00:00Z, not a string",
        ),
        ({"max_session_durration": 1}, "max_session_durration: is not a known key; did you mean max_session_duration?"),
    ],
)
def test_faults_of_a_role(tmp_path: Path, settings: dict[str, Any], fault: str) -> None:
    (found,) = faults(tmp_path, role(**settings))
    assert found.startswith(f"[[roles]] {settings.get('name', 'deploy')} {fault}")


def test_a_time_without_its_offset(tmp_path: Path) -> None:
    (found,) = faults(tmp_path, role() + "not_before = 2026-11-23T06:00:00\n")
    assert found.endswith("not_before: must name its offset from UTC, such as the Z of 2026-11-23T06:00:00Z")


def test_two_roles_of_one_name(tmp_path: Path) -> None:
    twice = role() + role().removeprefix(WHOLE)
    assert faults(tmp_path, twice) == ["[[roles]] deploy name: is another role's of this account too: deploy"]
    other = role() + role(account="444455556666").removeprefix(WHOLE)
    assert len(read(tmp_path, other).roles) == 2


def test_roles_that_are_no_list(tmp_path: Path) -> None:
    (found,) = faults(tmp_path, WHOLE + '[roles]\nname = "x"\n')
    assert found == "[[roles]]: must be written with two brackets, once for each role"


def test_quotas(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE).quotas == QuotaSettings()
    text = WHOLE + (
        "[quotas]\nmanagement = false\nkeys = 10\naliases_per_key = 2\ngrants_per_key = 3\n"
        "[quotas.requests_per_second]\ncryptographic_symmetric = 500\nCreateKey = 50\n"
    )
    assert read(tmp_path, text).quotas == QuotaSettings(
        management=False,
        requests_per_second={"cryptographic_symmetric": 500, "CreateKey": 50},
        keys=10,
        aliases_per_key=2,
        grants_per_key=3,
    )
    every = "\n".join(f"{group} = 7" for group in sorted(GROUPS))
    config = read(tmp_path, f"{WHOLE}[quotas.requests_per_second]\n{every}\n")
    assert set(config.quotas.requests_per_second) == GROUPS


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("CreateKeys = 5", "CreateKeys: is not a known key; did you mean CreateKey?"),
        ("CreateKey = 0", "CreateKey: must be from 1 to 10000000, not 0"),
        ("CreateKey = 1.5", "CreateKey: must be a whole number, not a number"),
        ("Encrypt = 1", "Encrypt: is not a known key"),
    ],
)
def test_faults_of_quotas(tmp_path: Path, line: str, fault: str) -> None:
    (found,) = faults(tmp_path, f"{WHOLE}[quotas.requests_per_second]\n{line}\n")
    assert found.startswith(f"[quotas.requests_per_second] {fault}")


def test_the_audit_log(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE).audit is None
    text = WHOLE + '[audit]\ndirectory = "audit"\n'
    assert read(tmp_path, text).audit == AuditSettings(tmp_path / "audit")
    config = read(tmp_path, text + "write_through = true\nfile_size = 4096\n")
    assert config.audit == AuditSettings(tmp_path / "audit", write_through=True, file_size=4096)
    assert faults(tmp_path, WHOLE + "[audit]\n") == ["[audit] directory: is required: a string"]


def test_unique_ids() -> None:
    assert user_id_of("arn:aws:iam::111122223333:root", "111122223333") == "111122223333"
    id = user_id_of("arn:aws:iam::111122223333:user/alice", "111122223333")
    assert id.startswith("AIDA")
    assert len(id) == 21


def test_principals_by_their_names(tmp_path: Path) -> None:
    config = read(tmp_path, role())
    principals = Principals(config.users, config.roles)
    assert principals.access_key("AKIAADMIN") == config.users[0]
    assert principals.user("arn:aws:iam::111122223333:user/admin") == config.users[0].caller
    assert principals.role("arn:aws:iam::111122223333:role/deploy") == config.roles[0]
    for unknown in ("arn:aws:iam::111122223333:user/other", "arn:aws:iam::111122223333:role/other"):
        assert not principals.exists(unknown)
    assert principals.exists("arn:aws:iam::111122223333:role/deploy")
    principals.replace(config.users, ())
    assert principals.role("arn:aws:iam::111122223333:role/deploy") is None
    assert not principals.exists("arn:aws:iam::111122223333:role/deploy")
    assert principals.generation == 2


def with_store(kind: str, **settings: str) -> str:
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    return role() + lines if kind == "roles" else WHOLE + lines


@pytest.mark.parametrize("kind", ["users", "roles"])
def test_credentials_of_ones_own_at_the_store(tmp_path: Path, kind: str) -> None:
    def store_of(text: str, **environ: str) -> StoreCredentials | None:
        config = read(tmp_path, text, environ)
        return config.roles[-1].store if kind == "roles" else config.users[-1].caller.store

    own = {"upstream_access_key_id": "STOREKEY", "upstream_secret_access_key": "hidden-away"}
    assert store_of(with_store(kind)) is None
    assert store_of(with_store(kind, **own)) == StoreCredentials("STOREKEY", "hidden-away")
    (tmp_path / "secret").write_text("from a file\n")
    in_file = with_store(kind, upstream_access_key_id="STOREKEY", upstream_secret_access_key_file="secret")
    assert store_of(in_file) == StoreCredentials("STOREKEY", "from a file")
    text = with_store(kind, upstream_access_key_id="STOREKEY")
    name = "ROLE_DEPLOY" if kind == "roles" else "USER_ADMIN"
    variable = f"SSE_KMS_PROXY_{name}_UPSTREAM_SECRET_ACCESS_KEY"
    assert store_of(text, **{variable: "from outside"}) == StoreCredentials("STOREKEY", "from outside")
    config = read(tmp_path, with_store(kind, **own))
    assert "hidden-away" not in repr(config)
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize("kind", ["users", "roles"])
def test_half_of_ones_own_credentials_is_a_fault(tmp_path: Path, kind: str) -> None:
    found = faults(tmp_path, with_store(kind, upstream_access_key_id="STOREKEY"))
    assert [line for line in found if "upstream_secret_access_key: is required beside" in line]
    found = faults(tmp_path, with_store(kind, upstream_secret_access_key="hidden-away"))
    assert [line for line in found if "upstream_access_key_id: is required beside" in line]
    assert not [line for line in found if "hidden-away" in line]
