import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.aws import form_data
from proxy.aws.errors import AwsError
from proxy.aws.form_data import MAX_FIELDS, Field, FormFile, FormReader, boundary_of, file_length, is_form

BOUNDARY = b"b0undary"
HEAD = (
    b'--b0undary\r\nContent-Disposition: form-data; name="key"\r\n\r\na/${filename}\r\n'
    b'--b0undary\r\ncontent-disposition: form-data; name="empty"\r\nContent-Type: text/plain\r\n\r\n\r\n'
    b'--b0undary\r\nContent-Disposition: form-data; name="file"; filename="C:\\d\\f \\"x\\".txt"\r\n'
    b"Content-Type: text/css\r\n\r\n"
)
END = b"\r\n--b0undary--\r\n"


def fed(reader: FormReader, data: bytes, size: int) -> bytes:
    """Feeds a reader until it has the head; what it has not been fed."""
    for at in range(0, len(data), size):
        if reader.update(data[at : at + size]):
            return data[at + size :]
    return b""


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, 10_000])
def test_the_head_of_a_form_however_it_is_cut(size: int) -> None:
    reader = FormReader(BOUNDARY)
    rest = fed(reader, HEAD + b"data" + END, size)
    assert reader.head is not None
    assert list(reader.head.fields) == [Field("key", "a/${filename}"), Field("empty", "")]
    assert (reader.head.filename, reader.head.content_type) == ('f "x".txt', "text/css")
    assert reader.head.size == len(HEAD)
    assert reader.rest + rest == b"data" + END
    assert file_length(reader.head, len(HEAD) + 4 + len(END)) == 4


def test_nothing_of_a_head_is_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    headers = form_data._headers
    monkeypatch.setattr(form_data, "_headers", lambda block: read.append(block) or headers(block))
    reader = FormReader(BOUNDARY)
    assert fed(reader, HEAD + b"data" + END, 1) == b"data" + END
    assert [b"key" in block for block in read] == [True, False, False]


@given(
    st.binary(max_size=40) | st.lists(st.sampled_from([b"\r\n", b"--", BOUNDARY, b":", b"a"])).map(b"".join), st.data()
)
def test_a_head_is_refused_or_read_however_it_is_cut(value: bytes, data: st.DataObject) -> None:
    form = HEAD.replace(b"a/${filename}", value) + b"data" + END
    cuts = sorted(data.draw(st.lists(st.integers(0, len(form)), max_size=8)))

    def outcome(pieces: list[bytes]) -> object:
        reader = FormReader(BOUNDARY)
        try:
            for number, piece in enumerate(pieces):
                if reader.update(piece):
                    return reader.head, reader.rest + b"".join(pieces[number + 1 :])
        except AwsError as error:
            return error.code
        return None

    cut = [form[start:end] for start, end in zip([0, *cuts], [*cuts, len(form)], strict=True)]
    assert outcome(cut) == outcome([form])


@given(st.binary(max_size=200) | st.just(b"\r\n--b0undar") | st.just(b"\r\n--\r\n--b0undarx"), st.integers(1, 50))
def test_a_file_however_it_is_cut(data: bytes, size: int) -> None:
    whole = data + END
    for length in (None, len(data)):
        reader = FormFile(BOUNDARY, length)
        found = b"".join(bytes(reader.update(whole[at : at + size])) for at in range(0, len(whole), size))
        assert found + bytes(reader.finalize()) == data


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (b"data", 4),
        (b"data" + END, 3),
        (b"data" + END, 5),
        (b"data\r\n--b0undary\r\n", 4),
        (b"data\r\n--b0undaryxx", 4),
        (b"data\r\n--b0undary--", 4),
        (b"data", None),
        (b"data\r\n--b0undaryxx", None),
    ],
)
def test_a_file_that_does_not_end_as_it_must(data: bytes, length: int | None) -> None:
    def read(reader: FormFile) -> None:
        reader.update(data)
        reader.finalize()

    with pytest.raises(AwsError, match="MalformedPOSTRequest"):
        read(FormFile(BOUNDARY, length))


def test_what_comes_after_a_short_file_is_left_out() -> None:
    reader = FormFile(BOUNDARY)
    after = b'\r\n--b0undary\r\nContent-Disposition: form-data; name="submit"\r\n\r\nGo' + END
    assert bytes(reader.update(b"data" + after)) + bytes(reader.finalize()) == b"data"


@pytest.mark.parametrize(
    "data",
    [
        b"x--b0undary",
        b"--b0undaryxx",
        b"--b0undary\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--b0undary",
        b"--b0undary\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b0undary",
        b"--b0undary\r\nno colon\r\n\r\nx\r\n--b0undary",
        b'--b0undary\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--b0undary',
    ],
)
def test_heads_that_are_none(data: bytes) -> None:
    with pytest.raises(AwsError, match="MalformedPOSTRequest"):
        FormReader(BOUNDARY).update(data)


def test_a_form_without_a_file() -> None:
    with pytest.raises(AwsError, match="IncorrectNumberOfFilesInPostRequest"):
        FormReader(BOUNDARY).update(
            b'--b0undary\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b0undary--\r\n'
        )


def test_too_much_before_the_file_is_not_kept() -> None:
    reader = FormReader(BOUNDARY)
    with pytest.raises(AwsError, match="MaxPostPreDataLengthExceededError"):
        fed(reader, b'--b0undary\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 2 * MAX_FIELDS, 1000)
    with pytest.raises(AwsError, match="MaxPostPreDataLengthExceededError"):
        FormReader(BOUNDARY).update(HEAD.replace(b"a/", b"a" * MAX_FIELDS))


def test_boundaries() -> None:
    assert boundary_of("multipart/form-data; boundary=abc") == b"abc"
    assert boundary_of('Multipart/Form-Data;charset=utf-8; Boundary="a b:c"') == b"a b:c"
    assert is_form("Multipart/Form-Data; boundary=x")
    assert not is_form("multipart/form-dataset; boundary=x")
    assert not is_form("multipart/mixed; boundary=x")
    for wrong in ("multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'x' * 71}"):
        with pytest.raises(AwsError, match="MalformedPOSTRequest"):
            boundary_of(wrong)
