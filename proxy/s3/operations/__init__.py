"""One module per S3 operation, or per family that shares its rules.

All of them:
``table``         every operation that is served, and every one that is refused by name.
``forward``       the operations that carry no object bytes and no sizes: they go to the store.
``unimplemented`` what is refused by name.

Objects:
``put_object``                PutObject.
``get_object``                GetObject.
``head_object``               HeadObject.
``object_answers``            what GetObject and HeadObject have in common.
``get_object_attributes``     GetObjectAttributes.
``copy_object``               CopyObject.
``update_object_encryption``  UpdateObjectEncryption.
``delete_objects``            DeleteObject, DeleteObjects.

Multipart uploads:
``multipart_uploads``         CreateMultipartUpload, AbortMultipartUpload.
``upload_part``               UploadPart.
``upload_part_copy``          UploadPartCopy.
``complete_multipart_upload`` CompleteMultipartUpload.
``list_parts``                ListParts.
``list_multipart_uploads``    ListMultipartUploads.

Buckets:
``buckets``                   ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation.
``list_objects``              ListObjects, ListObjectsV2.
``list_object_versions``      ListObjectVersions.
``bucket_encryption``         their default encryption.
``bucket_policy``             their policies.
``public_access_block``       their public access blocks.
``bucket_cors``               their CORS rules.
``access_control_lists``      their ACLs and those of objects, which are disabled, and who owns objects.
"""
