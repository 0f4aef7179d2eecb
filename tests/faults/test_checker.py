"""The checker itself: a database that loses what it acknowledged is caught, and so is every kind of damage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.faults.load import CLIENTS, DEALERS
from tests.faults.postgres import BreakablePostgres
from tests.faults.stage import Stage, open_stage
from tests.support.ledger import Outcome
from tests.support.ledger_check import Finding, check
from tests.support.processes import wait_until_ready
from tests.support.waiting import blocking, execute

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
_ROUNDS_MAX = 5


@pytest.mark.parametrize("how", ["stop_immediately", "kill"])
def test_lost_acknowledgements_are_found(lossy_postgres: BreakablePostgres, fault_folder: Path, how: str) -> None:
    """The negative control: the same load, the same fault and the same checker must report a loss."""
    with open_stage(lossy_postgres, fault_folder) as stage:
        # what a careless operator might set
        name = stage.dsn.rpartition("/")[2]
        blocking(execute(stage.dsn, f"ALTER DATABASE {name} SET synchronous_commit = off"))
        stage.add_service()
        lost: list[Finding] = []
        for _ in range(_ROUNDS_MAX):
            with stage.load() as load:
                load.until_acknowledged(100)
                getattr(lossy_postgres, how)()
            lossy_postgres.start()
            wait_until_ready(stage.service.port)
            lost = [finding for finding in stage.compare() if finding.promise == "acknowledged is there"]
            if lost:
                return
        pytest.fail(f"nothing acknowledged was lost in {_ROUNDS_MAX} rounds without synchronous commits")


@pytest.fixture(scope="module")
def worked(one_postgres: BreakablePostgres, fault_folder: Path) -> Iterator[Stage]:
    """A database after a while of undisturbed work."""
    one_postgres.start()
    with open_stage(one_postgres, fault_folder) as stage:
        stage.add_service()
        stage.subscribe(CLIENTS[0], DEALERS[0])
        with stage.load() as load:
            load.until_acknowledged(400)
        assert stage.findings() == []
        stage.service.stop()
        yield stage


_FIRST = "ctid = (SELECT min(ctid) FROM"
DAMAGE = {
    "acknowledged is there": f"DELETE FROM idempotency_key WHERE {_FIRST} idempotency_key)",
    "a repetition gets the same bytes": f"UPDATE idempotency_key SET body = body || ' '::bytea WHERE {_FIRST} "
    "idempotency_key WHERE operation = 'withdraw_quote')",
    "one RFQ for each opening": f"DELETE FROM rfq WHERE {_FIRST} rfq WHERE state <> 'evaluated')",
    "one RFQ for each evaluation": f"DELETE FROM rfq WHERE {_FIRST} rfq WHERE state = 'evaluated')",
    "one end for each cancellation": f"UPDATE rfq SET state = 'open' WHERE {_FIRST} rfq WHERE state = 'cancelled')",
    "the whole panel is invited": f"DELETE FROM invitation WHERE {_FIRST} invitation)",
    "an RFQ has its legs": f"DELETE FROM rfq_leg WHERE {_FIRST} rfq_leg)",
    "one event for each opening": "DELETE FROM event WHERE id = (SELECT min(id::text)::uuid FROM event "
    "WHERE kind = 'rfq.opened')",
    "every dealer is told the end": "DELETE FROM event WHERE id = (SELECT min(id::text)::uuid FROM event "
    "WHERE kind = 'invitation.closed')",
    "one quote for each posting": "DELETE FROM quote WHERE id = (SELECT min(quote_id::text)::uuid FROM fill)",
    "one end for each withdrawal": "DELETE FROM quote_end WHERE reason = 'withdrawn_by_dealer'",
    "active is what has not ended": f"DELETE FROM quote_end WHERE {_FIRST} quote_end)",
    "a quote is scored once": "DELETE FROM evaluation WHERE id = (SELECT min(id::text)::uuid FROM evaluation)",
    "one fill for each accept": f"DELETE FROM fill WHERE {_FIRST} fill)",
    "a fill has its leg": f"DELETE FROM fill_leg WHERE {_FIRST} fill_leg)",
    "never overfilled": f"UPDATE fill SET quantity = 10 * quantity WHERE {_FIRST} fill)",
    "an RFQ knows its fills": "UPDATE rfq SET filled_quantity = 0 WHERE filled_quantity > 0",
    "every event is numbered once": "DELETE FROM event_leaf WHERE leaf_index = 20",
    "the index has no gap": "UPDATE event_leaf SET leaf_index = 1000000 WHERE leaf_index = 20",
    "each party is told what is his, once": "DELETE FROM stream_entry WHERE number = 3",
    "a stream has no gap": "UPDATE stream_entry SET number = 1000000 WHERE number = 3",
    "a stream has the index's order": "UPDATE stream_entry SET leaf_index = 0 WHERE number = 3",
    "a stream knows its end": "UPDATE stream_head SET last_number = last_number + 1",
    "causes come first": "UPDATE event_leaf SET leaf_index = 1000000 WHERE event_id = "
    "(SELECT min(id::text)::uuid FROM event WHERE kind = 'rfq.opened')",
}


@pytest.mark.parametrize("promise", DAMAGE)
def test_damage_is_found(worked: Stage, promise: str) -> None:
    found = blocking(_check_after(worked, DAMAGE[promise]))
    assert promise in {finding.promise for finding in found}


def test_what_was_refused_is_found(worked: Stage) -> None:
    refused = next(change for change in worked.ledger.of(Outcome.FAILED) if change.operation == "accept_quote")
    firm_id = f"(SELECT id FROM firm WHERE name = '{refused.party}')"
    assert "refused is not there" in {finding.promise for finding in _with_record(worked, firm_id, refused.key)}


def test_what_nobody_asked_for_is_found(worked: Stage) -> None:
    findings = _with_record(worked, "(SELECT min(id::text)::uuid FROM firm)", "nobody")
    assert "only what was asked for is there" in {finding.promise for finding in findings}


def _with_record(stage: Stage, firm_id: str, key: str) -> list[Finding]:
    """What the checker says when an accept with this key is said to have taken effect."""
    columns = f"{firm_id}, operation, sha256('{key}'), request_digest, status, body, created_at_ns, expires_at_ns"
    source = "FROM idempotency_key WHERE operation = 'accept_quote' LIMIT 1"
    return blocking(_check_after(stage, f"INSERT INTO idempotency_key SELECT {columns} {source}"))


async def _check_after(stage: Stage, damage: str) -> list[Finding]:
    """What the checker says of a database damaged in a transaction that is rolled back."""
    connection = await asyncpg.connect(stage.dsn)
    try:
        transaction = connection.transaction()
        await transaction.start()
        # neither triggers nor foreign keys: the damage is done as a broken disk would do it
        await connection.execute("SET LOCAL session_replication_role = replica")
        done = await connection.execute(damage)
        assert not done.endswith(" 0"), f"nothing was damaged: {damage}"
        found = await check(stage.ledger, connection)
        await transaction.rollback()
        return found
    finally:
        await connection.close()
