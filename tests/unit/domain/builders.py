# Domain values with sensible defaults, for the tests of the domain and the desk.
from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

from hypothesis import strategies as st

from rfq_service.domain.errors import RfqError
from rfq_service.domain.identifiers import FirmId, InstrumentId, QuoteId, RfqId
from rfq_service.domain.instrument import ContractType, Instrument, InstrumentKind
from rfq_service.domain.quote import Quote, SidePrice
from rfq_service.domain.rfq import Leg, Rfq, RfqState, RfqTerms, SizeMode
from rfq_service.domain.units import RequestSide, Side

T = TypeVar("T")
NOW_NS = 1_700_000_000_000_000_000
EXPIRES_NS = NOW_NS + 300_000_000_000
CLIENT, DEALER = FirmId(UUID(int=1)), FirmId(UUID(int=2))
RFQ_ID, QUOTE_ID = RfqId(UUID(int=3)), QuoteId(UUID(int=4))


def decimals(low: str, high: str, places: int = 18) -> st.SearchStrategy[Decimal]:
    return st.decimals(Decimal(low), Decimal(high), allow_nan=False, allow_infinity=False, places=places)


# Everything that check_decimal lets in and is above zero.
ADMITTED_POSITIVE = st.builds(
    lambda coefficient, exponent: Decimal(coefficient).scaleb(exponent),
    st.integers(1, 10**18 - 1),
    st.integers(-18, -1),
) | st.builds(
    lambda whole, fraction: Decimal(f"{whole}.{fraction:018d}"),
    st.integers(1, 10**18 - 1),
    st.integers(0, 10**18 - 1),
)


def attempt(function: Callable[[], T]) -> tuple[T | None, RfqError | None]:
    # What a call returns or, if that is how it ends, why it was refused; any other exception goes through.
    try:
        return function(), None
    except RfqError as error:
        return None, error


def instrument(name: str = "V.SPOT.ABC", **changes: object) -> Instrument:
    values: dict[str, object] = {
        "instrument_id": InstrumentId(name),
        "venue": "V",
        "symbol": "ABC",
        "kind": InstrumentKind.SPOT,
        "contract_type": ContractType.LINEAR,
        "base_currency": "ABC",
        "quote_currency": "USD",
        "settlement_currency": "USD",
        "tick_size": Decimal("0.01"),
        "lot_size": Decimal("0.5"),
        "multiplier": Decimal(1),
        "quantity_min": Decimal(1),
        "quantity_max": Decimal(1000),
        "staleness_limit_ns": 5_000_000_000,
        "taker_fee_bps": Decimal(5),
    }
    return Instrument(**{**values, **changes})


def by_id(instruments: Iterable[Instrument]) -> dict[InstrumentId, Instrument]:
    return {item.instrument_id: item for item in instruments}


SPOT = instrument()
OTHER = instrument("V.SPOT.XYZ", symbol="XYZ", base_currency="XYZ")
EURO = instrument("V.SPOT.EUR", quote_currency="EUR")
INVERSE = instrument(
    "V.PERPETUAL.INV", kind=InstrumentKind.PERPETUAL, contract_type=ContractType.INVERSE, multiplier=Decimal(100)
)
# expires in the middle of the RFQ's life
FUTURE = instrument("V.FUTURE.ABC", kind=InstrumentKind.DATED_FUTURE, expires_at_ns=NOW_NS + 100_000_000_000)
MARKET = by_id([SPOT, OTHER, EURO, INVERSE, FUTURE])


def leg(item: Instrument = SPOT, side: Side = Side.BUY, ratio: str = "1") -> Leg:
    return Leg(item.instrument_id, side, Decimal(ratio))


def terms(*legs: Leg, **changes: object) -> RfqTerms:
    values: dict[str, object] = {
        "legs": legs or (leg(),),
        "side": RequestSide.BUY,
        "quantity": Decimal(10),
        "size_mode": SizeMode.ANY_PART,
        "minimum_quantity": None,
        "price_increment": Decimal("0.01"),
        "created_at_ns": NOW_NS,
        "expires_at_ns": EXPIRES_NS,
    }
    return RfqTerms(**{**values, **changes})


def rfq(of: RfqTerms | None = None, **changes: object) -> Rfq:
    values: dict[str, object] = {
        "rfq_id": RFQ_ID,
        "client_firm_id": CLIENT,
        "terms": terms() if of is None else of,
        "limit_price": None,
        "client_reference": "",
        "anonymous": False,
        "state": RfqState.OPEN,
        "filled_quantity": Decimal(0),
    }
    return Rfq(**{**values, **changes})


def side_price(*leg_prices: str, net: str | None = None) -> SidePrice:
    return SidePrice(Decimal(leg_prices[0] if net is None else net), tuple(Decimal(price) for price in leg_prices))


def quote(**changes: object) -> Quote:
    values: dict[str, object] = {
        "quote_id": QUOTE_ID,
        "rfq_id": RFQ_ID,
        "dealer_firm_id": DEALER,
        "dealer_name": "dealer",
        "bid": None,
        "ask": side_price("100.01"),
        "quantity": Decimal(10),
        "received_at_ns": NOW_NS,
        "valid_until_ns": NOW_NS + 30_000_000_000,
    }
    return Quote(**{**values, **changes})
