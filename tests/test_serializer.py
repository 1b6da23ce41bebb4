"""Records into files: nothing is lost or changed, the same bytes each time, limits kept."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import serializer
from ingest.errors import RecordTooLarge
from ingest.serializer import MAX_BYTES, File, Format, deserialize, serialize

Record = dict[str, Any]

FORMATS = [Format(name, packed) for name in ("json", "jsonl") for packed in ("none", "gzip")]
EACH_FORMAT = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.extension)
EACH_PLAIN_FORMAT = pytest.mark.parametrize("name", ["json", "jsonl"])

AWKWARD = 'é ã \u2028 \u2029 \x85 \x00 \x1f \x7f \ufeff \U0001f600 \ud83d \\ \\u00e9 " \n \r\n'

_TEXT = st.text(st.characters() | st.sampled_from(AWKWARD), max_size=20)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=8,
)


def _as_received(records: list[Record]) -> list[Record]:
    """Give the records as JSON text brings them: two halves of a pair have become one."""
    received: list[Record] = json.loads(json.dumps(records))
    return received


_RECORDS = st.lists(st.dictionaries(_TEXT, _VALUES, max_size=5), max_size=8).map(_as_received)


def _read_back(files: list[File], form: Format) -> list[Record]:
    name = f"raw/2026/movies.{form.extension}"
    return [record for file in files for record in deserialize(file.body, name)]


def _sized(size: int, form: Format) -> Record:
    """Give a record that alone makes a file of exactly ``size`` bytes."""
    empty = len(serialize([{"id": 1, "overview": ""}], form)[0].body)
    return {"id": 1, "overview": "x" * (size - empty)}


# Nothing is lost or changed


@EACH_FORMAT
@given(records=_RECORDS)
def test_records_come_back_as_they_were(form: Format, records: list[Record]) -> None:
    back = _read_back(serialize(records, form), form)
    # Texts, since 1 == 1.0 == True, and keys keep their order.
    assert [json.dumps(record) for record in back] == [json.dumps(record) for record in records]


@EACH_FORMAT
@given(records=_RECORDS)
def test_the_same_records_give_the_same_bytes(form: Format, records: list[Record]) -> None:
    assert serialize(records, form) == serialize(json.loads(json.dumps(records)), form)


@EACH_FORMAT
def test_the_bytes_do_not_depend_on_the_time(form: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    first = serialize([{"id": 1}], form)
    monkeypatch.setattr(gzip.time, "time", lambda: 2_000_000_000.0)  # type: ignore[attr-defined]
    assert serialize([{"id": 1}], form) == first


@EACH_PLAIN_FORMAT
def test_accents_are_written_as_they_are(name: str) -> None:
    (file,) = serialize([{"title": "Ação à brasileira: 日本 😀"}], Format(name))
    assert "Ação à brasileira: 日本 😀" in file.body.decode("utf-8")
    assert b"\\u" not in file.body


@EACH_FORMAT
def test_half_a_surrogate_pair_is_still_utf8(form: Format) -> None:
    record = json.loads(rb'{"title": "\ud83d and \\\udc00"}')
    files = serialize([record], form)
    body = gzip.decompress(files[0].body) if form.compression == "gzip" else files[0].body
    assert r"\ud83d" in body.decode("utf-8")
    assert _read_back(files, form) == [record]


@EACH_PLAIN_FORMAT
@given(records=_RECORDS)
def test_gzip_holds_the_very_bytes_of_the_plain_file(name: str, records: list[Record]) -> None:
    plain, packed = serialize(records, Format(name)), serialize(records, Format(name, "gzip"))
    assert [gzip.decompress(file.body) for file in packed] == [file.body for file in plain]
    assert [file.records for file in packed] == [file.records for file in plain]


# The two formats


@given(records=_RECORDS)
def test_jsonl_is_one_line_a_record(records: list[Record]) -> None:
    (file,) = serialize(records, Format("jsonl"))
    lines = file.body.split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line) for line in lines] == records


@given(records=_RECORDS)
def test_json_is_an_indented_array(records: list[Record]) -> None:
    (file,) = serialize(records, Format("json"))
    text = json.dumps(records, ensure_ascii=False, indent=2) + "\n"
    assert file.body == text.encode("utf-8", errors="backslashreplace")


@pytest.mark.parametrize(
    ("form", "extension", "content_type"),
    [
        (Format("json"), "json", "application/json"),
        (Format("jsonl"), "jsonl", "application/x-ndjson"),
        (Format("json", "gzip"), "json.gz", "application/gzip"),
        (Format("jsonl", "gzip"), "jsonl.gz", "application/gzip"),
    ],
)
def test_each_format_has_its_name_and_type(form: Format, extension: str, content_type: str) -> None:
    assert (form.extension, form.content_type) == (extension, content_type)


def test_a_file_is_read_by_its_ending_and_not_by_its_directory() -> None:
    (file,) = serialize([{"id": 1}, {"id": 2}], Format("json"))
    assert deserialize(file.body, "raw.jsonl/zone.gz/movies.json") == [{"id": 1}, {"id": 2}]


@EACH_FORMAT
def test_no_record_gives_one_empty_file(form: Format) -> None:
    files = serialize([], form)
    assert [file.records for file in files] == [0]
    assert _read_back(files, form) == []


# Limits of a file


@EACH_PLAIN_FORMAT
@given(
    sizes=st.lists(st.integers(0, 200), max_size=40),
    most_bytes=st.integers(300, 900),
    most_records=st.integers(1, 10),
)
def test_no_file_exceeds_its_limits_and_none_is_cut_too_early(
    name: str, sizes: list[int], most_bytes: int, most_records: int
) -> None:
    form = Format(name)
    records: list[Record] = [{"id": n, "overview": "x" * size} for n, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serializer, "MAX_BYTES", most_bytes)
        patch.setattr(serializer, "MAX_RECORDS", most_records)
        files = serialize(records, form)
    assert _read_back(files, form) == records
    assert all(len(file.body) <= most_bytes and file.records <= most_records for file in files)
    assert [file.records for file in files] == [
        len(deserialize(file.body, f"part.{name}")) for file in files
    ]
    assert [file.records for file in files] == _greedy(records, form, most_bytes, most_records)


def _greedy(records: list[Record], form: Format, most_bytes: int, most_records: int) -> list[int]:
    """Fill each file with all records that fit; give how many each holds."""
    counts: list[int] = []
    part: list[Record] = []
    for record in records:
        longer = [*part, record]
        if part and (len(longer) > most_records or len(_whole(longer, form)) > most_bytes):
            counts.append(len(part))
            longer = [record]
        part = longer
    return [*counts, len(part)]


def _whole(records: list[Record], form: Format) -> str:
    if form.name == "json":
        return json.dumps(records, ensure_ascii=False, indent=2) + "\n"
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


@EACH_FORMAT
@pytest.mark.parametrize(
    ("records", "counts"), [(99, [99]), (100, [100]), (101, [100, 1]), (250, [100, 100, 50])]
)
def test_100_records_fill_a_file(form: Format, records: int, counts: list[int]) -> None:
    given_ = [{"id": number} for number in range(records)]
    files = serialize(given_, form)
    assert [file.records for file in files] == counts
    assert _read_back(files, form) == given_


@EACH_PLAIN_FORMAT
def test_one_record_may_fill_a_file_to_the_last_byte(name: str) -> None:
    form = Format(name)
    (file,) = serialize([_sized(MAX_BYTES, form)], form)
    assert (len(file.body), file.records) == (10_000_000, 1)


@EACH_PLAIN_FORMAT
def test_a_record_one_byte_too_large_is_an_error(name: str) -> None:
    form = Format(name)
    with pytest.raises(RecordTooLarge, match=r"record 2 .* a file may have 10,000,000") as caught:
        serialize([{"id": 0}, _sized(MAX_BYTES + 1, form)], form)
    assert len(str(caught.value).splitlines()) == 1


@EACH_PLAIN_FORMAT
def test_two_records_share_a_file_up_to_the_last_byte(name: str) -> None:
    form = Format(name)
    first = _sized(4_000_000, form)
    alone = len(serialize([first, {"id": 1, "overview": ""}], form)[0].body)
    fits: Record = {"id": 1, "overview": "x" * (MAX_BYTES - alone)}
    too_long: Record = {"id": 1, "overview": "x" * (MAX_BYTES - alone + 1)}
    assert [len(file.body) for file in serialize([first, fits], form)] == [10_000_000]
    assert [file.records for file in serialize([first, too_long], form)] == [1, 1]


def test_the_limit_counts_bytes_before_compression() -> None:
    records: list[Record] = [{"overview": "x" * 6_000_000}, {"overview": "x" * 6_000_000}]
    files = serialize(records, Format("json", "gzip"))
    assert [file.records for file in files] == [1, 1]
