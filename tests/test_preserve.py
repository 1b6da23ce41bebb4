"""``--preserve``: what a file has beside its content survives the way to a store and back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from blackpearl import Blackpearl
from faultproxy import Answer, Before, FaultProxy, Rule
from ingest.storage.attributes import as_s3, with_attributes
from ingest.storage.base import CopyItem, PutItem, Transfer
from landings import tree
from pearls import filled, stalled, store_on, told
from stores import command, store_of
from uploading import SIZE, part, uploads_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from click.testing import Result

    from support import S3Server

    Run = Callable[..., Result]

MTIME, ATIME = 1_600_000_000_123_456_789, 1_700_000_000_987_654_321
FILES = {
    "small": (b"hello", 0o600),
    "d/large": (os.urandom(17 << 20), 0o755),
    "empty": (b"", 0o444),
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Files of each size, whose times and permissions are nobody's default."""
    root = tmp_path / "here"
    for name, (content, mode) in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        os.utime(path, ns=(ATIME, MTIME))
    return root


@pytest.fixture
def pearl() -> Iterator[Blackpearl]:
    with Blackpearl(blob_size=10 << 20) as pearl:
        yield pearl


@pytest.fixture(params=["s3", "ds3"])
def there(request: pytest.FixtureRequest) -> tuple[str, Run]:
    """A new bucket's URL, and what runs a command that reaches it, for each service."""
    if request.param == "ds3":
        pearl = request.getfixturevalue("pearl")
        return f"ds3://{pearl.new_bucket()}", lambda *words: done(told(pearl, *words))
    server = request.getfixturevalue("moto_server")
    return f"s3://{server.new_bucket()}", lambda *words: done(command(server, *words))


def done(result: Result) -> Result:
    assert result.exit_code == 0, result.output
    return result


def seen(root: Path) -> dict[str, tuple[int, int, int]]:
    """Permissions and times of each file, by its path below ``root``."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            told = path.stat()
            name = str(path.relative_to(root))
            found[name] = (told.st_mode & 0o7777, told.st_atime_ns, told.st_mtime_ns)
    return found


def expected(precision_ns: int = 1) -> dict[str, tuple[int, int, int]]:
    times = [moment // precision_ns * precision_ns for moment in (ATIME, MTIME)]
    return {name: (mode, times[0], times[1]) for name, (_, mode) in sorted(FILES.items())}


# There and back


def test_s3_gives_back_all_to_the_nanosecond(server: S3Server, here: Path, tmp_path: Path) -> None:
    url = f"{store_of(server).url}/x"
    done(command(server, "upload", here, url, "--preserve"))
    done(command(server, "download", url, tmp_path / "back", "--preserve"))
    assert seen(tmp_path / "back") == expected()
    assert tree(tmp_path / "back") == {name: content for name, (content, _) in FILES.items()}


def test_ds3_gives_back_all_to_the_millisecond(
    pearl: Blackpearl, here: Path, tmp_path: Path
) -> None:
    bucket = pearl.new_bucket()
    done(told(pearl, "upload", here, f"ds3://{bucket}", "--preserve"))
    done(told(pearl, "download", f"ds3://{bucket}/", tmp_path / "back", "--preserve"))
    assert seen(tmp_path / "back") == expected(10**6)
    assert tree(tmp_path / "back") == {name: content for name, (content, _) in FILES.items()}
    # A small object tells with its content; nobody else is asked.
    assert [each.path for each in pearl.seen("HEAD")] == [f"/{bucket}/d/large"]


def test_one_file_is_copied_and_moved_with_all(
    there: tuple[str, Run], here: Path, tmp_path: Path
) -> None:
    url, run = there
    run("cp", here / "small", f"{url}/a", "--preserve")
    run("mv", f"{url}/a", tmp_path / "b", "--preserve")
    found = (tmp_path / "b").stat()
    assert found.st_mode & 0o7777 == 0o600
    assert found.st_mtime_ns // 10**6 == MTIME // 10**6


def test_without_it_nothing_is_kept_and_nothing_given_back(
    there: tuple[str, Run], here: Path, tmp_path: Path
) -> None:
    url, run = there
    run("upload", here, f"{url}/plain")
    run("upload", here, f"{url}/kept", "--preserve")
    run("download", f"{url}/kept", tmp_path / "without")
    run("download", f"{url}/plain", tmp_path / "with", "--preserve")
    umask = os.umask(0)
    os.umask(umask)
    for name in ("without", "with"):
        for mode, atime_ns, mtime_ns in seen(tmp_path / name).values():
            assert mode == 0o666 & ~umask
            assert MTIME + 10**9 < mtime_ns == atime_ns


def test_metadata_are_in_the_words_of_others(
    moto_server: S3Server, pearl: Blackpearl, here: Path
) -> None:
    store, bucket = store_of(moto_server), pearl.new_bucket()
    owner = {"uid": str(os.getuid()), "gid": str(os.getgid())}
    done(command(moto_server, "upload", here, store.url, "--preserve"))
    for key, mode in (("small", "100600"), ("d/large", "100755")):
        kept = dict(store.head(key).metadata)
        kept.pop("sha256", None)
        moments = {"mtime": "1600000000.123456789", "atime": "2023-11-14T22:13:20.987654321Z"}
        assert kept == {**moments, "mode": mode, **owner}
    for name in FILES:  # they were read since
        os.utime(here / name, ns=(ATIME, MTIME))
    done(told(pearl, "upload", here, f"ds3://{bucket}", "--preserve"))
    for key, mode in (("small", "600(rw-------)"), ("d/large", "755(rwxr-xr-x)")):
        kept = pearl.metadata(bucket, key)
        assert (
            kept.items()
            >= {
                "ds3-last-modified-time": "1600000000123",
                "ds3-creation-time": "1600000000123",
                "ds3-last-access-time": "1700000000987",
                "ds3-mode": f"100{mode[:3]}",
                "ds3-permissions": mode,
                "ds3-uid": owner["uid"],
                "ds3-gid": owner["gid"],
                "ds3-ownername": here.owner(),
                "ds3-groupname": here.group(),
                "ds3-os": os.uname().sysname,
            }.items()
        )


def test_what_is_asked_for_by_name_wins(there: tuple[str, Run], here: Path, tmp_path: Path) -> None:
    url, run = there
    asked = ("mtime=1", "MODE=100640", "ds3-last-modified-time=1000", "DS3-Mode=100640")
    pairs = [word for each in asked for word in ("--metadata", each)]
    run("upload", here, f"{url}/x", "--preserve", *pairs)
    run("download", f"{url}/x", tmp_path / "back", "--preserve")
    for mode, _, mtime_ns in seen(tmp_path / "back").values():
        assert (mode, mtime_ns) == (0o640, 10**9)


# What a sync and copies make of it


def test_sync_does_nothing_the_second_time(
    there: tuple[str, Run], here: Path, tmp_path: Path
) -> None:
    url, run = there
    for ends in ((here, f"{url}/x"), (f"{url}/x", tmp_path / "back")):
        assert "3 " in run("sync", *ends, "--preserve").output
        for more in ((), ("--compare", "size"), ("--compare", "checksum")):
            assert run("sync", *ends, "--preserve", *more).output == "nothing to do\n"


def test_a_time_that_was_given_back_does_not_hide_a_change(
    there: tuple[str, Run], here: Path, tmp_path: Path
) -> None:
    url, run = there
    later = 4_000_000_000 * 10**9
    os.utime(here / "small", ns=(later, later))
    run("upload", here, f"{url}/x", "--preserve")
    run("sync", f"{url}/x", tmp_path / "back", "--preserve")
    (here / "small").write_bytes(b"HELLO")
    run("upload", here / "small", f"{url}/x/small", "--preserve")
    assert "1 downloaded" in run("sync", f"{url}/x", tmp_path / "back", "--preserve").output
    assert (tmp_path / "back/small").read_bytes() == b"HELLO"


def test_what_has_another_name_is_sent_with_its_own(
    there: tuple[str, Run], here: Path, tmp_path: Path
) -> None:
    url, run = there
    run("sync", here, f"{url}/x", "--preserve")
    (here / "other").write_bytes(b"hello")
    (here / "other").chmod(0o640)
    os.utime(here / "other", ns=(ATIME, MTIME))
    assert "1 uploaded" in run("sync", here, f"{url}/x", "--preserve").output
    run("download", f"{url}/x", tmp_path / "back", "--preserve")
    assert seen(tmp_path / "back")["other"][0] == 0o640


@pytest.mark.parametrize("options", [(), ("--preserve",)])
def test_copies_keep_metadata_anyway(
    moto_server: S3Server,
    pearl: Blackpearl,
    here: Path,
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    bucket = moto_server.new_bucket()
    client = moto_server.client()

    def run(*words: str | Path) -> None:
        done(command(moto_server, *words, **pearl.environment()))

    run("upload", here, f"s3://{bucket}/a", "--preserve")
    client.put_object(Bucket=bucket, Key="a/foreign", Body=b"x", Metadata={"k": "v"})
    ends = [f"s3://{bucket}/b/", f"ds3://{pearl.new_bucket()}/c/", f"ds3://{pearl.new_bucket()}/d/"]
    start = f"s3://{bucket}/a/"
    for end in [*ends, f"s3://{bucket}/e/"]:
        run("cp", "--recursive", start, end, *options)
        start = end
    for prefix in "abe":
        kept = client.head_object(Bucket=bucket, Key=f"{prefix}/foreign")["Metadata"]
        assert (kept.pop("k"), kept.keys() - {"sha256"}) == ("v", set())
    run("download", f"s3://{bucket}/e/", tmp_path / "back", "--preserve")
    (tmp_path / "back/foreign").unlink()
    assert seen(tmp_path / "back") == expected()


def test_an_appliances_copy_has_what_its_origin_has(pearl: Blackpearl) -> None:
    bucket = filled(pearl, {"a": b"content"})
    store = store_on(pearl, bucket)
    items = [CopyItem(entry, "b") for entry in store.list()]
    assert [each.error for each in store.copy_many(items, Transfer(preserve=True))] == [None]
    assert pearl.metadata(bucket, "b").keys() == {"content-type", "sha256"}


# What was interrupted


@pytest.mark.parametrize("change", ["read", "chmod"])
def test_an_upload_in_parts_goes_on(
    moto_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(SIZE))
    os.utime(file, ns=(ATIME, MTIME))

    def headers() -> dict[str, str]:
        kept = with_attributes(PutItem("", file, ""), as_s3).metadata
        return {f"x-amz-meta-{name}": text for name, text in kept.items()}

    before = headers()
    with uploads_to(moto_server, monkeypatch) as there:
        old = {name.removeprefix("x-amz-meta-"): text for name, text in before.items()}
        there.begin({1: part(file, 1)}, Metadata=old)
        if change == "read":  # by the upload that was begun
            os.utime(file, ns=(ATIME + 10**12, MTIME))
        else:
            file.chmod(0o611)
        assert headers() != before
        assert there.upload(file, headers=headers()).parts_resumed == (change == "read")
        assert there.headers[1]["mode"] == headers()["x-amz-meta-mode"]


def test_an_upload_that_failed_midway_goes_on_with_the_same_command(
    moto_server: S3Server, here: Path, tmp_path: Path
) -> None:
    url = f"s3://{moto_server.new_bucket()}/large"
    with FaultProxy(moto_server.endpoint_url) as proxy:
        proxy.rules.append(Rule(Answer(403, "AccessDenied"), "POST", query="uploadId="))
        words, at = ("cp", here / "d/large", url, "--preserve"), proxy.endpoint_url
        assert command(moto_server, *words, endpoint_url=at).exit_code == 3
        proxy.requests.clear()
        done(command(moto_server, *words, endpoint_url=at))
        assert proxy.seen("PUT") == []
    done(command(moto_server, "cp", url, tmp_path / "back", "--preserve"))
    assert (tmp_path / "back").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "back").read_bytes() == FILES["d/large"][0]


@pytest.mark.parametrize(("before", "after"), [((), ("--preserve",)), (("--preserve",), ())])
def test_an_upload_that_goes_on_otherwise_than_it_began_keeps_what_is_asked_for_now(
    moto_server: S3Server, here: Path, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    store, file = store_of(moto_server), here / "d/large"
    with FaultProxy(moto_server.endpoint_url) as proxy:
        proxy.rules.append(Rule(Answer(403, "AccessDenied"), "POST", query="uploadId="))
        words, at = (file, f"{store.url}/large"), proxy.endpoint_url
        assert command(moto_server, "cp", *words, *before, endpoint_url=at).exit_code == 3
    done(command(moto_server, "mv", *words, *after))
    assert not file.exists()
    kept = store.head("large").metadata
    assert kept.keys() & {"mtime", "mode"} == ({"mtime", "mode"} if after else set())


def test_a_job_that_is_resumed_has_the_attributes_that_it_began_with(
    pearl: Blackpearl, here: Path, tmp_path: Path
) -> None:
    bucket = pearl.new_bucket()
    job = stalled(pearl, "PUT", "upload", str(here), f"ds3://{bucket}", "--preserve", after=1)
    done(told(pearl, "jobs", "resume", job))
    done(told(pearl, "download", f"ds3://{bucket}/", tmp_path / "back", "--preserve"))
    assert seen(tmp_path / "back") == expected(10**6)


def test_a_download_that_was_killed_goes_on(pearl: Blackpearl, here: Path, tmp_path: Path) -> None:
    bucket, back = pearl.new_bucket(), tmp_path / "back"
    done(told(pearl, "upload", here / "d", f"ds3://{bucket}", "--preserve"))
    words = ("download", f"ds3://{bucket}/", str(back), "--preserve")
    stalled(pearl, "GET", *words, after=1)
    assert [path.stat().st_mode & 0o777 for path in back.iterdir()] == [0o600]
    before = len(pearl.seen("GET", query="offset"))
    done(told(pearl, *words))
    assert len(pearl.seen("GET", query="offset")) == before + 1
    assert seen(back)["large"] == expected(10**6)["d/large"]


def test_another_object_is_found_out_before_it_is_fetched(
    moto_server: S3Server, tmp_path: Path
) -> None:
    bucket, client = moto_server.new_bucket(), moto_server.client()
    client.put_object(Bucket=bucket, Key="k", Body=b"a" * (17 << 20))

    def replace() -> None:
        client.put_object(Bucket=bucket, Key="k", Body=b"b" * (17 << 20))

    with FaultProxy(moto_server.endpoint_url) as proxy:
        proxy.rules.append(Rule(Before(replace), "HEAD"))
        words = ("download", f"s3://{bucket}/", tmp_path / "back", "--preserve")
        result = command(moto_server, *words, endpoint_url=proxy.endpoint_url)
        assert (result.exit_code, len(proxy.seen("GET", "/k"))) == (1, 0)
    assert "it has changed since it was listed" in result.output
