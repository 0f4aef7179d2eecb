from __future__ import annotations

import pytest

from tests.support.data import require_recordings


def test_chosen_folder_is_taken(tmp_path, monkeypatch):
    (tmp_path / "nexo_spot_binance" / "raw").mkdir(parents=True)
    monkeypatch.setenv("RFQ_DATA", str(tmp_path))
    assert require_recordings() == tmp_path


def test_without_recordings_a_test_is_skipped_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("RFQ_DATA", str(tmp_path))
    monkeypatch.delenv("RFQ_REQUIRE_DATA", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"no recorded market data at {tmp_path}"):
        require_recordings()


def test_where_recordings_are_required_a_test_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("RFQ_DATA", str(tmp_path))
    monkeypatch.setenv("RFQ_REQUIRE_DATA", "1")
    with pytest.raises(pytest.fail.Exception, match="forbids to skip"):
        require_recordings()
