"""PostgreSQL goes away under the running service: stopped, killed, frozen, or cut off just as it commits."""

from __future__ import annotations

import random
import threading
import time
import urllib.error
import urllib.request

import pytest

from tests.faults.load import CLIENTS, DEALERS
from tests.faults.postgres import BreakablePostgres
from tests.faults.stage import DEADLINE_MS, Stage
from tests.support.ledger import Outcome
from tests.support.postgres_tap import Chooser, Fate
from tests.support.processes import wait_until_ready
from tests.support.proxy import TcpProxy
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
_ENOUGH = 100
# what a caller may be told while the database is away
_AWAY = {"DATABASE_UNAVAILABLE", "DEADLINE_EXCEEDED", "OVERLOADED"}
_SILENT_S = 5.0
_SLACK_S = 5.0  # for a machine that does other things too: what is tested is that nobody hangs


def is_ready(stage: Stage) -> bool:
    try:
        with urllib.request.urlopen(f"{stage.service.url}/health/ready", timeout=10) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False


@pytest.mark.parametrize("how", ["stop_immediately", "kill"])
def test_stopped_without_a_farewell_and_started_again(stage: Stage, postgres: BreakablePostgres, how: str) -> None:
    stage.add_service()
    stage.subscribe(CLIENTS[0], DEALERS[0])
    with stage.load() as load:
        for _ in range(2):
            load.until_acknowledged(_ENOUGH)
            getattr(postgres, how)()
            until(lambda: not is_ready(stage), "the service says that it is not ready")
            postgres.start()
            wait_until_ready(stage.service.port)
        load.until_acknowledged(_ENOUGH)
    assert stage.service.process.poll() is None
    assert stage.findings() == []
    assert set(stage.ledger.codes()) & _AWAY
    assert "INTERNAL" not in stage.ledger.codes()


@pytest.mark.parametrize("what", ["server", "wire"])
def test_silent_database_is_503_in_time_and_recovers(
    wired_stage: Stage, postgres: BreakablePostgres, proxy: TcpProxy, what: str
) -> None:
    """No socket closes and nobody answers: the server's processes are stopped, or nothing passes the wire."""
    stage = wired_stage
    stage.add_service()
    with stage.load() as load:
        load.until_acknowledged(_ENOUGH)
        with postgres.frozen() if what == "server" else proxy.frozen():
            time.sleep(_SILENT_S)
        wait_until_ready(stage.service.port)
        load.until_acknowledged(_ENOUGH)
    assert stage.findings() == []
    codes = stage.ledger.codes()
    assert set(codes) & _AWAY
    assert "ReadTimeout" not in codes
    assert "INTERNAL" not in codes
    assert max(attempt.elapsed_s for attempt in stage.ledger.attempts()) < DEADLINE_MS / 1_000 + _SLACK_S


def test_commits_whose_reply_or_request_is_lost_on_the_wire(wired_stage: Stage, chooser: Chooser) -> None:
    wired_stage.add_service()
    wired_stage.subscribe(CLIENTS[0], DEALERS[0])
    draws, lock = random.Random(7), threading.Lock()

    def sometimes(_sql: str) -> Fate:
        with lock:
            return draws.choices((Fate.KEEP, Fate.LOSE_REPLY, Fate.LOSE_REQUEST), (90, 7, 3))[0]

    with wired_stage.load() as load:
        load.until_acknowledged(50)
        chooser.choose = sometimes
        until(lambda: chooser.counts[Fate.LOSE_REPLY] > 20 and chooser.counts[Fate.LOSE_REQUEST] > 10, "enough is lost")
        chooser.choose = lambda _sql: Fate.KEEP
        load.until_acknowledged(_ENOUGH)
    unknown = wired_stage.ledger.of(Outcome.UNKNOWN)
    assert unknown
    assert wired_stage.findings() == []
    # some had been committed: their repetition was answered from the records; the others took effect only now
    repeated = [change.attempts[-1] for change in unknown if change.outcome is Outcome.OK]
    assert any(attempt.is_replay for attempt in repeated)
    assert any(not attempt.is_replay for attempt in repeated)
    assert "INTERNAL" not in wired_stage.ledger.codes()
