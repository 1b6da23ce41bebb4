"""What the vendor's Python SDK does wrong, and what its siblings can do: each has its tests.

The ids are those of the defects, ``S-D01`` to ``S-D26``, which the tests that would catch them
name; and of what a better client has to do, which ``ABILITIES`` maps to tests.
"""

from __future__ import annotations

import ast
import itertools
import os
import re
from typing import TYPE_CHECKING

import pytest

from blackpearl import Blackpearl
from faultproxy import Answer, Rule
from pearls import told
from stores import OLD, write
from support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TESTS = REPOSITORY / "tests"
ON_BOTH = ("attributes", "discard", "files_from", "preserve")
"""Tests of what ``s3://`` has as well."""

DEFECTS = {
    "S-D01": "a longer file that was there is not truncated, and written in place",
    "S-D02": "keys lead outside of the destination",
    "S-D03": "a body that is cut short counts as whole",
    "S-D04": "after a 307 the rest of a stream is sent, of which there is none",
    "S-D05": "a file that changed hangs the transfer, or is truncated",
    "S-D06": "nothing is tried again",
    "S-D07": "chunks are asked for without a pause, for ever",
    "S-D08": "a job that failed stays for a day, and cannot be resumed",
    "S-D09": "a first failure does not end the rest of a chunk",
    "S-D10": "Retry-After is not heeded; a full cache is waited for for ever",
    "S-D11": "headers are signed in the wrong case and order",
    "S-D12": "policies with CRC-32C or no checksum end in a TypeError",
    "S-D13": "a source that does not exist is a success",
    "S-D14": "broken links end the transfer, pipes are waited for",
    "S-D15": "empty lists and names that come twice are left to the appliance",
    "S-D16": "a listing without IsLatest ends in an AttributeError",
    "S-D17": "an error that is no XML ends in one of the parser",
    "S-D18": "blobs in the cache are sent again; two versions of a name collide",
    "S-D19": "what is downloaded is not compared; no metadata",
    "S-D20": "a slash at the endpoint's end breaks it; nothing times out",
    "S-D21": "a file and a directory of one name end the transfer",
    "S-D22": "iterators are read once, and empty then",
    "S-D23": "what may not be overwritten is, and exceptions are swallowed",
    "S-D24": "the README's example does not run",
    "S-D25": "the first thousand objects alone are listed",
    "S-D26": "what is False is sent, and taken for true",
}

ABILITIES = {
    "one engine for directories": """
        test_a_directory_goes_up_and_comes_down
        test_rm_recursive_deletes_a_directory_by_one_request
        test_copies_and_moves_within_the_appliance_have_other_names
        test_the_suite_is_here""",
    "jobs of so many objects": """
        test_a_job_has_so_many_objects test_a_job_has_as_many_objects_as_are_set
        test_bounds_are_what_the_appliance_takes""",
    "blobs in any order, more than once, or there already": """
        test_files_arrive_whatever_the_appliance_makes_of_them test_each_blob_is_sent_once
        test_objects_land_whatever_the_appliance_has_made_of_them
        test_an_upload_that_was_killed_is_gone_on_with_by_its_id_alone
        test_as_many_chunks_are_asked_for_as_there_are_threads""",
    "Retry-After, and an end of patience": """
        test_chunks_are_asked_for_again_when_the_appliance_says test_a_wait_has_bounds
        test_a_cache_that_stays_full_is_given_up test_patience_has_an_end""",
    "a job that is gone is told from one that is done": """
        test_a_job_that_is_lost_fails_what_is_left_at_once
        test_a_job_that_somebody_else_finishes_is_done
        test_a_job_that_somebody_completes_without_the_rest_is_not_done""",
    "each blob is tried again from its start": """
        test_a_blob_that_finds_no_room_is_sent_again_from_its_start
        test_a_blob_that_fails_on_the_way_is_sent_again
        test_a_file_that_changes_while_it_is_sent_never_arrives
        test_an_appliance_that_says_nothing_is_not_waited_for_for_ever""",
    "what fails is named, and its job ended or kept": """
        test_what_fails_is_named_the_rest_is_done_and_deletes_are_not
        test_a_job_that_cannot_be_done_is_ended_and_what_arrived_whole_stays
        test_ctrl_c_ends_the_job_unless_it_is_to_be_kept
        test_what_is_left_is_listed_until_it_is_ended""",
    "checksums as the policy asks, both ways": """
        test_each_blob_has_the_checksum_that_the_data_policy_asks_for
        test_without_a_checksum_in_the_data_policy_none_is_sent
        test_what_is_not_of_its_checksum_is_fetched_again
        test_a_file_is_compared_with_the_checksums_of_an_objects_blobs""",
    "files that land whole, inside, with their directories": """
        test_a_file_that_was_there_survives_a_failure test_no_path_leads_outside
        test_no_key_leads_outside_and_the_rest_is_downloaded
        test_directories_without_a_file_go_along_when_asked""",
    "metadata both ways": """
        test_metadata_and_type_come_back test_metadata_is_written_as_the_vendors_java_sdk_does
        test_a_vector_is_signed_as_it_should_be""",
    "settings": """
        test_what_is_missing_is_named_and_nothing_else
        test_settings_that_are_missing_are_named_and_no_others
        test_an_endpoint_has_a_scheme_and_a_port_or_not test_requests_go_through_a_proxy""",
    "parts, versions, priorities, names, tapes, health": """
        test_an_object_is_written_to_stdout_whole_or_in_part
        test_ls_shows_every_version_and_cat_reads_one
        test_a_job_has_the_name_and_the_priority_that_are_asked_for test_tapes_are_told
        test_the_doctor_looks_at_everything_and_leaves_nothing
        test_the_doctor_names_the_first_thing_that_is_wrong""",
    "sync by time and size": """
        test_a_second_sync_has_nothing_to_do_in_either_direction
        test_what_is_newer_is_sent_and_what_is_older_is_not""",
    "content that is read and dropped": """
        test_a_tape_is_read_blob_by_blob test_a_tape_that_has_other_bytes_is_told""",
    "a list of names": """
        test_a_list_goes_to_a_blackpearl_and_comes_back test_names_come_from_standard_input""",
    "attributes of files, in the vendor's words": """
        test_ds3_gives_back_all_to_the_millisecond test_metadata_are_in_the_words_of_others
        test_what_the_vendors_java_writes_is_read
        test_a_job_that_is_resumed_has_the_attributes_that_it_began_with""",
    "an end with the first failure, where that is asked for": """
        test_the_first_failure_ends_a_transfer_where_that_is_asked_for""",
}


@pytest.fixture
def pearl() -> Iterator[Blackpearl]:
    with Blackpearl(blob_size=10, chunk_blobs=1) as pearl:
        yield pearl


def those_there_are() -> dict[str, str]:
    """Every test of the Spectra store, and of the commands on it, with its docstring."""
    found = {}
    paths = (TESTS.glob(f"test_{name}.py") for name in ("spectra_*", "ds3_*", *ON_BOTH))
    for path in itertools.chain(*paths):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                found[node.name] = ast.get_docstring(node) or ""
    return found


def test_every_defect_has_a_test_that_names_it() -> None:
    named = re.findall(r"S-D\d\d", " ".join(those_there_are().values()))
    assert set(named) == set(DEFECTS)


@pytest.mark.parametrize("ability", ABILITIES)
def test_every_ability_has_its_tests(ability: str) -> None:
    assert set(ABILITIES[ability].split()) <= those_there_are().keys()


# What no other test is for


def test_as_many_chunks_are_asked_for_as_there_are_threads(
    pearl: Blackpearl, tmp_path: Path
) -> None:
    here = write(tmp_path / "here", {"a": b"x" * 95})
    words = ("--concurrency", "3")
    assert told(pearl, "upload", here, f"ds3://{pearl.new_bucket()}", *words).exit_code == 0
    first, *_ = pearl.seen("GET", "/_rest_/job_chunk")
    assert "preferred_number_of_chunks=3" in first.query


@pytest.mark.parametrize("more", [[], ["--fail-fast"]])
def test_the_first_failure_ends_a_transfer_where_that_is_asked_for(
    pearl: Blackpearl, tmp_path: Path, more: list[str]
) -> None:
    bucket = pearl.new_bucket()
    names = [f"{number:03}" for number in range(60)]
    here = write(tmp_path / "here", dict.fromkeys(names, b"1"))
    pearl.rules.append(Rule(Answer(400, "InvalidArgument", "No."), "PUT", f"/{bucket}/000"))
    words = ("--concurrency", "1", *more)
    done = told(pearl, "upload", here, f"ds3://{bucket}", *words)
    assert (done.exit_code, done.stderr.count("failed: ")) == (1, 1)
    assert (len(pearl.contents(bucket)) < 30) == bool(more)
    # What was not begun can be gone on with: ingest jobs resume.
    assert [job.status for job in pearl.jobs] == ["IN_PROGRESS" if more else "COMPLETED"]


def test_what_is_newer_is_sent_and_what_is_older_is_not(pearl: Blackpearl, tmp_path: Path) -> None:
    bucket = pearl.new_bucket()
    pearl.put(bucket, "older", b"there")
    pearl.put(bucket, "newer", b"there")
    here = write(tmp_path / "here", {"older": b"here!", "newer": b"here!"})
    later = OLD + 10**9
    os.utime(here / "newer", (later, later))
    assert told(pearl, "sync", here, f"ds3://{bucket}").exit_code == 0
    assert pearl.contents(bucket) == {"older": b"there", "newer": b"here!"}
    back = write(tmp_path / "back", {"older": b"back!"})
    assert told(pearl, "sync", f"ds3://{bucket}", back).exit_code == 0
    assert (back / "older").read_bytes() == b"there"
