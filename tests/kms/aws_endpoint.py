"""A key service behind HTTP, which is AWS KMS to those who sign for it, and a provider that asks it."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from multidict import CIMultiDict

from proxy.aws import sigv4
from proxy.aws.credentials import AccessKey, Caller, CallOrigin, InvalidSessionToken
from proxy.aws.errors import AwsError
from proxy.aws.message import Request, Response
from proxy.kms.providers.aws import AwsKeyProvider
from proxy.kms.providers.aws_settings import AwsKms
from proxy.server import kms as kms_server
from proxy.server.http import HttpServer
from proxy.server.limits import Limits
from proxy.stream import read_all
from proxy.sts.principals import ADMINISTRATOR_ACCESS
from tests.kms.harness import ACCOUNT, Kms

ACCESS_KEY = "AKIAPROXYAATAWSKMS00"
SECRET = "proxy-at-aws-kms"
PROXY = AccessKey(
    ACCESS_KEY,
    SECRET,
    Caller(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/the-proxy", "AIDAPROXY", ACCESS_KEY, (ADMINISTRATOR_ACCESS,)),
)
REQUEST_ID = "00000000-0000-4000-8000-000000000000"


class OneUser:
    """The proxy is the only one whom AWS knows."""

    def find(self, access_key_id: str) -> AccessKey | None:
        return PROXY if access_key_id == ACCESS_KEY else None

    def find_temporary(self, access_key_id: str, token: str, now: datetime) -> AccessKey:
        raise InvalidSessionToken


def now() -> datetime:
    return datetime.now(UTC)


Handler = Callable[[Request], Awaitable[Response]]


def aws(kms: Kms, heard: list[str]) -> Handler:
    """Answers as AWS KMS does; ``heard`` gets the operation of each request."""

    async def handle(request: Request) -> Response:
        heard.append(request.headers.get("X-Amz-Target", "").rpartition(".")[2])
        whole = Request(
            request.method, request.path, request.query, request.headers, await read_all(request.body, 1 << 20)
        )
        try:
            verified = sigv4.verify(whole, OneUser(), now())
        except AwsError as error:
            return kms_server.render_error(error, REQUEST_ID)
        origin = CallOrigin(verified.caller, verified.scope.region, request_id=REQUEST_ID)
        return await kms_server.handle(kms.service, whole, origin)

    return handle


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[str]:
    """The URL of a server on a free port."""
    server = HttpServer(handler, limits=Limits(), malformed=lambda status, _: Response(status, CIMultiDict(), b""))
    port = await server.start("127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.stop(0.1)


@asynccontextmanager
async def provider(url: str, owned_key_id: str, **settings: Any) -> AsyncIterator[AwsKeyProvider]:
    """A provider that asks the server at a URL."""
    audit = settings.pop("audit", None)
    given = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET, "timeout": 30.0, **settings}
    made = AwsKeyProvider(AwsKms(owned_key_id=owned_key_id, endpoint_url=url, **given), now, os.urandom, audit)
    try:
        yield made
    finally:
        await made.aclose()
