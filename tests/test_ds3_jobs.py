"""``ingest jobs``: transfers of an appliance that are under way or left, gone on with or ended."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import pytest

from blackpearl import Blackpearl
from faultproxy import Answer, Rule, Stall, StallAnswer
from ingest.storage.base import PutItem
from ingest.storage.spectra.memory import Memory
from ingest.storage.spectra.sources import Bytes, source_of
from pearls import item, stalled, started, told
from runs import files
from stores import lines, write

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = {"a": b"1", "b/c": bytes(range(65, 90)), "d": b"", "e/f": b"x" * 35}


@pytest.fixture
def pearl() -> Iterator[Blackpearl]:
    with Blackpearl(blob_size=10) as pearl:
        yield pearl


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return write(tmp_path / "here", FILES, time=None)


def kept() -> list[Path]:
    """What is kept on this machine of jobs."""
    state = Path(os.environ["XDG_STATE_HOME"])
    return [path for path in state.rglob("*") if path.is_file()]


def killed(pearl: Blackpearl, here: Path) -> tuple[str, str]:
    """Kill an upload on its way; return its bucket and its job."""
    bucket = pearl.new_bucket()
    return bucket, stalled(pearl, "PUT", "upload", here, f"ds3://{bucket}/to")


def sent(pearl: Blackpearl) -> list[tuple[str, str]]:
    """The blobs that have arrived, each time they did."""
    found = (each for each in pearl.seen("PUT", query="offset") if each.status == 200)
    return [(each.path, each.query.partition("offset=")[2]) for each in found]


def test_an_upload_that_was_killed_is_gone_on_with_by_its_id_alone(
    pearl: Blackpearl, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S-D08, S-D18. The files are as fresh as the job: what they were is kept beside it."""
    bucket, job = killed(pearl, here)
    monkeypatch.chdir("/")
    done = told(pearl, "jobs", "resume", job)
    assert done.exit_code == 0, done.stderr
    assert pearl.contents(bucket) == {f"to/{key}": content for key, content in FILES.items()}
    assert len(set(sent(pearl))) == len(sent(pearl)) == 9
    assert [each.status for each in pearl.jobs] == ["COMPLETED"]
    assert f"upload ds3://{bucket}/to/e/f\n" in done.stdout
    assert not kept()


def test_an_upload_that_was_killed_is_gone_on_with_by_the_same_command(
    pearl: Blackpearl, here: Path
) -> None:
    bucket, _ = killed(pearl, here)
    assert told(pearl, "upload", here, f"ds3://{bucket}/to").exit_code == 0
    assert pearl.contents(bucket) == {f"to/{key}": content for key, content in FILES.items()}
    assert len(set(sent(pearl))) == len(sent(pearl)) == 9
    assert len(pearl.jobs) == 1
    assert not kept()


@pytest.mark.parametrize("hold", [Stall, StallAnswer], ids=["before", "after"])
def test_an_upload_killed_at_any_request_is_completed_by_the_same_command(
    pearl: Blackpearl, here: Path, hold: type[Stall | StallAnswer]
) -> None:
    """``before`` the appliance has got the request, or ``after`` it has done what it asks for."""
    words = ("upload", here, "--concurrency", "1")
    assert told(pearl, *words, f"ds3://{pearl.new_bucket()}").exit_code == 0
    steps = len(pearl.requests)
    assert steps > 10
    for step in range(steps):
        bucket, before = pearl.new_bucket(), len(pearl.requests)
        rule = Rule(hold(Event()), times=None, skip=step)
        pearl.rules.append(rule)
        with started(pearl, *words, f"ds3://{bucket}"):
            pearl.wait_until(lambda first=before, at=step: len(pearl.requests) - first > at)
        pearl.rules.remove(rule)
        again = told(pearl, *words, f"ds3://{bucket}")
        assert (again.exit_code, pearl.contents(bucket)) == (0, FILES), (step, again.output)
        assert not [job for job in pearl.jobs if job.status == "IN_PROGRESS"]


def test_what_is_left_is_listed_until_it_is_ended(pearl: Blackpearl, here: Path) -> None:
    bucket, job = killed(pearl, here)
    (line,) = told(pearl, "jobs").stdout.splitlines()
    assert line.split()[::2][0] == job
    for part in ("upload", f"ds3://{bucket}/", "ingest", " of 61 B"):
        assert part in line
    (listed,) = told(pearl, "jobs", "--json").stdout.splitlines()
    fields = json.loads(listed)
    assert fields["started"].endswith("Z")
    told_of_it = ("upload", f"ds3://{bucket}/", "ingest", "NORMAL", 61)
    names = ("operation", "url", "name", "priority", "size")
    assert (fields["type"], fields["id"]) == ("job", job)
    assert tuple(fields[name] for name in names) == told_of_it
    assert 0 <= fields["done"] < 61
    ended = told(pearl, "jobs", "cancel", job)
    assert (ended.exit_code, ended.stdout) == (0, f"abort job {job}\n")
    assert told(pearl, "jobs").stdout == ""
    assert not kept()
    for verb in ("cancel", "resume"):
        again = told(pearl, "jobs", verb, job)
        assert again.exit_code == 4
        assert job in again.stderr


def test_what_has_arrived_whole_stays_where_its_job_is_ended(pearl: Blackpearl, here: Path) -> None:
    bucket, job = killed(pearl, here)
    (fields, _) = lines(told(pearl, "jobs", "cancel", job, "--json"))
    assert (fields["operation"], fields["target"]) == ("abort", f"job {job}")
    found = pearl.contents(bucket)
    assert 0 < len(found) < len(FILES)
    assert found == {key: FILES[key.removeprefix("to/")] for key in found}


def test_a_resume_tells_json_and_what_it_could_not_send(pearl: Blackpearl, here: Path) -> None:
    """S-D05: a file that was written to since is not mixed with what is there of it."""
    bucket, job = killed(pearl, here)
    (torn,) = {path for path, _ in sent(pearl)} - {
        f"/{bucket}/{key}" for key in pearl.contents(bucket)
    }
    path = here / torn.removeprefix(f"/{bucket}/to/")
    path.write_bytes(bytes(path.stat().st_size))
    *done, last = lines(told(pearl, "jobs", "resume", job, "--json"))
    (failed,) = [each for each in done if each["status"] == "failed"]
    assert failed["target"] == f"ds3:/{torn}"
    assert "its content may be another than when the job began" in failed["error"]
    assert last["summary"]["done"] == len(FILES) - 1
    assert torn.removeprefix(f"/{bucket}/") not in pearl.contents(bucket)
    assert not [each for each in pearl.jobs if each.status == "IN_PROGRESS"]


def test_a_file_that_is_gone_is_told_and_the_rest_is_sent(pearl: Blackpearl, here: Path) -> None:
    bucket, job = killed(pearl, here)
    missing = next(key for key in reversed(FILES) if f"to/{key}" not in pearl.contents(bucket))
    (here / missing).unlink()
    done = told(pearl, "jobs", "resume", job)
    assert done.exit_code == 1
    assert f"cannot read {here / missing}" in done.stderr
    assert pearl.contents(bucket).keys() == {f"to/{key}" for key in FILES} - {f"to/{missing}"}


def test_what_is_not_known_of_a_job_is_told_and_the_rest_is_sent(
    pearl: Blackpearl, here: Path
) -> None:
    bucket, job = killed(pearl, here)
    (path,) = kept()
    *known, _ = path.read_text().splitlines(keepends=True)
    path.write_text("".join(known))
    done = told(pearl, "jobs", "resume", job)
    assert done.exit_code == 1
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("failed: "))
    assert "its content is not kept here" in line
    assert len(pearl.contents(bucket)) == len(FILES) - 1


def test_a_resume_that_fails_on_the_way_can_be_resumed(
    pearl: Blackpearl, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.pacing.Backoff.wait_s", lambda *_: 0.0)
    bucket, job = killed(pearl, here)
    rule = Rule(Answer(500, "InternalError", "oh"), "PUT", query="offset", times=None)
    pearl.rules.append(rule)
    assert told(pearl, "jobs", "resume", job).exit_code == 1
    pearl.rules.remove(rule)
    assert told(pearl, "jobs", "resume", job).exit_code == 0
    assert len(pearl.contents(bucket)) == len(FILES)


def test_on_another_machine_the_same_command_is_what_goes_on(
    pearl: Blackpearl, here: Path, tmp_path: Path
) -> None:
    _, job = killed(pearl, here)
    elsewhere = {"XDG_STATE_HOME": str(tmp_path / "another machine")}
    done = told(pearl, "jobs", "resume", job, **elsewhere)
    assert done.exit_code == 1
    assert "is not known on this machine (run the command that began it once more" in done.stderr
    assert [each.status for each in pearl.jobs] == ["IN_PROGRESS"]


def test_a_download_that_was_killed_is_gone_on_with_by_its_command(
    pearl: Blackpearl, tmp_path: Path
) -> None:
    bucket, there = pearl.new_bucket(), tmp_path / "there"
    for key, content in FILES.items():
        pearl.put(bucket, key, content)
    job = stalled(pearl, "GET", "download", f"ds3://{bucket}", there)
    refused = told(pearl, "jobs", "resume", job)
    assert refused.exit_code == 2
    assert "is a download, and not an upload" in refused.stderr
    assert "download" in told(pearl, "jobs").stdout
    assert told(pearl, "jobs", "cancel", job).exit_code == 0
    assert told(pearl, "sync", f"ds3://{bucket}", there).exit_code == 0
    assert files(there) == FILES


def test_a_download_that_fails_leaves_no_job(pearl: Blackpearl, tmp_path: Path) -> None:
    """S-D08: another one is begun to go on with it."""
    bucket = pearl.new_bucket()
    pearl.put(bucket, "link/a", b"1" * 35)
    there = tmp_path / "there"
    there.mkdir()
    (there / "link").symlink_to(tmp_path)
    assert told(pearl, "download", f"ds3://{bucket}", there).exit_code == 1
    assert [job.status for job in pearl.jobs] == ["COMPLETED"]


def test_nothing_is_kept_of_a_job_that_is_done(pearl: Blackpearl, here: Path) -> None:
    assert told(pearl, "upload", here, f"ds3://{pearl.new_bucket()}").exit_code == 0
    assert not kept()


def test_an_upload_needs_no_place_to_keep_anything(pearl: Blackpearl, here: Path) -> None:
    bucket = pearl.new_bucket()
    home = {"XDG_STATE_HOME": "/dev/null"}
    assert told(pearl, "upload", here, f"ds3://{bucket}", **home).exit_code == 0
    assert pearl.contents(bucket) == FILES


# What is kept


def test_what_is_kept_comes_back_and_is_nobody_elses_to_read(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "state")
    path = write(tmp_path / "here", {"é\n": b"1"}) / "é\n"
    kept_items = [
        PutItem("k é\n", path, "text/x", {"one": "ü"}),
        PutItem("dir/", b"", "application/x-directory"),
        item(path, "again"),
    ]
    lost = PutItem("bytes", b"content", "text/plain")
    memory.remember("job", [(each, source_of(each)) for each in (*kept_items, lost)])
    found = memory.recall("job")
    assert [(each.key, each.source, each.content_type, each.metadata) for each in found] == [
        (each.key, each.source, each.content_type, each.metadata) for each in kept_items
    ]
    assert memory.versions("job") == {
        key: source_of(item(path)).version for key in ("k é\n", "again")
    }
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "state", *kept_in(tmp_path))]
    assert modes == [0o700, 0o600]


def kept_in(root: Path) -> list[Path]:
    return list((root / "state").iterdir())


def test_what_was_cut_short_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "state")
    empty = Bytes(b"")
    memory.remember("job", [(PutItem(key, b"", "text/plain"), empty) for key in "ab"])
    (path,) = kept_in(tmp_path)
    path.write_text(path.read_text()[:-5])
    assert [each.key for each in memory.recall("job")] == ["a"]


def test_what_is_of_jobs_long_gone_is_dropped(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "state")
    memory.remember("old", [(PutItem("a", b"", "text/plain"), Bytes(b""))])
    os.utime(kept_in(tmp_path)[0], (0, 0))
    memory.remember("new", [(PutItem("a", b"", "text/plain"), Bytes(b""))])
    assert [path.name for path in kept_in(tmp_path)] == ["new"]


def test_a_name_of_a_job_leads_nowhere_else(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "state")
    memory.remember("../job", [(PutItem("a", b"", "text/plain"), Bytes(b""))])
    assert [path.name for path in kept_in(tmp_path)] == [".._job"]
