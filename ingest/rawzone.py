"""Where things land in the raw zone, and the manifest that commits a partition.

A partition is one dataset on one day. Its objects are written first and ``_manifest.json`` last:
a reader who waits for the manifest never sees half a partition, and Athena, Hive and Spark skip
names that begin with ``_``.
"""

from __future__ import annotations

import hashlib
import json
import re
import string
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from ingest import __version__
from ingest.errors import SettingsError
from ingest.fetcher import is_torn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ingest.fetcher import Dataset, Fetched, Page, Record
    from ingest.serializer import File

Manifest = dict[str, Any]

MANIFEST = "_manifest.json"

LAYOUT = "{zone}/{folder}/{yyyy}/{mm}/{dd}/{dataset}_{date}{part}.{extension}"
"""Keys of the raw zone. ``part`` is empty where one file holds all records, else ``_001`` ..."""

_OF_DIRECTORY = frozenset("zone folder yyyy mm dd".split())
_OF_NAME = frozenset("dataset part extension".split())
_PLACEHOLDERS = _OF_DIRECTORY | _OF_NAME | {"date"}


def check_layout(layout: str) -> str:
    """Return ``layout`` if each key made from it is unique and relative, else raise.

    Raises ``SettingsError`` for an unknown placeholder, for one that is missing from the directory
    (two datasets or days would share a manifest) or from the name (they would share a file), and
    for a segment that a file system would not keep.
    """
    directory, _, name = layout.rpartition("/")
    in_directory, in_name = _placeholders(directory), _placeholders(name)
    if unknown := sorted((in_directory | in_name) - _PLACEHOLDERS):
        raise SettingsError(f"the layout {layout!r} has unknown placeholders: {', '.join(unknown)}")
    if missing := sorted((_OF_DIRECTORY - in_directory) | (_OF_NAME - in_name - in_directory)):
        raise SettingsError(f"the layout {layout!r} lacks placeholders: {', '.join(missing)}")
    if not {"", ".", ".."}.isdisjoint(layout.split("/")) or "part" in in_directory:
        raise SettingsError(f"the layout {layout!r} should be a relative path, part in its name")
    return layout


def _placeholders(template: str) -> set[str]:
    try:
        return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise SettingsError(f"the layout's {template!r} is not a template: {error}") from None


check_layout(LAYOUT)


@dataclass(frozen=True, slots=True)
class Partition:
    """One dataset on one day, under the prefix ``zone``."""

    zone: str
    dataset: Dataset
    day: date

    def keys(self, files: int, extension: str) -> list[str]:
        """Return the keys of ``files`` objects, in order."""
        numbers = [""] if files == 1 else [f"_{number:03}" for number in range(1, files + 1)]
        return [self._key(part, extension) for part in numbers]

    @property
    def directory(self) -> str:
        """The prefix of all keys of the partition; ends in ``/``."""
        return self._key("", "json").rpartition("/")[0] + "/"

    @property
    def manifest_key(self) -> str:
        """The key of the manifest, beside the objects."""
        return self.directory + MANIFEST

    def owns(self, key: str) -> bool:
        """Whether ``key`` is one that a run makes here, in any format and of any part."""
        part, extension = r"(_[0-9]{3})?", r"jsonl?(\.gz)?"
        stem = re.escape(self._key("", "").removesuffix("."))
        return re.fullmatch(rf"{stem}{part}\.{extension}", key) is not None

    def parse_manifest(self, body: bytes | None) -> Manifest | None:
        """Return the manifest in ``body``, or None: then nothing is committed here."""
        try:
            document = json.loads(body or b"")
            objects, source = document["objects"], document["source"]
            whole = (
                document["dataset"] == self.dataset.name
                and isinstance(document["run_key"], str | None)
                and isinstance(source["consistency"], str)
                and isinstance(source["pages"], list)
                and len(objects) > 0
                and all(self.owns(entry["key"]) for entry in objects)
                and all(type(entry["bytes"]) is type(entry["records"]) is int for entry in objects)
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        return document if whole else None

    def _key(self, part: str, extension: str) -> str:
        year, month, day = self.day.isoformat().split("-")
        return LAYOUT.format(
            zone=self.zone,
            folder=self.dataset.folder,
            yyyy=year,
            mm=month,
            dd=day,
            dataset=self.dataset.name,
            date=self.day.isoformat(),
            part=part,
            extension=extension,
        )


def partition_day(planned: datetime | None, time_zone: str) -> date:
    """Return the day of ``planned``, a moment in UTC (by default now), in ``time_zone``."""
    moment = planned or datetime.now(UTC)
    if time_zone == "UTC":
        return moment.date()
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - most runs need no table of zones

    return moment.astimezone(ZoneInfo(time_zone)).date()


def utc_text(moment: datetime) -> str:
    """Return ``moment`` as ISO 8601 in UTC with a ``Z``; fractions only where there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Run:
    """The run that lands a partition. ``key`` is its planned time; None for one by hand."""

    id: str
    key: str | None
    torn_after_s: float


def manifest(
    run: Run,
    partition: Partition,
    fetched: Fetched,
    files: Sequence[tuple[str, File]],
    started_at: datetime,
) -> Manifest:
    """Return the manifest of ``files`` (key and content), which hold ``fetched``."""
    torn = is_torn(fetched.pages, run.torn_after_s)
    return {
        "dataset": partition.dataset.name,
        "run_id": run.id,
        "run_key": run.key,
        "partition_date": partition.day.isoformat(),
        "objects": [describe_object(key, file) for key, file in files],
        "source": {
            "endpoint": partition.dataset.endpoint,
            "params": dict(fetched.params),
            "pages": [describe_page(page) for page in fetched.pages],
            "consistency": "torn" if torn else "consistent",
            "duplicates_dropped": fetched.duplicates_dropped,
        },
        "fields": describe_fields(fetched.records),
        "errors": list(fetched.errors),
        "started_at": utc_text(started_at),
        "finished_at": utc_text(datetime.now(UTC)),
        "version": __version__,
    }


def describe_object(key: str, file: File) -> dict[str, Any]:
    """Return what a manifest says of one file."""
    return {
        "key": key,
        "bytes": len(file.body),
        "records": file.records,
        "sha256": hashlib.sha256(file.body).hexdigest(),
    }


def describe_page(page: Page) -> dict[str, Any]:
    """Return what a manifest says of one page."""
    return {
        "page": page.page,
        "records": page.records,
        "total_pages": page.total_pages,
        "total_results": page.total_results,
        "etag": page.etag,
        "age_s": page.age_s,
        "date": utc_text(page.made_at) if page.made_at else None,
    }


_JSON_TYPES: Mapping[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def describe_fields(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Return, for each field of the records: its JSON types, how often it is null or missing."""
    fields: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(name for record in records for name in record):
        values = [record[name] for record in records if name in record]
        fields[name] = {
            "types": sorted({_JSON_TYPES[type(value)] for value in values if value is not None}),
            "nulls": sum(value is None for value in values),
            "missing": len(records) - len(values),
        }
    return fields


def encode_manifest(document: Manifest) -> bytes:
    """Return a manifest's bytes: indented JSON in UTF-8."""
    text = json.dumps(document, ensure_ascii=False, indent=2)
    return f"{text}\n".encode("utf-8", errors="backslashreplace")
