"""A dealer's process: answers every invitation, by a view of his own or by the service's auto-pricer.

``python -m rfq_service.demo.dealer STYLE SEED``; the service's address and his key come from the environment.
"""

from __future__ import annotations

import contextlib
import math
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from rfq_service.client import Client, Event, EventKind, Leg, Refused, Resync, Topic
from rfq_service.client.schemas.dealer import Invitation
from rfq_service.client.schemas.enums import ContractType, InvitationState, MarketStatus, RequestSide, Side
from rfq_service.client.schemas.market import Statistics
from rfq_service.client.schemas.rfq import Terms
from rfq_service.domain.units import BPS, round_ask, round_bid

AUTO = "auto"
_TTL_S = 15


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


@dataclass(frozen=True, slots=True)
class LegQuote:
    """Both prices of a leg, and its direction in the package."""

    side: Side
    bid: Decimal
    ask: Decimal


class SimulatedDealer:
    """Prices from the public board, as a dealer without our models would."""

    def __init__(self, client: Client, style: Style, draws: random.Random) -> None:
        self._client = client
        self._style = style
        self._draws = draws

    def answer(self, invitation: Invitation) -> None:
        """Quote or pass."""
        terms = invitation.terms
        time.sleep(self._draws.uniform(0.0, self._style.delay_s))
        legs = [self._leg(terms, leg) for leg in terms.legs]
        known = [leg for leg in legs if leg is not None]
        if self._draws.random() < self._style.pass_probability or len(known) < len(legs):
            self._client.pass_rfq(invitation.rfq_id)
            return
        bid = [leg.bid if leg.side == Side.BUY else leg.ask for leg in known]
        ask = [leg.ask if leg.side == Side.BUY else leg.bid for leg in known]
        self._client.post_quote(
            invitation.rfq_id,
            bid=None if terms.side == RequestSide.BUY else bid,
            ask=None if terms.side == RequestSide.SELL else ask,
            ttl_s=_TTL_S,
        )

    def _leg(self, terms: Terms, leg: Leg) -> LegQuote | None:
        """His prices of a leg; ``None`` without a live market."""
        market = self._client.get_book(leg.instrument_id).market
        instrument = self._client.get_instrument(leg.instrument_id)
        if market.status != MarketStatus.LIVE or market.mid is None or market.statistics is None:
            return None
        mid = float(market.mid)
        quantity = float(terms.quantity * leg.ratio * instrument.multiplier)
        notional = quantity if instrument.contract_type == ContractType.INVERSE else quantity * mid
        charge_bps = self._charge_bps(market.statistics, notional)
        if charge_bps is None:
            return None
        return LegQuote(
            leg.side,
            round_bid(mid * (1.0 - charge_bps / BPS), terms.price_increment),
            round_ask(mid * (1.0 + charge_bps / BPS), terms.price_increment),
        )

    def _charge_bps(self, figures: Statistics, notional: float) -> float | None:
        style = self._style
        if not figures.volatility_bps_sqrt_day or not figures.volume_per_day_notional or figures.spread_bps is None:
            return None
        impact = figures.volatility_bps_sqrt_day * math.sqrt(notional / figures.volume_per_day_notional)
        charge = style.spread_share * figures.spread_bps / 2.0 + style.impact_share * impact
        return max(0.0, charge * (1.0 + self._draws.gauss(0.0, style.noise_share)))


class AutoDealer:
    """Sends what the service's own pricer proposes, and passes when it declines."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def answer(self, invitation: Invitation) -> None:
        """Quote or pass."""
        price = self._client.price_request(rfq_id=invitation.rfq_id)
        if price.decline_code is not None:
            self._client.pass_rfq(invitation.rfq_id)
            return
        prices = {side.side: side.leg_prices for side in price.sides}
        self._client.post_quote(invitation.rfq_id, bid=prices.get(Side.SELL), ask=prices.get(Side.BUY), ttl_s=_TTL_S)


def main() -> None:
    """Answer each invitation once, until terminated."""
    style, seed = sys.argv[1], int(sys.argv[2])
    with Client() as client:
        dealer = AutoDealer(client) if style == AUTO else SimulatedDealer(client, STYLES[style], random.Random(seed))  # noqa: S311
        for invitation in _invitations(client):
            try:
                dealer.answer(invitation)
            except Refused as refused:
                # the RFQ may have ended while he was thinking; whatever it is, a dealer goes on
                print(f"dealer: {refused}", file=sys.stderr, flush=True)


def _invitations(client: Client) -> Iterator[Invitation]:
    """Each invitation once: those that are open, then every one as it comes."""
    seen = set()
    with client.stream([Topic.RFQS]) as stream:
        waiting = list(client.each_invitation(state=InvitationState.OPEN))
        while True:
            for invitation in waiting:
                if invitation.rfq_id not in seen:
                    seen.add(invitation.rfq_id)
                    yield invitation
            item = next(stream)
            waiting = []
            if isinstance(item, Event) and item.kind == EventKind.INVITATION_SENT and item.rfq_id is not None:
                waiting = [client.get_invitation(item.rfq_id)]
            elif isinstance(item, Resync):
                waiting = list(client.each_invitation(state=InvitationState.OPEN))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
