"""The strict reader alone: what it refuses, under which code and path, and that it never fails otherwise."""

from __future__ import annotations

import contextlib
import json
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfq_service.api.parsing import (
    format_cursor,
    parse_body,
    parse_cursor,
    parse_form,
    parse_json,
    parse_path_id,
    parse_query,
)
from rfq_service.api.schemas.identity import TokenIn
from rfq_service.api.schemas.quote import EvaluationIn, QuoteHistoryQuery
from rfq_service.api.schemas.rfq import RfqIn, RfqListQuery
from rfq_service.api.schemas.wire import decimal_of, optional_duration_ns
from rfq_service.domain.errors import ErrorCode, RfqError

DEPTH = 16


def refusal_of(body: bytes) -> tuple[str, str]:
    with pytest.raises(RfqError) as caught:
        parse_body(body, RfqIn, DEPTH)
    return caught.value.code.value, caught.value.field


LEG = '{"instrument_id": "X"}'


@pytest.mark.parametrize(
    "body, code, field",
    [
        (b"", "MALFORMED_BODY", ""),
        (b"{", "MALFORMED_BODY", ""),
        (b"[]", "MALFORMED_BODY", ""),
        (b"null", "MALFORMED_BODY", ""),
        (b'"text"', "MALFORMED_BODY", ""),
        (b"{} {}", "MALFORMED_BODY", ""),
        (b'\xef\xbb\xbf{"side": "buy"}', "MALFORMED_BODY", ""),
        (b'{"side": "\xff"}', "MALFORMED_BODY", ""),
        (b'{"side": "\x00"}', "MALFORMED_BODY", ""),
        ('{"side": "buy"}'.encode("utf-16"), "MALFORMED_BODY", ""),
        (b'{"quantity": ' + b"9" * 5_000 + b"}", "MALFORMED_BODY", ""),
        (b'{"side": "\\u0000"}', "NUL_BYTE", ""),
        (b'{"\\u0000": 1}', "NUL_BYTE", ""),
        (b'{"side": "\\ud800"}', "MALFORMED_BODY", ""),
        (b'{"side": "buy", "side": "sell"}', "DUPLICATE_KEY", "side"),
        (b'{"legs": [{"ratio": "1", "ratio": "2"}]}', "DUPLICATE_KEY", "ratio"),
        (b'{"\\ud800": 1, "\\ud800": 1}', "DUPLICATE_KEY", "\\ud800"),
        (b'{"quantity": NaN}', "NOT_FINITE", ""),
        (b'{"quantity": -Infinity}', "NOT_FINITE", ""),
        (b"[" * 100_000, "NESTING_TOO_DEEP", ""),
        (b'{"legs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "NESTING_TOO_DEEP", ""),
        (b'{"legs":' * 20 + b"1" + b"}" * 20, "NESTING_TOO_DEEP", ""),
        (b'{"nonsense": 1}', "UNKNOWN_FIELD", "nonsense"),
        (f'{{"legs": [{LEG}, {{"instrument_id": "X", "size": 1}}]}}'.encode(), "UNKNOWN_FIELD", "legs[1].size"),
        (f'{{"legs": [{LEG}], "side": "buy"}}'.encode(), "INVALID_FIELD", "quantity"),
        (f'{{"legs": [{LEG}], "side": "hold", "quantity": "1"}}'.encode(), "INVALID_FIELD", "side"),
        (f'{{"legs": [{LEG}], "side": "buy", "quantity": 1}}'.encode(), "INVALID_FIELD", "quantity"),
        (f'{{"legs": [{LEG}], "side": "buy", "quantity": 1e400}}'.encode(), "INVALID_FIELD", "quantity"),
        (f'{{"legs": [{LEG}], "side": "buy", "quantity": null}}'.encode(), "INVALID_FIELD", "quantity"),
        (f'{{"legs": [{LEG}], "side": "buy", "quantity": "1", "anonymous": 1}}'.encode(), "INVALID_FIELD", "anonymous"),
        (b'{"legs": [{"instrument_id": ""}]}', "INVALID_FIELD", "legs[0].instrument_id"),
        (b'{"legs": []}', "INVALID_FIELD", "legs"),
        (f'{{"legs": [{",".join([LEG] * 21)}]}}'.encode(), "INVALID_FIELD", "legs"),
        (f'{{"legs": [{LEG}], "side": "buy", "quantity": "1", "panel": [""]}}'.encode(), "INVALID_FIELD", "panel[0]"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_bad_body_is_refused_by_code_and_field(body: bytes, code: str, field: str) -> None:
    assert refusal_of(body) == (code, field)


def test_text_that_only_looks_like_a_nul_is_kept() -> None:
    reference = "a\\u0000 ü \U0001f600"
    body = {"legs": [{"instrument_id": "X"}], "side": "buy", "quantity": "1", "client_reference": reference}
    assert parse_body(json.dumps(body).encode(), RfqIn, DEPTH).client_reference == reference


def test_the_deepest_admitted_nesting_is_read() -> None:
    nested = b'{"a":' * DEPTH + b"1" + b"}" * DEPTH
    assert parse_json(nested, DEPTH)
    with pytest.raises(RfqError):
        parse_json(b'{"a":' + nested + b"}", DEPTH)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(RfqError):
        parse_body(body, RfqIn, DEPTH)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)
FIELDS = st.sampled_from(["legs", "side", "quantity", "quotes", "limit_price", "size_mode", "client_reference"])


@given(st.dictionaries(FIELDS, JSON_VALUES, max_size=7))
def test_any_json_object_is_read_or_refused_whole(body: dict[str, object]) -> None:
    with contextlib.suppress(RfqError):
        parse_body(json.dumps(body).encode("utf-8", "surrogatepass"), EvaluationIn, DEPTH).order()


@given(JSON_VALUES.filter(lambda value: isinstance(value, dict)))
def test_what_is_read_is_what_json_says(value: dict[str, object]) -> None:
    body = json.dumps(value).encode()
    try:
        tree = parse_json(body, 64)
    except RfqError as refused:
        assert refused.code in (ErrorCode.NUL_BYTE, ErrorCode.NOT_FINITE, ErrorCode.MALFORMED_BODY)  # noqa: PT017
    else:
        assert tree == json.loads(body)


@pytest.mark.parametrize(
    "text, code",
    [
        ("NaN", "NOT_FINITE"),
        ("sNaN", "NOT_FINITE"),
        ("-Infinity", "NOT_FINITE"),
        ("inf", "NOT_FINITE"),
        ("1e400", "OUT_OF_RANGE"),
        ("1E-19", "OUT_OF_RANGE"),
        ("0." + "0" * 18 + "1", "OUT_OF_RANGE"),
        ("1" + "0" * 18, "OUT_OF_RANGE"),
        ("9" * 10_000, "OUT_OF_RANGE"),
        ("1e999999999999999999999", "INVALID_FIELD"),
        ("1e3", "INVALID_FIELD"),
        ("+1", "INVALID_FIELD"),
        ("01", "INVALID_FIELD"),
        ("1.", "INVALID_FIELD"),
        (".5", "INVALID_FIELD"),
        (" 1", "INVALID_FIELD"),
        ("1\n", "INVALID_FIELD"),
        ("1_000", "INVALID_FIELD"),
        ("1,5", "INVALID_FIELD"),
        ("١", "INVALID_FIELD"),
        ("", "INVALID_FIELD"),
        ("0x10", "INVALID_FIELD"),
    ],
)
def test_what_is_no_plain_decimal_is_refused(text: str, code: str) -> None:
    with pytest.raises(RfqError) as caught:
        decimal_of(text, "quantity")
    assert (caught.value.code.value, caught.value.field) == (code, "quantity")


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**17), max_value=10**17, places=18))
def test_every_admitted_decimal_is_read_exactly(value: Decimal) -> None:
    assert decimal_of(format(value, "f"), "price") == value


@pytest.mark.parametrize("text, expected", [("30", 30 * 10**9), ("0.5", 5 * 10**8), ("0.000000001", 1), (None, None)])
def test_durations_are_exact(text: str | None, expected: int | None) -> None:
    assert optional_duration_ns(text, "ttl_s") == expected


@pytest.mark.parametrize(
    "text, code",
    [("-1", "OUT_OF_RANGE"), ("0.0000000001", "OUT_OF_RANGE"), ("1000000000", "OUT_OF_RANGE"), ("NaN", "NOT_FINITE")],
)
def test_odd_durations_are_refused(text: str, code: str) -> None:
    with pytest.raises(RfqError) as caught:
        optional_duration_ns(text, "ttl_s")
    assert caught.value.code.value == code


@given(st.uuids())
def test_a_cursor_comes_back(last: UUID) -> None:
    assert parse_cursor(format_cursor(last) or "") == last


@given(st.text(max_size=30))
def test_no_other_cursor_is_taken(text: str) -> None:
    try:
        last = parse_cursor(text)
    except RfqError as refused:
        assert refused.code is ErrorCode.INVALID_CURSOR  # noqa: PT017
    else:
        assert format_cursor(last) == text


@pytest.mark.parametrize("text", ["", "1", "null", "a" * 36, "{01a1f88c-8484-7ac5-9dc5-071659aed59d}", "\x00"])
def test_what_is_no_uuid_is_not_found(text: str) -> None:
    with pytest.raises(RfqError) as caught:
        parse_path_id(text, ErrorCode.QUOTE_NOT_FOUND)
    assert caught.value.code is ErrorCode.QUOTE_NOT_FOUND


@pytest.mark.parametrize(
    "query, code, field",
    [
        (b"nonsense=1", "UNKNOWN_PARAMETER", "nonsense"),
        (b"state=open&state=open", "REPEATED_PARAMETER", "state"),
        (b"state=", "INVALID_PARAMETER", "state"),
        (b"state=null", "INVALID_PARAMETER", "state"),
        (b"state=OPEN", "INVALID_PARAMETER", "state"),
        (b"limit=0", "INVALID_PARAMETER", "limit"),
        (b"limit=-1", "INVALID_PARAMETER", "limit"),
        (b"limit=1.5", "INVALID_PARAMETER", "limit"),
        (b"limit=1_0", "INVALID_PARAMETER", "limit"),
        (b"limit=null", "INVALID_PARAMETER", "limit"),
        (b"limit=9" + b"9" * 30, "INVALID_PARAMETER", "limit"),
        (b"cursor=%00", "NUL_BYTE", "cursor"),
        (b"cursor=%ff", "INVALID_PARAMETER", ""),
        (b"cursor=\xff", "INVALID_PARAMETER", ""),
        (b"cursor", "INVALID_PARAMETER", ""),
        (b"&".join(b"a%d=1" % number for number in range(100)), "INVALID_PARAMETER", ""),
    ],
)
def test_a_bad_query_is_refused_by_code_and_name(query: bytes, code: str, field: str) -> None:
    with pytest.raises(RfqError) as caught:
        parse_query(query, RfqListQuery)
    assert (caught.value.code.value, caught.value.field) == (code, field)


@pytest.mark.parametrize(
    "query, field",
    [
        (b"rfq_id=1", "rfq_id"),
        (b"from=2026-01-01", "from"),
        (b"from=2026-01-01T00:00:00", "from"),
        (b"from=9999-12-31T23:59:59-14:00", "from"),
        (b"to=0001-01-01T00:00:00%2B14:00", "to"),
        (b"to=2026-01-01T00:00:00.1234567891Z", "to"),
        (b"from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from"),
        (b"verdict=lovely", "verdict"),
        (b"dealer=", "dealer"),
        (b"instrument_id=" + b"x" * 100, "instrument_id"),
    ],
)
def test_a_bad_history_filter_is_refused(query: bytes, field: str) -> None:
    with pytest.raises(RfqError) as caught:
        parse_query(query, QuoteHistoryQuery).client_filter()
    assert (caught.value.code.value, caught.value.field) == ("INVALID_PARAMETER", field)


@given(st.binary(max_size=100))
def test_any_query_is_read_or_refused(query: bytes) -> None:
    with contextlib.suppress(RfqError):
        parse_query(query, QuoteHistoryQuery).client_filter()


FORM_CODES = {ErrorCode.MALFORMED_BODY, ErrorCode.REPEATED_PARAMETER, ErrorCode.NUL_BYTE}


@given(st.binary(max_size=200) | st.text(alphabet="grant_type=&%+scope01fF\x00;", max_size=60).map(str.encode))
def test_any_bytes_are_a_form_or_refused_as_not_well_formed(body: bytes) -> None:
    code, form = None, None
    try:
        form = parse_form(body, TokenIn)
    except RfqError as error:
        code = error.code
    assert code in FORM_CODES or (form is not None and "\x00" not in form.grant_type + form.scope)


def test_a_form_is_read_with_its_escapes_and_what_is_unknown_is_passed_over() -> None:
    form = parse_form(b"grant_type=client_credentials&scope=rfq%3Aread+rfq:write&resource=x", TokenIn)
    assert (form.grant_type, form.scope, form.client_id) == ("client_credentials", "rfq:read rfq:write", "")
