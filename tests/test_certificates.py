"""The development authority: what it signs is accepted by a real TLS client, and nothing else is."""

import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest

from proxy.certificates import ServerCertificate, provide

HOSTS = ["localhost", "*.s3.localhost", "127.0.0.1", "::1"]


def handshake(files: ServerCertificate, authority: Path, host: str) -> str | None:
    """The protocol version of a TLS connection to ``host`` with a strict client. Raises ssl.SSLError."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(files.certificate, files.key)
    client = ssl.create_default_context(cafile=str(authority))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    near, far = socket.socketpair()

    def accept() -> None:
        try:
            server.wrap_socket(far, server_side=True).close()
        except OSError:
            far.close()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        with near, client.wrap_socket(near, server_hostname=host) as connection:
            return connection.version()
    finally:
        thread.join()


@pytest.mark.parametrize("host", ["localhost", "bucket.s3.localhost", "127.0.0.1", "::1"])
def test_a_client_that_trusts_the_authority_accepts_it(tmp_path: Path, host: str) -> None:
    files = provide(tmp_path / "tls", HOSTS)
    assert handshake(files, files.authority, host) == "TLSv1.3"


def test_another_host_and_another_authority_are_refused(tmp_path: Path) -> None:
    files = provide(tmp_path / "one", HOSTS)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(files, files.authority, "example.com")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(files, provide(tmp_path / "other", HOSTS).authority, "localhost")


def test_keys_are_for_the_owner_alone(tmp_path: Path) -> None:
    files = provide(tmp_path / "tls", HOSTS)
    assert {stat.S_IMODE(key.stat().st_mode) for key in (files.key, tmp_path / "tls" / "ca.key")} == {0o600}


def test_they_are_kept_while_they_serve(tmp_path: Path) -> None:
    files = provide(tmp_path / "tls", HOSTS)
    before = (files.authority.read_bytes(), files.certificate.read_bytes())
    provide(tmp_path / "tls", HOSTS)
    assert (files.authority.read_bytes(), files.certificate.read_bytes()) == before


def test_a_new_host_gets_a_new_certificate_of_the_same_authority(tmp_path: Path) -> None:
    files = provide(tmp_path / "tls", HOSTS)
    authority = files.authority.read_bytes()
    provide(tmp_path / "tls", [*HOSTS, "build.internal"])
    assert files.authority.read_bytes() == authority
    assert handshake(files, files.authority, "build.internal") == "TLSv1.3"


def test_what_is_spoilt_is_made_anew(tmp_path: Path) -> None:
    files = provide(tmp_path / "tls", HOSTS)
    files.certificate.write_text("spoilt")
    provide(tmp_path / "tls", HOSTS)
    assert handshake(files, files.authority, "localhost") == "TLSv1.3"
    (tmp_path / "tls" / "ca.key").unlink()
    provide(tmp_path / "tls", HOSTS)
    assert handshake(files, files.authority, "localhost") == "TLSv1.3"
