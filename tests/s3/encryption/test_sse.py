"""Which encryption a request asks for, S3's refusals, and the key service's errors in S3's words."""

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.aws.errors import AwsError
from proxy.envelope.header import Header, Layout, Mode
from proxy.kms.errors import KmsError
from proxy.kms.provider import AWS_MANAGED_S3_KEY, S3_OWNED_KEY
from proxy.s3.encryption import sse
from proxy.s3.encryption.customer_keys import CustomerKey
from proxy.s3.gateway import Call, Settings, Target
from proxy.s3.state.ports import BucketRecord, EncryptionRule
from tests.s3.fakes import ACCOUNT, make_call

NO_RULE = EncryptionRule()
KMS_RULE = EncryptionRule("aws:kms", "alias/mine", bucket_key_enabled=True)
ARN = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def put(*, secure: bool = True, **headers: str) -> Call:
    fields = {f"x-amz-server-side-encryption{name}".replace("_", "-"): value for name, value in headers.items()}
    return make_call("PUT", Target("b", "k"), headers=fields, secure=secure)


def encoded(document: object) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


def choose(call: Call, rule: EncryptionRule = NO_RULE, *, plain: bool = True) -> sse.Choice:
    record = BucketRecord("b", ACCOUNT, "eu-west-1", datetime(2026, 11, 23, tzinfo=UTC), rule)
    return sse.choose(replace(call, bucket=record), Settings(kms_over_plain_http=plain))


def refused(call: Call, rule: EncryptionRule = NO_RULE, *, plain: bool = True) -> AwsError:
    with pytest.raises(AwsError) as error:
        choose(call, rule, plain=plain)
    return error.value


def test_without_headers_the_buckets_rule_decides():
    assert choose(put()) == sse.Choice(Mode.S3, S3_OWNED_KEY, {}, bucket_key=False)
    assert choose(put(), KMS_RULE) == sse.Choice(Mode.KMS, "alias/mine", {}, bucket_key=True)
    assert choose(put(), EncryptionRule("aws:kms")) == sse.Choice(Mode.KMS, AWS_MANAGED_S3_KEY, {}, bucket_key=False)


def test_headers_win_over_the_rule():
    assert choose(put(**{"": "AES256"}), KMS_RULE).mode is Mode.S3
    found = choose(put(**{"": "aws:kms", "_aws_kms_key_id": "abc", "_context": encoded({"a": "é"})}), KMS_RULE)
    assert found == sse.Choice(Mode.KMS, "abc", {"a": "é"}, bucket_key=True)


def test_a_request_for_kms_without_a_key_takes_the_aws_managed_one_not_the_rules():
    assert choose(put(**{"": "aws:kms"}), KMS_RULE).key_id == AWS_MANAGED_S3_KEY


def test_an_empty_key_id_is_a_name_that_the_key_service_refuses():
    assert choose(put(**{"": "aws:kms", "_aws_kms_key_id": ""})).key_id == ""


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("TRUE", True), ("false", False)])
def test_the_bucket_key_header_overrides_the_rule_both_ways(value, expected):
    for enabled in (True, False):
        rule = EncryptionRule("aws:kms", "alias/mine", bucket_key_enabled=enabled)
        assert choose(put(_bucket_key_enabled=value), rule).bucket_key is expected


@pytest.mark.parametrize("value", ["", "aws:KMS", "AES128", "aes256"])
def test_an_unknown_method_is_refused(value):
    error = refused(put(**{"": value}))
    assert (error.status, error.code) == (400, "InvalidArgument")
    assert error.message == "The encryption method specified is not supported"
    assert error.detail == {"ArgumentName": "x-amz-server-side-encryption", "ArgumentValue": value}


@pytest.mark.parametrize("name", ["_aws_kms_key_id", "_context"])
@pytest.mark.parametrize("method", [None, "AES256"])
def test_what_belongs_to_kms_needs_kms(name, method):
    headers = {name: encoded({}), **({"": method} if method else {})}
    error = refused(put(**headers), KMS_RULE)
    assert (error.status, error.code) == (400, "InvalidArgument")
    assert error.message == (
        "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms"
    )


@pytest.mark.parametrize(
    "value",
    [
        "not base64",
        base64.b64encode(b"\xff").decode(),
        base64.b64encode(b"[]").decode(),
        base64.b64encode(b'"text"').decode(),
        base64.b64encode(b'{"a": 1}').decode(),
        base64.b64encode(b'{"a": "1", "a": "2"}').decode(),
        base64.b64encode(b"[" * 5000).decode(),
    ],
)
def test_a_context_is_a_map_of_strings(value):
    error = refused(put(**{"": "aws:kms", "_context": value}))
    assert (error.status, error.code) == (400, "InvalidArgument")
    assert error.message == (
        "The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 string holding JSON which "
        "represents a string-string map"
    )


@given(st.dictionaries(st.text(), st.text(), max_size=5))
def test_any_map_of_strings_is_a_context(pairs):
    assert sse.parse_context(base64.b64encode(json.dumps(pairs).encode()).decode()) == pairs


def test_the_context_gets_s3s_own_pair_and_no_other_in_its_place():
    arn = "arn:aws:s3:::b/k"
    assert sse.full_context({"a": "b"}, arn) == {"a": "b", "aws:s3:arn": arn}
    assert sse.full_context({"aws:s3:arn": arn}, arn) == {"aws:s3:arn": arn}
    with pytest.raises(AwsError, match="does not match"):
        sse.full_context({"aws:s3:arn": arn + "2"}, arn)


CUSTOMER_KEY = {
    "-customer-algorithm": "AES256",
    "-customer-key": base64.b64encode(b"k" * 32).decode(),
    "-customer-key-MD5": base64.b64encode(hashlib.md5(b"k" * 32).digest()).decode(),
}


def test_a_customers_key_goes_before_the_rule():
    found = choose(put(**CUSTOMER_KEY), KMS_RULE)
    customer_key = CustomerKey(b"k" * 32, CUSTOMER_KEY["-customer-key-MD5"])
    assert found == sse.Choice(Mode.CUSTOMER, "", {}, bucket_key=False, customer_key=customer_key)


@pytest.mark.parametrize("method", ["AES256", "aws:kms", "rot13"])
def test_a_customers_key_goes_with_no_other_encryption(method):
    error = refused(put(**CUSTOMER_KEY, **{"": method}))
    assert (error.status, error.code) == (400, "InvalidArgument")
    assert error.message == (
        "Server Side Encryption with Customer provided key is incompatible with the encryption method specified"
    )
    assert error.detail == {"ArgumentName": "x-amz-server-side-encryption", "ArgumentValue": method}
    assert refused(put(**CUSTOMER_KEY, _aws_kms_key_id="x")).code == "InvalidArgument"


def test_the_formats_name_of_a_customers_key_is_no_encryption_method():
    assert refused(put(**{"": "SSE-C"})).message == "The encryption method specified is not supported"
    assert refused(put(), EncryptionRule("SSE-C")).message == "The encryption method specified is not supported"


def test_two_layers_never_have_a_bucket_key():
    assert choose(put(**{"": "aws:kms:dsse"}), KMS_RULE) == sse.Choice(Mode.KMS_DSSE, AWS_MANAGED_S3_KEY)
    rule = EncryptionRule("aws:kms:dsse", "alias/mine", bucket_key_enabled=True)
    assert choose(put(), rule) == sse.Choice(Mode.KMS_DSSE, "alias/mine")
    assert choose(put(_bucket_key_enabled="false"), rule) == sse.Choice(Mode.KMS_DSSE, "alias/mine")
    for call in (put(_bucket_key_enabled="true"), put(**{"": "aws:kms:dsse", "_bucket_key_enabled": "true"})):
        error = refused(call, rule)
        assert (error.status, error.code) == (400, "InvalidArgument")
        assert "S3 Bucket Keys aren't supported for dual-layer" in error.message


def test_kms_may_be_kept_off_plain_http():
    error = refused(put(secure=False, **{"": "aws:kms"}), plain=False)
    assert (error.status, error.code) == (400, "InvalidArgument")
    assert "secure connection" in str(error)
    assert choose(put(secure=True, **{"": "aws:kms"}), plain=False).mode is Mode.KMS
    assert choose(put(secure=False, **{"": "AES256"}), plain=False).mode is Mode.S3


@pytest.mark.parametrize("name", ["", "_aws_kms_key_id", "_context", "_bucket_key_enabled"])
def test_reads_take_no_headers_of_writes(name):
    with pytest.raises(AwsError) as error:
        sse.refuse_choice(put(**{name: "AES256"}).request.headers)
    assert (error.value.status, error.value.code) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("DisabledException", (400, "KMS.DisabledException", "said")),
        ("KMSInvalidStateException", (400, "KMS.KMSInvalidStateException", "said")),
        ("NotFoundException", (400, "KMS.NotFoundException", "said")),
        ("InvalidKeyUsageException", (400, "KMS.InvalidKeyUsageException", "said")),
        ("AccessDeniedException", (403, "AccessDenied", "said")),
        (
            "ThrottlingException",
            (503, "SlowDown", "Please reduce your request rate for operations involving AWS KMS."),
        ),
        ("KMSInternalException", (503, "ServiceUnavailable", "Service is unable to handle request.")),
        ("KeyUnavailableException", (503, "ServiceUnavailable", "Service is unable to handle request.")),
        ("DependencyTimeoutException", (503, "ServiceUnavailable", "Service is unable to handle request.")),
        ("InvalidCiphertextException", (500, "InternalError", "The object failed its integrity check.")),
        ("IncorrectKeyException", (500, "InternalError", "The object failed its integrity check.")),
    ],
)
def test_the_key_services_errors_in_s3s_words(code, expected):
    error = sse.as_s3_error(KmsError(code, "said"), "k")
    assert (error.status, error.code, error.message) == expected


def header(mode: Mode, *, bucket_key: bool = False) -> Header:
    wrapped = b"w" if bucket_key else None
    return Header(mode, Layout.SINGLE, ARN, b"blob", wrapped, b"s" * 32, b"c" * 32, b"r", {"a": "b"})


def test_what_answers_say_of_an_objects_encryption():
    assert sse.response_headers(header(Mode.S3), with_context=True) == {"x-amz-server-side-encryption": "AES256"}
    kms = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": ARN}
    assert sse.response_headers(header(Mode.KMS)) == kms
    bucket_key = {"x-amz-server-side-encryption-bucket-key-enabled": "true"}
    assert sse.response_headers(header(Mode.KMS, bucket_key=True)) == {**kms, **bucket_key}
    context = {"x-amz-server-side-encryption-context": base64.b64encode(b'{"a":"b"}').decode()}
    assert sse.response_headers(header(Mode.KMS), with_context=True) == {**kms, **context}
    customer_key = CustomerKey(b"k" * 32, "md5")
    assert sse.response_headers(header(Mode.CUSTOMER), customer_key, with_context=True) == {
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key-MD5": "md5",
    }
    assert sse.response_headers(header(Mode.CUSTOMER)) == {}
