"""The commands of ``rfq`` on a real database, as an operator types them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import asyncpg
import pytest

from rfq_service.db.embedded import EmbeddedPostgres
from rfq_service.desk.keys import digest_of


def rfq(dsn: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RFQ_")}
    return subprocess.run(
        [sys.executable, "-m", "rfq_service", *arguments],
        env={**kept, "RFQ_DATABASE_URL": dsn, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def query(dsn: str, statement: str) -> list[asyncpg.Record]:
    import asyncio

    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(dsn)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement)
            return rows
        finally:
            await connection.close()

    with asyncio.Runner() as runner:
        return runner.run(run())


def test_schema_goes_up_down_and_up(empty_database_dsn: str) -> None:
    for arguments, revision in (
        (("upgrade",), "0001"),
        (("downgrade", "base"), "base"),
        (("upgrade", "0001"), "0001"),
    ):
        done = rfq(empty_database_dsn, "db", *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"schema is at {revision}")


def test_firms_and_keys(database_dsn: str) -> None:
    assert rfq(database_dsn, "firm", "add", "Alder", "--dealer").returncode == 0
    again = rfq(database_dsn, "firm", "add", "Alder")
    assert (again.returncode, "already" in again.stderr) == (1, True)
    assert "Alder  dealer" in rfq(database_dsn, "firm", "list").stdout
    made = rfq(database_dsn, "key", "add", "Alder", "--label", "desk 4")
    key = made.stdout.strip()
    [row] = query(database_dsn, "SELECT id, digest, label, revoked_at_ns FROM api_key")
    assert (bytes(row["digest"]), row["label"], row["revoked_at_ns"]) == (digest_of(key), "desk 4", None)
    assert key not in str(query(database_dsn, "SELECT * FROM event"))
    assert rfq(database_dsn, "key", "revoke", str(row["id"])).returncode == 0
    assert query(database_dsn, "SELECT revoked_at_ns FROM api_key")[0]["revoked_at_ns"] > 0
    assert rfq(database_dsn, "key", "revoke", str(row["id"])).returncode == 1
    assert rfq(database_dsn, "key", "add", "Nobody").returncode == 1
    kinds = [row["kind"] for row in query(database_dsn, "SELECT kind FROM event ORDER BY id")]
    assert kinds == ["firm.added", "key.added", "key.revoked"]


def test_what_the_database_refuses_is_said_in_one_line(database_dsn: str) -> None:
    assert rfq(database_dsn, "firm", "add", "Alder").returncode == 0
    for done, reason in (
        (rfq(database_dsn, "key", "add", "Alder", "--label", "x" * 101), "printable"),
        (rfq(database_dsn, "db", "upgrade", "9999"), "9999"),
        (rfq(database_dsn, "db", "downgrade", "9999"), "9999"),
        (rfq(f"{database_dsn}_that_is_not_there", "firm", "list"), "does not exist"),
    ):
        assert done.returncode == 1
        assert reason in done.stderr
        assert done.stderr.startswith("rfq: ")
        assert done.stderr.count("\n") == 1


def test_instruments_from_a_file(database_dsn: str, tmp_path: Path) -> None:
    instrument = {
        "instrument_id": "DESK.FUTURE.XYZ",
        "venue": "DESK",
        "symbol": "XYZ",
        "kind": "dated_future",
        "contract_type": "linear",
        "base_currency": "XYZ",
        "quote_currency": "EUR",
        "settlement_currency": "EUR",
        "tick_size": "0.05",
        "lot_size": "1",
        "multiplier": "10",
        "quantity_min": "1",
        "quantity_max": "5000",
        "staleness_limit_ns": 5_000_000_000,
        "taker_fee_bps": "0.5",
        "expires_at_ns": 1_900_000_000_000_000_000,
    }
    file = tmp_path / "instruments.json"
    file.write_text(json.dumps([instrument]), encoding="utf-8")
    assert rfq(database_dsn, "instrument", "add", str(file)).returncode == 0
    [row] = query(database_dsn, "SELECT id, tick_size::text FROM instrument")
    assert (row["id"], row["tick_size"]) == ("DESK.FUTURE.XYZ", "0.05")
    file.write_text(json.dumps({**instrument, "tick_size": "0"}), encoding="utf-8")
    refused = rfq(database_dsn, "instrument", "add", str(file))
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)


def test_wrong_setting_is_named_at_start(database_dsn: str) -> None:
    for settings, named in (
        ({"RFQ_HTTP_PORT": "http"}, "RFQ_HTTP_PORT"),
        ({"RFQ_TYPO": "1"}, "RFQ_TYPO"),
        ({"RFQ_MARKET_SOURCE": "/no/such"}, "/no/such"),
    ):
        done = rfq(database_dsn, "serve", **settings)
        assert done.returncode in (1, 2)
        assert named in done.stderr
        assert "Traceback" not in done.stderr


def test_every_setting_is_listed(database_dsn: str) -> None:
    listed = rfq(database_dsn, "settings").stdout
    for variable in ("RFQ_HTTP_PORT", "RFQ_DATABASE_URL", "RFQ_MARKET_SPEED", "RFQ_TELEMETRY_OTLP_ENDPOINT"):
        assert variable in listed


def test_ingest_stores_minute_bars_and_may_be_repeated(database_dsn: str) -> None:
    for _ in range(2):
        done = rfq(database_dsn, "ingest", "simulated")
        assert done.returncode == 0, done.stderr
    [row] = query(
        database_dsn,
        "SELECT count(*) AS bars, bool_and(low_mid <= close_mid AND close_mid <= high_mid) AS sane FROM market_bar",
    )
    assert row["bars"] in range(115, 125)
    assert row["sane"]


@pytest.mark.slow
def test_replay_finds_no_break_in_any_recording(database_dsn: str, recordings: Path) -> None:
    done = rfq(database_dsn, "replay", str(recordings))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no sequence breaks" in done.stdout
    assert "BINANCE.USDM.BTCUSDT" in done.stdout


def test_a_second_service_does_not_lean_on_the_first_ones_database() -> None:
    folder = Path(tempfile.mkdtemp(prefix="rfq-own-"))
    folder.chmod(0o755)
    settings = {"RFQ_DATABASE_DATA_DIR": str(folder), "RFQ_MARKET_SOURCE": "simulated", "RFQ_HTTP_PORT": "0"}
    try:
        with EmbeddedPostgres(folder / "postgres"):
            refused = rfq("", "serve", **settings)
            assert refused.returncode == 1
            assert "another process runs the embedded PostgreSQL" in refused.stderr
            # a short command may join it
            assert rfq("", "firm", "list", **settings).returncode == 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)
