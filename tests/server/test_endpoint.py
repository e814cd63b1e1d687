"""The endpoint: which service answers, who is let in, and what a failure looks like from outside."""

import json
import re
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as ClientCredentials
from multidict import CIMultiDict

from proxy.aws.credentials import AccessKey, Caller, StoreCredentials
from proxy.aws.errors import AwsError
from proxy.aws.message import Peer, Request, Response
from proxy.kms.root_keys.file import LocalRootKey
from proxy.kms.stores.memory import MemoryKeyStore
from proxy.s3.access.cors import Rule
from proxy.s3.access.cors import render as render_rules
from proxy.s3.gateway import Call, Gateway
from proxy.s3.operation import Level, RouteTable, operation
from proxy.s3.operations.table import ROUTES
from proxy.s3.state.ports import EncryptionRule, StateUnavailable
from proxy.s3.upstream.port import UpstreamError, UpstreamTimeout
from proxy.server.endpoint import Endpoint
from proxy.server.s3 import S3Service, by_length, target_of
from proxy.stream import Buffer, read_all
from proxy.sts.credentials import Credentials
from proxy.sts.principals import Principals
from proxy.sts.service import StsService
from proxy.sts.session_keys import SessionKeys
from tests.fakes import FakeRandom
from tests.s3.fakes import ACCOUNT, OTHER_ACCOUNT
from tests.s3.object_store import World, make_world

ADMIN_POLICY = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
SIMPLE_POLICY = {
    "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], "Resource": "*"}]
}
USERS = {
    "AKIASIMPLE": Caller(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/simple", "AIDASIMPLE", "AKIASIMPLE", (SIMPLE_POLICY,)),
    "AKIAADMIN": Caller(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/admin", "AIDAADMIN", "AKIAADMIN", (ADMIN_POLICY,)),
    "AKIANOBODY": Caller(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/nobody", "AIDANOBODY", "AKIANOBODY"),
    "AKIAOTHER": Caller(OTHER_ACCOUNT, f"arn:aws:iam::{OTHER_ACCOUNT}:root", OTHER_ACCOUNT, "AKIAOTHER"),
}


class UpstreamOfBuckets:
    """Says of every bucket that it has this status."""

    def __init__(self, status: int) -> None:
        self.status = status

    async def send(self, request: Request) -> Response:
        assert request.method == "HEAD"
        return Response(self.status)

    async def aclose(self) -> None:
        """There is nothing to close."""


def now() -> datetime:
    return datetime.now(UTC)


def endpoint_of(world: World, routes: RouteTable = ROUTES) -> Endpoint:
    random = FakeRandom()
    users = [AccessKey(id, f"secret of {id}", caller) for id, caller in USERS.items()]
    principals, session_keys = (
        Principals(users),
        SessionKeys(MemoryKeyStore(), LocalRootKey(b"r" * 32, random), now, random),
    )
    sts = StsService(principals, session_keys, now, random, None)
    service = S3Service(world.gateway, routes)
    return Endpoint(service, world.keys, sts, Credentials(principals, session_keys), now, random, "worker-1")


def signed(
    method: str,
    url: str,
    *,
    user: str = "AKIAADMIN",
    service: str = "s3",
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> Request:
    """A request as botocore signs it."""
    unsigned = AWSRequest(method, url, headers={"Content-Length": str(len(body)), **(headers or {})}, data=body)
    signer = (S3SigV4Auth if service == "s3" else SigV4Auth)(
        ClientCredentials(user, f"secret of {user}"), service, "eu-west-1"
    )
    signer.add_auth(unsigned)
    parts = urlsplit(url)
    fields = CIMultiDict([("Host", parts.netloc), *unsigned.headers.items()])
    return Request(method, parts.path, parts.query, fields, body, Peer("127.0.0.1", secure=False))


def text(answer: Response) -> str:
    assert isinstance(answer.body, bytes)
    return answer.body.decode()


def error_of(answer: Response) -> tuple[int, str, str]:
    """Status, code and message of an S3 error document."""
    found = re.search(r"<Code>(.*?)</Code>(?:<Message>(.*?)</Message>)?", text(answer), re.DOTALL)
    assert found is not None, text(answer)
    return answer.status, found[1], found[2] or ""


async def test_health_needs_no_signature() -> None:
    answer = await endpoint_of(await make_world()).handle(Request("GET", "/-/health"))
    assert (answer.status, answer.body) == (200, b"ok\n")


async def test_the_health_path_takes_no_object() -> None:
    endpoint = endpoint_of(await make_world())
    for request in (Request("PUT", "/-/health"), signed("PUT", "http://b.localhost/-/health", body=b"mine")):
        assert (await endpoint.handle(request)).status in (400, 403)


async def test_s3_answers_with_its_ids() -> None:
    answer = await endpoint_of(await make_world()).handle(signed("GET", "http://127.0.0.1/"))
    assert answer.status == 200
    assert re.fullmatch("[0-9A-F]{16}", answer.headers["x-amz-request-id"])
    assert (answer.headers["x-amz-id-2"], answer.headers["Server"]) == ("d29ya2VyLTE=", "AmazonS3")
    assert "<Name>b</Name>" in text(answer)


async def test_the_scope_picks_the_service() -> None:
    endpoint = endpoint_of(await make_world())
    target = {"X-Amz-Target": "TrentService.CreateKey", "Content-Type": "application/x-amz-json-1.1"}
    made = await endpoint.handle(signed("POST", "http://127.0.0.1/", service="kms", body=b"{}", headers=target))
    arn = json.loads(text(made))["KeyMetadata"]["Arn"]
    assert arn.startswith(f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/")
    who = await endpoint.handle(
        signed(
            "POST",
            "http://127.0.0.1/",
            service="sts",
            body=b"Action=GetCallerIdentity&Version=2011-06-15",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
    )
    assert f"<Arn>arn:aws:iam::{ACCOUNT}:user/admin</Arn>" in text(who)


async def test_a_changed_body_is_not_a_signed_one() -> None:
    target = {"X-Amz-Target": "TrentService.CreateKey", "Content-Type": "application/x-amz-json-1.1"}
    request = signed("POST", "http://127.0.0.1/", service="kms", body=b"{}", headers=target)
    endpoint = endpoint_of(await make_world())
    answer = await endpoint.handle(replace(request, body=b'{"Description":"x"}'))
    assert (answer.status, json.loads(text(answer))["__type"]) == (400, "InvalidSignatureException")


async def test_who_is_nobody_is_told_so_in_each_services_words() -> None:
    endpoint = endpoint_of(await make_world())
    assert error_of(await endpoint.handle(Request("GET", "/b/k")))[:2] == (403, "AccessDenied")
    kms = await endpoint.handle(Request("POST", "/", headers=CIMultiDict({"X-Amz-Target": "TrentService.ListKeys"})))
    assert json.loads(text(kms))["__type"] == "MissingAuthenticationTokenException"
    unknown = await endpoint.handle(signed("GET", "http://127.0.0.1/b/k", user="AKIAUNKNOWN"))
    assert error_of(unknown)[:2] == (403, "InvalidAccessKeyId")


@pytest.mark.parametrize(("method", "path"), [("GET", "/b/k"), ("PUT", "/b/k"), ("GET", "/b"), ("PUT", "/new-one")])
async def test_a_user_without_policies_may_do_nothing(method: str, path: str) -> None:
    world = await make_world()
    answer = await endpoint_of(world).handle(signed(method, f"http://127.0.0.1{path}", user="AKIANOBODY"))
    status, code, message = error_of(answer)
    assert (status, code) == (403, "AccessDenied")
    assert f"User: arn:aws:iam::{ACCOUNT}:user/nobody is not authorized to perform: s3:" in message
    assert "because no identity-based policy allows the s3:" in message
    assert world.store.sent == []


@pytest.mark.parametrize(
    ("method", "query", "headers", "action"),
    [
        ("GET", "versionId=v", {}, "s3:GetObjectVersion"),
        ("HEAD", "versionId=v", {}, None),
        ("PUT", "", {"x-amz-tagging": "a=b"}, "s3:PutObjectTagging"),
        ("PUT", "", {"x-amz-object-lock-legal-hold": "ON"}, "s3:PutObjectLegalHold"),
        ("PUT", "", {"x-amz-object-lock-mode": "GOVERNANCE"}, "s3:PutObjectRetention"),
        ("DELETE", "", {"x-amz-bypass-governance-retention": "true"}, "s3:BypassGovernanceRetention"),
    ],
)
async def test_what_a_request_does_besides_needs_a_permission_of_its_own(
    method: str, query: str, headers: dict[str, str], action: str | None
) -> None:
    world = await make_world()
    request = signed(method, f"http://127.0.0.1/b/k?{query}", user="AKIASIMPLE", headers=headers)
    answer = await endpoint_of(world).handle(request)
    assert answer.status == 403
    assert action is None or f"is not authorized to perform: {action} on resource" in text(answer)
    assert world.store.sent == []


async def test_who_may_not_list_is_not_told_that_a_key_is_missing() -> None:
    endpoint = endpoint_of(await make_world())
    assert error_of(await endpoint.handle(signed("GET", "http://127.0.0.1/b/k", user="AKIASIMPLE")))[0] == 403
    assert error_of(await endpoint.handle(signed("GET", "http://127.0.0.1/b/k")))[0] == 404


async def test_another_accounts_bucket_is_out_of_reach() -> None:
    world = await make_world()
    answer = await endpoint_of(world).handle(signed("GET", "http://127.0.0.1/b/k", user="AKIAOTHER"))
    assert error_of(answer) == (403, "AccessDenied", "Access Denied")
    assert world.store.sent == []


async def test_a_request_signed_for_another_region_is_served_unless_that_is_switched_off() -> None:
    world = await make_world()
    world.bucket = replace(world.bucket, region="us-west-2")
    await world.gateway.buckets.put(world.bucket)
    assert (await endpoint_of(world).handle(signed("GET", "http://127.0.0.1/b/k"))).status == 404
    settings = replace(world.gateway.settings, any_region=False)
    world.gateway = replace(world.gateway, settings=settings)
    answer = await endpoint_of(world).handle(signed("GET", "http://127.0.0.1/b/k"))
    message = "The authorization header is malformed; the region 'eu-west-1' is wrong; expecting 'us-west-2'"
    assert error_of(answer) == (400, "AuthorizationHeaderMalformed", message)
    assert "<Region>us-west-2</Region>" in text(answer)


@pytest.mark.parametrize(("owner", "status"), [(ACCOUNT, 404), (OTHER_ACCOUNT, 403), ("", 400)])
async def test_the_expected_owner_is_held_against_the_buckets(owner: str, status: int) -> None:
    headers = {"x-amz-expected-bucket-owner": owner}
    answer = await endpoint_of(await make_world()).handle(signed("GET", "http://127.0.0.1/b/k", headers=headers))
    assert answer.status == status


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (404, (404, "NoSuchBucket")),
        (200, (503, "ServiceUnavailable")),
        (403, (503, "ServiceUnavailable")),
        (400, (400, "InvalidBucketName")),
        (500, (503, "ServiceUnavailable")),
    ],
)
async def test_a_bucket_without_a_record_is_never_served(status: int, expected: tuple[int, str]) -> None:
    world = await make_world()
    world.gateway = replace(world.gateway, upstream=UpstreamOfBuckets(status))
    answer = await endpoint_of(world).handle(signed("PUT", "http://127.0.0.1/unknown/k", body=b"x"))
    assert error_of(answer)[:2] == expected
    assert ("sse-kms-proxy adopt unknown" in text(answer)) is (status in (200, 403))


async def failing(error: Exception) -> Response:
    """What a client sees of an operation that fails so."""

    @operation("GetObject", "GET", Level.OBJECT, "s3:GetObject")
    async def fails(gateway: Gateway, call: Call) -> Response:
        raise error

    return await endpoint_of(await make_world(), RouteTable([fails])).handle(signed("GET", "http://127.0.0.1/b/k"))


@pytest.mark.parametrize("error", [UpstreamError("refused"), UpstreamTimeout("late"), StateUnavailable("full")])
async def test_a_fault_of_the_store_or_the_state_is_503(error: Exception) -> None:
    answer = await failing(error)
    assert error_of(answer) == (503, "ServiceUnavailable", "Service is unable to handle request.")


async def test_a_fault_of_the_program_is_500_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    answer = await failing(ZeroDivisionError("a secret"))
    assert f"request {answer.headers['x-amz-request-id']} failed" in caplog.text
    assert error_of(answer) == (500, "InternalError", "We encountered an internal error. Please try again.")
    assert "secret" not in text(answer)


async def test_an_error_document_escapes_what_the_client_sent() -> None:
    answer = await endpoint_of(await make_world()).handle(signed("GET", "http://127.0.0.1/b/%3Cb%3E%26%00%0B"))
    assert error_of(answer)[:2] == (404, "NoSuchKey")
    assert "<Resource>/b/&lt;b&gt;&amp;\ufffd\ufffd</Resource>" in text(answer)
    assert answer.headers["Content-Length"] == str(len(answer.body if isinstance(answer.body, bytes) else b""))


DOMAINS = by_length(["localhost", "S3.Example", "s3.localhost"])


def test_what_a_path_names() -> None:
    def named(path: str, host: str = "127.0.0.1:9000") -> tuple[str, str]:
        target = target_of(Request("GET", path, headers=CIMultiDict({"Host": host})), DOMAINS)
        return target.bucket, target.key

    assert named("/") == ("", "")
    assert named("/b") == ("b", "")
    assert named("/b/") == ("b", "")
    assert named("/b/k/l") == ("b", "k/l")
    assert named("/b//k/../%2F%20+%25") == ("b", "/k/..// +%")
    assert named("/k", "b.localhost:9000") == ("b", "k")
    assert named("/k/l", "a.b.s3.example") == ("a.b", "k/l")
    assert named("/", "b.localhost") == ("b", "")
    assert named("/b/k", "localhost:9000") == ("b", "k")
    assert named("/b/k", "notlocalhost") == ("b", "k")
    assert named("/k", "b.s3.localhost:9000") == ("b", "k")
    assert named("/b/k", "s3.localhost") == ("b", "k")
    assert named("/k", "B.LocalHost") == ("b", "k")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/b/%ff", "InvalidURI"),
        ("/%ff/k", "InvalidURI"),
        ("b/k", "InvalidURI"),
        ("/b/" + "k" * 1025, "KeyTooLongError"),
    ],
)
async def test_what_is_no_key_is_refused(path: str, code: str) -> None:
    with pytest.raises(Exception, match=code):
        target_of(Request("GET", path, headers=CIMultiDict({"Host": "h"})), ())


@pytest.mark.parametrize(
    "path", ["//k", "//", "/../b/k", "/%2e%2e/b/k", "/./k", "/a%3Fb/k", "/a%0D%0AX:y/k", "/-/k", "/%C3%A9"]
)
async def test_what_could_name_another_path_at_the_store_is_no_bucket(path: str) -> None:
    with pytest.raises(AwsError, match="InvalidBucketName"):
        target_of(Request("GET", path, headers=CIMultiDict({"Host": "h"})), ())


@pytest.mark.parametrize("host", ["a/b.localhost", "a?b.localhost", "..localhost", "a/b?.localhost:9000"])
@pytest.mark.parametrize("path", ["/", "/k"])
async def test_a_host_is_held_to_the_same_names(host: str, path: str) -> None:
    with pytest.raises(AwsError, match="InvalidBucketName"):
        target_of(Request("GET", path, headers=CIMultiDict({"Host": host})), DOMAINS)


async def test_a_long_body_for_the_key_service_is_not_read_to_its_end() -> None:
    read = 0

    async def endless() -> AsyncGenerator[Buffer, None]:
        nonlocal read
        while True:
            read += 65536
            yield bytes(65536)

    headers = {"X-Amz-Target": "TrentService.ListKeys", "Content-Type": "application/x-amz-json-1.1"}
    request = signed("POST", "http://127.0.0.1/", service="kms", headers=headers)
    answer = await endpoint_of(await make_world()).handle(replace(request, body=endless()))
    assert answer.status == 413
    assert read < 2 * 1024 * 1024


def policy_for(*principals: str, action: str = "s3:GetObject") -> str:
    named = "*" if principals == ("*",) else {"AWS": list(principals)}
    statement = {"Effect": "Allow", "Principal": named, "Action": action, "Resource": "arn:aws:s3:::b/*"}
    return json.dumps({"Version": "2012-10-17", "Statement": statement})


async def public(world: World, action: str = "s3:GetObject", **record: Any) -> World:
    open_to_all = replace(world.bucket, policy=policy_for("*", action=action), public_access_block=None, **record)
    await world.gateway.buckets.put(open_to_all)
    return world


def unsigned(method: str, path: str = "/b/k", body: bytes = b"", **headers: str) -> Request:
    fields = CIMultiDict({"Host": "127.0.0.1", "Content-Length": str(len(body))})
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    return Request(method, path, "", fields, body, Peer("127.0.0.1", secure=False))


async def read_body(answer: Response) -> bytes:
    return await read_all(answer.body, 1 << 20)


async def test_without_a_signature_a_bucket_is_closed_unless_its_policy_says_otherwise() -> None:
    world = await make_world()
    endpoint = endpoint_of(world)
    assert (await endpoint.handle(signed("PUT", "http://127.0.0.1/b/k", body=b"hello"))).status == 200
    assert error_of(await endpoint.handle(unsigned("GET"))) == (403, "AccessDenied", "Access Denied")
    assert world.store.asked_as == []
    await public(world)
    answer = await endpoint.handle(unsigned("GET"))
    assert (answer.status, await read_body(answer)) == (200, b"hello")
    assert world.store.asked_as == [None, None], "the store is asked without a signature, for both kinds of reads"
    assert (await endpoint.handle(unsigned("HEAD"))).status == 200
    assert error_of(await endpoint.handle(unsigned("PUT", body=b"x")))[:2] == (403, "AccessDenied")
    # Who may not list is not told what there is not.
    assert error_of(await endpoint.handle(unsigned("GET", "/b/none")))[:2] == (403, "AccessDenied")


async def test_the_operator_may_have_the_bucket_policy_decide_alone() -> None:
    world = await public(await make_world())
    signing = replace(world.gateway, settings=replace(world.gateway.settings, sign_anonymous=True))
    endpoint = endpoint_of(replace(world, gateway=signing))
    await endpoint.handle(signed("PUT", "http://127.0.0.1/b/k", body=b"hello"))
    assert (await endpoint.handle(unsigned("GET"))).status == 200
    assert world.store.asked_as == []


async def test_kms_needs_a_signature() -> None:
    world = await public(await make_world(rule=EncryptionRule("aws:kms")), "s3:*Object")
    endpoint = endpoint_of(world)
    assert (await endpoint.handle(signed("PUT", "http://127.0.0.1/b/k", body=b"hello"))).status == 200
    for request in (unsigned("GET"), unsigned("PUT", body=b"x")):
        answer = await endpoint.handle(request)
        assert error_of(answer) == (
            400,
            "InvalidArgument",
            "Requests specifying Server Side Encryption with AWS KMS managed keys require AWS Signature Version 4.",
        )
        assert "<ArgumentName>Authorization</ArgumentName><ArgumentValue>null</ArgumentValue>" in text(answer)
    assert (await endpoint.handle(unsigned("HEAD"))).status == 400
    answer = await endpoint.handle(unsigned("PUT", "/b/other", b"x", x_amz_server_side_encryption="AES256"))
    assert answer.status == 200


@pytest.mark.parametrize("headers", [{"X_Amz_Target": "TrentService.ListKeys"}])
async def test_only_s3_is_open_to_whoever_has_not_signed(headers: dict[str, str]) -> None:
    answer = await endpoint_of(await make_world()).handle(unsigned("POST", "/", b"{}", **headers))
    assert answer.status == 400
    assert "MissingAuthenticationTokenException" in text(answer)


async def test_a_user_is_asked_for_with_credentials_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await make_world()
    own = StoreCredentials("OWN", "hidden")
    monkeypatch.setitem(USERS, "AKIAADMIN", replace(USERS["AKIAADMIN"], store=own))
    endpoint = endpoint_of(world)
    assert (await endpoint.handle(signed("PUT", "http://127.0.0.1/b/k", body=b"hello"))).status == 200
    assert world.store.asked_as == [own, own]
    assert "hidden" not in repr(USERS["AKIAADMIN"])
    # Whether a bucket without a record is in the store at all is the proxy's own question.
    assert (await endpoint.handle(signed("GET", "http://127.0.0.1/another/k"))).status == 404
    assert world.store.asked_as == [own, own]


PAGE = {"Origin": "https://app.example.com"}


async def test_a_page_of_another_origin() -> None:
    world = await make_world()
    rules = (Rule(("https://app.example.com",), ("GET",), ("authorization",)),)
    await world.gateway.buckets.put(replace(world.bucket, cors=render_rules(rules)))
    endpoint = endpoint_of(world)
    url = "http://127.0.0.1/b/k"
    await endpoint.handle(signed("PUT", url, body=b"hello"))
    asked = {"Access_Control_Request_Method": "GET", "Access_Control_Request_Headers": "Authorization"}
    preflight = await endpoint.handle(unsigned("OPTIONS", **PAGE, **asked))
    assert preflight.status == 200
    assert preflight.headers["Access-Control-Allow-Headers"] == "authorization"
    assert "x-amz-request-id" in preflight.headers
    # Of a presigned URL, whose signature is for another method.
    presigned = replace(unsigned("OPTIONS", **PAGE, **asked), query="X-Amz-Signature=0&X-Amz-Algorithm=x")
    assert (await endpoint.handle(presigned)).status == 200
    for request, status in (
        (signed("GET", url, headers=PAGE), 200),
        (signed("GET", f"{url}/none", headers=PAGE), 404),
        (unsigned("GET", **PAGE), 403),
    ):
        answer = await endpoint.handle(request)
        assert answer.status == status
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
        await answer.aclose()
    for request in (
        signed("GET", url),
        signed("GET", url, headers={"Origin": "https://else"}),
        signed("PUT", url, headers=PAGE),
    ):
        answer = await endpoint.handle(request)
        assert answer.status == 200
        assert not [name for name in answer.headers if name.startswith("Access-Control")]
        await answer.aclose()


async def test_preflights_that_nobody_has_a_rule_for() -> None:
    endpoint = endpoint_of(await make_world())
    for path, message in (
        ("/b/k", "CORSResponse: CORS is not enabled for this bucket."),
        ("/none/k", "CORSResponse: Bucket not found"),
        ("/", "CORSResponse: Bucket not found"),
    ):
        answer = await endpoint.handle(unsigned("OPTIONS", path, **PAGE, Access_Control_Request_Method="GET"))
        assert error_of(answer) == (403, "AccessForbidden", message)
    assert (await endpoint.handle(unsigned("OPTIONS"))).status == 400
    assert (await endpoint.handle(unsigned("GET", "/b%ff/k", **PAGE))).status == 400


async def test_the_store_is_asked_nothing_for_whoever_has_not_signed_before_a_policy_allows_it() -> None:
    world = await make_world()
    endpoint = endpoint_of(world)
    assert error_of(await endpoint.handle(unsigned("GET", "/nowhere/k")))[:2] == (404, "NoSuchBucket")
    many = replace(unsigned("POST", "/b", b"<Delete/>"), query="delete", body=Unreadable())
    for request in (unsigned("GET"), unsigned("PUT", body=b"x"), unsigned("PUT", "/new-bucket"), many):
        assert error_of(await endpoint.handle(request)) == (403, "AccessDenied", "Access Denied")
    await public(world, "s3:*Object")
    message = "Anonymous users cannot initiate multipart uploads. Please authenticate."
    begun = replace(unsigned("POST"), query="uploads")
    assert error_of(await endpoint.handle(begun)) == (403, "AccessDenied", message)
    assert world.store.sent == []


class Unreadable:
    """A body that must not be read."""

    def __aiter__(self) -> "Unreadable":
        return self

    async def __anext__(self) -> Buffer:
        raise AssertionError("the body is read")

    async def aclose(self) -> None:
        """There is nothing to close."""


async def test_pages_while_the_state_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await make_world()
    endpoint = endpoint_of(world)

    async def fail(name: str) -> None:
        raise StateUnavailable("the disk is full")

    monkeypatch.setattr(world.gateway.buckets, "get", fail)
    assert (await endpoint.handle(unsigned("OPTIONS", **PAGE, Access_Control_Request_Method="GET"))).status == 503
    answer = await endpoint.handle(signed("GET", "http://127.0.0.1/b/k", headers=PAGE))
    assert error_of(answer)[:2] == (503, "ServiceUnavailable")
