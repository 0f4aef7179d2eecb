"""The logistic win curve and everything that has a closed form under it.

A quote at markup δ (bps of mid, positive earns) wins with ``f(δ) = 1/(1 + e^{α + βδ})``. With a cost ``p`` per unit if
it wins, the dealer's Hamiltonian is ``H(p) = max_δ f(δ)(δ − p)``. With Lambert's function ``W = W₀(e^{−1−α−βp})`` the
maximiser is ``δ* = (1 + W)/β + p`` and ``H = W/β``, ``H′ = −f(δ*) = −W/(1 + W)``, ``H″ = βW/(1 + W)³``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rfq_service.domain.errors import require

_HALLEY_STEPS_MAX = 12
_EXPONENT_MAX = 700.0


def lambert_w_of_exp(exponent: float) -> float:
    """``W₀(e^y)``, the root of ``w + ln w = y``, by Halley's iteration to the last bits of a float.

    Taking the exponent instead of ``e^y`` keeps it finite for every finite ``y``.
    """
    if exponent < -_EXPONENT_MAX:
        return math.exp(exponent)
    if not math.isfinite(exponent):
        return exponent
    root = _first_guess(exponent)
    for _ in range(_HALLEY_STEPS_MAX):
        residual = root + math.log(root) - exponent
        plus_one = 1.0 + root
        step = residual * root / plus_one / (1.0 + residual / (2.0 * plus_one * plus_one))
        root -= step
        if abs(step) <= 1e-15 * root:
            break
    return root


def _first_guess(exponent: float) -> float:
    """Within a factor 1.4 of the root: ``x/(1+x)`` for small x, the tangent at x = 1, ``y − ln y`` for large y."""
    if exponent < -1.0:
        small = math.exp(exponent)
        return small / (1.0 + small)
    if exponent < 2.0:
        return 0.567143 + 0.361896 * exponent
    return exponent - math.log(exponent)


@dataclass(frozen=True, slots=True)
class WinCurve:
    """P(win | markup) for one kind of request.

    Attributes:
        alpha: logit of losing at zero markup.
        beta_per_bps: steepness, per bp of markup; ``1/beta`` is the scale of competition.
    """

    alpha: float
    beta_per_bps: float

    def __post_init__(self) -> None:
        require(math.isfinite(self.alpha), "alpha is finite")
        require(math.isfinite(self.beta_per_bps) and self.beta_per_bps > 0.0, "beta_per_bps is positive and finite")

    def win_probability(self, markup_bps: float) -> float:
        """P(win) of a quote at ``markup_bps``."""
        exponent = self.alpha + self.beta_per_bps * markup_bps
        if exponent > _EXPONENT_MAX:
            return 0.0
        return 1.0 / (1.0 + math.exp(exponent))

    def optimal_markup_bps(self, cost_bps: float) -> float:
        """The markup that maximises ``P(win)·(markup − cost)``."""
        return (1.0 + self._lambert(cost_bps)) / self.beta_per_bps + cost_bps

    def value_bps(self, cost_bps: float) -> float:
        """``H(cost)``: what one request is worth to the dealer, in bps of its notional."""
        return self._lambert(cost_bps) / self.beta_per_bps

    def value_curvature_per_bps(self, cost_bps: float) -> float:
        """``H″(cost)``: how fast volume responds to the price, per bp."""
        lambert = self._lambert(cost_bps)
        if not math.isfinite(lambert):
            return 0.0
        plus_one = 1.0 + lambert
        return self.beta_per_bps * (lambert / plus_one) / plus_one / plus_one  # ``**`` raises where this is zero

    def _lambert(self, cost_bps: float) -> float:
        return lambert_w_of_exp(-1.0 - self.alpha - self.beta_per_bps * cost_bps)
