"""Too many callers for too few connections, and callers who do not wait for the answer."""

from __future__ import annotations

import pytest

from tests.faults.stage import OwnerSession, Stage
from tests.support.ledger import Outcome
from tests.support.processes import wait_until_ready
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
_ENOUGH = 100


def test_pool_exhausted_is_503_without_a_deadlock(stage: Stage) -> None:
    stage.add_service(RFQ_DATABASE_POOL_SIZE="2")
    with OwnerSession(stage.dsn) as owner, stage.load(traders=8) as load:
        load.until_acknowledged(_ENOUGH)
        # whoever wants to trade waits in the database, and keeps his connection
        owner.execute("BEGIN; LOCK TABLE rfq IN EXCLUSIVE MODE")
        until(lambda: stage.ledger.codes()["OVERLOADED"] >= 10, "callers are refused")
        owner.execute("ROLLBACK")
        wait_until_ready(stage.service.port)
        load.until_acknowledged(_ENOUGH)
    assert stage.findings() == []
    assert "INTERNAL" not in stage.ledger.codes()
    assert "ReadTimeout" not in stage.ledger.codes()


def test_callers_who_close_their_sockets_at_random(stage: Stage) -> None:
    stage.add_service()
    with stage.load(traders=4) as load:
        load.until_acknowledged(_ENOUGH)
        stage.floor.patience_s = 0.06
        until(lambda: len(stage.ledger.of(Outcome.UNKNOWN)) > _ENOUGH, "callers have given up")
        stage.floor.patience_s = None
        load.until_acknowledged(_ENOUGH)
    unknown = stage.ledger.of(Outcome.UNKNOWN)
    assert stage.findings() == []
    # of those given up some had been served to the end
    assert any(change.attempts[-1].is_replay for change in unknown)
    assert "INTERNAL" not in stage.ledger.codes()
