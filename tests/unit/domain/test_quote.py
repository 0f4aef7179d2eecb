# What answers an RFQ, and when the client may trade on it: once, in time, in a size that all sides allow.
from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from rfq_service.domain.errors import ErrorCode, InvariantError, RfqError
from rfq_service.domain.identifiers import QuoteId, RfqId
from rfq_service.domain.quote import (
    QUOTE_TRANSITIONS,
    QuoteEvent,
    QuoteState,
    SidePrice,
    check_accept,
    check_quote,
    next_quote_state,
)
from rfq_service.domain.rfq import RfqState, SizeMode
from rfq_service.domain.units import RequestSide, Side
from tests.unit.domain.builders import (
    ADMITTED_POSITIVE,
    EXPIRES_NS,
    FUTURE,
    MARKET,
    NOW_NS,
    OTHER,
    QUOTE_ID,
    SPOT,
    attempt,
    by_id,
    instrument,
    leg,
    quote,
    rfq,
    side_price,
    terms,
)

TWO_WAY = terms(side=RequestSide.TWO_WAY)
SELL = terms(side=RequestSide.SELL)
PACKAGE = terms(leg(SPOT, Side.BUY, "2"), leg(OTHER, Side.SELL, "0.5"), quantity=Decimal(4))
MINIMUM = {"size_mode": SizeMode.MINIMUM, "minimum_quantity": Decimal(4)}
VALID_UNTIL_NS = quote().valid_until_ns
ENDS = {
    QuoteEvent.ACCEPT: QuoteState.ACCEPTED,
    QuoteEvent.REJECT: QuoteState.REJECTED,
    QuoteEvent.REPLACE: QuoteState.REPLACED,
    QuoteEvent.CANCEL: QuoteState.CANCELLED,
    QuoteEvent.EXPIRE: QuoteState.EXPIRED,
    QuoteEvent.PASS: QuoteState.PASSED,
}


@pytest.mark.parametrize("state, event", list(product(QuoteState, QuoteEvent)))
def test_a_quote_ends_once_and_for_good(state, event):
    if state is QuoteState.ACTIVE:
        assert next_quote_state(state, event) is ENDS[event]
        return
    with pytest.raises(RfqError) as raised:
        next_quote_state(state, event)
    assert raised.value.code is ErrorCode.QUOTE_NOT_ACTIVE
    assert state.value in raised.value.detail


def test_every_state_can_be_reached():
    assert set(QUOTE_TRANSITIONS.values()) | {QuoteState.ACTIVE} == set(QuoteState)


class Trading(RuleBasedStateMachine):
    """Quotes come and go, time passes, the client accepts whatever he likes: against a plain count of lots."""

    quotes = Bundle("quotes")

    def __init__(self) -> None:
        super().__init__()
        self.rfq = rfq(terms(side=RequestSide.TWO_WAY, quantity=Decimal(10), **MINIMUM))
        self.now_ns = NOW_NS
        self.states: dict[QuoteId, QuoteState] = {}
        self.fills: list[tuple[QuoteId, Decimal]] = []

    @rule(target=quotes, lots=st.integers(8, 20), life_s=st.integers(1, 400))
    def post(self, lots, life_s):
        quantity = Decimal(lots) / 2
        made = quote(
            quote_id=QuoteId(UUID(int=100 + len(self.states))),
            bid=side_price("99.99"),
            quantity=quantity,
            received_at_ns=self.now_ns,
            valid_until_ns=min(self.now_ns + life_s * 10**9, EXPIRES_NS),
        )
        check_quote(self.rfq.terms, MARKET, made.bid, made.ask, made.quantity)
        self.states[made.quote_id] = QuoteState.ACTIVE
        return made

    @rule(seconds=st.integers(0, 40))
    def wait(self, seconds):
        self.now_ns += seconds * 10**9

    @rule(of=quotes, event=st.sampled_from(sorted(set(QuoteEvent) - {QuoteEvent.ACCEPT})))
    def end(self, of, event):
        if self.states[of.quote_id] is QuoteState.ACTIVE:
            self.states[of.quote_id] = next_quote_state(QuoteState.ACTIVE, event)

    @rule(of=quotes, side=st.sampled_from(Side), lots=st.integers(-1, 24))
    def accept(self, of, side, lots):
        quantity = Decimal(lots) / 2
        current = replace(of, state=self.states[of.quote_id])
        price, error = attempt(lambda: check_accept(self.rfq, current, side, quantity, MARKET, self.now_ns))
        assert (None if error is None else error.code) is self.reason_against(current, quantity)
        if error is not None:
            return
        assert price == (of.ask if side is Side.BUY else of.bid)
        self.rfq = self.rfq.fill(quantity)
        self.states[of.quote_id] = next_quote_state(current.state, QuoteEvent.ACCEPT)
        self.fills.append((of.quote_id, quantity))

    def reason_against(self, of, quantity):
        remaining = 10 - sum(part for _, part in self.fills)
        reasons = [
            (remaining == 0, ErrorCode.RFQ_NOT_OPEN),
            (self.now_ns >= EXPIRES_NS, ErrorCode.RFQ_EXPIRED),
            (of.state is not QuoteState.ACTIVE, ErrorCode.QUOTE_NOT_ACTIVE),
            (self.now_ns >= of.valid_until_ns, ErrorCode.QUOTE_EXPIRED),
            (quantity > of.quantity, ErrorCode.QUANTITY_EXCEEDS_QUOTE),
            (quantity > remaining, ErrorCode.QUANTITY_EXCEEDS_REMAINING),
            # what is left may trade although it is less than the minimum
            (quantity < min(4, remaining), ErrorCode.QUANTITY_BELOW_MINIMUM),
            (quantity < SPOT.quantity_min, ErrorCode.QUANTITY_OUT_OF_RANGE),
        ]
        return next((code for applies, code in reasons if applies), None)

    @invariant()
    def a_quote_fills_at_most_once_and_all_fills_fit(self):
        filled = [quote_id for quote_id, _ in self.fills]
        assert len(filled) == len(set(filled))
        assert all(self.states[quote_id] is QuoteState.ACCEPTED for quote_id in filled)
        assert self.rfq.filled_quantity == sum((part for _, part in self.fills), Decimal(0)) <= 10
        assert (self.rfq.state is RfqState.FILLED) == (self.rfq.filled_quantity == 10)


TestTrading = Trading.TestCase


def accept_refused(rfq_, quote_, side=Side.BUY, quantity="10", now_ns=NOW_NS):
    with pytest.raises(RfqError) as raised:
        check_accept(rfq_, quote_, side, Decimal(quantity), MARKET, now_ns)
    return raised.value.code, raised.value.field


def test_acceptance_in_time_to_the_nanosecond():
    price = check_accept(rfq(), quote(), Side.BUY, Decimal(10), MARKET, VALID_UNTIL_NS - 1)
    assert price == side_price("100.01")
    assert accept_refused(rfq(), quote(), now_ns=VALID_UNTIL_NS) == (ErrorCode.QUOTE_EXPIRED, "")
    lasting = quote(valid_until_ns=EXPIRES_NS + 1)
    check_accept(rfq(), lasting, Side.BUY, Decimal(10), MARKET, EXPIRES_NS - 1)
    assert accept_refused(rfq(), lasting, now_ns=EXPIRES_NS) == (ErrorCode.RFQ_EXPIRED, "")


def test_a_contract_may_expire_while_the_rfq_is_open():
    of, lasting = rfq(terms(leg(FUTURE))), quote(valid_until_ns=EXPIRES_NS)
    assert FUTURE.expires_at_ns is not None
    check_accept(of, lasting, Side.BUY, Decimal(10), MARKET, FUTURE.expires_at_ns - 1)
    assert accept_refused(of, lasting, now_ns=FUTURE.expires_at_ns) == (ErrorCode.INSTRUMENT_EXPIRED, "")


@pytest.mark.parametrize("state", sorted(set(RfqState) - {RfqState.OPEN, RfqState.PARTIALLY_FILLED}))
def test_only_an_open_rfq_trades(state):
    expected = ErrorCode.RFQ_EXPIRED if state is RfqState.EXPIRED else ErrorCode.RFQ_NOT_OPEN
    assert accept_refused(rfq(state=state), quote())[0] is expected


def test_a_quote_received_elsewhere_is_not_accepted_here():
    # its RFQ is born with its end
    external = quote(dealer_firm_id=None)
    assert accept_refused(rfq(state=RfqState.EVALUATED), external) == (ErrorCode.RFQ_NOT_OPEN, "")


@pytest.mark.parametrize("state", sorted(set(QuoteState) - {QuoteState.ACTIVE}))
def test_only_an_active_quote_trades(state):
    # ended is the reason, however late it is
    assert accept_refused(rfq(), quote(state=state), now_ns=VALID_UNTIL_NS)[0] is ErrorCode.QUOTE_NOT_ACTIVE


def test_a_quote_trades_on_its_own_rfq():
    with pytest.raises(InvariantError):
        check_accept(rfq(), quote(rfq_id=RfqId(QUOTE_ID)), Side.BUY, Decimal(10), MARKET, NOW_NS)


def test_the_side_that_was_asked_for():
    assert accept_refused(rfq(), quote(), Side.SELL) == (ErrorCode.QUOTE_SIDE_MISMATCH, "side")
    selling = rfq(SELL)
    assert accept_refused(selling, quote(bid=side_price("99"), ask=None)) == (ErrorCode.QUOTE_SIDE_MISMATCH, "side")
    assert accept_refused(rfq(TWO_WAY), quote(), Side.SELL) == (ErrorCode.QUOTE_SIDE_MISMATCH, "side")


def test_a_two_way_quote_trades_at_the_dealers_bid_or_ask():
    both = quote(bid=side_price("99.99"))
    assert check_accept(rfq(TWO_WAY), both, Side.SELL, Decimal(10), MARKET, NOW_NS) is both.bid
    assert check_accept(rfq(TWO_WAY), both, Side.BUY, Decimal(10), MARKET, NOW_NS) is both.ask


@pytest.mark.parametrize(
    "changes, filled, quantity, code",
    [
        ({}, "0", "NaN", ErrorCode.NOT_FINITE),
        ({}, "0", "Infinity", ErrorCode.NOT_FINITE),
        ({}, "0", "1e400", ErrorCode.OUT_OF_RANGE),
        ({}, "0", "0.1234567890123456789", ErrorCode.OUT_OF_RANGE),
        ({}, "0", "0", ErrorCode.QUANTITY_OUT_OF_RANGE),
        ({}, "0", "-5", ErrorCode.QUANTITY_OUT_OF_RANGE),
        ({}, "0", "0.5", ErrorCode.QUANTITY_OUT_OF_RANGE),
        ({}, "0", "5.25", ErrorCode.QUANTITY_OFF_LOT),
        ({}, "0", "10.5", ErrorCode.QUANTITY_EXCEEDS_QUOTE),
        ({}, "4", "6.5", ErrorCode.QUANTITY_EXCEEDS_REMAINING),
        ({"size_mode": SizeMode.ALL_OR_NONE}, "0", "9.5", ErrorCode.QUANTITY_NOT_ALL),
        (MINIMUM, "0", "3.5", ErrorCode.QUANTITY_BELOW_MINIMUM),
        (MINIMUM, "7", "2.5", ErrorCode.QUANTITY_BELOW_MINIMUM),
    ],
)
def test_a_size_that_may_not_trade(changes, filled, quantity, code):
    state = RfqState.OPEN if filled == "0" else RfqState.PARTIALLY_FILLED
    of = rfq(terms(**changes), state=state, filled_quantity=Decimal(filled))
    assert accept_refused(of, quote(), quantity=quantity) == (code, "quantity")


@pytest.mark.parametrize(
    "changes, filled, quantity",
    [
        ({}, "0", "1"),
        ({}, "0", "9.5"),
        ({}, "4", "6"),
        ({"size_mode": SizeMode.ALL_OR_NONE}, "0", "10"),
        (MINIMUM, "0", "4"),
        (MINIMUM, "7", "3"),  # the rest, less than the minimum
    ],
)
def test_a_size_that_may_trade(changes, filled, quantity):
    state = RfqState.OPEN if filled == "0" else RfqState.PARTIALLY_FILLED
    of = rfq(terms(**changes), state=state, filled_quantity=Decimal(filled))
    check_accept(of, quote(), Side.BUY, Decimal(quantity), MARKET, NOW_NS)


def test_a_part_of_a_package_must_fit_every_legs_lot():
    of, offer = rfq(PACKAGE), quote(ask=side_price("100.01", "300.02", net="50.01"), quantity=Decimal(4))
    check_accept(of, offer, Side.BUY, Decimal(3), MARKET, NOW_NS)
    # one leg's lot would allow it, the other's not
    assert accept_refused(of, offer, quantity="2.5") == (ErrorCode.QUANTITY_OFF_LOT, "quantity")


def quote_refused(of, bid=None, ask=None, quantity="10", market=MARKET):
    with pytest.raises(RfqError) as raised:
        check_quote(of, market, bid, ask, Decimal(quantity))
    return raised.value.code, raised.value.field


BID, ASK = side_price("99.99"), side_price("100.01")
PACKAGE_ASK = side_price("100.01", "300.02", net="50.01")


@pytest.mark.parametrize(
    "of, bid, ask, quantity",
    [
        (terms(), None, ASK, "10"),
        (terms(), None, ASK, "1"),
        (SELL, BID, None, "10"),
        (TWO_WAY, BID, ASK, "5.5"),
        (TWO_WAY, side_price("100"), side_price("100.01"), "10"),
        (terms(size_mode=SizeMode.ALL_OR_NONE), None, ASK, "10"),
        (terms(**MINIMUM), None, ASK, "4"),
        (PACKAGE, None, PACKAGE_ASK, "4"),
        (PACKAGE, None, side_price("100.01", "800.08", net="-200.02"), "4"),  # the client is paid
        (PACKAGE, None, side_price("100.01", "400.04", net="0"), "4"),
        (terms(price_increment=Decimal("0.25")), None, side_price("100.25"), "10"),
        (terms(price_increment=Decimal("1E-18")), None, side_price("999999999999999999.999999999999999999"), "10"),
    ],
)
def test_quotes_that_answer(of, bid, ask, quantity):
    check_quote(of, MARKET, bid, ask, Decimal(quantity))


@pytest.mark.parametrize(
    "of, bid, ask, field",
    [
        (terms(), None, None, "ask"),
        (terms(), BID, ASK, "bid"),
        (terms(), BID, None, "bid"),
        (SELL, None, None, "bid"),
        (SELL, BID, ASK, "ask"),
        (TWO_WAY, BID, None, "ask"),
        (TWO_WAY, None, ASK, "bid"),
    ],
)
def test_exactly_the_sides_that_were_asked(of, bid, ask, field):
    assert quote_refused(of, bid, ask) == (ErrorCode.QUOTE_SIDE_MISMATCH, field)


@pytest.mark.parametrize("ask", ["99.99", "99.98"])
def test_neither_crossed_nor_locked(ask):
    assert quote_refused(TWO_WAY, BID, side_price(ask)) == (ErrorCode.QUOTE_CROSSED, "bid")


@pytest.mark.parametrize(
    "text, code",
    [
        ("NaN", ErrorCode.NOT_FINITE),
        ("-Infinity", ErrorCode.NOT_FINITE),
        ("1e400", ErrorCode.OUT_OF_RANGE),
        ("100.0100000000000000001", ErrorCode.OUT_OF_RANGE),
        ("0", ErrorCode.PRICE_NOT_POSITIVE),
        ("-100.01", ErrorCode.PRICE_NOT_POSITIVE),
        ("100.015", ErrorCode.PRICE_OFF_TICK),
        ("0.005", ErrorCode.PRICE_OFF_TICK),
    ],
)
def test_a_price_that_cannot_be_names_its_field(text, code):
    assert quote_refused(terms(), ask=side_price(text)) == (code, "ask.price")
    assert quote_refused(TWO_WAY, side_price(text), ASK) == (code, "bid.price")
    in_package = side_price("100.01", text, net="50.01")
    assert quote_refused(PACKAGE, ask=in_package) == (code, "ask.leg_prices[1]")


@pytest.mark.parametrize(
    "of, ask, code, field",
    [
        (PACKAGE, side_price("100.01"), ErrorCode.QUOTE_LEGS_MISMATCH, "ask.leg_prices"),
        (PACKAGE, SidePrice(Decimal(1), ()), ErrorCode.QUOTE_LEGS_MISMATCH, "ask.leg_prices"),
        (terms(), side_price("100.01", "100.01"), ErrorCode.QUOTE_LEGS_MISMATCH, "ask.leg_prices"),
        (terms(), side_price("100.01", net="100.02"), ErrorCode.QUOTE_LEGS_MISMATCH, "ask.price"),
        (PACKAGE, side_price("100.01", "300.02", net="50.02"), ErrorCode.QUOTE_LEGS_MISMATCH, "ask.price"),
        (PACKAGE, side_price("100.01", "300.02", net="NaN"), ErrorCode.NOT_FINITE, "ask.price"),
        (PACKAGE, side_price("100.01", "300.02", net="1e400"), ErrorCode.OUT_OF_RANGE, "ask.price"),
    ],
)
def test_the_net_price_follows_from_the_legs(of, ask, code, field):
    assert quote_refused(of, ask=ask, quantity=str(of.quantity)) == (code, field)


@pytest.mark.parametrize(
    "changes, quantity, code",
    [
        ({}, "NaN", ErrorCode.NOT_FINITE),
        ({}, "Infinity", ErrorCode.NOT_FINITE),
        ({}, "1e400", ErrorCode.OUT_OF_RANGE),
        ({}, "0.1234567890123456789", ErrorCode.OUT_OF_RANGE),
        ({}, "0", ErrorCode.QUANTITY_OUT_OF_RANGE),
        ({}, "-1", ErrorCode.QUANTITY_OUT_OF_RANGE),
        ({}, "10.5", ErrorCode.QUANTITY_OUT_OF_RANGE),
        ({}, "0.5", ErrorCode.QUANTITY_OUT_OF_RANGE),
        ({}, "9.75", ErrorCode.QUANTITY_OFF_LOT),
        ({"size_mode": SizeMode.ALL_OR_NONE}, "9.5", ErrorCode.QUANTITY_NOT_ALL),
        (MINIMUM, "3.5", ErrorCode.QUANTITY_BELOW_MINIMUM),
    ],
)
def test_a_quoted_size_that_cannot_be(changes, quantity, code):
    assert quote_refused(terms(**changes), ask=ASK, quantity=quantity) == (code, "quantity")


@given(
    # where ratio and increment are the simplest, the checks get to their ends
    st.lists(
        st.tuples(st.just(Decimal(1)) | ADMITTED_POSITIVE, st.sampled_from(Side), ADMITTED_POSITIVE),
        min_size=1,
        max_size=20,
    ),
    ADMITTED_POSITIVE,
    st.just(Decimal("1E-18")) | ADMITTED_POSITIVE,
)
def test_no_admitted_numbers_make_the_checks_fail_otherwise_than_by_refusing(legs, quantity, increment):
    wide = [
        instrument(
            f"V.SPOT.L{number}",
            lot_size=Decimal("1E-18"),
            quantity_min=Decimal("1E-18"),
            quantity_max=Decimal(999999999999999999),
        )
        for number in range(len(legs))
    ]
    of = terms(
        *(leg(item, side, str(ratio)) for item, (ratio, side, _) in zip(wide, legs, strict=True)),
        quantity=quantity,
        price_increment=increment,
    )
    prices = tuple(price for _, _, price in legs)
    offer = SidePrice(of.package_price(prices), prices)
    answer = quote(ask=offer, quantity=quantity)
    for check in (
        lambda: check_quote(of, by_id(wide), None, offer, quantity),
        lambda: check_accept(rfq(of), answer, Side.BUY, quantity, by_id(wide), NOW_NS),
    ):
        _, error = attempt(check)
        assert error is None or error.field, error
