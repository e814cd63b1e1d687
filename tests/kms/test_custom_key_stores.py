"""Custom key stores, which there are none of."""

from typing import Any

import pytest

from tests.kms.harness import Kms, KmsFault, user

ON_ONE = ["ConnectCustomKeyStore", "DeleteCustomKeyStore", "DisconnectCustomKeyStore", "UpdateCustomKeyStore"]
NOT_FOUND = ("CustomKeyStoreNotFoundException", "Custom key store cks-1234567890abcdef0 does not exist.")
ID = "cks-1234567890abcdef0"


async def refusal(kms: Kms, operation: str, **members: Any) -> tuple[str, str]:
    with pytest.raises(KmsFault) as caught:
        await kms.call(operation, **members)
    assert caught.value.status == 400
    return caught.value.code, caught.value.message


@pytest.mark.parametrize("operation", ON_ONE)
async def test_a_store_that_is_not_there(kms: Kms, operation: str) -> None:
    assert await refusal(kms, operation, CustomKeyStoreId=ID) == NOT_FOUND
    with pytest.raises(KmsFault, match=f"AccessDeniedException: .* kms:{operation}"):
        await kms.call(operation, user("nobody"), CustomKeyStoreId=ID)


async def test_the_list_is_empty(kms: Kms) -> None:
    assert await kms.call("DescribeCustomKeyStores") == {"CustomKeyStores": [], "Truncated": False}
    assert await refusal(kms, "DescribeCustomKeyStores", CustomKeyStoreId=ID) == NOT_FOUND
    assert (await refusal(kms, "DescribeCustomKeyStores", CustomKeyStoreName="a"))[0] == NOT_FOUND[0]
    both = {"CustomKeyStoreId": ID, "CustomKeyStoreName": "a"}
    assert (await refusal(kms, "DescribeCustomKeyStores", **both))[0] == "ValidationException"
    assert (await refusal(kms, "DescribeCustomKeyStores", Marker="!"))[0] == "InvalidMarkerException"


async def test_none_can_be_made(kms: Kms) -> None:
    assert await refusal(kms, "CreateCustomKeyStore", CustomKeyStoreName="a") == (
        "UnsupportedOperationException",
        "Custom key stores are not supported.",
    )


async def test_nothing_can_be_done_in_one(kms: Kms) -> None:
    assert await refusal(kms, "GenerateRandom", NumberOfBytes=1, CustomKeyStoreId=ID) == NOT_FOUND
    assert await refusal(kms, "CreateKey", Origin="AWS_CLOUDHSM", CustomKeyStoreId=ID) == NOT_FOUND
    for origin in ("AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"):
        assert (await refusal(kms, "CreateKey", Origin=origin))[0] == "ValidationException"


async def test_secrets_are_not_repeated_in_errors(kms: Kms) -> None:
    code, message = await refusal(kms, "UpdateCustomKeyStore", CustomKeyStoreId=ID, KeyStorePassword="secret" * 6)
    assert code == "ValidationException"
    assert "keyStorePassword" in message
    assert "secret" not in message
