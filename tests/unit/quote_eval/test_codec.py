from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from quote_eval.codec import array_value, decode_inputs, encode_array, encode_inputs, to_builtins
from quote_eval.inputs import EvaluationParameters
from quote_eval.ranking import evaluate_quotes
from rfq_service.domain.errors import InvariantError
from rfq_service.domain.instrument import ContractType
from rfq_service.domain.rfq import SizeMode
from rfq_service.domain.units import RequestSide, Side
from tests.unit.quote_eval.builders import make_inputs, make_leg, make_predictions, make_quote, make_request

GOLDEN = Path(__file__).with_name("golden_quote_eval_1.json")


def through_json(inputs):
    return decode_inputs(json.loads(json.dumps(encode_inputs(inputs))))


@given(
    st.floats(0.0, 50.0),
    st.floats(1.0, 900.0),
    st.integers(12_400, 12_600),
    st.sampled_from(list(RequestSide)),
    st.sampled_from(list(SizeMode)),
    st.integers(0, 3),
)
@settings(max_examples=30)
def test_stored_inputs_give_the_identical_result(information, volatility, ticks, side, size_mode, pending):
    bid, ask = Decimal(ticks) / 10_000, Decimal(ticks + 7) / 10_000
    quote = make_quote(
        "q0",
        bid=bid if side is not RequestSide.BUY else None,
        ask=ask if side is not RequestSide.SELL else None,
    )
    request = make_request(
        (make_leg(information=information, volatility=volatility),),
        side=side,
        size_mode=size_mode,
        minimum_quantity=Decimal(5) if size_mode is SizeMode.MINIMUM else None,
        limit_price=Decimal("1.26") if side is RequestSide.BUY else None,
        pending_dealers=pending,
    )
    inputs = make_inputs(request, (quote,), EvaluationParameters(risk_weight=0.2))
    assert evaluate_quotes(through_json(inputs)) == evaluate_quotes(inputs)


def test_packages_inverse_legs_and_missing_parts_survive():
    legs = (
        make_leg(mid="50000.5", contract_type=ContractType.INVERSE, multiplier="100"),
        replace(make_leg(side=Side.SELL, ratio="0.25"), buying=None, selling=None),
        replace(make_leg(), market=None),
    )
    inputs = make_inputs(make_request(legs), ())
    assert encode_inputs(through_json(inputs)) == encode_inputs(inputs)
    assert through_json(inputs).request.legs[2].market is None


def test_arrays_of_single_precision_take_half_the_room():
    wide = make_predictions().permanent_bps
    narrow = wide.astype(np.float32).astype(np.float64)
    assert encode_array(wide)["dtype"] == "<f8"
    assert encode_array(narrow)["dtype"] == "<f4"
    assert len(encode_array(narrow)["data"]) * 2 == pytest.approx(len(encode_array(wide)["data"]), abs=4)
    stored = encode_inputs(make_inputs())
    stored["request"]["legs"][0]["buying"]["permanent_bps"] = encode_array(narrow)
    assert (decode_inputs(stored).request.legs[0].buying.permanent_bps == narrow).all()
    stored["request"]["legs"][0]["buying"]["permanent_bps"]["dtype"] = "|O"
    with pytest.raises(InvariantError):
        decode_inputs(stored)


def test_a_fast_encoder_writes_the_same():
    inputs = make_inputs()
    assert json.loads(msgspec.json.encode(inputs, enc_hook=array_value)) == encode_inputs(inputs)


def test_results_are_plain_json():
    result = to_builtins(evaluate_quotes(make_inputs()))
    assert json.loads(json.dumps(result)) == result
    assert result["quotes"][0]["sides"][0]["verdict"] == "fair"


def test_released_decisions_stay_replayable():
    # a stored score of this version has to come out the same for ever; a change of the arithmetic is a new version
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    result = to_builtins(evaluate_quotes(decode_inputs(golden["inputs"])))
    assert result == golden["result"]
