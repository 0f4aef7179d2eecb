"""Firms at work: they open RFQs, quote, pass, withdraw, accept, cancel and have quotes evaluated, all at once.

The callers do not use the client library's retries: each attempt is entered in the ledger by itself. They live in a
thread with an event loop of its own, so that a scenario may break things meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import httpx

from tests.faults.caller import ANSWER_WITHIN_S, PAUSE_AFTER_TROUBLE_S, Caller, Floor, OpenRfq, new_http
from tests.support.ledger import Change, Outcome
from tests.support.waiting import until

CLIENTS = ("Alder Capital", "Birch Partners")
DEALERS = ("Dealer A", "Dealer B", "Dealer C")
QUANTITY = 1_000
_PAUSE_IN_TROUBLE_S = 0.2  # so that an outage does not fill the ledger
_OPEN_RFQS_MAX = 12
_TICK = Decimal("0.001")


class BuySide:
    """A trader: opens RFQs, takes parts of quotes, cancels, and asks what quotes from elsewhere are worth."""

    def __init__(self, floor: Floor, caller: Caller, market: dict[str, Any]) -> None:
        self._floor, self._caller, self._market = floor, caller, market

    async def step(self) -> Change | None:
        """Do one thing."""
        mine = [rfq_id for rfq_id, rfq in self._floor.rfqs.items() if rfq.client == self._caller.party]
        draw = self._caller.draws.random()
        if len(mine) < 3 or (draw < 0.35 and len(mine) < _OPEN_RFQS_MAX):
            return await self._open()
        if draw < 0.50:
            return await self._evaluate()
        rfq_id = self._caller.draws.choice(mine)
        if draw < 0.58:
            return await self._cancel(rfq_id)
        quotes = list(self._floor.rfqs[rfq_id].quotes)
        return await self._accept(rfq_id, self._caller.draws.choice(quotes)) if quotes else None

    def _terms(self) -> dict[str, Any]:
        return {
            "legs": [{"instrument_id": self._market["instrument_id"]}],
            "side": "buy",
            "quantity": str(QUANTITY),
        }

    async def _open(self) -> Change:
        body = {**self._terms(), "size_mode": "any_part", "expires_in_s": "120"}
        change = await self._caller.change("open_rfq", "/v1/rfqs", body)
        if change.outcome is Outcome.OK:
            self._floor.rfqs[change.result["rfq"]["rfq_id"]] = OpenRfq(self._caller.party)
        return change

    async def _evaluate(self) -> Change:
        quotes = [{"dealer": f"Desk {number}", "ask": {"price": self._market["ask"]}} for number in (1, 2)]
        return await self._caller.change("evaluate_quotes", "/v1/evaluations", {**self._terms(), "quotes": quotes})

    async def _cancel(self, rfq_id: str) -> Change:
        change = await self._caller.change("cancel_rfq", f"/v1/rfqs/{rfq_id}/cancel", {})
        if change.outcome is not Outcome.UNKNOWN:
            self._floor.rfqs.pop(rfq_id, None)
        return change

    async def _accept(self, rfq_id: str, quote_id: str) -> Change:
        quantity = str(self._caller.draws.choice((200, 400, 600)))
        body = {"quote_id": quote_id, "quantity": quantity}
        change = await self._caller.change("accept_quote", f"/v1/rfqs/{rfq_id}/accept", body)
        known = self._floor.rfqs.get(rfq_id)
        if known is not None and change.outcome is not Outcome.UNKNOWN:
            known.quotes.pop(quote_id, None)
        if change.attempts[-1].code in ("RFQ_NOT_OPEN", "RFQ_EXPIRED"):
            self._floor.rfqs.pop(rfq_id, None)
        return change


class SellSide:
    """A dealer: quotes what he is asked for, passes, and withdraws."""

    def __init__(self, floor: Floor, caller: Caller, market: dict[str, Any]) -> None:
        self._floor, self._caller, self._market = floor, caller, market

    async def step(self) -> Change | None:
        """Do one thing."""
        if not self._floor.rfqs:
            return None
        draws = self._caller.draws
        rfq_id = draws.choice(list(self._floor.rfqs))
        rfq = self._floor.rfqs[rfq_id]
        draw = draws.random()
        own = [quote_id for quote_id, dealer in rfq.quotes.items() if dealer == self._caller.party]
        if own and draw < 0.15:
            path = f"/v1/dealer/quotes/{own[0]}/withdraw"
            change = await self._caller.change("withdraw_quote", path, {})
            if change.outcome is not Outcome.UNKNOWN:
                rfq.quotes.pop(own[0], None)
        elif draw < 0.20:
            change = await self._caller.change("pass_rfq", f"/v1/dealer/rfqs/{rfq_id}/pass", {})
        else:
            change = await self._quote(rfq_id, rfq)
        if change.attempts[-1].code in ("RFQ_NOT_OPEN", "RFQ_EXPIRED"):
            self._floor.rfqs.pop(rfq_id, None)
        return change

    async def _quote(self, rfq_id: str, rfq: OpenRfq) -> Change:
        price = Decimal(self._market["ask"]) + self._caller.draws.randrange(5) * _TICK
        # some run out while the others work, so that the sweeper has its share
        body = {"ask": {"price": str(price)}, "ttl_s": self._caller.draws.choice(("1", "30"))}
        change = await self._caller.change("post_quote", f"/v1/dealer/rfqs/{rfq_id}/quotes", body)
        if change.outcome is Outcome.OK:
            rfq.quotes[change.result["quote_id"]] = self._caller.party
        return change


class Load:
    """All firms at work in the background, from entering the block to leaving it.

    Args:
        floor: where, and how patient.
        traders: callers of each firm at the same time.
        think_s: pause of a caller between two calls.
        extra: other work on the same loop, as a subscriber; cancelled at the end.
    """

    def __init__(
        self,
        floor: Floor,
        *,
        traders: int = 2,
        think_s: float = 0.0,
        extra: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
    ) -> None:
        self._floor, self._traders, self._think_s, self._extra = floor, traders, think_s, extra
        self._is_stopping = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_stopping = True
        self._thread.join(2 * ANSWER_WITHIN_S)
        if error is None and self._thread.is_alive():
            raise TimeoutError("the firms do not stop working")
        if error is None and self._error is not None:
            raise self._error

    def until_acknowledged(self, more: int, within_s: float = 60.0) -> None:
        """Wait until that many more changes have been acknowledged than now."""
        target = self._floor.ledger.acknowledged + more
        until(
            lambda: self._error is not None or self._floor.ledger.acknowledged >= target,
            f"{more} more acknowledgements; so far {self._floor.ledger.summary()}",
            within_s,
        )

    def _run(self) -> None:
        try:
            asyncio.run(self._work())
        except BaseException as error:  # noqa: BLE001 - handed to the test that waits
            self._error = error

    async def _work(self) -> None:
        async with new_http() as http:
            market = await self._market(http)
            extra = [asyncio.create_task(work()) for work in self._extra]
            jobs = [self._trade(http, market, party, n) for party in (*CLIENTS, *DEALERS) for n in range(self._traders)]
            try:
                await asyncio.gather(*jobs)
            finally:
                for task in extra:
                    task.cancel()
                await asyncio.gather(*extra, return_exceptions=True)

    async def _market(self, http: httpx.AsyncClient) -> dict[str, Any]:
        """The line of a live instrument."""
        caller = Caller(self._floor, CLIENTS[0], http, random.Random(0))
        deadline_s = time.monotonic() + 60.0
        while time.monotonic() < deadline_s:
            board = await caller.get("/v1/board")
            live = [row for row in (board or {"items": []})["items"] if row["status"] == "live"]
            if live:
                row: dict[str, Any] = live[0]
                return row
            await asyncio.sleep(PAUSE_AFTER_TROUBLE_S)
        raise TimeoutError("no live market within 60 s")

    async def _trade(self, http: httpx.AsyncClient, market: dict[str, Any], party: str, number: int) -> None:
        caller = Caller(self._floor, party, http, random.Random(f"{party} {number}"), number)
        desk = (BuySide if party in CLIENTS else SellSide)(self._floor, caller, market)
        while not self._is_stopping:
            change = await desk.step()
            if change is None:
                await asyncio.sleep(PAUSE_AFTER_TROUBLE_S)
            else:
                is_answered = 200 <= change.attempts[-1].status < 500
                await asyncio.sleep(self._think_s if is_answered else _PAUSE_IN_TROUBLE_S)


async def settle(floor: Floor, within_s: float = 60.0) -> None:
    """Repeat every change of unknown outcome, with its key, until it is known; nothing else may be under way.

    Raises:
        TimeoutError: naming one that stays unknown.
    """
    deadline_s = time.monotonic() + within_s
    patience_s, floor.patience_s = floor.patience_s, None
    async with new_http() as http:
        for change in floor.ledger.of(Outcome.UNKNOWN):
            caller = Caller(floor, change.party, http, random.Random(0))
            while change.outcome is Outcome.UNKNOWN:
                await caller.repeat(change)
                if time.monotonic() > deadline_s:
                    codes = Counter(attempt.code for attempt in change.attempts)
                    raise TimeoutError(f"still unknown: {change.operation}, {codes}")
    floor.patience_s = patience_s
