"""GetObjectAttributes: what is known of an object without its bytes.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html and recorded answers, where the
page leaves something open: a composite checksum has no ``-N`` here; parts are listed one by one only where they have
checksums of their own, which AWS keeps for composite ones; parts are counted as they lie in the object.
"""

from collections.abc import Mapping
from typing import Any, Final

from proxy.aws import checksums, xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Request, Response
from proxy.envelope.parts import PartsTable
from proxy.envelope.v1 import Unlocked
from proxy.s3.access.authorization import authorize
from proxy.s3.encryption import customer_keys, sse
from proxy.s3.encryption.customer_keys import CustomerKey
from proxy.s3.errors import invalid_argument, invalid_request, no_such_version
from proxy.s3.forwarding import passed, store_error, stored_length
from proxy.s3.gateway import Call, Gateway
from proxy.s3.multipart.uploads import COMPOSITE
from proxy.s3.numbers import whole_number
from proxy.s3.objects.records import records_of
from proxy.s3.objects.store_reads import of_one_object
from proxy.s3.objects.stored import StoredObject, describe, unlock_whole
from proxy.s3.operation import Level, Operation, operation
from proxy.s3.operations.object_answers import checksums_of, upstream_query

_HEADER: Final = "x-amz-object-attributes"
_ATTRIBUTES: Final = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")
_MOST_PARTS: Final = 1000


def _operation(action: str, *query: str) -> Operation:
    """Two permissions are needed: that of reading the object, which the endpoint asks for, and one of its own."""

    @operation("GetObjectAttributes", "GET", Level.OBJECT, action, query=("attributes", *query))
    async def get_object_attributes(gateway: Gateway, call: Call) -> Response:
        authorize(call, f"{action}Attributes", call.target, gateway.clock)
        sse.refuse_choice(call.request.headers)
        wanted = _wanted(call)
        customer_key = customer_keys.parse(call.request, gateway.settings)
        return await of_one_object(lambda: _answer(gateway, call, wanted, customer_key))

    return get_object_attributes


get_object_attributes = _operation("s3:GetObject")
get_object_version_attributes = _operation("s3:GetObjectVersion", "versionId")


def _wanted(call: Call) -> list[str]:
    """The attributes that the client names; SDKs send one header for each, or one for all.

    Raises:
        AwsError: InvalidRequest, InvalidArgument.
    """
    values = call.request.headers.getall(_HEADER, [])
    names = [name for value in values for item in value.split(",") if (name := item.strip())]
    if not names:
        message = f"The {_HEADER} header specifying the attributes to be retrieved is either missing or empty"
        raise invalid_request(message)
    for name in names:
        if name not in _ATTRIBUTES:
            raise invalid_argument("Invalid attribute name specified.", _HEADER, name)
    return names


async def _answer(gateway: Gateway, call: Call, wanted: list[str], customer_key: CustomerKey | None) -> Response:
    limit = min(_number(call, "x-amz-max-parts", _MOST_PARTS), _MOST_PARTS)
    marker = _number(call, "x-amz-part-number-marker", 0)
    records = await records_of(gateway, call.target)
    answer = await gateway.upstream.send(Request("HEAD", call.target.path, upstream_query(call)))
    await answer.aclose()
    if answer.status != 200:
        raise await _refusal(answer, call)
    named = call.request.parameter("versionId") is not None
    size = stored_length(answer)
    stored = await describe(gateway, call.record, call.target.key, answer.headers, size, records, named=named)
    customer_keys.check_presence(stored.header, customer_key)
    found = await _attributes(gateway, call, stored, customer_key, limit, marker)
    found["StorageClass"] = answer.headers.get("x-amz-storage-class", "STANDARD")
    headers = passed(answer.headers, ("Last-Modified", "x-amz-version-id"))
    headers["Content-Type"] = "application/xml"
    members: dict[str, Any] = {name: found.get(name) for name in _ATTRIBUTES if name in wanted}
    return Response(200, headers, xml_codec.render("GetObjectAttributesResponse", members))


async def _refusal(answer: Response, call: Call) -> AwsError:
    """What the store's answer to HEAD means; it has no document that could say so."""
    version_id = call.request.parameter("versionId")
    if version_id is not None and answer.status == 404:
        return no_such_version(call.target.key, version_id)
    if version_id is not None and answer.status == 400:
        return invalid_argument("Invalid version id specified", "versionId", version_id)
    return await store_error(answer, call)


async def _attributes(
    gateway: Gateway, call: Call, stored: StoredObject, customer_key: CustomerKey | None, limit: int, marker: int
) -> dict[str, Any]:
    """All that can be told of an object, by name. AWS, too, wants kms:Decrypt whatever is asked for."""
    found: dict[str, Any] = {"ETag": stored.etag.strip('"'), "ObjectSize": stored.size}
    if stored.header is None:
        if stored.is_plain_multipart:
            found["ObjectParts"] = {"PartsCount": stored.upstream_etag.strip('"').rpartition("-")[2]}
        return found
    unlocked, table = await unlock_whole(gateway, call.origin, call.target, stored, stored.header, customer_key)
    if table is not None:
        found["ObjectParts"] = _object_parts(table, limit, marker)
    found["Checksum"] = await _checksum(gateway, call, stored, unlocked, table)
    return found


async def _checksum(
    gateway: Gateway, call: Call, stored: StoredObject, unlocked: Unlocked, table: PartsTable | None
) -> Mapping[str, str] | None:
    headers = await checksums_of(gateway, call, stored, unlocked, table)
    if not headers:
        return None
    values = {
        f"Checksum{algorithm}": headers[name].partition("-")[0]
        for algorithm in checksums.ALGORITHMS
        if (name := checksums.header_name(algorithm)) in headers
    }
    return {**values, "ChecksumType": headers["x-amz-checksum-type"]}


def _object_parts(table: PartsTable, limit: int, marker: int) -> dict[str, Any]:
    count = len(table.parts)
    if table.checksum_type != COMPOSITE or not any(part.checksums for part in table.parts):
        return {"PartsCount": count}
    end = min(marker + limit, count)
    shown = range(marker, end)
    return {
        "PartsCount": count,
        "PartNumberMarker": marker,
        "NextPartNumberMarker": end if shown else 0,
        "MaxParts": limit,
        "IsTruncated": bool(shown) and end < count,
        "Part": [
            {
                "PartNumber": index + 1,
                "Size": table.parts[index].size,
                **{f"Checksum{name}": value for name, value in table.parts[index].checksums.items()},
            }
            for index in shown
        ],
    }


def _number(call: Call, name: str, default: int) -> int:
    return whole_number(call.request.headers.get(name), name, default)
