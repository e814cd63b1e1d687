"""Real stores and real endpoints for the end-to-end tests: processes of their own, on free ports of loopback.

``STORES`` in the environment says which stores there are (``seaweedfs,minio`` if unset), ``MINIO_BINARY`` where MinIO
is (where ``make minio`` puts it if unset).
"""

import contextlib
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config as ClientConfig

from proxy import certificates
from proxy.development import Credentials, DataDirectory, variables, write_private
from proxy.embedded_store import remove_sockets
from proxy.kms.root_keys import file as root_key_file
from proxy.processes import die_with_parent

BIN = Path(sys.executable).parent
COMMAND = str(BIN / "sse-kms-proxy")
REGION = "ap-northeast-1"
STORES = tuple(name for name in os.environ.get("STORES", "seaweedfs,minio").split(",") if name)
MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
_START_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def minio_binary() -> Path:
    """MinIO, where ``make minio`` puts it unless the environment says otherwise."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    binary = Path(os.environ.get("MINIO_BINARY") or cache / "sse-kms-proxy" / f"minio-{MINIO_VERSION}")
    if not binary.exists():
        raise FileNotFoundError(f"{binary} is missing; `make minio` builds it, STORES=seaweedfs leaves it out")
    return binary


def wait_for(condition: Callable[[], bool], what: str, seconds: float = _START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.02)


class Program:
    """A process in a session of its own, so that all of it can be signalled, with its output in a file."""

    def __init__(self, arguments: list[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        parent = os.getpid()
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**clean_environment(), **(env or {})},
                start_new_session=True,
                # A test run that is killed leaves nothing behind.
                preexec_fn=lambda: die_with_parent(parent),  # noqa: PLW1509
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def is_running(self) -> bool:
        return self.process.poll() is None

    def stop(self, seconds: float = 40.0) -> int:
        """SIGTERM to the process itself, as a service manager does it; returns its exit code."""
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_group()
            raise

    def kill(self) -> None:
        """SIGKILL to the process itself, not to its children."""
        self.process.kill()
        self.process.wait()

    def kill_group(self) -> None:
        """SIGKILL to the process and all its children that are in its session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def clean_environment() -> dict[str, str]:
    """This process's environment without anything that clients, stores or the proxy would take settings from."""
    prefixes = ("AWS_", "SSE_KMS_PROXY_", "MINIO_", "WEED_", "S3_")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


@dataclass(frozen=True)
class Store:
    """A store behind an endpoint, reached directly, around the proxy."""

    name: str
    url: str
    access_key_id: str
    secret_access_key: str = field(repr=False)

    def client(self) -> Any:
        """boto3's S3 client for the store itself."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name="us-east-1",
            config=ClientConfig(s3={"addressing_style": "path"}),
        )


@dataclass
class Endpoint:
    """A proxy in front of a store, as a client sees it."""

    store: Store
    variables: dict[str, str] = field(repr=False)
    """As in ``DIR/env``: for the administrator, and prefixed with ``APP_`` for the user without rights."""
    program: Program
    folder: Path
    """Where the proxy keeps its state: ``keys.db``, ``state.db``, ``root.key``."""

    @property
    def url(self) -> str:
        return self.variables["AWS_ENDPOINT_URL"]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def account(self) -> str:
        return self.variables["AWS_ACCOUNT_ID"]

    @property
    def ca_bundle(self) -> str | None:
        return self.variables.get("AWS_CA_BUNDLE")

    @property
    def supervisor(self) -> int:
        return self.program.pid

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers."""
        return [pid for pid in children(self.program.pid) if "spawn_main" in command_line(pid)]

    def environment(self, user: str = "admin") -> dict[str, str]:
        """The AWS variables of one of the users, ``admin`` or ``app``."""
        if user == "admin":
            return {name: value for name, value in self.variables.items() if not name.startswith("APP_")}
        return {name[4:]: value for name, value in self.variables.items() if name.startswith("APP_")}

    def client(self, service: str, user: str = "admin", *, region: str = REGION, **config: Any) -> Any:
        """A boto3 client. ``config`` goes into botocore's Config; nothing is retried unless it says so."""
        settings = {"retries": {"total_max_attempts": 1}, **config}
        own = self.environment(user)
        return boto3.client(
            service,
            endpoint_url=own["AWS_ENDPOINT_URL"],
            aws_access_key_id=own["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=own["AWS_SECRET_ACCESS_KEY"],
            region_name=region,
            verify=own.get("AWS_CA_BUNDLE"),
            config=ClientConfig(**settings),
        )

    def aws(
        self,
        *arguments: str,
        user: str = "admin",
        input: bytes | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[bytes]:
        """The real aws CLI; look at ``returncode``, ``stdout`` and ``stderr``."""
        own = {
            **clean_environment(),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_PAGER": "",
            "AWS_EC2_METADATA_DISABLED": "true",
            **self.environment(user),
            **(env or {}),
        }
        return subprocess.run(
            [str(BIN / "aws"), *arguments],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            cwd=cwd,
            env=own,
            timeout=timeout,
            check=False,
        )


def children(pid: int) -> list[int]:
    """The process ids of a process's children."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text(encoding="ascii").split()]


def command_line(pid: int) -> str:
    """A process's command line, empty if there is no such process any more."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def processes_naming(text: str) -> list[int]:
    """The processes, except this one, whose command line holds a text."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if pid != os.getpid() and text in command_line(pid)]


def read_env(file: Path) -> dict[str, str]:
    """What sourcing ``DIR/env`` sets."""
    pairs = (line.partition("=") for line in file.read_text(encoding="utf-8").splitlines())
    return {name: shlex.split(value)[0] for name, _, value in pairs}


@dataclass
class Dev:
    """``sse-kms-proxy dev`` on one data directory, to be started and stopped by a test."""

    folder: Path
    port: int = field(default_factory=free_port)
    arguments: tuple[str, ...] = ()
    programs: list[Program] = field(default_factory=list)

    def launch(self) -> Program:
        """Starts it without waiting for anything."""
        own = ["dev", "--port", str(self.port), "--data-dir", str(self.folder)]
        log = self.folder.with_name(f"{self.folder.name}.{len(self.programs)}.log")
        program = Program([COMMAND, *own, *self.arguments], log)
        self.programs.append(program)
        return program

    def start(self) -> Endpoint:
        """Starts it and waits until it says that it is ready."""
        program = self.launch()
        env = self.folder / "env"
        wait_for(lambda: _is_fresh(env, program) or not program.is_running(), "the endpoint is ready")
        if not program.is_running():
            raise RuntimeError(f"dev ended with exit code {program.process.returncode}:\n{program.output()}")
        directory = DataDirectory(self.folder)
        credentials, url = directory.credentials(), directory.store.url()
        assert url is not None
        store = Store("seaweedfs", url, credentials.store_access_key_id, credentials.store_secret_access_key)
        return Endpoint(store, read_env(env), program, directory.path)

    def close(self) -> None:
        for program in self.programs:
            program.stop()

    def kill(self) -> None:
        """Ends everything at once, the store by the end of its parent, and clears away what it leaves in /tmp."""
        for program in self.programs:
            program.kill_group()
        wait_for(lambda: not processes_naming(f"{self.folder}/store"), "the store has gone")
        remove_sockets(DataDirectory(self.folder).store.remembered_ports() or {})


def _is_fresh(env: Path, program: Program) -> bool:
    """Whether the file was written by this run of the program, which says so once the file is there."""
    return env.exists() and "is ready" in program.output()


@contextlib.contextmanager
def minio(folder: Path) -> Iterator[Store]:
    """A MinIO that keeps its data in ``folder``."""
    port, console = free_port(), free_port()
    store = Store("minio", f"http://127.0.0.1:{port}", "minioproxy", secrets.token_hex(20))
    folder.mkdir(parents=True, exist_ok=True)
    listening = ["--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}"]
    program = Program(
        [str(minio_binary()), "server", "--quiet", *listening, str(folder)],
        folder.with_name(f"{folder.name}.log"),
        {
            "MINIO_ROOT_USER": store.access_key_id,
            "MINIO_ROOT_PASSWORD": store.secret_access_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        },
    )
    try:
        wait_for(lambda: answers(f"{store.url}/minio/health/ready") or not program.is_running(), "MinIO is ready")
        if not program.is_running():
            raise RuntimeError(f"MinIO ended:\n{program.output()}")
        yield store
    finally:
        program.stop()


def answers(url: str) -> bool:
    """Whether a GET of this URL is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


@dataclass
class Serve:
    """``sse-kms-proxy serve`` in front of a store that runs already, to be started and stopped by a test."""

    folder: Path
    store: Store
    workers: int = 1
    tls: bool = False
    extra: str = ""
    """More TOML, appended to the configuration: whole sections."""
    kind: str = ""
    """What the configuration takes the store for; its own name if empty."""
    port: int = field(default_factory=free_port)
    programs: list[Program] = field(default_factory=list)

    def configure(self) -> dict[str, str]:
        """Writes the configuration file and the root key; returns the variables for clients."""
        self.folder.mkdir(parents=True, exist_ok=True)
        credentials = Credentials.generate()
        root_key_file.create(self.folder / "root.key", secrets.token_bytes)
        tls = certificates.provide(self.folder / "tls", ["localhost", "127.0.0.1"]) if self.tls else None
        lines = [
            "[listen]",
            f"port = {self.port}",
            f"workers = {self.workers}",
            'domains = ["localhost"]',
            *([f'tls_certificate = "{tls.certificate}"', f'tls_key = "{tls.key}"'] if tls else []),
            "[upstream]",
            f'url = "{self.store.url}"',
            f'store = "{self.kind or self.store.name}"',
            f'access_key_id = "{self.store.access_key_id}"',
            f'secret_access_key = "{self.store.secret_access_key}"',
            "[keys]",
            'database = "keys.db"',
            'root_key_file = "root.key"',
            "[state]",
            'database = "state.db"',
        ]
        if "[quotas]" not in self.extra:
            # Tests make keys in bursts.
            lines += ["[quotas]", "management = false"]
        for user in credentials.users():
            name = user.caller.arn.rpartition("/")[2]
            lines += ["[[users]]", f'name = "{name}"', f'account = "{credentials.account}"']
            lines += [f'access_key_id = "{user.id}"', f'secret_access_key = "{user.secret}"']
            lines += ["administrator = true"] if user.caller.policies else []
        write_private(self.config, "\n".join([*lines, self.extra, ""]))
        url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        return variables(url, credentials, tls.authority if tls else None)

    @property
    def config(self) -> Path:
        return self.folder / "proxy.toml"

    def launch(self) -> Program:
        log = self.folder.with_name(f"{self.folder.name}.{len(self.programs)}.log")
        program = Program([COMMAND, "serve", "--config", str(self.config)], log)
        self.programs.append(program)
        return program

    def start(self) -> Endpoint:
        """Configures and starts it and waits until it says that it is ready."""
        own = self.configure()
        program = self.launch()
        wait_for(lambda: "ready: " in program.output() or not program.is_running(), "the endpoint is ready")
        if not program.is_running():
            raise RuntimeError(f"serve ended with exit code {program.process.returncode}:\n{program.output()}")
        return Endpoint(self.store, own, program, self.folder)

    def close(self) -> None:
        for program in self.programs:
            program.stop()


class Endpoints:
    """The endpoints of one test session, each started when it is first asked for and kept to the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cleanup = contextlib.ExitStack()
        self._minio: Store | None = None
        self._started: dict[tuple[str, bool, int], Endpoint] = {}

    def get(self, store: str, *, tls: bool = False, workers: int = 1) -> Endpoint:
        chosen = (store, tls, workers)
        if chosen not in self._started:
            name = f"{store}{'-tls' if tls else ''}-{workers}"
            runner: Dev | Serve
            if store == "seaweedfs":
                arguments = ("--workers", str(workers), *(["--tls"] if tls else []))
                runner = Dev(self._folder / name, arguments=arguments)
            else:
                runner = Serve(self._folder / name, self.minio(), workers, tls)
            self._cleanup.callback(runner.close)
            self._started[chosen] = runner.start()
        return self._started[chosen]

    def minio(self) -> Store:
        """The one MinIO behind all endpoints of the session; their buckets need different names."""
        if self._minio is None:
            self._minio = self._cleanup.enter_context(minio(self._folder / "minio-data"))
        return self._minio

    def close(self) -> None:
        self._cleanup.close()
