"""Events of a transfer -> what the function does: the jobs ``copy-batch`` and ``summary``.

::

    {"job": "copy-batch", "source": "s3://from/a/", "target": "s3://to/b/", "items": [...]}
    {"job": "summary", "source": "s3://from/a/", "target": "s3://to/b/", "so_far": {...}}

``items`` are objects as ``ListObjectsV2`` lists them. A summary that cannot look at everything in
the time that Lambda gives it answers ``"complete": false``; given that answer as ``so_far``, it
goes on from there. Both buckets are of the store that the settings name; where ``TARGET_*`` name
another one, ``target`` is there.
"""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ingest.connecting import bucket_name
from ingest.errors import EventError, UsageError
from ingest.event import refuse_unknown, wrong
from ingest.location import parse_url
from ingest.remote.copying import Compared, compare, raise_where_incomplete
from ingest.remote.copying import copy_batch as copy_entries
from ingest.remote.ends import Ends, open_ends
from ingest.storage.base import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.pacing import Deadline
    from ingest.settings import Settings

_MOST_ITEMS = 10_000
_OF_LISTING = frozenset(
    "ChecksumAlgorithm ChecksumType ETag Etag Key LastModified Owner RestoreStatus Size "
    "StorageClass".split()
)
"""What an item of ``ListObjectsV2`` may have. Of an ETag, Step Functions writes ``Etag``."""


def copy_batch(event: Mapping[str, Any], settings: Settings, deadline: Deadline) -> dict[str, Any]:
    """Copy the objects of one batch; see ``ingest.remote.copying.copy_batch`` for what it raises.

    Answers ``{"copied": objects, "skipped": objects, "bytes": copied}``. Raises ``EventError``.
    """
    refuse_unknown(event, ("job", "source", "target", "items"))
    ends = _ends(event, settings)
    items = event.get("items")
    if not isinstance(items, list) or not 1 <= len(items) <= _MOST_ITEMS:
        raise wrong("items", items, f"a list of 1 to {_MOST_ITEMS:,} objects")
    entries = [_entry(item, ends) for item in items]
    return asdict(copy_entries(ends.source, ends.target, entries, deadline))


def summary(event: Mapping[str, Any], settings: Settings, deadline: Deadline) -> dict[str, Any]:
    """Look for each object of the source in the target; see ``ingest.remote.copying.compare``.

    Answers what has been found, with ``complete`` true where all has been looked at. Raises
    ``Incomplete`` where that has come to an end and something is missing or different.
    """
    refuse_unknown(event, ("job", "source", "target", "so_far"))
    ends = _ends(event, settings)
    found = compare(ends.source, ends.target, _so_far(event.get("so_far")), deadline)
    told = {"source": event["source"], "target": event["target"], **asdict(found)}
    if found.after is None:
        raise_where_incomplete(found, ends.source, ends.target)
    return {**told, "complete": found.after is None}


def _ends(event: Mapping[str, Any], settings: Settings) -> Ends:
    given = {name: event.get(name) for name in ("source", "target")}
    found = {}
    for name, url in given.items():
        try:
            found[name] = parse_url(url if isinstance(url, str) else "")
            bucket_name(found[name].bucket)
        except UsageError:
            raise wrong(name, url, "a URL such as s3://bucket/prefix/") from None
    try:
        return open_ends(found["source"], found["target"], settings)
    except UsageError as error:
        raise EventError(error.message) from None


def _entry(item: object, ends: Ends) -> Entry:
    """Return an item of a listing. Raises ``EventError``."""
    if not isinstance(item, dict):
        raise wrong("items", item, "objects as ListObjectsV2 lists them")
    refuse_unknown(item, _OF_LISTING)
    key, size, etag = item.get("Key"), item.get("Size"), item.get("ETag", item.get("Etag"))
    if not isinstance(key, str) or not key.startswith(ends.source.prefix):
        raise wrong("items' Key", key, f"a key below {ends.source.shown(ends.source.prefix)}")
    if type(size) is not int or size < 0:
        raise wrong("items' Size", size, "a number of bytes")
    if not isinstance(etag, str | None):
        raise wrong("items' ETag", etag, "a text")
    return Entry(key, size, _modified(item.get("LastModified")), (etag or "").strip('"') or None)


def _modified(value: object) -> float:
    """Return a time in seconds of Unix time; one that is not told is long ago."""
    if value is None:
        return 0.0
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value).timestamp()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise wrong("items' LastModified", value, "seconds of Unix time, or ISO 8601")


def _so_far(value: object) -> Compared:
    """Return what an earlier summary has come to; None and an empty one are the beginning."""
    if not value:
        return Compared()
    if not isinstance(value, dict):
        raise wrong("so_far", value, "what a summary has answered")
    names = {field.name for field in fields(Compared)}
    refuse_unknown(value, (*names, "source", "target", "complete"))
    counts = {name: value.get(name) for name in ("objects", "bytes", "missing", "different")}
    after, examples = value.get("after"), value.get("examples")
    whole = all(type(each) is int and each >= 0 for each in counts.values())
    if not whole or not isinstance(after, str) or not isinstance(examples, list):
        raise wrong("so_far", value, "what a summary has answered")
    return Compared(**counts, examples=tuple(map(str, examples)), after=after)  # type: ignore[arg-type]  # checked above
