"""The commands on ``ds3://``: each does there what it does on ``s3://``."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import pytest

from blackpearl import Blackpearl
from pearls import told
from runs import files
from stores import lines, placed, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = {"a.txt": b"one", "dir/b.csv": b"two,2", "dir/c": b"", " é+%20'\"": b"x" * 35}


@pytest.fixture
def pearl() -> Iterator[Blackpearl]:
    with Blackpearl(blob_size=10, chunk_blobs=2, shuffled=True) as pearl:
        yield pearl


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return write(tmp_path / "here", FILES)


def filled(pearl: Blackpearl, *keys: str, **policy: str) -> str:
    """Return the URL of a new bucket in which somebody else has put objects of these keys."""
    bucket = pearl.new_bucket(**policy)
    for key in keys:
        pearl.put(bucket, key, key.encode())
    return f"ds3://{bucket}"


def held(pearl: Blackpearl, url: str) -> set[str]:
    return set(pearl.contents(url.removeprefix("ds3://")))


# Content


@pytest.mark.parametrize("end", ["", "/"])
def test_a_directory_goes_up_and_comes_down(
    pearl: Blackpearl, here: Path, tmp_path: Path, end: str
) -> None:
    bucket = pearl.new_bucket()
    up = told(pearl, "upload", f"{here}{end}", f"ds3://{bucket}/to{end}")
    assert up.exit_code == 0, up.stderr
    assert pearl.contents(bucket) == placed("to/", FILES)
    assert f"upload {here}/a.txt -> ds3://{bucket}/to/a.txt" in up.stdout.splitlines()
    assert "4 uploaded" in up.stderr
    down = told(pearl, "download", f"ds3://{bucket}/to{end}", tmp_path / "made")
    assert down.exit_code == 0, down.stderr
    assert files(tmp_path / "made") == FILES


def test_one_file_goes_up_and_comes_down_under_another_name(
    pearl: Blackpearl, here: Path, tmp_path: Path
) -> None:
    bucket = pearl.new_bucket()
    assert told(pearl, "cp", here / "a.txt", f"ds3://{bucket}/x/other").exit_code == 0
    assert told(pearl, "upload", here / "dir/c", f"ds3://{bucket}/x/").exit_code == 0
    assert pearl.contents(bucket) == {"x/other": b"one", "x/c": b""}
    assert told(pearl, "cp", f"ds3://{bucket}/x/other", tmp_path / "back").exit_code == 0
    assert (tmp_path / "back").read_bytes() == b"one"


@pytest.mark.parametrize("mode", ["size-mtime", "size", "checksum"])
def test_a_second_sync_has_nothing_to_do_in_either_direction(
    pearl: Blackpearl, here: Path, tmp_path: Path, mode: str
) -> None:
    bucket = pearl.new_bucket()
    url, back = f"ds3://{bucket}/to", tmp_path / "back"
    for start, end in ((here, url), (url, back)):
        assert told(pearl, "sync", start, end, "--compare", mode).exit_code == 0
        jobs = len(pearl.jobs)
        again = told(pearl, "sync", start, end, "--compare", mode)
        assert (again.stdout, again.stderr) == ("", "nothing to do\n")
        assert len(pearl.jobs) == jobs
    assert files(back) == FILES


def test_a_sync_sends_what_differs_and_deletes_what_is_to_be_deleted(
    pearl: Blackpearl, here: Path
) -> None:
    url = filled(pearl, "to/a.txt", "to/gone", "other")
    assert told(pearl, "sync", here, f"{url}/to", "--delete").exit_code == 0
    bucket = url.removeprefix("ds3://")
    assert pearl.contents(bucket) == {**placed("to/", FILES), "other": b"other"}


def test_what_has_another_name_is_sent_and_not_fetched_from_tape(
    pearl: Blackpearl, here: Path
) -> None:
    """An appliance copies nothing by itself: a copy would read the tape to write it again."""
    bucket = pearl.new_bucket()
    assert told(pearl, "sync", here, f"ds3://{bucket}").exit_code == 0
    (here / "dir/b.csv").rename(here / "renamed")
    again = told(pearl, "sync", here, f"ds3://{bucket}", "--delete")
    assert f"upload {here}/renamed" in again.stdout
    assert [job.kind for job in pearl.jobs] == ["PUT", "PUT"]


def test_directories_without_a_file_go_along_when_asked(pearl: Blackpearl, tmp_path: Path) -> None:
    (tmp_path / "here/empty").mkdir(parents=True)
    bucket, back = pearl.new_bucket(), tmp_path / "back"
    assert told(pearl, "upload", "here", f"ds3://{bucket}", "--empty-dirs").exit_code == 0
    assert pearl.contents(bucket) == {"empty/": b""}
    assert told(pearl, "download", f"ds3://{bucket}", back, "--empty-dirs").exit_code == 0
    assert (back / "empty").is_dir()


def test_copies_and_moves_within_the_appliance_have_other_names(pearl: Blackpearl) -> None:
    url = filled(pearl, "a/x", "a/y")
    assert told(pearl, "cp", f"{url}/a/x", f"{url}/copy").exit_code == 0
    assert told(pearl, "mv", "--recursive", f"{url}/a", f"{url}/b").exit_code == 0
    bucket = url.removeprefix("ds3://")
    assert pearl.contents(bucket) == {"copy": b"a/x", "b/x": b"a/x", "b/y": b"a/y"}
    itself = told(pearl, "cp", f"{url}/copy", f"{url}/copy")
    assert itself.exit_code == 2
    assert "over itself" in itself.stderr


def test_an_object_is_written_to_stdout_whole_or_in_part(pearl: Blackpearl) -> None:
    bucket = pearl.new_bucket()
    pearl.put(bucket, "a", bytes(range(48, 91)))
    for words, shown in (
        ((), range(48, 91)),
        (("--offset", "8", "--length", "5"), range(56, 61)),
        (("--offset", "40"), range(88, 91)),
        (("--length", "1"), range(48, 49)),
        (("--offset", "99"), ()),
        (("--length", "0"), ()),
    ):
        assert told(pearl, "cat", f"ds3://{bucket}/a", *words).stdout_bytes == bytes(shown)


def test_type_and_metadata_come_along(pearl: Blackpearl, here: Path) -> None:
    bucket = pearl.new_bucket()
    words = ("--metadata", "Project=7", "--content-type", "text/x-mine")
    assert told(pearl, "upload", here / "a.txt", f"ds3://{bucket}/a", *words).exit_code == 0
    assert told(pearl, "cp", f"ds3://{bucket}/a", f"ds3://{bucket}/b").exit_code == 0
    for key in "ab":
        found = pearl.metadata(bucket, key)
        assert found["project"] == "7"
        assert "text/x-mine" in found.values()


def test_a_job_has_the_name_and_the_priority_that_are_asked_for(
    pearl: Blackpearl, here: Path
) -> None:
    words = ("--job-name", "nightly run", "--priority", "high")
    assert told(pearl, "upload", here, f"ds3://{pearl.new_bucket()}", *words).exit_code == 0
    (job,) = pearl.jobs
    assert (job.name, job.priority) == ("nightly run", "HIGH")


def test_a_job_has_as_many_objects_as_are_set(pearl: Blackpearl, here: Path) -> None:
    bucket = pearl.new_bucket()
    assert told(pearl, "upload", here, f"ds3://{bucket}", DS3_JOB_OBJECTS="3").exit_code == 0
    assert [len({each.version.key for each in job.entries}) for job in pearl.jobs] == [3, 1]


# Looking


def test_ls_shows_one_level_or_all(pearl: Blackpearl) -> None:
    url = filled(pearl, "a/x", "a/b/y", "ab")
    shown = told(pearl, "ls", f"{url}/a").stdout.splitlines()
    assert [line.split()[-1] for line in shown] == ["a/b/", "a/x"]
    told_all = told(pearl, "ls", "--recursive", "--json", url).stdout.splitlines()
    assert [json.loads(line)["url"] for line in told_all] == [
        f"{url}/{key}" for key in ("a/b/y", "a/x", "ab")
    ]


def test_ls_shows_every_version_and_cat_reads_one(pearl: Blackpearl) -> None:
    bucket = pearl.new_bucket(versioning="KEEP_MULTIPLE_VERSIONS")
    for content in (b"old", b"new!"):
        pearl.put(bucket, "a", content)
    pearl.put(bucket, "ab", b"")
    told_all = told(pearl, "ls", "--versions", "--json", f"ds3://{bucket}/a")
    found = [json.loads(line) for line in told_all.stdout.splitlines()]
    assert [(each["size"], each["latest"]) for each in found] == [(4, True), (3, False)]
    words = ("cat", f"ds3://{bucket}/a", "--version-id", found[1]["version_id"])
    assert told(pearl, *words).stdout == "old"
    shown = told(pearl, "ls", "--versions", f"ds3://{bucket}").stdout.splitlines()
    assert [line.split()[-2:] for line in shown] == [
        ["latest", "a"],
        ["older", "a"],
        ["latest", "ab"],
    ]


@pytest.mark.parametrize("words", [("buckets", "ds3://"), ("ls", "ds3://")])
def test_buckets_are_those_of_the_service_that_is_named(
    pearl: Blackpearl, words: tuple[str, str]
) -> None:
    names = [pearl.new_bucket(), pearl.new_bucket()]
    shown = told(pearl, *words).stdout.splitlines()
    assert [line.split()[1] for line in shown] == names
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shown[0].split()[0])
    found = [json.loads(line) for line in told(pearl, *words, "--json").stdout.splitlines()]
    assert [each["name"] for each in found] == names


def test_buckets_are_made_and_removed(pearl: Blackpearl) -> None:
    assert told(pearl, "mb", "ds3://results").stdout == "make ds3://results\n"
    assert (
        "skipped: ds3://results (it is yours already)" in told(pearl, "mb", "ds3://results").stdout
    )
    pearl.put("results", "a/b", b"1")
    full = told(pearl, "rb", "ds3://results")
    assert full.exit_code == 1
    assert "rb --force removes all that is in it" in full.stderr
    assert told(pearl, "rb", "--force", "ds3://results").exit_code == 0
    assert told(pearl, "rb", "ds3://results").exit_code == 4


def test_tapes_are_told(pearl: Blackpearl) -> None:
    url = filled(pearl, "a/x", "b")
    assert told(pearl, "tapes", f"{url}/a/").stdout.split() == ["TEST00L6", "LTO6", "NORMAL"]
    (line,) = told(pearl, "tapes", url, "--json").stdout.splitlines()
    assert json.loads(line) == {
        "type": "tape",
        "label": "TEST00L6",
        "kind": "LTO6",
        "state": "NORMAL",
    }
    for nothing in ("none", "a/", "b/"):
        words = ("tapes", f"{filled(pearl, 'a2', 'b2')}/{nothing}")
        assert told(pearl, *words).stdout == ""
    assert told(pearl, "tapes", f"{filled(pearl, 'a2')}/a").stdout == ""


@pytest.mark.parametrize("kind", ["MD5", "CRC_32C"])
def test_verify_compares_objects_of_one_blob_and_of_many(
    pearl: Blackpearl, tmp_path: Path, kind: str
) -> None:
    here = write(tmp_path / "here", {"one": b"1", "many": b"x" * 35, "other": b"y" * 35})
    bucket = pearl.new_bucket(kind)
    assert told(pearl, "upload", here, f"ds3://{bucket}").exit_code == 0
    same = told(pearl, "verify", here, f"ds3://{bucket}")
    assert (same.exit_code, same.stderr.split(";")[0]) == (0, "3 verified")
    (here / "other").write_bytes(b"z" * 35)
    (here / "one").write_bytes(b"2")
    differ = told(pearl, "verify", here, f"ds3://{bucket}")
    assert differ.exit_code == 1
    assert differ.stderr.count("the contents differ") == 2


@pytest.mark.parametrize("kind", ["MD5", "CRC_32", "SHA_256"])
def test_verify_compares_two_buckets_by_the_checksums_of_their_blobs(
    pearl: Blackpearl, here: Path, kind: str
) -> None:
    one, other = (pearl.new_bucket(checksum_type=kind) for _ in range(2))
    for bucket in (one, other):
        assert told(pearl, "upload", here, f"ds3://{bucket}").exit_code == 0
    same = told(pearl, "verify", f"ds3://{one}", f"ds3://{other}")
    assert (same.exit_code, same.stderr.startswith("4 verified")) == (0, True), same.stderr
    assert told(pearl, "rm", f"ds3://{other}/ é+%20'\"").exit_code == 0
    pearl.put(other, " é+%20'\"", b"x" * 34 + b"y")
    differ = told(pearl, "verify", f"ds3://{one}", f"ds3://{other}")
    assert (differ.exit_code, differ.stderr.count("the contents differ")) == (1, 1)


def test_blobs_of_other_checksums_or_sizes_cannot_be_compared(
    pearl: Blackpearl, here: Path
) -> None:
    one, other = pearl.new_bucket(checksum_type="MD5"), pearl.new_bucket(checksum_type="CRC_32")
    for bucket in (one, other):
        assert told(pearl, "upload", here, f"ds3://{bucket}").exit_code == 0
    unlike = told(pearl, "verify", f"ds3://{one}", f"ds3://{other}")
    assert (unlike.exit_code, unlike.stdout.count("no hash to compare")) == (0, 1)


# Deleting


def test_rm_deletes_one_object(pearl: Blackpearl) -> None:
    url = filled(pearl, "a", "a/b")
    assert told(pearl, "rm", f"{url}/a").stdout == f"delete {url}/a\n"
    assert held(pearl, url) == {"a/b"}
    gone = told(pearl, "rm", f"{url}/a")
    assert gone.exit_code == 4
    assert "for a directory: --recursive" in gone.stderr


def test_rm_recursive_deletes_a_directory_by_one_request(pearl: Blackpearl) -> None:
    url = filled(pearl, *(f"a/{number}" for number in range(30)), "ab/c")
    done = told(pearl, "rm", "--recursive", f"{url}/a")
    assert done.stdout == f"delete {url}/a/ (and all below it)\n"
    assert held(pearl, url) == {"ab/c"}
    assert [each.method for each in pearl.requests if each.method != "GET"] == ["DELETE"]
    again = told(pearl, "rm", "--recursive", f"{url}/a")
    assert (again.exit_code, again.stderr) == (0, "nothing to do\n")


@pytest.mark.parametrize(
    ("words", "stays"),
    [
        (("a", "--exclude", "*.csv"), {"a/x.csv", "b"}),
        (("a", "--dry-run"), {"a/x.csv", "a/y", "b"}),
        ((".",), {"a/x.csv", "a/y", "b"}),
        (("",), set()),
    ],
)
def test_rm_recursive_takes_no_more_than_is_asked_for(
    pearl: Blackpearl, words: tuple[str, ...], stays: set[str]
) -> None:
    url = filled(pearl, "a/x.csv", "a/y", "b")
    prefix, *options = words
    assert told(pearl, "rm", "--recursive", f"{url}/{prefix}", *options).exit_code == 0
    assert held(pearl, url) == stays
    assert not pearl.seen("DELETE", "/_rest_/folder")


def test_rm_recursive_leaves_old_versions_where_these_are_kept(pearl: Blackpearl) -> None:
    """The request that deletes a directory would take them along."""
    url = filled(pearl, "a/x", versioning="KEEP_MULTIPLE_VERSIONS")
    assert told(pearl, "rm", "--recursive", f"{url}/a").exit_code == 0
    assert "a/x" not in told(pearl, "ls", "--recursive", url).stdout
    assert "older" in told(pearl, "ls", "--versions", url).stdout


# How it is shown


def test_json_has_one_object_a_line_and_a_summary_last(pearl: Blackpearl, here: Path) -> None:
    url = f"ds3://{pearl.new_bucket()}"
    *done, last = lines(told(pearl, "upload", here, url, "--json"))
    assert {each["target"] for each in done} == {f"{url}/{key}" for key in FILES}
    assert {(each["operation"], each["status"]) for each in done} == {("upload", "done")}
    assert last["summary"]["operations"] == {"upload": 4}
    assert last["summary"]["bytes"] == sum(map(len, FILES.values()))


@pytest.mark.parametrize(
    ("verb", "reason"), [("upload", ""), ("sync", " (new)"), ("mv --recursive", "")]
)
def test_a_dry_run_touches_nothing(pearl: Blackpearl, here: Path, verb: str, reason: str) -> None:
    bucket = pearl.new_bucket()
    shown = told(pearl, *verb.split(), here, f"ds3://{bucket}", "--dry-run")
    assert shown.exit_code == 0
    line = f"would upload {here}/a.txt -> ds3://{bucket}/a.txt{reason}"
    assert line in shown.stdout.splitlines()
    assert not [each for each in pearl.requests if each.method not in {"GET", "HEAD"}]
    assert files(here) == FILES


def test_what_is_there_stays_when_asked(pearl: Blackpearl, here: Path) -> None:
    url = filled(pearl, "a.txt")
    done = told(pearl, "upload", here, url, "--no-overwrite")
    assert (done.exit_code, "1 skipped" in done.stderr) == (0, True)
    assert pearl.contents(url.removeprefix("ds3://"))["a.txt"] == b"a.txt"


# Names


def test_no_key_leads_outside_and_the_rest_is_downloaded(pearl: Blackpearl, tmp_path: Path) -> None:
    """S-D02, S-D14, S-D21."""
    url = filled(pearl, "../evil", "/etc/x", "ok", "f", "f/g", "link/in", "a//b", "x/../y", "n\nl")
    outside, there = tmp_path / "outside", tmp_path / "there"
    outside.mkdir()
    there.mkdir()
    (there / "link").symlink_to(outside)
    done = told(pearl, "download", url, there)
    assert done.exit_code == 1
    assert done.stderr.count("failed: ") == 6
    assert files(there) == {"ok": b"ok", "f": b"f", "n\nl": b"n\nl"}
    assert not list(outside.iterdir())
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "key", ["..", "../x", ".", "a//b", "a/../b", " ", "a b+%2F?#", "é☃", "C:\\w"]
)
def test_an_odd_key_is_read_and_deleted_exactly(pearl: Blackpearl, key: str) -> None:
    url = filled(pearl, key, "other")
    assert told(pearl, "cat", f"{url}/{key}").stdout == key
    assert told(pearl, "rm", f"{url}/{key}").exit_code == 0
    assert held(pearl, url) == {"other"}


def test_odd_names_of_files_go_up_and_come_down(pearl: Blackpearl, tmp_path: Path) -> None:
    names = ("a b", "+&=?#%", "'\"<>&amp;", "é☃", "~", " ", "n\nl", "t\t")
    here = write(tmp_path / "here", dict.fromkeys((*names, "bell\a"), b"1"))
    bucket = pearl.new_bucket()
    up = told(pearl, "upload", here, f"ds3://{bucket}")
    assert up.exit_code == 1
    assert "the protocol cannot carry this key" in up.stderr
    assert pearl.contents(bucket) == dict.fromkeys(names, b"1")
    assert told(pearl, "sync", f"ds3://{bucket}", tmp_path / "back").exit_code == 0
    assert files(tmp_path / "back") == dict.fromkeys(names, b"1")


def test_a_name_that_is_no_text_is_told_and_the_rest_goes(
    pearl: Blackpearl, tmp_path: Path
) -> None:
    here, bucket = write(tmp_path / "here", {"a": b"1"}), pearl.new_bucket()
    with open(os.fsencode(here) + b"/\xff", "wb"):  # noqa: PTH123 - bytes
        pass
    done = told(pearl, "upload", here, f"ds3://{bucket}")
    assert done.exit_code == 1
    assert pearl.contents(bucket) == {"a": b"1"}
