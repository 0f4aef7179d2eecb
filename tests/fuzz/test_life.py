"""RFQs lived at random through the real API, beside a model of what is promised of them.

Every answer, every view of every party and every stream is compared with the model after each step.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.fuzz.model import CLIENT, DEALER, OPEN, Market, ModelQuote, ModelRfq, Prices, counted
from tests.fuzz.players import ASKERS, PARTIES, Json, Players, news_of, secrets_from, takes_part
from tests.fuzz.stage import DEALERS, Stage, ToldClock

TICK, UNIT = Decimal("0.001"), Decimal(10)
PANELS = ((), DEALERS, DEALERS[:2], DEALERS[1:4], DEALERS[2:], DEALERS[:1])
EXPIRIES_S, TTLS_S, JUMPS_S = (20, 60, 300, 300), (5, 30, 120, 200), (3, 11, 31, 65)
SIDES = ("buy", "sell", "two_way")
# Leg sides and ratios.
ONE_LEG = (("buy", 1),)
PACKAGES = ONE_LEG, ONE_LEG, (("buy", 1), ("sell", 1)), (("buy", 1), ("buy", 2)), (("buy", 3), ("sell", 2))
# What may happen, and how often.
ACTIONS = {
    "open_rfq": 3,
    "quote": 6,
    "pass_on": 1,
    "withdraw": 2,
    "accept": 8,
    "cancel": 1,
    "evaluate": 1,
    "wait": 3,
    "sweep": 2,
    "repeat": 2,
    "look_at_lists": 1,
}
STEPS, PLAYS = 40, 14
MANY_STEPS, MANY_PLAYS = 60, 25


@dataclass(frozen=True)
class Change:
    """A request that took effect, with its key and its answer."""

    firm: str
    party: str
    path: str
    body: bytes
    key: str
    status: int
    reply: bytes


class Life(RuleBasedStateMachine):
    """One play: every RFQ of it is new, the firms stay the same."""

    def __init__(self, players: Players, base: dict[str, Decimal]) -> None:
        super().__init__()
        self.players, self.base = players, base
        self.market = Market()
        self.changes: list[Change] = []
        self.legs: dict[str, tuple[tuple[str, int], ...]] = {}
        self.touched: set[str] = set()
        self.steps = 0
        self.players.start_anew()

    # -------------------------------------------------------------------------------------------------------- talking

    def ask(self, firm: str, party: str, path: str, **query: str) -> httpx.Response:
        return self._harmless(firm, party, self.players.send(firm, party, "GET", path, **query))

    def change(self, firm: str, party: str, path: str, body: Json | None = None, key: str = "") -> httpx.Response:
        content, key = json.dumps(body or {}).encode(), key or uuid4().hex
        answer = self._harmless(firm, party, self.players.send(firm, party, "POST", path, content, key))
        if answer.is_success:
            self.changes.append(Change(firm, party, path, content, key, answer.status_code, answer.content))
            assert "idempotency-replayed" not in answer.headers
        return answer

    def _harmless(self, firm: str, party: str, answer: httpx.Response) -> httpx.Response:
        for secret in secrets_from(self.market, firm, party):
            assert secret not in answer.text, f"{firm} ({party}) was told {secret}"
        return answer

    # ------------------------------------------------------------------------------------------------ what may happen

    @initialize(number=st.integers(0, 2**64 - 1))
    def begin(self, number: int) -> None:
        """There is always something to trade."""
        chance = Random(number)
        for mode in ("all_or_none", "any_part", "minimum"):
            self._open(chance, ASKERS[0], mode, (), 300)
            rfq = list(self.market.rfqs.values())[-1]
            for worse, dealer in enumerate(DEALERS[:3]):
                self._quote(rfq, dealer, worse, "all", chance.choice(TTLS_S), is_key_old=False)

    @rule(number=st.integers(0, 2**64 - 1))
    def act(self, number: int) -> None:
        """One of the things that may happen. Hypothesis chooses by number: left alone it repeats the dull ones."""
        self.steps += 1
        chance = Random(f"{number} {self.steps}")  # or a number drawn twice does the same twice
        name = chance.choices(list(ACTIONS), list(ACTIONS.values()))[0]
        note(f"{name} at {self.market.now} s")
        getattr(self, name)(chance)

    def an_rfq(self, chance: Random) -> ModelRfq:
        """One that is open, mostly."""
        now = self.market.now
        still_open = [rfq for rfq in self.market.rfqs.values() if rfq.state in OPEN and now < rfq.expires_at]
        return chance.choice(still_open if still_open and chance.random() < 0.8 else list(self.market.rfqs.values()))

    def live_quotes(self) -> list[ModelQuote]:
        return [quote for quote in self.market.quotes.values() if quote.is_live(self.market.now)]

    def a_quote(self, chance: Random) -> ModelQuote:
        """One that is live, mostly."""
        live = self.live_quotes()
        return chance.choice(live if live and chance.random() < 0.8 else list(self.market.quotes.values()))

    def open_rfq(self, chance: Random) -> None:
        mode = chance.choice(["all_or_none", "any_part", "any_part", "minimum", "minimum"])
        self._open(chance, chance.choice(ASKERS), mode, chance.choice(PANELS), chance.choice(EXPIRIES_S))

    def _open(self, chance: Random, client: str, size_mode: str, panel: tuple[str, ...], expiry: int) -> None:
        side, legs, units = chance.choice(SIDES), chance.choice(PACKAGES), chance.randint(2, 9)
        anonymous, quantity = chance.random() < 0.3, units * UNIT
        minimum = -(-units // 2) * UNIT if size_mode == "minimum" else None
        body = {**self.terms(legs, side, quantity), "size_mode": size_mode, "panel": panel, "anonymous": anonymous}
        body |= {"expires_in_s": str(expiry), "minimum_quantity": None if minimum is None else str(minimum)}
        answer = self.change(client, CLIENT, "/v1/rfqs", body)
        asked = tuple(panel) or tuple(name for name in DEALERS if name != client)
        refusals = {"UNKNOWN_DEALER"} if client in panel else set()
        refusals |= {"PANEL_TOO_SMALL"} if anonymous and len(asked) < 5 else set()
        if refused(answer, refusals):
            return
        rfq_id = answer.json()["rfq"]["rfq_id"]
        expires_at, reference = self.market.now + expiry, body["client_reference"]
        rfq = ModelRfq(rfq_id, client, asked, side, quantity, size_mode, minimum, anonymous, reference, expires_at)
        self.legs[rfq_id] = legs
        self.market.open(rfq)
        self.touched.add(rfq_id)

    def quote(self, chance: Random) -> None:
        """Dealers answer, one after the other; one who comes twice replaces his quote."""
        rfq, share = self.an_rfq(chance), chance.choice(["all", "all", "all", "half", "tiny", "more"])
        for _ in range(chance.randint(1, 3)):
            ttl, is_key_old = chance.choice(TTLS_S), chance.random() < 0.1
            self._quote(rfq, chance.choice(DEALERS), chance.randint(0, 4), share, ttl, is_key_old=is_key_old)

    def _quote(self, rfq: ModelRfq, dealer: str, worse: int, share: str, ttl: int, *, is_key_old: bool) -> None:
        rfq_id = rfq.rfq_id
        quantity = part_of(rfq.quantity, share)
        bid, ask = (self.prices(rfq_id, side, worse) for side in ("sell", "buy"))
        shown = {
            name: shown_price
            for name, side, shown_price in (("bid", "sell", bid), ("ask", "buy", ask))
            if side in rfq.sides()
        }
        body = {name: self.wire_prices(leg_prices) for name, leg_prices in shown.items()}
        body |= {"quantity": str(quantity), "ttl_s": str(ttl)}
        # a key is its firm's own: what another firm used is as good as new
        used = [change.key for change in self.changes if change.firm != dealer]
        key = used[-1] if used and is_key_old and not self.has_used(dealer, used[-1]) else ""
        answer = self.change(dealer, DEALER, f"/v1/dealer/rfqs/{rfq_id}/quotes", body, key)
        if refused(answer, self.market.refusals_of_quote(rfq, dealer, quantity)):
            return
        MET["another firm's key"] += bool(key)
        quote_id = answer.json()["quote_id"]
        prices = {name: self.net(rfq_id, leg_prices) for name, leg_prices in shown.items()}
        until = min(self.market.now + ttl, rfq.expires_at)
        made = ModelQuote(quote_id, rfq_id, dealer, quantity, prices.get("bid"), prices.get("ask"), until)
        self.market.quoted(rfq, made)
        self.touched.add(rfq_id)

    def pass_on(self, chance: Random) -> None:
        rfq, dealer = self.an_rfq(chance), chance.choice(DEALERS)
        rfq_id = rfq.rfq_id
        answer = self.change(dealer, DEALER, f"/v1/dealer/rfqs/{rfq_id}/pass")
        self.touched.add(rfq_id)
        if refused(answer, self.market.refusals_of_quote(rfq, dealer, rfq.quantity)):
            return
        quote_id = answer.json()["quote_id"]
        empty = ModelQuote(quote_id, rfq_id, dealer, rfq.quantity, None, None, self.market.now)
        self.market.passed(rfq, empty)

    def withdraw(self, chance: Random) -> None:
        quote = self.a_quote(chance)
        dealer = quote.dealer if chance.random() < 0.7 else chance.choice(DEALERS)
        answer = self.change(dealer, DEALER, f"/v1/dealer/quotes/{quote.quote_id}/withdraw")
        self.touched.add(quote.rfq_id)
        if not refused(answer, self.market.refusals_of_withdrawal(dealer, quote)):
            self.market.withdrawn(quote)

    def accept(self, chance: Random) -> None:
        begun = [quote for quote in self.live_quotes() if self.market.rfqs[quote.rfq_id].filled]
        quote = chance.choice(begun) if begun and chance.random() < 0.4 else self.a_quote(chance)
        quote_id = quote.quote_id
        rfq = self.market.rfqs[quote.rfq_id] if chance.random() < 0.9 else self.an_rfq(chance)
        client = rfq.client if chance.random() < 0.9 else chance.choice(ASKERS)
        side = chance.choice(["right"] * 6 + [None, "buy", "sell"])
        # what is left after a part has traded is tried in excess more often
        excess = ["more"] * (4 if rfq.filled else 1)
        share = chance.choice([None, None, "all", "all", "half", "half", "half", "tiny", "off", *excess])
        side = min(rfq.sides()) if side == "right" else side
        quantity = None if share is None else part_of(rfq.remaining, share)
        body = {"quote_id": quote_id, "side": side, "quantity": None if quantity is None else str(quantity)}
        answer = self.change(client, CLIENT, f"/v1/rfqs/{rfq.rfq_id}/accept", body)
        self.touched.add(rfq.rfq_id)
        if refused(answer, self.market.refusals_of_accept(rfq, client, quote, side, quantity)):
            return
        fill = answer.json()
        traded = min(quote.quantity, rfq.remaining) if quantity is None else quantity
        side = side or min(rfq.sides())
        self.market.accepted(rfq, quote, side, traded)
        assert (fill["quote_id"], fill["side"], Decimal(fill["quantity"])) == (quote_id, side, traded)
        assert Decimal(fill["price"]) == rfq.fills[-1][3]

    def cancel(self, chance: Random) -> None:
        rfq = self.an_rfq(chance)
        rfq_id, client = rfq.rfq_id, rfq.client if chance.random() < 0.6 else chance.choice(ASKERS)
        answer = self.change(client, CLIENT, f"/v1/rfqs/{rfq_id}/cancel")
        self.touched.add(rfq_id)
        refusals = {"RFQ_NOT_FOUND"} if client != rfq.client else self.market.refusals_of_closed(rfq)
        if not refused(answer, refusals):
            self.market.cancelled(rfq)

    def evaluate(self, chance: Random) -> None:
        client, side, dealers = chance.choice(ASKERS), chance.choice(SIDES), chance.randint(1, 3)
        legs = (("buy", 1),)
        body = self.terms(legs, side, UNIT)
        given_prices = {
            name: self.wire_prices(self.prices(None, direction, 1))
            for name, direction in (("bid", "sell"), ("ask", "buy"))
            if side in (direction, "two_way")
        }
        body["quotes"] = [{"dealer": f"Desk {number}", **given_prices, "ttl_s": "30"} for number in range(dealers)]
        answer = self.change(client, CLIENT, "/v1/evaluations", body)
        if not answer.is_success:  # the market is dated anew after each jump of the clock, a little later
            assert answer.json()["code"] == "STALE_MARKET", answer.text
            return
        reply = answer.json()
        rfq_id, now = reply["rfq"]["rfq_id"], self.market.now
        rfq = ModelRfq(rfq_id, client, (), side, UNIT, "all_or_none", None, False, body["client_reference"], now + 300)
        rfq.state = "evaluated"
        for item in reply["quotes"]:
            quote = item["quote"]
            rfq.quotes.append(ModelQuote(quote["quote_id"], rfq_id, quote["dealer"], UNIT, None, None, now + 30))
        rfq.weighed = rfq.live(now)
        self.legs[rfq_id] = legs
        self.market.evaluated(rfq)
        self.touched.add(rfq_id)

    def wait(self, chance: Random) -> None:
        seconds = chance.choice(JUMPS_S)
        self.players.advance(seconds)
        self.market.now += seconds
        self.touched |= set(list(self.market.rfqs)[-3:])

    def sweep(self, _chance: Random) -> None:
        self.players.stage.run(self.players.stage.runtime.sweeper.sweep())
        self.touched |= {rfq.rfq_id for rfq in self.market.swept()}

    def repeat(self, chance: Random) -> None:
        change, how = chance.choice(self.changes), chance.choice(["same", "same", "other body", "other firm"])
        body = change.body + b" " if how == "other body" else change.body
        firms = [firm for firm, party in PARTIES if party == change.party and firm != change.firm]
        firm = chance.choice(firms) if how == "other firm" else change.firm
        if how == "other firm" and change.path in ("/v1/rfqs", "/v1/evaluations"):
            return  # that would be a request like any other
        if how == "other firm" and change.path.endswith(("/quotes", "/pass")):
            return  # the same, of a dealer who may be invited
        answer = self._harmless(
            firm, change.party, self.players.send(firm, change.party, "POST", change.path, body, change.key)
        )
        if how == "same":
            assert (answer.status_code, answer.content) == (change.status, change.reply)
            assert answer.headers["idempotency-replayed"] == "true"
            MET["replayed"] += 1
        elif how == "other body":
            assert refused(answer, {"IDEMPOTENCY_KEY_REUSED"})
        else:
            assert answer.status_code == 404, answer.text

    def look_at_lists(self, chance: Random) -> None:
        client, dealer = chance.choice(ASKERS), chance.choice(DEALERS)
        own = [rfq.rfq_id for rfq in self.market.rfqs.values() if rfq.client == client]
        assert self.listed(client, CLIENT, "/v1/rfqs", len(own), "rfq_id") == own[::-1]
        asked = [rfq.rfq_id for rfq in self.market.rfqs.values() if dealer in rfq.panel]
        assert self.listed(dealer, DEALER, "/v1/dealer/rfqs", len(asked), "rfq_id") == asked[::-1]
        given = [quote.quote_id for quote in self.market.quotes.values() if quote.dealer == dealer]
        assert self.listed(dealer, DEALER, "/v1/dealer/quotes", len(given), "quote", "quote_id") == given[::-1]

    # ------------------------------------------------------------------------------------------ what is always the case

    @invariant()
    def every_view_is_as_promised(self) -> None:
        for rfq_id in sorted(self.touched):
            rfq = self.market.rfqs[rfq_id]
            self._check_client(rfq)
            # while it is open, each dealer in his turn: two of five see as much as all of them
            turn = len(self.changes) % len(DEALERS)
            for dealer in DEALERS if rfq.invitation != "open" else (DEALERS[turn], DEALERS[turn - 1]):
                self._check_dealer(rfq, dealer)
        self.touched.clear()

    @invariant()
    def every_stream_tells_what_happened(self) -> None:
        for firm, party in PARTIES:
            happened = self.market.told[firm, party]
            expected = sum(number for change in happened for _, number in change)
            if not expected:
                continue
            entries = self.players.told(firm, party, expected)
            first = self.players.numbers[firm, party] + 1
            assert [entry["number"] for entry in entries] == list(range(first, first + expected))
            for change in happened:
                size = sum(number for _, number in change)
                told, entries = entries[:size], entries[size:]
                assert counted(news_of(entry) for entry in told) == change, (firm, party)
                for entry in told:
                    self._check_told(firm, party, entry)
            self.players.numbers[firm, party] += expected
            happened.clear()

    def teardown(self) -> None:
        MET.update(quote.reason for quote in self.market.quotes.values() if quote.reason)
        MET.update(rfq.state for rfq in self.market.rfqs.values())

    def _check_told(self, firm: str, party: str, entry: Json) -> None:
        text = json.dumps(entry["payload"])
        assert not any(secret in text for secret in secrets_from(self.market, firm, party))
        if entry["kind"] == "quote.ended":
            rfq = self.market.rfqs[entry["rfq_id"]]
            quote = next(quote for quote in rfq.quotes if quote.quote_id == entry["quote_id"])
            assert (entry["payload"]["state"], entry["payload"]["reason"]) == (quote.state, quote.reason)
        elif entry["kind"] == "invitation.closed":
            assert entry["payload"]["outcome"] == self.market.rfqs[entry["rfq_id"]].outcomes.get(firm)

    def _check_client(self, rfq: ModelRfq) -> None:
        view = self.ask(rfq.client, CLIENT, f"/v1/rfqs/{rfq.rfq_id}").json()
        shown = view["rfq"]
        assert (shown["state"], Decimal(shown["filled_quantity"])) == (rfq.state, rfq.filled)
        assert (set(view["panel"]), shown["client_reference"]) == (set(rfq.panel), rfq.reference)
        fills = [
            (fill["quote_id"], Decimal(fill["quantity"]), fill["side"], Decimal(fill["price"]))
            for fill in view["fills"]
        ]
        assert fills == rfq.fills
        assert sum((fill[1] for fill in fills), Decimal(0)) == rfq.filled <= rfq.quantity
        ranked = self.ask(rfq.client, CLIENT, f"/v1/rfqs/{rfq.rfq_id}/quotes").json()
        assert ends([item["quote"] for item in ranked["quotes"]]) == model_ends(rfq.quotes)
        for item in ranked["quotes"]:
            scored = set() if item["quote"]["state"] == "passed" else rfq.sides()
            assert {evaluation["side"] for evaluation in item["evaluations"]} == scored
        assert (ranked["decision"] is not None) == (rfq.weighed is not None)
        assert ranked["is_current"] == rfq.is_current(self.market.now)
        MET["current" if ranked["is_current"] else "not current"] += 1
        history = self.ask(rfq.client, CLIENT, "/v1/quotes", rfq_id=rfq.rfq_id, limit="200").json()["items"]
        assert ends([item["quote"] for item in history]) == model_ends(rfq.quotes)
        stranger = next(firm for firm in ASKERS if firm != rfq.client)
        assert refused(self.ask(stranger, CLIENT, f"/v1/rfqs/{rfq.rfq_id}/quotes"), {"RFQ_NOT_FOUND"})

    def _check_dealer(self, rfq: ModelRfq, dealer: str) -> None:
        answer = self.ask(dealer, DEALER, f"/v1/dealer/rfqs/{rfq.rfq_id}")
        given = self.ask(dealer, DEALER, "/v1/dealer/quotes", rfq_id=rfq.rfq_id).json()["items"]
        own = [quote for quote in rfq.quotes if quote.dealer == dealer]
        assert ends([item["quote"] for item in given]) == model_ends(own)
        if not takes_part(rfq, dealer, DEALER):
            assert refused(answer, {"RFQ_NOT_FOUND"})
            return
        view = answer.json()
        assert view["client"] == (None if rfq.anonymous else rfq.client)
        assert rfq.anonymous <= (rfq.client not in answer.text)
        assert (view["state"], view["outcome"]) == (rfq.invitation, rfq.outcomes.get(dealer))
        if view["outcome"] == "cover":
            assert view["cover_distance_bps"] == pytest.approx(rfq.cover_bps, abs=1e-5)
        else:
            assert view["cover_distance_bps"] is None

    # ---------------------------------------------------------------------------------------------------------- words

    def has_used(self, firm: str, key: str) -> bool:
        return any(change.firm == firm and change.key == key for change in self.changes)

    def terms(self, legs: tuple[tuple[str, int], ...], side: str, quantity: Decimal) -> Json:
        named = [
            {"instrument_id": instrument, "side": leg_side, "ratio": str(ratio)}
            for instrument, (leg_side, ratio) in zip(self.base, legs, strict=False)
        ]
        limit = None if side == "two_way" else "7.654"
        reference = f"secret {uuid4().hex}"
        return {
            "legs": named,
            "side": side,
            "quantity": str(quantity),
            "limit_price": limit,
            "client_reference": reference,
        }

    def prices(self, rfq_id: str | None, side: str, worse: int) -> list[Decimal]:
        """Leg prices of one side of a quote, so many ticks away from the best."""
        legs = (("buy", 1),) if rfq_id is None else self.legs[rfq_id]
        prices = []
        for base, (leg_side, _) in zip(self.base.values(), legs, strict=False):
            is_dearer = (side == "buy") == (leg_side == "buy")
            prices.append(base + (worse if is_dearer else -worse - 1) * TICK)
        return prices

    @staticmethod
    def wire_prices(leg_prices: list[Decimal]) -> Json:
        return {"price": str(leg_prices[0])} if len(leg_prices) == 1 else {"leg_prices": [str(p) for p in leg_prices]}

    def net(self, rfq_id: str, leg_prices: list[Decimal]) -> Prices:
        weighted = [(side, ratio * price) for (side, ratio), price in zip(self.legs[rfq_id], leg_prices, strict=True)]
        net = sum((price if side == "buy" else -price for side, price in weighted), Decimal(0))
        return Prices(net, sum((price for _, price in weighted), Decimal(0)))

    def listed(self, firm: str, party: str, path: str, count: int, *names: str) -> list[str]:
        """The newest ``count`` of a list, read in small pages."""
        found: list[str] = []
        query = {"limit": "3"}
        while len(found) < count:
            page = self.ask(firm, party, path, **query).json()
            for item in page["items"]:
                value: Any = item
                for name in names:
                    value = value[name]
                found.append(value)
            query["cursor"] = page["next_cursor"]
        return found[:count]


def part_of(quantity: Decimal, share: str) -> Decimal:
    """Quantities that trade, and some that cannot."""
    half = max(UNIT, (quantity / 2 // UNIT) * UNIT)
    return {"all": quantity, "half": half, "tiny": Decimal(1), "more": quantity + 1, "off": quantity - TICK}[share]


# How often each kind of end, answer and news was met; a play that meets none of them proves nothing.
MET: Counter[str] = Counter()
# Without these a run has shown little; rarer kinds of end and refusal depend on the draw.
TO_MEET = {
    *("hit", "replaced_by_dealer", "ttl_elapsed", "dealer_passed", "rfq_expired", "evaluated"),
    *("RFQ_NOT_FOUND", "RFQ_NOT_OPEN", "current", "not current", "another firm's key"),
}


def refused(answer: httpx.Response, refusals: set[str]) -> bool:
    """Whether it was refused; it must be when there is a reason, and for one of the reasons."""
    if not refusals:
        assert answer.is_success, answer.text
        return False
    assert answer.status_code in (404, 409, 422), (refusals, answer.text)
    assert answer.json()["code"] in refusals, (refusals, answer.text)
    MET[answer.json()["code"]] += 1
    return True


def ends(quotes: list[Json]) -> dict[str, tuple[str, str | None]]:
    found = {quote["quote_id"]: (quote["state"], quote["end_reason"]) for quote in quotes}
    assert len(found) == len(quotes), "a quote is listed twice"
    return found


def model_ends(quotes: list[ModelQuote]) -> dict[str, tuple[str, str | None]]:
    return {quote.quote_id: (quote.state, quote.reason) for quote in quotes}


@pytest.fixture(scope="module")
def players(timed_service: Stage, told_clock: ToldClock) -> Iterator[Players]:
    made = Players(timed_service, told_clock)
    yield made
    made.close()


@pytest.fixture(scope="module")
def base(players: Players) -> dict[str, Decimal]:
    """A price near the market of each instrument."""
    rows = players.send(ASKERS[0], CLIENT, "GET", "/v1/board").json()["items"]
    return {row["instrument_id"]: Decimal(row["ask"]) for row in rows}


def bounded(plays: int, steps: int, phases: list[Phase]) -> settings:
    return settings(
        max_examples=plays,
        stateful_step_count=steps,
        phases=phases,
        database=None,
        deadline=None,
        derandomize=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.timeout(600)
def test_random_lives_of_rfqs_are_as_promised(players: Players, base: dict[str, Decimal]) -> None:
    # no shrinking: it would take longer than a test may; the steps are printed as they were made
    run_state_machine_as_test(lambda: Life(players, base), settings=bounded(PLAYS, STEPS, [Phase.generate]))
    assert not TO_MEET - MET.keys(), MET
    for firm, party in PARTIES:
        heard, read = players.pushed(firm, party, 50)
        assert heard == read
        assert heard


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_many_more_random_lives_of_rfqs_are_as_promised(players: Players, base: dict[str, Decimal]) -> None:
    thorough = bounded(MANY_PLAYS, MANY_STEPS, [Phase.generate, Phase.shrink])
    run_state_machine_as_test(lambda: Life(players, base), settings=thorough)
