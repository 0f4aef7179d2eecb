"""The service is killed: alone, beside another replica, and between a commit and the number of its events."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.faults.load import CLIENTS, DEALERS
from tests.faults.postgres import BreakablePostgres
from tests.faults.stage import OwnerSession, Stage, open_stage
from tests.support.ledger import Outcome
from tests.support.postgres_tap import Chooser, Fate
from tests.support.proxy import TcpProxy
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
_ENOUGH = 100
_ROUNDS_MAX = 5
_RECORDED = "SELECT count(*) FROM idempotency_key"
_NUMBERED = "SELECT count(*) FROM event_leaf"
_UNNUMBERED = "SELECT (SELECT count(*) FROM event) - (SELECT count(*) FROM event_leaf)"
_SEQUENCER_WAITS = (
    "SELECT pid FROM pg_stat_activity WHERE usename = 'rfq_sequencer' AND datname = current_database()"
    " AND query LIKE '%sequence_events%' AND state = 'active' AND wait_event_type = 'Lock'"
    " AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = pg_stat_activity.pid"
    "             AND l.relation = 'sequencer'::regclass AND NOT l.granted)"
)


def test_killed_under_load_and_started_again(stage: Stage) -> None:
    stage.add_service()
    stage.subscribe(CLIENTS[0], DEALERS[0])
    with stage.load() as load:
        for _ in range(2):
            load.until_acknowledged(_ENOUGH)
            stage.service.kill()
            stage.service.start()
        load.until_acknowledged(_ENOUGH)
    assert stage.findings() == []
    assert all(subscriber.connections >= 3 for subscriber in stage.subscribers)
    assert "INTERNAL" not in stage.ledger.codes()


def test_killed_after_the_commit_and_before_it_could_answer(
    wired_stage: Stage, proxy: TcpProxy, chooser: Chooser
) -> None:
    wired_stage.add_service()
    ledger, is_held = wired_stage.ledger, threading.Event()

    def hold_reply(statement: str) -> Fate:
        # the request goes on to the database, which executes it; the service never hears of it
        if "INSERT INTO idempotency_key" in statement and not is_held.is_set():
            proxy.freeze("to_client")
            is_held.set()
        return Fate.KEEP

    with wired_stage.load() as load:
        load.until_acknowledged(_ENOUGH)
        chooser.choose = hold_reply
        assert is_held.wait(60)
        until(lambda: wired_stage.value(_RECORDED) > ledger.acknowledged, "something is committed and not answered")
        wired_stage.service.kill()
        proxy.cut()
        proxy.thaw()
        wired_stage.service.start()
        load.until_acknowledged(_ENOUGH)
    unknown = ledger.of(Outcome.UNKNOWN)
    assert wired_stage.findings() == []
    assert any(change.attempts[-1].is_replay for change in unknown)
    assert "INTERNAL" not in ledger.codes()


def test_one_of_two_replicas_dies_and_the_other_serves_its_callers(stage: Stage) -> None:
    stage.add_service()
    stage.add_service()
    stage.floor.is_persistent = True
    stage.subscribe(CLIENTS[0], DEALERS[0])
    with stage.load() as load:
        load.until_acknowledged(_ENOUGH)
        stage.services[0].kill()
        load.until_acknowledged(_ENOUGH)
        stage.services[0].start()
        load.until_acknowledged(_ENOUGH)
        stage.services[1].kill()
        load.until_acknowledged(_ENOUGH)
    assert stage.findings() == []
    # callers cut off by a death were served by the survivor under the key they had
    moved = [change for change in stage.ledger.of(Outcome.OK) if not change.attempts[0].is_ok]
    assert moved
    assert "INTERNAL" not in stage.ledger.codes()


def test_killed_between_commit_and_number_another_replica_numbers(stage: Stage) -> None:
    stage.add_service()
    stage.subscribe(CLIENTS[0], DEALERS[0])
    with OwnerSession(stage.dsn) as owner, stage.load() as load:
        load.until_acknowledged(50)
        # a transaction that stays open holds the fence: from here on events are committed and get no number
        owner.execute("BEGIN")
        owner.value("SELECT pg_current_xact_id()")
        load.until_acknowledged(_ENOUGH)
        stage.service.kill()
        assert owner.value(_UNNUMBERED) >= _ENOUGH
        owner.execute("ROLLBACK")
        assert stage.value(_UNNUMBERED) >= _ENOUGH
        stage.add_service()
        until(
            lambda: stage.value(_UNNUMBERED) == 0 or stage.value("SELECT count(*) FROM event_leaf") > _ENOUGH, "numbers"
        )
        load.until_acknowledged(_ENOUGH)
    assert stage.findings() == []


def test_sequencer_cut_in_the_middle_of_a_step(stage: Stage) -> None:
    stage.add_service()
    stage.add_service()
    stage.subscribe(CLIENTS[0], DEALERS[0])
    with OwnerSession(stage.dsn) as owner, stage.load() as load:
        for _ in range(5):
            load.until_acknowledged(30)
            # a step has written its numbers and entries when it comes to move its mark, and waits here
            owner.execute("BEGIN; LOCK TABLE sequencer IN SHARE MODE")
            until(lambda: stage.value(_SEQUENCER_WAITS) is not None, "a step waits in its middle")
            assert stage.value(f"SELECT pg_terminate_backend(pid) FROM ({_SEQUENCER_WAITS}) AS waiting LIMIT 1")
            owner.execute("COMMIT")
        load.until_acknowledged(_ENOUGH)
    assert stage.findings() == []
    assert "INTERNAL" not in stage.ledger.codes()


def test_numbers_once_told_are_given_again_when_their_record_is_lost(
    lossy_postgres: BreakablePostgres, fault_folder: Path
) -> None:
    """A step of the sequencer does not wait for the log: after a crash the same events must get the same numbers."""
    with open_stage(lossy_postgres, fault_folder) as stage:
        stage.add_service()
        stage.subscribe(CLIENTS[0], DEALERS[0])
        for _ in range(_ROUNDS_MAX):
            with stage.load() as load:
                load.until_acknowledged(50)
            # the subscribers have been told everything that has a number now
            assert stage.findings() == []
            numbered = stage.value(_NUMBERED)
            stage.service.kill()
            lossy_postgres.kill()
            lossy_postgres.start()
            lost = numbered - stage.value(_NUMBERED)
            stage.service.start()
            if lost > 0:
                break
        else:
            pytest.fail(f"no number was lost in {_ROUNDS_MAX} rounds, so nothing was shown")
        with stage.load() as load:
            load.until_acknowledged(50)
        assert stage.findings() == []
