"""The dealer's long-run problem, solved exactly on a grid: what every pricing policy is scored against.

A continuous-time Markov chain on inventory. Requests of tier n and size z arrive at rate λ on each side and are won
with probability ``1/(1 + e^{α + βδ})`` at δ bp from mid; after each the mid moves ``adverse`` bp the client's way; the
dealer may trade himself at rate v for ``ηv² + ψ|v|``, moving the mid by ``kv``. The objective a day is the stationary
mean of P&L less ``γσ²q²/2``. Units: bp, millions, days. Written without the package under test, the best markup
included (bisection on its first-order condition instead of Lambert's function).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tier:
    """One kind of client; ``rates`` a day and side, one per size."""

    alpha: float
    beta: float
    adverse: float
    rates: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Hedge:
    """Cost and impact of the dealer's own trading."""

    eta: float
    psi: float
    k: float


@dataclass(frozen=True, slots=True)
class DealerProblem:
    """One preset."""

    sigma: float
    gamma: float
    q_max: float
    dq: float
    sizes: tuple[float, ...]
    tiers: tuple[Tier, ...]
    hedge: Hedge | None

    @property
    def inventories(self) -> Floats:
        """The grid, from −q_max to q_max."""
        count = round(2 * self.q_max / self.dq) + 1
        return np.linspace(-self.q_max, self.q_max, count)


RFQ_TOXIC = DealerProblem(
    sigma=80,
    gamma=0.001,
    q_max=20,
    dq=0.5,
    sizes=(0.5, 1, 2, 5),
    tiers=(Tier(-1, 0.5, 0, (40, 30, 20, 10)), Tier(-1, 0.7, 2, (20, 15, 10, 5))),
    hedge=None,
)
FX_EURUSD = DealerProblem(
    sigma=50,
    gamma=0.002,
    q_max=250,
    dq=1,
    sizes=(1, 2, 5, 10, 20, 50),
    tiers=(
        Tier(-0.3, 5, 0, (720, 450, 342, 180, 90, 18)),
        Tier(-1.9, 15, 0, (720, 450, 342, 180, 90, 18)),
    ),
    hedge=Hedge(eta=1e-5, psi=0.1, k=0.005),
)


@dataclass(frozen=True, slots=True)
class Policy:
    """Markups by (tier, size, inventory) and the dealer's own trading rate by inventory (positive buys)."""

    bid: Floats
    ask: Floats
    hedge: Floats


QuoteFunction = Callable[[Tier, float, float], tuple[float, float]]


def policy_from(problem: DealerProblem, quote: QuoteFunction) -> Policy:
    """Tabulate ``quote(tier, size, inventory) -> (bid markup, ask markup)``; no trading of one's own."""
    grid = problem.inventories
    table = np.array([[[quote(tier, size, q) for q in grid] for size in problem.sizes] for tier in problem.tiers])
    return Policy(table[..., 0], table[..., 1], np.zeros_like(grid))


def evaluate(problem: DealerProblem, policy: Policy) -> tuple[float, Floats]:
    """Objective a day of a policy and its relative value by inventory (zero at zero inventory).

    Solves ``Q h + r = g`` for the generator Q and the reward rate r that the policy induces.
    """
    grid = problem.inventories
    count = len(grid)
    generator = np.zeros((count, count))
    reward = -problem.gamma / 2 * problem.sigma**2 * grid**2
    for n, tier in enumerate(problem.tiers):
        for i, size in enumerate(problem.sizes):
            for steps, markup in ((1, policy.bid[n, i]), (-1, policy.ask[n, i])):
                won = tier.rates[i] * np.exp(-np.logaddexp(0.0, tier.alpha + tier.beta * markup))
                moved = _add_jumps(generator, round(size / problem.dq) * steps, won)
                reward += moved * size * (markup - tier.adverse)
    if problem.hedge is not None:
        for step in (1, -1):
            traded = _add_jumps(generator, step, np.maximum(step * policy.hedge, 0) / problem.dq) * problem.dq
            hedge = problem.hedge
            reward += traded * (hedge.k * step * grid - hedge.psi) - hedge.eta * traded**2
    system = np.zeros((count + 1, count + 1))
    system[:count, :count] = generator
    system[:count, count] = -1
    system[count, count // 2] = 1
    solution = np.linalg.solve(system, np.append(-reward, 0.0))
    return float(solution[count]), solution[:count]


def _add_jumps(generator: Floats, steps: int, rate: Floats) -> Floats:
    """Add jumps by ``steps`` grid points; those beyond the limits are refused. Returns the rate that remains."""
    source = np.arange(len(rate))
    target = source + steps
    inside = (target >= 0) & (target < len(rate))
    kept = np.where(inside, rate, 0.0)
    generator[source[inside], target[inside]] += kept[inside]
    generator[source, source] -= kept
    return kept


def best_markup(tier: Tier, cost: Floats) -> Floats:
    """argmax over δ of ``(δ − cost)/(1 + e^{α + βδ})``, by bisection on its first-order condition.

    With ``y = β(δ − cost) − 1`` the condition is ``y + ln y = −1 − α − β·cost``, increasing in y.
    """
    target = -1 - tier.alpha - tier.beta * cost
    low, high = np.zeros_like(target), np.maximum(target, 1.0)
    for _ in range(60):
        middle = (low + high) / 2
        above = middle + np.log(middle) > target
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return cost + (1 + (low + high) / 2) / tier.beta


def greedy(problem: DealerProblem, value: Floats) -> Policy:
    """The policy that is best against a value function given on the grid."""
    return Policy(_greedy_side(problem, value, 1), _greedy_side(problem, value, -1), _greedy_hedge(problem, value))


def _greedy_side(problem: DealerProblem, value: Floats, sign: int) -> Floats:
    place = np.arange(len(value))
    table = []
    for tier in problem.tiers:
        row = []
        for size in problem.sizes:
            after = np.clip(place + sign * round(size / problem.dq), 0, len(value) - 1)
            row.append(best_markup(tier, tier.adverse + (value - value[after]) / size))
        table.append(row)
    return np.array(table)


def _greedy_hedge(problem: DealerProblem, value: Floats) -> Floats:
    rate = np.zeros_like(value)
    if problem.hedge is None:
        return rate
    hedge, slope = problem.hedge, np.diff(value) / problem.dq
    impact = hedge.k * problem.inventories
    rate[:-1] += np.maximum(slope + impact[:-1] - hedge.psi, 0) / (2 * hedge.eta)
    rate[1:] -= np.maximum(-slope - impact[1:] - hedge.psi, 0) / (2 * hedge.eta)
    return rate


def optimum(problem: DealerProblem) -> tuple[float, Policy]:
    """Best objective a day and a policy that attains it, by policy iteration."""
    objective, value = -np.inf, -1e-3 * problem.inventories**2
    for _ in range(100):
        policy = greedy(problem, value)
        improved, value = evaluate(problem, policy)
        if improved - objective < 1e-9:
            return improved, policy
        objective = improved
    raise ArithmeticError("policy iteration does not converge")
