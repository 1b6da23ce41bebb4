"""Part sizes, and the ETags of what was uploaded in parts: their laws, and moto's."""

from __future__ import annotations

import hashlib
import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.storage.api import api_of
from ingest.storage.etags import etag_of, is_md5, parts_in, plausible_part_sizes
from ingest.storage.multipart import upload_file
from ingest.storage.parts import PartLimits, part_size, part_size_of
from ingest.storage.uploads import Target
from stores import clients_of

if TYPE_CHECKING:
    from pathlib import Path

    from support import S3Server

MIB = 1 << 20
PART = 5 * MIB
SIZE = 3 * PART + 12_345  # four parts


def md5(data: bytes) -> Any:
    return hashlib.md5(data, usedforsecurity=False)


LIMITS = st.builds(
    PartLimits,
    preferred=st.integers(1, 64).map(lambda mib: mib * MIB),
    most_parts=st.integers(1, 10_000),
)


class TestPartSizes:
    @given(st.integers(1, 5 * MIB * MIB), LIMITS)
    def test_never_need_more_parts_than_allowed(self, size: int, limits: PartLimits) -> None:
        if size > limits.largest_file:
            return
        chosen = part_size(size, limits)
        assert -(-size // chosen) <= limits.most_parts
        assert limits.smallest <= chosen <= limits.largest
        wanted = max(limits.preferred, limits.smallest)
        assert chosen == wanted or (chosen > wanted and -(-size // wanted) > limits.most_parts)

    def test_of_the_largest_object(self) -> None:
        assert part_size(5 * MIB * MIB, PartLimits()) == 525 * MIB

    @given(st.data(), st.integers(1, 300 * MIB), st.integers(5 * MIB, 40 * MIB))
    def test_are_recognised_by_any_of_the_parts(
        self, data: st.DataObject, size: int, true_size: int
    ) -> None:
        count = -(-size // true_size)
        numbers = data.draw(st.sets(st.integers(1, count), min_size=1))
        sizes = {each: min(true_size, size - (each - 1) * true_size) for each in numbers}
        guess = part_size_of(sizes, size, PartLimits())
        assert guess is not None
        if numbers != {count}:
            assert guess == true_size
        for number, each in sizes.items():
            assert each == min(guess, size - (number - 1) * guess)

    @pytest.mark.parametrize(
        "sizes",
        [
            {},
            {1: PART, 2: PART + 1},
            {1: PART, 5: PART},
            {4: 0},
            {1: MIB},
            {1: 2 * SIZE},
        ],
    )
    def test_of_parts_that_do_not_fit_are_none(self, sizes: dict[int, int]) -> None:
        assert part_size_of(sizes, SIZE, PartLimits()) is None


class TestEtags:
    @given(st.binary(max_size=300), st.integers(1, 80))
    def test_of_a_file_are_the_md5_of_its_parts_md5s(
        self, tmp_path_factory: pytest.TempPathFactory, data: bytes, size: int
    ) -> None:
        file = tmp_path_factory.getbasetemp() / f"etag-{os.getpid()}"
        file.write_bytes(data)
        parts = [data[start : start + size] for start in range(0, len(data) or 1, size)]
        digests = b"".join(md5(each).digest() for each in parts)
        etag = etag_of(file, size)
        assert etag == f"{md5(digests).hexdigest()}-{len(parts)}"
        assert (parts_in(etag), is_md5(etag)) == (len(parts), False)
        whole = etag_of(file, None)
        assert whole == md5(data).hexdigest()
        assert (parts_in(whole), is_md5(whole)) == (None, True)

    @pytest.mark.parametrize("size", [PART, PART + 1, SIZE])
    def test_are_those_of_the_store(self, moto_server: S3Server, tmp_path: Path, size: int) -> None:
        bucket, client = moto_server.new_bucket(), moto_server.client()
        file = tmp_path / "file"
        file.write_bytes(os.urandom(size))
        with closing(api_of(clients_of(moto_server), bucket)) as api:
            target = Target(api, bucket, "parts")
            upload_file(target, file, limits=PartLimits(preferred=PART))
        etag = client.head_object(Bucket=bucket, Key="parts")["ETag"].strip('"')
        client.put_object(Bucket=bucket, Key="whole", Body=file.read_bytes())
        whole = client.head_object(Bucket=bucket, Key="whole")["ETag"].strip('"')
        assert (etag, whole) == (etag_of(file, PART), etag_of(file, None))

    @given(st.integers(1, 5 * MIB * MIB), st.sampled_from([5, 8, 15, 16, 50, 64, 100]))
    def test_tell_the_part_sizes_of_the_usual_tools(self, size: int, mib: int) -> None:
        used = part_size(size, PartLimits(preferred=mib * MIB))
        parts = -(-size // used)
        found = plausible_part_sizes(size, parts)
        assert used in found
        assert all(-(-size // each) == parts for each in found)
        assert len(set(found)) == len(found)

    @pytest.mark.parametrize(
        ("size", "used"),
        [
            (100_000 * MIB, 16 * MIB),  # boto3 doubles its 8 MiB
            (600_000 * MIB, 600_000 * MIB // 10_000 + 1),  # s5cmd, whose 50 MiB do not suffice
        ],
    )
    def test_tell_the_part_sizes_that_tools_grow(self, size: int, used: int) -> None:
        assert used in plausible_part_sizes(size, -(-size // used))

    def test_of_nothing_tell_nothing(self) -> None:
        assert plausible_part_sizes(0, 1) == plausible_part_sizes(5, 0) == ()
