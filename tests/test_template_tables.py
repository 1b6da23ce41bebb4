"""The tables of template.yaml are of what a run lands: where it is, and what is in it.

Athena itself is not here. What it does with partition projection is: a location for each day, from
the template in the table's parameters; in it every file whose name does not begin with ``_`` or a
dot; a record for each line; and of a record the columns.
"""

from __future__ import annotations

import gzip
import json
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from cloudformation import Evaluation
from runs import DAY, SCHEDULED, files, report, variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ingest.sandbox import Sandbox

ZONE = "landing/tmdb"
TABLES = Evaluation(
    {
        "TmdbParameterName": "/tmdb/token",
        "ExistingBucketName": "our-lake",
        "RawZonePath": ZONE,
        "OutputFormat": "jsonl",
    }
).resources("AWS::Glue::Table")
of_each = pytest.mark.parametrize("table", ["Movies", "Series"])


def _input(table: str) -> dict[str, Any]:
    found: dict[str, Any] = TABLES[f"{table}Table"]["TableInput"]
    return found


def _columns(table: str) -> dict[str, str]:
    described = _input(table)["StorageDescriptor"]["Columns"]
    return {column["Name"]: column["Type"] for column in described}


def _fits(value: object, kind: str) -> bool:
    """Whether the SerDe reads ``value`` as this type of Hive's; null always is."""
    if kind.startswith("array<"):
        inner = kind.removeprefix("array<").removesuffix(">")
        return value is None or (
            isinstance(value, list) and all(_fits(each, inner) for each in value)
        )
    if kind == "double":
        return value is None or type(value) in {int, float}
    if kind in {"int", "bigint"}:
        bits = {"int": 31, "bigint": 63}[kind]
        return value is None or (type(value) is int and -(2**bits) <= value < 2**bits)
    return value is None or type(value) is {"string": str, "boolean": bool}[kind]


def _location(table: str, day: date) -> str:
    """The prefix in the bucket where Athena looks for a day."""
    given = _input(table)["Parameters"]
    assert given["projection.enabled"] == "true"
    assert given["projection.partition_date.type"] == "date"
    assert given["projection.partition_date.format"] == "yyyy/MM/dd"
    [key] = _input(table)["PartitionKeys"]
    assert (key["Name"], key["Type"]) == ("partition_date", "string")
    filled = given["storage.location.template"].replace("${partition_date}", f"{day:%Y/%m/%d}")
    assert filled.startswith("s3://our-lake/")
    assert filled.endswith("/")
    return str(filled.removeprefix("s3://our-lake/"))


def _rows(lake: Mapping[str, bytes], location: str) -> Iterator[Any]:
    for key, content in lake.items():
        name = key.removeprefix(location)
        if name != key and not name.startswith(("_", ".")):
            text = gzip.decompress(content) if name.endswith(".gz") else content
            yield from (json.loads(line) for line in text.splitlines())


@pytest.mark.parametrize("compression", ["none", "gzip"])
@of_each
def test_a_table_has_the_records_of_a_day(
    stand_in: Callable[..., Sandbox], table: str, compression: str
) -> None:
    chosen = {"OUTPUT_FORMAT": "jsonl", "OUTPUT_COMPRESSION": compression, "RAW_ZONE_PATH": ZONE}
    body = report(SCHEDULED, variables(stand_in(), **chosen))
    lake = files()
    rows = list(_rows(lake, _location(table, date.fromisoformat(DAY))))
    [landed] = [each for each in body["datasets"] if each["name"] == table.lower()]
    assert len(rows) == landed["records"] == 100
    columns = _columns(table)
    assert {name for row in rows for name in row} == columns.keys()
    wrong = [
        (name, row[name]) for row in rows for name in row if not _fits(row[name], columns[name])
    ]
    assert wrong == []
    # What lies beside the day's files is not read as records: the manifest.
    assert any(key.endswith("/_manifest.json") for key in lake)
    assert list(_rows(lake, _location(table, date(2026, 11, 21)))) == []


@of_each
def test_a_table_has_what_tmdb_has_ever_sent(recorded: Path, table: str) -> None:
    columns = _columns(table)
    folder = recorded / "tmdb" / {"Movies": "movie", "Series": "tv"}[table]
    pages = [json.loads(path.read_bytes()) for path in folder.glob("*.json")]
    rows = [row for page in pages for row in page.get("results", [])]
    assert len(rows) > 50
    wrong = {
        (name, type(row[name]).__name__)
        for row in rows
        for name in row.keys() & columns.keys()
        if not _fits(row[name], columns[name])
    }
    assert wrong == set()


@of_each
def test_a_table_begins_where_its_partitions_do(table: str) -> None:
    described = _input(table)
    assert described["Name"] == table.lower()
    assert described["StorageDescriptor"]["Location"] == f"s3://our-lake/{ZONE}/{table}/"
    first, last = described["Parameters"]["projection.partition_date.range"].split(",")
    assert date(*map(int, first.split("/"))) == date(2020, 1, 1)
    assert last == "NOW+1DAYS"
