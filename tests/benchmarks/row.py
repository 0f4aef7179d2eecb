"""One figure of a benchmark, judged by its median against the goal it was set."""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROUNDS_MIN = 5
GOALS_PATH = Path(__file__).with_name("goals.toml")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of ``build/bench.json``.

    Attributes:
        value: median of our figure; ``baseline`` that of the peer in the same run, ``ratio`` the median of the rounds'
            own ratios. Where a figure has no peer, both are ``None``.
        interval: smallest and largest round of what is judged (the ratio, else the value).
        met: whether the median keeps the goal; ``None`` for a row that is for information.
        how: how it was measured.
    """

    name: str
    value: float
    unit: str
    baseline: float | None
    ratio: float | None
    interval: tuple[float, float]
    goal: str
    met: bool | None
    how: str


def load_goals() -> dict[str, dict[str, Any]]:
    """Goals by row name."""
    return tomllib.loads(GOALS_PATH.read_text(encoding="utf-8"))


def judge(name: str, values: Sequence[float], unit: str, how: str, peers: Sequence[float] | None = None) -> Row:
    """Make a row of one figure per round, paired with the peer's figures where there is a peer.

    Raises:
        ValueError: for fewer than five rounds, or a row with another number of peers.
    """
    if len(values) < ROUNDS_MIN:
        raise ValueError(f"{name}: at least {ROUNDS_MIN} rounds")
    judged = list(values)
    if peers is not None:
        judged = [value / peer for value, peer in zip(values, peers, strict=True)]
    middle = statistics.median(judged)
    goal = load_goals().get(name)
    return Row(
        name=name,
        value=statistics.median(values),
        unit=unit,
        baseline=None if peers is None else statistics.median(peers),
        ratio=None if peers is None else middle,
        interval=(min(judged), max(judged)),
        goal="" if goal is None else goal["goal"],
        met=None if goal is None else _keeps(middle, goal["sense"], goal["limit"]),
        how=f"{how}; median of {len(values)} rounds",
    )


def _keeps(value: float, sense: str, limit: float) -> bool:
    match sense:
        case "at most":
            return value <= limit
        case "under":
            return value < limit
        case "at least":
            return value >= limit
    raise ValueError(f"a goal is at most, under or at least, not {sense!r}")
