"""Where the recorded market data lie, and what happens to a test when they do not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT_ROOT = Path(__file__).resolve().parents[2]


def recordings_path() -> Path:
    """Folder of the recordings: ``RFQ_DATA``, else ``shared/data`` beside the project. It may not exist."""
    chosen = os.environ.get("RFQ_DATA")
    return Path(chosen) if chosen else PROJECT_ROOT.parent / "shared" / "data"


def require_recordings() -> Path:
    """Folder of the recordings; without it the test is skipped, or fails where ``RFQ_REQUIRE_DATA=1``."""
    path = recordings_path()
    if (path / "nexo_spot_binance" / "raw").is_dir():
        return path
    reason = f"no recorded market data at {path} (RFQ_DATA chooses another folder)"
    if os.environ.get("RFQ_REQUIRE_DATA") == "1":
        pytest.fail(f"{reason}, and RFQ_REQUIRE_DATA=1 forbids to skip")
    pytest.skip(reason)
