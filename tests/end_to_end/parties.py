"""A real service process on a real database, and the firms that use it by the client library alone."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from rfq_service import administration
from rfq_service.client import Call, Client, Leg, Policy, Refused, RfqServiceError
from rfq_service.client.schemas.enums import MarketStatus, RequestSide
from rfq_service.client.schemas.market import BoardRow
from rfq_service.client.schemas.quote import Quote
from rfq_service.client.schemas.rfq import RfqView
from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.settings import Settings
from tests.support.processes import our_service

CLIENT, RIVAL = "Client", "Rival Client"
DEALERS = ("Dealer A", "Dealer B", "Dealer C")
# For tests that want to see a failure, not how it is overcome.
IMPATIENT = Policy(deadline_s=0.5, timeout_s=20.0)

Keys = dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Parties:
    """A running service and a client for each firm."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    keys: Keys
    firms: dict[str, Client]

    @property
    def url(self) -> str:
        """Address of the service."""
        return f"http://127.0.0.1:{self.port}"

    def connect(self, firm: str, policy: Policy, url: str = "") -> Client:
        """Another client of a firm, as patient as told, by way of another address if one is given."""
        return Client(url or self.url, *self.keys[firm], policy=policy)

    def market(self) -> BoardRow:
        """The line of a live instrument on the board."""
        return next(row for row in self.firms[CLIENT].list_board().items if row.status == MarketStatus.LIVE)

    def open_rfq(self, **changes: Any) -> RfqView:
        """An RFQ to buy 1,000 units, from the client to all dealers."""
        terms: dict[str, Any] = {"side": RequestSide.BUY, "quantity": 1000, **changes}
        return self.firms[CLIENT].open_rfq(legs=[Leg(self.market().instrument_id)], **terms)

    def quote(self, dealer: str, rfq_id: UUID, ticks_above: int = 0, **changes: Any) -> Quote:
        """An offer some ticks above the board's."""
        ask = self.market().ask
        assert ask is not None
        return self.firms[dealer].post_quote(rfq_id, ask=ask + ticks_above * Decimal("0.001"), **changes)

    def kill(self) -> None:
        """Kill the service as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def refused(status: int, *codes: str) -> Iterator[pytest.ExceptionInfo[RfqServiceError]]:
    """Expect a refusal with one of these codes."""
    with pytest.raises(Refused) as raised:
        yield raised
    assert raised.value.status == status
    assert raised.value.code in codes


def text_of(client: Client, call: Call[Any]) -> str:
    """The very text of a reply, with whatever a client does not know of."""
    text: str = client.send(replace(call, reply=str))
    return text


def issue_keys(dsn: str) -> Keys:
    """A key of every firm, id and secret; firms are added where they are missing."""

    async def work(uow: UnitOfWork) -> Keys:
        known = await uow.firms.by_name([CLIENT, RIVAL, *DEALERS])
        keys = {}
        for name in (CLIENT, RIVAL, *DEALERS):
            if name not in known:
                await administration.store_firm(uow, name, is_dealer=name in DEALERS)
            key_id, secret = await administration.store_key(uow, name, "test")
            keys[name] = (str(key_id), secret)
        return keys

    return administration.in_transaction(Settings(), work, dsn)


@contextmanager
def serving(dsn: str, folder: Path, **settings: str) -> Iterator[Parties]:
    """The service as its user starts it, with the simulated market."""
    keys = issue_keys(dsn)
    log = folder / f"service-{os.urandom(4).hex()}.log"
    environment = {"RFQ_MARKET_SOURCE": "simulated", **settings}
    with our_service(dsn, environment, log) as (process, port), ExitStack() as stack:
        url = f"http://127.0.0.1:{port}"
        firms = {name: stack.enter_context(Client(url, *key)) for name, key in keys.items()}
        yield Parties(process, port, log, keys, firms)
