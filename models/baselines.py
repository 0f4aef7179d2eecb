"""Closed-form impact laws: the labelled fallback, and the bar that every learned model has to beat.

Impact is in bps of mid and positive against the trader. ``volatility_bps`` is per square root of a day, ``size_ratio``
is the order's notional over the notional traded in a day (X/V), durations are in days. Every parameter may be an array
of draws; arrays broadcast as numpy does. Zero size gives zero impact, and impact never falls with size.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rfq_service.domain.errors import require

FloatArray: TypeAlias = NDArray[np.float64]
Values: TypeAlias = float | FloatArray

# Almgren, Thum, Hauptmann, Li, "Direct estimation of equity market impact" (Risk, July 2005): estimates and standard
# errors; the permanent exponent is fixed at 1, as there (free fit .891 ± .10), because only a linear permanent impact
# leaves no round trip that earns money. Fitted on orders up to about 10 % of a day's volume.
ALMGREN_GAMMA, ALMGREN_GAMMA_ERROR = 0.314, 0.041
ALMGREN_ETA, ALMGREN_ETA_ERROR = 0.142, 0.0062
ALMGREN_BETA, ALMGREN_BETA_ERROR = 0.600, 0.038
# Sato and Kanazawa 2024: exponent of the square-root law, by stock, Tokyo Stock Exchange.
SQUARE_ROOT_EXPONENT, SQUARE_ROOT_EXPONENT_ERROR = 0.489, 0.0015
# Farmer, Gerig, Lillo, Waelbroeck, "How efficiency shapes market impact" (Quantitative Finance 2013): along a
# square-root path the average fill pays 2/3 of the peak, and where prices are fair the peak reverts to that average.
FAIR_PRICING_SHARE = 2.0 / 3.0


def almgren_permanent_bps(
    size_ratio: Values, volatility_bps: Values, turnover_ratio: Values, gamma: Values = ALMGREN_GAMMA
) -> FloatArray:
    """Permanent impact of Almgren et al. 2005, ``I = γ·σ·(X/V)·(Θ/V)^¼``, in bps.

    Args:
        size_ratio: X/V, notional over daily traded notional.
        volatility_bps: σ in bps per square root of a day.
        turnover_ratio: Θ/V, outstanding amount over daily traded amount.
        gamma: γ, dimensionless.
    """
    return np.asarray(gamma * volatility_bps * size_ratio * np.power(turnover_ratio, 0.25), np.float64)


def almgren_temporary_bps(
    size_ratio: Values,
    volatility_bps: Values,
    duration_days: Values,
    eta: Values = ALMGREN_ETA,
    beta: Values = ALMGREN_BETA,
) -> FloatArray:
    """Temporary impact of Almgren et al. 2005, ``η·σ·|X/(V·T)|^β``, in bps; T is the trading time in days.

    Realised cost is ``J = I/2 + temporary``. Beyond participation 1 this only extrapolates the power law.
    """
    return np.asarray(eta * volatility_bps * np.power(size_ratio / duration_days, beta), np.float64)


def almgren_realised_bps(permanent_bps: Values, temporary_bps: Values) -> FloatArray:
    """Realised cost ``J = I/2 + temporary`` of an order worked at a constant rate, in bps (Almgren et al. 2005)."""
    return np.asarray(0.5 * permanent_bps + temporary_bps, np.float64)


def square_root_peak_bps(
    size_ratio: Values, volatility_bps: Values, prefactor: Values, exponent: Values = 0.5
) -> FloatArray:
    """Square-root law, ``Y·σ·(Q/V)^δ`` with δ near ½: peak impact in bps when the last child order has filled.

    It does not depend on the duration. See ``FAIR_PRICING_SHARE`` for what it costs on average and what stays.
    """
    return np.asarray(prefactor * volatility_bps * np.power(size_ratio, exponent), np.float64)


def square_root_permanent_bps(peak_bps: Values) -> FloatArray:
    """The part of a square-root peak that stays, 2/3 of it, in bps (Farmer et al. 2013)."""
    return np.asarray(FAIR_PRICING_SHARE * peak_bps, np.float64)


def square_root_temporary_bps(peak_bps: Values) -> FloatArray:
    """Average cost less half the permanent part, ``J − I/2`` in bps, so that both laws are booked alike."""
    return np.asarray(0.5 * FAIR_PRICING_SHARE * peak_bps, np.float64)


def i_star_bps(size_ratio: Values, volatility_annual: Values, participation: Values) -> tuple[FloatArray, FloatArray]:
    """I-Star of Kissell: instantaneous impact and the cost at a participation rate, both in bps.

    ``I* = 708·(Q/V)^.55·σ^.71``; ``cost = I*·(.98·POV^.5 + .02)``. Published parameters for US equities.

    Args:
        size_ratio: Q/V, notional over daily traded notional.
        volatility_annual: σ as a fraction per square root of a year (.25 = 25 %).
        participation: POV, the order's share of the volume while it trades, in (0, 1].
    """
    instantaneous = np.asarray(708.0 * np.power(size_ratio, 0.55) * np.power(volatility_annual, 0.71), np.float64)
    return instantaneous, instantaneous * (0.98 * np.power(participation, 0.5) + 0.02)


def markout_curve_bps(
    size_ratio: Values,
    volatility_bps: Values,
    horizon_s: float,
    log_amplitude: Values,
    size_exponent: Values,
    horizon_exponent: Values,
    pivot_size_ratio: float,
    pivot_horizon_s: float,
) -> FloatArray:
    """Expected signed mid move ``E[s(m_{t+h} − m_t)] = σ·e^a·(x/x₀)^b·(h/h₀)^c`` in bps after an order of size x = Q/V.

    Raises:
        InvariantError: unless the horizon is positive.
    """
    require(horizon_s > 0.0, "a markout horizon is positive")
    horizon_factor = np.exp(log_amplitude + np.multiply(horizon_exponent, np.log(horizon_s / pivot_horizon_s)))
    size_factor = np.power(size_ratio / pivot_size_ratio, size_exponent)
    return np.asarray(volatility_bps * horizon_factor * size_factor, np.float64)
