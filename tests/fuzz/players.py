"""The parties of the market over HTTP, what each of them may know, and what each has been told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
from websockets.sync.client import connect

from rfq_service.domain.identity import Role
from tests.fuzz.model import CLIENT, DEALER, Market, ModelRfq, News
from tests.fuzz.stage import AUDITOR, CLIENTS, DEALERS, OPERATOR, Stage, ToldClock

Json = dict[str, Any]
# The last dealer asks for quotes, too, with a key of its own: its two desks share nothing.
ASKERS = (*CLIENTS, DEALERS[-1])
ROLE = {CLIENT: Role.BUY_SIDE, DEALER: Role.DEALER}
PARTIES = [(firm, CLIENT) for firm in ASKERS] + [(firm, DEALER) for firm in DEALERS]
_TOKEN_HOLDS_S = 1_200
_NUMBERED_WITHIN_S = 30.0
_PAGE = 200
_LONGEST_LIFE_S = 600


class Players:
    """Everybody's connections; they outlive a single play, and so do the numbers of their streams."""

    def __init__(self, staged: Stage, clock: ToldClock) -> None:
        self.stage, self.clock = staged, clock
        self._http = {(firm, party): staged.http() for firm, party in PARTIES}
        self._auditor, self._operator = staged.http(), staged.http()
        self._left_s = 0
        self.renew_tokens()
        body = {"auditor": AUDITOR, "firm": None}
        headers = {"Idempotency-Key": uuid4().hex}
        assert self._operator.post("/v1/admin/audit-grants", json=body, headers=headers).status_code == 201
        self.numbers = dict.fromkeys(PARTIES, 0)

    def close(self) -> None:
        for http in (*self._http.values(), self._auditor, self._operator):
            http.close()

    def advance(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self._left_s -= seconds
        if self._left_s <= 0:
            self.renew_tokens()

    def renew_tokens(self) -> None:
        for (firm, party), http in self._http.items():
            http.headers["Authorization"] = f"Bearer {self.stage.token(firm, ROLE[party])}"
        self._auditor.headers["Authorization"] = f"Bearer {self.stage.token(AUDITOR, Role.AUDITOR)}"
        self._operator.headers["Authorization"] = f"Bearer {self.stage.token(OPERATOR, Role.OPERATOR)}"
        self._left_s = _TOKEN_HOLDS_S

    def send(
        self,
        firm: str,
        party: str,
        method: str,
        path: str,
        body: bytes | None = None,
        key: str | None = None,
        **query: str,
    ) -> httpx.Response:
        headers = {} if body is None else {"Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        return self._http[firm, party].request(method, path, content=body, headers=headers, params=query)

    def told(self, firm: str, party: str, count: int) -> list[Json]:
        """The next ``count`` entries of a stream, and there are no more."""
        until_s = time.monotonic() + _NUMBERED_WITHIN_S
        entries: list[Json] = []
        while len(entries) < count:
            assert time.monotonic() < until_s, f"{firm}, {party}: {len(entries)} of {count} events were told"
            entries = list(self._entries_after(firm, party, self.numbers[firm, party]))
            if len(entries) < count:
                time.sleep(0.003)
        return entries

    def start_anew(self) -> None:
        """What was left open ends, and everything so far is known: what is told from now on is news."""
        self.advance(_LONGEST_LIFE_S)
        self.stage.run(self.stage.runtime.sweeper.sweep())
        self.stage.run(self.stage.settle())
        for firm, party in PARTIES:
            for entry in self._entries_after(firm, party, self.numbers[firm, party]):
                self.numbers[firm, party] = entry["number"]

    def pushed(self, firm: str, party: str, count: int) -> tuple[list[str], list[str]]:
        """Ids of the last ``count`` events of a stream: as its own party has them pushed, as the auditor reads them."""
        after = max(0, self.numbers[firm, party] - count)
        read = [entry["event_id"] for entry in self._entries_after(firm, party, after)]
        url = self.stage.url.replace("http", "ws") + "/v1/stream"
        headers = {"Authorization": self._http[firm, party].headers["Authorization"]}
        wanted = {"op": "subscribe", "topics": ["rfqs", "quotes", "evaluations", "fills", "controls"], "after": after}
        heard: list[str] = []
        with connect(url, additional_headers=headers) as socket:
            socket.send(json.dumps(wanted))
            while len(heard) < len(read):
                message = json.loads(socket.recv(timeout=_NUMBERED_WITHIN_S))
                if message["type"] == "event":
                    assert message["number"] == after + len(heard) + 1
                    heard.append(message["event_id"])
        return heard, read

    def _entries_after(self, firm: str, party: str, number: int) -> Iterator[Json]:
        after: int | None = number
        while after is not None:
            query = {"firm": firm, "party": party, "after": str(after), "limit": str(_PAGE)}
            answer = self._auditor.get("/v1/audit/events", params=query)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            yield from page["items"]
            after = page["next_after"]


def news_of(entry: Json) -> News:
    return entry["kind"], entry["rfq_id"], entry["quote_id"]


def secrets_from(market: Market, firm: str, party: str) -> set[str]:
    """Words that no answer to this party may hold: of trades that are not its own, and of its rivals."""
    # a dealer that asks, too, may have asked this one
    secret = set() if party == CLIENT else set(DEALERS) - {firm} - set(ASKERS)
    for rfq in market.rfqs.values():
        if not takes_part(rfq, firm, party):
            secret.add(rfq.rfq_id)
        if party == DEALER or rfq.client != firm:
            secret.add(rfq.reference)
        for quote in rfq.quotes:
            is_own = rfq.client == firm if party == CLIENT else quote.dealer == firm
            if not is_own:
                secret.add(quote.quote_id)
    return secret


def takes_part(rfq: ModelRfq, firm: str, party: str) -> bool:
    return rfq.client == firm if party == CLIENT else firm in rfq.panel
