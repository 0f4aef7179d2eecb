"""The service stops in order, whatever has happened to its background work."""

from __future__ import annotations

import pytest

from rfq_service.domain.errors import ErrorCode, InvariantError, RfqError
from tests.api.service import make_runtime, running


async def test_a_background_task_that_failed_does_not_stop_the_stopping(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = make_runtime(database_dsn)

    async def fail() -> None:
        raise InvariantError("broken")

    monkeypatch.setattr(runtime.sweeper, "run", fail)
    async with running(runtime) as service, service.http() as http:
        answer = await http.get("/health/ready")
        assert (answer.status_code, answer.json()["components"]["tasks"]) == (503, "a background task has failed")
    # the writer has been told: it commits what waits and takes nothing more
    with pytest.raises(RfqError) as refused:
        await runtime.writer.write(None)  # type: ignore[arg-type]
    assert refused.value.code is ErrorCode.DATABASE_UNAVAILABLE
