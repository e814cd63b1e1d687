"""``sse-kms-proxy dev``: a whole endpoint on this machine, with SeaweedFS embedded behind it."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from proxy import certificates, development
from proxy.config import Listen, is_loopback
from proxy.development import DataDirectory
from proxy.embedded_store import EmbeddedStore
from proxy.processes import StopSignal
from proxy.workers import Workers, listen

DOMAINS = ("localhost", "s3.localhost")
"""Base domains of virtual-hosted style. TLS clients match no wildcard in ``*.localhost``, as if it were ``*.com``; over
https there is ``*.s3.localhost``."""


@dataclass(frozen=True)
class DevOptions:
    """The command line of ``dev``."""

    host: str
    port: int
    data_directory: Path
    workers: int
    tls: bool


def run(options: DevOptions, say: Callable[[str], None]) -> int:
    """Starts everything, says how to use it, and serves until a stop signal. Returns the exit code.

    What was started is stopped in the opposite order: workers, which end their requests, then the store.

    Raises:
        StartError: a part could not start, or has ended by itself.
    """
    directory = DataDirectory(options.data_directory)
    with StopSignal() as stop, ExitStack() as cleanup:
        lock = directory.lock()
        cleanup.callback(lock.release)
        listeners = listen(options.host, options.port, options.workers)
        for listener in listeners:
            cleanup.callback(listener.close)
        credentials = directory.prepare()
        tls = certificates.provide(directory.tls, _names(options.host)) if options.tls else None

        store = EmbeddedStore(
            directory.store, credentials.store_access_key_id, credentials.store_secret_access_key, [lock.fileno()]
        )
        cleanup.callback(store.stop)
        if not store.start(stop):
            return _interrupted(stop)
        settings = Listen(
            host=options.host,
            port=options.port,
            workers=options.workers,
            domains=DOMAINS,
            tls_certificate=tls.certificate if tls else None,
            tls_key=tls.key if tls else None,
            allow_plaintext_kms=is_loopback(options.host),
            drain_seconds=10.0,
        )
        workers = Workers(directory.config(credentials, store.url, settings), listeners)
        cleanup.callback(workers.stop, stop)
        if not workers.start(stop):
            return _interrupted(stop)

        url = development.endpoint_url(options.host, options.port, tls=options.tls)
        variables = development.variables(url, credentials, tls.authority if tls else None)
        cleanup.callback(directory.env.unlink, missing_ok=True)
        directory.write_env(variables)
        say(_welcome(url, variables, directory))
        workers.supervise(stop, store.check)
        say("stopping")
    return 0


def _interrupted(stop: StopSignal) -> int:
    return 128 + stop.received[0]


def _names(host: str) -> list[str]:
    """What the server's certificate is for."""
    names = [*DOMAINS, *(f"*.{domain}" for domain in DOMAINS), "127.0.0.1", "::1"]
    return names if host in {*names, "0.0.0.0", "::"} else [*names, host]  # noqa: S104 - compared, not bound


def _welcome(url: str, variables: dict[str, str], directory: DataDirectory) -> str:
    exports = [f"export {name}={value}" for name, value in variables.items() if not name.startswith("APP_")]
    return "\n".join(
        [
            f"sse-kms-proxy is ready: {url}  (S3, KMS and STS on one endpoint; data in {directory.path})",
            "",
            "Paste this into a shell:",
            "",
            *exports,
            "",
            f"or source it:  set -a; . {directory.env}; set +a    and then try:",
            "",
            "aws s3 mb s3://first",
            "echo hello | aws s3 cp - s3://first/hello.txt --sse aws:kms && aws s3 cp s3://first/hello.txt -",
            "aws kms create-key --description mine",
            "",
            "Ctrl-C stops it; the next start finds the same buckets and keys.",
        ]
    )
