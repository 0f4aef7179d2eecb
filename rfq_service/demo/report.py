"""The demo's table: what was asked, what each dealer charged, what was fair, what was decided and what traded."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rich.table import Table
from rich.text import Text

_COLOURS = {"fair": "green", "cheap": "cyan", "dear": "red", "stale": "yellow", "unreliable": "yellow"}
_MICRO = 1_000_000


_COLUMNS = ("RFQ", "reference mid", "dealer", "cost bps", "fair range bps", "fairness", "verdict", "decision", "fill")
_RIGHT = {"reference mid", "cost bps", "fair range bps", "fairness"}


def build_table(reports: list[dict[str, Any]]) -> Table:
    """One row per RFQ, one line in it per quoted side, best first."""
    table = Table(title="RFQs", title_justify="left", header_style="bold", show_lines=True)
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in _RIGHT else "left", no_wrap=name not in ("decision", "fill"))
    for number, report in enumerate(reports, start=1):
        rows = _quote_rows(report)
        two_way = report["order"]["side"] == "two_way"
        table.add_row(
            _title(number, report["order"]),
            _mid(rows[0][2]) if rows else "-",
            "\n".join(f"{dealer} {side}" if two_way else dealer for dealer, side, _ in rows) or "no quote",
            "\n".join(_bps(score["cost_micro_bps"]) for _, _, score in rows),
            "\n".join(_range(score) for _, _, score in rows),
            "\n".join(_fairness(score) for _, _, score in rows),
            Text("\n").join(Text(score["verdict"], style=_COLOURS.get(score["verdict"], "")) for _, _, score in rows),
            _decision(report),
            _fill(report),
        )
    return table


def _quote_rows(report: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    rows = [
        (item["quote"]["dealer"], evaluation["side"], evaluation["score"]["score"])
        for item in report["ranked"]["quotes"]
        for evaluation in item["evaluations"]
    ]
    return sorted(rows, key=lambda row: (row[1], row[2]["cost_micro_bps"] is None, row[2]["cost_micro_bps"] or 0))


def _title(number: int, order: dict[str, Any]) -> str:
    name = order["legs"][0]["instrument_id"]
    return f"{number}. {order['side'].replace('_', '-')} {Decimal(order['quantity']):,}\n{name}"


def _mid(score: dict[str, Any]) -> str:
    legs = score["legs"]
    return f"{Decimal(legs[0]['reference_mid']):,}" if legs else "-"


def _bps(micro: int | None) -> str:
    return "-" if micro is None else f"{micro / _MICRO:+.2f}"


def _fairness(score: dict[str, Any]) -> str:
    return "-" if score["fairness_ppm"] is None else f"{score['fairness_ppm'] / _MICRO:.2f}"


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
        text = recommended if cost is None else f"{recommended} at {_bps(cost)} bps"
        parts.append(f"{side['side']}: {text}" if len(decision["result"]["sides"]) > 1 else text)
    return "\n".join(parts)


def _fill(report: dict[str, Any]) -> str:
    if report["refused"] is not None:
        return str(report["refused"])
    fill = report["fill"]
    if fill is None:
        return f"none, {report['rfq']['state']}"
    return f"{fill['side']} {Decimal(fill['quantity']):,} @ {Decimal(fill['price']):,}"
