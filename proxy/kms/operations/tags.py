"""Tags of KMS keys."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import ListOf, Values
from proxy.kms import errors, model, shapes
from proxy.kms.errors import KmsError
from proxy.kms.operation import operation
from proxy.kms.operations import pages
from proxy.kms.service import KeyService

_MAX_TAGS: Final = 50
_DEFAULT_LIST: Final = 50

Tags = tuple[tuple[str, str], ...]


def merge(there: Tags, new: Iterable[Mapping[str, str]]) -> Tags:
    """The tags with the new ones added or put in their place, in the order of their keys.

    Raises:
        KmsError: TagException or LimitExceededException.
    """
    merged = dict(there)
    named: set[str] = set()
    for tag in new:
        key = tag["TagKey"]
        if key.lower().startswith("aws:"):
            raise KmsError("TagException", "The aws: prefix is reserved for tags of AWS.")
        if key in named:
            raise KmsError("TagException", "Duplicate tag keys.")
        named.add(key)
        merged[key] = tag["TagValue"]
    if len(merged) > _MAX_TAGS:
        raise errors.limit_exceeded(f"A KMS key can have at most {_MAX_TAGS} tags.")
    return tuple(sorted(merged.items()))


@operation("TagResource", shapes.request("KeyId", "Tags", KeyId=shapes.KEY_ID, Tags=shapes.TAGS))
async def tag_resource(service: KeyService, origin: CallOrigin, request: Values) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_TagResource.html"""
    key = await service.usable_key("TagResource", origin, request["KeyId"])
    await service.repository.write([model.key_record(replace(key, tags=merge(key.tags, request["Tags"])))])


@operation("UntagResource", shapes.request("KeyId", "TagKeys", KeyId=shapes.KEY_ID, TagKeys=ListOf(shapes.TAG_KEY)))
async def untag_resource(service: KeyService, origin: CallOrigin, request: Values) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_UntagResource.html"""
    key = await service.usable_key("UntagResource", origin, request["KeyId"])
    left = tuple((name, value) for name, value in key.tags if name not in request["TagKeys"])
    if left != key.tags:
        await service.repository.write([model.key_record(replace(key, tags=left))])


@operation("ListResourceTags", shapes.request("KeyId", KeyId=shapes.KEY_ID, Limit=shapes.LIMIT, Marker=shapes.MARKER))
async def list_resource_tags(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_ListResourceTags.html"""
    key = await service.usable_key("ListResourceTags", origin, request["KeyId"])
    shown, following = pages.page(key.tags, lambda tag: tag[0], request, _DEFAULT_LIST)
    return pages.answer("Tags", [{"TagKey": name, "TagValue": value} for name, value in shown], following)
