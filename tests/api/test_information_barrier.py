"""What one firm does shows nowhere at another: secrets are planted in one pair of firms and looked for at the other.

The other pair does the same twice, in two databases, under a fixed clock and on a market that stands still: once alone
and once beside the first. Its prices, scores, decisions, answers and events must be the same to the letter.
"""

from __future__ import annotations

import asyncio
import copy
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from rfq_service.bootstrap import build_runtime
from rfq_service.db.engine import Database
from rfq_service.domain.clock import SimClock
from rfq_service.domain.units import NS_PER_MS
from rfq_service.settings import AuthSettings, HttpSettings, Settings, TelemetrySettings
from tests.api.service import CLIENT, DEALERS, RIVAL_CLIENT, Service, running
from tests.support.postgres import DatabaseServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

SPIED_CLIENT, SPIED_DEALER = RIVAL_CLIENT, DEALERS[1]
OWN_CLIENT, OWN_DEALER = CLIENT, DEALERS[0]
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ROUNDS = 3


@pytest.fixture(scope="module")
def two_databases(database_server: DatabaseServer) -> Iterator[list[str]]:
    with ExitStack() as stack:
        yield [stack.enter_context(database_server.database(migrated=True)) for _ in range(2)]


class Secrets:
    """Numbers and words that exist nowhere else, in every place where a firm can put one."""

    def __init__(self, ask: Decimal) -> None:
        self._ask = ask
        self.reference = f"secret-{uuid4().hex}"
        self.prices: list[str] = []

    def price(self, last_digits: str) -> str:
        """A price near the market that ends as no other does."""
        price = f"{self._ask}{last_digits}"
        self.prices.append(last_digits)
        return price

    def all(self) -> list[str]:
        return [self.reference, *self.prices]


async def plant(service: Service, market: dict[str, Any], secrets: Secrets, number: int) -> None:
    """A whole trade of the spied firms, a second RFQ left open, and an evaluation of quotes from elsewhere."""
    digits = [f"{head}{number}7" for head in ("0413", "0523", "0637", "0741", "0859")]
    terms = {
        "legs": [{"instrument_id": market["instrument_id"]}],
        "side": "buy",
        "quantity": "4321",
        "price_increment": "0.000000001",
        "client_reference": secrets.reference,
    }
    async with service.http(SPIED_CLIENT) as client, service.http(SPIED_DEALER) as dealer:
        for is_traded in (True, False):
            limit_price = secrets.price(digits[0] if is_traded else digits[1])
            body = {**terms, "limit_price": limit_price, "panel": [SPIED_DEALER], "size_mode": "any_part"}
            rfq_id = (await _ok(client, "/v1/rfqs", body))["rfq"]["rfq_id"]
            price = secrets.price(digits[2] if is_traded else digits[3])
            path = f"/v1/dealer/rfqs/{rfq_id}/quotes"
            quote_id = (await _ok(dealer, path, {"ask": {"price": price}}))["quote_id"]
            await _ok(dealer, "/v1/dealer/price", {"rfq_id": rfq_id})
            if is_traded:
                await _ok(client, f"/v1/rfqs/{rfq_id}/accept", {"quote_id": quote_id, "quantity": "1234"})
        quotes = [{"dealer": secrets.reference[:60], "ask": {"price": secrets.price(digits[4])}}]
        await _ok(client, "/v1/evaluations", {**terms, "quotes": quotes})


async def live(service: Service, market: dict[str, Any]) -> list[str]:
    """A day of the own firms: everything they are answered and told, word for word but for ids."""
    ask, said = Decimal(market["ask"]), []
    terms = {"legs": [{"instrument_id": market["instrument_id"]}], "side": "buy", "quantity": "1000"}
    clock = service.runtime.clock
    assert isinstance(clock, SimClock)

    async def tick(_request: httpx.Request) -> None:
        clock.advance(NS_PER_MS)

    async with service.http(OWN_CLIENT) as client, service.http(OWN_DEALER) as dealer:
        for http in (client, dealer):
            http.event_hooks["request"].append(tick)
        quotes = [{"dealer": f"Desk {n}", "ask": {"price": str(ask + Decimal("0.001") * n)}} for n in range(3)]
        said.append(await _ok(client, "/v1/evaluations", {**terms, "quotes": quotes}))
        body = {**terms, "panel": [OWN_DEALER, DEALERS[2]], "size_mode": "any_part"}
        rfq_id = (await _ok(client, "/v1/rfqs", body))["rfq"]["rfq_id"]
        said.append(await _ok(dealer, "/v1/dealer/price", {"rfq_id": rfq_id}))
        hypothetical = {"instrument_id": market["instrument_id"], "side": "two_way", "quantity": "500"}
        said.append(await _ok(dealer, "/v1/dealer/price", hypothetical))
        quote_id = (await _ok(dealer, f"/v1/dealer/rfqs/{rfq_id}/quotes", {"ask": {"price": str(ask)}}))["quote_id"]
        said.append((await client.get(f"/v1/rfqs/{rfq_id}/quotes")).json())
        accept = {"quote_id": quote_id, "quantity": "400"}
        said.append(await _ok(client, f"/v1/rfqs/{rfq_id}/accept", accept))
        said.append(await _ok(dealer, "/v1/dealer/price", hypothetical))
        for http, path in (
            (client, f"/v1/rfqs/{rfq_id}"),
            (client, f"/v1/rfqs/{rfq_id}/quotes"),
            (client, "/v1/rfqs"),
            (client, "/v1/quotes"),
            (dealer, "/v1/dealer/rfqs"),
            (dealer, f"/v1/dealer/rfqs/{rfq_id}"),
            (dealer, "/v1/dealer/quotes"),
            (client, "/v1/board"),
        ):
            answer = await http.get(path)
            assert answer.status_code == 200, (path, answer.text)
            said.append(answer.json())
    return [_words(item) for item in said]


def _words(reply: dict[str, Any]) -> str:
    """A reply without ids. What was made in the same nanosecond is listed in the order of random bits: put in one."""
    masked = {name: _ID.sub("ID", str(value)) for name, value in reply.items()}
    if "items" in reply:
        masked["items"] = str(sorted(_ID.sub("ID", str(item)) for item in reply["items"]))
    return str(masked)


async def _ok(http: httpx.AsyncClient, path: str, body: Any) -> Any:
    answer = await http.post(path, json=body)
    assert answer.is_success, (path, answer.text)
    return answer.json()


async def told(dsn: str, service: Service) -> list[str]:
    """Every event that the own firms are told, with its number, once all are numbered."""
    firms = await service.runtime.firms.named([OWN_CLIENT, OWN_DEALER])
    own = {"client": firms[OWN_CLIENT].firm_id, "dealer": firms[OWN_DEALER].firm_id}
    owner = Database(dsn)
    statement = text(
        "SELECT party, number, kind, payload_json::text FROM stream_entry "
        "WHERE firm_id = ANY (:firms) AND split_part(kind, '.', 1) NOT IN ('key', 'firm') ORDER BY party, number"
    )
    pending = text("SELECT count(*) FROM event WHERE id NOT IN (SELECT event_id FROM event_leaf)")
    try:
        for _ in range(200):
            async with owner.connect() as connection:
                if (await connection.execute(pending)).scalar_one() == 0:
                    rows = (await connection.execute(statement, {"firms": list(own.values())})).all()
                    return [_ID.sub("ID", str(tuple(row))) for row in rows]
            await asyncio.sleep(0.05)
    finally:
        await owner.close()
    raise AssertionError("events are not numbered within 10 s")


async def test_nothing_of_one_firm_shows_at_another(
    service: Service, market: dict[str, Any], two_databases: list[str]
) -> None:
    entries = copy.deepcopy(service.runtime.board._entries)
    now_ns = time.time_ns()
    secrets = Secrets(Decimal(market["ask"]))
    seen: list[list[str]] = []
    events: list[list[str]] = []
    for dsn, is_spied in zip(two_databases, (False, True), strict=True):
        settings = Settings(
            http=HttpSettings(rate_per_s=5_000, rate_burst=10_000, deadline_ms=10_000),
            auth=AuthSettings(token_s=3_600),
            telemetry=TelemetrySettings(log_level="ERROR"),
        )
        runtime = build_runtime(settings, dsn, [], clock=SimClock(now_ns))
        runtime.board._entries = copy.deepcopy(entries)
        async with running(runtime) as standing:
            async with standing.http(CLIENT) as client:
                shown = (await client.get("/v1/board")).json()["items"]
            still = next(row for row in shown if row["instrument_id"] == market["instrument_id"])
            answers: list[str] = []
            for number in range(_ROUNDS):
                if is_spied:
                    await plant(standing, still, secrets, number)
                answers += await live(standing, still)
            seen.append(answers)
            events.append(await told(dsn, standing))
            async with standing.http(SPIED_CLIENT) as client:
                own = [(await client.get(path)).text for path in ("/v1/rfqs", "/v1/quotes")]
    alone, beside = seen
    assert alone == beside
    assert events[0] == events[1]
    assert len(events[0]) > 20
    for words in (beside, events[1]):
        for secret in secrets.all():
            assert not any(secret in word for word in words), secret
    # what is looked for would be found: the spied firms read their own
    assert all(any(secret in word for word in own) for secret in secrets.all())
