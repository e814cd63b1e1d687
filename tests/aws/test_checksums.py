"""Checksums agree with botocore's, with published check values, and however the data is cut."""

import base64
import hashlib
import itertools
import json

import pytest
from botocore import httpchecksum, loaders
from hypothesis import given
from hypothesis import strategies as st

from proxy.aws import checksums

CRCS = ["CRC32", "CRC32C", "CRC64NVME"]
CHECK_VALUES = {
    # The check value (of "123456789") in the catalogue of parametrised CRC algorithms, and RFC 1321's and FIPS 180's.
    "CRC32": "cbf43926",
    "CRC32C": "e3069283",
    "CRC64NVME": "ae8b14860a799888",
    "MD5": "25f9e794323b453885f5181f1b624d0b",
    "SHA1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
}
EMPTY_XXHASH = {
    # The values of the empty input in the xxHash specification's reference implementation.
    "XXHASH64": "ef46db3751d8e999",
    "XXHASH3": "2d06800538d394c2",
    "XXHASH128": "99aa06d3014798d86001c324468d497f",
}


def digest(algorithm: str, *pieces: bytes | bytearray | memoryview) -> bytes:
    hasher = checksums.new(algorithm)
    for piece in pieces:
        hasher.update(piece)
    return hasher.digest()


def test_the_algorithms_are_those_of_botocores_model() -> None:
    model = loaders.Loader().load_service_model("s3", "service-2")
    assert set(checksums.ALGORITHMS) == set(model["shapes"]["ChecksumAlgorithm"]["enum"])
    headers = {
        member["locationName"]
        for name, member in json.loads(json.dumps(model["shapes"]["PutObjectRequest"]["members"])).items()
        if name.startswith("Checksum") and name != "ChecksumAlgorithm"
    }
    assert {checksums.header_name(algorithm) for algorithm in checksums.ALGORITHMS} == headers


@pytest.mark.parametrize(("algorithm", "value"), CHECK_VALUES.items())
def test_check_values(algorithm: str, value: str) -> None:
    assert digest(algorithm, b"123456789").hex() == value


@pytest.mark.parametrize(("algorithm", "value"), EMPTY_XXHASH.items())
def test_xxhash_of_nothing(algorithm: str, value: str) -> None:
    assert digest(algorithm).hex() == value


@pytest.mark.parametrize("algorithm", [name for name in checksums.ALGORITHMS if name != "MD5"])
@given(data=st.binary(max_size=2000))
def test_agrees_with_botocore(algorithm: str, data: bytes) -> None:
    theirs = httpchecksum._CHECKSUM_CLS[algorithm.lower()]()
    theirs.update(data)
    assert checksums.encode(digest(algorithm, data)) == theirs.b64digest()


@pytest.mark.parametrize("algorithm", checksums.ALGORITHMS)
@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_any_chunking_and_any_buffer_gives_the_same(algorithm: str, data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    views = [memoryview(data)[a:b] for a, b in itertools.pairwise(edges)]
    whole = digest(algorithm, data)
    assert digest(algorithm, *views) == whole
    assert digest(algorithm, *map(bytearray, views)) == whole


@pytest.mark.parametrize("algorithm", checksums.ALGORITHMS)
def test_values_are_validated(algorithm: str) -> None:
    value = digest(algorithm, b"x")
    text = checksums.encode(value)
    assert checksums.decode(algorithm, text) == value
    other = base64.b64encode(value + b"\0").decode()
    for wrong in ("", "!", text[:-1], text + "=", " " + text, text + "\n", other, value.hex(), "é" * len(text)):
        with pytest.raises(ValueError):
            checksums.decode(algorithm, wrong)


def test_a_value_with_stray_bits_is_refused() -> None:
    with pytest.raises(ValueError):
        checksums.decode("CRC32", "AAAAAB==")


def test_header_names_and_back() -> None:
    assert checksums.header_name("CRC64NVME") == "x-amz-checksum-crc64nvme"
    assert checksums.algorithm_of_header("X-Amz-Checksum-Crc64Nvme") == "CRC64NVME"
    assert checksums.algorithm_of_header("x-amz-checksum-type") is None


@pytest.mark.parametrize("algorithm", CRCS)
@given(parts=st.lists(st.binary(max_size=100), max_size=6))
def test_full_object_checksums_combine(algorithm: str, parts: list[bytes]) -> None:
    combined = checksums.combine(algorithm, [(digest(algorithm, part), len(part)) for part in parts])
    assert combined == digest(algorithm, b"".join(parts))


@pytest.mark.parametrize("algorithm", [name for name in checksums.ALGORITHMS if name not in CRCS])
def test_hashes_do_not_combine(algorithm: str) -> None:
    with pytest.raises(ValueError, match="can't be combined"):
        checksums.combine(algorithm, [(digest(algorithm, b"x"), 1)])


def test_composite_is_the_checksum_of_the_checksums() -> None:
    parts = [hashlib.sha256(b"one").digest(), hashlib.sha256(b"two").digest()]
    expected = base64.b64encode(hashlib.sha256(parts[0] + parts[1]).digest()).decode() + "-2"
    assert checksums.composite("SHA256", parts) == expected


def test_unknown_algorithm() -> None:
    with pytest.raises(KeyError):
        checksums.new("CRC16")
