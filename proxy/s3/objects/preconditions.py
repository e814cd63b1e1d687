"""Conditional requests: what a client's conditions are for the store, which decides them atomically.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html and RFC 9110 section 13.
"""

from multidict import CIMultiDict

from proxy.aws.errors import AwsError
from proxy.aws.message import Headers, Request
from proxy.s3.errors import invalid_argument, no_such_key, not_implemented
from proxy.s3.forwarding import condition_error
from proxy.s3.gateway import Call, Gateway
from proxy.s3.objects import etag
from proxy.s3.objects.records import distinguished
from proxy.s3.state.ports import ObjectRecord

_DATES = ("If-Modified-Since", "If-Unmodified-Since")
_TAGS = ("If-Match", "If-None-Match")


async def for_read(gateway: Gateway, call: Call, records: list[ObjectRecord]) -> CIMultiDict[str]:
    """The conditions of GetObject and HeadObject as the store has to see them; ``records`` are those of the key.

    Raises:
        AwsError: InvalidArgument, for what is not a list of entity tags.
    """
    found = CIMultiDict({name: call.request.headers[name] for name in _DATES if name in call.request.headers})
    found.update(await _tags(gateway, call, records))
    if found.get("If-Match") == "*":
        # It holds of whatever is there, and 404 says what is not; Ceph takes it for an ETag.
        del found["If-Match"]
    return found


async def for_write(gateway: Gateway, call: Call, records: list[ObjectRecord]) -> CIMultiDict[str]:
    """The conditions of PutObject and CompleteMultipartUpload: ``If-None-Match: *``, or ``If-Match`` with an ETag.

    Raises:
        AwsError: NotImplemented for other conditions, as on AWS.
    """
    headers = call.request.headers
    for name in _DATES:
        if name in headers:
            raise not_implemented(name)
    if headers.get("If-None-Match", "*").strip() != "*":
        raise not_implemented("If-None-Match")
    if "If-Match" in headers and ("If-None-Match" in headers or headers["If-Match"].strip() == "*"):
        raise not_implemented("If-Match")
    return on_put(gateway, await _tags(gateway, call, records))


def on_put(gateway: Gateway, conditions: Headers) -> CIMultiDict[str]:
    """Conditions on a write with the store's ETags, in the store's spelling."""
    found = CIMultiDict(conditions)
    if "If-Match" in found and gateway.settings.store.bare_write_conditions:
        found["If-Match"] = found["If-Match"].strip('"')
    return found


async def write_error(gateway: Gateway, call: Call, error: AwsError) -> AwsError:
    """The store's refusal of a write as AWS has it: ``If-Match`` on a key without an object is NoSuchKey there."""
    if error.status != 412:
        return error
    if "If-Match" in call.request.headers:
        answer = await gateway.upstream.send(Request("HEAD", call.target.path))
        await answer.aclose()
        if answer.status == 404:
            return no_such_key(call.target.key)
    return condition_error(call)


async def _tags(gateway: Gateway, call: Call, records: list[ObjectRecord]) -> CIMultiDict[str]:
    found: CIMultiDict[str] = CIMultiDict()
    if not any(name in call.request.headers for name in _TAGS):
        return found
    records = await distinguished(gateway, call.target, records)
    for name in _TAGS:
        value = call.request.headers.get(name)
        if value is None:
            continue
        try:
            found[name] = etag.to_upstream(value, records, key=call.target.key, mixed=call.record.mixed)
        except ValueError:
            raise invalid_argument(f"The {name} header is not valid.", name, value) from None
    return found
