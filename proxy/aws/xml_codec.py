"""XML documents of S3: requests in, answers out.

Request documents become plain dicts; long answers of the upstream are read element by element. Document types, and
with them entities, are refused; size, depth and the number of elements are bounded.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from xml.parsers import expat

import xmltodict

NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
MAX_DEPTH: Final = 16
MAX_ELEMENTS: Final = 20_000

Node = Mapping[str, Any]
"""An element with children: name to text, Node, or a list of either for members that may be repeated. The text of an
empty element is None."""

_SPECIAL = re.compile('[&<>"\r\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]')
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


class XmlError(ValueError):
    """The document is not well-formed, not of the expected form, or beyond a limit."""


def parse(document: bytes, root: str, *, lists: Iterable[str] = (), max_elements: int = MAX_ELEMENTS) -> Node:
    """The content of a request document whose root element is ``root``, in S3's namespace or in none.

    Elements named in ``lists`` are always lists, wherever they stand. White space inside an element that has no
    children is kept: it may be part of a key. Attributes are ignored.

    Raises:
        XmlError: see there; also text beside child elements.
    """
    _guard(document, max_elements)
    try:
        parsed = xmltodict.parse(
            document,
            process_namespaces=True,
            namespaces={NAMESPACE: None},
            xml_attribs=False,
            strip_whitespace=False,
            force_list=tuple(lists),
        )
    except (expat.ExpatError, ValueError) as error:
        raise XmlError("the document is not well-formed") from error
    if root not in parsed:
        raise XmlError(f"the root element is not {root}")
    content = parsed[root]
    if content is None or (isinstance(content, str) and not content.strip()):
        return {}
    if isinstance(content, str):
        raise XmlError("the root element holds text")
    return _without_white_space(content)


def _without_white_space(node: dict[str, Any]) -> dict[str, Any]:
    """Drops the line breaks and indentation between the children of each element."""
    clean: dict[str, Any] = {}
    for name, value in node.items():
        if name == "#text":
            if value.strip():
                raise XmlError("text beside child elements")
        elif isinstance(value, list):
            clean[name] = [_without_white_space(item) if isinstance(item, dict) else item for item in value]
        else:
            clean[name] = _without_white_space(value) if isinstance(value, dict) else value
    return clean


def _guard(document: bytes, max_elements: int) -> None:
    """Reads through the document for what must not be in it, before anything is built from it."""
    depth = elements = 0

    def start(name: str, attributes: object) -> None:  # noqa: ARG001 - expat's signature
        nonlocal depth, elements
        depth += 1
        elements += 1
        if depth > MAX_DEPTH or elements > max_elements:
            raise XmlError("the document is too deep or has too many elements")

    def end(name: str) -> None:  # noqa: ARG001
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(document, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        if isinstance(error, XmlError):
            raise
        raise XmlError("the document is not well-formed") from error


def render(root: str, content: Mapping[str, Any], *, namespace: str | None = NAMESPACE) -> bytes:
    """A document: names to text, numbers, booleans, dicts, or lists of them; None leaves a member out, ``""`` gives
    an empty element."""
    attributes = f' xmlns="{namespace}"' if namespace else ""
    pieces = [DECLARATION, f"<{root}{attributes}>"]
    _render_members(content, pieces)
    pieces.append(f"</{root}>")
    return "".join(pieces).encode("utf-8", "surrogateescape")


def _render_members(content: Mapping[str, Any], pieces: list[str]) -> None:
    for name, value in content.items():
        for item in value if isinstance(value, list) else (value,):
            if item is None:
                continue
            pieces.append(f"<{name}>")
            if isinstance(item, Mapping):
                _render_members(item, pieces)
            elif isinstance(item, bool):
                pieces.append("true" if item else "false")
            else:
                pieces.append(escape(str(item)))
            pieces.append(f"</{name}>")


def escape(text: str) -> str:
    """Text for an element. A character that XML 1.0 has no form for becomes a numeric reference, as in AWS's answers:
    an XML 1.1 parser reads it, and ``encoding-type=url`` is there for the others."""
    if not _SPECIAL.search(text):
        return text
    return _SPECIAL.sub(lambda match: _ENTITIES.get(match[0]) or f"&#x{ord(match[0]):x};", text)


def read_elements(document: bytes, end: Callable[[str, str], object]) -> None:
    """Reads a long document: ``end`` is called with the name and the text of each element as it ends, children first.

    The text of an element is what stands in it after its last child. Names are as they stand in the document.

    Raises:
        XmlError: the document has a document type or is not well-formed; or what ``end`` raises.
    """
    pieces: list[str] = []

    def end_element(name: str) -> None:
        text = "".join(pieces)
        pieces.clear()
        end(name, text)

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.buffer_size = 8192
    parser.CharacterDataHandler = pieces.append
    parser.EndElementHandler = end_element
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(document, True)
    except (expat.ExpatError, LookupError) as error:
        raise XmlError("the document is not well-formed") from error


def _refuse_doctype(*_: object) -> None:
    raise XmlError("a document type is not allowed")
