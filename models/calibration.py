"""Calibrates the closed forms on the recordings and writes the artifact that the service serves by default.

``python -m models.calibration --data DIR --out DIR``. The same data and seed give the same file. Training only: the
server never imports this module.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import baselines
from models.artifacts.bundle import Bundle, save_bundle
from models.artifacts.manifest import (
    AlmgrenParameters,
    AmplitudeSpread,
    Calibration,
    ClosedFormArtifact,
    Draws,
    Estimate,
    MarkoutParameters,
    MicropriceReport,
    OutOfSampleRow,
    Report,
    SquareRootParameters,
    TransferRow,
)
from models.calibration_report import (
    BLOCK_S,
    FIT_SHARE,
    HORIZONS_S,
    REPLICATIONS,
    SEED,
    fit_recording,
    markout_rows,
    markout_sample,
    out_of_sample_rows,
    stored,
    transfer_rows,
)
from models.markout_fit import MarkoutFit
from models.metaorders import prefactors_by_traders
from models.microprice import fit_microprice_weight
from models.model_card import MODEL_CARD
from models.recordings import MAJORS, NEXO, Recording, file_digests, load_recording

Floats = NDArray[np.float64]
Progress = Callable[[str], None]

CODE_VERSION = "1"
SPREAD_HORIZON_MAX_S = 60.0
TRADERS = (2, 5, 10, 20, 50)
ASSIGNMENTS = 20
# Every decision stores its draws. With 128 the 5 %, 50 % and 95 % quantiles of permanent impact and information differ
# from those of 1,024 by at most 8 % of the range between them, and the means by 3 %.
DRAWS = 128


def calibrate(data_dir: Path, out_dir: Path, progress: Progress = print) -> Bundle:
    """Measure everything on the recordings below ``data_dir`` and write ``closed_forms.json`` into ``out_dir``.

    Args:
        data_dir: folder of the developer data set.
        out_dir: where the artifact and its digest go.
        progress: told one line per step.
    """
    progress("reading the NEXOUSDT recording")
    nexo = load_recording(data_dir, NEXO)
    sample = markout_sample(nexo)
    progress("measuring markouts by order size")
    markouts = markout_rows(nexo, sample)
    progress(f"fitting on the first {FIT_SHARE:.0%}, judging on the rest")
    early_curve, out_of_sample = out_of_sample_rows(nexo, sample)
    progress("fitting on the whole recording")
    fit = fit_recording(sample, nexo)
    progress("transferring to six instruments that were not fitted")
    transfer = transfer_rows(data_dir, fit.curve, nexo)
    progress("rebuilding metaorders for the square-root law")
    square_root, prefactors = _square_root(nexo)
    progress("fitting the microprice weight")
    microprice = _microprice(nexo)
    artifact = ClosedFormArtifact(
        name="closed_forms",
        version="1",
        almgren=_almgren(),
        square_root=square_root,
        markout=_markout_parameters(fit),
        amplitude_spread=_amplitude_spread(out_of_sample, transfer),
        microprice=microprice,
        draws=Draws(count=DRAWS, seed=SEED, method="Latin hypercube of normal quantiles, one for each half"),
        calibration=_calibration(nexo, file_digests(data_dir, (NEXO, *MAJORS))),
        report=Report(
            markouts=markouts,
            out_of_sample=out_of_sample,
            out_of_sample_curve=early_curve,
            transfer=transfer,
            square_root_prefactors=prefactors,
        ),
        model_card=MODEL_CARD,
    )
    bundle = save_bundle(artifact, out_dir / "closed_forms.json")
    progress(f"wrote {out_dir / 'closed_forms.json'}, SHA-256 {bundle.digest}")
    return bundle


def _square_root(recording: Recording) -> tuple[SquareRootParameters, dict[str, float]]:
    by_traders = prefactors_by_traders(
        recording.orders,
        recording.book,
        recording.volatility_bps_sqrt_day,
        recording.volume_per_day_notional,
        baselines.SQUARE_ROOT_EXPONENT,
        TRADERS,
        ASSIGNMENTS,
        SEED,
    )
    means = {count: float(values.mean()) for count, values in by_traders.items()}
    log_means = np.log(list(means.values()))
    # Two sources: the assignment of orders to traders, and the number of traders, which nothing on the tape tells.
    within = float(np.mean([values.std(ddof=1) / values.mean() for values in by_traders.values()]))
    error = math.hypot(within, float(np.std(log_means, ddof=1)))
    parameters = SquareRootParameters(
        log_prefactor=Estimate(
            value=stored(float(log_means.mean())),
            standard_error=stored(error),
            source="synthetic metaorders on the NEXOUSDT tape; the spread between instruments comes on top",
        ),
        exponent=Estimate(
            value=baselines.SQUARE_ROOT_EXPONENT,
            standard_error=baselines.SQUARE_ROOT_EXPONENT_ERROR,
            source="Sato and Kanazawa 2024",
        ),
    )
    return parameters, {f"{count} traders": stored(value) for count, value in means.items()}


def _microprice(recording: Recording) -> MicropriceReport:
    fit = fit_microprice_weight(recording.book, recording.imbalance_path, recording.half_spread_path_bps, FIT_SHARE)
    return MicropriceReport(
        weight=Estimate(
            value=stored(fit.weight),
            standard_error=stored(fit.standard_error),
            source="NEXOUSDT, mid move over 10 s on imbalance × half-spread, first 60 % of the recording",
        ),
        gain_on_mid_percent=stored(fit.gain_on_mid_percent),
        gain_of_unit_weight_percent=stored(fit.gain_of_unit_weight_percent),
        samples=fit.samples,
    )


def _amplitude_spread(later: tuple[OutOfSampleRow, ...], transfer: tuple[TransferRow, ...]) -> AmplitudeSpread:
    # At the longest horizon noise swamps the slope, so that it says nothing of the amplitude.
    own = np.log([row.calibration_slope for row in later if row.horizon_s <= SPREAD_HORIZON_MAX_S])
    other = np.log([row.slope_volatility_volume for row in transfer])
    return AmplitudeSpread(
        calibrated_instruments=(NEXO.instrument_id,),
        other_period_log_sd=stored(float(np.sqrt(np.mean(own**2)))),
        other_instrument_log_sd=stored(float(np.sqrt(np.mean(other**2)))),
    )


def _markout_parameters(fit: MarkoutFit) -> MarkoutParameters:
    first, second, third = (tuple(stored(float(value)) for value in row) for row in fit.covariance)
    return MarkoutParameters(
        log_amplitude=stored(fit.curve.log_amplitude),
        size_exponent=fit.curve.size_exponent,
        horizon_exponent=fit.curve.horizon_exponent,
        covariance=((first[0], first[1], first[2]), (second[0], second[1], second[2]), (third[0], third[1], third[2])),
        pivot_size_ratio=fit.curve.pivot_size_ratio,
        pivot_horizon_s=fit.curve.pivot_horizon_s,
        horizon_min_s=min(HORIZONS_S),
        horizon_max_s=max(HORIZONS_S),
    )


def _almgren() -> AlmgrenParameters:
    paper = "Almgren, Thum, Hauptmann, Li 2005"
    return AlmgrenParameters(
        gamma=Estimate(value=baselines.ALMGREN_GAMMA, standard_error=baselines.ALMGREN_GAMMA_ERROR, source=paper),
        eta=Estimate(value=baselines.ALMGREN_ETA, standard_error=baselines.ALMGREN_ETA_ERROR, source=paper),
        beta=Estimate(value=baselines.ALMGREN_BETA, standard_error=baselines.ALMGREN_BETA_ERROR, source=paper),
        pivot_participation=0.1,
        log_turnover_ratio=Estimate(
            value=stored(math.log(263.0)),
            standard_error=stored(math.log(4.0)),
            source="assumed: the paper's IBM, a factor 4 either way (1.4 in impact); not known for crypto",
        ),
    )


def _calibration(recording: Recording, digests: dict[str, str]) -> Calibration:
    return Calibration(
        code_version=CODE_VERSION,
        data_sha256=digests,
        orders=len(recording.orders),
        volatility_bps_sqrt_day=stored(recording.volatility_bps_sqrt_day),
        volume_per_day_notional=stored(recording.volume_per_day_notional),
        depth_notional=stored(recording.depth_notional),
        half_spread_bps=stored(recording.half_spread_bps),
        bootstrap_block_s=BLOCK_S,
        bootstrap_replications=REPLICATIONS,
    )


def main() -> None:
    """Command line: calibrate and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the developer data set")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the artifact into")
    arguments = parser.parse_args()
    calibrate(arguments.data, arguments.out)


if __name__ == "__main__":
    main()
