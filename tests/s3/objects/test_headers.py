import pytest
from multidict import CIMultiDict

from proxy.aws.errors import AwsError
from proxy.s3.objects.headers import add_envelope, from_store, to_store
from proxy.s3.upstream.profiles import PROFILES, StoreProfile

PLAIN = StoreProfile()


def refused(headers: dict[str, str]) -> AwsError:
    with pytest.raises(AwsError) as error:
        to_store(CIMultiDict(headers), PLAIN)
    return error.value


def test_only_named_fields_and_user_metadata_go_up():
    sent = {
        "Cache-Control": "no-cache",
        "content-type": "text/plain",
        "Content-Encoding": "aws-chunked,gzip",
        "X-Amz-Meta-Name": "value",
        "x-amz-storage-class": "STANDARD_IA",
        "x-amz-tagging": "a=b",
        "x-amz-acl": "private",
        "x-amz-copy-source": "/other/key",
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-checksum-crc32": "AAAAAA==",
        "Authorization": "secret",
        "Host": "here",
        "Content-Length": "10",
    }
    assert dict(to_store(CIMultiDict(sent), PLAIN)) == {
        "Cache-Control": "no-cache",
        "Content-Type": "text/plain",
        "Content-Encoding": "gzip",
        "x-amz-meta-name": "value",
        "x-amz-storage-class": "STANDARD_IA",
        "x-amz-tagging": "a=b",
    }


def test_s3s_default_content_type_goes_up_where_the_client_names_none():
    assert dict(to_store(CIMultiDict({"Content-Encoding": "aws-chunked"}), PLAIN)) == {
        "Content-Type": "binary/octet-stream"
    }


def test_user_metadata_is_limited_as_on_aws_counting_names_and_utf8_bytes():
    assert "x-amz-meta-ab" in to_store(CIMultiDict({"x-amz-meta-ab": "v" * 2046}), PLAIN)
    assert "x-amz-meta-ab" in to_store(CIMultiDict({"x-amz-meta-ab": "é" * 1023}), PLAIN)
    error = refused({"x-amz-meta-ab": "é" * 1023 + "v"})
    assert (error.status, error.code) == (400, "MetadataTooLarge")
    assert error.detail == {"Size": "2049", "MaxSizeAllowed": "2048"}


@pytest.mark.parametrize("name", ["x-amz-meta-sse-proxy-envelope", "X-Amz-Meta-SSE-Proxy-anything"])
def test_the_envelopes_names_are_refused(name):
    assert refused({name: "x"}).code == "InvalidArgument"


@pytest.mark.parametrize("headers", [{"x-amz-acl": "public-read"}, {"x-amz-grant-read": 'id="1"'}])
def test_acls_that_mean_something_are_refused(headers):
    error = refused(headers)
    assert (error.status, error.code) == (400, "AccessControlListNotSupported")


def test_appending_is_not_taken_for_a_put():
    assert refused({"x-amz-write-offset-bytes": "5"}).status == 501


def test_the_envelope_must_fit_beside_the_clients_metadata():
    headers = CIMultiDict({"x-amz-meta-a": "v" * 88, "Content-Type": "t" * 500})
    add_envelope(headers, {"x-amz-meta-sse-proxy-e": "w" * 78}, 200)
    assert headers["x-amz-meta-sse-proxy-e"] == "w" * 78
    with pytest.raises(AwsError) as error:
        add_envelope(headers, {"x-amz-meta-sse-proxy-e": "w" * 79}, 200)
    assert error.value.code == "MetadataTooLarge"
    assert error.value.detail == {"Size": "201", "MaxSizeAllowed": "200"}


def test_what_comes_back_hides_the_envelope_and_the_stores_own_fields():
    stored = {
        "Content-Type": "text/plain",
        "Last-Modified": "Mon, 23 Nov 2026 06:00:00 GMT",
        "X-Amz-Meta-Name": "value",
        "X-Amz-Meta-Sse-Proxy-Envelope": "AQ",
        "ETag": '"abc"',
        "x-amz-version-id": "v1",
        "x-amz-server-side-encryption": "AES256",
        "X-Minio-Internal": "1",
        "Server": "MinIO",
        "x-amz-request-id": "theirs",
    }
    assert dict(from_store(CIMultiDict(stored))) == {
        "Content-Type": "text/plain",
        "Last-Modified": "Mon, 23 Nov 2026 06:00:00 GMT",
        "x-amz-meta-name": "value",
        "x-amz-version-id": "v1",
    }


@pytest.mark.parametrize(
    ("sent", "word"),
    [("é", "=?UTF-8?B?w6k=?="), ("\udce9", "=?UTF-8?B?w6k=?="), ("日本 x", "=?UTF-8?B?5pel5pysIHg=?="), ("a", "a")],
)
def test_metadata_that_is_not_ascii_becomes_an_encoded_word_in_both_directions(sent, word):
    assert to_store(CIMultiDict({"x-amz-meta-a": sent}), PLAIN)["x-amz-meta-a"] == word
    assert from_store(CIMultiDict({"x-amz-meta-a": sent}))["x-amz-meta-a"] == word
    # As a copy of the object has it.
    assert to_store(from_store(CIMultiDict({"x-amz-meta-a": sent})), PLAIN)["x-amz-meta-a"] == word


def test_an_encoded_word_counts_as_what_it_stands_for():
    for text in ("é" * 1023, "é" * 1022 + "ab", "é" * 1022 + "a"):
        word = from_store(CIMultiDict({"x-amz-meta-ab": text}))["x-amz-meta-ab"]
        assert to_store(CIMultiDict({"x-amz-meta-ab": word}), PLAIN)["x-amz-meta-ab"] == word
    word = from_store(CIMultiDict({"x-amz-meta-ab": "é" * 1023 + "v"}))["x-amz-meta-ab"]
    assert refused({"x-amz-meta-ab": word}).detail == {"Size": "2049", "MaxSizeAllowed": "2048"}


def test_an_empty_value_is_kept_where_the_store_would_drop_it():
    up = to_store(CIMultiDict({"x-amz-meta-a": ""}), PROFILES["seaweedfs"])
    assert up["x-amz-meta-a"]
    assert from_store(up)["x-amz-meta-a"] == ""
    assert to_store(CIMultiDict({"x-amz-meta-a": ""}), PLAIN)["x-amz-meta-a"] == ""


def test_a_redirection_that_the_store_would_drop_is_refused():
    headers = CIMultiDict({"x-amz-website-redirect-location": "/other"})
    assert to_store(headers, PLAIN)["x-amz-website-redirect-location"] == "/other"
    with pytest.raises(AwsError, match="NotImplemented"):
        to_store(headers, PROFILES["minio"])


def test_the_usual_storage_class_is_not_named():
    assert "x-amz-storage-class" not in from_store(CIMultiDict({"x-amz-storage-class": "STANDARD"}))
    assert from_store(CIMultiDict({"x-amz-storage-class": "GLACIER"}))["x-amz-storage-class"] == "GLACIER"


def test_an_object_has_at_most_ten_tags():
    tags = [f"k{number}=v" for number in range(11)]
    assert to_store(CIMultiDict({"x-amz-tagging": "&".join(tags[:10])}), PLAIN)["x-amz-tagging"]
    error = refused({"x-amz-tagging": "&".join(tags)})
    assert (error.code, error.status, error.message) == ("BadRequest", 400, "Object tags cannot be greater than 10")
