# What an RFQ may ask for, and that no order of events takes it where it must not be.
from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from functools import partial
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rfq_service.domain.errors import ErrorCode, InvariantError, RfqError
from rfq_service.domain.rfq import (
    FINAL_STATES,
    LEGS_MAX,
    QUOTABLE_STATES,
    TRANSITIONS,
    RfqEvent,
    RfqState,
    SizeMode,
    check_open,
    check_terms,
    next_state,
)
from rfq_service.domain.units import RequestSide, Side
from tests.unit.domain.builders import (
    ADMITTED_POSITIVE,
    EURO,
    EXPIRES_NS,
    FUTURE,
    INVERSE,
    MARKET,
    NOW_NS,
    OTHER,
    SPOT,
    attempt,
    by_id,
    instrument,
    leg,
    rfq,
    terms,
)

PACKAGE = (leg(SPOT), leg(OTHER, Side.SELL))
FILLS = {RfqEvent.FILL_PART, RfqEvent.FILL_ALL}
RELEASES = {RfqEvent.RELEASE_UNFILLED, RfqEvent.RELEASE_PART_FILLED}

# The whole life cycle, written a second time: where each event leads from the three states that are not an end.
LIFE = {
    RfqEvent.FILL_PART: ("partially_filled", "partially_filled", "partially_filled"),
    RfqEvent.FILL_ALL: ("filled", "filled", "filled"),
    RfqEvent.HOLD: ("pending_last_look", "pending_last_look", None),
    RfqEvent.RELEASE_UNFILLED: (None, None, "open"),
    RfqEvent.RELEASE_PART_FILLED: (None, None, "partially_filled"),
    RfqEvent.CANCEL: ("cancelled", "cancelled", None),
    RfqEvent.EXPIRE: ("expired", "expired", None),
    RfqEvent.FAIL: ("failed", "failed", "failed"),
    RfqEvent.TRADE_AWAY: ("traded_away", "traded_away", None),
}
LIVING = (RfqState.OPEN, RfqState.PARTIALLY_FILLED, RfqState.PENDING_LAST_LOOK)


@pytest.mark.parametrize("state, event", list(product(RfqState, RfqEvent)))
def test_every_state_and_event(state, event):
    after = LIFE[event][LIVING.index(state)] if state in LIVING else None
    if after is not None:
        assert next_state(state, event) is RfqState(after)
        return
    with pytest.raises(RfqError) as raised:
        next_state(state, event)
    assert raised.value.code is ErrorCode.RFQ_NOT_OPEN
    assert state.value in raised.value.detail


def test_final_states_have_no_way_out_and_every_other_state_an_end():
    assert set(RfqState) - set(LIVING) == FINAL_STATES
    assert set(LIVING) - {RfqState.PENDING_LAST_LOOK} == QUOTABLE_STATES
    reachable = {RfqState.OPEN} | set(TRANSITIONS.values())
    # an RFQ that is only scored is born as such and stays so
    assert set(RfqState) - reachable == {RfqState.EVALUATED}
    for state in LIVING:
        assert next_state(state, RfqEvent.FAIL) in FINAL_STATES


class RfqLife(RuleBasedStateMachine):
    """Any order of fills, holds, releases and other events, against a count of what has traded."""

    def __init__(self) -> None:
        super().__init__()
        self.rfq = rfq(terms(quantity=Decimal(10)))
        self.traded = Decimal(0)
        self.held = False

    def attempt(self, change, code):
        before = self.rfq
        after, error = attempt(change)
        assert (None if error is None else error.code) is code
        if after is None:
            return False
        assert replace(after, state=before.state, filled_quantity=before.filled_quantity) == before
        self.rfq = after
        return True

    @rule(halves=st.integers(-1, 22))
    def fill(self, halves):
        quantity = Decimal(halves) / 2
        code = None
        if self.rfq.state in FINAL_STATES:
            code = ErrorCode.RFQ_NOT_OPEN
        elif quantity <= 0:
            code = ErrorCode.QUANTITY_OUT_OF_RANGE
        elif quantity > 10 - self.traded:
            code = ErrorCode.QUANTITY_EXCEEDS_REMAINING
        if self.attempt(lambda: self.rfq.fill(quantity), code):
            self.traded += quantity
            self.held = False

    @rule()
    def hold(self):
        allowed = self.rfq.state in QUOTABLE_STATES
        if self.attempt(lambda: self.rfq.apply(RfqEvent.HOLD), None if allowed else ErrorCode.RFQ_NOT_OPEN):
            self.held = True

    @rule()
    def release(self):
        if self.attempt(self.rfq.release, None if self.held else ErrorCode.RFQ_NOT_OPEN):
            self.held = False

    # often enough, but not so often that every run ends at once
    @precondition(lambda self: self.traded > 5)
    @rule(event=st.sampled_from([RfqEvent.CANCEL, RfqEvent.EXPIRE, RfqEvent.FAIL, RfqEvent.TRADE_AWAY]))
    def end(self, event):
        allowed = self.rfq.state in QUOTABLE_STATES or (self.held and event is RfqEvent.FAIL)
        if self.attempt(lambda: self.rfq.apply(event), None if allowed else ErrorCode.RFQ_NOT_OPEN):
            assert self.rfq.state in FINAL_STATES
            self.held = False

    @rule(event=st.sampled_from(sorted(FILLS | RELEASES)))
    def quantity_events_are_not_the_callers_choice(self, event):
        with pytest.raises(InvariantError):
            self.rfq.apply(event)

    @invariant()
    def state_and_quantity_tell_the_same_story(self):
        state = self.rfq.state
        assert self.rfq.filled_quantity == self.traded <= 10
        assert self.rfq.remaining_quantity == 10 - self.traded
        assert (state is RfqState.FILLED) == (self.traded == 10)
        assert (state is RfqState.PENDING_LAST_LOOK) == self.held
        if state is RfqState.OPEN:
            assert self.traded == 0
        if state is RfqState.PARTIALLY_FILLED:
            assert 0 < self.traded < 10


TestRfqLife = RfqLife.TestCase


@given(ADMITTED_POSITIVE, st.lists(ADMITTED_POSITIVE, max_size=30))
def test_fills_of_any_size_never_exceed_the_quantity(quantity, parts):
    now = rfq(terms(quantity=quantity))
    for part in parts:
        now = attempt(partial(now.fill, part))[0] or now
    if now.state is not RfqState.FILLED:
        now = now.fill(now.remaining_quantity)
    assert now.filled_quantity == quantity
    assert now.state is RfqState.FILLED
    assert now.remaining_quantity == 0


def test_open_until_the_nanosecond_of_its_expiry():
    rfq().check_quotable(EXPIRES_NS - 1)
    for late_ns in (EXPIRES_NS, EXPIRES_NS + 1):
        with pytest.raises(RfqError) as raised:
            rfq().check_quotable(late_ns)
        assert raised.value.code is ErrorCode.RFQ_EXPIRED


@pytest.mark.parametrize("state", sorted(set(RfqState) - QUOTABLE_STATES))
@pytest.mark.parametrize("now_ns", [NOW_NS, EXPIRES_NS])
def test_an_rfq_that_is_not_open_says_why(state, now_ns):
    with pytest.raises(RfqError) as raised:
        check_open(state, EXPIRES_NS, now_ns)
    expected = ErrorCode.RFQ_EXPIRED if state is RfqState.EXPIRED else ErrorCode.RFQ_NOT_OPEN
    assert raised.value.code is expected


def test_package_price_and_leg_sizes():
    package = terms(leg(SPOT, Side.BUY, "2"), leg(OTHER, Side.SELL, "0.5"), quantity=Decimal(4))
    assert package.package_price((Decimal("100.01"), Decimal("300.02"))) == Decimal("50.01")
    assert package.package_price((Decimal("100.01"), Decimal("800.08"))) == Decimal("-200.02")
    assert [package.leg_quantity(one) for one in package.legs] == [8, 2]
    assert package.leg_quantity(package.legs[0], Decimal(1)) == 2
    assert terms().package_price((Decimal("100.01"),)) == Decimal("100.01")
    with pytest.raises(ValueError, match="zip"):
        package.package_price((Decimal(1),))


def test_padded_numbers_make_no_padded_price():
    padded = terms(leg(SPOT, Side.BUY, "0.500000000000000000"), leg(OTHER, Side.SELL, "1"), quantity=Decimal(4))
    net = padded.package_price((Decimal("3.010000000000000000"), Decimal("1.00")))
    assert net == Decimal("0.505")
    assert net.as_tuple().exponent == -18


@given(
    st.lists(st.tuples(ADMITTED_POSITIVE, st.sampled_from(Side), ADMITTED_POSITIVE), min_size=1, max_size=20),
    ADMITTED_POSITIVE,
)
def test_no_admitted_package_makes_the_arithmetic_fail(legs, quantity):
    package = terms(*(leg(SPOT, side, str(ratio)) for ratio, side, _ in legs), quantity=quantity)
    package.package_price(tuple(price for _, _, price in legs))
    for one in package.legs:
        package.leg_quantity(one)
    _, error = attempt(lambda: check_terms(package, MARKET))
    assert error is None or error.field, error


def refused(of, market=MARKET):
    with pytest.raises(RfqError) as raised:
        check_terms(of, market)
    return raised.value.code, raised.value.field


IMPOSSIBLE = [
    ("NaN", ErrorCode.NOT_FINITE),
    ("Infinity", ErrorCode.NOT_FINITE),
    ("1e400", ErrorCode.OUT_OF_RANGE),
    ("0.1234567890123456789", ErrorCode.OUT_OF_RANGE),
    ("0", ErrorCode.OUT_OF_RANGE),
    ("-1", ErrorCode.OUT_OF_RANGE),
]


@pytest.mark.parametrize("text, code", IMPOSSIBLE)
@pytest.mark.parametrize("field", ["quantity", "price_increment", "minimum_quantity"])
def test_a_number_that_cannot_be(field, text, code):
    mode = SizeMode.MINIMUM if field == "minimum_quantity" else SizeMode.ANY_PART
    assert refused(terms(size_mode=mode, **{field: Decimal(text)})) == (code, field)


@pytest.mark.parametrize("text, code", IMPOSSIBLE)
def test_a_ratio_that_cannot_be(text, code):
    assert refused(terms(leg(), leg(OTHER, ratio=text))) == (code, "legs[1].ratio")


@pytest.mark.parametrize("side", RequestSide)
@pytest.mark.parametrize(
    "good",
    [
        terms(),
        terms(quantity=Decimal(1)),
        terms(quantity=Decimal(1000)),
        terms(size_mode=SizeMode.ALL_OR_NONE),
        terms(size_mode=SizeMode.MINIMUM, minimum_quantity=Decimal(10)),
        terms(leg(INVERSE)),
        terms(leg(FUTURE)),
        terms(*PACKAGE),
        terms(leg(SPOT, Side.SELL, "2"), leg(OTHER, Side.SELL, "0.5")),
        terms(price_increment=Decimal("0.000000000000000001")),
    ],
)
def test_terms_that_can_trade(good, side):
    check_terms(replace(good, side=side), MARKET)


@pytest.mark.parametrize(
    "bad, code, field",
    [
        (replace(terms(), legs=()), ErrorCode.OUT_OF_RANGE, "legs"),
        (terms(leg(replace(SPOT, instrument_id="V.SPOT.NONE"))), ErrorCode.UNKNOWN_INSTRUMENT, "legs[0].instrument_id"),
        (
            terms(leg(), leg(replace(SPOT, instrument_id="V.SPOT.NONE"))),
            ErrorCode.UNKNOWN_INSTRUMENT,
            "legs[1].instrument_id",
        ),
        (terms(quantity=Decimal("10.25")), ErrorCode.QUANTITY_OFF_LOT, "quantity"),
        (terms(quantity=Decimal("0.5")), ErrorCode.QUANTITY_OUT_OF_RANGE, "quantity"),
        (terms(quantity=Decimal("1000.5")), ErrorCode.QUANTITY_OUT_OF_RANGE, "quantity"),
        # in a package the ratio decides the leg's size
        (terms(leg(), leg(OTHER, ratio="0.33")), ErrorCode.QUANTITY_OFF_LOT, "legs[1].ratio"),
        (terms(leg(), leg(OTHER, ratio="1000")), ErrorCode.QUANTITY_OUT_OF_RANGE, "legs[1].ratio"),
        # a single leg says nothing that the RFQ says already
        (terms(leg(side=Side.SELL)), ErrorCode.INVALID_FIELD, "legs[0]"),
        (terms(leg(ratio="2")), ErrorCode.INVALID_FIELD, "legs[0]"),
        (terms(minimum_quantity=Decimal(2)), ErrorCode.INVALID_FIELD, "minimum_quantity"),
        (terms(size_mode=SizeMode.MINIMUM), ErrorCode.INVALID_FIELD, "minimum_quantity"),
        (
            terms(size_mode=SizeMode.MINIMUM, minimum_quantity=Decimal("10.5")),
            ErrorCode.OUT_OF_RANGE,
            "minimum_quantity",
        ),
        (terms(leg(FUTURE), created_at_ns=FUTURE.expires_at_ns), ErrorCode.INSTRUMENT_EXPIRED, "legs[0].instrument_id"),
        (terms(leg(), leg(EURO)), ErrorCode.PACKAGE_NOT_PRICEABLE, "legs"),
        (terms(leg(), leg(INVERSE)), ErrorCode.PACKAGE_NOT_PRICEABLE, "legs"),
        (terms(leg(), leg(SPOT, Side.SELL)), ErrorCode.PACKAGE_NOT_PRICEABLE, "legs"),
        (
            terms(leg(), leg(OTHER, ratio="0.5"), price_increment=Decimal("1E-18")),
            ErrorCode.PACKAGE_NOT_PRICEABLE,
            "legs[1].ratio",
        ),
    ],
)
def test_terms_that_cannot_trade(bad, code, field):
    assert refused(bad) == (code, field)


def test_a_contract_that_expires_now_is_expired():
    assert FUTURE.expires_at_ns is not None
    check_terms(terms(leg(FUTURE), created_at_ns=FUTURE.expires_at_ns - 1), MARKET)
    last = terms(leg(FUTURE), created_at_ns=FUTURE.expires_at_ns)
    assert refused(last) == (ErrorCode.INSTRUMENT_EXPIRED, "legs[0].instrument_id")


def test_twenty_legs_and_no_more():
    market = [instrument(f"V.SPOT.L{number}") for number in range(LEGS_MAX + 1)]
    legs = [leg(item) for item in market]
    check_terms(terms(*legs[:LEGS_MAX]), by_id(market))
    assert refused(terms(*legs), by_id(market)) == (ErrorCode.OUT_OF_RANGE, "legs")
