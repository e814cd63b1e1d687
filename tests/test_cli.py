"""The command line: what it says, and how it ends."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy import __version__
from proxy.cli import main

CONFIG = """
[listen]
port = {port}
[upstream]
url = "http://127.0.0.1:1"
access_key_id = "storekey"
secret_access_key = "storesecret"
[keys]
database = "keys.db"
root_key_file = "root.key"
[state]
database = "state.db"
[[users]]
name = "admin"
account = "111122223333"
access_key_id = "AKIAADMIN"
secret_access_key = "admin-secret"
"""


def config(folder: Path, port: int = 9000) -> Path:
    (folder / "root.key").touch()
    file = folder / "proxy.toml"
    file.write_text(CONFIG.format(port=port))
    return file


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_help_names_every_command_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for command in ("serve", "dev", "adopt", "reindex", "check-config", "version"):
        assert re.search(rf"^    {command}\s+\S", told, re.MULTILINE)
    assert "examples:\n  sse-kms-proxy dev" in told


@pytest.mark.parametrize("command", ["serve", "dev", "adopt", "reindex"])
def test_the_help_of_a_command_has_an_example_that_it_takes(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert f"\n  sse-kms-proxy {command}" in told
    options = set(re.findall(r"--[a-z-]+", told.partition("options:")[2]))
    examples = re.findall(rf"^  sse-kms-proxy {command}(.*)$", told, re.MULTILINE)
    assert {option for example in examples for option in re.findall(r"--[a-z-]+", example)} <= options


def test_no_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_check_config_says_what_it_read_and_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = config(tmp_path)
    assert main(["check-config", "--config", str(file)]) == 0
    told = capsys.readouterr().out
    assert f"{file}: ok\n" in told
    assert "http://127.0.0.1:9000" in told
    assert "arn:aws:iam::111122223333:user/admin" in told
    assert "secret" not in told


@pytest.mark.parametrize("command", ["check-config", "serve"])
def test_every_fault_of_a_configuration_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text("[listen]\nport = 0\nprot = 1\n")
    assert main([command, "--config", str(file)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 7
    assert all(line.startswith(f"sse-kms-proxy: {file}: ") for line in lines)
    assert f"sse-kms-proxy: {file}: [listen] prot: is not a known key; did you mean port?" in lines


def test_serve_on_a_taken_port_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], taken_port: int) -> None:
    assert main(["serve", "--config", str(config(tmp_path, taken_port)), "--workers", "2"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sse-kms-proxy: port {taken_port} on 127.0.0.1 is taken")


def test_the_port_of_the_command_line_wins(tmp_path: Path, capsys: pytest.CaptureFixture[str], taken_port: int) -> None:
    assert main(["serve", "--config", str(config(tmp_path)), "--port", str(taken_port)]) == 1
    assert f"port {taken_port} " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["adopt", "--config", "x"], "one of the arguments BUCKET --all is required"),
        (["adopt", "b", "--all", "--config", "x"], "not allowed with argument"),
        (["adopt", "b"], "one of the arguments --config --data-dir is required"),
        (["adopt", "b", "--config", "x", "--data-dir", "y"], "not allowed with argument"),
        (["reindex", "--config", "x"], "one of the arguments BUCKET --all is required"),
        (["reindex", "b", "--all", "--config", "x"], "not allowed with argument"),
        (["reindex", "b"], "one of the arguments --config --data-dir is required"),
        (["serve"], "the following arguments are required: --config"),
        (["serve", "--config", "x", "--workers", "0"], "'0' is not a number from 1 to 1024"),
        (["dev", "--port", "http"], "'http' is not a number from 1 to 65535"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


def test_adopt_beside_no_running_endpoint_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adopt", "--all", "--data-dir", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"sse-kms-proxy: no development endpoint is running on {tmp_path}; start it first"
