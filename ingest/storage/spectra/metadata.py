"""Metadata of objects, to headers and back.

A header has only printable ASCII. The rest is written with percent signs, as the vendor's Java SDK
does it, so that each reads what the other wrote. An appliance has no content type of objects; it is
kept as metadata as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "x-amz-meta-"
TYPE = "content-type"
_SAFE_IN_NAMES = "!#$&'*-.~^_`|"
_SAFE_IN_VALUES = _SAFE_IN_NAMES + '()<>@,;:"/\\[]?={}'


def headers(metadata: Mapping[str, str], content_type: str) -> dict[str, str]:
    """Return the headers of an object's metadata and type.

    Names have no case. Of two that differ in nothing else, the values are joined by a comma.
    """
    merged = {PREFIX + TYPE: _value(content_type)}
    seen: set[str] = set()
    for name, text in metadata.items():
        header = PREFIX + quote(name.lower(), safe=_SAFE_IN_NAMES, errors="surrogateescape")
        value = _value(text)
        merged[header] = f"{merged[header]},{value}" if header in seen else value
        seen.add(header)
    return merged


def read(found: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata among the headers of an answer, whose names are in lower case."""
    return {
        _unquoted(name.removeprefix(PREFIX)): _unquoted(text)
        for name, text in found.items()
        if name.startswith(PREFIX)
    }


def _value(text: str) -> str:
    return quote(text, safe=_SAFE_IN_VALUES, errors="surrogateescape")


def _unquoted(text: str) -> str:
    return unquote(text, errors="surrogateescape")
