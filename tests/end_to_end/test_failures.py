"""What is promised when things break: the service killed, the database gone, the market stale."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from rfq_service.client import ExternalQuote, Leg, OutcomeUnknown, Policy, RfqServiceError, Unavailable
from rfq_service.client.schemas.enums import MarketStatus, RfqState
from rfq_service.db import migrate
from rfq_service.db.embedded import EmbeddedPostgres
from tests.client.servers import LossyProxy
from tests.end_to_end.parties import CLIENT, DEALERS, IMPATIENT, Parties, refused, serving
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


def evaluation(parties: Parties) -> dict[str, Any]:
    """Arguments of a request to score a quote received elsewhere."""
    market = parties.market()
    quotes = [ExternalQuote(dealer="elsewhere", ask=market.ask)]
    return {"legs": [Leg(market.instrument_id)], "side": "buy", "quantity": 1000, "quotes": quotes}


def test_acknowledged_work_survives_kill_minus_nine(postgres: EmbeddedPostgres, folder: Path) -> None:
    acknowledged: list[UUID] = []
    with serving(postgres.dsn, folder) as parties:
        order = evaluation(parties)

        def work() -> None:
            with parties.connect(CLIENT, IMPATIENT) as client:
                while True:
                    try:
                        acknowledged.append(client.evaluate_quotes(**order).rfq.rfq_id)
                    except (OutcomeUnknown, Unavailable):
                        return

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        parties.kill()
        for thread in threads:
            thread.join()
    assert len(acknowledged) > 20
    with serving(postgres.dsn, folder) as again:
        for rfq_id in acknowledged:
            ranked = again.firms[CLIENT].get_ranked_quotes(rfq_id)
            assert len(ranked.quotes[0].evaluations) == 1


def test_lost_replies_change_nothing_twice(postgres: EmbeddedPostgres, folder: Path) -> None:
    with serving(postgres.dsn, folder) as parties:
        proxy = LossyProxy(parties.port)
        patient = Policy(deadline_s=20.0, timeout_s=5.0)
        instrument_id = parties.market().instrument_id
        with (
            parties.connect(CLIENT, patient, proxy.url) as client,
            parties.connect(DEALERS[0], patient, proxy.url) as dealer,
        ):
            proxy.lose("/v1/rfqs", 2)
            rfq = client.open_rfq(legs=[Leg(instrument_id)], side="buy", quantity=1000, size_mode="any_part").rfq
            proxy.lose("/quotes", 2)
            quote = dealer.post_quote(rfq.rfq_id, ask=Decimal("1.300"))
            proxy.lose("/accept", 2)
            fill = client.accept_quote(rfq.rfq_id, quote_id=quote.quote_id, quantity=400)
            proxy.lose("/cancel", 2)
            assert client.cancel_rfq(rfq.rfq_id).rfq.state == RfqState.CANCELLED
        proxy.close()
        assert proxy.lost == 8
        assert [item.rfq_id for item in parties.firms[CLIENT].each_rfq()] == [rfq.rfq_id]
        assert [item.quote.quote_id for item in parties.firms[CLIENT].each_quote()] == [quote.quote_id]
        assert parties.firms[CLIENT].get_rfq(rfq.rfq_id).fills == (fill,)


def test_database_gone_is_503_in_time_and_heals_by_itself(postgres: EmbeddedPostgres, folder: Path) -> None:
    with serving(postgres.dsn, folder, RFQ_HTTP_DEADLINE_MS="1500") as parties:
        order = evaluation(parties)
        rfq_id = parties.open_rfq().rfq.rfq_id
        client, dealer = parties.connect(CLIENT, IMPATIENT), parties.connect(DEALERS[0], IMPATIENT)
        client.list_board()  # both have their tokens now
        dealer.list_board()
        port = postgres.port
        postgres.stop()
        calls: list[tuple[Callable[[], Any], type[RfqServiceError]]] = [
            (lambda: client.evaluate_quotes(**order), OutcomeUnknown),
            (lambda: client.get_rfq(rfq_id), Unavailable),
            (lambda: dealer.post_quote(rfq_id, ask=Decimal("1.300")), OutcomeUnknown),
        ]
        lost = []
        for call, kind in calls:
            began = time.monotonic()
            with pytest.raises(kind) as raised:
                call()
            assert raised.value.status == 503
            assert raised.value.code in ("DATABASE_UNAVAILABLE", "DEADLINE_EXCEEDED")
            assert (raised.value.retry_after_s or 0) >= 1
            # the deadline and a margin for a busy machine: what is tested is that it does not hang
            assert time.monotonic() - began < 1.5 + 3.0
            lost.append(raised.value)
        assert client.ready().status == "unavailable"
        assert client.live().status == "ok"
        client.close()
        dealer.close()
        with EmbeddedPostgres(folder / "postgres", port=port):
            wait_until_ready(parties.port)
            desk = parties.firms[CLIENT]
            assert desk.get_rfq(rfq_id).rfq.state == RfqState.OPEN
            assert desk.get_ranked_quotes(rfq_id).quotes == ()
            unknown = lost[0]
            assert isinstance(unknown, OutcomeUnknown)
            # nobody knew whether it was stored; asked again with its key it is, once
            scored = desk.send(unknown.call)
            assert desk.send(unknown.call) == scored
            assert [item.rfq_id for item in desk.each_rfq()] == [scored.rfq.rfq_id, rfq_id]


@pytest.mark.slow
def test_market_that_ends_gives_no_score_and_no_price(postgres: EmbeddedPostgres, folder: Path) -> None:
    with serving(postgres.dsn, folder, RFQ_MARKET_SPEED="0.01") as parties:
        # a hundredth of real time: the next message is further away than the staleness limit allows
        order = evaluation(parties)
        client, instrument_id = parties.firms[CLIENT], parties.market().instrument_id
        deadline = time.monotonic() + 100
        while client.get_book(instrument_id).market.status != MarketStatus.STALE:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        with refused(409, "STALE_MARKET"):
            client.evaluate_quotes(**order)
        price = parties.firms[DEALERS[0]].price_request(instrument_id=instrument_id, side="buy", quantity=1000)
        assert (price.decline_code, price.sides) == ("STALE_MARKET", ())
