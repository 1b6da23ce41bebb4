"""A run that is killed, at every moment of its landing, and the same event again.

``SIGKILL`` at each request that a run makes to the store: before the store gets it, and after the
store has done it. Whatever is in the lake then, a manifest speaks only of what is there; and the
same event in a new process makes of it what an undisturbed run would have made.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from backfills import WINDOW
from lifecycles import Forks, Ground, Landing, Steps, bodies, committed
from runs import SCHEDULED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.sandbox import Sandbox
    from support import S3Server

MOVIES = {**SCHEDULED, "datasets": ["movies"]}
OTHER_TIME = {"scheduled_time": "2026-11-20T05:00:00Z"}
OTHER_FORMAT = {"OUTPUT_FORMAT": "jsonl", "OUTPUT_COMPRESSION": "gzip"}

YEARS = {**WINDOW, "from": "2000-01-01", "to": "2001-12-31"}
"""A window of two files."""

LANDINGS = {
    "first": (Landing(MOVIES), None),
    "both-datasets": (Landing(SCHEDULED), None),
    "with-details": (Landing({**MOVIES, "limit": 3}, {"TMDB_DETAILS": "true"}), None),
    "forced": (Landing({**MOVIES, "force": True}), Landing({**MOVIES, "limit": 5})),
    "window": (Landing({"job": "window", "items": [YEARS]}), None),
    "other-format": (Landing(MOVIES, OTHER_FORMAT), Landing({**MOVIES, **OTHER_TIME})),
}
"""A landing, and the one before it in its partition, if any."""


@pytest.fixture
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("which", LANDINGS)
def test_a_run_killed_at_any_request_is_completed_by_the_same_event(
    stand_in: Callable[..., Sandbox],
    rclone_server: S3Server,
    forks: Forks,
    which: str,
    moment: str,
) -> None:
    landing, earlier = LANDINGS[which]
    ground = Ground(stand_in(), rclone_server)
    if earlier:
        ground.land(forks, earlier)
    undisturbed = ground.bucket()
    assert ground.run(forks, landing, undisturbed).body
    wanted = bodies(ground.lake(undisturbed))
    for step in itertools.count(1):

        def kill(number: int, fatal_step: int = step) -> None:
            if number == fatal_step:
                forks.kill()
                raise ConnectionAbortedError

        bucket = ground.bucket()
        with Steps(rclone_server.endpoint_url, **{moment: kill}) as proxy:
            ended = ground.run(forks, landing, bucket, proxy)
        if not ended.killed:
            break
        committed(ground.lake(bucket))
        again = ground.run(forks, landing, bucket)
        assert again.body, again.error
        lake = ground.lake(bucket)
        assert committed(lake) == lake.keys()
        assert bodies(lake) == wanted
    assert ended.body
    assert len(proxy.requests) == step - 1 > 5
