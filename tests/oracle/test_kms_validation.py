"""Requests that break the service model, generated from botocore's: each is AWS's 400, never a 500."""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import botocore.session
import pytest
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.aws.message import Request
from proxy.server import kms as endpoint
from tests.kms.harness import ADMIN, Kms

SERVICE = botocore.session.get_session().get_service_model("kms")
OPERATIONS = list(SERVICE.operation_names)
MODELLED = {shape.metadata.get("error", {}).get("code", shape.name) for shape in SERVICE.error_shapes}
COMMON = {
    "AccessDeniedException",
    "SerializationException",
    "ThrottlingException",
    "UnknownOperationException",
    "ValidationException",
}
VALIDATION, SERIALIZATION = "ValidationException", "SerializationException"

SAMPLES = (
    "x",
    "0" * 12,
    "a" * 64,
    "default",
    "us-east-1",
    "alias/name",
    "https://example.com",
    "/kms/xks/v1",
    "cluster-abcdefghijk",
    "com.amazonaws.vpce.us-east-1.vpce-svc-0123456789",
    "arn:aws:iam::111122223333:user/name",
    "kms.amazonaws.com",
    "A" * 20,
    "A" * 43,
)
"""Among them is one for every pattern of the model."""


class Answer(NamedTuple):
    status: int
    code: str
    message: str


class Case(NamedTuple):
    """A value for a member that the model does not allow, and AWS's code for it."""

    why: str
    value: Any
    code: str


def bounds(shape: Shape) -> tuple[int, int | None]:
    return shape.metadata.get("min", 0), shape.metadata.get("max")


def fits(shape: Shape, text: str) -> bool:
    least, most = bounds(shape)
    pattern = shape.metadata.get("pattern")
    long_enough = least <= len(text) and (most is None or len(text) <= most)
    return long_enough and (pattern is None or re.fullmatch(pattern, text) is not None)


def valid(shape: Shape) -> Any:
    """A value that the model allows, as JSON has it."""
    least, _ = bounds(shape)
    if isinstance(shape, StructureShape):
        return {name: valid(shape.members[name]) for name in shape.required_members}
    if isinstance(shape, ListShape):
        return [valid(shape.member)] * max(least, 1)
    if isinstance(shape, MapShape):
        return {valid(shape.key): valid(shape.value)}
    match shape.type_name:
        case "string":
            enum = shape.enum if isinstance(shape, StringShape) else []
            return enum[0] if enum else next(text for text in SAMPLES if fits(shape, text))
        case "blob":
            return base64.b64encode(b"x" * max(least, 1)).decode()
        case "boolean":
            return False
        case "integer":
            return max(least, 1)
    return 1.8e9


WRONG: dict[str, tuple[Any, ...]] = {
    "string": (1, 1.5, True, [], ["x"], {}, {"x": "y"}),
    "blob": (1, True, [], {}, "not base64!", "a"),
    "boolean": ("true", 1, 0, [], {}, 1.5),
    "integer": ("1", True, [], {}, 1.5, 1e300 * 1e300),
    "timestamp": ("soon", True, [], {}, 1e300 * 1e300, -1e300, 1e18),
    "list": ("x", 1, True, {}),
    "map": ("x", 1, True, []),
    "structure": ("x", 1, True, []),
}
"""By type: values of other JSON types, or that are none of the type at all. 1e300 * 1e300 is written as 1e999."""


def cases(shape: Shape) -> Iterator[Case]:
    """Values that a member must not have."""
    yield from (Case(f"a {shape.type_name} as {value!r}", value, SERIALIZATION) for value in WRONG[shape.type_name])
    least, most = bounds(shape)
    if isinstance(shape, StringShape) and shape.enum:
        yield Case("outside the enumeration", "NONSENSE", VALIDATION)
        yield Case("empty, outside the enumeration", "", VALIDATION)
    elif shape.type_name == "string":
        yield from text_cases(shape)
        yield Case("with an unpaired surrogate", "\ud800", SERIALIZATION)
    elif shape.type_name == "blob":
        if least:
            yield Case("too short", "", VALIDATION)
        if most is not None:
            yield Case("too long", base64.b64encode(bytes(most + 1)).decode(), VALIDATION)
    elif shape.type_name == "integer":
        yield from (Case("too small", value, VALIDATION) for value in (least - 1, -(2**63), -(10**30)))
        if most is not None:
            yield from (Case("too large", value, VALIDATION) for value in (most + 1, 2**63, 10**30))
    elif isinstance(shape, ListShape):
        yield from list_cases(shape)
    elif isinstance(shape, MapShape):
        yield Case("with a null", {"x": None}, VALIDATION)
        yield from (Case(f"value {why}", {"x": value}, code) for why, value, code in cases(shape.value))
    elif isinstance(shape, StructureShape):
        yield from structure_cases(shape, valid(shape))


def text_cases(shape: Shape) -> Iterator[Case]:
    least, most = bounds(shape)
    if least:
        yield Case("too short", valid(shape)[: least - 1], VALIDATION)
    if most is not None:
        yield Case("too long", (valid(shape) or "x") * (most + 1), VALIDATION)
    if "pattern" in shape.metadata:
        wrong = [character * max(least, 1) for character in ("!", " ", "\x01", "\u0416", "\U0001f511")]
        for text in (*wrong, valid(shape) + "\n"):
            if not fits(shape, text):
                yield Case(f"not of the pattern: {text!r}", text, VALIDATION)


def list_cases(shape: ListShape) -> Iterator[Case]:
    least, most = bounds(shape)
    member = valid(shape.member)
    if least:
        yield Case("too few", [member] * (least - 1), VALIDATION)
    if most is not None:
        yield Case("too many", [member] * (most + 1), VALIDATION)
    yield Case("with a null", [None], VALIDATION)
    yield from (Case(f"member {why}", [value], code) for why, value, code in cases(shape.member))


def structure_cases(shape: StructureShape, whole: dict[str, Any]) -> Iterator[Case]:
    for name in shape.required_members:
        without = {other: value for other, value in whole.items() if other != name}
        yield Case(f"without {name}", without, VALIDATION)
        yield Case(f"with {name} null", without | {name: None}, VALIDATION)
    for name, member in shape.members.items():
        yield from (Case(f"{name} {why}", whole | {name: value}, code) for why, value, code in cases(member))


def encoded(document: Any) -> bytes:
    return json.dumps(document).replace("-Infinity", "-1e999").replace("Infinity", "1e999").encode()


async def send(kms: Kms, operation: str, body: bytes, **changes: Any) -> Answer:
    headers = {"X-Amz-Target": f"TrentService.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    request = Request("POST", "/", headers=CIMultiDict(headers | changes), body=body)
    response = await endpoint.handle(kms.service, request, ADMIN)
    assert isinstance(response.body, bytes)
    document = json.loads(response.body) if response.body else {}
    if response.status == 200:
        assert "__type" not in document
        return Answer(200, "", "")
    assert set(document) <= {"__type", "message", "Message"}
    return Answer(response.status, document["__type"], document.get("message", document.get("Message", "")))


def input_of(operation: str) -> StructureShape:
    shape = SERVICE.operation_model(operation).input_shape
    assert isinstance(shape, StructureShape)
    return shape


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_what_the_model_allows_is_read(kms: Kms, operation: str) -> None:
    """The requests that the others are made from fail, if at all, for what they ask for."""
    shape = input_of(operation)
    for members in ({}, *({name: valid(member)} for name, member in shape.members.items())):
        answer = await send(kms, operation, encoded(valid(shape) | members))
        assert answer.status in (200, 400), answer
        assert answer.code in MODELLED | COMMON | {""}
        assert answer.code != SERIALIZATION
        assert "at most" in answer.message or not re.match(r"\d+ validation errors? detected: Value '", answer.message)


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_what_the_model_does_not_allow_is_refused(kms: Kms, operation: str) -> None:
    shape, number = input_of(operation), 0
    for why, document, code in structure_cases(shape, valid(shape)):
        answer = await send(kms, operation, encoded(document))
        assert (answer.status, answer.code) == (400, code), f"{operation}: {why}: {answer}"
        if code == VALIDATION:
            assert re.match(r"\d+ validation errors? detected: Value ", answer.message), answer
        number += 1
    assert number >= len(shape.members)
    for kind in ("key", "alias", "grant"):
        assert await kms.store.scan(kind) == []


async def test_a_missing_member_is_named_as_aws_names_it(kms: Kms) -> None:
    assert await send(kms, "Sign", b"{}") == Answer(
        400,
        VALIDATION,
        "3 validation errors detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null; "
        "Value null at 'message' failed to satisfy constraint: Member must not be null; "
        "Value null at 'signingAlgorithm' failed to satisfy constraint: Member must not be null",
    )


GARBAGE = {
    "null": b"null",
    "a list": b"[]",
    "text": b'"text"',
    "a number": b"1",
    "true": b"true",
    "cut short": b'{"KeyId": "x"',
    "no JSON": b"KeyId=x",
    "XML": b"<KeyId>x</KeyId>",
    "single quotes": b"{'KeyId': 'x'}",
    "two documents": b"{}{}",
    "NaN": b'{"KeyId": NaN}',
    "infinity": b'{"KeyId": -Infinity}',
    "not UTF-8": b'{"KeyId": "\xff\xfe"}',
    "overlong UTF-8": b'{"KeyId": "\xc0\xaf"}',
    "a control character": b'{"KeyId": "\x00"}',
    "bytes of no meaning": bytes(range(256)),
    "deep lists": b"[" * 200_000,
    "deep and whole lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a deep member": b'{"KeyId": "x", "Unknown": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a number of many digits": b'{"KeyId": ' + b"9" * 100_000 + b"}",
    "a text of a mebibyte": b'{"KeyId": "' + b"x" * (2**20 - 20) + b'"}',
    "many members": b"{" + b",".join(b'"%d":1' % n for n in range(50_000)) + b"}",
    "the same member many times": b"{" + b",".join(b'"KeyId":1' for _ in range(50_000)) + b"}",
}


@pytest.mark.parametrize("operation", ["Encrypt", "CreateKey", "ListKeys", "Sign"])
@pytest.mark.parametrize("why", GARBAGE)
async def test_garbage(kms: Kms, operation: str, why: str) -> None:
    answer = await send(kms, operation, GARBAGE[why])
    ignored = operation in ("CreateKey", "ListKeys")  # They have no KeyId, and unknown members are ignored.
    if ignored and answer.status == 200:
        assert why in (
            "a number of many digits",
            "a text of a mebibyte",
            "many members",
            "the same member many times",
            "a deep member",
        )
        return
    assert answer.status == 400
    assert answer.code in (VALIDATION, SERIALIZATION)


async def test_more_than_a_mebibyte(kms: Kms) -> None:
    answer = await send(kms, "Encrypt", b" " * (2**20 + 1))
    assert (answer.status, answer.code) == (413, "RequestEntityTooLargeException")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
async def test_other_encodings_of_unicode(kms: Kms, encoding: str) -> None:
    assert (await send(kms, "ListKeys", '{"Limit": "x"}'.encode(encoding))).code == SERIALIZATION


@pytest.mark.parametrize(
    "changes",
    [
        {"X-Amz-Target": "TrentService.Nonsense"},
        {"X-Amz-Target": "TrentService."},
        {"X-Amz-Target": "ListKeys"},
        {"X-Amz-Target": "DynamoDB_20120810.ListTables"},
        {"X-Amz-Target": ""},
        {"Content-Type": "application/json"},
        {"Content-Type": ""},
    ],
)
async def test_what_is_no_operation(kms: Kms, changes: dict[str, str]) -> None:
    answer = await send(kms, "ListKeys", b"{}", **changes)
    assert (answer.status, answer.code) == (400, "UnknownOperationException")


def documents(shape: StructureShape) -> st.SearchStrategy[dict[str, Any]]:
    """Members of the model with values that may or may not be valid."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
    anything = st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    )
    chosen = {name: st.just(valid(member)) | anything for name, member in shape.members.items()}
    return st.fixed_dictionaries({}, optional=chosen)


@given(data=st.data(), operation=st.sampled_from(OPERATIONS))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_document_is_answered(kms: Kms, data: st.DataObject, operation: str) -> None:
    document = data.draw(documents(input_of(operation)))
    answer = await send(kms, operation, encoded(document))
    assert answer.status in (200, 400), answer
    assert answer.code in MODELLED | COMMON | {""}
