"""The words of the service."""

from __future__ import annotations

from rfq_service.client.values import OpenEnum


class MarketStatus(OpenEnum):
    """Only a live market gives scores and quotes."""

    LIVE = "live"
    NO_MARKET = "no_market"
    STALE = "stale"


class Action(OpenEnum):
    """What a desk can do next."""

    ACCEPT = "accept"
    COUNTER = "counter"
    SPLIT = "split"
    WAIT = "wait"
    WORK = "work"


class ClockSource(OpenEnum):
    """Where a snapshot's event time comes from, best first."""

    EXCHANGE = "exchange"
    LOCAL = "local"
    REPLAY = "replay"
    SIMULATED = "simulated"


class ContractType(OpenEnum):
    """Linear: P&L in quote currency. Inverse: a contract is a fixed quote-currency amount, P&L in base currency."""

    INVERSE = "inverse"
    LINEAR = "linear"


class InstrumentKind(OpenEnum):
    """How the instrument settles in time."""

    DATED_FUTURE = "dated_future"
    PERPETUAL = "perpetual"
    SPOT = "spot"


class InvitationOutcome(OpenEnum):
    """What a dealer is told after the end. The best loser learns ``COVER`` with its distance."""

    CANCELLED = "cancelled"
    COVER = "cover"
    DONE_AWAY = "done_away"
    EXPIRED = "expired"
    HIT = "hit"
    PASSED = "passed"


class InvitationState(OpenEnum):
    """How an RFQ looks to a dealer; partial fills with rivals stay hidden."""

    CANCELLED = "cancelled"
    CLOSED = "closed"
    EXPIRED = "expired"
    OPEN = "open"


class QuoteEndReason(OpenEnum):
    """Why a quote ended; stored with its end and shown to client and dealer."""

    COVER = "cover"
    DEALER_PASSED = "dealer_passed"
    DONE_AWAY = "done_away"
    HIT = "hit"
    REPLACED_BY_DEALER = "replaced_by_dealer"
    RFQ_CANCELLED = "rfq_cancelled"
    RFQ_EXPIRED = "rfq_expired"
    TTL_ELAPSED = "ttl_elapsed"
    WITHDRAWN_BY_DEALER = "withdrawn_by_dealer"


class QuoteState(OpenEnum):
    """A quote is active or has ended, once and for good."""

    ACCEPTED = "accepted"
    ACTIVE = "active"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    PASSED = "passed"
    REJECTED = "rejected"
    REPLACED = "replaced"


class ReasonCode(OpenEnum):
    """Why a verdict or an action is what it is; stable, shown to the client."""

    ABOVE_CHEAP_BOUND = "ABOVE_CHEAP_BOUND"
    BELOW_DEAR_BOUND = "BELOW_DEAR_BOUND"
    BEST_OF_PANEL_DEAR = "BEST_OF_PANEL_DEAR"
    INFORMATION_NOT_SEPARABLE = "INFORMATION_NOT_SEPARABLE"
    INSUFFICIENT_STATISTICS = "INSUFFICIENT_STATISTICS"
    LIMIT_PRICE = "LIMIT_PRICE"
    LOWEST_OBJECTIVE = "LOWEST_OBJECTIVE"
    NO_BETTER_PRICE = "NO_BETTER_PRICE"
    NO_MARKET = "NO_MARKET"
    NO_PENDING_DEALERS = "NO_PENDING_DEALERS"
    NO_QUOTE = "NO_QUOTE"
    NO_TIME_LEFT = "NO_TIME_LEFT"
    PACKAGE = "PACKAGE"
    PARTICIPATION_EXCEEDED = "PARTICIPATION_EXCEEDED"
    PREDICTOR_FALLBACK = "PREDICTOR_FALLBACK"
    PRICE_LOCKED = "PRICE_LOCKED"
    QUANTITY_NOT_ALL = "QUANTITY_NOT_ALL"
    QUANTITY_PARTIAL = "QUANTITY_PARTIAL"
    QUANTITY_TOO_SMALL = "QUANTITY_TOO_SMALL"
    QUOTE_EXPIRED = "QUOTE_EXPIRED"
    REFERENCE_AMBIGUOUS = "REFERENCE_AMBIGUOUS"
    STALE_MARKET = "STALE_MARKET"


class RequestSide(OpenEnum):
    """What a client discloses of his direction."""

    BUY = "buy"
    SELL = "sell"
    TWO_WAY = "two_way"


class RfqState(OpenEnum):
    """Where an RFQ stands. ``EVALUATED`` is the whole life of one negotiated elsewhere and only scored here."""

    CANCELLED = "cancelled"
    EVALUATED = "evaluated"
    EXPIRED = "expired"
    FAILED = "failed"
    FILLED = "filled"
    OPEN = "open"
    PARTIALLY_FILLED = "partially_filled"
    PENDING_LAST_LOOK = "pending_last_look"
    TRADED_AWAY = "traded_away"


class Side(OpenEnum):
    """Direction of a trade, seen from the client on RFQs, quotes and their fills."""

    BUY = "buy"
    SELL = "sell"


class SizeMode(OpenEnum):
    """Which part of the quantity may trade."""

    ALL_OR_NONE = "all_or_none"
    ANY_PART = "any_part"
    MINIMUM = "minimum"


class Verdict(OpenEnum):
    """The one-word answer."""

    CHEAP = "cheap"
    DEAR = "dear"
    FAIR = "fair"
    STALE = "stale"
    UNRELIABLE = "unreliable"


class Role(OpenEnum):
    """What a key is for."""

    BUY_SIDE = "buy_side"
    DEALER = "dealer"
    AUDITOR = "auditor"
    OPERATOR = "operator"


class Scope(OpenEnum):
    """What a token allows."""

    RFQ_READ = "rfq:read"
    RFQ_WRITE = "rfq:write"
    QUOTE_WRITE = "quote:write"
    PRICE_READ = "price:read"
    AUDIT_READ = "audit:read"
    METRICS_READ = "metrics:read"
    ADMIN = "admin"


class Party(OpenEnum):
    """One of the two desks of a firm; they share nothing."""

    CLIENT = "client"
    DEALER = "dealer"
