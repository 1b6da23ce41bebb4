"""A directory to a bucket of a BlackPearl, each file by a PUT of its own: the plain way to measure.

::

    python bench/spectra_puts.py DIRECTORY BUCKET

There is no job, no checksum and no second try: threads, a session of ``requests`` and a kept-alive
connection each, and a signature of version 2.
"""

from __future__ import annotations

import argparse
import base64
import hmac
import os
import threading
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import requests
from requests.auth import AuthBase

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDPOINT, ACCESS, SECRET = (
    os.environ[name] for name in ("DS3_ENDPOINT", "DS3_ACCESS_KEY", "DS3_SECRET_KEY")
)


class Signed(AuthBase):
    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        date = formatdate(usegmt=True)
        text = "\n".join((request.method or "", "", "", date, request.path_url))
        digest = hmac.digest(SECRET.encode(), text.encode(), "sha1")
        request.headers["Date"] = date
        request.headers["Authorization"] = f"AWS {ACCESS}:{base64.b64encode(digest).decode()}"
        return request


def put(files: Iterator[Path], directory: Path, bucket: str, taking: threading.Lock) -> None:
    with requests.Session() as session:
        session.auth = Signed()
        session.trust_env = False  # which would read .netrc for each
        while True:
            with taking:
                path = next(files, None)
            if path is None:
                return
            key = quote(path.relative_to(directory).as_posix())
            url = f"{ENDPOINT}/{bucket}/{key}"
            session.put(url, data=path.read_bytes(), timeout=60).raise_for_status()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("bucket")
    parser.add_argument("--threads", type=int, default=16)
    options = parser.parse_args()
    files = iter(sorted(options.directory.rglob("*.bin")))
    given = (files, options.directory, options.bucket, threading.Lock())
    threads = [threading.Thread(target=put, args=given) for _ in range(options.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
