"""``sse-kms-proxy dev``: what it leaves in its directory, how it starts, stops, and comes back."""

import os
import re
import secrets
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxy.kms.root_keys import file as root_key_file
from tests.e2e.stores import (
    COMMAND,
    Dev,
    Endpoint,
    Program,
    answers,
    children,
    command_line,
    processes_naming,
    read_env,
    wait_for,
)

NAMES = [
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "AWS_ACCOUNT_ID",
]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def gone(folder: Path) -> bool:
    """Whether no process of an endpoint on this directory is left, the store included."""
    return not processes_naming(str(folder))


def failure(program: Program, seconds: float = 30.0) -> list[str]:
    """The lines of a program that has to end with exit code 1."""
    assert program.process.wait(seconds) == 1, program.output()
    return program.output().splitlines()


def store_process(endpoint: Endpoint) -> int:
    return next(pid for pid in children(endpoint.supervisor) if "weed" in command_line(pid))


def listening(pid: int) -> set[str]:
    """The local addresses of a process's listening TCP sockets, in the kernel's hexadecimal form."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(descriptor))
        inodes |= {found[1]} if found else set()
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                addresses.add(fields[1].partition(":")[0])
    return addresses


def test_the_env_file_is_there_while_the_endpoint_is_ready(dev: Dev) -> None:
    endpoint = dev.start()
    env = dev.folder / "env"
    assert mode(env) == 0o600
    variables = read_env(env)
    assert list(variables) == NAMES + [f"APP_{name}" for name in NAMES]
    assert variables["AWS_ENDPOINT_URL"] == variables["APP_AWS_ENDPOINT_URL"] == f"http://127.0.0.1:{dev.port}"
    assert variables["AWS_DEFAULT_REGION"] == "ap-northeast-1"
    assert re.fullmatch("[0-9]{12}", variables["AWS_ACCOUNT_ID"])
    assert variables["AWS_ACCESS_KEY_ID"] != variables["APP_AWS_ACCESS_KEY_ID"]
    assert variables["AWS_SECRET_ACCESS_KEY"] != variables["APP_AWS_SECRET_ACCESS_KEY"]
    assert answers(f"{endpoint.url}/-/health")
    assert endpoint.program.stop() == 0
    assert not env.exists()


def test_a_shell_can_source_the_env_file_of_a_directory_with_a_space(tmp_path: Path) -> None:
    dev = Dev(tmp_path / "my data", arguments=("--tls",))
    try:
        dev.start()
        script = 'set -a; . "$1"; set +a; printf "%s\\n" "$AWS_CA_BUNDLE" "$APP_AWS_CA_BUNDLE" "$AWS_ENDPOINT_URL"'
        told = subprocess.check_output(["sh", "-c", script, "sh", str(dev.folder / "env")], text=True).splitlines()
    finally:
        dev.close()
    authority = dev.folder / "tls" / "ca.pem"
    assert told == [str(authority), str(authority), f"https://127.0.0.1:{dev.port}"]
    assert authority.is_file()


def test_nobody_else_can_read_what_it_keeps(tmp_path: Path) -> None:
    dev = Dev(tmp_path / "data", arguments=("--tls",))
    try:
        dev.start()
    finally:
        dev.close()
    assert mode(dev.folder) == 0o700
    private = ["root.key", "credentials.json", "store/identities.json", "tls/ca.key", "tls/server.key"]
    assert {name: oct(mode(dev.folder / name)) for name in private} == dict.fromkeys(private, "0o600")


def test_what_it_prints_can_be_pasted(dev: Dev) -> None:
    endpoint = dev.start()
    output = endpoint.program.output()
    for name, value in endpoint.environment().items():
        assert f"export {name}={value}\n" in output
    assert "aws s3 mb s3://" in output
    assert "aws kms create-key" in output


def test_a_second_start_finds_the_same_credentials_and_objects(dev: Dev) -> None:
    first = dev.start()
    first.store.client().create_bucket(Bucket="kept")
    first.store.client().put_object(Bucket="kept", Key="key", Body=b"x" * 100_000)
    ports = (dev.folder / "store" / "ports.json").read_text()
    assert first.program.stop() == 0

    # Other programs have taken the store's ports meanwhile: it moves to others, with its data.
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", int(first.store.url.rpartition(":")[2])))
        taken.listen()
        second = dev.start()
        assert (dev.folder / "store" / "ports.json").read_text() != ports
        assert second.variables == first.variables
        assert second.store.client().get_object(Bucket="kept", Key="key")["Body"].read() == b"x" * 100_000


def test_a_second_start_finds_the_same_buckets_and_keys(dev: Dev) -> None:
    first = dev.start()
    key = first.client("kms").create_key()["KeyMetadata"]["KeyId"]
    first.client("s3").create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": "ap-northeast-1"})
    sse = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    first.client("s3").put_object(Bucket="kept", Key="key", Body=b"y" * 100_000, **sse)
    assert first.program.stop() == 0

    second = dev.start()
    got = second.client("s3").get_object(Bucket="kept", Key="key")
    assert got["Body"].read() == b"y" * 100_000
    assert got["SSEKMSKeyId"] == f"arn:aws:kms:ap-northeast-1:{second.account}:key/{key}"


def test_a_taken_port_is_one_line(dev: Dev) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", dev.port))
        taken.listen()
        lines = failure(dev.launch())
    assert lines == [
        f"sse-kms-proxy: port {dev.port} on 127.0.0.1 is taken by another program; choose another with --port"
    ]
    assert gone(dev.folder)


def test_a_second_endpoint_on_the_same_directory_is_one_line(dev: Dev) -> None:
    first = dev.start()
    started = time.monotonic()
    lines = failure(Dev(dev.folder, programs=[first.program]).launch())
    assert lines == [f"sse-kms-proxy: {dev.folder} is in use by another endpoint (process {first.supervisor})"]
    assert time.monotonic() - started < 4
    assert answers(f"{first.url}/-/health")
    assert (dev.folder / "env").exists()


def test_a_root_key_that_others_can_read_is_one_line(dev: Dev) -> None:
    assert dev.start().program.stop() == 0
    (dev.folder / "root.key").chmod(0o640)
    lines = failure(dev.launch())
    assert len(lines) == 1
    assert "root.key" in lines[0]
    assert gone(dev.folder)


def test_a_wrong_root_key_is_one_line(dev: Dev) -> None:
    first = dev.start()
    first.client("kms").create_key()
    assert first.program.stop() == 0
    root_key = dev.folder / "root.key"
    right = root_key.read_bytes()
    root_key.unlink()
    root_key_file.create(root_key, secrets.token_bytes)
    lines = failure(dev.launch())
    assert len(lines) == 1
    assert "root key" in lines[0]
    assert gone(dev.folder)

    root_key.write_bytes(right)
    assert len(dev.start().client("kms").list_keys()["Keys"]) >= 1


def test_a_missing_root_key_is_not_replaced(dev: Dev) -> None:
    assert dev.start().program.stop() == 0
    (dev.folder / "keys.db").touch()
    (dev.folder / "root.key").unlink()
    lines = failure(dev.launch())
    root_key, keys = dev.folder / "root.key", dev.folder / "keys.db"
    assert lines == [f"sse-kms-proxy: {root_key} is missing: it is the root key that sealed {keys}"]
    assert not root_key.exists()


def test_a_port_that_is_no_port_is_refused() -> None:
    refused = subprocess.run([COMMAND, "dev", "--port", "70000"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "'70000' is not a number from 1 to 65535" in refused.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything(dev: Dev, number: signal.Signals) -> None:
    dev.arguments = ("--workers", "2")
    endpoint = dev.start()
    assert len(endpoint.workers) == 2
    ports = (dev.folder / "store" / "ports.json").read_text()
    # As a terminal does it on Ctrl-C: to the whole group.
    if number == signal.SIGINT:
        os.killpg(endpoint.supervisor, number)
    else:
        os.kill(endpoint.supervisor, number)
    assert endpoint.program.process.wait(30) == 0, endpoint.program.output()
    assert gone(dev.folder)
    assert not (dev.folder / "env").exists()
    assert "Traceback" not in endpoint.program.output()
    sockets = [path.name for path in Path("/tmp").glob("seaweedfs-*.sock")]
    assert not [name for name in sockets for port in re.findall(r"\d+", ports) if name.endswith(f"-{port}.sock")]


def test_a_signal_while_it_starts_stops_everything(dev: Dev) -> None:
    program = dev.launch()
    wait_for((dev.folder / "store" / "ports.json").exists, "the store is being started")
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(30) in {143, 0}
    assert gone(dev.folder)
    assert "Traceback" not in program.output()


def test_after_sigkill_it_starts_again_at_once_with_what_was_there(dev: Dev) -> None:
    dev.arguments = ("--workers", "2")
    for attempt in range(3):
        endpoint = dev.start()
        client = endpoint.store.client()
        if attempt == 0:
            client.create_bucket(Bucket="kept")
        for earlier in range(attempt):
            assert client.get_object(Bucket="kept", Key=f"{earlier}")["Body"].read() == b"%d" % earlier * 50_000
        client.put_object(Bucket="kept", Key=f"{attempt}", Body=b"%d" % attempt * 50_000)
        endpoint.program.kill()
    wait_for(lambda: gone(dev.folder), "workers and store have gone with the supervisor", 5)


def test_a_store_that_ends_ends_the_endpoint_and_is_quoted(dev: Dev) -> None:
    endpoint = dev.start()
    os.kill(store_process(endpoint), signal.SIGKILL)
    lines = failure(endpoint.program)
    assert any("the store ended with exit code -9; the end of" in line for line in lines)
    assert gone(dev.folder)
    assert not (dev.folder / "env").exists()


def test_a_store_that_cannot_start_is_quoted(dev: Dev) -> None:
    (dev.folder / "store" / "data").mkdir(parents=True)
    (dev.folder / "store" / "data" / "filerldb2").write_text("not a folder")
    lines = failure(dev.launch(), 60)
    assert any("the store could not start; the end of" in line for line in lines)
    assert any("filerldb2" in line for line in lines)
    assert gone(dev.folder)


def test_a_worker_that_crashes_is_replaced(dev: Dev) -> None:
    dev.arguments = ("--workers", "2")
    endpoint = dev.start()
    before = endpoint.workers
    os.kill(before[0], signal.SIGKILL)
    wait_for(lambda: len(set(endpoint.workers) - set(before)) == 1, "a new worker", 10)
    # What waits in the dead worker's queue is served by its replacement.
    assert all(answers(f"{endpoint.url}/-/health") for _ in range(20))
    assert before[1] in endpoint.workers
    assert "worker-1: was ended by SIGKILL" in endpoint.program.output()


def test_endpoints_run_side_by_side_and_listen_on_loopback_only(dev: Dev, tmp_path: Path) -> None:
    other = Dev(tmp_path / "other")
    try:
        endpoints = [dev.start(), other.start()]
        assert endpoints[0].store.url != endpoints[1].store.url
        assert endpoints[0].account != endpoints[1].account
        assert all(answers(f"{endpoint.url}/-/health") for endpoint in endpoints)
        for endpoint in endpoints:
            own = listening(store_process(endpoint)) | listening(endpoint.supervisor)
            assert own == {"0100007F"}
    finally:
        other.close()


def test_it_runs_as_a_module_too() -> None:
    told = subprocess.check_output([sys.executable, "-m", "proxy", "version"], text=True)
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", told)
