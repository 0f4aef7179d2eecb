"""Board and quotes into the scorer, its answer into rows: the shell around ``quote_eval``, without arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import msgspec
import numpy as np

from quote_eval.codec import array_value
from quote_eval.inputs import (
    EvaluationInputs,
    EvaluationParameters,
    LegInputs,
    LegMarket,
    Predictions,
    QuoteInputs,
    RequestInputs,
)
from quote_eval.numerics import Floats
from quote_eval.ranking import evaluate_quotes
from quote_eval.results import EvaluationResult, SideScore, SideSummary
from quote_eval.results import QuoteScore as ScoredQuote
from rfq_service.desk.ports import MarketView
from rfq_service.desk.predictions import Forecaster
from rfq_service.desk.scores import DecisionResult, QuoteScore, WeighedQuote
from rfq_service.domain.history import Decision, Evaluation
from rfq_service.domain.identifiers import DecisionId, EvaluationId, InstrumentId, QuoteId
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.market import MarketSnapshot
from rfq_service.domain.measures import spread_bps
from rfq_service.domain.quote import Quote
from rfq_service.domain.rfq import Leg, Rfq
from rfq_service.domain.units import RequestSide, Side

_result_encoder = msgspec.json.Encoder()
# the same JSON as ``quote_eval.codec.encode_inputs``, made in C
_inputs_encoder = msgspec.json.Encoder(enc_hook=array_value)


@dataclass(frozen=True, slots=True)
class Scoring:
    """One run of the scorer, ready to be stored, with the legs' markets that it saw and how every live quote stood."""

    evaluations: list[Evaluation]
    decision: Decision
    markets: tuple[LegMarket | None, ...]
    weighed: tuple[WeighedQuote, ...]


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores quotes against the live market; the caller stores what it returns."""

    market: MarketView
    forecaster: Forecaster
    instruments: Callable[[], Mapping[InstrumentId, Instrument]]
    new_id: Callable[[int], UUID]
    parameters: EvaluationParameters
    seed: int

    def score(
        self,
        rfq: Rfq,
        active: Sequence[Quote],
        new: Sequence[Quote],
        now_ns: int,
        *,
        number: int = 1,
        pending_dealers: int = 0,
    ) -> Scoring:
        """Score the ``new`` quotes and decide over all ``active`` ones, the new among them.

        ``number`` is the decision's: larger than that of every decision before it.
        A market too old or too little seen is an answer (``stale``, ``unreliable``), not an error.
        """
        inputs = EvaluationInputs(
            request=self._request(rfq, now_ns, pending_dealers),
            quotes=tuple([_quote_inputs(quote) for quote in active]),
            now_ns=now_ns,
            seed=self.seed,
            parameters=self.parameters,
        )
        result = evaluate_quotes(inputs)
        scored = list(zip(active, result.quotes, strict=True))
        weighed = tuple(
            [_weighed(quote.quote_id, side) for quote, score in scored for side in score.sides if side.is_live]
        )
        decision = self._decision(rfq, inputs, result, weighed, number)
        wanted = {quote.quote_id for quote in new}
        fresh = [(quote, score) for quote, score in scored if quote.quote_id in wanted]
        evaluations = self._evaluations(rfq, fresh, decision.decision_id, now_ns)
        return Scoring(evaluations, decision, tuple([leg.market for leg in inputs.request.legs]), weighed)

    def _request(self, rfq: Rfq, now_ns: int, pending_dealers: int) -> RequestInputs:
        terms, instruments = rfq.terms, self.instruments()
        first = terms.legs[0]
        single = len(terms.legs) == 1
        return RequestInputs(
            rfq_id=str(rfq.rfq_id),
            side=terms.side,
            legs=tuple(self._leg(rfq, leg, instruments[leg.instrument_id], now_ns) for leg in terms.legs),
            quantity=rfq.remaining_quantity,
            # a package is not split: its legs' lots need not have a common step
            quantity_step=instruments[first.instrument_id].lot_size if single else rfq.remaining_quantity,
            size_mode=terms.size_mode,
            minimum_quantity=terms.minimum_quantity,
            limit_price=rfq.limit_price,
            price_increment=terms.price_increment,
            expires_at_ns=terms.expires_at_ns,
            pending_dealers=pending_dealers,
        )

    def _leg(self, rfq: Rfq, leg: Leg, instrument: Instrument, now_ns: int) -> LegInputs:
        market = self.market.snapshot(leg.instrument_id)
        predictions: dict[Side, Predictions | None] = {}
        if market is not None:
            quantity = rfq.terms.leg_quantity(leg, rfq.remaining_quantity)
            for package_side in rfq.terms.side.sides:
                side = leg.side if package_side is Side.BUY else leg.side.opposite
                predictions[side] = self._predictions(instrument, market, quantity, side)
        return LegInputs(
            instrument_id=leg.instrument_id,
            contract_type=instrument.contract_type,
            side=leg.side,
            ratio=leg.ratio,
            multiplier=instrument.multiplier,
            market=None if market is None else _leg_market(instrument, market, now_ns),
            buying=predictions.get(Side.BUY),
            selling=predictions.get(Side.SELL),
        )

    def _predictions(
        self, instrument: Instrument, market: MarketSnapshot, quantity: Decimal, side: Side
    ) -> Predictions | None:
        prediction = self.forecaster.predict(instrument, market, quantity, side)
        if prediction is None:
            return None
        return Predictions(
            durations_s=prediction.durations_s,
            permanent_bps=_storable(prediction.permanent_bps),
            temporary_bps=_storable(prediction.temporary_bps),
            information_bps=_storable(prediction.information_bps),
            information_market_sd_bps=prediction.information_market_sd_bps,
            horizon_s=prediction.horizon_s,
            volatility_bps_sqrt_day=prediction.volatility_bps_sqrt_day,
            volume_per_day_notional=prediction.volume_per_day_notional,
            half_spread_bps=prediction.half_spread_bps,
            depth_notional=prediction.depth_notional,
            model=prediction.model,
            is_fallback=prediction.is_fallback,
            artifact_digest=prediction.artifact_digest,
        )

    def _decision(
        self,
        rfq: Rfq,
        inputs: EvaluationInputs,
        result: EvaluationResult,
        weighed: tuple[WeighedQuote, ...],
        number: int,
    ) -> Decision:
        summary = _decided_side(rfq, result)
        action = None if summary is None else summary.recommended
        chosen = None
        if summary is not None:
            chosen = next((item.quote_id for item in summary.actions if item.action is action), None)
        stored = DecisionResult(
            version=result.version,
            evaluated_at_ns=result.evaluated_at_ns,
            action=action,
            reasons=result.reasons,
            weighed=weighed,
            sides=result.sides,
            models=result.models,
        )
        return Decision(
            decision_id=DecisionId(self.new_id(inputs.now_ns)),
            rfq_id=rfq.rfq_id,
            client_firm_id=rfq.client_firm_id,
            number=number,
            decided_at_ns=inputs.now_ns,
            action="none" if action is None else action.value,
            quote_id=None if chosen is None else QuoteId(UUID(chosen)),
            model=", ".join(result.models) or "none",
            is_fallback=any(
                prediction is not None and prediction.is_fallback
                for leg in inputs.request.legs
                for prediction in (leg.buying, leg.selling)
            ),
            inputs_json=_inputs_encoder.encode(inputs).decode(),
            result_json=_result_encoder.encode(stored).decode(),
        )

    def _evaluations(
        self, rfq: Rfq, scored: list[tuple[Quote, ScoredQuote]], decision_id: DecisionId, now_ns: int
    ) -> list[Evaluation]:
        return [
            Evaluation(
                evaluation_id=EvaluationId(self.new_id(now_ns)),
                decision_id=decision_id,
                rfq_id=rfq.rfq_id,
                quote_id=quote.quote_id,
                client_firm_id=rfq.client_firm_id,
                side=side.side,
                verdict=side.verdict.value,
                reasons=tuple([reason.value for reason in side.reasons]),
                cost_micro_bps=side.cost_micro_bps,
                fairness_ppm=side.fairness_ppm,
                excess_micro_bps=side.excess_micro_bps,
                result_json=_result_encoder.encode(
                    QuoteScore(side, score.width_micro_bps, score.skew_micro_bps)
                ).decode(),
            )
            for quote, score in scored
            for side in score.sides
        ]


def _storable(draws: Floats) -> Floats:
    """Draws rounded to float32 before they are used: half the room in every stored decision, and nothing is lost."""
    return draws.astype(np.float32).astype(np.float64)


def _decided_side(rfq: Rfq, result: EvaluationResult) -> SideSummary | None:
    """The side whose recommendation is the RFQ's; a two-way RFQ has one for each side and none for itself."""
    if rfq.terms.side is RequestSide.TWO_WAY or not result.sides:
        return None
    return result.sides[0]


def _weighed(quote_id: QuoteId, side: SideScore) -> WeighedQuote:
    return WeighedQuote(
        quote_id=quote_id,
        side=side.side,
        rank=side.rank,
        verdict=side.verdict,
        cost_micro_bps=side.cost_micro_bps,
        fairness_ppm=side.fairness_ppm,
        excess_micro_bps=side.excess_micro_bps,
        distance_to_best_micro_bps=side.distance_to_best_micro_bps,
        cover_distance_micro_bps=side.cover_distance_micro_bps,
    )


def _quote_inputs(quote: Quote) -> QuoteInputs:
    return QuoteInputs(
        quote_id=str(quote.quote_id),
        dealer=quote.dealer_name,
        bid=None if quote.bid is None else quote.bid.leg_prices,
        ask=None if quote.ask is None else quote.ask.leg_prices,
        quantity=quote.quantity,
        received_at_ns=quote.received_at_ns,
        valid_until_ns=quote.valid_until_ns,
    )


def _leg_market(instrument: Instrument, market: MarketSnapshot, now_ns: int) -> LegMarket:
    return LegMarket(
        mid=market.mid,
        half_spread_bps=spread_bps(market.best_bid, market.best_ask) / 2.0,
        age_ns=market.age_ns(now_ns),
        staleness_limit_ns=instrument.staleness_limit_ns,
        imbalance=market.statistics.imbalance or 0.0,
        taker_fee_bps=float(instrument.taker_fee_bps),
    )
