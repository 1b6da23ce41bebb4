"""Events with a ``job``: one step of work that is past one run, each usable alone.

::

    {"job": "plan", "from": DAY, "to": DAY}    cut a backfill into windows, and keep the plan;
                                               also "datasets", "genres", "replan"
    {"job": "plan", "plan": KEY}               read one that is kept
    {"job": "window", "items": [WINDOW, …]}    land windows of a plan; also "requests_per_second"
    {"job": "summary", "plan": KEY}            count what has landed of a plan
    {"job": "copy-batch", …}                   copy objects of one listing: ``ingest.remote``
    {"job": "summary", "source": …, …}         count what has been copied: ``ingest.remote``

Days are ``YYYY-MM-DD``, ``genres`` as in ``TMDB_GENRES``. Every other field, job or value is an
``EventError`` that names it. The answer is a JSON object. A job that fails in part raises once the
rest of it is done, so that the same event again does only what is missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ingest.backfill.plan import FOLDER, Question, kept_plan, plan_for
from ingest.backfill.spans import Span
from ingest.backfill.summary import Counted, summarize
from ingest.backfill.windows import Wanted, Window
from ingest.backfill.work import Done, Job, work
from ingest.errors import EventError, IngestError, RunFailed
from ingest.event import datasets_of, day_of, flag, refuse_unknown, wrong
from ingest.fetcher import DATASETS
from ingest.opening import open_stores, open_tmdb
from ingest.report import DatasetReport
from ingest.settings import GENRES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ingest.pacing import Deadline
    from ingest.settings import Settings
    from ingest.tmdb import Tmdb

_RANGE = ("job", "from", "to", "datasets", "genres", "replan")
_FIRST_DAY, _LAST_DAY = date(1800, 1, 1), date(2200, 12, 31)
_FASTEST = 50
_THREADS = 2
"""One window is fetched while another one lands."""


@dataclass(frozen=True, slots=True)
class Run:
    """What an invocation has beside its event."""

    settings: Settings
    deadline: Deadline
    id: str
    told: Callable[[Sequence[DatasetReport]], None] = lambda _: None
    """Called with what is to be counted in metrics."""


def do(event: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Do the job that ``event`` asks for. Raises ``EventError`` before anything is done."""
    jobs = {"plan": _plan, "window": _window, "summary": _summary, "copy-batch": _copy_batch}
    job = event["job"]
    if not isinstance(job, str) or job not in jobs:
        raise wrong("job", job, f"one of {', '.join(jobs)}")
    return jobs[job](event, run)


# plan


def _plan(event: Mapping[str, Any], run: Run) -> dict[str, Any]:
    from ingest.remote.sharing import share  # noqa: PLC0415 - of interest to Step Functions alone

    if "plan" in event:
        refuse_unknown(event, ("job", "plan"))
        plan = kept_plan(open_stores(run.settings)[-1], _key(event["plan"]))
    else:
        question, anew = question_of(event, run.settings), flag(event, "replan")
        with open_tmdb(run.settings, run.deadline) as tmdb:
            plan = plan_for(question, open_stores(run.settings), tmdb, anew=anew)
    shared = share(len(plan.windows), run.settings.rate)
    return {
        **plan.as_json(),
        "bucket": run.settings.bucket,
        "children": shared.children,
        "windows_per_child": shared.windows_per_child,
        "requests_per_second": shared.requests_per_second,
    }


def question_of(event: Mapping[str, Any], settings: Settings) -> Question:
    """Return what a plan is asked for in ``event``. Raises ``EventError``."""
    refuse_unknown(event, _RANGE)
    first, last = (_day(event, name) for name in ("from", "to"))
    if first > last:
        raise EventError(f"the event's from is {first}, after its to, {last}")
    genres = event.get("genres")
    if genres is not None and not (isinstance(genres, str) and re.fullmatch(GENRES, genres)):
        raise wrong("genres", genres, "TMDB genre ids joined by , (all of them) or by | (any)")
    return Question(
        Span(first, last),
        datasets_of(event.get("datasets", list(DATASETS))),
        Wanted(genres, settings.language, settings.include_adult),
        urlsplit(settings.tmdb_base_url).hostname or "",
    )


def _day(event: Mapping[str, Any], name: str) -> date:
    day = day_of(name, event.get(name))
    if not _FIRST_DAY <= day <= _LAST_DAY:
        raise wrong(name, event[name], f"a day from {_FIRST_DAY} to {_LAST_DAY}")
    return day


def _key(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(rf"{FOLDER}/[\w.-]+\.json", value):
        raise wrong("plan", value, f"the key of a plan, such as {FOLDER}/NAME.json")
    return value


# window


def _window(event: Mapping[str, Any], run: Run) -> dict[str, Any]:
    refuse_unknown(event, ("job", "items", "requests_per_second"))
    items = event.get("items")
    if not isinstance(items, list) or not items:
        raise wrong("items", items, "a list of windows of a plan")
    windows = [Window.parse(item) for item in items]
    rate = _rate(event.get("requests_per_second", run.settings.rate))
    with open_tmdb(run.settings, run.deadline, rate) as tmdb:
        job = Job.of(run.settings, tmdb, run.id)
        done: list[Done] = []
        try:
            done.extend(work(windows, job, _THREADS))
        finally:
            run.told(_reports(done, tmdb))
    _raise_for_failures(done)
    sums = Counted.of(done)
    return {
        "windows": len(windows),
        "landed": sum(each.status == "landed" for each in done),
        "skipped": sum(each.status == "skipped" for each in done),
        "incomplete": sums.windows - sums.complete,
        "records": sums.unique_ids,
        "bytes": sums.bytes,
    }


def _rate(value: object) -> float:
    if type(value) not in {int, float} or not 0 < value <= _FASTEST:  # type: ignore[operator]
        raise wrong("requests_per_second", value, f"a number above 0, at most {_FASTEST}")
    return float(value)  # type: ignore[arg-type]


def _raise_for_failures(done: Sequence[Done]) -> None:
    """Raise what windows failed with: the one cause of all, or ``RunFailed`` that names each."""
    failed = [(each.window, each.error) for each in done if each.error]
    if len({type(error) for _, error in failed}) == 1:
        raise failed[0][1]
    if failed:
        told = "; ".join(f"{window}: {error}" for window, error in failed)
        raise RunFailed(
            f"{len(failed)} of {len(done)} windows failed: {told}",
            causes=tuple(error for _, error in failed),
        )


def _reports(done: Sequence[Done], tmdb: Tmdb) -> list[DatasetReport]:
    """Return what is counted of the windows, apart from what is counted of the daily run."""
    reports = []
    for dataset in DATASETS.values():
        of_it = [each for each in done if each.window.dataset is dataset]
        landed = [each for each in of_it if each.status == "landed"]
        failed: list[IngestError] = [each.error for each in of_it if each.error]
        if of_it:
            reports.append(
                DatasetReport(
                    f"{dataset.name}_backfill",
                    "failed" if failed else "landed" if landed else "skipped",
                    records=sum(each.unique_ids for each in landed),
                    bytes=sum(each.bytes for each in landed),
                    consistency="torn" if any(e.consistency == "torn" for e in landed) else None,
                    cause=failed[0] if failed else None,
                    traffic=tmdb.traffic(dataset.endpoint),
                    seconds=sum(each.seconds for each in of_it),
                )
            )
    return reports


# summary, and what is not TMDB's


def _summary(event: Mapping[str, Any], run: Run) -> dict[str, Any]:
    if "plan" not in event:
        from ingest.remote import jobs  # noqa: PLC0415 - a backfill needs nothing of it

        return jobs.summary(event, run.settings, run.deadline)
    refuse_unknown(event, ("job", "plan"))
    lake = open_stores(run.settings)[-1]
    plan = kept_plan(lake, _key(event["plan"]))
    summary = summarize(plan, lake, run.settings.raw_zone_path)
    summary.raise_if_incomplete()
    return summary.as_json()


def _copy_batch(event: Mapping[str, Any], run: Run) -> dict[str, Any]:
    from ingest.remote import jobs  # noqa: PLC0415 - as above

    return jobs.copy_batch(event, run.settings, run.deadline)
