"""``download --discard``: everything is read and checked, and nothing is written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from blackpearl import Blackpearl, Corrupt
from faultproxy import DropAnswer, FaultProxy, Rule
from ingest.files.nowhere import Nowhere
from ingest.storage import receiving
from pearls import told
from stores import command, fill, lines, store_of

if TYPE_CHECKING:
    from pathlib import Path

    from support import S3Server

LARGE = 100_000
CONTENT = {"a": b"one", "dir/b": b"", "dir/c": os.urandom(LARGE)}


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to be in, in which a test leaves nothing."""
    monkeypatch.setattr(receiving, "LARGE", LARGE // 2)
    monkeypatch.setattr(receiving, "_PART", 10_000)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def test_all_of_a_directory_is_read_and_nothing_written(server: S3Server, empty: Path) -> None:
    store = store_of(server)
    fill(store, CONTENT)
    with FaultProxy(server.endpoint_url) as proxy:
        done = command(
            server, "download", store.url, "--discard", "--json", endpoint_url=proxy.endpoint_url
        )
        fetched = {each.path.rpartition(store.bucket)[2] for each in proxy.seen("GET", "/")}
    assert done.exit_code == 0, done.stderr
    *operations, summary = lines(done)
    assert {each["target"] for each in operations} == {"nowhere"}
    assert sorted(each["source"] for each in operations) == sorted(
        f"{store.url}/{key}" for key in CONTENT
    )
    assert summary["summary"]["bytes"] == sum(map(len, CONTENT.values()))
    assert {"/a", "/dir/b", "/dir/c"} <= fetched
    assert list(empty.iterdir()) == []


def test_one_object_is_read(moto_server: S3Server, empty: Path) -> None:
    store = store_of(moto_server)
    fill(store, CONTENT)
    done = command(moto_server, "download", f"{store.url}/dir/c", "--discard")
    assert (done.exit_code, done.stdout) == (0, f"download {store.url}/dir/c -> nowhere\n")
    done = command(moto_server, "download", f"{store.url}/no", "--discard")
    assert (done.exit_code, list(empty.iterdir())) == (4, [])


def test_nothing_is_read_in_a_dry_run(moto_server: S3Server) -> None:
    store = store_of(moto_server)
    fill(store, CONTENT)
    with FaultProxy(moto_server.endpoint_url) as proxy:
        done = command(
            *(moto_server, "download", store.url, "--discard", "--dry-run"),
            endpoint_url=proxy.endpoint_url,
        )
        assert not proxy.seen("GET", "/dir/c")
    assert f"would download {store.url}/dir/c -> nowhere" in done.stdout


def test_keys_that_no_file_can_have_are_read(moto_server: S3Server) -> None:
    store = store_of(moto_server)
    odd = {"a": b"file", "a/b": b"and directory", "../c": b"outside", "x" * 300: b"long"}
    fill(store, {**odd, "dir/": b"content"})
    done = command(moto_server, "download", f"{store.url}/", "--discard", "--json")
    *operations, summary = lines(done)
    assert (done.exit_code, len(operations)) == (0, 5)
    assert summary["summary"]["bytes"] == sum(map(len, odd.values())) + 7


def test_what_is_not_of_its_hash_fails(moto_server: S3Server) -> None:
    store = store_of(moto_server)
    fill(store, {"good": b"1"})
    fill(store, {"bad": b"2"}, sha256="0" * 64)
    done = command(moto_server, "download", store.url, "--discard")
    assert (done.exit_code, "/bad" in done.stderr) == (1, True)
    assert "what came has the hash" in done.stderr


def test_parts_that_break_off_are_read_again(moto_server: S3Server) -> None:
    store = store_of(moto_server)
    fill(store, CONTENT)
    with FaultProxy(moto_server.endpoint_url) as proxy:
        proxy.rules = [Rule(DropAnswer(2_000), "GET", "/dir/c", times=3)]
        done = command(
            *(moto_server, "download", f"{store.url}/dir/c", "--discard"),
            endpoint_url=proxy.endpoint_url,
        )
        assert done.exit_code == 0, done.stderr
        assert len(proxy.seen("GET", "/dir/c")) >= LARGE // 10_000 + 3


def test_nothing_of_what_failed_is_gone_on_with(
    moto_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.storage.attempts._PAUSES_S", (0.001,) * 2)
    store = store_of(moto_server)
    fill(store, CONTENT)
    made: list[Nowhere] = []
    begin = Nowhere.__init__

    def noted(self: Nowhere) -> None:
        begin(self)
        made.append(self)

    monkeypatch.setattr(Nowhere, "__init__", noted)
    with FaultProxy(moto_server.endpoint_url) as proxy:
        proxy.rules = [Rule(DropAnswer(2_000), "GET", "/dir/c", skip=4, times=None)]
        done = command(
            *(moto_server, "download", f"{store.url}/dir/c", "--discard"),
            endpoint_url=proxy.endpoint_url,
        )
    assert done.exit_code == 1
    assert made
    assert not any(nowhere._left for nowhere in made)


def test_it_takes_no_path(moto_server: S3Server, empty: Path) -> None:
    store = store_of(moto_server)
    for words in ([store.url, "there"], []):
        done = command(moto_server, "download", *words, "--discard")
        assert (done.exit_code, "writes nothing" in done.stderr) == (2, True)
    assert list(empty.iterdir()) == []


# A BlackPearl


@pytest.mark.parametrize("blob", [7, 40_000])
def test_a_tape_is_read_blob_by_blob(empty: Path, blob: int) -> None:
    with Blackpearl(blob_size=blob, chunk_blobs=2, shuffled=True) as pearl:
        bucket = pearl.new_bucket()
        held = {"a": b"one", "b": b"", "c": os.urandom(30 if blob < 100 else LARGE)}
        for key, content in held.items():
            pearl.put(bucket, key, content)
        done = told(pearl, "download", f"ds3://{bucket}", "--discard")
        assert (done.exit_code, done.stdout.count("-> nowhere")) == (0, 3), done.stderr
        assert [job.status for job in pearl.jobs] == ["COMPLETED"]
    assert list(empty.iterdir()) == []


def test_a_tape_that_has_other_bytes_is_told(empty: Path) -> None:
    with Blackpearl(blob_size=10, checksum_type="MD5") as pearl:
        bucket = pearl.new_bucket(checksum_type="MD5")
        for key in ("bad", "good"):
            pearl.put(bucket, key, b"x" * 35)
        pearl.rules.append(Rule(Corrupt(3), "GET", "/bad", "offset=10", times=None))
        done = told(pearl, "download", f"ds3://{bucket}", "--discard")
        assert (done.exit_code, done.stdout) == (
            1,
            f"download ds3://{bucket}/good -> nowhere\n",
        )
        assert "/bad" in done.stderr
        # A blob that came wrong once is read again, from its beginning.
        pearl.rules[:] = [Rule(Corrupt(3), "GET", "/bad", "offset=10")]
        done = told(pearl, "download", f"ds3://{bucket}", "--discard")
        assert done.exit_code == 0, done.stderr
    assert list(empty.iterdir()) == []


# What the stores see


def test_a_file_goes_on_until_it_is_ended() -> None:
    nowhere = Nowhere()
    one = nowhere.open("a", 25, part_size=10, identity=None)
    assert [part.size for part in one.parts] == [10, 10, 5]
    one.write_part(one.parts[1], [b"x" * 10])
    one.close()
    two = nowhere.open("a", 25, part_size=10, identity=None)
    assert [part.number for part in two.missing] == [0, 2]
    for part in two.missing:
        two.write_part(part, [b"x" * part.size])
    assert two.commit()
    again = nowhere.open("a", 25, part_size=10, identity=None)
    assert again.missing == again.parts
    again.write_part(again.parts[0], [b"x" * 10])
    again.discard()
    assert len(nowhere.open("a", 25, part_size=10, identity=None).missing) == 3
