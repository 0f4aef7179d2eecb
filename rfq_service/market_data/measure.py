"""Measures on a recording what the simulated market needs, and tunes the generator until it shows the same.

``python -m rfq_service.market_data.measure ../shared/data`` writes ``models/artifacts/default/simulated_market.json``.
Three knobs cannot be read off a recording: the news volatility (the mid's less what the orders' impact makes), the
impact itself (a mid that follows late shows less of it) and the makers' refill rate. They are moved until the generated
market has the measured volatility, signed move after an order and share of one-tick spreads.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rfq_service.domain.errors import require
from rfq_service.domain.units import BPS, NS_PER_S, S_PER_DAY
from rfq_service.market_data.catalogue import RecordedStream, find_recordings
from rfq_service.market_data.events import DepthDiff
from rfq_service.market_data.feeds import MessageStream, Recording
from rfq_service.market_data.ingest import InstrumentIngest
from rfq_service.market_data.simulated import PARAMETERS_PATH, SimulatedStream
from rfq_service.market_data.simulated_market import SimulatedParameters

# only a market whose book is dense in ticks looks like the generator's
MEASURED = {"BINANCE.SPOT.NEXOUSDT": "SIMULATED.SPOT.NEXOUSDT"}
DEPTH_TICKS_MEASURED = 20
SPREAD_TICKS_MAX = 5
IMPACT_HORIZON_S = 10
DEPTH_SAMPLE_EVERY_S = 10
TUNING_ROUNDS = 6
TUNING_LENGTH_S = 86_400.0
TUNING_SEED = 1_000


@dataclass(slots=True)
class MarketSample:
    """What one pass over a stream collected: a one-second grid, the aggressive orders and the book changes."""

    twice_mids: list[int] = field(default_factory=list)
    spreads: Counter[int] = field(default_factory=Counter)
    depth_units: list[list[int]] = field(default_factory=lambda: [[] for _ in range(DEPTH_TICKS_MEASURED)])
    # (second on the grid, sign, units, twice the mid before it)
    orders: list[tuple[int, int, int, int]] = field(default_factory=list)
    change_distances: Counter[int] = field(default_factory=Counter)
    diffs: int = 0
    levels: int = 0

    @property
    def seconds(self) -> int:
        """Length of the grid."""
        return len(self.twice_mids)

    def volatility_ticks_sqrt_s(self, step_s: int = 10) -> float:
        """Root mean square mid move over ``step_s``, per square root of a second, in ticks."""
        mids = np.array(self.twice_mids) / 2.0
        moves = mids[step_s:] - mids[:-step_s]
        return math.sqrt(float(np.mean(moves**2)) / step_s)

    def one_tick_share(self) -> float:
        """Share of time at a spread of one tick."""
        return self.spreads[1] / self.seconds

    def sign_persistence(self) -> float:
        """Share of orders with the sign of the one before."""
        signs = [order[1] for order in self.orders]
        return statistics.fmean(before == after for before, after in itertools.pairwise(signs))

    def impact_ticks(self) -> float:
        """Least-squares slope of the signed mid move after 10 s on the square root of size over median size."""
        median = statistics.median(order[2] for order in self.orders)
        numerator = denominator = 0.0
        for second, sign, units, twice_mid in self.orders:
            later = second + IMPACT_HORIZON_S
            if later < self.seconds:
                root = math.sqrt(units / median)
                numerator += root * sign * (self.twice_mids[later] - twice_mid) / 2.0
                denominator += root * root
        return numerator / denominator


def sample_market(stream: MessageStream) -> MarketSample:
    """One pass over a stream through the ordinary ingest path."""
    sample = MarketSample()
    ingest = stream.new_ingest()
    decoder = stream.new_ingest().decoder
    zero_ns = 0
    order_key: tuple[int, int] | None = None
    for due_ns, raw in stream.messages():
        if ingest.is_usable:
            zero_ns = zero_ns or due_ns
            while zero_ns + sample.seconds * NS_PER_S <= due_ns:
                _sample_second(sample, ingest)
        event = decoder(raw)
        usable_before = ingest.is_usable
        if isinstance(event, DepthDiff) and usable_before:
            _count_changes(sample, ingest, event)
        trades_before = ingest.counts.trades
        ingest.process(raw, due_ns)
        if usable_before and ingest.counts.trades > trades_before:
            order_key = _count_trade(sample, ingest, order_key)
    return sample


def _sample_second(sample: MarketSample, ingest: InstrumentIngest) -> None:
    bid_ticks, _, ask_ticks, _ = ingest.book.touch()
    if sample.seconds % DEPTH_SAMPLE_EVERY_S == 0:
        for best, levels in (
            (bid_ticks, ingest.book.top_bids(DEPTH_TICKS_MEASURED)),
            (ask_ticks, ingest.book.top_asks(DEPTH_TICKS_MEASURED)),
        ):
            for ticks, units in levels:
                if abs(best - ticks) < DEPTH_TICKS_MEASURED:
                    sample.depth_units[abs(best - ticks)].append(units)
    sample.twice_mids.append(bid_ticks + ask_ticks)
    sample.spreads[min(ask_ticks - bid_ticks, SPREAD_TICKS_MAX)] += 1


def _count_changes(sample: MarketSample, ingest: InstrumentIngest, diff: DepthDiff) -> None:
    bid_ticks, _, ask_ticks, _ = ingest.book.touch()
    sample.diffs += 1
    sample.levels += len(diff.bids) + len(diff.asks)
    distances = [bid_ticks - ticks for ticks, _ in diff.bids] + [ticks - ask_ticks for ticks, _ in diff.asks]
    sample.change_distances.update(max(0, distance) for distance in distances if distance < DEPTH_TICKS_MEASURED)


def _count_trade(sample: MarketSample, ingest: InstrumentIngest, last_key: tuple[int, int] | None) -> tuple[int, int]:
    """Fills of one sign in one exchange millisecond are one aggressive order."""
    _, trade = ingest.recent_trades[-1]
    key = (trade.event_ns, trade.aggressor_sign)
    if key == last_key:
        second, sign, units, twice_mid = sample.orders[-1]
        sample.orders[-1] = (second, sign, units + trade.quantity_units, twice_mid)
    else:
        sample.orders.append((sample.seconds, trade.aggressor_sign, trade.quantity_units, sample.twice_mids[-1]))
    return key


def measure_market(recordings: Sequence[Recording]) -> dict[str, Any]:
    """Parameters of the simulated market, with the digests of the files they were measured on.

    Returns:
        ``markets`` (what the generator reads), ``measured`` (targets and what the tuned generator shows) and
        ``sources`` (SHA-256 of each raw file).
    """
    result: dict[str, Any] = {"markets": {}, "measured": {}, "sources": {}}
    for stream in (stream for recording in recordings for stream in recording.streams):
        name = MEASURED.get(stream.instrument.instrument_id)
        if name is None or not isinstance(stream, RecordedStream):
            continue
        sample = sample_market(stream)
        parameters, shown = tune(name, _first_guess(stream, sample), sample)
        result["markets"][name] = msgspec.to_builtins(parameters)
        result["measured"][name] = {"recording": describe(sample), "generator": describe(shown)}
        result["sources"] |= {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in stream.files}
    require(bool(result["markets"]), "the recordings contain the market to measure")
    return result


def describe(sample: MarketSample) -> dict[str, float]:
    """The figures by which a generated market is compared with a recorded one."""
    mean_mid = float(np.mean(sample.twice_mids)) / 2.0
    return {
        "volatility_bps_sqrt_day": sample.volatility_ticks_sqrt_s() / mean_mid * BPS * math.sqrt(S_PER_DAY),
        "volatility_60s_bps_sqrt_day": sample.volatility_ticks_sqrt_s(60) / mean_mid * BPS * math.sqrt(S_PER_DAY),
        "one_tick_share": sample.one_tick_share(),
        "mean_spread_ticks": sum(ticks * count for ticks, count in sample.spreads.items()) / sample.seconds,
        "orders_per_s": len(sample.orders) / sample.seconds,
        "mean_order_units": statistics.fmean(order[2] for order in sample.orders),
        "sign_persistence": sample.sign_persistence(),
        "impact_ticks": sample.impact_ticks(),
        "diffs_per_s": sample.diffs / sample.seconds,
        "touch_units": statistics.fmean(sample.depth_units[0]),
        "five_level_units": sum(statistics.fmean(units) for units in sample.depth_units[:5]),
    }


def _first_guess(stream: RecordedStream, sample: MarketSample) -> SimulatedParameters:
    sizes = [order[2] for order in sample.orders]
    log_mean = statistics.fmean(map(math.log, sizes))
    # the width that gives the measured mean size, and so the measured volume; the tail is fatter than lognormal
    log_sd = math.sqrt(2.0 * (math.log(statistics.fmean(sizes)) - log_mean))
    log_depths = [[math.log(units) for units in level] for level in sample.depth_units]
    return SimulatedParameters(
        tick_size=str(stream.instrument.tick_size),
        lot_size=str(stream.quantity_step),
        start_ticks=sample.twice_mids[0] // 2,
        news_ticks_sqrt_s=_rounded(sample.volatility_ticks_sqrt_s()),
        impact_ticks=_rounded(sample.impact_ticks()),
        order_rate=_rounded(len(sample.orders) / sample.seconds),
        order_log_units_mean=_rounded(log_mean),
        order_log_units_sd=_rounded(log_sd),
        order_units_max=max(sizes),
        sign_persistence=_rounded(sample.sign_persistence()),
        change_rate=_rounded(sample.diffs / sample.seconds - len(sample.orders) / sample.seconds),
        levels_per_change=_rounded(sample.levels / sample.diffs),
        depth_units=tuple(round(statistics.fmean(level), 1) for level in sample.depth_units),
        depth_log_sd=_rounded(statistics.fmean(statistics.stdev(level) for level in log_depths)),
        change_weights=_shares(sample.change_distances[distance] for distance in range(DEPTH_TICKS_MEASURED)),
        refill_probability=0.5,
        pull_probability=0.05,
    )


def tune(name: str, parameters: SimulatedParameters, target: MarketSample) -> tuple[SimulatedParameters, MarketSample]:
    """Move news volatility, impact and refill rate until the generated market resembles the measured one."""
    shown = sample_market(SimulatedStream(name, parameters, TUNING_SEED, TUNING_LENGTH_S))
    for _ in range(TUNING_ROUNDS):
        variance_gap = target.volatility_ticks_sqrt_s() ** 2 - shown.volatility_ticks_sqrt_s() ** 2
        news_variance = max(
            parameters.news_ticks_sqrt_s**2 + variance_gap, 0.05 * target.volatility_ticks_sqrt_s() ** 2
        )
        impact_ratio = min(1.5, max(0.67, target.impact_ticks() / shown.impact_ticks()))
        wide_ratio = (1.0 - shown.one_tick_share()) / (1.0 - target.one_tick_share())
        parameters = msgspec.structs.replace(
            parameters,
            news_ticks_sqrt_s=_rounded(math.sqrt(news_variance)),
            impact_ticks=_rounded(parameters.impact_ticks * impact_ratio),
            refill_probability=_rounded(min(0.95, max(0.05, parameters.refill_probability * wide_ratio))),
        )
        shown = sample_market(SimulatedStream(name, parameters, TUNING_SEED, TUNING_LENGTH_S))
    return parameters, shown


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _shares(counts: Iterable[int]) -> tuple[float, ...]:
    values = list(counts)
    return tuple(round(value / sum(values), 5) for value in values)


def main() -> None:
    """Measure and write the stored parameters; the data folder is the only argument."""
    result = measure_market(find_recordings(Path(sys.argv[1])))
    PARAMETERS_PATH.parent.mkdir(parents=True, exist_ok=True)
    PARAMETERS_PATH.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")


if __name__ == "__main__":
    main()
