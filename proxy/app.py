"""The composition root: the only module that names concrete classes."""

import asyncio
import logging
import os
import re
import signal
import socket
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import uvloop

from proxy.aws.credentials import AccessKey
from proxy.config import Config
from proxy.kms.providers.embedded import EmbeddedKeyProvider
from proxy.kms.root_keys import file as root_key_file
from proxy.kms.root_keys.file import LocalRootKey
from proxy.kms.service import KeyService
from proxy.kms.stores.sqlite import SqliteKeyStore
from proxy.s3.adoption import adopt_buckets
from proxy.s3.gateway import Gateway, Settings, StoreProfile
from proxy.s3.http_upstream import Credentials, HttpUpstream, Timeouts
from proxy.s3.memory import MemoryBudget
from proxy.s3.operations.table import ROUTES
from proxy.s3.stores.sqlite import SqliteState
from proxy.server.endpoint import Endpoint
from proxy.server.http import HttpServer
from proxy.server.limits import Limits
from proxy.server.s3 import S3Service

STORE_PROFILES: Final[Mapping[str, StoreProfile]] = {
    # Nobody knows what it, or a server in front of it, makes of dot segments: "b/../c/k" must never become "c/k".
    "s3": StoreProfile("s3", unfit_keys=re.compile(r"(?:^|/)\.\.?(?:/|$)")),
    "minio": StoreProfile(
        "minio",
        metadata_limit=2048,
        # A key that ends in "/" is kept under its name with this suffix in place of the slash.
        unfit_keys=re.compile(r"^/|//|__XLDIR__(?:/|$)"),
        sub_resources_read_as_create=frozenset({"logging", "ownershipControls", "requestPayment", "website"}),
    ),
    "seaweedfs": StoreProfile(
        "seaweedfs",
        drops_marker_bodies=True,
        deletes_filled_buckets=True,
        conditional_deletes=True,
        metadata_limit=8192,
        # The folders .uploads and NAME.versions are the store's own: parts of uploads under way, and versions of NAME.
        unfit_keys=re.compile(r"^/|//|\\|(?:^|/)\.uploads(?:/|$)|\.versions/"),
        sub_resources_read_as_create=frozenset({"logging", "metrics", "notification", "website"}),
    ),
}
"""What is known of each kind of store; found by running them."""


class _Users:
    """The configured users' access keys."""

    def __init__(self, users: tuple[AccessKey, ...]) -> None:
        self._by_id = {user.id: user for user in users}

    def find(self, access_key_id: str) -> AccessKey | None:
        return self._by_id.get(access_key_id)


def run_worker(config: Config, listener: socket.socket, name: str, ready: Callable[[], None]) -> None:
    """Serves the endpoint on a listening socket until SIGTERM, then drains.

    ``ready`` is called once, when requests are answered.

    Raises:
        StartError, RootKeyUnusable, WrongRootKey, OSError: it can't start.
    """
    # What no line of the log shows need not be looked up for each.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=config.log_level.upper(), format=f"%(asctime)s {name} %(levelname)s %(name)s %(message)s")
    uvloop.run(_serve(config, listener, name, ready))


async def adopt(
    config: Config, buckets: list[str] | None, mixed: bool, account: str | None, region: str | None
) -> list[str]:
    """Puts buckets of the store on record (all of them for None) and returns the names of those newly adopted.

    Raises:
        ValueError: a bucket is not in the store, or no account was named and the configuration has several.
    """
    state = SqliteState(config.state.database)
    upstream = _upstream(config)
    try:
        return await adopt_buckets(
            upstream,
            state.buckets,
            buckets,
            mixed=mixed,
            account=account or _only_account(config),
            region=region or config.upstream.region,
            now=_now(),
        )
    finally:
        await upstream.aclose()
        await state.aclose()


async def _serve(config: Config, listener: socket.socket, name: str, ready: Callable[[], None]) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    keys = KeyService(SqliteKeyStore(config.keys.database), _root_key(config), _now, os.urandom)
    await keys.start()
    state = SqliteState(config.state.database)
    upstream, short_reads = _upstream(config), _upstream(config)
    gateway = Gateway(
        keys=EmbeddedKeyProvider(keys),
        upstream=upstream,
        short_reads=short_reads,
        buckets=state.buckets,
        uploads=state.uploads,
        objects=state.objects,
        clock=_now,
        random=os.urandom,
        memory=MemoryBudget(config.limits.small_body_memory),
        settings=_settings(config),
    )
    service = S3Service(gateway, ROUTES)
    endpoint = Endpoint(service, keys, _Users(config.users), _now, os.urandom, name)
    server = HttpServer(endpoint.handle, limits=Limits(), malformed=endpoint.malformed)
    await server.start(sock=listener, ssl_context=_server_tls(config))
    ready()
    await stopped.wait()
    await server.stop(config.listen.drain_seconds)
    await upstream.aclose()
    await short_reads.aclose()
    await state.aclose()
    await keys.aclose()


def _now() -> datetime:
    return datetime.now(UTC)


def _root_key(config: Config) -> LocalRootKey:
    key = config.keys.root_key
    if key is None:
        assert config.keys.root_key_file is not None  # noqa: S101 - config.load has seen to it
        key = root_key_file.load(config.keys.root_key_file)
    return LocalRootKey(key, os.urandom)


def _upstream(config: Config) -> HttpUpstream:
    settings = config.upstream
    context = None
    if settings.url.startswith("https://"):
        context = ssl.create_default_context(cafile=settings.ca_file)
    return HttpUpstream(
        settings.url,
        Credentials(settings.access_key_id, settings.secret_access_key),
        settings.region,
        clock=_now,
        timeouts=Timeouts(
            connect=settings.connect_timeout, first_byte=settings.first_byte_timeout, idle=settings.idle_timeout
        ),
        connections=settings.connections,
        ssl_context=context,
    )


def _settings(config: Config) -> Settings:
    return Settings(
        store=STORE_PROFILES[config.upstream.store],
        upstream_region=config.upstream.region,
        domains=("localhost", *config.listen.domains),
        any_region=config.listen.any_region,
        kms_over_plain_http=config.listen.allow_plaintext_kms,
        md5_etags=config.sse_s3.md5_etags,
    )


def _server_tls(config: Config) -> ssl.SSLContext | None:
    if config.listen.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config.listen.tls_certificate, config.listen.tls_key)
    return context


def _only_account(config: Config) -> str:
    accounts = {user.caller.account for user in config.users}
    if len(accounts) != 1:
        raise ValueError("several accounts are configured; name the owner with --account")
    return accounts.pop()
