"""One formula each (DESIGN §3; signs in the glossary): s = client side sign, p = traded price, m = reference mid."""

from __future__ import annotations

from decimal import Decimal

from rfq_service.domain.instrument import ContractType
from rfq_service.domain.market import MarketSnapshot
from rfq_service.domain.units import BPS, Side


def client_cost_bps(side: Side, price: Decimal, mid: Decimal, contract_type: ContractType) -> float:
    """Cost to the client in bps: ``s·(p − m)/m·1e4``; inverse contracts ``s·(p − m)/p·1e4`` (P&L in base currency)."""
    denominator = price if contract_type is ContractType.INVERSE else mid
    return side.sign * float((price - mid) / denominator) * BPS


def price_at_cost(side: Side, cost_bps: float, mid: float, contract_type: ContractType) -> float:
    """The price at which ``client_cost_bps`` is ``cost_bps``: its inverse, in float."""
    if contract_type is ContractType.INVERSE:
        return mid / (1.0 - side.sign * cost_bps / BPS)
    return mid * (1.0 + side.sign * cost_bps / BPS)


def spread_bps(bid: Decimal, ask: Decimal) -> float:
    """Full spread in bps of the mid."""
    return float((ask - bid) / (ask + bid)) * 2.0 * BPS


def signed_move_bps(side: Side, mid_before: float, mid_after: float) -> float:
    """Adverse selection of one trade, ``s·(m_{t+h} − m_t)``, in bps of the first mid."""
    return side.sign * (mid_after / mid_before - 1.0) * BPS


def microprice_offset_bps(imbalance: float, weight: float, half_spread_bps: float) -> float:
    """Offset of the fitted, clipped microprice from the mid: ``w·I`` half-spreads, at most half a half-spread."""
    return max(-0.5, min(0.5, weight * imbalance)) * half_spread_bps


def price_gap_bps(side: Side, winner: Decimal, loser: Decimal, gross_price: Decimal) -> float:
    """Cover distance: how much worse for the client the losing price is, in bps of the package's gross price.

    Negative when the client took a quote that was not the best.
    """
    return side.sign * float((loser - winner) / gross_price) * BPS


def sweep_cost_bps(side: Side, quantity: Decimal, snapshot: MarketSnapshot, contract_type: ContractType) -> float:
    """What a client who takes ``quantity`` off the book at once pays beyond the touch, bps of mid, mean over the size.

    It is the mean of ``client_cost_bps`` over the levels taken, less that of the touch: zero for a size within the
    touch, and never falling with size. Past the last visible level the book is taken to go on with the mean density of
    the visible side, counted from the mid: each further unit costs more than the last level, without bound.
    """
    levels = snapshot.asks if side is Side.BUY else snapshot.bids
    if quantity <= levels[0].quantity:
        return 0.0
    size, taken, total, beyond_bps = float(quantity), 0.0, 0.0, 0.0
    touch, mid = float(levels[0].price), float(snapshot.mid)
    # in both kinds of contract ``client_cost_bps`` of a price less that of the touch
    is_inverse = contract_type is ContractType.INVERSE
    scale = mid / touch * BPS if is_inverse else BPS / mid
    for level in levels:
        price = float(level.price)
        beyond_bps = abs(price - touch) * scale / (price if is_inverse else 1.0)
        part = min(float(level.quantity), size - taken)
        taken += part
        total += part * beyond_bps
        if taken >= size:
            return total / size
    reach_bps = beyond_bps + abs(touch - mid) * BPS / (touch if is_inverse else mid)
    rest = size - taken
    return (total + rest * (beyond_bps + 0.5 * rest / taken * reach_bps)) / size
