"""From a live market to a prediction: the only place where board figures become predictor requests."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from models.predictors import Prediction, PredictionRequest, Predictor
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.market import MarketSnapshot
from rfq_service.domain.measures import spread_bps, sweep_cost_bps
from rfq_service.domain.units import Side

# Candidate lengths of working a block in the lit market: from a sweep in slices to half an hour. More of them would
# change little, and cost storage and time in every decision.
DURATIONS_S = (10.0, 60.0, 300.0, 1800.0)
_DURATIONS_S = np.array(DURATIONS_S)
_DURATIONS_S.setflags(write=False)
# Markouts are measured up to a minute on the recording; beyond it price noise hides what a request knew.
HORIZON_S = 60.0


@dataclass(frozen=True, slots=True)
class Forecaster:
    """Asks a predictor about one leg at a time."""

    predictor: Predictor

    def predict(
        self, instrument: Instrument, market: MarketSnapshot, quantity: Decimal, side: Side
    ) -> Prediction | None:
        """Impact and information move of trading ``quantity``; ``None`` while the board has not seen enough market.

        ``side`` is the client's in this instrument; it decides which side of the book a sweep takes, and nothing else.
        """
        figures = market.statistics
        volatility, volume = figures.volatility_bps_sqrt_day, figures.volume_per_day_notional
        if not volatility or not volume:
            return None
        return self.predictor.predict(
            PredictionRequest(
                instrument_id=instrument.instrument_id,
                notional=float(instrument.notional(quantity, market.mid)),
                volatility_bps_sqrt_day=volatility,
                volume_per_day_notional=volume,
                depth_notional=figures.depth_notional or 0.0,
                half_spread_bps=spread_bps(market.best_bid, market.best_ask) / 2.0,
                sweep_bps=sweep_cost_bps(side, quantity, market, instrument.contract_type),
                durations_s=_DURATIONS_S,
                horizon_s=HORIZON_S,
            )
        )
