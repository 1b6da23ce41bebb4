"""The way to an appliance: TLS, proxies, clocks, and what is told where there is no way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blackpearl import Blackpearl
from faultproxy import Answer, DropAnswer, Rule
from ingest.errors import CredentialsRefused, IngestError, NotFound, StoreError
from ingest.storage.base import Transfer
from ingest.storage.spectra import appliance
from ingest.storage.spectra.jobs import JobOptions, Wanted
from ingest.storage.spectra.patience import Passing, Patience, Stop, retried
from ingest.storage.spectra.place import Place
from ingest.storage.spectra.store import SpectraStore
from ingest.storage.spectra.wire import Appliance, Wire
from pearls import AT_ONCE, KEY, errors, not_waiting, put, store_on, text, wire_of
from tinys3 import certify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def pearl() -> Iterator[Blackpearl]:
    with Blackpearl() as pearl:
        yield pearl


# The way


def test_an_endpoint_that_refuses_is_named_and_tried_a_short_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = not_waiting(monkeypatch)
    store = SpectraStore("bucket", Wire(Appliance("http://127.0.0.1:1", KEY)))
    with pytest.raises(StoreError, match=r"at http://127\.0\.0\.1:1: Connection refused"):
        list(store.list())
    assert len(waits) == 2
    failed = errors(put(store, [text("a")], Transfer()))
    assert "ds3://bucket/a at http://127.0.0.1:1: Connection refused" in failed["a"]


def test_an_endpoint_that_is_none_is_told() -> None:
    wire = Wire(Appliance("http://", KEY, patience=AT_ONCE))
    with pytest.raises(StoreError):
        appliance.list_buckets(wire)


def test_what_is_no_appliance_is_told(pearl: Blackpearl) -> None:
    """S-D17."""
    page = Answer(200, code="", message="<!doctype html><p>Welcome<br>")
    pearl.rules.append(Rule(page, "GET", times=None))
    with pytest.raises(StoreError, match=r"no XML: .* DS3_ENDPOINT"):
        appliance.list_buckets(wire_of(pearl))


def test_a_connection_is_kept(pearl: Blackpearl, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vendor's SDK makes one a request."""
    made: list[object] = []
    original = pearl._wire.process_request
    monkeypatch.setattr(
        pearl._wire, "process_request", lambda *each: (made.append(each), original(*each))
    )
    store = store_on(pearl)
    assert not errors(put(store, [text(f"{number}") for number in range(50)], Transfer(threads=2)))
    assert len(pearl.requests) > 50
    assert len(made) <= 4


def test_requests_go_through_a_proxy(pearl: Blackpearl) -> None:
    """With keys that a client of URLs would fold."""
    key = "a/../b//./c d"
    nowhere = Appliance("http://blackpearl.invalid:8080", KEY, pearl.endpoint, AT_ONCE)
    store = SpectraStore(pearl.new_bucket(), Wire(nowhere))
    assert not errors(put(store, [text(key)]))
    assert store.read(key) == b"content"
    assert pearl.contents(store.bucket) == {key: b"content"}
    assert {each.headers["host"] for each in pearl.requests} == {"blackpearl.invalid:8080"}


def test_a_proxy_that_refuses_is_told() -> None:
    elsewhere = Appliance("http://blackpearl.invalid", KEY, "http://127.0.0.1:1", AT_ONCE)
    with pytest.raises(StoreError, match="Connection refused"):
        appliance.list_buckets(Wire(elsewhere))


def test_a_certificate_is_trusted_where_its_authority_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = certify(tmp_path)
    waits = not_waiting(monkeypatch)
    with Blackpearl(certificate=certificate) as pearl:
        assert pearl.endpoint.startswith("https://")
        with pytest.raises(StoreError, match=r"(?i)certificate verify failed"):
            appliance.list_buckets(wire_of(pearl))
        assert not pearl.requests
        assert not waits
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
        store = store_on(pearl)
        assert not errors(put(store, [text("a")]))
        assert store.read("a") == b"content"


# Clocks and credentials


@pytest.mark.parametrize("ahead_s", [0.0, 300.0, -300.0])
def test_how_far_the_clocks_are_apart_is_known(ahead_s: float) -> None:
    with Blackpearl(clock_offset_s=ahead_s) as pearl:
        wire = wire_of(pearl)
        appliance.information(wire)
        assert wire.clock_ahead_s == pytest.approx(ahead_s, abs=60)


def test_a_clock_that_is_wrong_is_told_as_such() -> None:
    wrong = pytest.raises(CredentialsRefused, match="set this machine's clock")
    with Blackpearl(clock_offset_s=3600) as pearl, wrong:
        appliance.list_buckets(wire_of(pearl))


def test_no_secret_is_in_what_is_shown(pearl: Blackpearl) -> None:
    wire = wire_of(pearl)
    assert KEY.secret_access_key not in repr(wire.appliance)
    through = Appliance("http://h", KEY, "http://user:password@proxy")
    assert "password" not in repr(through)


# Patience


def test_what_fails_is_begun_anew_a_few_times() -> None:
    tries: list[int] = []

    def work() -> None:
        tries.append(1)
        raise Passing(NotFound("it is the last that is told", hint="hint"))

    with pytest.raises(NotFound, match="the last"):
        retried(work, AT_ONCE, Stop())
    assert len(tries) == AT_ONCE.attempts


def test_waits_and_failures_are_counted_each_for_itself() -> None:
    turns = [*(("busy",) * 10), "fails", *(("busy",) * 10), "fails", "works"]

    def work() -> str:
        turn = turns.pop(0)
        if turn != "works":
            raise Passing(StoreError(turn), is_busy=turn == "busy", after_s=0.0)
        return turn

    assert retried(work, AT_ONCE, Stop()) == "works"


def test_the_last_error_says_how_often_it_was_waited_for() -> None:
    def work() -> None:
        raise Passing(StoreError("full", hint="hint"), is_busy=True)

    with pytest.raises(StoreError, match=r"full; given up after 3 waits \(hint\)"):
        retried(work, Patience(waits=3, backoff=AT_ONCE.backoff, shortest_wait_s=0.0), Stop())


def test_once_stopped_nothing_is_begun_anew() -> None:
    stop = Stop()
    stop.set()

    def work() -> None:
        raise Passing(StoreError("full"), is_busy=True, after_s=500.0)

    with pytest.raises(StoreError, match="stopped"):
        retried(work, AT_ONCE, stop)


# The appliance as a whole


def test_buckets_are_made_listed_and_removed(pearl: Blackpearl) -> None:
    wire = wire_of(pearl)
    assert appliance.list_buckets(wire) == []
    assert appliance.make_bucket(wire, "mine")
    assert not appliance.make_bucket(wire, "mine")
    ((name, created),) = appliance.list_buckets(wire)
    assert (name, (created or "")[-1:]) == ("mine", "Z")
    appliance.remove_bucket(wire, "mine")
    assert appliance.list_buckets(wire) == []
    with pytest.raises(NotFound):
        appliance.remove_bucket(wire, "mine")


def test_a_bucket_that_is_not_empty_is_removed_by_force_alone(pearl: Blackpearl) -> None:
    """S-D26: an appliance takes ``force=False`` for force."""
    store = store_on(pearl)
    put(store, [text("a")])
    with pytest.raises(StoreError, match="BucketNotEmpty"):
        appliance.remove_bucket(store.wire, store.bucket)
    (asked,) = pearl.seen("DELETE")
    assert "force" not in asked.query
    appliance.remove_bucket(store.wire, store.bucket, force=True)
    assert appliance.list_buckets(store.wire) == []


def test_a_bucket_that_cannot_be_made_is_told(pearl: Blackpearl) -> None:
    with pytest.raises(StoreError, match="ds3://-x-"):
        appliance.make_bucket(wire_of(pearl), "-x-")


def test_an_appliance_says_what_it_is_and_how(pearl: Blackpearl) -> None:
    wire = wire_of(pearl)
    told = appliance.information(wire)
    assert (told.version, told.is_active) == ("5.4.0", True)
    assert appliance.health(wire)["DatabaseFilesystemFreeSpace"] == "NORMAL"


def test_objects_are_found_on_their_tapes(pearl: Blackpearl) -> None:
    store = store_on(pearl)
    put(store, [text("a")])
    (tape,) = appliance.tapes_of(Place(store.wire, store.bucket), ["a"])
    assert tape.bar_code
    with pytest.raises(IngestError):
        appliance.tapes_of(Place(store.wire, store.bucket), ["none"])


def test_jobs_are_listed_looked_at_and_ended(pearl: Blackpearl) -> None:
    store = store_on(pearl)
    pearl.put(store.bucket, "a", b"content")
    pieces = store.stream("a")
    pearl.rules.append(Rule(Answer(503), "GET", "job_chunk", times=None))
    with pytest.raises(StoreError):
        list(pieces)
    jobs = store.jobs
    assert jobs.all() == []
    assert jobs.find("00000000-0000-4000-8000-000000000000") is None
    with pytest.raises(NotFound):
        jobs.end("00000000-0000-4000-8000-000000000000")
    (job,) = pearl.jobs
    found = jobs.find(job.id)
    assert found
    assert (found.request_type, found.status, found.bucket) == ("GET", job.status, store.bucket)


def test_a_job_of_ones_own_is_not_taken_for_the_one_that_was_begun_unheard(
    pearl: Blackpearl,
) -> None:
    """Two readers of one object: each has a job of its own."""
    store = store_on(pearl)
    pearl.put(store.bucket, "a", b"content")
    place = Place(store.wire, store.bucket)
    first = store.jobs.begin(place, "GET", [Wanted("a")], JobOptions(), Stop())
    pearl.rules.append(Rule(DropAnswer(), "PUT", query="start_bulk_get"))
    second = store.jobs.begin(place, "GET", [Wanted("a")], JobOptions(), Stop())
    assert {first.id, second.id} == {job.id for job in pearl.jobs}
    assert len(pearl.jobs) == 2
