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
        (("upgrade",), "0002"),
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
    key = issued_by(made)
    [row] = query(database_dsn, "SELECT id, digest, label, role, revoked_at_ns FROM api_key")
    assert (str(row["id"]), bytes(row["digest"])) == (key["client_id"], digest_of(key["client_secret"]))
    assert (row["label"], row["role"], row["revoked_at_ns"]) == ("desk 4", "dealer", None)
    rotated = issued_by(rfq(database_dsn, "key", "rotate", key["client_id"], "--overlap-s", "0"))
    assert rfq(database_dsn, "key", "rotate", key["client_id"]).returncode == 1
    assert rfq(database_dsn, "key", "revoke", rotated["client_id"]).returncode == 0
    assert rfq(database_dsn, "key", "revoke", rotated["client_id"]).returncode == 1
    assert rfq(database_dsn, "key", "revoke", "x").returncode == 1
    assert rfq(database_dsn, "key", "add", "Nobody").returncode == 1
    buying = ("key", "add", "Alder", "--role", "buy_side", "--scope", "rfq:read", "--life-s", "60")
    narrow = issued_by(rfq(database_dsn, *buying))
    listed = rfq(database_dsn, "key", "list", "Alder").stdout
    lines = {line.split()[0]: line for line in listed.splitlines()}
    assert set(lines) == {key["client_id"], rotated["client_id"], narrow["client_id"]}
    assert "usable  buy_side  Alder  [rfq:read]" in lines[narrow["client_id"]]
    assert all("ended  dealer" in lines[one["client_id"]] for one in (key, rotated))
    everything = str(query(database_dsn, "SELECT * FROM event")) + listed
    assert all(one["client_secret"] not in everything for one in (key, rotated, narrow))
    events = query(database_dsn, "SELECT kind, payload_json->>'by' AS by FROM event ORDER BY id")
    kinds = ["firm.added", "key.added", "key.rotated", "key.revoked", "key.added"]
    assert [(row["kind"], row["by"]) for row in events] == [(kind, "command line") for kind in kinds]


def issued_by(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What a command that makes a key prints: a line for the id and one for the secret, fit for a shell's eval."""
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_grants_and_signing_keys(database_dsn: str) -> None:
    for firm in ("Alder", "Auditor"):
        assert rfq(database_dsn, "firm", "add", firm).returncode == 0
    one = rfq(database_dsn, "grant", "add", "Auditor", "Alder").stdout.strip()
    all_of_them = rfq(database_dsn, "grant", "add", "Auditor", "--every-firm").stdout.strip()
    assert "already" in rfq(database_dsn, "grant", "add", "Auditor", "Alder").stderr
    assert rfq(database_dsn, "grant", "add", "Auditor").returncode == 2
    assert rfq(database_dsn, "grant", "revoke", all_of_them).returncode == 0
    assert rfq(database_dsn, "grant", "revoke", all_of_them).returncode == 1
    listed = rfq(database_dsn, "grant", "list").stdout
    assert f"{one}  live  Auditor reads Alder" in listed
    assert f"{all_of_them}  ended  Auditor reads every firm" in listed
    for _ in range(2):
        assert rfq(database_dsn, "token-key", "rotate").returncode == 0
    keys = query(database_dsn, "SELECT private_key, retired_at_ns FROM token_key ORDER BY id")
    assert [(key["private_key"] is None, key["retired_at_ns"] is None) for key in keys] == [
        (True, False),
        (False, True),
    ]
    refused = rfq(database_dsn, "token-key", "rotate", RFQ_AUTH_TOKEN_KEY_FILE="/no/such.pem")
    assert (refused.returncode, "no/such.pem" in refused.stderr, refused.stderr.count("\n")) == (1, True, 1)


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
