"""A real service process on a real database, and the firms that use it over real sockets."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from rfq_service import administration
from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.settings import Settings
from tests.support.processes import our_service

CLIENT, RIVAL = "Client", "Rival Client"
DEALERS = ("Dealer A", "Dealer B", "Dealer C")


@dataclass(frozen=True)
class Parties:
    """A running service and a connection for each firm."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    http: dict[str, httpx.Client]

    def market(self) -> dict[str, Any]:
        """The line of a live instrument on the board."""
        rows: list[dict[str, Any]] = self.http[CLIENT].get("/v1/board").json()["items"]
        return next(row for row in rows if row["status"] == "live")

    def open_rfq(self, **changes: Any) -> dict[str, Any]:
        """An RFQ to buy 1,000 units, from the client to all dealers."""
        terms = {"legs": [{"instrument_id": self.market()["instrument_id"]}], "side": "buy", "quantity": "1000"}
        answer = self.http[CLIENT].post("/v1/rfqs", json={**terms, **changes})
        assert answer.status_code == 201, answer.text
        opened: dict[str, Any] = answer.json()
        return opened

    def quote(self, dealer: str, rfq_id: str, ticks_above: int = 0, **changes: Any) -> dict[str, Any]:
        """An offer some ticks above the board's."""
        price = Decimal(self.market()["ask"]) + ticks_above * Decimal("0.001")
        body = {"ask": {"price": str(price)}, **changes}
        answer = self.http[dealer].post(f"/v1/dealer/rfqs/{rfq_id}/quotes", json=body)
        assert answer.status_code == 201, answer.text
        posted: dict[str, Any] = answer.json()
        return posted

    def kill(self) -> None:
        """Kill the service as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def issue_keys(dsn: str) -> dict[str, str]:
    """A key of every firm; firms are added where they are missing."""

    async def work(uow: UnitOfWork) -> dict[str, str]:
        known = await uow.firms.by_name([CLIENT, RIVAL, *DEALERS])
        for name in (CLIENT, RIVAL, *DEALERS):
            if name not in known:
                await administration.store_firm(uow, name, is_dealer=name in DEALERS)
        return {name: (await administration.store_key(uow, name, "test"))[1] for name in (CLIENT, RIVAL, *DEALERS)}

    return administration.in_transaction(Settings(), work, dsn)


@contextmanager
def serving(dsn: str, folder: Path, **settings: str) -> Iterator[Parties]:
    """The service as its user starts it, with the simulated market."""
    keys = issue_keys(dsn)
    log = folder / f"service-{os.urandom(4).hex()}.log"
    with our_service(dsn, {"RFQ_MARKET_SOURCE": "simulated", **settings}, log) as (process, port):
        base = f"http://127.0.0.1:{port}"
        http = {
            name: httpx.Client(base_url=base, headers={"Authorization": f"Bearer {key}"}, timeout=20.0)
            for name, key in keys.items()
        }
        try:
            yield Parties(process, port, log, http)
        finally:
            for client in http.values():
                client.close()
