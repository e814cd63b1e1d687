"""The composition root: the only module that names concrete classes."""

import asyncio
import gc
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import uvloop

from proxy.audit.log import AuditLog
from proxy.audit.verify import Report, verify
from proxy.aws.credentials import StoreCredentials
from proxy.aws.errors import AwsError
from proxy.config import AUTO, Config, ConfigError, StartError, load
from proxy.key_commands import open_key_store, open_root_key
from proxy.kms import scheduler
from proxy.kms.audit import AuditUnavailable
from proxy.kms.provider import KeyProvider
from proxy.kms.providers.embedded import EmbeddedKeyProvider
from proxy.kms.quota_stores.sqlite import SqliteQuotaStore
from proxy.kms.quotas import MemoryQuotaStore, RequestQuotas
from proxy.kms.resource_quotas import ResourceQuotas
from proxy.kms.root_keys import versioned
from proxy.kms.service import KeyService
from proxy.kms.store import StoreUnavailable
from proxy.kms.stores import lock
from proxy.s3.bucket_keys import BucketKeys
from proxy.s3.buckets.adoption import adopt_buckets, buckets_in
from proxy.s3.buckets.records import bucket_on_record
from proxy.s3.buckets.reindex import Finding, reindex
from proxy.s3.gateway import Gateway, Settings
from proxy.s3.memory import MemoryBudget
from proxy.s3.operations.table import ROUTES
from proxy.s3.state.ports import StateUnavailable
from proxy.s3.state.sqlite import SqliteState
from proxy.s3.upstream.detection import detect, wait_for_store
from proxy.s3.upstream.http import HttpUpstream, Timeouts
from proxy.s3.upstream.port import UpstreamError
from proxy.s3.upstream.profiles import PROFILES, StoreProfile
from proxy.server.access_log import AccessLog
from proxy.server.endpoint import Endpoint
from proxy.server.http import HttpServer
from proxy.server.limits import Limits
from proxy.server.s3 import S3Service
from proxy.sts.credentials import Credentials
from proxy.sts.principals import Principals
from proxy.sts.service import StsService
from proxy.sts.session_keys import SessionKeys

logger = logging.getLogger(__name__)

_OBJECTS_BETWEEN_COLLECTIONS: Final = 10_000

AUDIT_KEY_LABEL: Final = b"audit log v1"


def run_worker(config: Config, listener: socket.socket, name: str, ready: Callable[[], None]) -> None:
    """Serves the endpoint on a listening socket until SIGTERM, then drains.

    ``ready`` is called once, when requests are answered.

    Raises:
        StartError, RootKeyUnusable, WrongRootKey, OSError: it can't start.
    """
    # What no line of the log shows need not be looked up for each.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=config.log_level.upper(), format=f"%(asctime)s {name} %(levelname)s %(name)s %(message)s")
    try:
        with lock.in_use(config.keys.database):
            uvloop.run(_serve(config, listener, name, ready))
    except StoreUnavailable as error:
        raise StartError(str(error)) from error


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
            block_customer_keys=config.sse_c.blocked_on_new_buckets,
        )
    finally:
        await upstream.aclose()
        await state.aclose()


async def _serve(config: Config, listener: socket.socket, name: str, ready: Callable[[], None]) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    store = open_key_store(config.keys.database)
    root_key = await open_root_key(store, config.keys)
    quotas = _request_quotas(config)
    principals = Principals(config.users, config.roles)
    keys = KeyService(
        store,
        root_key,
        _now,
        os.urandom,
        request_quotas=quotas,
        resource_quotas=_resource_quotas(config),
        principals=principals,
    )
    await keys.start()
    # Whoever starts with the new root key needs the former one no more.
    await root_key.finish()
    audit = keys.audit = _audit_log(config, keys, name)
    session_keys = SessionKeys(store, root_key, _now, os.urandom)
    await session_keys.refresh()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, config, principals)
    state = SqliteState(config.state.database, watch=True)
    upstream, short_reads = _upstream(config), _upstream(config)
    provider = _provider(config, keys)
    settings = _settings(config, await _store(config, short_reads, stopped))
    gateway = _gateway(config, settings, state, provider, upstream, short_reads, principals)
    access_log = AccessLog(sys.stderr.write, name) if config.log_level in ("debug", "info") else None
    endpoint = Endpoint(
        S3Service(gateway, ROUTES),
        keys,
        StsService(principals, session_keys, _now, os.urandom, audit),
        Credentials(principals, session_keys),
        _now,
        os.urandom,
        name,
        keys_elsewhere=config.keys.aws is not None,
        access_log=access_log,
    )
    server = HttpServer(endpoint.handle, limits=Limits(), malformed=endpoint.malformed)
    await server.start(sock=listener, ssl_context=_server_tls(config))
    _settle_memory()
    ready()
    upkeep = [asyncio.create_task(scheduler.run(keys)), asyncio.create_task(versioned.follow(root_key))]
    await stopped.wait()
    for task in upkeep:
        task.cancel()
    # The server has a descriptor of its own; while any is open, connections queue that nobody will accept.
    listener.close()
    await server.stop(config.listen.drain_seconds)
    if access_log is not None:
        access_log.flush()
    await provider.aclose()
    await upstream.aclose()
    await short_reads.aclose()
    await state.aclose()
    if audit is not None:
        await audit.aclose()
    quotas.close()
    await keys.aclose()


async def reindex_buckets(
    config: Config, names: list[str] | None, prefix: str, tell: Callable[[Finding], None]
) -> None:
    """Puts the objects of buckets on record again (all of the store for None), beside the running endpoint, and tells
    what was found of each.

    Raises:
        StartError: a bucket is not in the store or not on record, or the store or the state can't be used.
        RootKeyUnusable, WrongRootKey, OSError: the keys can't be used.
    """
    with lock.in_use(config.keys.database):
        store = open_key_store(config.keys.database)
        keys = KeyService(store, await open_root_key(store, config.keys), _now, os.urandom)
        await keys.start()
        audit = keys.audit = _audit_log(config, keys, "reindex")
        state = SqliteState(config.state.database)
        upstream, short_reads = _upstream(config), _upstream(config)
        provider = _provider(config, keys)
        try:
            settings = _settings(config, PROFILES[await detect_store(config)])
            principals = Principals(config.users, config.roles)
            gateway = _gateway(config, settings, state, provider, upstream, short_reads, principals)
            for name in names if names is not None else await buckets_in(upstream):
                await reindex(gateway, await bucket_on_record(gateway, name), prefix, tell)
        except (AwsError, UpstreamError, StateUnavailable) as error:
            raise StartError(str(error)) from error
        finally:
            await provider.aclose()
            await upstream.aclose()
            await short_reads.aclose()
            await state.aclose()
            if audit is not None:
                await audit.aclose()
            await keys.aclose()


def _gateway(
    config: Config,
    settings: Settings,
    state: SqliteState,
    provider: KeyProvider,
    upstream: HttpUpstream,
    short_reads: HttpUpstream,
    principals: Principals,
) -> Gateway:
    return Gateway(
        keys=provider,
        upstream=upstream,
        short_reads=short_reads,
        buckets=state.buckets,
        uploads=state.uploads,
        objects=state.objects,
        clock=_now,
        random=os.urandom,
        memory=MemoryBudget(config.limits.small_body_memory),
        settings=settings,
        principals=principals,
        bucket_keys=BucketKeys(config.bucket_keys.lifetime_seconds, config.bucket_keys.uses),
    )


def _settle_memory() -> None:
    """What the program consists of is not looked through for garbage again and again, and new objects less often:
    nearly all of a request's go when it is answered, without the collector."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 20, 20)


def _reload(config: Config, principals: Principals) -> None:
    """Takes in the users and roles of the configuration file, on SIGHUP; a file with faults changes nothing."""
    if config.file is None:
        return
    try:
        changed = load(config.file, os.environ)
    except ConfigError as error:
        for fault in error.faults:
            logger.error("not reloaded: %s", fault)
        return
    principals.replace(changed.users, changed.roles)
    logger.info("reloaded %d users and %d roles", len(changed.users), len(changed.roles))


def _request_quotas(config: Config) -> RequestQuotas:
    workers = config.listen.workers
    return RequestQuotas(
        SqliteQuotaStore(config.keys.database.with_name("quotas.db")) if workers > 1 else MemoryQuotaStore(),
        _now,
        workers=workers,
        rates=config.quotas.requests_per_second,
        management=config.quotas.management,
    )


def _resource_quotas(config: Config) -> ResourceQuotas:
    settings = config.quotas
    return ResourceQuotas(settings.keys, settings.aliases_per_key, settings.grants_per_key)


def _audit_log(config: Config, keys: KeyService, name: str) -> AuditLog | None:
    """To be called in the running event loop. Raises StartError."""
    settings = config.audit
    if settings is None:
        return None
    try:
        return AuditLog(
            settings.directory,
            name,
            keys.derived_key(AUDIT_KEY_LABEL),
            _now,
            os.urandom,
            write_through=settings.write_through,
            file_size=settings.file_size,
        )
    except AuditUnavailable as error:
        raise StartError(str(error)) from error


async def verify_audit(config: Config) -> Report:
    """Reads the whole audit log and says what is wrong with it; the endpoint may be running.

    Raises:
        StartError: the configuration has no audit log, or there is no key store yet.
        RootKeyUnusable, WrongRootKey, OSError: it can't be read.
    """
    if config.audit is None:
        raise StartError("the configuration has no [audit] section")
    if not config.keys.database.exists():
        raise StartError(f"{config.keys.database} does not exist: nothing has been recorded yet")
    store = open_key_store(config.keys.database)
    keys = KeyService(store, await open_root_key(store, config.keys), _now, os.urandom)
    try:
        await keys.start()
        return await asyncio.to_thread(verify, config.audit.directory, keys.derived_key(AUDIT_KEY_LABEL))
    finally:
        await keys.aclose()


def _now() -> datetime:
    return datetime.now(UTC)


def _provider(config: Config, keys: KeyService) -> KeyProvider:
    """Where the data keys of objects come from."""
    if config.keys.aws is None:
        return EmbeddedKeyProvider(keys)
    # Its driver takes a while to load, and most need none.
    from proxy.kms.providers.aws import AwsKeyProvider  # noqa: PLC0415

    return AwsKeyProvider(config.keys.aws, _now, os.urandom, keys.audit)


def _upstream(config: Config) -> HttpUpstream:
    settings = config.upstream
    context = None
    if settings.url.startswith("https://"):
        context = ssl.create_default_context(cafile=settings.ca_file)
    return HttpUpstream(
        settings.url,
        StoreCredentials(settings.access_key_id, settings.secret_access_key),
        settings.region,
        clock=_now,
        timeouts=Timeouts(
            connect=settings.connect_timeout, first_byte=settings.first_byte_timeout, idle=settings.idle_timeout
        ),
        connections=settings.connections,
        ssl_context=context,
    )


async def _store(config: Config, upstream: HttpUpstream, stopped: asyncio.Event) -> StoreProfile:
    """What the store is taken for."""
    name = config.upstream.store
    if name == AUTO:
        name = await wait_for_store(upstream, os.urandom, stopped.is_set)
        logger.info("the store at %s is taken for: %s", config.upstream.url, name)
    return PROFILES[name]


async def detect_store(config: Config) -> str:
    """The profile that the store will be taken for.

    Raises:
        UpstreamError: it does not answer.
    """
    if config.upstream.store != AUTO:
        return config.upstream.store
    upstream = _upstream(config)
    try:
        return await detect(upstream, os.urandom)
    finally:
        await upstream.aclose()


def _settings(config: Config, store: StoreProfile) -> Settings:
    return Settings(
        store=store,
        upstream_region=config.upstream.region,
        domains=("localhost", *config.listen.domains),
        any_region=config.listen.any_region,
        kms_over_plain_http=config.listen.allow_plaintext_kms,
        sign_anonymous=config.upstream.sign_anonymous,
        md5_etags=config.sse_s3.md5_etags,
        fresh_key_on_copy=config.copies.fresh_data_key,
        customer_keys=config.sse_c.enabled,
        block_customer_keys=config.sse_c.blocked_on_new_buckets,
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
