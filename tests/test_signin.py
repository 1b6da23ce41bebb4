"""The sign-in that the requests of a run share: read once, replaced once, refused for all."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ingest.errors import CredentialsRefused, IngestError, SecretUnavailable
from ingest.signin import SignIn, SignIns

OLD, NEW = SignIn(token="eyJ.old"), SignIn(token="eyJ.new")
REFUSAL = CredentialsRefused("HTTP 401")


class Kept:
    """A secret that is read, and counts how often; an error is raised."""

    def __init__(self, *found: SignIn | IngestError) -> None:
        self.found = list(found)
        self.reads = 0

    def read(self) -> SignIn:
        self.reads += 1
        found = self.found.pop(0)
        if isinstance(found, IngestError):
            raise found
        return found


def test_it_is_read_when_it_is_first_needed_and_once() -> None:
    kept = Kept(OLD)
    sign_ins = SignIns(kept.read)
    assert kept.reads == 0
    assert {sign_ins.current() for _ in range(3)} == {OLD}
    assert kept.reads == 1


def test_what_reading_it_raises_is_raised_for_every_request_and_not_tried_again() -> None:
    kept = Kept(SecretUnavailable("no connection"))
    sign_ins = SignIns(kept.read, kept.read)
    for _ in range(3):
        with pytest.raises(SecretUnavailable, match="no connection"):
            sign_ins.current()
    assert kept.reads == 1


def test_one_that_is_refused_is_replaced_by_what_is_read_anew() -> None:
    kept = Kept(NEW)
    sign_ins = SignIns(lambda: OLD, kept.read)
    sign_ins.replace(sign_ins.current(), REFUSAL)
    assert sign_ins.current() == NEW
    assert kept.reads == 1


def test_a_second_refusal_stands() -> None:
    kept = Kept(NEW, OLD)
    sign_ins = SignIns(lambda: OLD, kept.read)
    sign_ins.replace(sign_ins.current(), REFUSAL)
    with pytest.raises(CredentialsRefused):
        sign_ins.replace(sign_ins.current(), REFUSAL)
    with pytest.raises(CredentialsRefused):
        sign_ins.current()
    assert kept.reads == 1


def test_the_same_one_read_anew_is_no_other() -> None:
    kept = Kept(SignIn(token="eyJ.old"))
    sign_ins = SignIns(lambda: OLD, kept.read)
    with pytest.raises(CredentialsRefused):
        sign_ins.replace(sign_ins.current(), REFUSAL)


def test_without_anything_to_read_anew_the_first_refusal_stands() -> None:
    sign_ins = SignIns(lambda: OLD)
    with pytest.raises(CredentialsRefused):
        sign_ins.replace(sign_ins.current(), REFUSAL)


def test_what_reading_it_anew_raises_ends_the_run_as_well() -> None:
    kept = Kept(SecretUnavailable("no connection"))
    sign_ins = SignIns(lambda: OLD, kept.read)
    old = sign_ins.current()
    for _ in range(2):
        with pytest.raises(SecretUnavailable):
            sign_ins.replace(old, REFUSAL)
    assert kept.reads == 1


def test_requests_that_are_refused_at_once_have_it_read_anew_once() -> None:
    together = threading.Barrier(8)
    kept = Kept(NEW)
    sign_ins = SignIns(lambda: OLD, kept.read)
    old = sign_ins.current()

    def refused() -> SignIn:
        together.wait(30)
        sign_ins.replace(old, REFUSAL)
        return sign_ins.current()

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: refused(), range(8)))
    assert found == [NEW] * 8
    assert kept.reads == 1


def test_it_does_not_show_what_it_signs_with() -> None:
    shown = f"{SignIn(token='eyJ.marked', key='0123')!r}"
    assert "marked" not in shown
    assert "0123" not in shown
