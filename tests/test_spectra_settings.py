"""The settings of an appliance, and an error that names those that are missing."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from ingest.errors import SettingsError
from ingest.settings import AccessKey
from ingest.settings.appliance import load_appliance

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = {
    "DS3_ENDPOINT": "blackpearl.example",
    "DS3_ACCESS_KEY": "c3BlY3RyYQ==",
    "DS3_SECRET_KEY": "secret-of-mine",
}


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ("blackpearl", "http://blackpearl"),
        ("blackpearl:8080", "http://blackpearl:8080"),
        ("blackpearl:8080/", "http://blackpearl:8080"),
        ("http://10.1.18.12", "http://10.1.18.12"),
        ("https://blackpearl.example/", "https://blackpearl.example"),
        ("https://blackpearl.example:8443/", "https://blackpearl.example:8443"),
        ("  https://[::1]:8443  ", "https://[::1]:8443"),
    ],
)
def test_an_endpoint_has_a_scheme_and_a_port_or_not(given: str, endpoint: str) -> None:
    """S-D20: a slash at its end, for one, is part of the host for the vendor's SDK."""
    assert load_appliance({**WHOLE, "DS3_ENDPOINT": given}).endpoint == endpoint


@pytest.mark.parametrize(
    "given",
    ["https://host/path", "ftp://host", "http://", "http://user:secret@host", "a b", "h:99999999"],
)
def test_an_endpoint_that_is_none_is_told(given: str) -> None:
    with pytest.raises(SettingsError, match="DS3_ENDPOINT") as told:
        load_appliance({**WHOLE, "DS3_ENDPOINT": given})
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    "missing", [names for n in (1, 2, 3) for names in itertools.combinations(WHOLE, n)]
)
def test_what_is_missing_is_named_and_nothing_else(missing: tuple[str, ...]) -> None:
    environ = {name: text for name, text in WHOLE.items() if name not in missing}
    with pytest.raises(SettingsError) as told:
        load_appliance(environ)
    for name in WHOLE:
        assert (name in str(told.value)) is (name in missing)


def test_what_is_empty_is_missing() -> None:
    with pytest.raises(SettingsError, match=r"^DS3_SECRET_KEY is not set$"):
        load_appliance({**WHOLE, "DS3_SECRET_KEY": "  "})


def test_everything_has_its_place_and_no_secret_is_shown() -> None:
    found = load_appliance({**WHOLE, "http_proxy": "http://user:password@proxy:3128/"})
    assert found.key == AccessKey("c3BlY3RyYQ==", "secret-of-mine")
    assert found.proxy == "http://user:password@proxy:3128"
    assert (found.job_objects, found.patience_s) == (1000, 21600)
    for secret in ("secret-of-mine", "c3BlY3RyYQ==", "password"):
        assert secret not in repr(found)


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("from-a-file\n")
    environ = {**WHOLE, "DS3_SECRET_KEY": "", "DS3_SECRET_KEY_FILE": str(path)}
    assert load_appliance(environ).key.secret_access_key == "from-a-file"


@pytest.mark.parametrize(
    ("proxy", "no_proxy", "used"),
    [
        ("proxy:3128", "", "http://proxy:3128"),
        ("http://proxy:3128", "other.example", "http://proxy:3128"),
        ("http://proxy:3128", "other.example,.example", None),
        ("http://proxy:3128", "blackpearl.example", None),
        ("http://proxy:3128", "*", None),
    ],
)
def test_a_proxy_is_for_what_no_proxy_does_not_name(
    proxy: str, no_proxy: str, used: str | None
) -> None:
    assert load_appliance({**WHOLE, "http_proxy": proxy, "no_proxy": no_proxy}).proxy == used


def test_a_proxy_that_is_none_is_told_without_its_password() -> None:
    with pytest.raises(SettingsError, match="http_proxy holds a value of") as told:
        load_appliance({**WHOLE, "http_proxy": "socks://user:password@host"})
    assert "password" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DS3_JOB_OBJECTS", "0"),
        ("DS3_JOB_OBJECTS", "500001"),
        ("DS3_JOB_OBJECTS", "many"),
        ("DS3_PATIENCE", "0"),
        ("DS3_ACCESS_KEY", "not one word"),
    ],
)
def test_a_value_out_of_bounds_is_told(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load_appliance({**WHOLE, name: text})


def test_bounds_are_what_the_appliance_takes() -> None:
    found = load_appliance({**WHOLE, "DS3_JOB_OBJECTS": "500000", "DS3_PATIENCE": "60"})
    assert (found.job_objects, found.patience_s) == (500_000, 60)
