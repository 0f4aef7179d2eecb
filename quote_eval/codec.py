"""Inputs of a score as plain JSON values and back, so that a stored score can be recomputed from what was stored."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec
import numpy as np

from quote_eval.inputs import (
    EvaluationInputs,
    EvaluationParameters,
    LegInputs,
    LegMarket,
    Predictions,
    QuoteInputs,
    RequestInputs,
)
from quote_eval.numerics import Floats
from rfq_service.domain.errors import require
from rfq_service.domain.instrument import ContractType
from rfq_service.domain.rfq import SizeMode
from rfq_service.domain.units import RequestSide, Side

_ARRAYS = ("durations_s", "permanent_bps", "temporary_bps", "information_bps")


def encode_inputs(inputs: EvaluationInputs) -> dict[str, Any]:
    """By value: decimals as text, floats as JSON numbers (they round-trip), arrays as base64 of their bytes.

    An array whose values are float32 numbers takes half the room; rounding predictions to float32 before scoring is
    therefore worth it, and changes nothing afterwards.
    """
    encoded: dict[str, Any] = _encode(inputs)
    return encoded


def to_builtins(value: object) -> Any:
    """A result (or inputs) as dicts, lists, text and numbers."""
    return _encode(value)


def decode_inputs(stored: Mapping[str, Any]) -> EvaluationInputs:
    """The inputs that ``encode_inputs`` was given.

    Raises:
        KeyError, ValueError, InvariantError: when the stored value is not one that ``encode_inputs`` makes.
    """
    request, parameters = stored["request"], dict(stored["parameters"])
    parameters["thresholds_bps"] = tuple(parameters["thresholds_bps"])
    return EvaluationInputs(
        request=RequestInputs(
            **{
                **request,
                "side": RequestSide(request["side"]),
                "legs": tuple(_decode_leg(leg) for leg in request["legs"]),
                "quantity": Decimal(request["quantity"]),
                "quantity_step": Decimal(request["quantity_step"]),
                "size_mode": SizeMode(request["size_mode"]),
                "minimum_quantity": _decimal(request["minimum_quantity"]),
                "limit_price": _decimal(request["limit_price"]),
                "price_increment": Decimal(request["price_increment"]),
            }
        ),
        quotes=tuple(
            QuoteInputs(
                **{
                    **quote,
                    "bid": _prices(quote["bid"]),
                    "ask": _prices(quote["ask"]),
                    "quantity": Decimal(quote["quantity"]),
                }
            )
            for quote in stored["quotes"]
        ),
        now_ns=stored["now_ns"],
        seed=stored["seed"],
        parameters=EvaluationParameters(**parameters),
    )


def _encode(value: object) -> Any:
    match value:
        case Enum():
            return value.value
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return str(value)
        case tuple():
            return [_encode(item) for item in value]
        case np.ndarray():
            return encode_array(value)
        case msgspec.Struct():
            return {name: _encode(getattr(value, name)) for name in value.__struct_fields__}
        case _:
            raise TypeError(f"a score holds no {type(value).__name__}")


def encode_array(values: Floats) -> dict[str, Any]:
    """An array by value: dtype, shape and the base64 of its bytes; float32 where that loses nothing."""
    value = array_value(values)
    return {**value, "shape": list(values.shape), "data": base64.b64encode(value["data"]).decode("ascii")}


def array_value(values: Floats) -> dict[str, Any]:
    """The same with plain bytes: the hook for an encoder that knows everything but arrays, base64 included."""
    narrow = values.astype("<f4")
    if not np.count_nonzero(narrow != values):
        return {"dtype": "<f4", "shape": values.shape, "data": narrow.tobytes()}
    return {"dtype": "<f8", "shape": values.shape, "data": values.astype("<f8").tobytes()}


def _decode_array(stored: Mapping[str, Any]) -> Floats:
    require(stored["dtype"] in ("<f4", "<f8"), "stored arrays are little-endian floats")
    raw = np.frombuffer(base64.b64decode(stored["data"], validate=True), dtype=stored["dtype"])
    return raw.astype(np.float64).reshape(stored["shape"])


def _decode_predictions(stored: Mapping[str, Any] | None) -> Predictions | None:
    if stored is None:
        return None
    return Predictions(**{**stored, **{name: _decode_array(stored[name]) for name in _ARRAYS}})


def _decode_leg(stored: Mapping[str, Any]) -> LegInputs:
    market = stored["market"]
    return LegInputs(
        **{
            **stored,
            "contract_type": ContractType(stored["contract_type"]),
            "side": Side(stored["side"]),
            "ratio": Decimal(stored["ratio"]),
            "multiplier": Decimal(stored["multiplier"]),
            "market": None if market is None else LegMarket(**{**market, "mid": Decimal(market["mid"])}),
            "buying": _decode_predictions(stored["buying"]),
            "selling": _decode_predictions(stored["selling"]),
        }
    )


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _prices(texts: list[str] | None) -> tuple[Decimal, ...] | None:
    return None if texts is None else tuple(Decimal(text) for text in texts)
