"""What is stored of a score and served as it was stored: the JSON behind ``Evaluation`` and ``Decision``.

Numbers are fixed-point integers, ``_micro_bps`` (1e-6 bps) and ``_ppm`` (1e-6), so that they recompute identically.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from quote_eval.results import Action, ReasonCode, SideScore, SideSummary, Verdict
from rfq_service.domain.history import Decision


class QuoteScore(msgspec.Struct, frozen=True):
    """The score of one side of one quote at the moment it was stored; width and skew for a two-way quote."""

    score: SideScore
    width_micro_bps: int | None
    skew_micro_bps: int | None


class WeighedQuote(msgspec.Struct, frozen=True):
    """How one side of a live quote stood when the decision was taken, against the market of that moment."""

    quote_id: UUID
    side: str
    rank: int | None
    verdict: Verdict
    cost_micro_bps: int | None
    fairness_ppm: int | None
    excess_micro_bps: int | None
    distance_to_best_micro_bps: int | None
    cover_distance_micro_bps: int | None


class DecisionResult(msgspec.Struct, frozen=True):
    """The recommended action on each side, with every action's cost, over all quotes live at that moment."""

    version: str
    evaluated_at_ns: int
    action: Action | None
    reasons: tuple[ReasonCode, ...]
    weighed: tuple[WeighedQuote, ...]
    sides: tuple[SideSummary, ...]
    models: tuple[str, ...]


class _Rank(msgspec.Struct, frozen=True):
    quote_id: UUID
    rank: int | None


class _Ranks(msgspec.Struct, frozen=True):
    weighed: tuple[_Rank, ...]


_ranks_decoder = msgspec.json.Decoder(_Ranks)


def stored_ranks(decision: Decision) -> dict[UUID, int]:
    """Every quote a stored decision weighed with its rank; see ``quote_ranks``."""
    return quote_ranks(_ranks_decoder.decode(decision.result_json).weighed)


def quote_ranks(weighed: Sequence[WeighedQuote] | Sequence[_Rank]) -> dict[UUID, int]:
    """Every quote that a decision weighed with its rank, 1 is best; of a two-way quote the better side counts.

    One that could not be ranked, for want of a market, comes after all others.
    """
    ranks: dict[UUID, int] = {}
    for item in weighed:
        rank = len(weighed) if item.rank is None else item.rank
        ranks[item.quote_id] = min(rank, ranks.get(item.quote_id, rank))
    return ranks
