"""The jobs of a transfer between buckets: events in, objects copied, answers out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ingest.errors import (
    CredentialsRefused,
    DeadlineExceeded,
    EventError,
    Incomplete,
)
from ingest.pacing import Deadline
from ingest.remote import copying
from ingest.remote.jobs import copy_batch, summary
from ingest.storage.base import Outcome
from stores import contents, fill, store_of
from support import settings_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.settings import Settings
    from ingest.storage.s3 import S3Store
    from support import S3Server

FILES = {f"in/{number:02}.txt": b"%d" % number for number in range(12)}
ARRIVED = {f"out/{key[3:]}": body for key, body in FILES.items()}


@pytest.fixture
def settings(s3_server: S3Server) -> Settings:
    return settings_for(**s3_server.environment("unused-lake"))


@pytest.fixture
def source(s3_server: S3Server) -> S3Store:
    store = store_of(s3_server)
    fill(store, FILES)
    return store


@pytest.fixture
def target(s3_server: S3Server) -> S3Store:
    return store_of(s3_server)


def _deadline(seconds: float = 600.0) -> Deadline:
    return Deadline(seconds)


def _event(source: S3Store, target: S3Store, **more: Any) -> dict[str, Any]:
    """A batch of all that ``source`` has, as Step Functions writes its objects."""
    items = [
        {
            "Etag": f'"{entry.etag}"',
            "Key": entry.key,
            "LastModified": int(entry.modified),
            "Size": entry.size,
            "StorageClass": "STANDARD",
        }
        for entry in source.list("in/")
    ]
    urls = {"source": f"{source.url}/in/", "target": f"{target.url}/out/"}
    return {"job": "copy-batch", **urls, "items": items, **more}


def _summary(source: S3Store, target: S3Store, **more: Any) -> dict[str, Any]:
    urls = {"source": f"{source.url}/in/", "target": f"{target.url}/out/"}
    return {"job": "summary", **urls, **more}


# copy-batch


def test_a_batch_is_copied_once(settings: Settings, source: S3Store, target: S3Store) -> None:
    event = _event(source, target)
    size = sum(map(len, FILES.values()))
    first = copy_batch(event, settings, _deadline())
    assert first == {"copied": 12, "skipped": 0, "bytes": size}
    assert contents(target) == ARRIVED
    again = copy_batch(event, settings, _deadline())
    assert again == {"copied": 0, "skipped": 12, "bytes": 0}


def test_what_differs_is_copied_over(settings: Settings, source: S3Store, target: S3Store) -> None:
    copy_batch(_event(source, target), settings, _deadline())
    fill(target, {"out/03.txt": b"?", "out/04.txt": b"longer"})
    done = copy_batch(_event(source, target), settings, _deadline())
    assert (done["copied"], done["skipped"]) == (2, 10)
    assert contents(target) == ARRIVED


def test_items_may_come_in_any_order_and_as_boto3_lists_them(
    settings: Settings, source: S3Store, target: S3Store
) -> None:
    event = _event(source, target)
    event["items"] = [
        {"Key": each["Key"], "Size": each["Size"], "ETag": each["Etag"]}
        for each in reversed(event["items"])
    ]
    assert copy_batch(event, settings, _deadline())["copied"] == 12
    assert copy_batch(event, settings, _deadline())["skipped"] == 12


def test_what_the_target_has_beside_is_left_alone(
    settings: Settings, source: S3Store, target: S3Store
) -> None:
    beside = {"out/05": b"", "out/05.txt.bak": b"x", "out/zz": b"y", "other/03.txt": b"z"}
    fill(target, beside)
    copy_batch(_event(source, target), settings, _deadline())
    assert contents(target) == {**ARRIVED, **beside}


def test_an_object_that_is_gone_is_named_and_does_not_keep_the_others(
    settings: Settings, source: S3Store, target: S3Store
) -> None:
    event = _event(source, target)
    assert next(source.delete_many(["in/07.txt"])).error is None
    with pytest.raises(Incomplete, match=r"1 of 12 objects.*out/07.txt: ") as told:
        copy_batch(event, settings, _deadline())
    assert target.url in str(told.value)
    del event["items"][7]
    assert copy_batch(event, settings, _deadline())["skipped"] == 11


def test_where_the_time_is_up_the_same_again_does_the_rest(
    settings: Settings, source: S3Store, target: S3Store
) -> None:
    event = _event(source, target)
    with pytest.raises(DeadlineExceeded, match="0 of 12 objects"):
        copy_batch(event, settings, _deadline(0))
    assert contents(target) == {}
    fill(target, dict(list(ARRIVED.items())[:5]))
    with pytest.raises(DeadlineExceeded, match="0 of 7 objects"):
        copy_batch(event, settings, _deadline(0))
    assert copy_batch(event, settings, _deadline())["copied"] == 7


def test_refused_credentials_are_told_as_such(rclone_server: S3Server) -> None:
    """By rclone, which looks at signatures."""
    source, target = store_of(rclone_server), store_of(rclone_server)
    fill(source, FILES)
    stranger = {**rclone_server.environment("unused"), "AWS_SECRET_ACCESS_KEY": "another"}
    with pytest.raises(CredentialsRefused):
        copy_batch(_event(source, target), settings_for(**stranger), _deadline())


def test_what_was_copied_is_looked_for(
    settings: Settings, source: S3Store, target: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that says yes, and keeps nothing."""

    class Pretending:
        def __init__(self, *_: object) -> None:
            pass

        def send(self, sends: Any) -> Any:
            for send in sends:
                yield Outcome(send.target, 0)

    monkeypatch.setattr(copying, "Copying", Pretending)
    with pytest.raises(Incomplete, match=r"12 of 12 objects.*it was copied, and is not there"):
        copy_batch(_event(source, target), settings, _deadline())


# summary


def test_a_summary_counts_what_is_there(
    settings: Settings, source: S3Store, target: S3Store
) -> None:
    copy_batch(_event(source, target), settings, _deadline())
    found = summary(_summary(source, target), settings, _deadline())
    assert found == {
        "source": f"{source.url}/in/",
        "target": f"{target.url}/out/",
        "objects": 12,
        "bytes": sum(map(len, FILES.values())),
        "missing": 0,
        "different": 0,
        "examples": (),
        "after": None,
        "complete": True,
    }


def test_a_summary_names_what_is_missing_and_what_differs(
    settings: Settings, source: S3Store, target: S3Store
) -> None:
    copy_batch(_event(source, target), settings, _deadline())
    fill(target, {"out/04.txt": b"longer"})
    assert next(target.delete_many(["out/07.txt"])).error is None
    with pytest.raises(Incomplete, match="2 of 12 objects") as told:
        summary(_summary(source, target), settings, _deadline())
    for part in ("1 missing", "1 different", "in/04.txt", "in/07.txt"):
        assert part in str(told.value)


def test_a_summary_goes_on_from_what_an_earlier_one_answered(
    settings: Settings, source: S3Store, target: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_batch(_event(source, target), settings, _deadline())
    monkeypatch.setattr(copying, "_COMPARED_AT_ONCE", 5)
    found: Mapping[str, Any] = {}
    seen = []
    while not found.get("complete"):
        found = summary(_summary(source, target, so_far=dict(found)), settings, _deadline(0))
        found = {**found, "examples": list(found["examples"])}  # as JSON has it
        seen.append((found["objects"], found["after"]))
        assert len(seen) <= 3
    assert seen == [(5, "in/04.txt"), (10, "in/09.txt"), (12, None)]


def test_a_source_that_is_empty_is_all_there(s3_server: S3Server, settings: Settings) -> None:
    found = summary(_summary(store_of(s3_server), store_of(s3_server)), settings, _deadline())
    assert (found["objects"], found["complete"]) == (0, True)


# Events


KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"more": 1}, "unknown field more"),
    ({"source": "in/"}, "source is 'in/'"),
    ({"source": None}, "source is None"),
    ({"target": "s3://x/"}, "target is 's3://x/'"),
    ({"target": "ds3://bucket/x/"}, "both ends"),
    ({"items": []}, "items is \\[\\]"),
    ({"items": {}}, "items is {}"),
    ({"items": ["a"]}, "items is 'a'"),
    ({"items": [{"Key": "in/a"}]}, "items' Size is None"),
    ({"items": [{"Key": "in/a", "Size": -1}]}, "items' Size is -1"),
    ({"items": [{"Key": "in/a", "Size": True}]}, "items' Size is True"),
    ({"items": [{"Key": "out/a", "Size": 1}]}, "items' Key is 'out/a'"),
    ({"items": [{"Key": "in/a", "Size": 1, "ETag": 2}]}, "items' ETag is 2"),
    ({"items": [{"Key": "in/a", "Size": 1, "LastModified": "x"}]}, "items' LastModified is 'x'"),
    ({"items": [{"Key": "in/a", "Size": 1, "Bucket": "x"}]}, "unknown field Bucket"),
]


@pytest.mark.parametrize(("wrong", "told"), WRONG)
def test_events_that_make_no_sense_are_refused(wrong: dict[str, Any], told: str) -> None:
    event = {
        "job": "copy-batch",
        "source": "s3://a-bucket/in/",
        "target": "s3://b-bucket/out/",
        "items": [{"Key": "in/a", "Size": 1}],
        **wrong,
    }
    with pytest.raises(EventError, match=told):
        copy_batch(event, settings_for(**KEYS), _deadline())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"items": []}, "unknown field items"),
        ({"so_far": "x"}, "so_far is 'x'"),
        ({"so_far": {"objects": 1}}, "so_far is "),
        ({"target": "s3://a-bucket/in/x/"}, "cannot be copied into or over itself"),
    ],
)
def test_summaries_that_make_no_sense_are_refused(wrong: dict[str, Any], told: str) -> None:
    urls = {"source": "s3://a-bucket/in/", "target": "s3://b-bucket/out/"}
    with pytest.raises(EventError, match=told):
        summary(
            {"job": "summary", **urls, **wrong},
            settings_for(**KEYS),
            _deadline(),
        )
