"""A program that uses the client library and nothing else does not notice that service and database are killed."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import count
from uuid import UUID

import pytest

from rfq_service.client import Client, Event, Leg, Policy, SyncStream, Topic
from tests.faults.load import CLIENTS
from tests.faults.postgres import BreakablePostgres
from tests.faults.stage import Stage
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
_ENOUGH = 60
_OPENED = "SELECT array_agg(client_reference || ' ' || id) FROM rfq"


class Program:
    """Opens RFQs, each under a reference of its own, until told to stop."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._numbers = count()
        self._instrument_id = next(row for row in client.list_board().items if row.status == "live").instrument_id
        self.is_stopping = threading.Event()
        self.opened: list[tuple[str, UUID]] = []

    def run(self) -> None:
        """Every call comes back with its RFQ, or the scenario fails with its error."""
        while not self.is_stopping.is_set():
            reference = f"ride-{next(self._numbers)}"
            legs = [Leg(self._instrument_id)]
            view = self._client.open_rfq(legs=legs, side="buy", quantity=Decimal(1000), client_reference=reference)
            self.opened.append((reference, view.rfq.rfq_id))

    def until_opened(self, more: int) -> None:
        """Wait for that many more."""
        target = len(self.opened) + more
        until(lambda: len(self.opened) >= target, f"{more} more RFQs")


def test_program_rides_out_the_death_of_service_and_database(stage: Stage, postgres: BreakablePostgres) -> None:
    stage.add_service()
    known = stage.floor.credentials[CLIENTS[0]]
    policy = Policy(deadline_s=60.0)
    with (
        Client(stage.service.url, known.client_id, known.secret, policy=policy) as client,
        client.stream([Topic.RFQS], after=0) as stream,
    ):
        program = Program(client)
        with ThreadPoolExecutor(4) as pool:
            working = [pool.submit(program.run) for _ in range(4)]
            try:
                program.until_opened(_ENOUGH)
                stage.service.kill()
                stage.service.start()
                program.until_opened(_ENOUGH)
                postgres.kill()
                postgres.start()
                program.until_opened(_ENOUGH)
            finally:
                program.is_stopping.set()
            for each in working:
                each.result(timeout=60)
        stored = stage.value(_OPENED)
        assert Counter(stored) == Counter(f"{reference} {rfq_id}" for reference, rfq_id in program.opened)
        told = opened_events(stream, len(stored))
    assert Counter(event.rfq_id for event in told) == Counter(rfq_id for _, rfq_id in program.opened)
    numbers = [event.number for event in told]
    assert numbers == sorted(set(numbers))


def opened_events(stream: SyncStream, wanted: int) -> list[Event]:
    """The openings that the stream tells of, until there are as many as wanted, and whatever comes right after."""
    told: list[Event] = []
    while (item := stream.next(timeout_s=30.0 if len(told) < wanted else 0.5)) is not None:
        assert isinstance(item, Event)
        told.append(item)
    return told
