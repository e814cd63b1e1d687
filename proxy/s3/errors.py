"""S3's errors, each with the code, message and status that AWS documents.

Source: "Error responses" in the Amazon S3 API reference, and recorded answers where it gives no message.
"""

from collections.abc import Mapping

from proxy.aws.errors import AwsError


def access_denied(message: str = "Access Denied") -> AwsError:
    return AwsError("AccessDenied", message, 403)


def object_locked() -> AwsError:
    return access_denied("Access Denied because object protected by object lock.")


def invalid_argument(message: str, name: str, value: str) -> AwsError:
    """InvalidArgument, with the argument's name and the value that was sent."""
    return AwsError("InvalidArgument", message, 400, detail={"ArgumentName": name, "ArgumentValue": value})


def invalid_request(message: str) -> AwsError:
    return AwsError("InvalidRequest", message, 400)


def malformed_xml() -> AwsError:
    message = "The XML you provided was not well-formed or did not validate against our published schema"
    return AwsError("MalformedXML", message, 400)


def no_such_bucket(bucket: str) -> AwsError:
    return AwsError("NoSuchBucket", "The specified bucket does not exist", 404, detail={"BucketName": bucket})


def invalid_bucket_name(bucket: str) -> AwsError:
    return AwsError("InvalidBucketName", "The specified bucket is not valid.", 400, detail={"BucketName": bucket})


def no_such_key(key: str) -> AwsError:
    return AwsError("NoSuchKey", "The specified key does not exist.", 404, detail={"Key": key})


def no_such_version(key: str, version_id: str) -> AwsError:
    detail = {"Key": key, "VersionId": version_id}
    return AwsError("NoSuchVersion", "The specified version does not exist.", 404, detail=detail)


def no_such_upload(upload_id: str) -> AwsError:
    message = (
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or"
        " completed."
    )
    return AwsError("NoSuchUpload", message, 404, detail={"UploadId": upload_id})


def precondition_failed(condition: str) -> AwsError:
    """``condition``: the header field that did not hold; ``""`` where it is not known."""
    message = "At least one of the pre-conditions you specified did not hold"
    return AwsError("PreconditionFailed", message, 412, detail={"Condition": condition} if condition else {})


def invalid_range(requested: str, size: int) -> AwsError:
    detail = {"RangeRequested": requested, "ActualObjectSize": str(size)}
    return AwsError("InvalidRange", "The requested range is not satisfiable", 416, detail=detail)


def invalid_part_number(requested: int, count: int) -> AwsError:
    detail = {"PartNumberRequested": str(requested), "ActualPartCount": str(count)}
    return AwsError("InvalidPartNumber", "The requested partnumber is not satisfiable", 416, detail=detail)


def metadata_too_large(size: int, limit: int) -> AwsError:
    message = "Your metadata headers exceed the maximum allowed metadata size"
    return AwsError("MetadataTooLarge", message, 400, detail={"Size": str(size), "MaxSizeAllowed": str(limit)})


def key_too_long(size: int) -> AwsError:
    return AwsError(
        "KeyTooLongError", "Your key is too long", 400, detail={"Size": str(size), "MaxSizeAllowed": "1024"}
    )


def unfit_key(key: str) -> AwsError:
    """Not AWS's: there is no key that S3 cannot hold."""
    return invalid_argument("The store behind this endpoint cannot keep an object under this key.", "Key", key)


def invalid_uri(uri: str) -> AwsError:
    return AwsError("InvalidURI", "Couldn't parse the specified URI.", 400, detail={"URI": uri})


def not_implemented(header: str | None = None, *, detail: Mapping[str, str] | None = None) -> AwsError:
    message = "A header or query you provided implies functionality that is not implemented"
    found = dict(detail or {})
    if header:
        found["Header"] = header
    return AwsError("NotImplemented", message, 501, detail=found)


def method_not_allowed() -> AwsError:
    return AwsError("MethodNotAllowed", "The specified method is not allowed against this resource.", 405)


def slow_down(message: str = "Please reduce your request rate.") -> AwsError:
    return AwsError("SlowDown", message, 503)


def service_unavailable(message: str = "Service is unable to handle request.") -> AwsError:
    return AwsError("ServiceUnavailable", message, 503)


def internal_error() -> AwsError:
    return AwsError("InternalError", "We encountered an internal error. Please try again.", 500)


def acls_not_supported() -> AwsError:
    return AwsError("AccessControlListNotSupported", "The bucket does not allow ACLs", 400)


def damaged_object(key: str) -> AwsError:
    """The stored object does not verify. InternalError is what AWS answers for data that it cannot give back."""
    return AwsError("InternalError", "The object failed its integrity check.", 500, detail={"Key": key})


def not_adopted(bucket: str) -> AwsError:
    message = (
        f"The bucket {bucket} exists in the store but has no owner and no encryption rule on record here. "
        f"An operator takes it in with: sse-kms-proxy adopt {bucket}"
    )
    return AwsError("ServiceUnavailable", message, 503, detail={"BucketName": bucket})
