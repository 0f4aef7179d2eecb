"""The demo's table: what was asked, what each dealer charged, what was fair, what was decided and what traded."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rich.table import Table
from rich.text import Text

_COLOURS = {"fair": "green", "cheap": "cyan", "dear": "red", "stale": "yellow", "unreliable": "yellow"}
_MICRO = 1_000_000


def build_table(reports: list[dict[str, Any]]) -> Table:
    """One block of rows per RFQ, one row per quoted side, best first."""
    table = Table(title="RFQs", title_justify="left", header_style="bold")
    for name, justify in (
        ("RFQ", "left"),
        ("reference mid", "right"),
        ("dealer", "left"),
        ("cost bps", "right"),
        ("fair range bps", "right"),
        ("fairness", "right"),
        ("verdict", "left"),
        ("decision", "left"),
        ("fill", "left"),
    ):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for number, report in enumerate(reports, start=1):
        _add_block(table, number, report)
    return table


def _add_block(table: Table, number: int, report: dict[str, Any]) -> None:
    rows = _quote_rows(report)
    title = _title(number, report["order"])
    decision, fill = _decision(report), _fill(report)
    if not rows:
        table.add_row(title, "-", "no quote", "-", "-", "-", "-", decision, fill)
    for index, (dealer, side, score) in enumerate(rows):
        first = index == 0
        table.add_row(
            title if first else "",
            _mid(score) if first else "",
            f"{dealer} {side}" if report["order"]["side"] == "two_way" else dealer,
            _bps(score["cost_micro_bps"]),
            _range(score),
            "-" if score["fairness_ppm"] is None else f"{score['fairness_ppm'] / _MICRO:.2f}",
            Text(score["verdict"], style=_COLOURS.get(score["verdict"], "")),
            decision if first else "",
            fill if first else "",
        )
    table.add_section()


def _quote_rows(report: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    rows = [
        (item["quote"]["dealer"], evaluation["side"], evaluation["score"]["score"])
        for item in report["ranked"]["quotes"]
        for evaluation in item["evaluations"]
    ]
    return sorted(rows, key=lambda row: (row[1], row[2]["cost_micro_bps"] is None, row[2]["cost_micro_bps"] or 0))


def _title(number: int, order: dict[str, Any]) -> str:
    name = order["legs"][0]["instrument_id"]
    return f"{number}. {order['side'].replace('_', '-')} {Decimal(order['quantity']):,} {name}"


def _mid(score: dict[str, Any]) -> str:
    legs = score["legs"]
    return f"{Decimal(legs[0]['reference_mid']):,}" if legs else "-"


def _bps(micro: int | None) -> str:
    return "-" if micro is None else f"{micro / _MICRO:+.2f}"


def _range(score: dict[str, Any]) -> str:
    low, high = score["fair_low_micro_bps"], score["fair_high_micro_bps"]
    return "-" if low is None or high is None else f"{low / _MICRO:.2f} … {high / _MICRO:.2f}"


def _decision(report: dict[str, Any]) -> str:
    decision = report["ranked"]["decision"]
    if decision is None:
        return "-"
    parts = []
    for side in decision["result"]["sides"]:
        recommended = side["recommended"] or "none"
        cost = next((item["expected_micro_bps"] for item in side["actions"] if item["action"] == recommended), None)
        text = recommended if cost is None else f"{recommended} ({_bps(cost)} bps)"
        parts.append(f"{side['side']}: {text}" if len(decision["result"]["sides"]) > 1 else text)
    return "\n".join(parts)


def _fill(report: dict[str, Any]) -> str:
    if report["refused"] is not None:
        return str(report["refused"])
    fill = report["fill"]
    if fill is None:
        return f"none, {report['rfq']['state']}"
    return f"{fill['side']} {Decimal(fill['quantity']):,} @ {Decimal(fill['price']):,}"
