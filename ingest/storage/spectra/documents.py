"""The XML of the protocol, read liberally and written exactly.

What an older or a newer appliance leaves out is None, empty or false; what no answer can be
without, such as the id of a job, is an error.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.parsers.expat import errors as expat
from xml.sax.saxutils import escape, quoteattr

if TYPE_CHECKING:
    from collections.abc import Iterable

_CUT_SHORT = frozenset(
    expat.codes[message]
    for message in (
        expat.XML_ERROR_NO_ELEMENTS,
        expat.XML_ERROR_PARTIAL_CHAR,
        expat.XML_ERROR_UNCLOSED_CDATA_SECTION,
        expat.XML_ERROR_UNCLOSED_TOKEN,
    )
)
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINES = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
"""Written as they are, a parser makes spaces or line feeds of them."""


class Unreadable(Exception):
    """An answer is not what the protocol says; ``cut_short`` where it only ends too early."""

    def __init__(self, reason: str, *, cut_short: bool = False) -> None:
        """Say why."""
        super().__init__(reason)
        self.cut_short = cut_short


@dataclass(frozen=True, slots=True)
class Blob:
    """A part of an object, or all of it: ``offset`` and ``length`` are in bytes.

    ``in_cache`` says of a blob that is written that the appliance has it, of one that is read
    that it can be had now.
    """

    name: str
    offset: int
    length: int
    in_cache: bool = False
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A bulk job; ``blobs`` are those that its answer lists, chunk by chunk.

    ``request_type`` is PUT, GET or VERIFY, ``status`` is IN_PROGRESS, COMPLETED or CANCELED, or
    empty where it was not said. Sizes are in bytes; ``started`` is in seconds of Unix time.
    """

    id: str
    bucket: str
    request_type: str
    status: str
    name: str
    priority: str
    started: float
    size: int
    cached_size: int
    completed_size: int
    blobs: tuple[Blob, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an error's body says; both are empty where it says nothing that can be read."""

    code: str = ""
    message: str = ""


def parse(body: bytes) -> ET.Element:
    """Return the root of a document. Raises ``Unreadable``."""
    try:
        return ET.fromstring(body)  # noqa: S314 - expat itself bounds what entities expand to
    except ET.ParseError as error:
        cut_short = error.code in _CUT_SHORT
        reason = "the answer was cut short" if cut_short else f"the answer is no XML: {error}"
        raise Unreadable(reason, cut_short=cut_short) from None


def refusal(body: bytes) -> Refusal:
    """Return what an error says. Some have no body, and what is between may send HTML."""
    try:
        root = parse(body)
    except Unreadable:
        return Refusal()
    if name_of(root) != "Error":
        return Refusal()
    return Refusal(root.findtext("{*}Code", "").strip(), root.findtext("{*}Message", "").strip())


def job(body: bytes) -> Job:
    """Return the job that a ``MasterObjectList`` describes. Raises ``Unreadable``."""
    root = parse(body)
    if name_of(root) != "MasterObjectList":
        raise Unreadable(f"the answer is no MasterObjectList, but <{name_of(root)}>")
    return _job(root, tuple(map(_blob, root.iterfind("{*}Objects/{*}Object"))))


def jobs(body: bytes) -> list[Job]:
    """Return the jobs of a list, without their blobs. Raises ``Unreadable``."""
    root = parse(body)
    if name_of(root) != "Jobs":
        raise Unreadable(f"the answer is no list of jobs, but <{name_of(root)}>")
    return [_job(element, ()) for element in root.iterfind("{*}Job")]


def _job(element: ET.Element, blobs: tuple[Blob, ...]) -> Job:
    told = element.attrib
    return Job(
        id=_needed(element, "JobId"),
        bucket=told.get("BucketName", ""),
        request_type=told.get("RequestType", "").upper(),
        status=told.get("Status", "").upper(),
        name=told.get("Name", ""),
        priority=told.get("Priority", "").upper(),
        started=seconds(told.get("StartDate", "")),
        size=_number(told.get("OriginalSizeInBytes", "0")),
        cached_size=_number(told.get("CachedSizeInBytes", "0")),
        completed_size=_number(told.get("CompletedSizeInBytes", "0")),
        blobs=blobs,
    )


def _blob(element: ET.Element) -> Blob:
    return Blob(
        _needed(element, "Name"),
        _number(element.attrib.get("Offset", "0")),
        _number(_needed(element, "Length")),
        is_true(element.attrib.get("InCache", "")),
        element.attrib.get("VersionId"),
    )


def data(body: bytes) -> dict[str, str]:
    """Return the elements of one ``Data``, and those below them, by name. Raises ``Unreadable``."""
    root = parse(body)
    return {name_of(each): (each.text or "").strip() for each in root.iter() if each is not root}


def items(body: bytes, name: str) -> list[dict[str, str]]:
    """Return the elements called ``name``, each as its own elements by name.

    Raises ``Unreadable``.
    """
    return [
        {name_of(child): child.text or "" for child in element}
        for element in parse(body).iter()
        if name_of(element) == name
    ]


def fits(name: str) -> bool:
    """Whether XML can carry ``name``: no control character, no lone surrogate, no U+FFFE."""
    return _NOT_IN_XML.search(name) is None


def objects(wanted: Iterable[tuple[str, dict[str, object]]]) -> bytes:
    """Return the list of objects that begins a job: their names, each with its attributes."""
    lines = [
        f"<Object Name={_attribute(name)}"
        + "".join(f' {key}="{value}"' for key, value in attributes.items())
        + "/>"
        for name, attributes in wanted
    ]
    return f"<Objects>{''.join(lines)}</Objects>".encode()


def delete(names: Iterable[str]) -> bytes:
    """Return the list of objects to be deleted."""
    lines = (f"<Object><Key>{escape(name, _LINES)}</Key></Object>" for name in names)
    return f"<Delete>{''.join(lines)}</Delete>".encode()


def seconds(moment: str) -> float:
    """Return a moment of an answer in seconds of Unix time; 0 where there is none."""
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        return 0.0
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def is_true(text: str) -> bool:
    """Whether a value says so: some versions write it in capitals."""
    return text.strip().lower() == "true"


def name_of(element: ET.Element) -> str:
    """Return what an element is called, without its namespace."""
    return element.tag.rpartition("}")[2]


def _needed(element: ET.Element, attribute: str) -> str:
    if found := element.attrib.get(attribute):
        return found
    raise Unreadable(f"<{name_of(element)}> has no {attribute}")


def _number(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    raise Unreadable(f"{text!r} is no number of bytes")


def _attribute(text: str) -> str:
    return quoteattr(text, _LINES)
