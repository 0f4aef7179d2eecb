"""What inventory is worth to the dealer: the quadratic closed form of the long-run problem.

In the long run the dealer maximises ``E[P&L − γ/2 ∫σ²q²dt]``. With requests of kind i (size z, rate λ per day and side,
Hamiltonian H of its win curve, cost c) the value function V solves

    g = −γσ²q²/2 + Σ_i λ_i z_i [H_i(c_i + D⁺) + H_i(c_i + D⁻)],   D± = [V(q) − V(q ± z)]/z.

Replacing each H by its second-order expansion at the kind's own cost and trying ``V = −A q²`` leaves, in q²,
``γσ²/2 = 4A² Σ λzH″``, so ``A = (σ/2)·√(γ / (2 Σ λzH″(c)))``. The idea is that of Bergault, Evangelista, Guéant and
Vieira (2021), "Closed-form approximations in multi-asset market making", whose expansion is at zero cost; expanding at
the adverse selection that each kind carries is closer to the optimum. A hedging desk is not part of this form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pricing.win_curve import WinCurve
from rfq_service.domain.errors import require
from rfq_service.domain.units import Side


@dataclass(frozen=True, slots=True)
class RequestFlow:
    """Requests of one kind that the dealer expects to see in the long run.

    Attributes:
        size_notional: size of one request, quote currency.
        rate_per_day: arrivals a day on each side.
        win_curve: how these requests are won.
        cost_bps: what winning one costs besides inventory (processing and adverse selection), bps.
    """

    size_notional: float
    rate_per_day: float
    win_curve: WinCurve
    cost_bps: float = 0.0

    def __post_init__(self) -> None:
        for value in (self.size_notional, self.rate_per_day):
            require(math.isfinite(value) and value > 0.0, "size and rate of a flow are positive and finite")
        require(math.isfinite(self.cost_bps), "the cost of a flow is finite")


@dataclass(frozen=True, slots=True)
class QuadraticValue:
    """``V(q) = −A q²`` in bps × notional, with q the signed inventory notional.

    Attributes:
        curvature_bps_per_notional: A; zero for a dealer who does not mind risk.
    """

    curvature_bps_per_notional: float

    def value(self, inventory_notional: float) -> float:
        """V(q), bps × notional."""
        return -self.curvature_bps_per_notional * inventory_notional * inventory_notional

    def charge_bps(self, side: Side, inventory_notional: float, size_notional: float) -> float:
        """``D = [V(q) − V(q′)]/z`` of filling a client's ``side``; negative where the fill relieves the dealer.

        Args:
            side: the client's; the dealer's inventory moves the other way.
            inventory_notional: dealer's signed inventory q before the fill.
            size_notional: z, positive.
        """
        # [q'^2 - q^2]/z with q' = q - s z, cancelled by hand: no difference of large squares.
        return self.curvature_bps_per_notional * (size_notional - 2.0 * side.sign * inventory_notional)


def quadratic_value(
    flow: Sequence[RequestFlow], risk_aversion_per_bps_notional: float, volatility_bps_sqrt_day: float
) -> QuadraticValue:
    """Closed-form value function of the module docstring.

    Args:
        flow: the requests through which inventory is worked off.
        risk_aversion_per_bps_notional: γ, in 1/(bps × notional): a day of q costs ``γσ²q²/2`` bps × notional.
        volatility_bps_sqrt_day: σ of the mid.

    Returns:
        The value function; its curvature is infinite where the flow cannot be attracted at any price.
    """
    response = sum(kind.rate_per_day * kind.size_notional * _response(kind) for kind in flow)
    if risk_aversion_per_bps_notional == 0.0 or volatility_bps_sqrt_day == 0.0:
        return QuadraticValue(0.0)
    if response == 0.0:
        return QuadraticValue(math.inf)
    return QuadraticValue(volatility_bps_sqrt_day * math.sqrt(risk_aversion_per_bps_notional / (8.0 * response)))


def _response(kind: RequestFlow) -> float:
    return kind.win_curve.value_curvature_per_bps(kind.cost_bps)
