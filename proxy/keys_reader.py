"""``[keys]`` of the configuration: where keys come from, and the root key."""

import base64
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from proxy.kms.providers.aws_settings import AwsKms
from proxy.settings_reader import Environment, Section, checked

PROVIDERS: Final = ("embedded", "aws")

REGION_NAME: Final = re.compile(r"[a-z]{2,}(-[a-z0-9]+)+|[a-z]+")
_URL: Final = re.compile(r"https?://[^/?#@\s]+")


@dataclass(frozen=True)
class KeysSettings:
    """``[keys]``: the key service. Exactly one of ``root_key_file`` and ``root_key`` is there."""

    database: Path
    root_key_file: Path | None = None
    """Base64 of 32 bytes; nobody but its owner may have any right on it."""
    root_key: bytes | None = field(default=None, repr=False)
    """32 bytes, from the environment."""
    new_root_key: bytes | None = field(default=None, repr=False)
    """32 bytes, from the environment: what ``root-key rotate`` is to rotate to."""
    aws: AwsKms | None = None
    """Set where S3's data keys come from AWS KMS instead of the key service here."""


def read_keys(section: Section, environment: Environment) -> KeysSettings:
    """Reports every fault; the result is whole only if there was none."""
    text, new = environment.get("ROOT_KEY"), environment.get("NEW_ROOT_KEY")
    root_key_file = section.optional_path("root_key_file", exists=text is None)
    database = section.path("database", exists=False)
    if text is None and root_key_file is None:
        section.fault("root_key_file", "is required (or the environment variable SSE_KMS_PROXY_ROOT_KEY)")
    provider = section.choice("provider", PROVIDERS, "embedded")
    return KeysSettings(
        database=database,
        root_key_file=root_key_file if text is None else None,
        root_key=_root_key(section, "SSE_KMS_PROXY_ROOT_KEY", text),
        new_root_key=_root_key(section, "SSE_KMS_PROXY_NEW_ROOT_KEY", new),
        aws=_aws(section, environment) if provider == "aws" else None,
    )


def _root_key(section: Section, variable: str, text: str | None) -> bytes | None:
    return None if text is None else checked(section, variable, lambda: _parse(text), b"")


def _parse(text: str) -> bytes:
    """Raises ValueError, which says nothing of the key itself."""
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ValueError("must be base64 of 32 bytes, as `openssl rand -base64 32` prints them")
    return key


def _aws(section: Section, environment: Environment) -> AwsKms:
    if not section.has("s3_owned_key_id"):
        section.fault(
            "s3_owned_key_id",
            'is required with provider = "aws": the KMS key behind SSE-S3, since that of S3 itself is closed to others',
        )
    region = _optional(section, "region")
    if region is not None and not REGION_NAME.fullmatch(region):
        section.fault("region", f"must be the name of a Region, such as eu-west-1, not {region!r}")
    endpoint_url = _optional(section, "endpoint_url")
    if endpoint_url is not None and not _URL.fullmatch(endpoint_url):
        section.fault("endpoint_url", f"must be http://HOST[:PORT] or https://HOST[:PORT], not {endpoint_url!r}")
    access_key_id = environment.get("KEYS_ACCESS_KEY_ID") or _optional(section, "access_key_id")
    return AwsKms(
        owned_key_id=section.text("s3_owned_key_id", "-"),
        managed_key_id=_optional(section, "s3_managed_key_id"),
        region=region,
        endpoint_url=endpoint_url,
        access_key_id=access_key_id,
        secret_access_key=(
            section.secret("secret_access_key", "KEYS_SECRET_ACCESS_KEY") if access_key_id is not None else None
        ),
        ca_file=section.optional_path("ca_file"),
        connections=section.integer("connections", AwsKms.connections, 1, 65535),
        connect_timeout=section.seconds("connect_timeout", AwsKms.connect_timeout),
        timeout=section.seconds("timeout", AwsKms.timeout),
    )


def _optional(section: Section, key: str) -> str | None:
    """A text that may be missing."""
    return section.text(key, "") or None
