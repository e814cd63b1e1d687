import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.aws import xml_codec
from proxy.aws.xml_codec import NAMESPACE, XmlError, escape, parse, read_elements, render

LEGAL = st.text(
    st.characters(codec="utf-8", exclude_characters="\ufffe\uffff", min_codepoint=0x20) | st.sampled_from("\t\n\r")
)


def test_a_document_becomes_names_and_text() -> None:
    document = f'<Delete xmlns="{NAMESPACE}">\n <Object><Key> a </Key></Object>\n <Quiet>true</Quiet></Delete>'.encode()
    assert parse(document, "Delete", lists=("Object",)) == {"Object": [{"Key": " a "}], "Quiet": "true"}


@pytest.mark.parametrize("document", [b"<A/>", b"<A></A>", b"<A> \n </A>"])
def test_an_empty_document_has_no_members(document: bytes) -> None:
    assert parse(document, "A") == {}


@pytest.mark.parametrize("key", [" ", "  a", "a\u00a0", "\t", "é", "a&b<c>", "]]>"])
def test_white_space_and_special_characters_of_a_key_are_kept(key: str) -> None:
    document = render("Delete", {"Object": [{"Key": key}, {"Key": "b"}]})
    assert parse(document, "Delete")["Object"][0]["Key"] == key


@given(LEGAL.filter(bool))
def test_what_is_rendered_is_parsed_again(text: str) -> None:
    assert parse(render("A", {"B": text, "C": [text, text]}), "A") == {"B": text, "C": [text, text]}


@given(st.binary(max_size=200))
def test_garbage_is_an_error_and_nothing_else(document: bytes) -> None:
    with pytest.raises(XmlError):
        parse(b"<A>" + document, "A")


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not xml",
        b"<A>",
        b"<A></B>",
        b"<B/>",
        b"<A>text</A>",
        b"<A>text<B>1</B></A>",
        b"<A><B>1</B>tail</A>",
        b'<A xmlns="urn:other"/>',
        b"<A>\xff</A>",
        b"<A>&#1;</A>",
        b"<A>&nbsp;</A>",
        b"<!DOCTYPE A><A/>",
        b'<!DOCTYPE A [<!ENTITY x "y">]><A>&x;</A>',
        b'<!DOCTYPE A [<!ENTITY x SYSTEM "file:///etc/passwd">]><A><B>&x;</B></A>',
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE A [<!ENTITY x "y">]><A><B>&x;</B></A>'.encode("utf-16"),
        b'<?xml version="1.0" encoding="no-such"?><A/>',
        b"<A/><A/>",
        b"<B>" * 17 + b"</B>" * 17,
        b"<A>" + b"<B/>" * 20_001 + b"</A>",
    ],
)
def test_what_is_refused(document: bytes) -> None:
    with pytest.raises(XmlError):
        parse(document, "A")


def test_depth_is_bounded_where_it_says() -> None:
    def nested(depth: int) -> bytes:
        return b"<A>" + b"<B>" * (depth - 1) + b"</B>" * (depth - 1) + b"</A>"

    parse(nested(xml_codec.MAX_DEPTH), "A")
    with pytest.raises(XmlError):
        parse(nested(xml_codec.MAX_DEPTH + 1), "A")


def test_render_leaves_out_none_and_writes_numbers_and_booleans() -> None:
    document = render("R", {"A": None, "B": "", "C": True, "D": 5, "E": [{"F": "x"}, {"F": "y"}], "G": []})
    expected = "<B></B><C>true</C><D>5</D><E><F>x</F></E><E><F>y</F></E>"
    assert document.decode() == f'<?xml version="1.0" encoding="UTF-8"?>\n<R xmlns="{NAMESPACE}">{expected}</R>'


def test_a_character_that_xml_does_not_have_is_a_numeric_reference() -> None:
    assert escape("a\x01\r\x0b\ufffe\"&<>'b") == "a&#x1;&#xd;&#xb;&#xfffe;&quot;&amp;&lt;&gt;'b"


def test_elements_come_as_they_end_with_their_text() -> None:
    seen: list[tuple[str, str]] = []
    read_elements(b"<A><B>1 &lt; <!-- c -->2</B><C/><D><E>x</E></D></A>", lambda *item: seen.append(item))
    assert seen == [("B", "1 < 2"), ("C", ""), ("E", "x"), ("D", ""), ("A", "")]


@given(st.lists(LEGAL, max_size=20))
def test_elements_are_those_that_elementtree_finds(texts: list[str]) -> None:
    document = render("R", {"T": texts}, namespace=None)
    seen: list[str] = []
    read_elements(document, lambda name, text: seen.append(text) if name == "T" else None)
    assert seen == [element.text or "" for element in ElementTree.fromstring(document)]


def test_a_long_text_is_one_text() -> None:
    seen: dict[str, str] = {}
    read_elements(b"<A><B>" + b"x&amp;" * 30_000 + b"</B></A>", seen.setdefault)
    assert seen["B"] == "x&" * 30_000


@pytest.mark.parametrize("document", [b"", b"<A>", b"<!DOCTYPE A><A/>", "<!DOCTYPE A><A/>".encode("utf-16")])
def test_elements_of_a_bad_document_are_an_error(document: bytes) -> None:
    with pytest.raises(XmlError):
        read_elements(document, lambda *_: None)


def test_escaped_text_holds_nothing_that_ends_an_element() -> None:
    assert not re.search(r"[<>\"\r\x00]", escape("".join(map(chr, range(0x80)))))
