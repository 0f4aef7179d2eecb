"""Statistical models: closed forms, labels, calibration and predictors; no HTTP, no SQL."""
