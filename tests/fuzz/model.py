"""What is promised of an RFQ's life, written from the documents: it imports nothing of the service.

Times are whole seconds since the model began. Every answer of the model is one of the document's codes, or none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

CLIENT, DEALER = "client", "dealer"
LOT = Decimal("0.01")
OPEN, FINAL = {"open", "partially_filled"}, {"filled", "cancelled", "expired", "evaluated"}
# How the quotes, the invitations and the dealers' news end with their RFQ.
ENDS_WITH_RFQ = {
    "filled": ("rejected", "done_away", "closed", "done_away"),
    "cancelled": ("cancelled", "rfq_cancelled", "cancelled", "cancelled"),
    "expired": ("expired", "rfq_expired", "expired", "expired"),
}
OUTCOME_OF_REASON = {
    "hit": "hit",
    "cover": "cover",
    "done_away": "done_away",
    "dealer_passed": "passed",
    "rfq_cancelled": "cancelled",
    "rfq_expired": "expired",
}
# (kind, RFQ, quote): what a party is told, in the order of what happened; within one change any order is right.
News = tuple[str, str, str | None]


@dataclass
class Prices:
    """Net price of a package and the leg prices it follows from."""

    net: Decimal
    gross: Decimal


@dataclass
class ModelQuote:
    """A dealer's quote, or the empty one of a pass."""

    quote_id: str
    rfq_id: str
    dealer: str
    quantity: Decimal
    bid: Prices | None
    ask: Prices | None
    valid_until: int
    state: str = "active"
    reason: str | None = None

    def side(self, side: str) -> Prices | None:
        return self.ask if side == "buy" else self.bid

    def is_live(self, now: int) -> bool:
        return self.state == "active" and now < self.valid_until


@dataclass
class ModelRfq:
    """An RFQ, its panel and all that was answered."""

    rfq_id: str
    client: str
    panel: tuple[str, ...]
    side: str
    quantity: Decimal
    size_mode: str
    minimum: Decimal | None
    anonymous: bool
    reference: str
    expires_at: int
    state: str = "open"
    filled: Decimal = Decimal(0)
    quotes: list[ModelQuote] = field(default_factory=list)
    fills: list[tuple[str, Decimal, str, Decimal]] = field(default_factory=list)
    weighed: frozenset[str] | None = None
    invitation: str = "open"
    outcomes: dict[str, str] = field(default_factory=dict)
    cover_bps: float | None = None

    @property
    def remaining(self) -> Decimal:
        return self.quantity - self.filled

    def sides(self) -> set[str]:
        return {"buy", "sell"} if self.side == "two_way" else {self.side}

    def live(self, now: int) -> frozenset[str]:
        return frozenset(quote.quote_id for quote in self.quotes if quote.is_live(now))

    def is_current(self, now: int) -> bool:
        return self.weighed is not None and self.weighed == self.live(now)


class Market:
    """Every RFQ, and what each party has been told."""

    def __init__(self) -> None:
        self.now = 0
        self.rfqs: dict[str, ModelRfq] = {}
        self.quotes: dict[str, ModelQuote] = {}
        self.told: dict[tuple[str, str], list[frozenset[tuple[News, int]]]] = defaultdict(list)
        self._news: dict[tuple[str, str], list[News]] = defaultdict(list)

    # ------------------------------------------------------------------------------------------------------- the rules

    def refusals_of_closed(self, rfq: ModelRfq) -> set[str]:
        """Why nothing can be done with it any more; empty while something can."""
        if rfq.state == "expired" or (rfq.state in OPEN and self.now >= rfq.expires_at):
            return {"RFQ_EXPIRED"}
        return {"RFQ_NOT_OPEN"} if rfq.state in FINAL else set()

    def refusals_of_quote(self, rfq: ModelRfq, dealer: str, quantity: Decimal) -> set[str]:
        if dealer not in rfq.panel:
            return {"RFQ_NOT_FOUND"}
        codes = self.refusals_of_closed(rfq)
        if quantity > rfq.quantity:
            codes.add("QUANTITY_OUT_OF_RANGE")
        if rfq.size_mode == "all_or_none" and quantity != rfq.quantity:
            codes.add("QUANTITY_NOT_ALL")
        if rfq.minimum is not None and quantity < rfq.minimum:
            codes.add("QUANTITY_BELOW_MINIMUM")
        return codes

    def refusals_of_accept(
        self, rfq: ModelRfq, client: str, quote: ModelQuote, side: str | None, quantity: Decimal | None
    ) -> set[str]:
        if client != rfq.client:
            return {"RFQ_NOT_FOUND"}
        if quote.rfq_id != rfq.rfq_id:
            return {"QUOTE_NOT_FOUND"}
        codes = self.refusals_of_closed(rfq)
        if quote.state != "active":
            codes.add("QUOTE_NOT_ACTIVE")
        elif self.now >= quote.valid_until:
            codes.add("QUOTE_EXPIRED")
        if side not in rfq.sides() and not (side is None and len(rfq.sides()) == 1):
            codes.add("QUOTE_SIDE_MISMATCH")
        wanted = min(quote.quantity, rfq.remaining) if quantity is None else quantity
        return codes | self._refusals_of_size(rfq, quote, wanted)

    @staticmethod
    def _refusals_of_size(rfq: ModelRfq, quote: ModelQuote, wanted: Decimal) -> set[str]:
        floor = min(rfq.minimum, rfq.remaining) if rfq.minimum is not None else Decimal(0)
        wrong = {
            "QUANTITY_EXCEEDS_QUOTE": wanted > quote.quantity,
            "QUANTITY_EXCEEDS_REMAINING": wanted > rfq.remaining,
            "QUANTITY_NOT_ALL": rfq.size_mode == "all_or_none" and wanted != rfq.quantity,
            "QUANTITY_BELOW_MINIMUM": wanted < floor,
            "QUANTITY_OUT_OF_RANGE": wanted <= 0,
            "QUANTITY_OFF_LOT": wanted % LOT != 0,
        }
        return {code for code, is_so in wrong.items() if is_so}

    def refusals_of_withdrawal(self, dealer: str, quote: ModelQuote) -> set[str]:
        if quote.dealer != dealer:
            return {"QUOTE_NOT_FOUND"}
        return set() if quote.is_live(self.now) else {"QUOTE_NOT_ACTIVE"}

    # --------------------------------------------------------------------------------------------------- what happens

    def open(self, rfq: ModelRfq) -> None:
        self.rfqs[rfq.rfq_id] = rfq
        self._tell(CLIENT, rfq.client, "rfq.opened", rfq)
        for dealer in rfq.panel:
            self._tell(DEALER, dealer, "invitation.sent", rfq)
        self._done()

    def evaluated(self, rfq: ModelRfq) -> None:
        self.rfqs[rfq.rfq_id] = rfq
        self._tell(CLIENT, rfq.client, "rfq.evaluated", rfq)
        self._done()

    def quoted(self, rfq: ModelRfq, quote: ModelQuote) -> None:
        self._replace(rfq, quote.dealer)
        self._add(rfq, quote, "quote.posted")
        self._decide(rfq)
        self._done()

    def passed(self, rfq: ModelRfq, quote: ModelQuote) -> None:
        self._replace(rfq, quote.dealer)
        self._add(rfq, quote, "quote.passed")
        self._end(rfq, quote, "passed", "dealer_passed")
        self._decide(rfq)
        self._done()

    def withdrawn(self, quote: ModelQuote) -> None:
        rfq = self.rfqs[quote.rfq_id]
        self._end(rfq, quote, "cancelled", "withdrawn_by_dealer")
        self._decide(rfq)
        self._done()

    def accepted(self, rfq: ModelRfq, quote: ModelQuote, side: str, quantity: Decimal) -> None:
        price = quote.side(side)
        assert price is not None
        rfq.filled += quantity
        rfq.fills.append((quote.quote_id, quantity, side, price.net))
        self._end(rfq, quote, "accepted", "hit")
        for party, firm in ((CLIENT, rfq.client), (DEALER, quote.dealer)):
            self._tell(party, firm, "fill.booked", rfq, quote)
        if rfq.remaining:
            rfq.state = "partially_filled"
            self._decide(rfq)
        else:
            rfq.state = "filled"
            cover = self._cover(rfq, side)
            if cover is not None:
                sign = 1 if side == "buy" else -1
                worse = sign * (_net(cover, side) - price.net)
                rfq.cover_bps = max(0.0, float(worse / price.gross) * 10_000)
                self._end(rfq, cover, "rejected", "cover")
            self._close(rfq)
        self._done()

    def cancelled(self, rfq: ModelRfq) -> None:
        rfq.state = "cancelled"
        self._tell(CLIENT, rfq.client, "rfq.cancelled", rfq)
        self._close(rfq)
        self._done()

    def swept(self) -> list[ModelRfq]:
        """What is over ends; each RFQ in a change of its own, in an order that nobody promised."""
        changed = []
        for rfq in self.rfqs.values():
            if rfq.state in OPEN and self.now >= rfq.expires_at:
                rfq.state = "expired"
                self._tell(CLIENT, rfq.client, "rfq.expired", rfq)
                self._close(rfq)
                changed.append(rfq)
                continue
            # what was received elsewhere ends elsewhere
            lapsed = (
                []
                if rfq.state == "evaluated"
                else [quote for quote in rfq.quotes if quote.state == "active" and self.now >= quote.valid_until]
            )
            for quote in lapsed:
                self._end(rfq, quote, "expired", "ttl_elapsed")
            if lapsed:
                self._decide(rfq)
                changed.append(rfq)
        self._done()
        return changed

    # --------------------------------------------------------------------------------------------------------- parts

    def _cover(self, rfq: ModelRfq, side: str) -> ModelQuote | None:
        """The best loser: by price, then the first to have come."""
        losers = [quote for quote in rfq.quotes if quote.is_live(self.now)]
        sign = 1 if side == "buy" else -1
        return min(losers, key=lambda quote: sign * _net(quote, side), default=None)

    def _close(self, rfq: ModelRfq) -> None:
        state, reason, rfq.invitation, lost = ENDS_WITH_RFQ[rfq.state]
        for quote in rfq.quotes:
            if quote.state != "active":
                continue
            if self.now >= quote.valid_until and quote.valid_until < rfq.expires_at:
                self._end(rfq, quote, "expired", "ttl_elapsed")
            else:
                self._end(rfq, quote, state, reason)
        for quote in rfq.quotes:
            if rfq.outcomes.get(quote.dealer) != "hit":
                rfq.outcomes[quote.dealer] = OUTCOME_OF_REASON.get(quote.reason or "", lost)
        for dealer in rfq.panel:
            self._tell(DEALER, dealer, "invitation.closed", rfq)

    def _replace(self, rfq: ModelRfq, dealer: str) -> None:
        for quote in rfq.quotes:
            if quote.dealer == dealer and quote.is_live(self.now):
                self._end(rfq, quote, "replaced", "replaced_by_dealer")

    def _add(self, rfq: ModelRfq, quote: ModelQuote, kind: str) -> None:
        self.quotes[quote.quote_id] = quote
        rfq.quotes.append(quote)
        self._tell_both(kind, rfq, quote)

    def _end(self, rfq: ModelRfq, quote: ModelQuote, state: str, reason: str) -> None:
        assert quote.state == "active", "a quote ends once"
        quote.state, quote.reason = state, reason
        self._tell_both("quote.ended", rfq, quote)

    def _decide(self, rfq: ModelRfq) -> None:
        rfq.weighed = rfq.live(self.now)
        self._tell(CLIENT, rfq.client, "decision.made", rfq)

    def _tell_both(self, kind: str, rfq: ModelRfq, quote: ModelQuote) -> None:
        self._tell(CLIENT, rfq.client, kind, rfq, quote)
        self._tell(DEALER, quote.dealer, kind, rfq, quote)

    def _tell(self, party: str, firm: str, kind: str, rfq: ModelRfq, quote: ModelQuote | None = None) -> None:
        self._news[firm, party].append((kind, rfq.rfq_id, None if quote is None else quote.quote_id))

    def _done(self) -> None:
        for stream, news in self._news.items():
            self.told[stream].append(counted(news))
        self._news.clear()


def counted(news: Iterable[News]) -> frozenset[tuple[News, int]]:
    """A bag of news."""
    listed = list(news)
    return frozenset((item, listed.count(item)) for item in listed)


def _net(quote: ModelQuote, side: str) -> Decimal:
    price = quote.side(side)
    assert price is not None, "a quote answers every side of its RFQ"
    return price.net
