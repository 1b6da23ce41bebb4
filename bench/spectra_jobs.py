"""A directory to a bucket of a BlackPearl by the Spectra store, or what is there by now.

::

    python bench/spectra_jobs.py put DIRECTORY BUCKET
    python bench/spectra_jobs.py count DIRECTORY BUCKET
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.files.scan import Scan, scan
from ingest.settings import AccessKey
from ingest.storage.base import PutItem, Transfer
from ingest.storage.spectra.store import SpectraStore
from ingest.storage.spectra.wire import Appliance, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator


def items(directory: Path) -> Iterator[PutItem]:
    for entry in scan(directory, Scan(lambda problem: print(problem.message))):
        stat = getattr(entry, "stat", None)
        yield PutItem(entry.key, directory / entry.key, "application/octet-stream", {}, stat)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("put", "count"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("bucket")
    parser.add_argument("--threads", type=int, default=16)
    options = parser.parse_args()
    key = AccessKey(os.environ["DS3_ACCESS_KEY"], os.environ["DS3_SECRET_KEY"])
    store = SpectraStore(options.bucket, Wire(Appliance(os.environ["DS3_ENDPOINT"], key)))
    if options.what == "count":
        found = list(store.list())
        print(len(found), sum(entry.size for entry in found))
        return
    for outcome in store.put_many(items(options.directory), Transfer(threads=options.threads)):
        if outcome.error:
            raise outcome.error


if __name__ == "__main__":
    main()
