"""Records -> the bytes of one or more files of the raw zone.

The records are written exactly as TMDB sent them: same keys in the same order, same values, UTF-8
without escaped accents. The same records give the same bytes.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ingest.errors import CorruptFile, RecordTooLarge
from ingest.settings import MAX_RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAX_BYTES = 10_000_000
"""The most bytes of one file, counted before compression."""

_INDENT = 2
_GZIP = 31  # zlib's number for its largest window in a gzip file


@dataclass(frozen=True, slots=True)
class File:
    """The content of one file of the raw zone, and how many records it holds."""

    body: bytes
    records: int


@dataclass(frozen=True, slots=True)
class Format:
    """How records become bytes: ``json`` or ``jsonl``, plain or gzip."""

    name: str
    compression: str = "none"

    @property
    def extension(self) -> str:
        """The ending of a file's name, without its first dot."""
        return f"{self.name}.gz" if self.compression == "gzip" else self.name

    @property
    def content_type(self) -> str:
        """The MIME type. Gzip is one of its own, not an encoding that readers would undo."""
        if self.compression == "gzip":
            return "application/gzip"
        return "application/json" if self.name == "json" else "application/x-ndjson"


def serialize(records: Sequence[Mapping[str, Any]], form: Format) -> list[File]:
    """Return the files that hold ``records`` in their order: at least one, none above its limits.

    Raises ``RecordTooLarge`` where one record alone exceeds ``MAX_BYTES``.
    """
    encoded = [_encode(record, form) for record in records]
    return [File(_compress(_join(part, form), form), len(part)) for part in _parts(encoded, form)]


def _encode(record: Mapping[str, Any], form: Format) -> bytes:
    indent = _INDENT if form.name == "json" else None
    text = json.dumps(record, ensure_ascii=False, indent=indent, allow_nan=False)
    if indent:
        # No line break of the text is inside a string: JSON escapes those.
        text = " " * indent + text.replace("\n", "\n" + " " * indent)
    # Half a surrogate pair is legal in JSON's escapes but not in UTF-8: it stays escaped.
    return text.encode("utf-8", errors="backslashreplace")


def _join(encoded: Sequence[bytes], form: Format) -> bytes:
    if form.name == "jsonl":
        return b"".join(record + b"\n" for record in encoded)
    return b"[\n" + b",\n".join(encoded) + b"\n]\n" if encoded else b"[]\n"


def _parts(encoded: Sequence[bytes], form: Format) -> Iterator[list[bytes]]:
    """Cut into runs of at most ``MAX_RECORDS`` and ``MAX_BYTES``, counting the joints."""
    # A list of n has 5 bytes around it and 2 between two records: 3 and 2 for each.
    frame, joint = (3, 2) if form.name == "json" else (0, 1)
    part: list[bytes] = []
    size = frame
    for number, record in enumerate(encoded):
        added = len(record) + joint
        if frame + added > MAX_BYTES:
            raise RecordTooLarge(
                f"record {number + 1} has {len(record):,} bytes; a file may have {MAX_BYTES:,}"
            )
        if len(part) == MAX_RECORDS or size + added > MAX_BYTES:
            yield part
            part, size = [], frame
        part.append(record)
        size += added
    if part or not encoded:
        yield part


def _compress(body: bytes, form: Format) -> bytes:
    # Not the module gzip: its header differs between versions of Python, and has the time.
    return zlib.compress(body, 9, wbits=_GZIP) if form.compression == "gzip" else body


def deserialize(body: bytes, key: str) -> list[dict[str, Any]]:
    """Return the records in a file of the raw zone; the end of its ``key`` tells the format.

    Raises ``CorruptFile`` where it does not hold what its name says.
    """
    try:
        text = (gzip.decompress(body) if key.endswith(".gz") else body).decode("utf-8")
        if ".jsonl" not in key.rpartition("/")[2]:
            return list(json.loads(text))
        # Not splitlines: that also breaks at characters that JSON leaves in strings as they are.
        return [json.loads(line) for line in text.split("\n") if line]
    except (ValueError, OSError, EOFError, zlib.error) as error:
        reason = str(error)
    raise CorruptFile(f"{key} cannot be read back: {reason}")
