"""Requests as a client can send them if it wants to: signed by hand, sent as they are, answers as they come.

SDKs refuse to send most of what an adversary does. Signatures are made here independently of the program's own.
"""

import base64
import hashlib
import hmac
import http.client
import json
import socket
import ssl
import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import quote

from tests.e2e.stores import REGION, Endpoint, Store

UNSIGNED = "UNSIGNED-PAYLOAD"
SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """An answer, whole or cut off."""

    status: int
    """0 if the connection was closed without an answer."""
    headers: http.client.HTTPMessage
    body: bytes
    complete: bool = True
    """Whether all bytes came that the head promised."""

    @property
    def code(self) -> str | None:
        """The code of S3's error document."""
        return self.error.get("Code")

    @property
    def message(self) -> str | None:
        return self.error.get("Message")

    @property
    def error(self) -> dict[str, str]:
        """The members of S3's error document; none where the body is another one."""
        try:
            root = ET.fromstring(self.body)
        except ET.ParseError:
            return {}
        return {child.tag: child.text or "" for child in root} if root.tag == "Error" else {}

    @property
    def worker(self) -> str:
        """The name of the worker that answered."""
        return base64.b64decode(self.headers["x-amz-id-2"], validate=True).decode()

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Signer:
    """Makes AWS Signature Version 4."""

    access_key_id: str
    secret: str = field(repr=False)
    region: str = REGION
    service: str = "s3"

    def scope(self, moment: datetime) -> str:
        return f"{moment:%Y%m%d}/{self.region}/{self.service}/aws4_request"

    def key(self, moment: datetime) -> bytes:
        key = f"AWS4{self.secret}".encode()
        for part in self.scope(moment).split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return key

    def sign(self, text: str, moment: datetime) -> str:
        return hmac.new(self.key(moment), text.encode(), "sha256").hexdigest()

    def signature(
        self, method: str, path: str, query: Fields, headers: Mapping[str, str], payload: str, moment: datetime
    ) -> str:
        """``headers``: those to be signed, by lower-case name."""
        names = sorted(headers)
        canonical = "\n".join(
            [
                method,
                path,
                "&".join(f"{name}={value}" for name, value in sorted((enc(n), enc(v)) for n, v in query)),
                *(f"{name}:{' '.join(headers[name].split())}" for name in names),
                "",
                ";".join(names),
                payload,
            ]
        )
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        return self.sign(f"AWS4-HMAC-SHA256\n{stamp(moment)}\n{self.scope(moment)}\n{hashed}", moment)


def enc(text: str) -> str:
    return quote(text, safe="-_.~")


def stamp(moment: datetime) -> str:
    return f"{moment:%Y%m%dT%H%M%SZ}"


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Signed:
    """A signed request's head, to be changed by an adversary before it goes out."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    moment: datetime
    signature: str

    def adding(self, *fields: tuple[str, str]) -> Self:
        """With more header fields, which are not signed."""
        return type(self)(self.method, self.target, [*self.headers, *fields], self.moment, self.signature)

    def replacing(self, name: str, value: str | None) -> Self:
        """With a field's value changed, or the field left out for None, after it was signed."""
        kept = [
            (each, value if each.lower() == name.lower() else old)
            for each, old in self.headers
            if value is not None or each.lower() != name.lower()
        ]
        return type(self)(self.method, self.target, kept, self.moment, self.signature)  # type: ignore[arg-type]

    def asking(self, extra: str) -> Self:
        """With more in the query, which is not signed."""
        joiner = "&" if "?" in self.target else "?"
        return type(self)(self.method, f"{self.target}{joiner}{extra}", self.headers, self.moment, self.signature)


class Wire:
    """One connection to an endpoint, or as many as needed one after the other: it opens a new one when the last has
    been closed. ``opened`` counts them."""

    def __init__(self, endpoint: Endpoint, user: str = "admin", region: str = REGION) -> None:
        own = endpoint.environment(user)
        signer = Signer(own["AWS_ACCESS_KEY_ID"], own["AWS_SECRET_ACCESS_KEY"], region)
        self._begin(signer, endpoint.port, endpoint.ca_bundle)

    @classmethod
    def to_store(cls, store: Store) -> Self:
        """To the store itself, around the proxy."""
        wire = cls.__new__(cls)
        signer = Signer(store.access_key_id, store.secret_access_key, "us-east-1")
        wire._begin(signer, int(store.url.rpartition(":")[2]), None)
        return wire

    def _begin(self, signer: Signer, port: int, ca_bundle: str | None) -> None:
        self.signer = signer
        self.host = f"127.0.0.1:{port}"
        self.port = port
        self.opened = 0
        self._context = ssl.create_default_context(cafile=ca_bundle) if ca_bundle else None
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def socket(self) -> socket.socket:
        """A connection of its own, to write bytes to."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        return self._context.wrap_socket(plain, server_hostname="127.0.0.1") if self._context else plain

    def signed(
        self,
        method: str,
        path: str,
        query: Fields = (),
        headers: Mapping[str, str] | None = None,
        payload: str = EMPTY_SHA256,
        *,
        moment: datetime | None = None,
        signer: Signer | None = None,
        host: str | None = None,
    ) -> Signed:
        """A request's head with its Authorization; ``path`` is decoded, ``payload`` what x-amz-content-sha256 says."""
        signer, moment = signer or self.signer, moment or now()
        raw = quote(path, safe="/-_.~")
        sent = {"Host": host or self.host, "x-amz-date": stamp(moment), **(headers or {})}
        if signer.service == "s3":
            sent["x-amz-content-sha256"] = payload
        lower = {name.lower(): value for name, value in sent.items()}
        signature = signer.signature(method, raw, query, lower, payload, moment)
        authorization = (
            f"AWS4-HMAC-SHA256 Credential={signer.access_key_id}/{signer.scope(moment)}, "
            f"SignedHeaders={';'.join(sorted(lower))}, Signature={signature}"
        )
        fields = [*sent.items(), ("Authorization", authorization)]
        return Signed(method, with_query(raw, query), fields, moment, signature)

    def presigned(
        self,
        method: str,
        path: str,
        query: Fields = (),
        headers: Mapping[str, str] | None = None,
        *,
        expires: int = 600,
        moment: datetime | None = None,
        signer: Signer | None = None,
    ) -> Signed:
        """A request whose signature stands in its query; ``headers`` are signed, and have to be sent."""
        signer, moment = signer or self.signer, moment or now()
        raw = quote(path, safe="/-_.~")
        sent = {"Host": self.host, **(headers or {})}
        lower = {name.lower(): value for name, value in sent.items()}
        items = [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", f"{signer.access_key_id}/{signer.scope(moment)}"),
            ("X-Amz-Date", stamp(moment)),
            ("X-Amz-Expires", str(expires)),
            ("X-Amz-SignedHeaders", ";".join(sorted(lower))),
            *query,
        ]
        signature = signer.signature(method, raw, items, lower, UNSIGNED, moment)
        target = with_query(raw, [*items, ("X-Amz-Signature", signature)])
        return Signed(method, target, list(sent.items()), moment, signature)

    def send(self, head: Signed, body: bytes | Iterable[bytes] = b"", *, length: int | None = None) -> Answer:
        """Sends a request and reads its answer. ``length`` is what Content-Length says, if not the truth; a body that
        is cut short ends the sending side of the connection."""
        connection = self._open()
        connection.putrequest(head.method, head.target, skip_host=True, skip_accept_encoding=True)
        for name, value in head.headers:
            connection.putheader(name, value)
        pieces = [body] if isinstance(body, bytes) else list(body)
        sent = sum(map(len, pieces))
        if (sent or length is not None or head.method in {"PUT", "POST"}) and not any(
            name.lower() == "content-length" for name, _ in head.headers
        ):
            connection.putheader("Content-Length", str(sent if length is None else length))
        connection.endheaders()
        try:
            for piece in pieces:
                connection.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all was sent: the answer is there to be read
        if length is not None and length > sent:
            connection.sock.shutdown(socket.SHUT_WR)
        return self._answer(connection, head.method)

    def call(
        self,
        method: str,
        path: str,
        query: Fields = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        **options: Any,
    ) -> Answer:
        """A request that is right in all ways, its body signed."""
        payload = hashlib.sha256(body).hexdigest()
        return self.send(self.signed(method, path, query, headers, payload, **options), body)

    def kms(self, operation: str, **arguments: Any) -> Answer:
        """A call of the key service over this connection."""
        signer = Signer(self.signer.access_key_id, self.signer.secret, self.signer.region, "kms")
        body = json.dumps(arguments).encode()
        headers = {"X-Amz-Target": f"TrentService.{operation}", "Content-Type": "application/x-amz-json-1.1"}
        payload = hashlib.sha256(body).hexdigest()
        return self.send(self.signed("POST", "/", (), headers, payload, signer=signer), body)

    def _open(self) -> http.client.HTTPConnection:
        if self._connection is None:
            self.opened += 1
            if self._context:
                self._connection = http.client.HTTPSConnection(
                    "127.0.0.1", self.port, context=self._context, timeout=120
                )
            else:
                self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        return self._connection

    def _answer(self, connection: http.client.HTTPConnection, method: str) -> Answer:
        try:
            response = connection.getresponse()
        except http.client.RemoteDisconnected:
            self.close()
            return Answer(0, http.client.HTTPMessage(), b"", complete=False)
        try:
            body, complete = response.read(), True
        except http.client.IncompleteRead as error:
            body, complete = error.partial, False
        except ConnectionError:
            body, complete = b"", False
        if response.will_close or not complete:
            self.close()
        del method
        return Answer(response.status, response.headers, body, complete)


def with_query(path: str, query: Fields) -> str:
    if not query:
        return path
    return f"{path}?" + "&".join(f"{enc(name)}={enc(value)}" for name, value in query)


def chunked(
    signer: Signer | None,
    head: Signed,
    data: bytes,
    *,
    trailer: tuple[str, str] | None = None,
    size: int = 65_536,
) -> list[bytes]:
    """The aws-chunked form of a body, one piece per chunk, the trailer in the last. With a signer, chunks and trailer
    are signed."""
    pieces: list[bytes] = []
    previous = head.signature

    def link(subject: str, hashes: str) -> str:
        nonlocal previous
        assert signer is not None
        text = f"AWS4-HMAC-SHA256-{subject}\n{stamp(head.moment)}\n{signer.scope(head.moment)}\n{previous}\n{hashes}"
        previous = signer.sign(text, head.moment)
        return previous

    for start in [*range(0, len(data), size), None]:
        chunk = b"" if start is None else data[start : start + size]
        extension = ""
        if signer is not None:
            hashes = f"{EMPTY_SHA256}\n{hashlib.sha256(chunk).hexdigest()}"
            extension = f";chunk-signature={link('PAYLOAD', hashes)}"
        pieces.append(f"{len(chunk):x}{extension}\r\n".encode() + chunk + (b"" if start is None else b"\r\n"))
    if trailer is not None:
        name, value = trailer
        pieces[-1] += f"{name}:{value}\r\n".encode()
        if signer is not None:
            block = hashlib.sha256(f"{name}:{value}\n".encode()).hexdigest()
            pieces[-1] += f"x-amz-trailer-signature:{link('TRAILER', block)}\r\n".encode()
    pieces[-1] += b"\r\n"
    return pieces


def put_chunked(
    wire: Wire,
    path: str,
    data: bytes,
    mode: str,
    *,
    trailer: tuple[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """A PUT in one of the STREAMING- modes."""
    own = {
        "Content-Encoding": "aws-chunked",
        "x-amz-decoded-content-length": str(len(data)),
        **({"x-amz-trailer": trailer[0]} if trailer else {}),
        **(headers or {}),
    }
    head = wire.signed("PUT", path, headers=own, payload=mode)
    signer = None if mode == UNSIGNED_TRAILER else wire.signer
    return wire.send(head, chunked(signer, head, data, trailer=trailer))


def reset(connection: socket.socket) -> None:
    """Closes a connection as a client does that is killed: with a reset, not an orderly end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def wires_to_all_workers(endpoint: Endpoint, path: str, count: int) -> Iterator[tuple[str, Wire]]:
    """A kept-alive connection to each of ``count`` workers, by worker's name; ``path`` is one that can be read."""
    found: dict[str, Wire] = {}
    for _ in range(200):
        if len(found) == count:
            break
        wire = Wire(endpoint)
        worker = wire.call("HEAD", path).worker
        if worker in found:
            wire.close()
        else:
            found[worker] = wire
    assert len(found) == count, f"only {sorted(found)} answered"
    yield from sorted(found.items())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def raw(wire: Wire, head: Signed, after: bytes) -> Answer:
    """Sends a head as it is, and reads one answer."""
    connection = wire.socket()
    try:
        connection.sendall(render(head) + after)
        response = http.client.HTTPResponse(connection, method=head.method)
        response.begin()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def render(head: Signed) -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in head.headers)
    return f"{head.method} {head.target} HTTP/1.1\r\n{fields}\r\n".encode()
