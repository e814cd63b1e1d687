"""The tags that an object has, where a policy asks for them (``s3:ExistingObjectTag/…``).

The store is asked for them only when the request would be refused without, and a policy that concerns it names one: a
request that is allowed without them is allowed with them, too. They are the store's word: nothing authenticates them.
Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/tagging-and-policies.html
"""

from collections.abc import Mapping
from dataclasses import replace

from proxy.aws.errors import AwsError
from proxy.s3.access.authorization import asks_for_existing_tags, authorize
from proxy.s3.forwarding import parse_answer, read_answer, upstream_request
from proxy.s3.gateway import Call, Gateway


async def authorize_on_object(gateway: Gateway, call: Call, action: str) -> Call:
    """Like ``authorize`` of an action on the call's own target, but with the object's tags where policies need them.
    Returns the call, with the tags if they were read.

    Raises:
        AwsError: AccessDenied.
    """
    try:
        authorize(call, action, call.target, gateway.clock)
    except AwsError:
        if not call.target.key or not asks_for_existing_tags(call, action):
            raise
        call = replace(call, existing_tags=await existing_tags(gateway, call))
        authorize(call, action, call.target, gateway.clock)
    return call


async def existing_tags(gateway: Gateway, call: Call) -> Mapping[str, str] | None:
    """The tags of the object, or version, that the call names; None where the store doesn't tell. What there is not
    has none."""
    request = upstream_request("GET", call.target, call.request, query={"tagging": ""}, query_names=("versionId",))
    answer = await gateway.upstream.send(request)
    document = await read_answer(answer)
    if answer.status != 200:
        return {} if answer.status == 404 else None
    tag_set = parse_answer(document, "Tagging", lists=("Tag",)).get("TagSet")
    tags = tag_set.get("Tag", []) if isinstance(tag_set, Mapping) else []
    return {tag.get("Key") or "": tag.get("Value") or "" for tag in tags}
