"""Quoted sides in requests."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from rfq_service.client.values import decimal_text, optional_decimal_text, present

# One net price, or the prices of the legs.
Prices = Decimal | int | Sequence[Decimal | int]


def quote_body(
    bid: Prices | None, ask: Prices | None, quantity: Decimal | int | None, ttl_s: Decimal | int | None
) -> dict[str, Any]:
    """The JSON of a quote."""
    return present(
        {
            "bid": None if bid is None else _side(bid),
            "ask": None if ask is None else _side(ask),
            "quantity": optional_decimal_text(quantity),
            "ttl_s": optional_decimal_text(ttl_s),
        }
    )


def _side(prices: Prices) -> dict[str, Any]:
    if isinstance(prices, Sequence):
        return {"leg_prices": [decimal_text(price) for price in prices]}
    return {"price": decimal_text(prices)}
