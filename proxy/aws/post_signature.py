"""The signature of a POST form: Signature Version 4 of its policy, in fields of the form.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-authentication-HTTPPOST.html
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from proxy.aws import canonical, sigv4_errors
from proxy.aws.credentials import CredentialSource
from proxy.aws.errors import AwsError
from proxy.aws.sigv4 import UNSIGNED_PAYLOAD, Scope, Verified, access_key_of
from proxy.aws.sigv4_claim import parse_timestamp, read_credential

_ERRORS: Final = sigv4_errors.S3_HEADER
_REQUIRED: Final = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature")
_VERSION_2: Final = ("awsaccesskeyid", "signature")


def verify(fields: Mapping[str, str], credentials: CredentialSource, now: datetime) -> Verified:
    """Verifies the signature of a form's ``policy``. ``fields``: by their names in lower case.

    How long the signature holds is the policy's own affair.

    Raises:
        AwsError: with S3's code, message and status.
    """
    if any(name in fields for name in _VERSION_2):
        raise _ERRORS.unsupported_mechanism()
    for name in _REQUIRED:
        if name.lower() not in fields:
            message = f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of"
            raise AwsError("InvalidArgument", f"{message} the fields.", detail={"ArgumentName": name})
    if fields["x-amz-algorithm"] != canonical.ALGORITHM:
        raise _ERRORS.unsupported_mechanism()
    credential = read_credential(fields["x-amz-credential"], _ERRORS)
    if credential.service != "s3":
        raise _ERRORS.wrong_service(credential.service)
    timestamp = fields["x-amz-date"]
    if parse_timestamp(timestamp) is None:
        raise _ERRORS.missing_date()
    if timestamp[:8] != credential.date:
        raise _ERRORS.date_mismatch(credential.date, timestamp)
    token = fields.get("x-amz-security-token")
    access_key = access_key_of(credential.access_key_id, token, _ERRORS, credentials, now)
    scope = Scope(credential.date, credential.region, credential.service)
    policy, provided = fields["policy"], fields["x-amz-signature"]
    key = canonical.signing_key(access_key.secret, scope.date, scope.region, scope.service)
    if not canonical.signatures_equal(canonical.signature(key, policy), provided):
        raise _ERRORS.mismatch(credential.access_key_id, policy, b"", provided)
    return Verified(access_key.caller, scope, timestamp, provided, key, UNSIGNED_PAYLOAD, presigned=False, posted=True)
