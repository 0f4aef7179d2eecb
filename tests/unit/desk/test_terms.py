# Orders become domain values: defaults filled in, everything checked, nothing rounded.
from __future__ import annotations

import json
from dataclasses import replace
from decimal import Context, Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfq_service.desk.orders import QuoteOrder, RfqOrder, SideOrder
from rfq_service.desk.terms import (
    bounded_life_ns,
    build_event,
    build_quote,
    build_rfq,
    build_side_price,
    build_terms,
    canonical_json,
    quote_payload,
)
from rfq_service.domain.errors import ErrorCode, InvariantError, RfqError
from rfq_service.domain.history import Audience, EventKind
from rfq_service.domain.quote import check_quote
from rfq_service.domain.rfq import ExpiryBounds, RfqState, SizeMode
from rfq_service.domain.units import RequestSide, Side
from tests.unit.domain.builders import (
    ADMITTED_POSITIVE,
    CLIENT,
    DEALER,
    EXPIRES_NS,
    MARKET,
    NOW_NS,
    OTHER,
    QUOTE_ID,
    RFQ_ID,
    SPOT,
    by_id,
    instrument,
    leg,
    quote,
    rfq,
    side_price,
    terms,
)

SECOND_NS = 10**9
_WIDE = Context(prec=200)
LIFE = ExpiryBounds(default_ns=300 * SECOND_NS, min_ns=SECOND_NS // 2, max_ns=86_400 * SECOND_NS)
FINE = instrument("V.SPOT.FINE", tick_size=Decimal("0.0001"))
ORDER = RfqOrder(
    legs=(leg(),),
    side=RequestSide.BUY,
    quantity=Decimal(10),
    size_mode=SizeMode.ANY_PART,
    minimum_quantity=None,
    price_increment=None,
    limit_price=None,
    client_reference="block 7",
    anonymous=True,
    panel=(),
    expires_in_ns=None,
)
PACKAGE = terms(leg(SPOT, Side.BUY, "2"), leg(OTHER, Side.SELL, "0.5"), quantity=Decimal(4))


def error_of(function, *arguments):
    with pytest.raises(RfqError) as raised:
        function(*arguments)
    return raised.value.code, raised.value.field


def test_defaults_of_an_rfq():
    built = build_terms(ORDER, MARKET, LIFE, NOW_NS)
    assert built == terms()
    assert built.price_increment == SPOT.tick_size
    assert built.expires_at_ns == NOW_NS + LIFE.default_ns


def test_the_default_increment_is_the_smallest_tick():
    package = replace(ORDER, legs=(leg(SPOT), leg(FINE, Side.SELL)))
    assert build_terms(package, by_id([SPOT, FINE]), LIFE, NOW_NS).price_increment == Decimal("0.0001")
    chosen = replace(ORDER, price_increment=Decimal("0.25"))
    assert build_terms(chosen, MARKET, LIFE, NOW_NS).price_increment == Decimal("0.25")


def test_an_unknown_instrument_is_named_though_it_has_no_tick():
    order = replace(ORDER, legs=(leg(FINE),))
    assert error_of(build_terms, order, MARKET, LIFE, NOW_NS) == (
        ErrorCode.UNKNOWN_INSTRUMENT,
        "legs[0].instrument_id",
    )


def test_no_legs():
    assert error_of(build_terms, replace(ORDER, legs=()), MARKET, LIFE, NOW_NS) == (ErrorCode.OUT_OF_RANGE, "legs")


@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity"])
@pytest.mark.parametrize("field", ["quantity", "price_increment"])
def test_numbers_that_are_none(field, text):
    order = replace(ORDER, **{field: Decimal(text)})
    assert error_of(build_terms, order, MARKET, LIFE, NOW_NS) == (ErrorCode.NOT_FINITE, field)


@pytest.mark.parametrize("life_ns", [LIFE.min_ns, LIFE.default_ns, LIFE.max_ns])
def test_lives_within_the_bounds(life_ns):
    assert bounded_life_ns(life_ns, LIFE, ErrorCode.TTL_OUT_OF_RANGE, "ttl_s") == life_ns
    built = build_terms(replace(ORDER, expires_in_ns=life_ns), MARKET, LIFE, NOW_NS)
    assert built.expires_at_ns - built.created_at_ns == life_ns


@pytest.mark.parametrize("life_ns", [LIFE.min_ns - 1, LIFE.max_ns + 1, 0, -1, 10**30])
def test_lives_beyond_the_bounds(life_ns):
    assert error_of(bounded_life_ns, life_ns, LIFE, ErrorCode.TTL_OUT_OF_RANGE, "ttl_s") == (
        ErrorCode.TTL_OUT_OF_RANGE,
        "ttl_s",
    )
    order = replace(ORDER, expires_in_ns=life_ns)
    assert error_of(build_terms, order, MARKET, LIFE, NOW_NS) == (ErrorCode.EXPIRY_OUT_OF_RANGE, "expires_in_s")


def test_the_bounds_are_told_in_seconds():
    with pytest.raises(RfqError, match=r"between 0\.5 and 86400 seconds"):
        bounded_life_ns(0, LIFE, ErrorCode.TTL_OUT_OF_RANGE, "ttl_s")


def test_a_new_rfq():
    order = replace(ORDER, limit_price=Decimal("100.02"))
    built = build_rfq(order, terms(), RFQ_ID, CLIENT, RfqState.OPEN)
    assert built == rfq(limit_price=Decimal("100.02"), client_reference="block 7", anonymous=True)


@pytest.mark.parametrize(
    "text, code",
    [
        ("NaN", ErrorCode.NOT_FINITE),
        ("1e400", ErrorCode.OUT_OF_RANGE),
        ("100.015", ErrorCode.PRICE_OFF_TICK),
        ("0", ErrorCode.PRICE_NOT_POSITIVE),
        ("-1", ErrorCode.PRICE_NOT_POSITIVE),
    ],
)
def test_a_limit_that_is_no_price(text, code):
    order = replace(ORDER, limit_price=Decimal(text))
    assert error_of(build_rfq, order, terms(), RFQ_ID, CLIENT, RfqState.OPEN) == (code, "limit_price")


@pytest.mark.parametrize("text", ["0", "-3.5"])
def test_a_package_may_cost_nothing_or_less(text):
    order = replace(ORDER, limit_price=Decimal(text))
    assert build_rfq(order, PACKAGE, RFQ_ID, CLIENT, RfqState.OPEN).limit_price == Decimal(text)


def side(price=None, *leg_prices):
    return SideOrder(None if price is None else Decimal(price), tuple(Decimal(text) for text in leg_prices))


def test_the_price_of_one_side():
    assert build_side_price(terms(), None, "ask") is None
    assert build_side_price(terms(), side("100.01"), "ask") == side_price("100.01")
    assert build_side_price(terms(), side(None, "100.01"), "ask") == side_price("100.01")
    derived = build_side_price(PACKAGE, side(None, "100.01", "300.02"), "ask")
    assert derived == side_price("100.01", "300.02", net="50.01")
    # a price that contradicts its legs is kept as it was said, for check_quote to refuse
    said = build_side_price(PACKAGE, side("50.02", "100.01", "300.02"), "ask")
    assert said == side_price("100.01", "300.02", net="50.02")
    assert error_of(check_quote, PACKAGE, MARKET, None, said, Decimal(4)) == (
        ErrorCode.QUOTE_LEGS_MISMATCH,
        "ask.price",
    )


@pytest.mark.parametrize(
    "of, order, code, field",
    [
        (terms(), side(), ErrorCode.QUOTE_LEGS_MISMATCH, "bid.price"),
        (terms(), side("1", "1", "1"), ErrorCode.QUOTE_LEGS_MISMATCH, "bid.leg_prices"),
        (PACKAGE, side("50.01"), ErrorCode.QUOTE_LEGS_MISMATCH, "bid.leg_prices"),
        (PACKAGE, side(None, "1"), ErrorCode.QUOTE_LEGS_MISMATCH, "bid.leg_prices"),
        (terms(), side("NaN"), ErrorCode.NOT_FINITE, "bid.price"),
        (terms(), side(None, "NaN"), ErrorCode.NOT_FINITE, "bid.leg_prices[0]"),
        (PACKAGE, side(None, "1", "Infinity"), ErrorCode.NOT_FINITE, "bid.leg_prices[1]"),
        (PACKAGE, side(None, "1", "1e400"), ErrorCode.OUT_OF_RANGE, "bid.leg_prices[1]"),
    ],
)
def test_prices_that_cannot_be_read(of, order, code, field):
    assert error_of(build_side_price, of, order, "bid") == (code, field)


@given(st.lists(st.tuples(ADMITTED_POSITIVE, st.sampled_from(Side), ADMITTED_POSITIVE), min_size=1, max_size=20))
def test_the_net_price_of_a_package_is_exact(legs):
    of = terms(*(leg(SPOT, side_, str(ratio)) for ratio, side_, _ in legs))
    prices = tuple(price for _, _, price in legs)
    built = build_side_price(of, SideOrder(None, prices), "ask")
    assert built is not None
    assert built.leg_prices == prices
    assert built.price.as_integer_ratio() == _net(legs)


def _net(legs):
    scaled = sum(one.sign * int(ratio.scaleb(18, _WIDE)) * int(price.scaleb(18, _WIDE)) for ratio, one, price in legs)
    return (Decimal(scaled).scaleb(-36, _WIDE)).as_integer_ratio()


def test_defaults_of_a_quote():
    order = QuoteOrder(bid=None, ask=side("100.01"), quantity=None, ttl_ns=None)
    built = build_quote(rfq(), order, QUOTE_ID, DEALER, "dealer", NOW_NS, 30 * SECOND_NS)
    assert built == quote()
    # good for the whole RFQ, whatever has traded: a dealer does not learn of his rivals' fills
    traded = rfq(
        terms(size_mode=SizeMode.MINIMUM, minimum_quantity=Decimal(4)),
        state=RfqState.PARTIALLY_FILLED,
        filled_quantity=Decimal(7),
    )
    late = build_quote(traded, order, QUOTE_ID, DEALER, "dealer", NOW_NS, 30 * SECOND_NS)
    assert late.quantity == 10
    check_quote(traded.terms, MARKET, late.bid, late.ask, late.quantity)


def test_a_quote_does_not_outlive_its_rfq():
    order = QuoteOrder(bid=None, ask=side("100.01"), quantity=Decimal(3), ttl_ns=None)
    built = build_quote(rfq(), order, QUOTE_ID, DEALER, "dealer", EXPIRES_NS - 5, 6)
    assert built.valid_until_ns == EXPIRES_NS
    assert built.quantity == 3


def test_canonical_json():
    value = {"b": Decimal("1.50"), "a": [UUID(int=1), None, Side.BUY], "ä": {"z": 1, "y": True}}
    expected = '{"a":["00000000-0000-0000-0000-000000000001",null,"buy"],"b":"1.5","ä":{"y":true,"z":1}}'
    assert canonical_json(value) == expected


@given(ADMITTED_POSITIVE, st.integers(0, 6))
def test_equal_decimals_are_written_alike_and_exactly(value, zeros):
    padded = value.scaleb(zeros, _WIDE).quantize(Decimal(1).scaleb(-18), context=_WIDE).scaleb(-zeros, _WIDE)
    for number in (padded, -padded):
        text = canonical_json([number])
        assert text == canonical_json([number.normalize(_WIDE)])
        assert Decimal(json.loads(text)[0]) == number
        assert "E" not in text
    assert canonical_json([Decimal("-0.00")]) == canonical_json([Decimal(0)]) == '["0"]'


@pytest.mark.parametrize("number", [Decimal("NaN"), Decimal("Infinity"), float("nan"), float("-inf")])
def test_what_is_no_number_is_not_written_down(number):
    with pytest.raises(InvariantError):
        canonical_json({"a": [{"b": number}]})


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | ADMITTED_POSITIVE
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), VALUES), st.randoms())
def test_canonical_json_does_not_depend_on_the_order_of_insertion(value, random):
    items = list(value.items())
    random.shuffle(items)
    text = canonical_json(dict(items))
    assert text == canonical_json(value)
    assert list(json.loads(text)) == sorted(value)


def test_an_event():
    event = build_event(
        EventKind.QUOTE_POSTED,
        UUID(int=9),
        NOW_NS,
        quote_payload(quote()),
        Audience.BOTH,
        client=CLIENT,
        dealer=DEALER,
        rfq_id=RFQ_ID,
        quote_id=QUOTE_ID,
    )
    assert event.event_id == UUID(int=9)
    assert event.audience is Audience.BOTH
    assert (event.client_firm_id, event.dealer_firm_id) == (CLIENT, DEALER)
    assert json.loads(event.payload_json) == {
        "ask": "100.01",
        "bid": None,
        "dealer": "dealer",
        "quantity": "10",
        "valid_until_ns": quote().valid_until_ns,
    }
