"""Every operation that is served, and every one that is refused by name."""

from typing import Final

from proxy.s3.objects.stored import resolve
from proxy.s3.operation import RouteTable
from proxy.s3.operations.access_control_lists import (
    OBJECT_ACLS,
    get_bucket_acl,
    get_ownership_controls,
    put_bucket_acl,
    put_ownership_controls,
)
from proxy.s3.operations.bucket_cors import delete_bucket_cors, get_bucket_cors, put_bucket_cors
from proxy.s3.operations.bucket_encryption import (
    delete_bucket_encryption,
    get_bucket_encryption,
    put_bucket_encryption,
)
from proxy.s3.operations.bucket_policy import (
    delete_bucket_policy,
    get_bucket_policy,
    get_bucket_policy_status,
    put_bucket_policy,
)
from proxy.s3.operations.buckets import (
    create_bucket,
    delete_bucket,
    get_bucket_location,
    head_bucket,
    list_buckets,
)
from proxy.s3.operations.complete_multipart_upload import complete_multipart_upload
from proxy.s3.operations.copy_object import copy_object
from proxy.s3.operations.delete_objects import DELETE_OBJECT, DELETE_OBJECT_VERSION, delete_objects
from proxy.s3.operations.forward import FORWARDED
from proxy.s3.operations.get_object import get_object, get_object_version
from proxy.s3.operations.get_object_attributes import get_object_attributes, get_object_version_attributes
from proxy.s3.operations.head_object import head_object, head_object_version
from proxy.s3.operations.list_multipart_uploads import list_multipart_uploads
from proxy.s3.operations.list_object_versions import list_object_versions_operation
from proxy.s3.operations.list_objects import list_objects_operations
from proxy.s3.operations.list_parts import list_parts
from proxy.s3.operations.multipart_uploads import abort_multipart_upload, create_multipart_upload
from proxy.s3.operations.public_access_block import (
    delete_public_access_block,
    get_public_access_block,
    put_public_access_block,
)
from proxy.s3.operations.put_object import put_object
from proxy.s3.operations.unimplemented import UNIMPLEMENTED, with_refusals
from proxy.s3.operations.update_object_encryption import update_object_encryption
from proxy.s3.operations.upload_part import upload_part
from proxy.s3.operations.upload_part_copy import upload_part_copy

OPERATIONS: Final = with_refusals(
    (
        list_buckets,
        create_bucket,
        head_bucket,
        delete_bucket,
        get_bucket_location,
        get_bucket_encryption,
        put_bucket_encryption,
        delete_bucket_encryption,
        get_bucket_cors,
        put_bucket_cors,
        delete_bucket_cors,
        get_bucket_policy,
        put_bucket_policy,
        delete_bucket_policy,
        get_bucket_policy_status,
        get_public_access_block,
        put_public_access_block,
        delete_public_access_block,
        get_bucket_acl,
        put_bucket_acl,
        *OBJECT_ACLS,
        get_ownership_controls,
        put_ownership_controls,
        *list_objects_operations(resolve),
        list_object_versions_operation(resolve),
        put_object,
        copy_object,
        update_object_encryption,
        get_object,
        get_object_version,
        get_object_attributes,
        get_object_version_attributes,
        head_object,
        head_object_version,
        DELETE_OBJECT,
        DELETE_OBJECT_VERSION,
        delete_objects,
        create_multipart_upload,
        upload_part,
        upload_part_copy,
        list_parts,
        list_multipart_uploads,
        complete_multipart_upload,
        abort_multipart_upload,
        *FORWARDED,
        *UNIMPLEMENTED,
    )
)

ROUTES: Final = RouteTable(OPERATIONS)
