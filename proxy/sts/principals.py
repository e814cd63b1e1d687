"""The users and roles there are, from the configuration."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from proxy.aws.credentials import AccessKey, Caller, StoreCredentials
from proxy.aws.policy_principals import Directory, PrincipalDirectory

DEFAULT_SESSION_DURATION: Final = 3600
MAX_SESSION_DURATION: Final = 43_200

ADMINISTRATOR_ACCESS: Final[Mapping[str, Any]] = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}
"""The AWS managed policy of this name."""

_S3_RESOURCES: Final = {"Effect": "Allow", "Resource": "*"}

MANAGED_POLICIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "arn:aws:iam::aws:policy/AdministratorAccess": ADMINISTRATOR_ACCESS,
    "arn:aws:iam::aws:policy/AmazonS3FullAccess": {
        "Version": "2012-10-17",
        "Statement": [{**_S3_RESOURCES, "Action": ["s3:*", "s3-object-lambda:*"]}],
    },
    "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess": {
        "Version": "2012-10-17",
        "Statement": [
            {
                **_S3_RESOURCES,
                "Action": [
                    "s3:Get*",
                    "s3:List*",
                    "s3:Describe*",
                    "s3-object-lambda:Get*",
                    "s3-object-lambda:List*",
                ],
            }
        ],
    },
}
"""The AWS managed policies that may be named as session policies.

Source: https://docs.aws.amazon.com/aws-managed-policy/latest/reference/policy-list.html"""


@dataclass(frozen=True)
class Role:
    """A role that may be assumed."""

    account: str
    name: str
    trust_policy: Mapping[str, Any]
    """Who may assume it; a valid trust policy (``proxy.sts.trust``)."""
    policies: tuple[Mapping[str, Any], ...] = ()
    max_session_duration: int = DEFAULT_SESSION_DURATION
    """Seconds, 3600 to 43200."""
    not_before: datetime | None = None
    """Sessions that were issued before this time are over."""
    store: StoreCredentials | None = field(default=None, repr=False)
    """What the store behind is asked with on behalf of its sessions. None: the proxy's own credentials."""

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{self.account}:role/{self.name}"

    @property
    def id(self) -> str:
        """``AROA…``, which follows from the ARN."""
        return unique_id("AROA", self.arn)


def unique_id(prefix: str, arn: str) -> str:
    """An id in the form of IAM's unique ids, that follows from an ARN."""
    return prefix + base64.b32encode(hashlib.sha256(arn.encode()).digest()).decode()[:17]


class Principals(PrincipalDirectory):
    """Users by access key id and by ARN, roles by ARN. ``replace`` takes in a changed configuration."""

    def __init__(self, users: Iterable[AccessKey], roles: Iterable[Role] = ()) -> None:
        self.generation = 0
        """Counts the configurations taken in."""
        self.replace(users, roles)

    def replace(self, users: Iterable[AccessKey], roles: Iterable[Role]) -> None:
        users = tuple(users)
        self._keys = {user.id: user for user in users}
        self._users = {user.caller.arn: user.caller for user in reversed(users)}
        self._roles = {role.arn: role for role in roles}
        self._directory = Directory.of((user.caller for user in users), self._roles)
        self.generation += 1

    def exists(self, principal: str) -> bool:
        """Whether an ARN names a user, role or session; of accounts that are not configured, every one is taken to."""
        return self._directory.exists(principal)

    def access_key(self, id: str) -> AccessKey | None:
        """A long-term access key."""
        return self._keys.get(id)

    def user(self, arn: str) -> Caller | None:
        """The user, or the account's root, of this ARN; the first one where several access keys have it."""
        return self._users.get(arn)

    def role(self, arn: str) -> Role | None:
        return self._roles.get(arn)
