"""``python -m ingest.sandbox``: serve the stand-in until interrupted."""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.sandbox import SANDBOX_API_KEY, SANDBOX_TOKEN, Fault, Sandbox, parse_fault
from ingest.sandbox.faults import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.sandbox.catalogue import Dataset
    from ingest.sandbox.scaled import Titles


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C. Gives 130 then, and 2 where it cannot listen or is misconfigured."""
    options = _parser().parse_args(arguments)
    credentials = frozenset(options.credential) or None
    try:
        sandbox = Sandbox(
            host=options.host,
            port=options.port,
            latency_s=options.latency,
            faults=options.fault,
            recorded=options.recorded,
            titles=_each(options.titles) if options.titles else None,
            credentials=credentials,
        )
    except (OSError, ValueError) as problem:
        return _refuse(str(problem))
    try:
        sandbox.start()
        print(f"sandbox: {sandbox.base_url} accepts {_accepted(credentials)}", flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        return 130
    except (OSError, OverflowError) as problem:
        return _refuse(f"cannot listen on {options.host}:{options.port}: {problem}")
    finally:
        sandbox.stop()
    return 0


def _refuse(why: str) -> int:
    print(f"sandbox: {why}", file=sys.stderr)
    return 2


def _accepted(credentials: frozenset[str] | None) -> str:
    if credentials:
        return " or ".join(sorted(credentials))
    return (
        f"any Bearer token that starts with eyJ ({SANDBOX_TOKEN}) "
        f"or any api_key of 32 hex digits ({SANDBOX_API_KEY})"
    )


def _fault(text: str) -> Fault:
    try:
        return parse_fault(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < threading.TIMEOUT_MAX:
        message = f"not a number of seconds: {text}"
        raise argparse.ArgumentTypeError(message)
    return seconds


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        message = f"not a number of titles: {text}"
        raise argparse.ArgumentTypeError(message)
    return number


def _each(movies: int) -> dict[Dataset, Titles]:
    return {"movie": movies, "tv": movies // 5}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ingest.sandbox",
        description="Serve a stand-in of the TMDB API, with invented titles, on loopback.",
        epilog=f"Faults: 400 to 599, {', '.join(sorted(KINDS))}. Their keys: times, page, path, "
        "code, retry_after, seconds.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8080, help="port; 0 takes any free one")
    parser.add_argument(
        "--latency", type=_seconds, default=0.0, metavar="SECONDS", help="wait before every answer"
    )
    parser.add_argument(
        "--fault",
        type=_fault,
        action="append",
        default=[],
        metavar="KIND[:key=value,...]",
        help="something to do wrong, such as 429:times=2,retry_after=1; may be repeated",
    )
    parser.add_argument(
        "--credential",
        action="append",
        default=[],
        metavar="VALUE",
        help="accept only this token or key; may be repeated",
    )
    parser.add_argument(
        "--recorded", type=Path, metavar="DIR", help="serve the recorded answers of a directory"
    )
    parser.add_argument(
        "--titles",
        type=_number,
        metavar="N",
        help="a catalogue of N movies and a fifth as many series, over the years as TMDB's are",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
