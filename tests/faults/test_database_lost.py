"""PostgreSQL goes away under the running service: stopped, killed, frozen, or cut off just as it commits."""

from __future__ import annotations

import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.load import CLIENTS, DEALERS
from tests.faults.postgres import BreakablePostgres
from tests.faults.stage import DEADLINE_MS, Stage, open_stage
from tests.support.ledger import Outcome
from tests.support.postgres_tap import Chooser, CommitTap, Fate
from tests.support.processes import wait_until_ready
from tests.support.proxy import TcpProxy
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
_ENOUGH = 150
# what a caller may be told while the database is away
_AWAY = {"DATABASE_UNAVAILABLE", "DEADLINE_EXCEEDED", "OVERLOADED"}
_FROZEN_S = 5.0
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


def test_frozen_database_is_503_in_time_and_recovers(stage: Stage, postgres: BreakablePostgres) -> None:
    stage.add_service()
    with stage.load() as load:
        load.until_acknowledged(_ENOUGH)
        with postgres.frozen():
            time.sleep(_FROZEN_S)
        wait_until_ready(stage.service.port)
        load.until_acknowledged(_ENOUGH)
    assert stage.findings() == []
    codes = stage.ledger.codes()
    assert set(codes) & _AWAY
    assert "ReadTimeout" not in codes
    assert "INTERNAL" not in codes
    assert max(attempt.elapsed_s for attempt in stage.ledger.attempts()) < DEADLINE_MS / 1_000 + _SLACK_S


@pytest.fixture
def chooser() -> Chooser:
    return Chooser()


@pytest.fixture
def cut_stage(postgres: BreakablePostgres, fault_folder: Path, chooser: Chooser) -> Iterator[Stage]:
    with (
        TcpProxy(postgres.port, lambda: CommitTap(chooser)) as proxy,
        open_stage(postgres, fault_folder, proxy.port) as opened,
    ):
        yield opened


def test_commits_whose_reply_or_request_is_lost_on_the_wire(cut_stage: Stage, chooser: Chooser) -> None:
    cut_stage.add_service()
    cut_stage.subscribe(CLIENTS[0], DEALERS[0])
    draws, lock = random.Random(7), threading.Lock()

    def sometimes(_sql: str) -> Fate:
        with lock:
            return draws.choices((Fate.KEEP, Fate.LOSE_REPLY, Fate.LOSE_REQUEST), (90, 7, 3))[0]

    with cut_stage.load() as load:
        load.until_acknowledged(50)
        chooser.choose = sometimes
        until(lambda: chooser.counts[Fate.LOSE_REPLY] > 20 and chooser.counts[Fate.LOSE_REQUEST] > 10, "enough is lost")
        chooser.choose = lambda _sql: Fate.KEEP
        load.until_acknowledged(_ENOUGH)
    unknown = cut_stage.ledger.of(Outcome.UNKNOWN)
    assert unknown
    assert cut_stage.findings() == []
    # some had been committed: their repetition was answered from the records; the others took effect only now
    repeated = [change.attempts[-1] for change in unknown if change.outcome is Outcome.OK]
    assert any(attempt.is_replay for attempt in repeated)
    assert any(not attempt.is_replay for attempt in repeated)
    assert "INTERNAL" not in cut_stage.ledger.codes()
