"""The settings: one TOML file, with secrets from the environment or from files where wanted.

``load`` is the only reader of the environment. These variables are read, and win over the file:

``SSE_KMS_PROXY_UPSTREAM_ACCESS_KEY_ID``, ``SSE_KMS_PROXY_UPSTREAM_SECRET_ACCESS_KEY``
    the credentials at the store behind;
``SSE_KMS_PROXY_ROOT_KEY``
    the root key itself (base64 of 32 bytes), instead of ``root_key_file``;
``SSE_KMS_PROXY_NEW_ROOT_KEY``
    what ``root-key rotate`` rotates to, instead of ``--new-root-key-file``;
``SSE_KMS_PROXY_KEYS_ACCESS_KEY_ID``, ``SSE_KMS_PROXY_KEYS_SECRET_ACCESS_KEY``
    the credentials at AWS KMS, where keys come from there;
``SSE_KMS_PROXY_USER_<NAME>_SECRET_ACCESS_KEY``
    a user's secret; the name in capitals, with ``_`` for whatever is not a letter or digit;
``SSE_KMS_PROXY_USER_<NAME>_UPSTREAM_SECRET_ACCESS_KEY``, ``SSE_KMS_PROXY_ROLE_<NAME>_UPSTREAM_SECRET_ACCESS_KEY``
    the secret of a user's or role's own credentials at the store behind.

Any secret ``x`` may also stand in a file that ``x_file`` names. Files are relative to the configuration file.
"""

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from proxy.aws.credentials import AccessKey
from proxy.keys_reader import REGION_NAME, KeysSettings, read_keys
from proxy.kms.quotas import GROUPS
from proxy.principals_reader import read_roles, read_users
from proxy.s3.upstream.profiles import PROFILES
from proxy.settings_reader import Environment, Faults, Section, checked, suggestion
from proxy.sts.principals import Role

AUTO: Final = "auto"
STORES: Final = (AUTO, *PROFILES)
LOG_LEVELS: Final = ("debug", "info", "warning", "error")

_SECTIONS: Final = (
    "listen",
    "upstream",
    "keys",
    "state",
    "limits",
    "sse_s3",
    "sse_c",
    "bucket_keys",
    "copies",
    "quotas",
    "audit",
    "log",
)

_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


class StartError(Exception):
    """What keeps the program from starting; its message is for the operator, one line each."""


class ConfigError(StartError):
    """The configuration cannot be used; every fault is in ``faults``, one line each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)

    def __reduce__(self) -> tuple[Any, ...]:
        return ConfigError, (list(self.faults),)


@dataclass(frozen=True)
class Listen:
    """``[listen]``: where the endpoint listens."""

    host: str = "127.0.0.1"
    port: int = 9000
    workers: int = 1
    """Processes that serve the port; by default as many as there are cores."""
    domains: tuple[str, ...] = ()
    """Base domains of virtual-hosted style: ``bucket.DOMAIN``. ``localhost`` needs no entry."""
    tls_certificate: Path | None = None
    """PEM, with the chain. Both this and ``tls_key``, or neither."""
    tls_key: Path | None = None
    any_region: bool = True
    """Whether a bucket is served to requests signed for another Region; AWS refuses them."""
    allow_plaintext_kms: bool = True
    """Whether SSE-KMS requests are answered over plain http; by default on a loopback address only."""
    drain_seconds: float = 30.0
    """How long requests under way may take to end after SIGTERM."""


@dataclass(frozen=True)
class UpstreamSettings:
    """``[upstream]``: the S3 store behind the proxy."""

    url: str
    """``http://`` or ``https://``, host and perhaps port; no path."""
    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str = "us-east-1"
    """The Region that requests to the store are signed for."""
    store: str = AUTO
    """Which store it is: names the quirks to expect; ``auto``: it is asked when a worker starts."""
    connections: int = 256
    """The most connections to the store per worker."""
    connect_timeout: float = 5.0
    first_byte_timeout: float = 60.0
    """Seconds from the end of the request to the first byte of the answer."""
    idle_timeout: float = 60.0
    """Seconds without a byte in either direction while a body is under way."""
    ca_file: Path | None = None
    """PEM of the authorities to trust for https instead of the system's."""
    sign_anonymous: bool = False
    """Whether requests that nobody has signed go to the store with the proxy's own credentials once the bucket's policy
    allows them; else they go unsigned, and the store must allow them, too."""


@dataclass(frozen=True)
class StateSettings:
    """``[state]``: what the gateway remembers of buckets, uploads and objects."""

    database: Path


@dataclass(frozen=True)
class Limits:
    """``[limits]``, per worker."""

    small_body_memory: int = 256 * 1024 * 1024
    """Bytes of bodies that are read whole and held at once; past it, 503 SlowDown."""


@dataclass(frozen=True)
class SseS3Settings:
    """``[sse_s3]``."""

    md5_etags: bool = True
    """Whether the ETag of an SSE-S3 object is the MD5 of its plaintext, as on AWS; it costs CPU on upload."""


@dataclass(frozen=True)
class SseCSettings:
    """``[sse_c]``: encryption with keys that clients bring."""

    enabled: bool = True
    """Whether there is SSE-C at all. Without it, no object under it can be read either."""
    blocked_on_new_buckets: bool = True
    """Whether a new or newly adopted bucket refuses new objects under SSE-C until PutBucketEncryption unblocks it, as
    on AWS since 2026-04."""


@dataclass(frozen=True)
class CopySettings:
    """``[copies]``."""

    fresh_data_key: bool = False
    """Whether a copy is sealed anew under a data key of its own. Else its source's key is wrapped anew where that can
    be, and the data stays in the store."""


@dataclass(frozen=True)
class BucketKeySettings:
    """``[bucket_keys]``: how long an S3 Bucket Key is kept, in memory, before the key service is asked again."""

    lifetime_seconds: int = 300
    """0: the key service is asked each time."""
    uses: int = 10_000


@dataclass(frozen=True)
class QuotaSettings:
    """``[quotas]``: AWS's request quotas and resource quotas, or others."""

    management: bool = True
    """Whether the operations on keys have their quotas too, rather than cryptographic operations alone."""
    requests_per_second: Mapping[str, int] = field(default_factory=dict)
    """``[quotas.requests_per_second]``: by group (``proxy.kms.quotas.GROUPS``), in place of AWS's."""
    keys: int = 100_000
    """KMS keys per account and Region."""
    aliases_per_key: int = 50
    grants_per_key: int = 50_000


@dataclass(frozen=True)
class AuditSettings:
    """``[audit]``: the log of every call to the key service and every use of a key by S3."""

    directory: Path
    write_through: bool = False
    """Whether an event is on the disk before its call is answered; else within a second."""
    file_size: int = 100 * 1024 * 1024
    """Bytes after which a file is followed by the next one."""


@dataclass(frozen=True)
class Config:
    """Everything that a worker needs to know. It can be pickled: workers get it through a pipe."""

    listen: Listen
    upstream: UpstreamSettings
    keys: KeysSettings
    state: StateSettings
    users: tuple[AccessKey, ...]
    roles: tuple[Role, ...] = ()
    limits: Limits = Limits()
    sse_s3: SseS3Settings = SseS3Settings()
    sse_c: SseCSettings = SseCSettings()
    bucket_keys: BucketKeySettings = BucketKeySettings()
    copies: CopySettings = CopySettings()
    quotas: QuotaSettings = QuotaSettings()
    audit: AuditSettings | None = None
    """None: no events are recorded."""
    log_level: str = "info"
    file: Path | None = None
    """Where it was read from; None where the program made it."""


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Reads and checks the configuration.

    Raises:
        ConfigError: with every fault of the file and the environment, not only the first.
    """
    faults = Faults(path)
    document = _parse(path)
    environment = Environment(environ)

    def section(name: str) -> Section:
        return Section(f"[{name}]", document.pop(name, {}), faults, environment)

    has_audit = "audit" in document
    sections = {name: section(name) for name in _SECTIONS}
    config = Config(
        listen=_listen(sections["listen"]),
        upstream=_upstream(sections["upstream"], environment),
        keys=read_keys(sections["keys"], environment),
        state=StateSettings(database=sections["state"].path("database", exists=False)),
        limits=_limits(sections["limits"]),
        sse_s3=SseS3Settings(md5_etags=sections["sse_s3"].boolean("md5_etags", SseS3Settings.md5_etags)),
        sse_c=_sse_c(sections["sse_c"]),
        bucket_keys=_bucket_keys(sections["bucket_keys"]),
        copies=CopySettings(sections["copies"].boolean("fresh_data_key", CopySettings.fresh_data_key)),
        quotas=_quotas(sections["quotas"]),
        audit=_audit(sections["audit"]) if has_audit else None,
        log_level=sections["log"].choice("level", LOG_LEVELS, "info"),
        users=read_users(document.pop("users", []), faults, environment),
        roles=read_roles(document.pop("roles", []), faults, environment),
        file=path,
    )
    for each in sections.values():
        each.finish()
    for name in document:
        faults.add(f"[{name}]", "is not a known section" + suggestion(name, [*sections, "users", "roles"]))
    environment.report_unknown(faults)
    if faults.lines:
        raise ConfigError(faults.lines)
    return config


def is_loopback(host: str) -> bool:
    """Whether a listening address is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: is not TOML: {error}"]) from error


def _listen(section: Section) -> Listen:
    host = section.text("host", Listen.host)
    certificate, key = section.optional_path("tls_certificate"), section.optional_path("tls_key")
    if (certificate is None) != (key is None):
        missing = "tls_certificate" if certificate is None else "tls_key"
        section.fault(missing, "is required too: https needs both tls_certificate and tls_key")
    domains = section.texts("domains")
    for domain in domains:
        if not _DOMAIN.fullmatch(domain):
            section.fault("domains", f"must be host names in lower case, without port, not {domain!r}")
    return Listen(
        host=host,
        port=section.integer("port", Listen.port, 1, 65535),
        workers=section.integer("workers", available_cores(), 1, 1024),
        domains=domains,
        tls_certificate=certificate,
        tls_key=key,
        any_region=section.boolean("any_region", Listen.any_region),
        allow_plaintext_kms=section.boolean("allow_plaintext_kms", is_loopback(host)),
        drain_seconds=section.seconds("drain_seconds", Listen.drain_seconds),
    )


def _upstream(section: Section, environment: Environment) -> UpstreamSettings:
    access_key_id = environment.get("UPSTREAM_ACCESS_KEY_ID")
    if access_key_id is None or section.has("access_key_id"):
        inline = section.text("access_key_id")
        access_key_id = access_key_id or inline
    region = section.text("region", UpstreamSettings.region)
    if not REGION_NAME.fullmatch(region):
        section.fault("region", f"must be the name of a Region, such as eu-west-1, not {region!r}")
    url = section.text("url")
    return UpstreamSettings(
        url=checked(section, "url", lambda: _store_url(url), url) if url else "",
        access_key_id=access_key_id,
        secret_access_key=section.secret("secret_access_key", "UPSTREAM_SECRET_ACCESS_KEY"),
        region=region,
        store=section.choice("store", STORES, AUTO),
        connections=section.integer("connections", UpstreamSettings.connections, 1, 65535),
        connect_timeout=section.seconds("connect_timeout", UpstreamSettings.connect_timeout),
        first_byte_timeout=section.seconds("first_byte_timeout", UpstreamSettings.first_byte_timeout),
        idle_timeout=section.seconds("idle_timeout", UpstreamSettings.idle_timeout),
        ca_file=section.optional_path("ca_file"),
        sign_anonymous=section.boolean("sign_anonymous", UpstreamSettings.sign_anonymous),
    )


def _store_url(url: str) -> str:
    """The URL without a final slash. Raises ValueError."""
    expectation = f"must be http://HOST[:PORT] or https://HOST[:PORT], without path, query or user, not {url!r}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(expectation) from None
    whole = parts.scheme in {"http", "https"} and parts.hostname and port != 0
    if not whole or parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(expectation)
    return f"{parts.scheme}://{parts.netloc}"


def _limits(section: Section) -> Limits:
    mebibyte = 1024 * 1024
    memory = section.integer("small_body_memory", Limits.small_body_memory, 8 * mebibyte, 1 << 40)
    return Limits(small_body_memory=memory)


def _sse_c(section: Section) -> SseCSettings:
    return SseCSettings(
        enabled=section.boolean("enabled", SseCSettings.enabled),
        blocked_on_new_buckets=section.boolean("blocked_on_new_buckets", SseCSettings.blocked_on_new_buckets),
    )


def _bucket_keys(section: Section) -> BucketKeySettings:
    return BucketKeySettings(
        lifetime_seconds=section.integer("lifetime_seconds", BucketKeySettings.lifetime_seconds, 0, 86_400),
        uses=section.integer("uses", BucketKeySettings.uses, 1, 10**9),
    )


def _quotas(section: Section) -> QuotaSettings:
    rates = section.subsection("requests_per_second")
    settings = QuotaSettings(
        management=section.boolean("management", QuotaSettings.management),
        requests_per_second=rates.integers(GROUPS, 1, 10_000_000),
        keys=section.integer("keys", QuotaSettings.keys, 1, 10**9),
        aliases_per_key=section.integer("aliases_per_key", QuotaSettings.aliases_per_key, 1, 10**6),
        grants_per_key=section.integer("grants_per_key", QuotaSettings.grants_per_key, 1, 10**6),
    )
    rates.finish()
    return settings


def _audit(section: Section) -> AuditSettings:
    return AuditSettings(
        directory=section.path("directory", exists=False),
        write_through=section.boolean("write_through", AuditSettings.write_through),
        file_size=section.integer("file_size", AuditSettings.file_size, 4096, 1 << 40),
    )
