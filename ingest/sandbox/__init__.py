"""A stand-in of the TMDB API, served over real HTTP on loopback.

It runs the main job with no key and no network, and serves tests and benchmarks::

    with Sandbox(faults=[Fault("429", times=2, retry_after="1")]) as sandbox:
        requests.get(f"{sandbox.base_url}/discover/movie", params={"api_key": SANDBOX_API_KEY})

Its titles are invented; its shape, errors and headers are those of recorded answers.
"""

from ingest.sandbox.faults import Fault, parse_fault
from ingest.sandbox.server import SANDBOX_API_KEY, SANDBOX_TOKEN, Sandbox, SeenRequest

__all__ = [
    "SANDBOX_API_KEY",
    "SANDBOX_TOKEN",
    "Fault",
    "Sandbox",
    "SeenRequest",
    "parse_fault",
]
