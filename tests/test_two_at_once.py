"""Two functions at once on one partition, in every order of their requests to the store.

Reserved concurrency keeps them apart in production, unless somebody takes it away. Each is a
process of its own. The first is held before one of its requests while the second runs up to one
of its own; then the first goes on to its end, and after it the second: so each meets every state
that the other can leave. What ends with an error is tried again, as Lambda does. Then the
partition is complete, and what is in it is of one of them.
"""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from lifecycles import SOON_S, Forks, Ground, Landing, Steps, bodies, committed
from runs import SCHEDULED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from ingest.sandbox import Sandbox
    from lifecycles import Ended
    from support import S3Server

PLANNED = {**SCHEDULED, "datasets": ["movies"]}
BY_HAND = {"date": "2026-11-20", "datasets": ["movies"]}
JSON_LINES = {"OUTPUT_FORMAT": "jsonl"}

ENCOUNTERS = {
    "one-event": (Landing({**PLANNED, "limit": 3}), Landing({**PLANNED, "limit": 4}), None),
    "replacing": (
        Landing({**BY_HAND, "limit": 3}),
        Landing({**BY_HAND, "limit": 4}),
        Landing(PLANNED),
    ),
    "two-formats": (
        Landing({**BY_HAND, "limit": 3}),
        Landing({**BY_HAND, "limit": 4}, JSON_LINES),
        None,
    ),
    "replacing-in-two-formats": (
        Landing({**BY_HAND, "limit": 3}),
        Landing({**BY_HAND, "limit": 4}, JSON_LINES),
        Landing(PLANNED),
    ),
}
"""Two landings, told apart by how much lands, and the one before them, if any."""


class Gate:
    """Holds a run before one of its requests to the store."""

    def __init__(self, step: int) -> None:
        self.reached = False
        self._step = step
        self._arrived, self._open = threading.Event(), threading.Event()

    def hold(self, number: int) -> None:
        if number == self._step:
            self.reached = True
            self._arrived.set()
            assert self._open.wait(SOON_S)

    def wait(self, run: Future[Ended]) -> None:
        """Wait until ``run`` is held here, or has ended without coming here."""
        run.add_done_callback(lambda _: self._arrived.set())
        assert self._arrived.wait(SOON_S)

    def open(self, run: Future[Ended]) -> Ended:
        """Let ``run`` go on to its end."""
        self._open.set()
        return run.result(SOON_S)


class Pair:
    """Two functions with one partition, in a bucket of its own for each of their encounters."""

    def __init__(self, ground: Ground, forks: Sequence[Forks], each: Sequence[Landing]) -> None:
        self._ground = ground
        self._each = list(zip(forks, each, strict=True))

    def alone(self) -> tuple[int, list[dict[str, bytes]]]:
        """The number of requests that the first makes alone, and what each lands alone."""
        counts, landed = [], []
        for forks, landing in self._each:
            bucket = self._ground.bucket()
            with Steps(self._ground.server.endpoint_url) as proxy:
                assert self._ground.run(forks, landing, bucket, proxy).body
            counts.append(len(proxy.requests))
            landed.append(bodies(self._ground.lake(bucket)))
        return counts[0], landed

    def meet(self, gates: Sequence[Gate]) -> dict[str, bytes]:
        """Run each up to its gate and then to its end, and what failed again; return the lake."""
        bucket = self._ground.bucket()
        with ExitStack() as stack:
            threads, runs = stack.enter_context(ThreadPoolExecutor(2)), []
            for gate, (forks, landing) in zip(gates, self._each, strict=True):
                proxy = Steps(self._ground.server.endpoint_url, before=gate.hold)
                stack.enter_context(proxy)
                runs.append(threads.submit(self._ground.run, forks, landing, bucket, proxy))
                gate.wait(runs[-1])
            ended = [gate.open(run) for gate, run in zip(gates, runs, strict=True)]
        for (forks, landing), end in zip(self._each, ended, strict=True):
            again = end if end.body else self._ground.run(forks, landing, bucket)
            assert again.body, (end, again)
        return self._ground.lake(bucket)


@pytest.mark.parametrize("encounter", ENCOUNTERS)
def test_two_at_once_leave_a_whole_partition_of_one_of_them(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server, encounter: str
) -> None:
    *landings, earlier = ENCOUNTERS[encounter]
    ground = Ground(stand_in(), rclone_server)
    with Forks() as one, Forks() as other:
        if earlier:
            ground.land(one, earlier)
        pair = Pair(ground, (one, other), landings)
        steps, alone = pair.alone()
        for first in range(1, steps + 1):
            for second in itertools.count(2):  # held at its first, it would be as good as alone
                gates = Gate(first), Gate(second)
                lake = pair.meet(gates)
                assert committed(lake) == lake.keys(), (first, second)
                assert bodies(lake) in alone
                if not gates[1].reached:
                    break
