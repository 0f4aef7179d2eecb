"""Recorded books and trades from the developer data set (parquet). Calibration only: the server never imports this."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.labels import AggressiveOrders, BookPath, aggressive_orders, time_weighted_mean, volatility_bps_sqrt_day
from rfq_service.domain.units import BPS

Floats = NDArray[np.float64]
_DEPTH_LEVELS = 5


@dataclass(frozen=True, slots=True)
class Source:
    """Instrument id, where its recording lies below the data folder, and the contract value in USD if inverse."""

    instrument_id: str
    folder: str
    contract_usd: float | None = None

    @property
    def files(self) -> tuple[str, str]:
        """Book and trade file, relative to the data folder."""
        return f"{self.folder}/book20.parquet", f"{self.folder}/trades.parquet"


NEXO = Source("BINANCE.SPOT.NEXOUSDT", "nexo_spot_binance")
MAJORS = (
    Source("BINANCE.SPOT.BTCUSDT", "majors_binance_20240808/spot_btcusdt"),
    Source("BINANCE.SPOT.ETHUSDT", "majors_binance_20240808/spot_ethusdt"),
    Source("BINANCE.USDM.BTCUSDT", "majors_binance_20240808/usdm_btcusdt"),
    Source("BINANCE.USDM.ETHUSDT", "majors_binance_20240808/usdm_ethusdt"),
    Source("BINANCE.COINM.BTCUSD_PERP", "majors_binance_20240808/coinm_btcusd_perp", 100.0),
    Source("BINANCE.COINM.ETHUSD_PERP", "majors_binance_20240808/coinm_ethusd_perp", 10.0),
)


@dataclass(frozen=True, slots=True)
class Recording:
    """One instrument's recording and its scales, in the units that the board uses."""

    instrument_id: str
    book: BookPath
    orders: AggressiveOrders
    half_spread_path_bps: Floats
    imbalance_path: Floats
    volatility_bps_sqrt_day: float
    volume_per_day_notional: float
    depth_notional: float
    half_spread_bps: float


def load_recording(data_dir: Path, source: Source) -> Recording:
    """Read one recording; the few trades before its first book are left out."""
    book_file, trade_file = source.files
    frame = pl.read_parquet(data_dir / book_file)
    # Futures carry the matching engine's time, which is the one that trades are stamped with.
    time_ms = frame["ts_match_ms" if "ts_match_ms" in frame.columns else "ts_event_ms"].to_numpy()
    bid, ask = frame["bid_px_0"].to_numpy(), frame["ask_px_0"].to_numpy()
    bid_quantity, ask_quantity = frame["bid_qty_0"].to_numpy(), frame["ask_qty_0"].to_numpy()
    book = BookPath(time_ms, (bid + ask) / 2.0)
    orders = _orders(data_dir / trade_file, source.contract_usd).after(int(time_ms[0]))
    half_spread = (ask - bid) / (ask + bid) * BPS
    days = (time_ms[-1] - time_ms[0]) / 86_400_000.0
    return Recording(
        instrument_id=source.instrument_id,
        book=book,
        orders=orders,
        half_spread_path_bps=half_spread,
        imbalance_path=(bid_quantity - ask_quantity) / (bid_quantity + ask_quantity),
        volatility_bps_sqrt_day=volatility_bps_sqrt_day(book),
        volume_per_day_notional=float(orders.notional.sum() / days),
        depth_notional=time_weighted_mean(time_ms, _depth(frame, source.contract_usd)),
        half_spread_bps=time_weighted_mean(time_ms, half_spread),
    )


def _orders(path: Path, contract_usd: float | None) -> AggressiveOrders:
    trades = pl.read_parquet(path)
    price, quantity = trades["price"].to_numpy(), trades["qty"].to_numpy()
    notional = price * quantity if contract_usd is None else quantity * contract_usd
    return aggressive_orders(
        trades["ts_trade_ms"].to_numpy(), trades["aggressor"].to_numpy().astype(np.float64), price, notional
    )


def _depth(frame: pl.DataFrame, contract_usd: float | None) -> Floats:
    total = np.zeros(len(frame))
    for level in range(_DEPTH_LEVELS):
        for side in ("bid", "ask"):
            quantity = frame[f"{side}_qty_{level}"].to_numpy()
            total += quantity * (frame[f"{side}_px_{level}"].to_numpy() if contract_usd is None else contract_usd)
    return total / 2.0


def file_digests(data_dir: Path, sources: tuple[Source, ...]) -> dict[str, str]:
    """SHA-256 of every file used, by path relative to the data folder."""
    names = sorted(name for source in sources for name in source.files)
    return {name: hashlib.sha256((data_dir / name).read_bytes()).hexdigest() for name in names}
