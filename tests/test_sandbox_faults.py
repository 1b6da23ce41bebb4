"""The stand-in of the TMDB API doing wrong what it was told to do wrong, and nothing else."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from ingest.sandbox import SANDBOX_API_KEY, Fault, Sandbox, parse_fault
from ingest.sandbox.faults import FaultPlan
from ingest.sandbox.replies import ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 10
MOVIES = "/discover/movie"


class Client:
    """A signed-in session with a sandbox that has faults."""

    def __init__(self, sandbox: Sandbox, session: requests.Session) -> None:
        self.sandbox = sandbox
        self.session = session

    def get(
        self, path: str = MOVIES, page: int = 1, timeout: float = TIMEOUT_S
    ) -> requests.Response:
        parameters = {"api_key": SANDBOX_API_KEY, "page": str(page)}
        return self.session.get(self.sandbox.base_url + path, params=parameters, timeout=timeout)

    def rows(self, page: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(page=page).json()["results"]
        return found


@contextmanager
def _with(*faults: Fault) -> Iterator[Client]:
    with Sandbox(faults=faults) as sandbox, requests.Session() as session:
        yield Client(sandbox, session)


# Errors


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_tmdb_error_can_be_had_by_its_code(code: int) -> None:
    with _with(Fault("error", code=code)) as client:
        answer = client.get()
    status, message = ERRORS[code]
    assert answer.status_code == status
    assert answer.json()["status_code"] == code
    assert answer.json()["status_message"] == message
    assert answer.json()["success"] is (status < 300)


@pytest.mark.parametrize(
    ("kind", "code"),
    [("400", 47), ("401", 7), ("403", 45), ("404", 34), ("422", 5), ("429", 25), ("500", 11)],
)
def test_a_status_has_tmdbs_body(kind: str, code: int) -> None:
    with _with(Fault(kind)) as client:
        answer = client.get()
    assert (answer.status_code, answer.json()["status_code"]) == (int(kind), code)


@pytest.mark.parametrize("kind", ["502", "503", "504", "418"])
def test_a_gateways_error_is_html(kind: str) -> None:
    with _with(Fault(kind)) as client:
        answer = client.get()
    assert (answer.status_code, answer.headers["Content-Type"]) == (int(kind), "text/html")
    with pytest.raises(requests.JSONDecodeError):
        answer.json()


def test_a_code_makes_a_gateways_error_json() -> None:
    with _with(Fault("503", code=46)) as client:
        assert client.get().json()["status_code"] == 46


def test_a_code_does_not_change_the_status_asked_for() -> None:
    with _with(Fault("500", code=34)) as client:
        answer = client.get()
    assert (answer.status_code, answer.json()["status_code"]) == (500, 34)


def test_429_has_no_retry_after_unless_told() -> None:
    """As the one real 429 on record: neither Retry-After nor Cache-Control."""
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    faults = [Fault("429", times=1), Fault("429", times=1, retry_after="7")]
    with _with(*faults, Fault("503", times=1, retry_after=date)) as client:
        bare, seconds, dated, good = (client.get() for _ in range(4))
    assert not {"Retry-After", "Cache-Control", "ETag"} & set(bare.headers)
    assert (seconds.status_code, seconds.headers["Retry-After"]) == (429, "7")
    assert (dated.status_code, dated.headers["Retry-After"]) == (503, date)
    assert good.status_code == 200


# Which requests


def test_times_path_and_page_narrow_a_fault() -> None:
    with _with(Fault("500", times=2, path="/discover/tv", page=3)) as client:
        assert client.get("/discover/tv", page=2).ok
        assert client.get("/discover/movie", page=3).ok
        assert [client.get("/discover/tv", page=3).status_code for _ in range(3)] == [500, 500, 200]
        assert [seen.status for seen in client.sandbox.requests] == [200, 200, 500, 500, 200]


def test_a_fault_of_lists_is_not_spent_on_other_requests() -> None:
    with _with(Fault("empty-pages", times=1)) as client:
        assert client.get("/genre/movie/list").json()["genres"]
        assert client.rows(1) == []
        assert client.rows(1)


def test_the_first_fault_with_times_left_strikes() -> None:
    with _with(Fault("500", times=1), Fault("404", times=1), Fault("403")) as client:
        assert [client.get().status_code for _ in range(4)] == [500, 404, 403, 403]


@given(times=st.integers(0, 20), threads=st.integers(2, 8))
def test_a_fault_strikes_as_often_as_it_says_however_many_ask(times: int, threads: int) -> None:
    plan = FaultPlan([Fault("500", times=times)])
    with ThreadPoolExecutor(threads) as pool:
        taken = list(pool.map(lambda _: plan.take("/3/discover/tv", 1), range(30)))
    assert sum(fault is not None for fault in taken) == times


# The wire


def test_slow_answers_late_and_right() -> None:
    with _with(Fault("slow", seconds=0.2, times=1)) as client:
        began = time.monotonic()
        late = client.get()
        assert time.monotonic() - began >= 0.2
        assert late.content == client.get().content


def test_stop_does_not_wait_for_slow_or_hanging_answers() -> None:
    sandbox = Sandbox(faults=[Fault("slow", seconds=60, times=1), Fault("hang")]).start()
    failures: list[type[BaseException]] = []
    asked = threading.Barrier(3)

    def ask() -> None:
        with requests.Session() as session:
            url, key = sandbox.base_url, {"api_key": SANDBOX_API_KEY}
            asked.wait()
            try:
                session.get(f"{url}/genre/tv/list", params=key, timeout=TIMEOUT_S)
            except requests.RequestException as problem:
                failures.append(type(problem))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    asked.wait()
    while len(sandbox.requests) < 2:
        time.sleep(0)
    began = time.monotonic()
    sandbox.stop()
    assert time.monotonic() - began < 2
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert failures == [requests.ConnectionError] * 2
    assert [seen.status for seen in sandbox.requests] == [None, None]


def test_hang_never_answers() -> None:
    with _with(Fault("hang")) as client, pytest.raises(requests.ReadTimeout):
        client.get(timeout=0.2)


def test_dropped_closes_without_an_answer() -> None:
    with _with(Fault("dropped", times=1)) as client:
        with pytest.raises(requests.ConnectionError):
            client.get()
        assert client.get().ok
        assert [seen.status for seen in client.sandbox.requests] == [None, 200]


def test_truncated_sends_less_than_it_announces() -> None:
    with _with(Fault("truncated", times=1)) as client:
        with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
            client.get()
        assert client.get().ok


def test_truncated_json_is_whole_http_and_half_json() -> None:
    with _with(Fault("truncated-json", times=1)) as client:
        cut, whole = client.get(), client.get()
    assert cut.status_code == 200
    assert cut.headers["Content-Type"].startswith("application/json")
    assert whole.content.startswith(cut.content)
    with pytest.raises(requests.JSONDecodeError):
        cut.json()


def test_not_json_is_a_good_status_with_html() -> None:
    with _with(Fault("not-json")) as client:
        answer = client.get()
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html")
    assert answer.content.startswith(b"<")


# Lists


def test_null_results() -> None:
    with _with(Fault("null-results")) as client:
        assert client.get().json()["results"] is None


def test_a_record_without_an_id() -> None:
    with _with(Fault("no-id")) as client:
        rows = client.rows(1)
    assert [index for index, row in enumerate(rows) if "id" not in row] == [0]
    assert len(rows) == 20


def test_short_pages_although_more_follow() -> None:
    with _with(Fault("short")) as client:
        pages = [client.get(page=number).json() for number in (1, 2, 3)]
    assert [len(page["results"]) for page in pages] == [19, 15, 19]
    assert pages[0]["total_pages"] > 3


def test_empty_pages_with_many_announced() -> None:
    with _with(Fault("empty-pages")) as client:
        page = client.get(page=37).json()
    assert page == {"page": 37, "results": [], "total_pages": 500, "total_results": 10_000}


def test_duplicates_join_each_page_to_the_next() -> None:
    with _with(Fault("duplicates")) as client:
        first, second, third = (client.rows(number) for number in (1, 2, 3))
    assert [len(page) for page in (first, second, third)] == [20, 20, 20]
    assert first[-1] == second[0]
    assert second[-1] == third[0]


def _age(answer: requests.Response) -> float:
    """How long ago a page was made, by its Date."""
    return time.time() - parsedate_to_datetime(answer.headers["Date"]).timestamp()


def test_torn_gives_an_old_first_page_of_a_smaller_list() -> None:
    """As recorded: Age 21414, three titles fewer; so rows repeat at the border and three lack."""
    with _with(Fault("torn")) as client, _with() as honest:
        first, second = client.get(page=1), client.get(page=2)
        today = honest.rows(1)
    assert first.headers["Age"] == "21414"
    assert first.headers["X-Cache"].startswith("Hit")
    assert 21_410 < _age(first) < 21_450
    assert "Age" not in second.headers
    assert first.json()["total_results"] == second.json()["total_results"] - 3
    ids = [row["id"] for row in first.json()["results"]]
    assert len(ids) == 20
    assert ids[-3:] == [row["id"] for row in second.json()["results"][:3]]
    assert not {row["id"] for row in today[:3]} & set(ids)


def test_torn_age_is_old_with_todays_rows() -> None:
    with _with(Fault("torn-age", page=2, seconds=700)) as client, _with() as honest:
        first, second = client.get(page=1), client.get(page=2)
        assert second.content == honest.get(page=2).content
    assert "Age" not in first.headers
    assert second.headers["Age"] == "700"
    assert 695 < _age(second) < 740


# As text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("429", Fault("429")),
        ("429:times=2,retry_after=1", Fault("429", times=2, retry_after="1")),
        (
            "503:retry_after=Sun, 06 Nov 1994 08:49:37 GMT,times=1",
            Fault("503", times=1, retry_after="Sun, 06 Nov 1994 08:49:37 GMT"),
        ),
        ("error:code=25,path=/tv", Fault("error", code=25, path="/tv")),
        ("slow:seconds=0.5,page=3", Fault("slow", seconds=0.5, page=3)),
    ],
)
def test_a_fault_reads_from_text(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "200",
        "4290",
        "429:times",
        "429:times=",
        "429:when=1",
        "error",
        "error:code=0",
        "slow:seconds=-1",
        "slow:seconds=inf",
        "500:times=-1",
    ],
)
def test_what_is_not_a_fault_says_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_fault(text)
