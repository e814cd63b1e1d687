"""Delete markers that are named by their version, which not every store tells apart from versions that there are not.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html
"""

from multidict import CIMultiDict

from proxy.aws.errors import AwsError
from proxy.s3.errors import method_not_allowed
from proxy.s3.gateway import Call, Gateway, Target
from proxy.s3.listings import version_pages, version_walk
from proxy.s3.listings.version_listing import Item
from proxy.s3.listings.version_pages import Wanted

_MOST = 1000


async def named_marker(gateway: Gateway, call: Call, error: AwsError) -> AwsError:
    """The store's refusal of a GET or HEAD as AWS has it: of a delete marker by its id, MethodNotAllowed. The store is
    asked only where it has hidden one, and only for a version by its id."""
    version_id = call.request.parameter("versionId")
    if error.code != "NoSuchVersion" or not version_id or not gateway.settings.store.hides_delete_markers:
        return error
    for item in await _versions(gateway, call):
        if item.version is not None and item.version.marker and item.version_id == version_id:
            told = method_not_allowed()
            headers = CIMultiDict({"x-amz-delete-marker": "true", "x-amz-version-id": version_id, "Allow": "DELETE"})
            return AwsError(told.code, told.message, told.status, headers=headers)
    return error


async def _versions(gateway: Gateway, call: Call) -> list[Item]:
    key, target = call.target.key, Target(call.target.bucket)
    if gateway.settings.store.lists_by_folder:
        return await version_walk.versions_of(gateway, target, key)
    page = await version_pages.fetch(gateway, target, Wanted(key, "", "", "", _MOST))
    return [item for item in page.items if item.name == key]
