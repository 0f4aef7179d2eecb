"""A dealer's process: answers every invitation, by a view of his own or by the service's auto-pricer.

``python -m rfq_service.demo.dealer STYLE SEED``; the service's address and his key come from the environment.
"""

from __future__ import annotations

import contextlib
import math
import random
import sys
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rfq_service.demo.client import Client, Refused
from rfq_service.domain.units import BPS, round_ask, round_bid

AUTO = "auto"
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Style:
    """How a simulated dealer makes his price: a share of the spread, a view of impact, noise, and a mood.

    Attributes:
        spread_share: of the lit half-spread he charges.
        impact_share: of the square-root impact he expects.
        noise_share: sd of his error as share of his own charge.
        pass_probability: how often he does not quote.
        delay_s: how long he thinks at most.
    """

    spread_share: float
    impact_share: float
    noise_share: float
    pass_probability: float
    delay_s: float


STYLES = {
    "keen": Style(0.8, 0.5, 0.25, 0.0, 0.3),
    "steady": Style(1.0, 0.9, 0.2, 0.05, 0.5),
    "moody": Style(0.9, 1.0, 0.6, 0.15, 0.6),
    "dear": Style(1.6, 2.2, 0.2, 0.05, 0.4),
}


class SimulatedDealer:
    """Prices from the public board, as a dealer without our models would."""

    def __init__(self, client: Client, style: Style, draws: random.Random) -> None:
        self._client = client
        self._style = style
        self._draws = draws

    def answer(self, invitation: dict[str, Any]) -> None:
        """Quote or pass."""
        rfq_id, terms = invitation["rfq_id"], invitation["terms"]
        time.sleep(self._draws.uniform(0.0, self._style.delay_s))
        legs = [self._leg(terms, leg) for leg in terms["legs"]]
        if self._draws.random() < self._style.pass_probability or any(leg is None for leg in legs):
            self._client.post(f"/v1/dealer/rfqs/{rfq_id}/pass")
            return
        body: dict[str, Any] = {"ttl_s": "15"}
        known = [leg for leg in legs if leg is not None]
        if terms["side"] in ("sell", "two_way"):
            body["bid"] = {"leg_prices": [str(bid if side == "buy" else ask) for side, bid, ask in known]}
        if terms["side"] in ("buy", "two_way"):
            body["ask"] = {"leg_prices": [str(ask if side == "buy" else bid) for side, bid, ask in known]}
        self._client.post(f"/v1/dealer/rfqs/{rfq_id}/quotes", body)

    def _leg(self, terms: dict[str, Any], leg: dict[str, Any]) -> tuple[str, Decimal, Decimal] | None:
        """Direction, bid and ask of a leg; ``None`` without a live market."""
        board = self._client.get(f"/v1/board/{leg['instrument_id']}")["market"]
        instrument = self._client.get(f"/v1/instruments/{leg['instrument_id']}")
        figures = board.get("statistics") or {}
        if (
            board["status"] != "live"
            or not figures.get("volatility_bps_sqrt_day")
            or not figures.get("volume_per_day_notional")
        ):
            return None
        mid = float(board["mid"])
        quantity = float(Decimal(terms["quantity"]) * Decimal(leg["ratio"]) * Decimal(instrument["multiplier"]))
        notional = quantity if instrument["contract_type"] == "inverse" else quantity * mid
        charge_bps = self._charge_bps(figures, notional)
        increment = Decimal(terms["price_increment"])
        return (
            leg["side"],
            round_bid(mid * (1.0 - charge_bps / BPS), increment),
            round_ask(mid * (1.0 + charge_bps / BPS), increment),
        )

    def _charge_bps(self, figures: dict[str, float], notional: float) -> float:
        style = self._style
        impact = figures["volatility_bps_sqrt_day"] * math.sqrt(notional / figures["volume_per_day_notional"])
        charge = style.spread_share * figures["spread_bps"] / 2.0 + style.impact_share * impact
        return max(0.0, charge * (1.0 + self._draws.gauss(0.0, style.noise_share)))


class AutoDealer:
    """Sends what the service's own pricer proposes, and passes when it declines."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def answer(self, invitation: dict[str, Any]) -> None:
        """Quote or pass."""
        rfq_id = invitation["rfq_id"]
        price = self._client.post("/v1/dealer/price", {"rfq_id": rfq_id})
        if price["decline_code"]:
            self._client.post(f"/v1/dealer/rfqs/{rfq_id}/pass")
            return
        body: dict[str, Any] = {"ttl_s": "15"}
        for side in price["sides"]:
            body["bid" if side["side"] == "sell" else "ask"] = {"leg_prices": side["leg_prices"]}
        self._client.post(f"/v1/dealer/rfqs/{rfq_id}/quotes", body)


def main() -> None:
    """Poll for invitations and answer each once, until terminated."""
    style, seed = sys.argv[1], int(sys.argv[2])
    client = Client()
    dealer = AutoDealer(client) if style == AUTO else SimulatedDealer(client, STYLES[style], random.Random(seed))  # noqa: S311
    answered: set[str] = set()
    while True:
        for invitation in client.get("/v1/dealer/rfqs", state="open")["items"]:
            if invitation["rfq_id"] not in answered:
                answered.add(invitation["rfq_id"])
                _answer(dealer, invitation)
        time.sleep(_POLL_S)


def _answer(dealer: SimulatedDealer | AutoDealer, invitation: dict[str, Any]) -> None:
    try:
        dealer.answer(invitation)
    except Refused as refused:
        # the RFQ may have ended while he was thinking; whatever it is, a dealer goes on
        print(f"dealer: {refused}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
