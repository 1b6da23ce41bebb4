"""How the children of a backfill share out the requests that TMDB allows to all of them together.

The functions of Lambda that run side by side cannot count each other's requests, so each gets an
equal share of the rate beforehand. The more children, the smaller the share: what is to be kept is
that the windows of one child are fetched well within the 15 minutes that Lambda gives it.
"""

from __future__ import annotations

from dataclasses import dataclass

_MOST_CHILDREN = 8
_SMALLEST_SHARE = 2.5
"""Requests a second of one child at least: a full window, of 500 pages, then takes 200 s."""
_PAGES = 500
"""Of a full window: TMDB serves no more of one query."""
_TIME_S = 750
"""Of Lambda's 900 s, for the pages of one child. The rest is for landing, and for retries."""
_MOST_WINDOWS = 4
_ROUNDS = 8
"""Each child that runs is to have so many turns, lest the last ones run alone for long."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a backfill does side by side: at most ``children``, each of so many windows at most.

    ``requests_per_second`` is for each of them.
    """

    children: int
    windows_per_child: int
    requests_per_second: float


def share(windows: int, rate: float) -> Share:
    """Return how ``windows`` are fetched with ``rate`` requests a second over all of them.

    ``children * requests_per_second`` is never above ``rate``.
    """
    children = max(1, min(_MOST_CHILDREN, int(rate / _SMALLEST_SHARE), windows))
    # Cut off, not rounded: as a decimal number it is also what Step Functions hands on.
    requests_per_second = int(rate / children * 1_000) / 1_000
    fitting = int(_TIME_S * requests_per_second / _PAGES)
    windows_per_child = max(1, min(_MOST_WINDOWS, fitting, windows // (children * _ROUNDS)))
    return Share(children, windows_per_child, requests_per_second)
