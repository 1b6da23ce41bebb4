"""Unfinished uploads: listed by prefix and age, and aborted."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from faultproxy import Answer as Refuse
from faultproxy import Rule
from ingest.errors import BucketNotFound
from ingest.settings import AccessKey
from ingest.storage.api import Api
from ingest.storage.uploads import (
    Target,
    abort_uploads,
    stale_uploads,
    stored_parts,
    unfinished_uploads,
)
from tinys3 import Answer, Asked, serve
from uploading import uploads_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support import S3Server
    from uploading import There


@pytest.fixture
def there(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[There]:
    with uploads_to(server, monkeypatch) as there:
        yield there


def test_are_listed_by_prefix_and_age_and_aborted(there: There) -> None:
    api = there.api()
    there.begin({}, Key="data/a")
    there.begin({1: b"x"}, Key="data/a")
    there.begin({}, Key="data/é +%")
    there.begin({}, Key="other")
    found = list(stale_uploads(api, there.bucket, "data/", -60))
    assert sorted(each.key for each in found) == ["data/a", "data/a", "data/é +%"]
    if there.server.name == "rclone":  # moto begins every upload in 2010
        assert list(stale_uploads(api, there.bucket, "", 3600)) == []
    assert [error for _, error in abort_uploads(api, there.bucket, found)] == [None] * 3
    assert [error for _, error in abort_uploads(api, there.bucket, found)] == [None] * 3
    assert [each.key for each in stale_uploads(api, there.bucket, "", -60)] == ["other"]


def test_one_that_cannot_be_aborted_is_told_and_the_rest_go_on(there: There) -> None:
    api = there.api()
    for key in ("a", "b"):
        there.begin({}, Key=key)
    there.proxy.rules.append(Rule(Refuse(403, "AccessDenied"), "DELETE", "/a"))
    found = stale_uploads(api, there.bucket, "", -60)
    errors = {each.key: error for each, error in abort_uploads(api, there.bucket, found)}
    assert "cannot abort the unfinished upload of s3://" in str(errors["a"])
    assert errors["b"] is None


def test_of_a_bucket_that_is_not_there_are_an_error(there: There) -> None:
    api = there.api(bucket="no-such-bucket")
    with pytest.raises(BucketNotFound, match="cannot list the unfinished uploads of s3://no"):
        list(stale_uploads(api, "no-such-bucket", "", 0))


@pytest.mark.parametrize("part", [None, 1])
def test_a_list_that_repeats_its_marker_ends(part: int | None) -> None:
    def answer(asked: Asked) -> Answer:
        assert len(asked_for) < 10
        asked_for.append(asked)
        end = "<IsTruncated>true</IsTruncated>"
        if "uploads" in asked.query:
            when = "<Initiated>2026-01-02T03:04:05.000Z</Initiated>"
            return Answer(body=f"<a><Upload><Key>a</Key>{when}</Upload>{end}</a>")
        one = "<PartNumber>1</PartNumber><Size>5</Size><ETag>x</ETag>"
        marker = "<NextPartNumberMarker>1</NextPartNumberMarker>"
        return Answer(body=f"<a><Part>{one}</Part>{marker}{end}</a>")

    asked_for: list[Asked] = []
    key = AccessKey("key", "secret")
    with serve(answer) as url, closing(Api(f"{url}/b", "us-east-1", lambda: key)) as api:
        if part:
            assert stored_parts(Target(api, "b", "a"), "id").keys() == {part}
        else:
            assert {each.key for each in unfinished_uploads(api, "")} == {"a"}
    assert len(asked_for) == 2
