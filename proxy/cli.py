"""The ``sse-kms-proxy`` command: arguments in, exit code and lines for a person out. It holds no logic of its own."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from proxy import __version__, buckets_cli, dev, keys_cli
from proxy.config import AUTO, Config, ConfigError, StartError, load
from proxy.development import REGION, DataDirectory
from proxy.kms.errors import RootKeyUnusable, WrongRootKey
from proxy.supervision import serve

DESCRIPTION = """\
An S3-compatible proxy that encrypts every object with keys of an AWS-KMS-compatible key service inside it.
"""

EXAMPLES = """\
examples:
  sse-kms-proxy dev                            a whole endpoint on this machine, with a store embedded
  sse-kms-proxy dev --port 9001 --data-dir /tmp/second --tls
  sse-kms-proxy check-config --config proxy.toml
  sse-kms-proxy serve --config proxy.toml      in front of a store that is already there
  sse-kms-proxy adopt --all --mixed --config proxy.toml
  sse-kms-proxy reindex --all --config proxy.toml
  sse-kms-proxy audit verify --config proxy.toml

Clients need AWS_ENDPOINT_URL and the keys of one of the configured users; `dev` prints them.
"""

SERVE = """\
Serves S3, KMS and STS on one port, from several processes, in front of the store that the configuration names.

SIGTERM and Ctrl-C let requests under way end, for as long as [listen] drain_seconds allows; a second signal does not
wait. SIGHUP takes in the users and roles of the configuration file as it is then. A worker that crashes is replaced.
Secrets may come from files or from the environment instead:

  SSE_KMS_PROXY_ROOT_KEY                          the root key, base64 of 32 bytes (instead of root_key_file)
  SSE_KMS_PROXY_KEYS_ACCESS_KEY_ID                the credentials at AWS KMS (where [keys] provider = "aws")
  SSE_KMS_PROXY_KEYS_SECRET_ACCESS_KEY
  SSE_KMS_PROXY_UPSTREAM_ACCESS_KEY_ID            the credentials at the store
  SSE_KMS_PROXY_UPSTREAM_SECRET_ACCESS_KEY
  SSE_KMS_PROXY_USER_<NAME>_SECRET_ACCESS_KEY     a user's secret

example:
  openssl rand -base64 32 > root.key && chmod 600 root.key
  sse-kms-proxy serve --config config/minio.toml --workers 4
"""

DEV = f"""\
Starts SeaweedFS as the store, the key service on SQLite, and the proxy, all on this machine, and prints what a client
needs. Everything is kept in the data directory: buckets, keys, the root key and the credentials, which are made at
the first start. While the endpoint is ready, DIR/env holds lines to source:

  AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION ({REGION}), AWS_ACCOUNT_ID,
  with --tls also AWS_CA_BUNDLE; and the same with the prefix APP_ for a second user, who has no rights at first.

example:
  sse-kms-proxy dev --port 9000 --data-dir ./data
  set -a; . ./data/env; set +a; aws s3 mb s3://first
"""

AUDIT_VERIFY = """\
Reads every event of the audit log and says exactly what is wrong with it: lines that were altered, removed, reordered,
replaced or cut off at the end, missing anchors, and gaps where a worker was killed before it could write what it had
recorded last. The endpoint may go on running.

Exit code: 0 nothing is wrong, 1 it was tampered with or damaged, 3 there are gaps and nothing else.

example:
  sse-kms-proxy audit verify --config proxy.toml
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code. What keeps it from being done goes to stderr, in a line or so."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except ConfigError as error:
        for fault in error.faults:
            print(f"sse-kms-proxy: {fault}", file=sys.stderr)
        return 2
    except (StartError, RootKeyUnusable, WrongRootKey, OSError) as error:
        print(f"sse-kms-proxy: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="sse-kms-proxy", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=raw
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, summary: str, description: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=summary, description=description, formatter_class=raw)

    serving = add("serve", "serve in front of a store, as a configuration file says", SERVE)
    _add_config(serving)
    serving.add_argument("--workers", type=_count, metavar="N", help="processes; wins over the file (default: cores)")
    serving.add_argument("--port", type=_port, metavar="N", help="wins over the file")
    serving.set_defaults(command=_serve)

    developing = add("dev", "start a whole endpoint on this machine", DEV)
    developing.add_argument("--port", type=_port, default=9000, metavar="N", help="default: 9000")
    developing.add_argument("--host", default="127.0.0.1", help="address to listen on; default: 127.0.0.1")
    developing.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR", help="default: ./data")
    developing.add_argument("--workers", type=_count, default=1, metavar="N", help="processes; default: 1")
    developing.add_argument("--tls", action="store_true", help="serve https, with a CA made for it in DIR/tls")
    developing.set_defaults(command=_dev)

    buckets_cli.add_adopt(add("adopt", "put buckets that the store already has on record", buckets_cli.ADOPT))

    buckets_cli.add_reindex(add("reindex", "rebuild what was on record of objects", buckets_cli.REINDEX))

    keys_cli.add_keys(add("keys", "back up or restore keys and state", "Backs up and restores."))

    keys_cli.add_root_key(add("root-key", "rotate the root key", "Works with the root key."))

    _add_audit(add("audit", "work with the audit log", "Works with the audit log."))

    checking = add("check-config", "check a configuration file and say everything that is wrong", CHECK)
    _add_config(checking)
    checking.set_defaults(command=_check_config)

    version = add("version", "print the version", "Prints the version.")
    version.set_defaults(command=_version)
    return parser


CHECK = "Reads a configuration file, the environment and the files named in it, and reports every fault."


def _add_audit(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    verifying = commands.add_parser(
        "verify",
        help="say whether anything in it was altered or is missing",
        description=AUDIT_VERIFY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = verifying.add_mutually_exclusive_group(required=True)
    where.add_argument("--config", type=Path, metavar="FILE")
    where.add_argument("--data-dir", type=Path, metavar="DIR", help="that of `sse-kms-proxy dev`, running or not")
    verifying.set_defaults(command=_verify_audit)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML; see config/ for examples")


def _serve(options: argparse.Namespace) -> int:
    config = load(options.config, os.environ)
    wanted = {"workers": options.workers, "port": options.port}
    chosen = {name: value for name, value in wanted.items() if value is not None}
    return serve(replace(config, listen=replace(config.listen, **chosen)), _say)


def _dev(options: argparse.Namespace) -> int:
    return dev.run(dev.DevOptions(options.host, options.port, options.data_dir, options.workers, options.tls), _say)


def _verify_audit(options: argparse.Namespace) -> int:
    # What it imports takes half a second, which no other command needs to wait for.
    from proxy.app import verify_audit  # noqa: PLC0415

    if options.config:
        config = load(options.config, os.environ)
    else:
        config = DataDirectory(options.data_dir).config_of_stopped()
    report = asyncio.run(verify_audit(config))
    for finding in report.findings:
        _say(str(finding))
    counted = ", ".join(f"{name} {count}" for name, count in report.chains.items()) or "none"
    _say(f"events by chain: {counted}")
    if report.is_tampered:
        _say("the audit log is NOT whole")
        return 1
    _say("the audit log has gaps, and is whole besides" if report.findings else "the audit log is whole")
    return 3 if report.findings else 0


def _check_config(options: argparse.Namespace) -> int:
    config = load(options.config, os.environ)
    scheme = "https" if config.listen.tls_certificate else "http"
    upstream = config.upstream
    _say(f"{options.config}: ok")
    _say(f"listens on {scheme}://{config.listen.host}:{config.listen.port} with {config.listen.workers} workers")
    store = _found_store(config) if upstream.store == AUTO else upstream.store
    _say(f"in front of {upstream.url} ({store}); users: {', '.join(user.caller.arn for user in config.users)}")
    return 0


def _found_store(config: Config) -> str:
    # As above.
    from proxy.app import detect_store  # noqa: PLC0415
    from proxy.s3.upstream.port import UpstreamError  # noqa: PLC0415

    try:
        return f"auto: {asyncio.run(detect_store(config))}"
    except UpstreamError:
        return "auto: it does not answer now"


def _version(_: argparse.Namespace) -> int:
    _say(__version__)
    return 0


def _say(text: str) -> None:
    print(text, flush=True)


def _count(text: str) -> int:
    return _whole(text, 1, 1024)


def _port(text: str) -> int:
    return _whole(text, 1, 65535)


def _whole(text: str, low: int, high: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
    return number


if __name__ == "__main__":
    sys.exit(main())
