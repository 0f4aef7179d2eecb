"""What is promised when things break: the service killed, the database gone, the market stale."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rfq_service.db import migrate
from rfq_service.db.embedded import EmbeddedPostgres
from tests.end_to_end.parties import CLIENT, DEALERS, Parties, serving
from tests.support.processes import wait_until_ready


@pytest.fixture
def folder() -> Iterator[Path]:
    # not pytest's folder, which the unprivileged user of the embedded server cannot enter
    path = Path(tempfile.mkdtemp(prefix="rfq-failures-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def postgres(folder: Path) -> Iterator[EmbeddedPostgres]:
    """A server with fsync, for tests that stop it."""
    with EmbeddedPostgres(folder / "postgres") as server:
        migrate.upgrade(server.dsn)
        yield server


def evaluation(parties: Parties) -> dict[str, object]:
    market = parties.market()
    return {
        "legs": [{"instrument_id": market["instrument_id"]}],
        "side": "buy",
        "quantity": "1000",
        "quotes": [{"dealer": "elsewhere", "ask": {"price": market["ask"]}}],
    }


def test_acknowledged_work_survives_kill_minus_nine(postgres: EmbeddedPostgres, folder: Path) -> None:
    acknowledged: list[str] = []
    with serving(postgres.dsn, folder) as parties:
        body = evaluation(parties)
        stop = threading.Event()

        def work() -> None:
            with httpx.Client(base_url=parties.http[CLIENT].base_url, headers=parties.http[CLIENT].headers) as http:
                while not stop.is_set():
                    try:
                        answer = http.post("/v1/evaluations", json=body)
                    except httpx.TransportError:
                        return
                    if answer.status_code == 201:
                        acknowledged.append(answer.json()["rfq"]["rfq_id"])

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        parties.kill()
        stop.set()
        for thread in threads:
            thread.join()
    assert len(acknowledged) > 20
    with serving(postgres.dsn, folder) as again:
        for rfq_id in acknowledged:
            answer = again.http[CLIENT].get(f"/v1/rfqs/{rfq_id}/quotes")
            assert answer.status_code == 200, rfq_id
            assert len(answer.json()["quotes"][0]["evaluations"]) == 1


def test_database_gone_is_503_in_time_and_heals_by_itself(postgres: EmbeddedPostgres, folder: Path) -> None:
    with serving(postgres.dsn, folder, RFQ_HTTP_DEADLINE_MS="1500") as parties:
        body = evaluation(parties)
        rfq_id = parties.open_rfq()["rfq"]["rfq_id"]
        port = postgres.port
        postgres.stop()
        for send in (
            lambda: parties.http[CLIENT].post("/v1/evaluations", json=body),
            lambda: parties.http[CLIENT].get(f"/v1/rfqs/{rfq_id}"),
            lambda: parties.http[DEALERS[0]].post(f"/v1/dealer/rfqs/{rfq_id}/quotes", json={"ask": {"price": "1.300"}}),
        ):
            began = time.monotonic()
            answer = send()
            assert answer.status_code == 503, answer.text
            assert answer.json()["code"] in ("DATABASE_UNAVAILABLE", "DEADLINE_EXCEEDED")
            assert int(answer.headers["retry-after"]) >= 1
            # the deadline and a margin for a busy machine: what is tested is that it does not hang
            assert time.monotonic() - began < 1.5 + 3.0
        assert parties.http[CLIENT].get("/health/ready").status_code == 503
        assert parties.http[CLIENT].get("/health/live").status_code == 200
        with EmbeddedPostgres(folder / "postgres", port=port):
            wait_until_ready(parties.port)
            assert parties.http[CLIENT].post("/v1/evaluations", json=body).status_code == 201
            view = parties.http[CLIENT].get(f"/v1/rfqs/{rfq_id}")
            assert view.json()["rfq"]["state"] == "open"
            quotes = parties.http[CLIENT].get(f"/v1/rfqs/{rfq_id}/quotes").json()["quotes"]
            assert quotes == []


@pytest.mark.slow
def test_market_that_ends_gives_no_score_and_no_price(postgres: EmbeddedPostgres, folder: Path) -> None:
    with serving(postgres.dsn, folder, RFQ_MARKET_SPEED="0.01") as parties:
        # a hundredth of real time: the next message is further away than the staleness limit allows
        body = evaluation(parties)
        instrument_id = parties.market()["instrument_id"]
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline:
            row = parties.http[CLIENT].get(f"/v1/board/{instrument_id}").json()["market"]
            if row["status"] == "stale":
                break
            time.sleep(0.5)
        assert row["status"] == "stale"
        refused = parties.http[CLIENT].post("/v1/evaluations", json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, "STALE_MARKET")
        request = {"instrument_id": instrument_id, "side": "buy", "quantity": "1000"}
        price = parties.http[DEALERS[0]].post("/v1/dealer/price", json=request).json()
        assert (price["decline_code"], price["sides"]) == ("STALE_MARKET", [])
