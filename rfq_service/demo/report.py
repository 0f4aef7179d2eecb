"""The demo's table: what was asked, what each dealer charged, what was fair, what was decided and what traded."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from rich.table import Table
from rich.text import Text

from rfq_service.client.schemas.enums import RequestSide, Verdict
from rfq_service.client.schemas.rfq import Terms
from rfq_service.client.schemas.score import SideScore
from rfq_service.demo.desk import Report

_COLOURS = {
    Verdict.FAIR: "green",
    Verdict.CHEAP: "cyan",
    Verdict.DEAR: "red",
    Verdict.STALE: "yellow",
    Verdict.UNRELIABLE: "yellow",
}
_MICRO = 1_000_000


_COLUMNS = ("RFQ", "reference mid", "dealer", "cost bps", "fair range bps", "fairness", "verdict", "decision", "fill")
_RIGHT = {"reference mid", "cost bps", "fair range bps", "fairness"}


def build_table(reports: Sequence[Report]) -> Table:
    """One row per RFQ, one line in it per quoted side, best first."""
    table = Table(title="RFQs", title_justify="left", header_style="bold", show_lines=True)
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in _RIGHT else "left", no_wrap=name not in ("decision", "fill"))
    for number, report in enumerate(reports, start=1):
        rows = _quote_rows(report)
        terms = report.ranked.rfq.terms
        two_way = terms.side == RequestSide.TWO_WAY
        table.add_row(
            _title(number, terms),
            _mid(rows[0][1]) if rows else "-",
            "\n".join(f"{dealer} {score.side}" if two_way else dealer for dealer, score in rows) or "no quote",
            "\n".join(_bps(score.cost_micro_bps) for _, score in rows),
            "\n".join(_range(score) for _, score in rows),
            "\n".join(_fairness(score) for _, score in rows),
            Text("\n").join(Text(score.verdict, style=_COLOURS.get(score.verdict, "")) for _, score in rows),
            _decision(report),
            _fill(report),
        )
    return table


def _quote_rows(report: Report) -> list[tuple[str, SideScore]]:
    rows = [
        (item.quote.dealer, evaluation.score.score) for item in report.ranked.quotes for evaluation in item.evaluations
    ]
    return sorted(rows, key=lambda row: (row[1].side, row[1].cost_micro_bps is None, row[1].cost_micro_bps or 0))


def _title(number: int, terms: Terms) -> str:
    return f"{number}. {terms.side.replace('_', '-')} {_plain(terms.quantity)}\n{terms.legs[0].instrument_id}"


def _plain(value: Decimal) -> str:
    return f"{value:,f}"


def _mid(score: SideScore) -> str:
    return _plain(score.legs[0].reference_mid) if score.legs else "-"


def _bps(micro: int | None) -> str:
    return "-" if micro is None else f"{micro / _MICRO:+.2f}"


def _fairness(score: SideScore) -> str:
    return "-" if score.fairness_ppm is None else f"{score.fairness_ppm / _MICRO:.2f}"


def _range(score: SideScore) -> str:
    low, high = score.fair_low_micro_bps, score.fair_high_micro_bps
    return "-" if low is None or high is None else f"{low / _MICRO:.2f} … {high / _MICRO:.2f}"


def _decision(report: Report) -> str:
    decision = report.ranked.decision
    if decision is None:
        return "-"
    parts = []
    for side in decision.result.sides:
        recommended = side.recommended or "none"
        cost = next((item.expected_micro_bps for item in side.actions if item.action == recommended), None)
        text = recommended if cost is None else f"{recommended} at {_bps(cost)} bps"
        parts.append(f"{side.side}: {text}" if len(decision.result.sides) > 1 else text)
    return "\n".join(parts)


def _fill(report: Report) -> str:
    if report.refused is not None:
        return report.refused
    fill = report.fill
    if fill is None:
        return f"none, {report.state}"
    return f"{fill.side} {_plain(fill.quantity)} @ {_plain(fill.price)}"
