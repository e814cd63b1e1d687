"""One module per family of KMS operations, and the table of all of them."""

from typing import Final

from proxy.kms.operation import OperationTable
from proxy.kms.operations import aliases, cryptographic, data_keys, grants, imports, keys, policies, rotation, tags

_UNSUPPORTED: Final = (
    "ConnectCustomKeyStore",
    "CreateCustomKeyStore",
    "DeleteCustomKeyStore",
    "DeriveSharedSecret",
    "DescribeCustomKeyStores",
    "DisconnectCustomKeyStore",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateMac",
    "GetKeyLastUsage",
    "GetPublicKey",
    "ListRetirableGrants",
    "ReplicateKey",
    "Sign",
    "UpdateCustomKeyStore",
    "UpdatePrimaryRegion",
    "Verify",
    "VerifyMac",
)
"""Operations of AWS KMS that this service does not have."""

OPERATIONS: Final = OperationTable(
    (
        keys.create_key,
        keys.describe_key,
        keys.list_keys,
        keys.enable_key,
        keys.disable_key,
        keys.update_key_description,
        keys.schedule_key_deletion,
        keys.cancel_key_deletion,
        aliases.create_alias,
        aliases.update_alias,
        aliases.delete_alias,
        aliases.list_aliases,
        cryptographic.encrypt_operation,
        cryptographic.decrypt_operation,
        cryptographic.re_encrypt_operation,
        data_keys.generate_data_key,
        data_keys.generate_data_key_without_plaintext,
        data_keys.generate_random,
        policies.get_key_policy,
        policies.put_key_policy,
        policies.list_key_policies,
        grants.create_grant,
        grants.list_grants,
        grants.revoke_grant,
        grants.retire_grant,
        tags.tag_resource,
        tags.untag_resource,
        tags.list_resource_tags,
        rotation.enable_key_rotation,
        rotation.disable_key_rotation,
        rotation.get_key_rotation_status,
        rotation.rotate_key_on_demand,
        rotation.list_key_rotations,
        imports.get_parameters_for_import,
        imports.import_key_material,
        imports.delete_imported_key_material,
    ),
    _UNSUPPORTED,
)
