"""Listings of the Spectra store: their order, their pages, and when they end in an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blackpearl import Blackpearl
from faultproxy import Answer, Rule, Truncate
from ingest.errors import BucketNotFound, CredentialsRefused, StoreError
from ingest.settings import AccessKey
from ingest.storage.base import Entry, Prefix
from ingest.storage.spectra.store import SpectraStore
from ingest.storage.spectra.wire import Appliance, Wire
from pearls import AT_ONCE, store_on, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@pytest.fixture
def pearl() -> Iterator[Blackpearl]:
    with Blackpearl() as pearl:
        yield pearl


def fill(pearl: Blackpearl, keys: Iterable[str]) -> SpectraStore:
    store = store_on(pearl)
    for key in keys:
        pearl.put(store.bucket, key, b"content")
    return store


ODD = [
    "a b",
    "a-b",
    "a.b",
    "a/b",
    "a0",
    "B",
    "\ue000",
    "\U0001f600",
    "é",
    "z",
    "a//b",
    "a\nb",
    "../a",
]


def test_a_list_is_in_the_order_of_the_keys_bytes_and_exact(pearl: Blackpearl) -> None:
    store = fill(pearl, reversed(ODD))
    assert [entry.key for entry in store.list()] == sorted(ODD, key=str.encode)


def test_a_list_has_every_page(pearl: Blackpearl) -> None:
    """S-D25: the vendor's samples show the first thousand."""
    keys = [f"{number:04}" for number in range(2500)]
    store = fill(pearl, keys)
    assert [entry.key for entry in store.list()] == keys
    asked = pearl.seen("GET", f"/{store.bucket}")
    assert [each.query for each in asked] == [
        "max_keys=1000",
        "marker=0999&max_keys=1000",
        "marker=1999&max_keys=1000",
    ]


def test_a_list_goes_on_after_a_key(pearl: Blackpearl) -> None:
    store = fill(pearl, ["a/1", "a/2", "a/3", "b"])
    assert [entry.key for entry in store.list("a/", "a/1")] == ["a/2", "a/3"]
    assert [entry.key for entry in store.list(after="a/25")] == ["a/3", "b"]
    assert list(store.list("a/", "a/3")) == []


def test_a_list_of_nothing_is_empty(pearl: Blackpearl) -> None:
    assert list(store_on(pearl).list()) == []
    assert list(fill(pearl, ["a"]).list("none/")) == []


def test_a_prefix_lists_what_begins_with_it_and_nothing_else(pearl: Blackpearl) -> None:
    store = fill(pearl, ["data/a", "data/b/c", "database/d", "dat", "other"])
    assert [entry.key for entry in store.list("data/")] == ["data/a", "data/b/c"]
    assert [entry.key for entry in store.list("a b&c/")] == []


def test_a_directory_lists_one_level(pearl: Blackpearl) -> None:
    store = fill(pearl, ["a", "b/c", "b/d/e", "b/d/f", "b2/g"])
    assert list(store.list_directory()) == [
        *(entry for entry in store.list() if entry.key == "a"),
        Prefix("b/"),
        Prefix("b2/"),
    ]
    assert [type(item) for item in store.list_directory("b/")][1:] == [Prefix]
    assert store.names("b/") == {"b/c"}


def test_a_directory_of_many_lists_every_page(pearl: Blackpearl) -> None:
    keys = [f"{number:04}/{below}" for number in range(1100) for below in "ab"]
    found = [item.key for item in fill(pearl, keys).list_directory()]
    assert found == [f"{number:04}/" for number in range(1100)]


def test_an_entry_says_what_is_known(pearl: Blackpearl) -> None:
    store = fill(pearl, ["a"])
    (entry,) = store.list()
    assert isinstance(entry, Entry)
    assert (entry.size, entry.etag) == (7, "9a0364b9e99bb480dd25e1f0284c8555")
    assert entry.modified == pytest.approx(store.head("a").modified)


def test_all_versions_are_listed_the_newest_first() -> None:
    with Blackpearl(versioning="KEEP_MULTIPLE_VERSIONS") as pearl:
        store = store_on(pearl)
        for content in (b"1", b"22", b"333"):
            pearl.put(store.bucket, "a", content)
            pearl.put(store.bucket, "b/c", content)
        assert [(e.key, e.size, e.is_latest) for e in store.list_versions()] == [
            *(("a", size, size == 3) for size in (3, 2, 1)),
            *(("b/c", size, size == 3) for size in (3, 2, 1)),
        ]
        assert [entry.size for entry in store.list()] == [3, 3]
        (old,) = [each for each in store.list_versions("b/") if each.size == 2]
        assert b"".join(store.stream("b/c", version_id=old.version_id)) == b"22"
        assert store.head("b/c", old.version_id).size == 2


def test_the_latest_alone_are_asked_for(pearl: Blackpearl) -> None:
    """S-D26: ``versions=False`` asks for versions, as its presence counts."""
    store = fill(pearl, ["a"])
    list(store.list())
    list(store.list_versions())
    without, with_versions = pearl.seen("GET", f"/{store.bucket}")
    assert "versions" not in without.query
    assert with_versions.query == "max_keys=1000&versions"


@pytest.mark.parametrize(
    "name", ["IsLatest", "VersionId", "ETag", "Owner", "NextMarker", "MaxKeys"]
)
def test_what_an_older_appliance_leaves_out_is_not_needed(name: str) -> None:
    """S-D16."""
    with Blackpearl(omit=frozenset({name})) as pearl:
        store = fill(pearl, [f"{number:04}" for number in range(1500)])
        assert len(list(store.list())) == 1500


FOLDED = "<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>"


def listing(
    *keys: str, truncated: str = "false", more: str = "", date: str = "2026-11-20T05:16:34.000Z"
) -> Answer:
    rows = "".join(
        f"<Contents><Key>{key}</Key><Size>1</Size><LastModified>{date}</LastModified></Contents>"
        for key in keys
    )
    told = f"<IsTruncated>{truncated}</IsTruncated>" if truncated else ""
    return Answer(200, code="", message=f"<ListBucketResult>{rows}{told}{more}</ListBucketResult>")


def test_an_object_that_is_still_on_its_way_is_none(pearl: Blackpearl) -> None:
    """Its time is missing: it would be taken for one that need not be sent again."""
    store = store_on(pearl)
    pearl.rules.append(Rule(listing("a", date=""), "GET", f"/{store.bucket}"))
    assert list(store.list()) == []


def test_an_older_version_is_none(pearl: Blackpearl) -> None:
    store = store_on(pearl)
    row = (
        "<Contents><Key>b</Key><Size>1</Size><IsLatest>false</IsLatest>"
        "<LastModified>2026-11-20T05:16:34Z</LastModified></Contents>"
    )
    pearl.rules.append(Rule(listing("a", more=row), "GET", f"/{store.bucket}"))
    assert [entry.key for entry in store.list()] == ["a"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (listing("b", "a"), "not in order"),
        (listing("a", "a"), "not in order"),
        (listing("\U0001f600", "\ufffd"), "not in order"),
        (listing("a", truncated=""), "whether there is more"),
        (listing("a", truncated="maybe"), "whether there is more"),
        (listing(truncated="true"), "not how to come to it"),
        (listing("q", more=FOLDED), "not asked for"),
        (listing(*(f"{number:04}" for number in range(1001))), "1,001 names"),
        (Answer(200, code="", message="<html/>"), "no listing, but <html>"),
        (Answer(200, code="", message="nothing at all"), "no XML"),
        (
            Answer(200, code="", message="<ListBucketResult><Contents><Key>a</Key></Contents>"
            "<IsTruncated>false</IsTruncated></ListBucketResult>"),
            "has '' bytes",
        ),
    ],
)  # fmt: skip
def test_a_page_that_is_not_as_it_should_be_ends_in_an_error(
    pearl: Blackpearl, answer: Answer, reason: str
) -> None:
    store = store_on(pearl)
    pearl.rules.append(Rule(answer, "GET", f"/{store.bucket}", times=None))
    with pytest.raises(StoreError, match=reason) as told:
        list(store.list())
    assert f"ds3://{store.bucket}/" in str(told.value)
    assert pearl.endpoint in str(told.value)


def test_a_key_outside_of_the_prefix_ends_in_an_error(pearl: Blackpearl) -> None:
    store = store_on(pearl)
    pearl.rules.append(Rule(listing("other/a"), "GET", f"/{store.bucket}"))
    with pytest.raises(StoreError, match="outside of the prefix"):
        list(store.list("data/"))


@pytest.mark.parametrize(
    "second",
    [listing("0999", "1000"), listing("0500"), listing("0999", truncated="true")],
    ids=["the last one again", "before it", "the same for ever"],
)
def test_a_page_that_goes_back_ends_in_an_error(pearl: Blackpearl, second: Answer) -> None:
    store = fill(pearl, [f"{number:04}" for number in range(1500)])
    pearl.rules.append(Rule(second, "GET", f"/{store.bucket}", "marker", times=None))
    with pytest.raises(StoreError, match="not in order"):
        list(store.list())


def test_pages_without_end_end_in_an_error(pearl: Blackpearl) -> None:
    store = store_on(pearl)
    numbers = iter(range(10**6))

    class Endless(str):
        __slots__ = ()

        def encode(self, *_: str) -> bytes:
            marker = f"<NextMarker>{next(numbers):09}</NextMarker><IsTruncated>true</IsTruncated>"
            return f"<ListBucketResult>{marker}</ListBucketResult>".encode()

    answer = Answer(200, code="", message=Endless())
    pearl.rules.append(Rule(answer, "GET", f"/{store.bucket}", times=None))
    with pytest.raises(StoreError, match="100 pages without a new key"):
        list(store.list())


def test_a_page_that_is_cut_short_is_asked_for_again(pearl: Blackpearl) -> None:
    store = fill(pearl, ["a", "b"])
    pearl.rules.append(Rule(Truncate(100, relabel=True), "GET", f"/{store.bucket}"))
    assert [entry.key for entry in store.list()] == ["a", "b"]


def test_a_busy_appliance_is_asked_again(pearl: Blackpearl) -> None:
    store = fill(pearl, ["a"])
    pearl.rules.append(Rule(Answer(503), "GET", f"/{store.bucket}", times=2))
    assert [entry.key for entry in store.list()] == ["a"]


def test_a_bucket_that_does_not_exist_is_named(pearl: Blackpearl) -> None:
    with pytest.raises(BucketNotFound, match="ds3://none-such/"):
        list(store_on(pearl, "none-such").list())


def test_refused_credentials_are_told_as_such(pearl: Blackpearl) -> None:
    wire = Wire(Appliance(pearl.endpoint, AccessKey("other", "secret-of-mine"), patience=AT_ONCE))
    with pytest.raises(CredentialsRefused) as told:
        list(SpectraStore(pearl.new_bucket(), wire).list())
    assert "secret-of-mine" not in str(told.value)


# Deletes


def test_many_are_deleted_by_the_thousand(pearl: Blackpearl) -> None:
    keys = [f"{number:04}" for number in range(2100)]
    store = fill(pearl, [*keys, "stays"])
    outcomes = list(store.delete_many([*keys, "none"]))
    assert [outcome.key for outcome in outcomes] == [*keys, "none"]
    assert not [outcome.error for outcome in outcomes if outcome.error]
    assert pearl.contents(store.bucket).keys() == {"stays"}
    assert len(pearl.seen("POST", f"/{store.bucket}", "delete")) == 3


def test_odd_keys_are_deleted_among_others(pearl: Blackpearl) -> None:
    store = fill(pearl, [*ODD, "stays"])
    assert not [each.error for each in store.delete_many([*ODD, "a\x01b"]) if each.error]
    assert pearl.contents(store.bucket).keys() == {"stays"}


def test_a_delete_tells_what_the_appliance_refused(pearl: Blackpearl) -> None:
    store = fill(pearl, ["a", "b"])
    said = "<Error><Code>AccessDenied</Code><Key>a</Key><Message>WORM</Message></Error>"
    answer = Answer(200, code="", message=f"<DeleteResult>{said}</DeleteResult>")
    pearl.rules.append(Rule(answer, "POST"))
    failed = {each.key: str(each.error) for each in store.delete_many("ab") if each.error}
    assert failed.keys() == {"a"}
    assert "WORM" in failed["a"]
    assert f"ds3://{store.bucket}/a" in failed["a"]


def test_a_delete_that_is_refused_is_told_of_each(pearl: Blackpearl) -> None:
    store = fill(pearl, ["a", "b"])
    pearl.rules.append(Rule(Answer(403, "AccessDenied", "no"), "POST"))
    pearl.rules.append(Rule(Answer(403, "AccessDenied", "no"), "DELETE"))
    outcomes = list(store.delete_many(["a", "b", "a\x01b"]))
    assert len(outcomes) == 3
    for outcome in outcomes:
        assert isinstance(outcome.error, CredentialsRefused)
        assert f"ds3://{store.bucket}/{outcome.key}" in str(outcome.error)


def test_a_folder_is_deleted_by_one_request(pearl: Blackpearl) -> None:
    store = fill(pearl, ["folder/a", "folder/folder2/b", "folder2/c", "folder"])
    assert store.delete_below("folder/folder2/")
    assert pearl.contents(store.bucket).keys() == {"folder/a", "folder2/c", "folder"}
    assert store.delete_below("folder/")
    assert store.delete_below("none/") is False
    assert pearl.contents(store.bucket).keys() == {"folder2/c", "folder"}


def test_a_folder_is_not_deleted_where_that_would_be_more_than_its_objects(
    pearl: Blackpearl,
) -> None:
    store = store_on(pearl, pearl.new_bucket(versioning="KEEP_MULTIPLE_VERSIONS"))
    pearl.put(store.bucket, "folder/a", b"1")
    assert store.delete_below("folder/") is None
    other = fill(pearl, ["a//b", "a/./b", "a/../b"])
    for folder in ("a//", "a/./", "a/../", "/", "../"):
        assert other.delete_below(folder) is None
    assert not pearl.seen("DELETE")


def test_deleting_nothing_asks_nothing(pearl: Blackpearl) -> None:
    """S-D15: an empty list is refused."""
    store = store_on(pearl)
    assert list(store.delete_many([])) == []
    assert not pearl.requests


def test_what_is_sent_is_listed(pearl: Blackpearl) -> None:
    store = store_on(pearl)
    list(store.put_many(map(text, ODD)))
    assert [entry.key for entry in store.list()] == sorted(ODD, key=str.encode)
