"""What is asked of each contender, and the objects that have to be there for it."""

import http.client
import multiprocessing
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from proxy.processes import die_with_parent
from tests.bench.clocks import cpu_seconds
from tests.bench.contenders import Contender
from tests.bench.load import Load, LoadFailed, Pieces, Played, play
from tests.bench.signing import Account, Mode, body_of

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
RANGE: Final = 64 * KIB

Kind = Literal["GET", "GET checksum", "HEAD", "range", "list", "PUT", "multipart"]

_OBJECTS: Final = {4 * KIB: 128, 64 * KIB: 128, MIB: 112, 8 * MIB: 32, 64 * MIB: 16, GIB: 1}
"""How many different objects there are of each size: well over a hundred, or else more bytes than any cache of a
processor holds."""
_LISTED: Final = 1000
_PART: Final = 8 * MIB


@dataclass(frozen=True)
class Operation:
    """One kind of request, for objects of one size."""

    kind: Kind
    size: int
    mode: Mode = "sha256"
    """How the body of a PUT is signed."""

    @property
    def name(self) -> str:
        match self.kind:
            case "range":
                return f"range {in_words(RANGE)} of {in_words(self.size)}"
            case "list":
                return f"list {_LISTED}"
            case "PUT":
                return f"PUT {in_words(self.size)} {self.mode}"
        return f"{self.kind} {in_words(self.size)}"

    @property
    def body(self) -> int:
        """Bytes of body that one request moves, in either direction."""
        return {"HEAD": 0, "list": 0, "range": RANGE}.get(self.kind, self.size)

    def play(self, contender: Contender, count: int, connections: int, seconds: float | None = None) -> Played:
        """Plays ``count`` of them. Raises LoadFailed."""
        account = contender.account
        if self.kind == "multipart":
            return _play_uploads(account, self.size, count, connections)
        status = 206 if self.kind == "range" else 200
        length = {"list": None, "PUT": None, "range": RANGE}.get(self.kind, self.size)
        requests = self._requests(account, min(count, _OBJECTS.get(self.size, 1)))
        bodiless = self.kind == "HEAD"
        return play(Load(account.port, requests, count, connections, status, length, bodiless, seconds))

    def _requests(self, account: Account, count: int) -> list[Pieces]:
        # Spread over all objects also where only some are asked for.
        there = _OBJECTS.get(self.size, 1)
        numbers = range(0, there, max(1, there // count))
        keys = [key_of(self.size, number) for number in numbers]
        match self.kind:
            case "GET":
                return [account.get(key) for key in keys]
            case "GET checksum":
                return [account.get(key, {"x-amz-checksum-mode": "ENABLED"}) for key in keys]
            case "HEAD":
                return [(account.request("HEAD", key)[0],) for key in keys]
            case "range":
                return [account.get(key, {"Range": _range(self.size, at)}) for at, key in enumerate(keys)]
            case "list":
                query = (("list-type", "2"), ("prefix", "listed/"))
                return [(account.request("GET", query=query)[0],)]
        return [account.put(f"put-{key}", self.size, self.mode) for key in keys]


def in_words(size: int) -> str:
    """``64 KiB``."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


def key_of(size: int, number: int) -> str:
    return f"objects/of-{size}/number-{number:04}.bin"


def populate(contender: Contender, sizes: Sequence[int], *, listed: bool) -> None:
    """Puts there what the operations on these sizes read. Raises LoadFailed."""
    account = contender.account
    for size in sizes:
        count = _OBJECTS[size]
        requests = [account.put(key_of(size, number), size, "unsigned") for number in range(count)]
        play(Load(account.port, requests, count, min(8, count)))
    if listed:
        requests = [
            account.put(f"listed/{number:04}/of-a-usual-length.bin", KIB, "sha256") for number in range(_LISTED)
        ]
        play(Load(account.port, requests, _LISTED, 8))
    for size in sizes:
        _check(account, size)


def _check(account: Account, size: int) -> None:
    """That an object comes back as it went up; else everything after would be a measurement of something else."""
    connection = http.client.HTTPConnection("127.0.0.1", account.port, timeout=120)
    try:
        response = _send(connection, account.get(key_of(size, 0)), "GET")
        expected = body_of(size)
        for piece in expected:
            if response.read(len(piece)) != piece:
                raise LoadFailed(f"an object of {size} bytes has come back changed")
    finally:
        connection.close()


def _send(connection: http.client.HTTPConnection, request: Pieces, method: str) -> http.client.HTTPResponse:
    if connection.sock is None:
        connection.connect()
    for piece in request:
        connection.sock.sendall(piece)
    response = http.client.HTTPResponse(connection.sock, method=method)
    response.begin()
    if response.status not in (200, 206):
        raise LoadFailed(f"an answer of {response.status}: {response.read()[:1000]!r}")
    return response


def _range(size: int, number: int) -> str:
    first = (number * 7_919_111) % (size - RANGE)
    return f"bytes={first}-{first + RANGE - 1}"


def _play_uploads(account: Account, size: int, count: int, connections: int) -> Played:
    """Multipart uploads in parts of 8 MiB, one after the other in each of so many processes."""
    context = multiprocessing.get_context("fork")
    share = -(-count // connections)
    began = time.perf_counter()
    with context.Pool(connections, die_with_parent, (os.getpid(),)) as pool:
        found = pool.starmap(_uploads, [(account, size, worker, share) for worker in range(connections)])
    seconds = time.perf_counter() - began
    latencies = tuple(sorted(each for latencies, _ in found for each in latencies))
    total = len(latencies)
    return Played(total, seconds, 0, total * size, latencies, sum(cpu for _, cpu in found))


def _uploads(account: Account, size: int, worker: int, count: int) -> tuple[list[float], float]:
    connection = http.client.HTTPConnection("127.0.0.1", account.port, timeout=120)
    latencies, cpu = [], cpu_seconds(os.getpid())
    for number in range(count):
        began = time.perf_counter()
        _upload(connection, account, f"multipart/{worker}-{number % 4}", size)
        latencies.append(time.perf_counter() - began)
    connection.close()
    return latencies, cpu_seconds(os.getpid()) - cpu


def _upload(connection: http.client.HTTPConnection, account: Account, key: str, size: int) -> None:
    def send(request: Pieces, method: str) -> Any:
        response = _send(connection, request, method)
        return response, response.read()

    headers = {"Content-Length": "0", **account.put_headers}
    _, document = send((account.request("POST", key, (("uploads", ""),), headers)[0],), "POST")
    found = re.search(rb"<UploadId>([^<]+)</UploadId>", document)
    assert found is not None, document
    upload_id = found[1].decode()
    rows = []
    for number in range(1, size // _PART + 1):
        query = (("partNumber", str(number)), ("uploadId", upload_id))
        response, _ = send(account.put(key, _PART, "unsigned", query, part=True), "PUT")
        rows.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{response.headers['ETag']}</ETag></Part>")
    body = f"<CompleteMultipartUpload>{''.join(rows)}</CompleteMultipartUpload>".encode()
    head = account.request(
        "POST", key, (("uploadId", upload_id),), {"Content-Length": str(len(body))}, "UNSIGNED-PAYLOAD"
    )[0]
    send((head, body), "POST")
