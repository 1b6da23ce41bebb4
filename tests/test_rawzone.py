"""Keys, partition dates and manifests of the raw zone."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import __version__, rawzone
from ingest.errors import SettingsError
from ingest.fetcher import MOVIES, SERIES, Dataset, Fetched, Page
from ingest.rawzone import (
    LAYOUT,
    Partition,
    Run,
    check_layout,
    describe_fields,
    encode_manifest,
    partition_day,
    utc_text,
)
from ingest.serializer import File

assert MOVIES.details
assert SERIES.details
DATASETS = [MOVIES, SERIES, MOVIES.details, SERIES.details]
ZONE = "raw/TMDB/JSON"
DAY = date(2026, 11, 20)
PLANNED = "2026-11-20T06:00:00Z"
PARTITION = Partition(ZONE, MOVIES, DAY)
KEYS = PARTITION.keys(2, "json")


# Keys


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        (MOVIES, "Movies/2026/11/20/movies_2026-11-20.json"),
        (SERIES, "Series/2026/11/20/series_2026-11-20.json"),
        (MOVIES.details, "MovieDetails/2026/11/20/movie_details_2026-11-20.json"),
        (SERIES.details, "SeriesDetails/2026/11/20/series_details_2026-11-20.json"),
    ],
)
def test_each_dataset_has_its_key_and_its_manifest_beside_it(dataset: Dataset, name: str) -> None:
    partition = Partition(ZONE, dataset, DAY)
    assert partition.keys(1, "json") == [f"raw/TMDB/JSON/{name}"]
    folder = name.partition("/")[0]
    assert partition.manifest_key == f"raw/TMDB/JSON/{folder}/2026/11/20/_manifest.json"


def test_more_files_are_numbered_parts() -> None:
    start = "lake/Movies/2026/01/02/movies_2026-01-02"
    partition = Partition("lake", MOVIES, date(2026, 1, 2))
    assert partition.keys(3, "jsonl.gz") == [f"{start}_00{n}.jsonl.gz" for n in (1, 2, 3)]


def test_a_prefix_with_braces_is_taken_as_it_is() -> None:
    assert Partition("a{part}b", MOVIES, DAY).keys(1, "json")[0].startswith("a{part}b/Movies/")


_PARTITIONS = st.builds(
    Partition,
    st.sampled_from([ZONE, "raw", "raw/Movies"]),
    st.sampled_from(DATASETS),
    st.dates(),
)
_PLACES = st.tuples(
    _PARTITIONS, st.integers(1, 1200), st.sampled_from(["json", "jsonl", "json.gz"])
)


@given(one=_PLACES, other=_PLACES)
def test_no_two_partitions_share_a_key(
    one: tuple[Partition, int, str], other: tuple[Partition, int, str]
) -> None:
    keys, others = ({*p.keys(n, ext), p.manifest_key} for p, n, ext in (one, other))
    assert len(keys) == one[1] + 1
    if one[0] != other[0]:
        assert keys.isdisjoint(others)
        assert not any(one[0].owns(key) for key in others)


@given(place=_PLACES)
def test_keys_are_in_their_order_and_in_the_manifests_directory(
    place: tuple[Partition, int, str],
) -> None:
    partition, files, extension = place
    keys = partition.keys(min(files, 999), extension)
    directory = partition.manifest_key.removesuffix("_manifest.json")
    assert keys == sorted(keys)
    assert all(key.startswith(directory) and "/" not in key[len(directory) :] for key in keys)
    assert all(partition.owns(key) for key in keys)


@pytest.mark.parametrize(
    "name",
    [
        *("_manifest.json", "movies_2026-11-20.csv", "movies_2026-11-20_1.json", "notes.json"),
        *(
            "movies_2026-11-20.json.bak",
            "sub/movies_2026-11-20.json",
            "movies_2026-11-20.json\n",
            "",
        ),
    ],
)
def test_a_partition_does_not_own_what_no_run_puts_there(name: str) -> None:
    assert not PARTITION.owns(PARTITION.directory + name)


# The layout


def test_the_layout_is_one_that_passes() -> None:
    assert check_layout(LAYOUT) == LAYOUT


@pytest.mark.parametrize(
    ("layout", "told"),
    [
        (LAYOUT.replace("{dd}", "{day}"), "unknown placeholders: day"),
        (LAYOUT.replace("{dd}", "{}"), "unknown placeholders"),
        (LAYOUT.replace("{dd}", "{dd.year}"), "unknown placeholders: dd.year"),
        (LAYOUT.replace("{part}", ""), "lacks placeholders: part"),
        (LAYOUT.replace("{dataset}", "data"), "lacks placeholders: dataset"),
        (LAYOUT.replace("/{mm}/{dd}", ""), "lacks placeholders: dd, mm"),
        (LAYOUT + "}", "is not a template"),
        (LAYOUT.replace("{folder}", "{folder"), "is not a template"),
        (f"/{LAYOUT}", "should be a relative path"),
        (f"../{LAYOUT}", "should be a relative path"),
        (LAYOUT.replace("/{yyyy}", "/./{yyyy}"), "should be a relative path"),
        (LAYOUT.replace("/{yyyy}", "//{yyyy}"), "should be a relative path"),
        (f"{LAYOUT}/", "should be a relative path"),
        ("{zone}/{part}/{folder}/{yyyy}/{mm}/{dd}/{dataset}.{extension}", "part in its name"),
        # The manifest lies in the directory: two datasets or days would share it.
        ("{zone}/{folder}_{yyyy}_{mm}_{dd}_{dataset}{part}.{extension}", "layout"),
        ("{zone}/{folder}/{yyyy}/{mm}/{dataset}_{dd}{part}.{extension}", "layout"),
    ],
)
def test_a_layout_that_could_mix_keys_up_is_refused(layout: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_layout(layout)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


# The partition's day


@pytest.mark.parametrize(
    ("planned", "zone", "day"),
    [
        ("2026-11-20T00:00:00Z", "UTC", "2026-11-20"),
        ("2026-11-20T23:59:59Z", "UTC", "2026-11-20"),
        ("2026-11-20T02:59:59Z", "America/Sao_Paulo", "2026-11-19"),
        ("2026-11-20T03:00:00Z", "America/Sao_Paulo", "2026-11-20"),
        ("2026-11-20T09:59:59Z", "Pacific/Kiritimati", "2026-11-20"),
        ("2026-11-20T10:00:00Z", "Pacific/Kiritimati", "2026-11-21"),
    ],
)
def test_the_day_is_that_of_the_planned_time_in_the_time_zone(
    planned: str, zone: str, day: str
) -> None:
    assert partition_day(datetime.fromisoformat(planned), zone).isoformat() == day


@pytest.mark.parametrize(("zone", "hours"), [("UTC", 0), ("Pacific/Kiritimati", 14)])
def test_without_a_planned_time_the_day_is_todays_in_the_time_zone(zone: str, hours: int) -> None:
    there = timezone(timedelta(hours=hours))
    before = datetime.now(there).date()
    day = partition_day(None, zone)
    assert before <= day <= datetime.now(there).date()


def test_moments_are_written_in_utc() -> None:
    planned = datetime.fromisoformat("2026-11-20T03:00:00-03:00")
    assert utc_text(planned) == "2026-11-20T06:00:00Z"
    assert utc_text(planned.replace(microsecond=5000)) == "2026-11-20T06:00:00.005000Z"


# The manifest


def _manifest(
    *, key: str | None = PLANNED, apart_s: int = 0, pages: list[Page] | None = None
) -> dict[str, Any]:
    made = datetime(2026, 11, 20, 6, tzinfo=UTC)
    later = made + timedelta(seconds=apart_s)
    both = [Page(1, 20, 7, 140, 'W/"a"', 30, made), Page(2, 1, 7, 140, None, None, later)]
    fetched = Fetched(
        params={"language": "pt-BR"},
        records=[{"id": 1, "title": "Ação"}],
        pages=pages or both,
        duplicates_dropped=20,
        errors=[{"id": 9, "error": "gone"}],
    )
    files = [(KEYS[0], File("á".encode(), 1)), (KEYS[1], File(b"", 0))]
    return rawzone.manifest(Run("run-1", key, 600), PARTITION, fetched, files, made)


def test_the_manifest_has_exactly_the_agreed_fields() -> None:
    finished_at = (document := _manifest()).pop("finished_at")
    assert datetime.fromisoformat(finished_at).utcoffset() == timedelta(0)
    assert document == {
        "dataset": "movies",
        "run_id": "run-1",
        "run_key": "2026-11-20T06:00:00Z",
        "partition_date": "2026-11-20",
        "objects": [
            {
                "key": KEYS[0],
                "bytes": 2,
                "records": 1,
                "sha256": hashlib.sha256("á".encode()).hexdigest(),
            },
            {
                "key": KEYS[1],
                "bytes": 0,
                "records": 0,
                "sha256": hashlib.sha256(b"").hexdigest(),
            },
        ],
        "source": {
            "endpoint": "/discover/movie",
            "params": {"language": "pt-BR"},
            "pages": [
                {
                    "page": 1,
                    "records": 20,
                    "total_pages": 7,
                    "total_results": 140,
                    "etag": 'W/"a"',
                    "age_s": 30,
                    "date": "2026-11-20T06:00:00Z",
                },
                {
                    "page": 2,
                    "records": 1,
                    "total_pages": 7,
                    "total_results": 140,
                    "etag": None,
                    "age_s": None,
                    "date": "2026-11-20T06:00:00Z",
                },
            ],
            "consistency": "consistent",
            "duplicates_dropped": 20,
        },
        "fields": {
            "id": {"types": ["integer"], "nulls": 0, "missing": 0},
            "title": {"types": ["string"], "nulls": 0, "missing": 0},
        },
        "errors": [{"id": 9, "error": "gone"}],
        "started_at": "2026-11-20T06:00:00Z",
        "version": __version__,
    }


@pytest.mark.parametrize(
    ("apart_s", "consistency"), [(600, "consistent"), (601, "torn"), (-601, "torn")]
)
def test_the_manifest_tells_a_torn_run(apart_s: int, consistency: str) -> None:
    assert _manifest(apart_s=apart_s)["source"]["consistency"] == consistency


def test_a_run_by_hand_has_no_run_key_and_a_page_may_have_no_date() -> None:
    document = _manifest(key=None, pages=[Page(1, 1, None, None, None, None, None)])
    assert document["run_key"] is None
    assert document["source"]["pages"][0]["date"] is None


@pytest.mark.parametrize(
    ("values", "types", "nulls", "missing"),
    [
        ([1, 2], ["integer"], 0, 0),
        ([1, 1.0], ["integer", "number"], 0, 0),
        ([1.0], ["number"], 0, 0),
        ([True, 1], ["boolean", "integer"], 0, 0),
        (["", None, None], ["string"], 2, 0),
        ([None], [], 1, 0),
        ([..., "a", ...], ["string"], 0, 2),
        ([[], {}, ...], ["array", "object"], 0, 1),
    ],
)
def test_fields_are_described_by_their_types_nulls_and_absences(
    values: list[Any], types: list[str], nulls: int, missing: int
) -> None:
    records = [
        {"id": n} | ({} if value is ... else {"field": value}) for n, value in enumerate(values)
    ]
    described = describe_fields(records)
    assert described["field"] == {"types": types, "nulls": nulls, "missing": missing}
    assert list(described) == [*("id", "field")] or values[0] is ...


def test_no_record_has_no_field() -> None:
    assert describe_fields([]) == {}


# Reading manifests back


def test_a_manifest_is_readable_utf8_and_comes_back_as_it_was() -> None:
    document = _manifest()
    body = encode_manifest(document)
    assert PARTITION.parse_manifest(body) == document
    assert body.startswith(b'{\n  "dataset": "movies",\n')
    assert "á".encode() in encode_manifest({"title": "á"})


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(body=st.none() | st.binary() | _VALUES.map(json.dumps).map(str.encode))
def test_what_is_no_manifest_is_none(body: bytes | None) -> None:
    assert PARTITION.parse_manifest(body) is None


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"a":' * 200_000, b"\xff\xfe", b"1" * 5000])
def test_what_json_itself_cannot_read_is_no_manifest(body: bytes) -> None:
    assert PARTITION.parse_manifest(body) is None


@pytest.mark.parametrize(
    "path",
    [
        ("dataset",),
        ("run_key",),
        ("objects",),
        ("source",),
        ("source", "pages"),
        ("source", "consistency"),
        ("objects", 0, "key"),
        ("objects", 0, "bytes"),
        ("objects", 0, "records"),
    ],
)
def test_a_manifest_that_lacks_what_a_rerun_needs_is_none(path: tuple[str | int, ...]) -> None:
    lacking, null = _manifest(), _manifest()
    *above, last = path
    for document in (lacking, null):
        holder: Any = document
        for step in above:
            holder = holder[step]
        if document is lacking:
            del holder[last]
        else:
            holder[last] = None
    assert PARTITION.parse_manifest(encode_manifest(lacking)) is None
    if path != ("run_key",):  # null by hand
        assert PARTITION.parse_manifest(encode_manifest(null)) is None


@pytest.mark.parametrize(
    "key",
    [
        *(7, True, ["a"], {}, "", "a.json", "../outside", PARTITION.manifest_key),
        *Partition(ZONE, SERIES, DAY).keys(1, "json"),
        *Partition(ZONE, MOVIES, date(2026, 11, 19)).keys(1, "json"),
    ],
)
def test_a_manifest_that_speaks_of_anything_but_its_own_files_is_none(key: object) -> None:
    document = _manifest()
    document["objects"][0]["key"] = key
    assert PARTITION.parse_manifest(encode_manifest(document)) is None


@pytest.mark.parametrize("name", ["bytes", "records"])
@pytest.mark.parametrize("size", ["7", True, 1.5, [1]])
def test_a_manifest_with_a_size_that_is_no_whole_number_is_none(name: str, size: object) -> None:
    document = _manifest()
    document["objects"][1][name] = size
    assert PARTITION.parse_manifest(encode_manifest(document)) is None


def test_the_manifest_of_another_dataset_is_none() -> None:
    body = encode_manifest(_manifest())
    assert Partition(ZONE, SERIES, DAY).parse_manifest(body) is None
