"""Reads who may call: the users and roles of the configuration, ``[[users]]`` and ``[[roles]]``."""

import json
import re
from collections.abc import Mapping
from typing import Any

from proxy.aws.credentials import AccessKey, Caller, StoreCredentials
from proxy.settings_reader import Environment, Faults, Section, checked
from proxy.sts import trust
from proxy.sts.principals import (
    ADMINISTRATOR_ACCESS,
    DEFAULT_SESSION_DURATION,
    MAX_SESSION_DURATION,
    Role,
    unique_id,
)

_ACCOUNT = re.compile(r"[0-9]{12}")
_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_USER_ARN = re.compile(r"arn:aws[a-z-]*:(?:iam::[0-9]{12}:(?:root|user/\S+)|sts::[0-9]{12}:assumed-role/\S+)")
_ACCESS_KEY_ID = re.compile(r"[\w.@+-]{3,128}", re.ASCII)


def user_id_of(arn: str, account: str) -> str:
    """What STS calls UserId: the account for its root, else an ``AIDA…`` that follows from the ARN."""
    return account if arn.endswith(":root") else unique_id("AIDA", arn)


def read_users(entries: Any, faults: Faults, environment: Environment) -> tuple[AccessKey, ...]:
    if not isinstance(entries, list) or not entries:
        faults.add("[[users]]", "at least one is required: nobody could sign in")
        return ()
    users: list[AccessKey] = []
    for section in _sections("users", entries, faults, environment):
        user = _user(section)
        section.finish()
        if user.id and any(user.id == other.id for other in users):
            section.fault("access_key_id", f"is another user's too: {user.id}")
        users.append(user)
    return tuple(users)


def read_roles(entries: Any, faults: Faults, environment: Environment) -> tuple[Role, ...]:
    if not isinstance(entries, list):
        faults.add("[[roles]]", "must be written with two brackets, once for each role")
        return ()
    roles: list[Role] = []
    for section in _sections("roles", entries, faults, environment):
        role = _role(section)
        section.finish()
        if any(role.arn == other.arn for other in roles):
            section.fault("name", f"is another role's of this account too: {role.name}")
        roles.append(role)
    return tuple(roles)


def _sections(kind: str, entries: list[Any], faults: Faults, environment: Environment) -> list[Section]:
    sections = []
    for number, entry in enumerate(entries, 1):
        name = entry.get("name") if isinstance(entry, dict) else None
        sections.append(Section(f"[[{kind}]] {name or f'number {number}'}", entry, faults, environment))
    return sections


def _name_and_account(section: Section) -> tuple[str, str]:
    name, account = section.text("name"), section.text("account")
    if name and not _NAME.fullmatch(name):
        section.fault("name", "must be 1 to 64 letters, digits and +=,.@_-")
    if account and not _ACCOUNT.fullmatch(account):
        section.fault("account", f"must be twelve digits in quotes, not {account!r}")
    return name, account


def _user(section: Section) -> AccessKey:
    name, account = _name_and_account(section)
    arn = section.text("arn", f"arn:aws:iam::{account}:user/{name}")
    if section.has("arn") and not (_USER_ARN.fullmatch(arn) and f"::{account}:" in arn):
        section.fault("arn", f"must be the ARN of an IAM user, role session or root of account {account}, not {arn!r}")
    access_key_id = section.text("access_key_id")
    if access_key_id and not _ACCESS_KEY_ID.fullmatch(access_key_id):
        section.fault("access_key_id", "must be 3 to 128 letters, digits and .@+_-")
    secret = section.secret("secret_access_key", f"{_variable('USER', name)}_SECRET_ACCESS_KEY")
    if secret and len(secret) < 8:
        section.fault("secret_access_key", "must have at least 8 characters")
    policies = tuple(_policies(section))
    caller = Caller(
        account=account,
        arn=arn,
        user_id=section.text("user_id", user_id_of(arn, account)),
        access_key_id=access_key_id,
        policies=policies,
        store=_store_credentials(section, _variable("USER", name)),
    )
    return AccessKey(id=access_key_id, secret=secret, caller=caller)


def _role(section: Section) -> Role:
    name, account = _name_and_account(section)
    nobody: Mapping[str, Any] = {}
    trust_policy = checked(section, "trust_policy", lambda: _trust_policy(section), nobody)
    return Role(
        account=account,
        name=name,
        trust_policy=trust_policy,
        policies=tuple(_policies(section)),
        max_session_duration=section.integer(
            "max_session_duration", DEFAULT_SESSION_DURATION, DEFAULT_SESSION_DURATION, MAX_SESSION_DURATION
        ),
        not_before=section.optional_time("not_before"),
        store=_store_credentials(section, _variable("ROLE", name)),
    )


def _variable(kind: str, name: str) -> str:
    """The beginning of the environment variables that speak of a user or role."""
    return f"{kind}_{re.sub('[^A-Za-z0-9]', '_', name).upper()}"


def _store_credentials(section: Section, variable: str) -> StoreCredentials | None:
    """``upstream_access_key_id`` and its secret: what the store is asked with on a principal's behalf."""
    secret = section.optional_secret("upstream_secret_access_key", f"{variable}_UPSTREAM_SECRET_ACCESS_KEY")
    if not section.has("upstream_access_key_id"):
        if secret is not None:
            section.fault("upstream_access_key_id", "is required beside upstream_secret_access_key")
        return None
    access_key_id = section.text("upstream_access_key_id")
    if secret is None:
        section.fault("upstream_secret_access_key", "is required beside upstream_access_key_id")
    return StoreCredentials(access_key_id, secret or "")


def _trust_policy(section: Section) -> Mapping[str, Any]:
    """Raises ValueError."""
    text = section.text("trust_policy")
    if not text:
        return {}
    document = _policy(section, text)
    trust.parse(document)
    return document


def _policies(section: Section) -> list[Mapping[str, Any]]:
    """``policies``: each an IAM policy document as JSON, or the name of a file that holds one."""
    documents = [ADMINISTRATOR_ACCESS] if section.boolean("administrator", default=False) else []
    for text in section.texts("policies"):
        document = checked(section, "policies", lambda text=text: _policy(section, text), None)  # type: ignore[misc]
        if document is not None:
            documents.append(document)
    return documents


def _policy(section: Section, text: str) -> Mapping[str, Any]:
    inline = text.lstrip().startswith("{")
    where = "a policy given as JSON" if inline else text
    try:
        document = json.loads(text if inline else section.folder.joinpath(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"names a file that cannot be read: {text}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}") from error
    if not isinstance(document, dict) or "Statement" not in document:
        raise ValueError(f"{where} must be an IAM policy document, a JSON object with Statement")
    return document
