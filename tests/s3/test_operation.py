from dataclasses import replace

import pytest
from multidict import CIMultiDict

from proxy.aws.errors import AwsError
from proxy.aws.message import Request, Response
from proxy.s3.gateway import Call, Gateway, Target
from proxy.s3.operation import Level, Operation, RouteTable, operation

BUCKET, KEY = Target("b"), Target("b", "k")


async def _run(gateway: Gateway, call: Call) -> Response:
    return Response(200)


def _row(name: str, method: str = "GET", level: Level = Level.OBJECT, *query: str, headers: str = "") -> Operation:
    return operation(name, method, level, "s3:X", query=query, headers=headers.split())(_run)


TABLE = RouteTable(
    [
        _row("Get"),
        _row("Acl", "GET", Level.OBJECT, "acl"),
        _row("Part", "PUT", Level.OBJECT, "partNumber", "uploadId"),
        _row("PartCopy", "PUT", Level.OBJECT, "partNumber", "uploadId", headers="x-amz-copy-source"),
        _row("Put", "PUT"),
        _row("List", "GET", Level.BUCKET),
        _row("ListV2", "GET", Level.BUCKET, "list-type=2"),
    ]
)


@pytest.mark.parametrize(
    ("method", "target", "query", "headers", "name"),
    [
        ("GET", KEY, "", {}, "Get"),
        ("GET", KEY, "acl", {}, "Acl"),
        ("GET", KEY, "acl=", {}, "Acl"),
        ("GET", KEY, "acl=x", {}, "Acl"),
        ("GET", KEY, "%61cl", {}, "Acl"),
        ("GET", KEY, "foo=acl&bar=acl", {}, "Get"),
        ("GET", KEY, "aclx&xacl&ACL", {}, "Get"),
        ("PUT", KEY, "uploadId=u&partNumber=1", {}, "Part"),
        ("PUT", KEY, "uploadId=u", {}, "Put"),
        ("PUT", KEY, "partNumber=1&uploadId=u", {"X-AMZ-Copy-Source": "a/b"}, "PartCopy"),
        ("GET", BUCKET, "list-type=2", {}, "ListV2"),
        ("GET", BUCKET, "list-type=1", {}, "List"),
        ("GET", BUCKET, "prefix=list-type%3D2", {}, "List"),
    ],
)
def test_the_most_specific_row_wins(
    method: str, target: Target, query: str, headers: dict[str, str], name: str
) -> None:
    assert TABLE.find(Request(method, target.path, query, CIMultiDict(headers)), target).name == name


@pytest.mark.parametrize(("method", "target"), [("POST", KEY), ("OPTIONS", KEY), ("GET", Target())])
def test_what_no_row_matches_is_not_implemented(method: str, target: Target) -> None:
    with pytest.raises(AwsError) as caught:
        TABLE.find(Request(method, target.path), target)
    assert (caught.value.code, caught.value.status) == ("NotImplemented", 501)


def test_two_equal_rows_are_refused() -> None:
    row = _row("A", "GET", Level.OBJECT, "x", "y")
    with pytest.raises(ValueError, match="B and A have the same row"):
        RouteTable([row, replace(row, name="B", query=frozenset({"y", "x"}))])


def test_rows_that_differ_in_one_condition_are_not_equal() -> None:
    RouteTable([_row("A"), _row("B", "PUT"), _row("C", "GET", Level.BUCKET), _row("D", headers="h")])
