"""The service's clock jumps by hours, to and fro; PostgreSQL's and the callers' do not."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.caller import Caller, new_http
from tests.faults.load import CLIENTS, DEALERS
from tests.faults.stage import Stage
from tests.support.ledger import Outcome
from tests.support.waiting import blocking

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
_ENOUGH = 100
_PAGE = "20"


def fake_time_library() -> Path:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("libfaketime is not installed (Debian: apt-get install faketime)")
    return found[0]


def test_clock_jumps_forward_and_back(stage: Stage, fault_folder: Path) -> None:
    library, offset = fake_time_library(), fault_folder / "clock-offset"
    offset.write_text("+0")
    stage.add_service(
        LD_PRELOAD=str(library),
        FAKETIME_TIMESTAMP_FILE=str(offset),
        FAKETIME_NO_CACHE="1",
        # durations are measured on the monotonic clock, which no operator can set
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    stage.subscribe(CLIENTS[0], DEALERS[0])
    with stage.load() as load:
        load.until_acknowledged(_ENOUGH)
        for jump_s in ("+7200", "-7200", "+0"):
            offset.write_text(jump_s)
            load.until_acknowledged(_ENOUGH)
    assert stage.findings() == []
    assert "INTERNAL" not in stage.ledger.codes()
    for client in CLIENTS:
        opened = Counter(
            change.result["rfq"]["rfq_id"]
            for change in stage.ledger.of(Outcome.OK)
            if change.party == client and change.operation in ("open_rfq", "evaluate_quotes")
        )
        assert blocking(paged(stage, client)) == opened
    born_ns = "SELECT count(DISTINCT occurred_at_ns / 3600000000000) FROM event WHERE kind = 'rfq.opened'"
    assert stage.value(born_ns) >= 3, "the service has not seen the clock jump"


async def paged(stage: Stage, party: str) -> Counter[str]:
    """The ids of a firm's RFQs, page by page."""
    found: Counter[str] = Counter()
    async with new_http() as http:
        caller = Caller(stage.floor, party, http, random.Random(0))
        cursor: dict[str, str] = {}
        async with asyncio.timeout(60):
            while True:
                page = await caller.get("/v1/rfqs", limit=_PAGE, **cursor)
                found.update(item["rfq_id"] for item in page["items"])
                if page["next_cursor"] is None:
                    return found
                cursor = {"cursor": page["next_cursor"]}
