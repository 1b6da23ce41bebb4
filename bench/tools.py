"""How each tool is told to do each job, with the settings that are best for it there.

The settings were found by trying: numbers of workers from 2 to 256, part sizes from 5 MiB to the
whole, on two cores against ``rclone serve s3``. Nothing is asked of a tool that the others need
not do: rclone looks for no destinations that cannot be there, makes no bucket, and compares times
as the listing has them instead of asking for each object's metadata.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from measuring import ACCESS_KEY, BENCH, NOBODYS_ENVIRONMENT, REPOSITORY, Environment

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "p/"
"""Where everything is in a bucket."""
ONE = "one.bin"
"""The name of the large file."""

Kind = Literal[
    "upload",
    "download",
    "upload-one",
    "download-one",
    "sync-up",
    "sync-down",
    "sync-stores",
    "sync-listed",
    "help",
    "ls",
]
"""``-one`` is of one file, ``-listed`` to the listing server, ``-stores`` between two buckets."""

_AWS_CONFIG = """\
[default]
s3 =
    max_concurrent_requests = {requests}
    max_queue_size = 10000
    multipart_chunksize = {part}MB
    addressing_style = path
request_checksum_calculation = when_required
response_checksum_validation = when_required
"""
_SMALL_CONFIG, _LARGE_CONFIG = "aws-small.ini", "aws-large.ini"


def write_settings(scratch: Path) -> None:
    """Write aws-cli's files of settings: it has no options for what they say."""
    (scratch / _SMALL_CONFIG).write_text(_AWS_CONFIG.format(requests=10, part=8))
    (scratch / _LARGE_CONFIG).write_text(_AWS_CONFIG.format(requests=4, part=16))


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done between the directory ``local`` and ``bucket``."""

    kind: Kind
    endpoint: str
    bucket: str
    local: Path

    @property
    def url(self) -> str:
        """Where everything is."""
        return f"s3://{self.bucket}/{PREFIX}"


@dataclass(frozen=True, slots=True)
class Command:
    """A tool's command for a job; it can do it in one command, or there is none."""

    arguments: list[str]
    variables: Environment = field(default_factory=dict)

    def environment(self, scratch: Path) -> Environment:
        """Return the variables to run it with; files of settings are in ``scratch``."""
        config = self.variables.get("AWS_CONFIG_FILE")
        own = {"AWS_CONFIG_FILE": str(scratch / config)} if config else {}
        region = {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
        home = {"HOME": str(scratch)}
        return {**NOBODYS_ENVIRONMENT, **ACCESS_KEY, **region, **home, **self.variables, **own}


def ours(job: Job) -> Command:
    """Return the command of ``ingest``."""
    there, local = ["--endpoint-url", job.endpoint], str(job.local)
    many = [*there, "--quiet", "--concurrency", "64"]
    arguments = {
        "upload": ["upload", local, job.url, *many],
        "download": ["download", job.url, local, *many],
        "upload-one": ["upload", f"{local}/{ONE}", job.url + ONE, *there, "--quiet"],
        "download-one": ["download", job.url + ONE, f"{local}/{ONE}", *there, "--quiet"],
        "sync-up": ["sync", local, job.url, *there],
        "sync-down": ["sync", job.url, local, *there],
        "sync-listed": ["sync", local, f"s3://{job.bucket}/data/", *there],
        "sync-stores": ["sync", "s3://one/data/", "s3://other/data/", *there],
        "help": ["--help"],
        "ls": ["ls", job.url + ONE, *there],
    }[job.kind]
    return Command([sys.executable, "-m", "ingest", *arguments], {"PYTHONPATH": str(REPOSITORY)})


def s5cmd(program: str, job: Job) -> Command | None:
    """Return the command of s5cmd."""
    local = str(job.local)
    many = ["--log", "error", "--numworkers", "32", "cp"]
    whole = ["--log", "error", "cp", "--concurrency"]
    arguments = {
        "upload": [*many, f"{local}/", job.url],
        "download": [*many, f"{job.url}*", f"{local}/"],
        "upload-one": [*whole, "4", "--part-size", "16", f"{local}/{ONE}", job.url + ONE],
        "download-one": [*whole, "1", "--part-size", "1024", job.url + ONE, f"{local}/{ONE}"],
        "sync-up": ["sync", f"{local}/", job.url],
        "sync-down": ["sync", f"{job.url}*", f"{local}/"],
        "help": ["--help"],
        "ls": ["ls", job.url + ONE],
    }.get(job.kind)
    if arguments is None:
        return None
    return Command([program, "--endpoint-url", job.endpoint, *arguments])


def rclone(program: str, job: Job) -> Command | None:
    """Return the command of rclone."""
    local, store = str(job.local), f":s3,provider=Other,env_auth,endpoint='{job.endpoint}':"
    there = f"{store}{job.bucket}/{PREFIX}"
    new = ["--s3-no-check-bucket", "--no-check-dest", "--s3-no-head"]
    parts = ["--s3-chunk-size", "16M", "--s3-upload-concurrency", "4", "--s3-disable-checksum"]
    listed = ["--fast-list", "--use-server-modtime"]
    arguments = {
        "upload": ["copy", local, there, *new, "--transfers", "16"],
        "download": ["copy", there, local, *listed, "--no-check-dest", "--transfers", "16"],
        "upload-one": ["copyto", f"{local}/{ONE}", there + ONE, *new, *parts],
        "download-one": ["copyto", there + ONE, f"{local}/{ONE}", "--multi-thread-streams", "4"],
        "sync-up": ["sync", local, there, *listed, "--verbose", "--stats", "0"],
        "sync-down": ["sync", there, local, *listed, "--verbose", "--stats", "0"],
        "help": ["--help"],
        "ls": ["lsl", there + ONE],
    }.get(job.kind)
    if arguments is None:
        return None
    return Command([program, "--config", "/dev/null", *arguments])


def aws(program: str, job: Job) -> Command | None:
    """Return the command of aws-cli."""
    local = str(job.local)
    arguments = {
        "upload": ["cp", local, job.url, "--recursive", "--only-show-errors"],
        "download": ["cp", job.url, local, "--recursive", "--only-show-errors"],
        "upload-one": ["cp", f"{local}/{ONE}", job.url + ONE, "--only-show-errors"],
        "download-one": ["cp", job.url + ONE, f"{local}/{ONE}", "--only-show-errors"],
        "sync-up": ["sync", local, job.url, "--no-progress"],
        "sync-down": ["sync", job.url, local, "--no-progress"],
        "ls": ["ls", job.url + ONE],
    }.get(job.kind)
    if job.kind == "help" and shutil.which("groff"):  # without it aws-cli has no help
        return Command([program, "help"], {"PAGER": "cat"})
    if arguments is None:
        return None
    config = _LARGE_CONFIG if job.kind.endswith("-one") else _SMALL_CONFIG
    return Command(
        [program, "--endpoint-url", job.endpoint, "s3", *arguments],
        {"AWS_CONFIG_FILE": config},
    )


def boto3_checked(python: str, job: Job) -> Command | None:
    """Return the command of the script below that also compares one file with its hash."""
    if job.kind != "download-one" or not (command := boto3(python, job)):
        return None
    return Command([*command.arguments, "--check"], command.variables)


def boto3(python: str, job: Job) -> Command | None:
    """Return the command of the script that uses boto3's transfer manager."""
    direction = job.kind.removesuffix("-one")
    if direction not in {"upload", "download"}:
        return None
    one = job.kind.endswith("-one")
    settings = ["--concurrency", "4", "--part-mib", "16"] if one else ["--concurrency", "32"]
    script = str(BENCH / "boto3_transfer.py")
    return Command(
        [python, script, direction, str(job.local), job.bucket, *settings],
        {"AWS_ENDPOINT_URL": job.endpoint},
    )
