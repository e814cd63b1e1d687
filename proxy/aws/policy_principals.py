"""Principals in policies of resources, and how far a statement that names some reaches a caller.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final, Protocol

from proxy.aws import arn
from proxy.aws.arn import Arn
from proxy.aws.credentials import Caller

ACCOUNT: Final = re.compile(r"\d{12}")


class Reach(IntEnum):
    """How what is allowed to named principals reaches a caller, from the weakest to the strongest."""

    NOT = 0
    ACCOUNT = 1
    """By its account: the caller's own policies and those of its session have the last word."""
    ROLE = 2
    """By its role: the session's policies have the last word."""
    DIRECT = 3
    """By itself, or as anybody."""


class PrincipalDirectory(Protocol):
    """Which principals there are."""

    def exists(self, principal: str) -> bool:
        """Whether this ARN of a user, role or session names one, as far as it is known here: of accounts that are
        not, every principal is taken to exist."""
        ...


@dataclass(frozen=True)
class Directory(PrincipalDirectory):
    """The principals of the accounts that this endpoint serves."""

    accounts: frozenset[str]
    arns: frozenset[str]
    """Of users, roles and fixed sessions."""

    @classmethod
    def of(cls, callers: Iterable[Caller], roles: Iterable[str] = ()) -> "Directory":
        """``roles`` are the ARNs of roles that can be assumed."""
        arns = {*roles}
        accounts = {arn.parse(role).account for role in arns}
        for caller in callers:
            accounts.add(caller.account)
            arns |= names(caller)
        return cls(frozenset(accounts), frozenset(arns))

    def exists(self, principal: str) -> bool:
        parsed = arn.parse(principal)
        if parsed.account not in self.accounts or parsed.resource == "root" or principal in self.arns:
            return True
        if parsed.service != "sts" or parsed.resource_type != "assumed-role":
            return False
        role = parsed.resource_id.partition("/")[0]
        return any(name.endswith(f"/{role}") and f"::{parsed.account}:role/" in name for name in self.arns)


@dataclass(frozen=True)
class Principals:
    """The AWS principals of a statement. Those of other kinds, such as services, match no caller."""

    everyone: bool = False
    accounts: frozenset[str] = frozenset()
    arns: frozenset[str] = frozenset()

    def reach(self, caller: Caller) -> Reach:
        if self.everyone or caller.arn in self.arns:
            return Reach.DIRECT
        if caller.account in self.accounts and is_root(caller):
            return Reach.DIRECT
        if self.arns and not self.arns.isdisjoint(names(caller)):
            return Reach.ROLE
        return Reach.ACCOUNT if caller.account in self.accounts else Reach.NOT

    def lists(self, caller: Caller) -> bool:
        """Whether NotPrincipal excepts the caller from a Deny. AWS asks to list a principal and its account: who is
        listed by half is denied."""
        if self.everyone:
            return True
        return caller.account in self.accounts and (is_root(caller) or not self.arns.isdisjoint(names(caller)))


def reach(principal: str, caller: Caller) -> Reach:
    """How far what is given to one principal, named by its ARN, reaches a caller."""
    return _single(principal).reach(caller)


def is_root(caller: Caller) -> bool:
    """Whether the caller is its account's root user."""
    return caller.arn.endswith(":root")


def account_root(caller: Caller) -> str:
    """The ARN of the caller's account."""
    return f"arn:{arn.parse(caller.arn).partition}:iam::{caller.account}:root"


def names(caller: Caller) -> frozenset[str]:
    """The ARNs that name a caller: its own, and for a role's session the role's. An anonymous caller has none."""
    role = caller.session.role_arn if caller.session is not None else None
    return _names(caller.arn, role)


@lru_cache(maxsize=1024)
def _names(principal: str, role: str | None) -> frozenset[str]:
    if not principal:
        return frozenset()
    if role is None:
        parsed = arn.parse(principal)
        if parsed.service != "sts" or parsed.resource_type != "assumed-role":
            return frozenset((principal,))
        # A session that was not made here: its role's path is not known.
        role = f"arn:{parsed.partition}:iam::{parsed.account}:role/{parsed.resource_id.partition('/')[0]}"
    return frozenset((principal, role))


@lru_cache(maxsize=4096)
def _single(principal: str) -> Principals:
    parsed = parse(principal)
    if parsed.resource == "root":
        return Principals(accounts=frozenset((parsed.account,)))
    return Principals(arns=frozenset((principal,)))


_KINDS: Final = {"iam": {"user", "role"}, "sts": {"assumed-role", "federated-user"}}


def parse(principal: str) -> Arn:
    """The ARN of an account's root, a user, a role, or a session.

    Raises:
        ValueError: it is none of these.
    """
    parsed = arn.parse(principal)
    kinds = _KINDS.get(parsed.service)
    if kinds is None or parsed.region or not ACCOUNT.fullmatch(parsed.account):
        raise ValueError("not a principal")
    if parsed.service == "iam" and parsed.resource == "root":
        return parsed
    if parsed.resource_type not in kinds or not parsed.resource_id or "*" in principal or "?" in principal:
        raise ValueError("not a principal")
    if parsed.resource_type == "assumed-role" and parsed.resource_id.count("/") != 1:
        raise ValueError("not a principal")
    return parsed
