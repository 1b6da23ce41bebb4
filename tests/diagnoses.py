"""What the tests of the doctor share: clients of all kinds, and checks by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest.doctor import STEPS, Check, diagnose
from ingest.settings import AccessKey
from ingest.storage.connection import Clients, Connection
from tinys3 import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from support import S3Server
    from tinys3 import Answer, Asked

KEY = AccessKey("TESTACCESSKEY", "test-secret-key", "test-session-token")


def to(url: str, **options: Any) -> Clients:
    return Clients(Connection(url, "us-east-1", KEY, **options))


def of(server: S3Server, url: str | None = None) -> Clients:
    return Clients(Connection(url or server.endpoint_url, "us-east-1", server.access_key))


def found(clients: Clients, bucket: str | None = "data", prefix: str = "") -> dict[str, Check]:
    """Return the checks by name, all of them in their order, each with cause and cure."""
    checks = list(diagnose(clients, bucket, prefix))
    assert tuple(check.name for check in checks) == STEPS
    for check in checks:
        assert "\n" not in check.finding
        assert check.finding
        assert check.cure or check.status != "failed"
    told = repr(checks)
    assert KEY.secret_access_key not in told
    assert KEY.session_token not in told  # type: ignore[operator]
    return {check.name: check for check in checks}


def diagnosed(answer: Callable[[Asked], Answer], bucket: str | None = "data") -> dict[str, Check]:
    with serve(answer) as url:
        return found(to(url), bucket)


def statuses(checks: dict[str, Check]) -> dict[str, str]:
    return {name: check.status for name, check in checks.items() if check.status != "ok"}


def first_failure(checks: dict[str, Check]) -> Check:
    """Return the one that failed, after which all are skipped."""
    failed = [check for check in checks.values() if check.status == "failed"]
    assert len(failed) == 1
    after = STEPS[STEPS.index(failed[0].name) + 1 :]
    assert {checks[name].status for name in after} <= {"skipped"}
    return failed[0]
