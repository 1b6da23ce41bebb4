"""What the commands say of ``ds3://`` where something is wrong, and what they exit with."""

from __future__ import annotations

import signal
from threading import Event
from typing import TYPE_CHECKING

import pytest

from blackpearl import ACCESS_KEY, SECRET_KEY, Blackpearl
from faultproxy import Answer, Rule, Stall
from pearls import not_waiting, started, told
from runs import files
from stores import command, lines, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = {"a": b"1", "b/c": b"2" * 25}


@pytest.fixture
def pearl() -> Iterator[Blackpearl]:
    with Blackpearl(blob_size=10) as pearl:
        yield pearl


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return write(tmp_path / "here", FILES)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.pacing.Backoff.wait_s", lambda *_: 0.0)


# What is asked for


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("presign ds3://bucket/a", "presign is for s3:// alone, and not for ds3://bucket/a"),
        ("cleanup ds3://bucket", "cleanup is for s3:// alone"),
        ("upload . ds3://bucket --sse AES256", "--sse is not for ds3://"),
        ("upload . ds3://bucket --storage-class COLD", "--storage-class is not for ds3://"),
        ("cp s3://other/a ds3://bucket --acl private", "--acl is not for ds3://"),
        ("ls ds3://bucket --endpoint-url http://h", "--endpoint-url is not for ds3://"),
        ("ls ds3://bucket --region us-east-1", "--region is not for ds3://"),
        ("upload . s3://bucket --priority HIGH", "--priority is not for s3://"),
        ("upload . s3://bucket --job-name mine", "--job-name is not for s3://"),
        ("upload . ds3://bucket --priority SOON", "should be one of CRITICAL, URGENT, HIGH"),
        ("tapes s3://bucket", "s3:// has neither jobs nor tapes"),
        ("ls ds3:///a", "should be a path or a URL such as"),
        ("ls ds4://bucket", "should be a path or a URL such as"),
        ("mb ds3://", "should be a path or a URL such as"),
        ("mb ds3://bucket/a", "names a key, and not a bucket alone"),
        ("buckets ds3://bucket", "names a bucket"),
        ("ls ds3://_rest_", "should be a bucket's name"),
        ("rb --force ds3://_rest_", "should be a bucket's name"),
        ("cat ds3://bucket", "names no object"),
        ("rm ds3://bucket", "names no object"),
        ("sync ds3://bucket/a ds3://bucket/a/b", "cannot be copied into or over itself"),
    ],
)
def test_what_makes_no_sense_exits_with_2(pearl: Blackpearl, words: str, says: str) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
    said = told(pearl, *words.split(), **keys)
    assert (said.exit_code, said.stdout) == (2, "")
    assert says in said.stderr
    assert not pearl.requests


@pytest.mark.parametrize("given", [(), ("DS3_ENDPOINT",), ("DS3_ENDPOINT", "DS3_SECRET_KEY")])
@pytest.mark.parametrize(
    "words", ["ls ds3://bucket", "upload . ds3://bucket", "jobs", "doctor ds3://"]
)
def test_settings_that_are_missing_are_named_and_no_others(
    pearl: Blackpearl, given: tuple[str, ...], words: str
) -> None:
    environ = pearl.environment()
    said = command(None, *words.split(), **{name: environ[name] for name in given})
    assert said.exit_code == (1 if words.startswith("doctor") else 2)
    assert "skipped" not in said.output
    assert [name for name in environ if name in said.output] == [
        name for name in environ if name not in given
    ]


# What the appliance says


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"DS3_SECRET_KEY": "wrong"}, "DS3_SECRET_KEY"),
        ({"DS3_ACCESS_KEY": "nobody"}, "DS3_ACCESS_KEY"),
    ],
)
@pytest.mark.parametrize(
    "words", ["ls URL", "upload here URL", "sync URL there", "rm URL/a", "jobs"]
)
def test_refused_credentials_exit_with_3(
    pearl: Blackpearl, here: Path, wrong: dict[str, str], hint: str, words: str
) -> None:
    url = f"ds3://{pearl.new_bucket()}"
    said = told(pearl, *words.replace("URL", url).split(), **wrong)
    assert (said.exit_code, said.stdout) == (3, "")
    assert hint in said.stderr
    assert SECRET_KEY not in said.output
    assert ACCESS_KEY not in said.output
    assert here.is_dir()


@pytest.mark.parametrize(
    "words",
    [
        *("ls ds3://none", "upload here ds3://none", "sync here ds3://none", "rb ds3://none"),
        *("download ds3://none there", "cat ds3://none/a", "rm ds3://none/a", "tapes ds3://none"),
        *("rm --recursive ds3://none/a", "cp here/a ds3://none/a", "ls --versions ds3://none"),
        *("verify here ds3://none", "jobs cancel none", "jobs resume none"),
    ],
)
def test_what_is_not_there_exits_with_4(pearl: Blackpearl, here: Path, words: str) -> None:
    said = told(pearl, *words.split())
    assert (said.exit_code, said.stdout) == (4, "")
    assert said.stderr.startswith("error: ")
    assert pearl.endpoint in said.stderr
    assert files(here) == FILES


@pytest.mark.parametrize(
    "words", ["cat URL/none", "cp URL/none x", "download URL/none x", "rm URL/none"]
)
def test_an_object_that_is_not_there_exits_with_4(pearl: Blackpearl, words: str) -> None:
    url = f"ds3://{pearl.new_bucket()}"
    said = told(pearl, *words.replace("URL", url).split())
    assert (said.exit_code, said.stdout) == (4, "")
    assert f"{url}/none" in said.stderr


def test_a_source_that_is_not_there_is_no_success(pearl: Blackpearl) -> None:
    """S-D13: the vendor's SDK uploads nothing, and says nothing."""
    url = f"ds3://{pearl.new_bucket()}"
    for verb in ("upload", "sync", "cp", "mv"):
        said = told(pearl, verb, "none", url)
        assert said.exit_code == 4, verb
        assert "none" in said.stderr
    assert not pearl.jobs


def test_nothing_there_exits_with_1(here: Path) -> None:
    environ = dict.fromkeys(("DS3_ACCESS_KEY", "DS3_SECRET_KEY"), "key")
    environ["DS3_ENDPOINT"] = "127.0.0.1:9"
    for words in (("ls", "ds3://bucket"), ("upload", here, "ds3://bucket")):
        said = command(None, *words, **environ)
        assert said.exit_code == 1
        assert "at http://127.0.0.1:9: Connection refused" in said.stderr


def test_what_fails_is_named_the_rest_is_done_and_deletes_are_not(
    pearl: Blackpearl, here: Path
) -> None:
    """S-D07: the vendor's SDK asks for ever what there is to do."""
    bucket = pearl.new_bucket()
    pearl.put(bucket, "gone", b"1")
    pearl.rules.append(
        Rule(Answer(400, "BadRequest", "No."), "PUT", "/b/c", "offset=10", times=None)
    )
    *done, last = lines(told(pearl, "sync", here, f"ds3://{bucket}", "--delete", "--json"))
    assert last["summary"]["failed"] == 2
    assert [each["target"] for each in done if each["status"] == "done"] == [f"ds3://{bucket}/a"]
    assert pearl.contents(bucket) == {"a": b"1", "gone": b"1"}


def test_a_refusal_of_every_object_decides_the_exit_code(pearl: Blackpearl, here: Path) -> None:
    pearl.rules.append(Rule(Answer(403, "AccessDenied", "No."), "PUT", times=None))
    said = told(pearl, "upload", here, f"ds3://{pearl.new_bucket()}")
    assert said.exit_code == 3
    assert said.stderr.count("the user may lack permission on the bucket") == 2


def test_what_keeps_one_version_tells_what_to_do(pearl: Blackpearl, here: Path) -> None:
    bucket = pearl.new_bucket(versioning="NONE")
    pearl.put(bucket, "a", b"0")
    said = told(pearl, "upload", here, f"ds3://{bucket}")
    assert said.exit_code == 1
    assert "the bucket's data policy keeps no versions: delete the object first" in said.stderr
    assert pearl.contents(bucket) == {**FILES, "a": b"0"}


# The way there


def test_requests_go_through_a_proxy(pearl: Blackpearl, here: Path) -> None:
    bucket = pearl.new_bucket()
    elsewhere = {"DS3_ENDPOINT": "http://blackpearl.example", "http_proxy": pearl.endpoint}
    assert told(pearl, "upload", here, f"ds3://{bucket}", **elsewhere).exit_code == 0
    assert pearl.contents(bucket) == FILES
    assert {each.headers["host"] for each in pearl.requests} == {"blackpearl.example"}
    dead = told(pearl, "ls", "ds3://", http_proxy="http://user:secret@127.0.0.1:9")
    assert f"{pearl.endpoint} through the proxy 127.0.0.1:9: Connection refused" in dead.stderr
    assert "secret" not in dead.output
    shown = told(pearl, "doctor", "ds3://", **elsewhere).stdout
    assert "ok       endpoint     http://blackpearl.example, through a proxy" in shown


def test_a_redirect_is_waited_for_and_goes_nowhere_else(
    pearl: Blackpearl, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S-D04, S-D10."""
    waits = not_waiting(monkeypatch)
    bucket = pearl.new_bucket()
    headers = (("Retry-After", "30"), ("Location", "http://127.0.0.1:9/elsewhere"))
    busy = Answer(307, "TemporaryRedirect", "cache is full", headers)
    pearl.rules.append(Rule(busy, "PUT", "/b/c", "offset=20", times=2))
    assert told(pearl, "upload", here, f"ds3://{bucket}").exit_code == 0
    assert pearl.contents(bucket) == FILES
    assert waits == [30.0, 30.0]


def test_patience_has_an_end(
    pearl: Blackpearl, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S-D10: the vendor's SDK asks for ever."""
    not_waiting(monkeypatch)
    none = Answer(503, "SlowDown", "later", (("Retry-After", "60"),))
    pearl.rules.append(Rule(none, "GET", "/_rest_/job_chunk", times=None))
    said = told(pearl, "upload", here, f"ds3://{pearl.new_bucket()}", DS3_PATIENCE="600")
    assert said.exit_code == 1
    assert "later; given up after 10 waits" in said.stderr
    assert len(pearl.seen("GET", "/_rest_/job_chunk")) < 20


# Ctrl-C


@pytest.mark.parametrize(
    ("words", "left"), [((), "COMPLETED"), (("--keep-partial",), "IN_PROGRESS")]
)
def test_ctrl_c_ends_the_job_unless_it_is_to_be_kept(
    pearl: Blackpearl, here: Path, words: tuple[str, ...], left: str
) -> None:
    """S-D08: the vendor's SDK leaves it for a day."""
    bucket = pearl.new_bucket()
    pearl.rules.append(Rule(Stall(Event()), "PUT", "/b/c", "offset=10", times=None))
    with started(pearl, "upload", here, f"ds3://{bucket}", *words) as process:
        pearl.wait_until(lambda: bool(pearl.seen("PUT", "/b/c", "offset=10")))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted: " in err
    pearl.wait_until(lambda: pearl.jobs[0].status == left)
    assert "b/c" not in pearl.contents(bucket)


# doctor


def test_the_doctor_looks_at_everything_and_leaves_nothing(pearl: Blackpearl) -> None:
    bucket = pearl.new_bucket("CRC_32C")
    said = told(pearl, "doctor", f"ds3://{bucket}/x")
    assert said.exit_code == 0, said.output
    assert [line.split()[:2] for line in said.stdout.splitlines()] == [
        ["ok", name]
        for name in (
            *("endpoint", "appliance", "clock", "health", "buckets", "jobs"),
            *("policy", "list", "write", "read", "delete"),
        )
    ]
    assert "version 5.4.0, serial number TESTS" in said.stdout
    assert "checksum CRC_32C" in said.stdout
    assert pearl.contents(bucket) == {}


@pytest.mark.parametrize(
    ("rule", "check", "says"),
    [
        (Rule(Answer(403, "InvalidAccessKeyId", "no")), "appliance", "check DS3_ACCESS_KEY"),
        (Rule(Answer(400, "Sick"), "GET", "/_rest_/system_health"), "health", "Sick"),
        (Rule(Answer(403, "AccessDenied"), "PUT", query="offset"), "write", "lack permission"),
        (Rule(Answer(403, "AccessDenied"), "GET", query="offset"), "read", "lack permission"),
        (Rule(Answer(403, "AccessDenied"), "POST", query="delete"), "delete", "lack permission"),
    ],
)
def test_the_doctor_names_the_first_thing_that_is_wrong(
    pearl: Blackpearl, rule: Rule, check: str, says: str
) -> None:
    bucket = pearl.new_bucket()
    pearl.rules.append(rule)
    said = told(pearl, "doctor", f"ds3://{bucket}")
    assert said.exit_code == 1
    failed = [line for line in said.stdout.splitlines() if line.startswith("failed")]
    assert [line.split()[1] for line in failed] == [check]
    assert says in said.stdout
    assert bool(pearl.contents(bucket)) is (check == "delete")
    assert not [job for job in pearl.jobs if job.status == "IN_PROGRESS"]


def test_the_doctor_tells_a_wrong_clock() -> None:
    for ahead_s, status in ((60, "ok"), (500, "warning"), (-5000, "failed")):
        with Blackpearl(clock_offset_s=ahead_s) as pearl:
            said = told(pearl, "doctor", "ds3://")
        assert f"{status:8} {'clock' if status != 'failed' else 'appliance'}" in said.stdout


def test_the_doctor_does_not_wait_for_a_tape(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = not_waiting(monkeypatch)
    with Blackpearl(cache_size=10, tape_polls=1_000, retry_after=600) as pearl:
        said = told(pearl, "doctor", f"ds3://{pearl.new_bucket()}")
        assert said.exit_code == 1
        assert "nothing came from tape; given up after" in said.stdout
        assert [job.status for job in pearl.jobs] == ["COMPLETED", "COMPLETED"]
    assert waits == []
