"""The TMDB client against the stand-in: sign-in, parameters, retries, rate and deadline."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from ingest import tmdb as tmdb_module
from ingest.errors import (
    CredentialsRefused,
    DeadlineExceeded,
    IngestError,
    TmdbRefused,
    TmdbUnavailable,
    UnknownParameter,
)
from ingest.pacing import Backoff, Deadline
from ingest.sandbox import SANDBOX_API_KEY, SANDBOX_TOKEN, Fault, Sandbox
from ingest.signin import SignIn, SignIns
from ingest.tmdb import CONNECTIONS, PARAMETERS, Tmdb, Traffic, check_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    StandIn = Callable[..., Sandbox]

MOVIES = "/discover/movie"


@contextmanager
def _client(
    sandbox: Sandbox,
    *,
    rate: int = 50,
    seconds: float = 30,
    retries: int = 2,
    sign_in: SignIn | None = None,
) -> Iterator[Tmdb]:
    """Give a client that does not wait between tries."""
    with Tmdb(
        sandbox.base_url,
        SignIns(lambda: sign_in or SignIn(token=SANDBOX_TOKEN)),
        rate=rate,
        deadline=Deadline(seconds),
        backoff=Backoff(retries=retries, base_s=0),
    ) as client:
        yield client


def _failure(client: Tmdb, params: dict[str, str] | None = None) -> IngestError:
    error = client.submit(MOVIES, params or {}).exception(timeout=20)
    assert isinstance(error, IngestError)
    assert len(str(error).splitlines()) == 1
    return error


# Sign-in


def test_a_token_goes_into_the_header_and_nowhere_else(stand_in: StandIn) -> None:
    sandbox = stand_in()
    with _client(sandbox, sign_in=SignIn(token=SANDBOX_TOKEN, key=SANDBOX_API_KEY)) as client:
        client.submit(MOVIES, {"page": "2"}).result()
    (request,) = sandbox.requests
    assert request.headers["authorization"] == f"Bearer {SANDBOX_TOKEN}"
    assert request.query == {"page": ["2"]}


def test_a_key_goes_into_the_query_and_nowhere_else(stand_in: StandIn) -> None:
    sandbox = stand_in()
    with _client(sandbox, sign_in=SignIn(key=SANDBOX_API_KEY)) as client:
        client.submit(MOVIES, {"page": "2"}).result()
    (request,) = sandbox.requests
    assert request.query == {"page": ["2"], "api_key": [SANDBOX_API_KEY]}
    assert SANDBOX_API_KEY not in str(request.headers)
    assert "authorization" not in request.headers


@pytest.mark.parametrize("sign_in", [SignIn(token=SANDBOX_TOKEN), SignIn(key=SANDBOX_API_KEY)])
def test_netrc_does_not_replace_the_sign_in(
    sign_in: SignIn, stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    sandbox = stand_in()
    with _client(sandbox, sign_in=sign_in) as client:
        client.submit(MOVIES, {}).result()
    assert not sandbox.requests[0].headers.get("authorization", "").startswith("Basic")


# Parameters


@pytest.mark.parametrize("endpoint", ["/discover/movie", "/discover/tv"])
def test_the_known_parameters_are_those_of_tmdbs_own_description(
    endpoint: str, recorded: Path
) -> None:
    described = json.loads((recorded / "tmdb" / "openapi.json").read_bytes())
    parameters = described["paths"][f"/3{endpoint}"]["get"]["parameters"]
    assert PARAMETERS[endpoint] == {parameter["name"] for parameter in parameters}


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        ("/discover/movie", "first_air_date.lte"),
        ("/discover/tv", "primary_release_date.lte"),
        ("/discover/tv", "include_video"),
        ("/discover/tv", "api_key"),
        ("/movie/{id}", "page"),
    ],
)
def test_an_unknown_parameter_is_refused_before_any_request(
    endpoint: str, name: str, stand_in: StandIn
) -> None:
    sandbox = stand_in()
    with (
        _client(sandbox) as client,
        pytest.raises(UnknownParameter, match=f"{endpoint} does not know the parameter {name}"),
    ):
        client.submit(endpoint, {name: "1", "language": "en"}, title=1)
    assert sandbox.requests == []


def test_every_unknown_parameter_is_named() -> None:
    with pytest.raises(UnknownParameter, match="parameter a, b;"):
        check_parameters(MOVIES, {"b": "", "page": "1", "a": ""})


# Answers


def test_an_answer_has_the_body_and_tells_when_it_was_made(stand_in: StandIn) -> None:
    sandbox = stand_in(faults=[Fault("torn-age", seconds=3600)])
    with _client(sandbox) as client:
        cached, fresh = [client.submit(MOVIES, {"page": page}).result() for page in ("1", "2")]
    assert (cached.body["page"], len(cached.body["results"])) == (1, 20)
    assert (cached.age_s, fresh.age_s) == (3600, None)
    assert cached.etag
    assert cached.etag.startswith('W/"')
    assert cached.made_at
    assert fresh.made_at
    assert 3595 <= (fresh.made_at - cached.made_at).total_seconds() <= 3605


def test_a_title_is_asked_for_by_its_id(stand_in: StandIn) -> None:
    sandbox = stand_in()
    with _client(sandbox) as client:
        title = client.submit(MOVIES, {}).result().body["results"][0]["id"]
        assert client.submit("/movie/{id}", {"language": "en"}, title=title).result().body[
            "id"
        ] == (title)
    assert sandbox.requests[-1].path == f"/3/movie/{title}"


# Retries


@pytest.mark.parametrize(
    "kind",
    "429 500 502 503 504 dropped truncated truncated-json not-json".split(),
)
def test_a_passing_failure_is_tried_again(kind: str, stand_in: StandIn) -> None:
    sandbox = stand_in(faults=[Fault(kind, times=2)])
    with _client(sandbox, retries=2) as client:
        assert len(client.submit(MOVIES, {}).result().body["results"]) == 20
    assert len(sandbox.requests) == 3


def test_no_answer_in_time_is_tried_again(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tmdb_module, "_READ_TIMEOUT_S", 0.2)
    sandbox = stand_in(faults=[Fault("hang", times=1)])
    with _client(sandbox) as client:
        assert client.submit(MOVIES, {}).result().body["page"] == 1
    assert len(sandbox.requests) == 2


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("429", "HTTP 429 Your request count (#) is over the allowed limit of (40). (code 25)"),
        ("500", "HTTP 500 Internal error: Something went wrong, contact TMDB. (code 11)"),
        ("502", "HTTP 502 Bad Gateway"),
        ("dropped", "the connection failed"),
        ("truncated", "the answer is cut short"),
        ("truncated-json", "the answer is cut short"),
        ("not-json", "the answer is not JSON"),
    ],
)
def test_a_lasting_failure_ends_after_the_retries(kind: str, told: str, stand_in: StandIn) -> None:
    sandbox = stand_in(faults=[Fault(kind)])
    with _client(sandbox, retries=2) as client:
        error = _failure(client)
    assert isinstance(error, TmdbUnavailable)
    assert error.retryable
    assert f"{MOVIES}: {told}" in str(error)
    assert str(error).endswith(", 3 times in a row")
    assert len(sandbox.requests) == 3


def test_answers_and_tries_made_again_are_counted_by_endpoint(stand_in: StandIn) -> None:
    faults = [Fault("500", path=MOVIES, times=2), Fault("404", path=MOVIES, page=2)]
    with _client(stand_in(faults=faults)) as client:
        assert client.traffic(MOVIES) == Traffic()
        client.submit(MOVIES, {"page": "1"}).result()
        assert client.submit(MOVIES, {"page": "2"}).exception(timeout=20)
        client.submit("/discover/tv", {}).result()
        client.submit("/movie/{id}", {}, title=first_movie(client)).result()
        assert client.traffic(MOVIES) == Traffic(answers=2, retries=2)
        assert client.traffic("/discover/tv") == Traffic(answers=1)
        assert client.traffic("/movie/{id}") == Traffic(answers=1)


def first_movie(client: Tmdb) -> int:
    return int(client.submit(MOVIES, {"page": "1"}).result().body["results"][0]["id"])


@pytest.mark.parametrize(
    ("fault", "kind", "told"),
    [
        (Fault("400"), TmdbRefused, "HTTP 400 The input is not valid. (code 47)"),
        (Fault("error", code=22), TmdbRefused, "HTTP 400 Invalid page: Pages start at 1"),
        (Fault("401"), CredentialsRefused, "HTTP 401 Invalid API key"),
        (Fault("error", code=10), CredentialsRefused, "HTTP 401 Suspended API key"),
        (Fault("403"), TmdbRefused, "HTTP 403 This user has been suspended. (code 45)"),
        (Fault("404"), TmdbRefused, "HTTP 404 The resource you requested could not be found."),
        (Fault("422"), TmdbRefused, "HTTP 422 Invalid parameters"),
        (Fault("418"), TmdbRefused, "HTTP 418 I'm a Teapot"),
        (Fault("error", code=2), TmdbRefused, "HTTP 501 Invalid service"),
        (Fault("599"), TmdbRefused, "HTTP 599"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_a_refusal_is_final_and_asked_for_once(
    fault: Fault, kind: type[IngestError], told: str, stand_in: StandIn
) -> None:
    sandbox = stand_in(faults=[fault])
    with _client(sandbox) as client:
        error = _failure(client)
    assert type(error) is kind
    assert f"{MOVIES}: {told}" in str(error)
    assert "<" not in str(error)
    assert len(sandbox.requests) == 1


def test_a_refused_sign_in_stops_everything_that_is_queued(stand_in: StandIn) -> None:
    sandbox = stand_in(faults=[Fault("401")])
    with _client(sandbox) as client:
        asked = [client.submit(MOVIES, {"page": str(page)}) for page in range(1, 41)]
        errors = [answer.exception(timeout=20) for answer in asked]
    assert {type(error) for error in errors} == {CredentialsRefused}
    assert "TMDB_ACCESS_TOKEN" in str(errors[0])
    assert len(sandbox.requests) <= CONNECTIONS


# Retry-After


def test_retry_after_is_waited_for(stand_in: StandIn) -> None:
    sandbox = stand_in(faults=[Fault("429", times=1, retry_after="1")])
    with _client(sandbox) as client:
        client.submit(MOVIES, {}).result()
    first, second = sandbox.requests
    assert 0.99 <= second.at - first.at < 5


def test_nobody_asks_while_tmdb_wants_quiet(stand_in: StandIn) -> None:
    sandbox = stand_in(faults=[Fault("429", times=1, retry_after="2")])
    with _client(sandbox, rate=1) as client:
        for answer in [client.submit(MOVIES, {"page": str(page)}) for page in (1, 2, 3)]:
            client.result(answer)
    first, *others = sandbox.requests
    assert min(request.at for request in others) - first.at > 1.99


def _in(seconds: int) -> str:
    return format_datetime(datetime.fromtimestamp(time.time() + seconds, UTC), usegmt=True)


@pytest.mark.parametrize("retry_after", ["3600", _in(3600)], ids=["seconds", "date"])
@pytest.mark.parametrize("kind", ["429", "503"])
def test_a_wait_beyond_the_deadline_is_not_begun(
    kind: str, retry_after: str, stand_in: StandIn
) -> None:
    sandbox = stand_in(faults=[Fault(kind, retry_after=retry_after)])
    begun = time.monotonic()
    with _client(sandbox, seconds=20) as client:
        error = _failure(client)
        other = _failure(client, {"page": "2"})
    assert time.monotonic() - begun < 10
    assert isinstance(error, DeadlineExceeded)
    assert f"HTTP {kind}" in str(error)
    assert isinstance(other, DeadlineExceeded)  # the server has asked for quiet
    assert len(sandbox.requests) == 1


# Rate, connections and deadline


def test_no_more_connections_than_allowed_are_used(stand_in: StandIn) -> None:
    sandbox = stand_in(latency_s=0.05)
    with _client(sandbox) as client:
        asked = [client.submit(MOVIES, {"page": str(page)}) for page in range(1, 41)]
        assert [answer.result().body["page"] for answer in asked] == list(range(1, 41))
    assert 1 < sandbox.peak_connections <= 10


def test_the_server_sees_no_more_requests_a_second_than_the_rate(stand_in: StandIn) -> None:
    sandbox = stand_in()
    with _client(sandbox, rate=6) as client:
        asked = [client.submit(MOVIES, {"page": str(page)}) for page in range(1, 15)]
        assert all(answer.result().body["page"] for answer in asked)
    seen = sorted(request.at for request in sandbox.requests)
    gaps = [later - first for first, later in zip(seen, seen[6:], strict=False)]
    # A busy machine delays the one or the other: a tenth of a second is left for that.
    assert min(gaps) > 0.9


def test_retries_count_towards_the_rate(stand_in: StandIn) -> None:
    sandbox = stand_in(faults=[Fault("500", times=3)])
    with _client(sandbox, rate=3, retries=3) as client:
        client.submit(MOVIES, {}).result()
    seen = [request.at for request in sandbox.requests]
    assert seen[3] - seen[0] > 0.9


@pytest.mark.parametrize("kind", ["hang", "500", "dropped", "truncated"])
def test_failures_end_at_the_deadline(kind: str, stand_in: StandIn) -> None:
    sandbox = stand_in(faults=[Fault(kind)])
    begun = time.monotonic()
    with _client(sandbox, rate=5, seconds=0.5, retries=1_000_000) as client:
        error = _failure(client)
    assert isinstance(error, DeadlineExceeded)
    assert error.retryable
    assert time.monotonic() - begun < 5


def test_nothing_is_asked_after_the_deadline(stand_in: StandIn) -> None:
    sandbox = stand_in()
    with _client(sandbox, seconds=-1) as client:
        assert isinstance(_failure(client), DeadlineExceeded)
    assert sandbox.requests == []


def test_closing_ends_every_wait_and_drops_what_is_queued(stand_in: StandIn) -> None:
    sandbox = stand_in(faults=[Fault("429", retry_after="100")])
    begun = time.monotonic()
    with _client(sandbox, seconds=1000) as client:
        asked = [client.submit(MOVIES, {"page": str(page)}) for page in range(1, 31)]
        while not any(request.status for request in sandbox.requests):
            threading.Event().wait(0.01)
    outcomes: list[Any] = [
        "cancelled" if answer.cancelled() else answer.exception(timeout=20) for answer in asked
    ]
    assert time.monotonic() - begun < 20
    assert outcomes.count("cancelled") >= 30 - CONNECTIONS
    assert all(
        outcome == "cancelled" or "the run was stopped" in str(outcome) for outcome in outcomes
    )
    for answer in asked:
        with pytest.raises(TmdbUnavailable, match="the run was stopped"):
            client.result(answer)
