"""Custom key stores, which this service does not offer: there are none, and none can be made."""

from collections.abc import Mapping
from typing import Final

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Shape, String, Structure, Values
from proxy.kms import errors, shapes
from proxy.kms.errors import KmsError
from proxy.kms.operation import operation
from proxy.kms.operations import pages
from proxy.kms.service import KeyService

_NAME: Final = String(1, 256)
_CREDENTIAL: Final = Structure(
    {
        "AccessKeyId": String(20, 30, r"^[A-Z2-7]+$", sensitive=True),
        "RawSecretAccessKey": String(43, 64, r"^[a-zA-Z0-9\/+=]+$", sensitive=True),
    },
    ("AccessKeyId", "RawSecretAccessKey"),
)
_SETTINGS: Final[Mapping[str, Shape]] = {
    "CloudHsmClusterId": String(19, 24, r"cluster-[2-7a-zA-Z]{11,16}"),
    "KeyStorePassword": String(7, 32, sensitive=True),
    "XksProxyUriEndpoint": String(10, 128, r"^https://[a-zA-Z0-9.-]+$"),
    "XksProxyUriPath": String(10, 128, r"^(/[a-zA-Z0-9\/_-]+/kms/xks/v\d{1,2})$|^(/kms/xks/v\d{1,2})$"),
    "XksProxyVpcEndpointServiceName": String(
        20, 64, r"^(com|eu)\.amazonaws\.vpce\.([a-z]+-){2,3}\d+\.vpce-svc-[0-9a-z]+$"
    ),
    "XksProxyVpcEndpointServiceOwner": String(12, 12, r"[0-9]{12}"),
    "XksProxyAuthenticationCredential": _CREDENTIAL,
    "XksProxyConnectivity": String(enum=("PUBLIC_ENDPOINT", "VPC_ENDPOINT_SERVICE")),
}


@operation(
    "CreateCustomKeyStore",
    shapes.request(
        "CustomKeyStoreName",
        CustomKeyStoreName=_NAME,
        TrustAnchorCertificate=String(1, 5000),
        CustomKeyStoreType=String(enum=("AWS_CLOUDHSM", "EXTERNAL_KEY_STORE")),
        **_SETTINGS,
    ),
)
async def create_custom_key_store(service: KeyService, origin: CallOrigin, request: Values) -> Values:  # noqa: ARG001
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateCustomKeyStore.html"""
    service.authorize_account(origin, "CreateCustomKeyStore")
    raise errors.unsupported("Custom key stores are not supported.")


@operation(
    "DescribeCustomKeyStores",
    shapes.request(
        CustomKeyStoreId=shapes.CUSTOM_KEY_STORE_ID,
        CustomKeyStoreName=_NAME,
        Limit=shapes.LIMIT,
        Marker=shapes.MARKER,
    ),
)
async def describe_custom_key_stores(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_DescribeCustomKeyStores.html"""
    service.authorize_account(origin, "DescribeCustomKeyStores")
    if "CustomKeyStoreId" in request and "CustomKeyStoreName" in request:
        raise errors.validation("You can specify CustomKeyStoreId or CustomKeyStoreName, but not both.")
    named = request.get("CustomKeyStoreId", request.get("CustomKeyStoreName"))
    if named is not None:
        raise errors.custom_key_store_not_found(named)
    pages.start_after(request)
    return pages.answer("CustomKeyStores", [], None)


def _refuse(service: KeyService, origin: CallOrigin, action: str, request: Values) -> KmsError:
    service.authorize_account(origin, action)
    return errors.custom_key_store_not_found(request["CustomKeyStoreId"])


@operation("ConnectCustomKeyStore", shapes.request("CustomKeyStoreId", CustomKeyStoreId=shapes.CUSTOM_KEY_STORE_ID))
async def connect_custom_key_store(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_ConnectCustomKeyStore.html"""
    raise _refuse(service, origin, "ConnectCustomKeyStore", request)


@operation("DisconnectCustomKeyStore", shapes.request("CustomKeyStoreId", CustomKeyStoreId=shapes.CUSTOM_KEY_STORE_ID))
async def disconnect_custom_key_store(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_DisconnectCustomKeyStore.html"""
    raise _refuse(service, origin, "DisconnectCustomKeyStore", request)


@operation("DeleteCustomKeyStore", shapes.request("CustomKeyStoreId", CustomKeyStoreId=shapes.CUSTOM_KEY_STORE_ID))
async def delete_custom_key_store(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_DeleteCustomKeyStore.html"""
    raise _refuse(service, origin, "DeleteCustomKeyStore", request)


@operation(
    "UpdateCustomKeyStore",
    shapes.request(
        "CustomKeyStoreId",
        CustomKeyStoreId=shapes.CUSTOM_KEY_STORE_ID,
        NewCustomKeyStoreName=_NAME,
        **_SETTINGS,
    ),
)
async def update_custom_key_store(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_UpdateCustomKeyStore.html"""
    raise _refuse(service, origin, "UpdateCustomKeyStore", request)
