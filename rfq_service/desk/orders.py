"""What callers ask the desks to do and what they get back: plain values between the wire and the use cases."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from rfq_service.domain.history import Decision, Evaluation
from rfq_service.domain.identifiers import InstrumentId, RfqId
from rfq_service.domain.quote import Fill, Quote
from rfq_service.domain.rfq import Leg, Rfq, SizeMode
from rfq_service.domain.units import RequestSide, Side


@dataclass(frozen=True, slots=True)
class RfqOrder:
    """Open an RFQ. ``price_increment`` defaults to the smallest tick of the legs, ``expires_in_ns`` to the settings.

    ``panel`` names dealer firms; empty means that the service chooses (every dealer firm it knows but the client).
    """

    legs: tuple[Leg, ...]
    side: RequestSide
    quantity: Decimal
    size_mode: SizeMode
    minimum_quantity: Decimal | None
    price_increment: Decimal | None
    limit_price: Decimal | None
    client_reference: str
    anonymous: bool
    panel: tuple[str, ...]
    expires_in_ns: int | None


@dataclass(frozen=True, slots=True)
class SideOrder:
    """One quoted side: ``price`` for a single leg, ``leg_prices`` for a package (``price`` then optional, checked)."""

    price: Decimal | None
    leg_prices: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True)
class QuoteOrder:
    """Post a quote. ``quantity`` defaults to the whole RFQ, ``ttl_ns`` to the settings."""

    bid: SideOrder | None
    ask: SideOrder | None
    quantity: Decimal | None
    ttl_ns: int | None


@dataclass(frozen=True, slots=True)
class ExternalQuote:
    """A quote received on another platform. Without ``ttl_ns`` it is as good as the default TTL from now."""

    dealer_name: str
    quote: QuoteOrder


@dataclass(frozen=True, slots=True)
class EvaluateOrder:
    """Score quotes that were received elsewhere; ``rfq.panel`` and ``rfq.anonymous`` have no meaning here."""

    rfq: RfqOrder
    quotes: tuple[ExternalQuote, ...]


@dataclass(frozen=True, slots=True)
class PriceOrder:
    """Price an inbound RFQ (``rfq_id``) or a hypothetical request for one instrument (the other three fields)."""

    rfq_id: RfqId | None
    instrument_id: InstrumentId | None
    side: RequestSide | None
    quantity: Decimal | None


@dataclass(frozen=True, slots=True)
class RfqView:
    """An RFQ with the panel its client chose and what has traded."""

    rfq: Rfq
    panel: tuple[str, ...]
    fills: tuple[Fill, ...]


@dataclass(frozen=True, slots=True)
class RankedQuotes:
    """Every quote of an RFQ with its score, the latest decision, and whether that decision still stands.

    ``is_current``: the decision weighed just the quotes that can be accepted now; false when one has ended since.
    """

    rfq: Rfq
    quotes: tuple[Quote, ...]
    evaluations: tuple[Evaluation, ...]
    decision: Decision | None
    is_current: bool


@dataclass(frozen=True, slots=True)
class SideMarkup:
    """One side of an automatic quote, in bps of the mid; the parts add up to ``markup_bps``."""

    side: Side
    price: Decimal
    leg_prices: tuple[Decimal, ...]
    markup_bps: float
    win_probability: float
    expected_pnl_bps: float
    attribution_bps: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class PriceAnswer:
    """What the auto-pricer would quote now, or why it declines (``decline_code`` set, no sides)."""

    sides: tuple[SideMarkup, ...]
    quantity: Decimal
    reference_mid: Decimal | None
    inventory: Decimal
    valid_until_ns: int
    model: str
    is_fallback: bool
    decline_code: str
    decline_detail: str
