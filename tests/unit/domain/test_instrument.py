from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfq_service.domain.errors import ErrorCode, InvariantError, RfqError
from rfq_service.domain.instrument import ContractType, InstrumentKind
from tests.unit.domain.builders import ADMITTED_POSITIVE, FUTURE, INVERSE, NOW_NS, SPOT, instrument


@given(ADMITTED_POSITIVE, ADMITTED_POSITIVE, ADMITTED_POSITIVE)
def test_linear_notional_is_exact(quantity, multiplier, price):
    contract = instrument(multiplier=multiplier)
    expected = Fraction(quantity) * Fraction(multiplier) * Fraction(price)
    assert Fraction(contract.notional(quantity, price)) == expected


@given(ADMITTED_POSITIVE, ADMITTED_POSITIVE, ADMITTED_POSITIVE)
def test_inverse_notional_does_not_depend_on_the_price(quantity, multiplier, price):
    contract = instrument(kind=InstrumentKind.PERPETUAL, contract_type=ContractType.INVERSE, multiplier=multiplier)
    assert Fraction(contract.notional(quantity, price)) == Fraction(quantity) * Fraction(multiplier)


def test_notional_by_example():
    assert not SPOT.is_inverse
    assert SPOT.notional(Decimal("2.5"), Decimal("100.02")) == Decimal("250.05")
    assert INVERSE.is_inverse
    assert INVERSE.notional(Decimal(3), Decimal("100.02")) == 300


@given(st.integers(2, 2000))
def test_every_lot_between_minimum_and_maximum_trades(lots):
    SPOT.check_quantity(Decimal("0.5") * lots, "quantity")


@pytest.mark.parametrize(
    "quantity, code",
    [
        ("0", ErrorCode.QUANTITY_OUT_OF_RANGE),
        ("-1", ErrorCode.QUANTITY_OUT_OF_RANGE),
        ("0.5", ErrorCode.QUANTITY_OUT_OF_RANGE),
        ("1000.5", ErrorCode.QUANTITY_OUT_OF_RANGE),
        ("999999999999999999", ErrorCode.QUANTITY_OUT_OF_RANGE),
        ("1.25", ErrorCode.QUANTITY_OFF_LOT),
        ("999.999999999999999999", ErrorCode.QUANTITY_OFF_LOT),
    ],
)
def test_a_quantity_that_cannot_trade(quantity, code):
    with pytest.raises(RfqError) as raised:
        SPOT.check_quantity(Decimal(quantity), "legs[2].ratio")
    assert (raised.value.code, raised.value.field) == (code, "legs[2].ratio")


def test_a_contract_trades_until_the_nanosecond_of_its_expiry():
    assert FUTURE.expires_at_ns is not None
    FUTURE.check_tradable(FUTURE.expires_at_ns - 1, "x")
    SPOT.check_tradable(2**62, "x")
    with pytest.raises(RfqError) as raised:
        FUTURE.check_tradable(FUTURE.expires_at_ns, "legs[0].instrument_id")
    assert (raised.value.code, raised.value.field) == (ErrorCode.INSTRUMENT_EXPIRED, "legs[0].instrument_id")


@pytest.mark.parametrize(
    "changes",
    [
        {"tick_size": Decimal(0)},
        {"tick_size": Decimal("NaN")},
        {"lot_size": Decimal(-1)},
        {"multiplier": Decimal("Infinity")},
        {"quantity_min": Decimal(0)},
        {"quantity_min": Decimal(1001)},
        {"taker_fee_bps": Decimal("NaN")},
        {"staleness_limit_ns": 0},
        {"expires_at_ns": NOW_NS},
        {"kind": InstrumentKind.DATED_FUTURE},
        {"contract_type": ContractType.INVERSE},
    ],
)
def test_impossible_instruments_do_not_exist(changes):
    with pytest.raises(InvariantError):
        instrument(**changes)


@pytest.mark.parametrize("size", ["1e18", "1e-19"])
def test_an_instrument_is_as_exact_as_what_is_traded_in_it(size):
    with pytest.raises(RfqError) as raised:
        instrument(multiplier=Decimal(size))
    assert (raised.value.code, raised.value.field) == (ErrorCode.OUT_OF_RANGE, "V.SPOT.ABC")
