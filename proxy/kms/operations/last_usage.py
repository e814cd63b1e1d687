"""GetKeyLastUsage."""

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import shapes
from proxy.kms.operation import operation
from proxy.kms.service import KeyService


@operation("GetKeyLastUsage", shapes.request("KeyId", KeyId=shapes.KEY_ID))
async def get_key_last_usage(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_GetKeyLastUsage.html

    Usage has been tracked since the key was made. KeyLastUsage is empty for a key that was not used."""
    key = await service.usable_key("GetKeyLastUsage", origin, request["KeyId"])
    usage = await service.last_usage.find(key.name)
    shown: Values = {}
    if usage is not None:
        shown = {"Operation": usage.operation, "Timestamp": usage.time, "KmsRequestId": usage.request_id}
    return {
        "KeyId": key.name.id,
        "KeyLastUsage": shown,
        "TrackingStartDate": key.created,
        "KeyCreationDate": key.created,
    }
