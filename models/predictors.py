"""Predictors: one request's numbers in, draws of impact and information move out.

The laws are symmetric in the client's side: every figure is a cost, or a move against the counterparty, on his side.
Only the book that he would take is not, and it comes with the request.
"""

from __future__ import annotations

import math
import operator
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.artifacts.bundle import DEFAULT_ARTIFACT, REMEDY, ArtifactError, Bundle, load_bundle
from models.artifacts.manifest import ClosedFormArtifact
from models.baselines import FAIR_PRICING_SHARE
from models.quasi_random import standard_normal_draws
from rfq_service.domain.errors import InvariantError, require
from rfq_service.domain.units import S_PER_DAY

Floats = NDArray[np.float64]
_DIMENSIONS = 10


class PredictionRequest(msgspec.Struct, frozen=True, gc=False):
    """What a predictor needs to know of one leg. All figures are known floats.

    Where the board has not yet measured a statistic (``None``) there is no request to make: the caller answers
    ``INSUFFICIENT_STATISTICS`` itself. Likewise where it has seen no volume or no movement at all (zero).

    Attributes:
        notional: order size, quote currency (USD for inverse contracts), ≥ 0.
        volatility_bps_sqrt_day: mid volatility, bps per square root of a day, > 0.
        volume_per_day_notional: traded notional per day, > 0.
        depth_notional: resting notional per side over five levels, ≥ 0; recorded, no closed form uses it.
        half_spread_bps: half the spread, bps of mid, ≥ 0.
        sweep_bps: what taking the whole size off the book at once costs beyond the half-spread, bps of mid, ≥ 0
            (``rfq_service.domain.measures.sweep_cost_bps``); infinite where no book is in sight.
        durations_s: (K,) candidate lengths of working the order, seconds, ascending, > 0.
        horizon_s: horizon of the information move, seconds, > 0.
        instrument_id: ``VENUE.KIND.SYMBOL``; any but a calibrated one gets the wider uncertainty of a transferred fit.
    """

    notional: float
    volatility_bps_sqrt_day: float
    volume_per_day_notional: float
    depth_notional: float
    half_spread_bps: float
    sweep_bps: float
    durations_s: Floats
    horizon_s: float
    instrument_id: str = ""


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """M draws over parameter uncertainty, K durations; one index is one set of parameters in every array.

    Attributes:
        durations_s: (K,) as requested.
        permanent_bps: (M,) permanent impact I of the whole size, whatever the duration.
        temporary_bps: (K, M) temporary cost of working the size, realised cost less I/2, at most that of a sweep.
        information_bps: (M,) expected total signed move after the request, own permanent impact included.
        information_market_sd_bps: price noise over the horizon; market uncertainty, in none of the draws.
        horizon_s, notional, volatility_bps_sqrt_day, volume_per_day_notional, half_spread_bps, depth_notional: used.
        model: name and version.
        is_fallback: true for closed forms, which stand in where no learned model answers.
        artifact_digest: SHA-256 of the artifact, hex.
    """

    durations_s: Floats
    permanent_bps: Floats
    temporary_bps: Floats
    information_bps: Floats
    information_market_sd_bps: float
    horizon_s: float
    notional: float
    volatility_bps_sqrt_day: float
    volume_per_day_notional: float
    half_spread_bps: float
    depth_notional: float
    model: str
    is_fallback: bool
    artifact_digest: str


class _Unexplained(msgspec.Struct, frozen=True, gc=False):
    """Draws of two logarithms, with what the laws leave unexplained of an instrument in them.

    Attributes:
        prefactor: (M/2,) of the square-root law.
        amplitude: (M,) of the markout curve.
    """

    prefactor: Floats
    amplitude: Floats


class Predictor(Protocol):
    """Anything that answers a prediction request."""

    def predict(self, request: PredictionRequest) -> Prediction:
        """Return the prediction for one leg."""
        ...


class ClosedFormPredictor:
    """Almgren 2005 and the square-root law as one distribution, with the measured markout curve.

    Which law holds is itself a parameter that we do not know: the first half of the draws follows Almgren et al. 2005
    (linear permanent impact, temporary impact by participation), the second half the square-root law (impact whatever
    the duration, 2/3 of the peak stays). All parameters of both are drawn once, here.

    Neither law knows the book, and at more than the whole market's volume Almgren's is an extrapolation. So the
    temporary cost of every duration is capped by ``sweep_bps``: nobody pays more for working an order than for taking
    the book at once. Only the temporary part is: the book refills about a mid that the order has moved, and how far is
    the permanent impact, which no visible book tells. Limits of the cap: a sweep's price is all told, so realised
    cost ``I/2 + temporary`` still exceeds that of a sweep by up to I/2; and it is the book of one moment, whose orders
    may be withdrawn, whose hidden ones are not seen, and which is extrapolated beyond the visible levels.
    """

    def __init__(self, bundle: Bundle) -> None:
        artifact = bundle.artifact
        self.artifact = artifact
        self.microprice_weight = artifact.microprice.weight.value
        self._model = f"{artifact.name} {artifact.version}"
        self._digest = bundle.digest
        require(artifact.draws.count >= 2 and artifact.draws.count % 2 == 0, "both impact laws get as many draws")
        half = artifact.draws.count // 2
        # Stratified half by half, so that the parameters of either law are spread as evenly as all draws together.
        parts = [standard_normal_draws(half, _DIMENSIONS, artifact.draws.seed + part) for part in range(2)]
        normal = np.concatenate(parts)
        self._set_almgren(normal[:half], artifact)
        self._set_square_root(normal[half:], artifact)
        self._set_markout(normal, artifact)

    @classmethod
    def load(cls, path: Path = DEFAULT_ARTIFACT) -> ClosedFormPredictor:
        """Load and verify an artifact.

        Raises:
            ArtifactError: if it is missing, altered, of another schema, or of parameters that cannot be drawn from.
        """
        bundle = load_bundle(path)
        try:
            return cls(bundle)
        except (InvariantError, np.linalg.LinAlgError) as error:
            raise ArtifactError(f"artifact {path.name} cannot be served ({error}); {REMEDY}") from error

    def _set_almgren(self, normal: Floats, artifact: ClosedFormArtifact) -> None:
        law = artifact.almgren
        gamma = law.gamma.value + law.gamma.standard_error * normal[:, 0]
        eta = law.eta.value + law.eta.standard_error * normal[:, 1]
        self._beta = law.beta.value + law.beta.standard_error * normal[:, 2]
        log_turnover = law.log_turnover_ratio.value + law.log_turnover_ratio.standard_error * normal[:, 3]
        self._permanent_slope = gamma * np.exp(0.25 * log_turnover)
        # ησ·p^β with uncertain β turns about the pivot, where the published error of η is meant to hold.
        pivot = math.log(law.pivot_participation)
        self._log_temporary = np.log(eta) + (law.beta.value - self._beta) * pivot

    def _set_square_root(self, normal: Floats, artifact: ClosedFormArtifact) -> None:
        law = artifact.square_root
        self._log_prefactor = law.log_prefactor.value + law.log_prefactor.standard_error * normal[:, 4]
        self._exponent = law.exponent.value + law.exponent.standard_error * normal[:, 5]

    def _set_markout(self, normal: Floats, artifact: ClosedFormArtifact) -> None:
        curve = artifact.markout
        factor = np.linalg.cholesky(np.array(curve.covariance))
        shift = normal[:, 6:9] @ factor.T
        # The exponents stay in their admissible ranges, which a normal approximation may leave in its tails.
        self._size_exponent = np.clip(curve.size_exponent + shift[:, 1], 0.2, 1.0)
        self._horizon_exponent = np.clip(curve.horizon_exponent + shift[:, 2], -0.5, 0.5)
        amplitude, spread, half = curve.log_amplitude + shift[:, 0], artifact.amplitude_spread, len(self._log_prefactor)

        def unexplained(log_sd: float) -> _Unexplained:
            rest = log_sd * normal[:, 9]
            return _Unexplained(self._log_prefactor + rest[half:], amplitude + rest)

        self._other_instrument = unexplained(spread.other_instrument_log_sd)
        self._other_period = unexplained(spread.other_period_log_sd)
        self._calibrated = frozenset(spread.calibrated_instruments)

    def predict(self, request: PredictionRequest) -> Prediction:
        """Return draws for one leg; pure, a few tens of microseconds.

        Raises:
            InvariantError: if a figure of the request is outside the ranges that ``PredictionRequest`` states.
        """
        _check(request)
        sigma = request.volatility_bps_sqrt_day
        size_ratio = request.notional / request.volume_per_day_notional
        half = len(self._beta)
        permanent = np.zeros(2 * half)
        temporary = np.zeros((len(request.durations_s), 2 * half))
        information = np.zeros(2 * half)
        if size_ratio > 0.0:
            log_size = math.log(size_ratio)
            is_calibrated = request.instrument_id in self._calibrated
            unexplained = self._other_period if is_calibrated else self._other_instrument
            log_participation = log_size - np.log(request.durations_s / S_PER_DAY)
            permanent[:half] = (sigma * size_ratio) * self._permanent_slope
            temporary[:, :half] = sigma * np.exp(log_participation[:, None] * self._beta + self._log_temporary)
            stays = (FAIR_PRICING_SHARE * sigma) * np.exp(unexplained.prefactor + log_size * self._exponent)
            permanent[half:] = stays
            temporary[:, half:] = 0.5 * stays
            np.minimum(temporary, request.sweep_bps, out=temporary)
            information = self._information_bps(sigma, log_size, request.horizon_s, unexplained.amplitude)
        return Prediction(
            durations_s=request.durations_s,
            permanent_bps=permanent,
            temporary_bps=temporary,
            information_bps=information,
            information_market_sd_bps=sigma * math.sqrt(request.horizon_s / S_PER_DAY),
            horizon_s=request.horizon_s,
            notional=request.notional,
            volatility_bps_sqrt_day=sigma,
            volume_per_day_notional=request.volume_per_day_notional,
            half_spread_bps=request.half_spread_bps,
            depth_notional=request.depth_notional,
            model=self._model,
            is_fallback=True,
            artifact_digest=self._digest,
        )

    def _information_bps(self, sigma: float, log_size: float, horizon_s: float, amplitude: Floats) -> Floats:
        curve = self.artifact.markout
        horizon = min(max(horizon_s, curve.horizon_min_s), curve.horizon_max_s)
        relative_size = log_size - math.log(curve.pivot_size_ratio)
        relative_horizon = math.log(horizon / curve.pivot_horizon_s)
        growth = self._size_exponent * relative_size + self._horizon_exponent * relative_horizon
        return np.asarray(sigma * np.exp(amplitude + growth), np.float64)


def _check(request: PredictionRequest) -> None:
    for positive in (request.volatility_bps_sqrt_day, request.volume_per_day_notional, request.horizon_s):
        require(0.0 < positive < math.inf, "volatility, volume and horizon are positive and finite")
    for not_negative in (request.notional, request.depth_notional, request.half_spread_bps):
        require(0.0 <= not_negative < math.inf, "size, depth and spread are finite, not negative")
    require(request.sweep_bps >= 0.0, "the cost of a sweep is not negative")
    require(request.durations_s.ndim == 1 and len(request.durations_s) > 0, "there is at least one duration")
    bounds = [0.0, *request.durations_s.tolist(), math.inf]
    require(all(map(operator.lt, bounds, bounds[1:])), "durations ascend from above 0")
