"""Services beside each other: what goes from one to the other, notebooks, and who knows which."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from blackpearl import Blackpearl
from ingest import Bucket
from ingest.errors import SettingsError, UsageError
from ingest.storage.services import JOB_SCHEMES, SCHEMES
from runs import files
from stores import command, command_environment, contents, store_of, write
from support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support import S3Server

FILES = {"a": b"one", "b/c": b"x" * 35, "b/d": b""}
INGEST = REPOSITORY / "ingest"


@pytest.fixture
def pearl() -> Iterator[Blackpearl]:
    with Blackpearl(blob_size=40) as pearl:
        yield pearl


# From one to the other


def test_a_directory_goes_from_one_service_to_the_other_and_back(
    pearl: Blackpearl, s3_server: S3Server, tmp_path: Path
) -> None:
    here, store = write(tmp_path / "here", FILES), store_of(s3_server)
    both = {**command_environment(s3_server), **pearl.environment()}
    tape = f"ds3://{pearl.new_bucket()}"
    back = f"ds3://{pearl.new_bucket()}"
    for start, end in ((here, tape), (tape, f"{store.url}/x"), (f"{store.url}/x/", back)):
        done = command(None, "sync", start, end, **both)
        assert (done.exit_code, "3 " in done.stderr) == (0, True), done.output
        again = command(None, "sync", start, end, **both)
        assert again.stderr == "nothing to do\n", (start, again.output)
    assert contents(store) == {f"x/{key}": content for key, content in FILES.items()}
    assert pearl.contents(back.removeprefix("ds3://")) == FILES
    assert command(None, "verify", tape, f"{store.url}/x", **both).exit_code == 0


def test_type_and_metadata_go_along(
    pearl: Blackpearl, moto_server: S3Server, tmp_path: Path
) -> None:
    here, store = write(tmp_path / "here", {"a": b"1"}), store_of(moto_server)
    both = {**command_environment(moto_server), **pearl.environment()}
    tape = f"ds3://{pearl.new_bucket()}/a"
    words = ("--metadata", "project=7", "--content-type", "text/x-mine")
    assert command(None, "upload", here / "a", tape, *words, **both).exit_code == 0
    assert command(None, "cp", tape, f"{store.url}/b", **both).exit_code == 0
    head = store.head("b")
    assert (head.content_type, head.metadata["project"]) == ("text/x-mine", "7")


def test_what_is_moved_is_deleted_where_it_was(pearl: Blackpearl, moto_server: S3Server) -> None:
    bucket, store = pearl.new_bucket(), store_of(moto_server)
    both = {**command_environment(moto_server), **pearl.environment()}
    for key, content in FILES.items():
        pearl.put(bucket, key, content)
    done = command(None, "mv", "--recursive", f"ds3://{bucket}", store.url, **both)
    assert done.exit_code == 0, done.output
    assert contents(store) == FILES
    assert pearl.contents(bucket) == {}


# Notebooks


def test_a_bucket_in_a_notebook_is_of_any_service(
    pearl: Blackpearl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in pearl.environment().items():
        monkeypatch.setenv(name, value)
    here = write(tmp_path / "here", FILES)
    bucket = Bucket.open("ds3://results", create=True)
    assert repr(bucket) == f"<Bucket ds3://results at {pearl.endpoint}>"
    bucket.sync_directory(str(here), remote="run")
    bucket.add_string("hello", "note")
    assert [entry.key for entry in bucket] == ["note", "run/a", "run/b/c", "run/b/d"]
    assert "run/a" in bucket
    bucket.copy_file("note", "copy")
    bucket.get_file("copy", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "hello"
    bucket.sync("back", "run", download=True)
    assert files(tmp_path / "back") == FILES
    assert bucket == Bucket.open("ds3://results")
    at = {"endpoint_url": pearl.endpoint, "access_key": "id", "secret_key": "secret"}
    assert bucket != Bucket.open("s3://results", **at)
    with pytest.raises(UsageError, match="no links to objects of ds3://results"):
        bucket.presign("note")
    bucket.delete()
    assert not pearl.appliance.buckets


def test_a_bucket_says_what_it_cannot_be_opened_with(pearl: Blackpearl) -> None:
    with pytest.raises(UsageError, match="endpoint_url is not for ds3://"):
        Bucket.open("ds3://results", endpoint_url=pearl.endpoint)
    with pytest.raises(SettingsError, match="DS3_ENDPOINT, DS3_ACCESS_KEY and DS3_SECRET_KEY"):
        Bucket.open("ds3://results")


# Who knows which


def test_nothing_but_the_storage_knows_whose_appliance_it_is() -> None:
    sources = [*INGEST.rglob("*.py"), REPOSITORY / "handler.py"]
    named = {
        source.relative_to(REPOSITORY).parts[:2]
        for source in sources
        if re.search("spectra|black.?pearl", source.read_text(encoding="utf-8"), re.IGNORECASE)
    }
    assert named == {("ingest", "storage")}


def test_of_the_storage_one_table_knows_it() -> None:
    rooms = [each for each in (INGEST / "storage").glob("*.py") if each.stem != "__init__"]
    named = [each.name for each in rooms if "storage.spectra" in each.read_text(encoding="utf-8")]
    assert named == ["services.py"]


def test_nobody_asks_for_one_scheme_by_its_name() -> None:
    """Only help and errors write it out, as an example."""
    quoted = re.compile(f"[\"']({'|'.join(JOB_SCHEMES)})[\"']")
    found = [
        source.relative_to(INGEST).as_posix()
        for source in INGEST.rglob("*.py")
        if quoted.search(source.read_text(encoding="utf-8"))
    ]
    assert found == ["storage/services.py"]
    assert SCHEMES == ("s3", "ds3")
