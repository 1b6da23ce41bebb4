"""Signatures, beside AWS's own example and botocore's."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest import mock
from urllib.parse import quote

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from ingest.settings import AccessKey
from ingest.storage.signing import UNSIGNED, host_and_target, signed

_KEY = AccessKey("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
_MAY_24 = datetime(2013, 5, 24, tzinfo=UTC)
_TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)


def test_the_listing_of_aws_documentation() -> None:
    url = "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J"
    headers = signed("GET", url, _KEY, "us-east-1", now=_MAY_24)
    assert headers["Authorization"].endswith(
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
        "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    )


def test_the_range_of_aws_documentation() -> None:
    url = "https://examplebucket.s3.amazonaws.com/test.txt"
    range_ = {"Range": "bytes=0-9"}
    headers = signed("GET", url, _KEY, "us-east-1", headers=range_, now=_MAY_24)
    assert headers["Authorization"].endswith(
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )
    assert headers["Range"] == "bytes=0-9"


@given(
    st.sampled_from(["GET", "PUT", "HEAD"]),
    st.sampled_from(["http://127.0.0.1:9000", "https://s3.example.com", "http://[::1]:80"]),
    _TEXT,
    st.dictionaries(_TEXT.filter(bool), _TEXT, max_size=4),
    st.none() | st.just("a/session+token=="),
)
def test_botocore_signs_the_same(
    method: str, server: str, key: str, query: dict[str, str], token: str | None
) -> None:
    pairs = (f"{quote(name, safe='')}={quote(text, safe='')}" for name, text in query.items())
    url = f"{server}/bucket/{quote(key, safe='/~')}?{'&'.join(pairs)}".rstrip("?")
    access_key = AccessKey(_KEY.access_key_id, _KEY.secret_access_key, token)
    extra = {"x-amz-meta-note": " two  words ", "Content-Type": "text/plain"}
    ours = signed(
        method, url, access_key, "eu-west-1", headers=extra, payload_hash=UNSIGNED, now=_MAY_24
    )

    request = AWSRequest(method, url, headers={**extra, "x-amz-content-sha256": UNSIGNED})
    request.context["client_config"] = mock.Mock(s3={"payload_signing_enabled": False})
    with mock.patch.object(auth, "get_current_datetime", return_value=_MAY_24.replace(tzinfo=None)):
        signer = auth.S3SigV4Auth(
            Credentials(access_key.access_key_id, access_key.secret_access_key, token),
            *("s3", "eu-west-1"),
        )
        signer.payload = mock.Mock(return_value=UNSIGNED)
        signer.add_auth(request)
    assert ours["Authorization"] == request.headers["Authorization"]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://store.example/b", "store.example"),
        ("http://store.example:80/b", "store.example"),
        ("https://store.example:80/b", "store.example:80"),
        ("http://[::1]:9000/b", "[::1]:9000"),
        ("HTTP://store.example:80?list-type=2", "store.example"),
    ],
)
def test_the_host_names_a_port_only_where_it_is_another(url: str, host: str) -> None:
    assert host_and_target(url)[0] == host
