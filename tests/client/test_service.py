# The library against the service itself.
from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from decimal import Decimal

import pytest

from rfq_service import administration
from rfq_service.client import (
    AsyncClient,
    BoardUpdate,
    Client,
    Conflict,
    Event,
    EventKind,
    Forbidden,
    Leg,
    NotFound,
    Policy,
    Topic,
    Unauthenticated,
)
from rfq_service.client.operations import identity
from rfq_service.client.schemas.enums import Party, Role
from rfq_service.domain.identity import Role as DomainRole
from rfq_service.settings import Settings
from tests.client.servers import LossyProxy
from tests.end_to_end.parties import CLIENT, DEALERS, RIVAL, serving
from tests.support.data import PROJECT_ROOT

TOKEN_LIFE_S = 10
QUICK = Policy(deadline_s=15.0, timeout_s=5.0, pause_s=0.02, pause_s_max=0.2)


@pytest.fixture(scope="module")
def service(database_server, tmp_path_factory):
    with database_server.database(migrated=True) as dsn:

        async def add(uow):
            keys = {}
            for name, role in (("Operator", DomainRole.OPERATOR), ("Auditor", DomainRole.AUDITOR)):
                await administration.store_firm(uow, name, is_dealer=False)
                key_id, secret = await administration.store_key(uow, name, "test", role=role)
                keys[name] = (str(key_id), secret)
            return keys

        keys = administration.in_transaction(Settings(), add, dsn)
        with serving(dsn, tmp_path_factory.mktemp("client"), RFQ_AUTH_TOKEN_S=str(TOKEN_LIFE_S)) as parties:
            parties.keys.update(keys)
            yield parties


@pytest.fixture
def proxy(service):
    made = LossyProxy(service.port)
    yield made
    made.close()


def asynchronous(service, firm, url=""):
    return AsyncClient(url or service.url, *service.keys[firm], policy=QUICK)


async def take(stream, count):
    return [await asyncio.wait_for(anext(stream), 10) for _ in range(count)]


async def test_desk_and_dealer_trade_asynchronously(service):
    async with asynchronous(service, CLIENT) as desk, asynchronous(service, DEALERS[0]) as dealer:
        market = next(row for row in (await desk.list_board()).items if row.status == "live")
        async with dealer.stream([Topic.RFQS]) as inbox, desk.stream([Topic.QUOTES, Topic.EVALUATIONS]) as told:
            opened = await desk.open_rfq(
                legs=[Leg(market.instrument_id)], side="buy", quantity=1000, panel=[DEALERS[0]]
            )
            (invited,) = await take(inbox, 1)
            assert (invited.kind, invited.rfq_id) == (EventKind.INVITATION_SENT, opened.rfq.rfq_id)
            quote = await dealer.post_quote(invited.rfq_id, ask=market.ask, ttl_s=20)
            posted, decided = sorted(await take(told, 2), key=lambda event: event.kind, reverse=True)
            assert (posted.kind, posted.payload.ask) == (EventKind.QUOTE_POSTED, quote.ask.price)
            assert decided.payload.decision_id == (await desk.get_ranked_quotes(invited.rfq_id)).decision.decision_id
        fills = await asyncio.gather(
            *(
                desk.accept_quote(invited.rfq_id, quote_id=quote.quote_id, idempotency_key=f"k-{quote.quote_id}")
                for _ in range(10)
            )
        )
        assert len(set(fills)) == 1
        assert [item.quote.quote_id async for item in desk.each_quote(rfq_id=invited.rfq_id)] == [quote.quote_id]
        with pytest.raises(Conflict):
            await desk.cancel_rfq(invited.rfq_id)


async def test_connections_that_are_cut_lose_and_repeat_no_event(service, proxy):
    async with (
        asynchronous(service, RIVAL, proxy.url) as desk,
        asynchronous(service, RIVAL) as direct,
        desk.stream([Topic.RFQS]) as stream,
    ):
        first = stream.number
        instrument_id = service.market().instrument_id
        got = []

        async def change() -> None:
            for number in range(12):
                await direct.open_rfq(legs=[Leg(instrument_id)], side="sell", quantity=100)
                if number % 3 == 1:
                    proxy.cut()
                await asyncio.sleep(0.05)

        task = asyncio.create_task(change())
        while len(got) < 12:
            got += await take(stream, 1)
        await task
        assert [event.number for event in got] == list(range(first + 1, first + 13))
        # somebody else, later, from the same number
        async with direct.stream([Topic.RFQS], after=first + 5) as again:
            assert [event.event_id for event in await take(again, 7)] == [event.event_id for event in got[5:]]


def test_stream_for_programs_without_a_loop(service):
    client = service.firms[CLIENT]
    with client.stream([Topic.RFQS, Topic.BOARD], instruments=[service.market().instrument_id]) as stream:
        update = next(stream)
        assert isinstance(update, BoardUpdate)
        assert update.is_snapshot
        assert update.items[0].bid < update.items[0].ask
        rfq_id = service.open_rfq().rfq.rfq_id
        while not isinstance(item := stream.next(10.0), Event):
            assert item is not None
        assert (item.kind, item.rfq_id, item.number) == (EventKind.RFQ_OPENED, rfq_id, stream.number)
        assert (item.payload.quantity, item.payload.legs[0].side, item.payload.panel) == (1000, "buy", 3)
    assert list(stream) == []
    quiet = client.stream([Topic.FILLS])
    assert quiet.next(0.05) is None
    quiet.close()


def stream_threads():
    return [thread for thread in threading.enumerate() if thread.name == "rfq-stream"]


def test_closing_the_client_ends_its_streams_and_its_thread(service):
    before = len(stream_threads())
    client = service.connect(CLIENT, QUICK)
    stream = client.stream([Topic.FILLS])
    stream.connect()
    assert len(stream_threads()) == before + 1
    reader = threading.Thread(target=lambda: list(stream))
    reader.start()
    client.close()
    reader.join(5)
    assert not reader.is_alive()
    assert (list(stream), stream.next(1.0)) == ([], None)
    stream.close()
    assert len(stream_threads()) == before


def test_streams_outlive_their_tokens(service, caplog):
    with service.connect(CLIENT, QUICK) as desk, desk.stream([Topic.RFQS]) as stream:
        first = desk.token().text
        assert stream.next(TOKEN_LIFE_S + 1.0) is None
        rfq_id = service.open_rfq().rfq.rfq_id
        assert stream.next(10.0).rfq_id == rfq_id
        assert desk.token().text != first
    assert "stream lost" not in caplog.text


def test_operator_and_auditor(service):
    with service.connect("Operator", QUICK) as operator:
        firm = operator.add_firm("New Firm")
        issued = operator.add_key("New Firm", role=Role.BUY_SIDE, label="first", idempotency_key="new-key-1")
        assert issued.client_secret is not None
        assert issued.client_secret not in repr(issued)
        again = operator.send(
            identity.add_key("New Firm", role=Role.BUY_SIDE, label="first", idempotency_key="new-key-1")
        )
        assert (again.client_id, again.client_secret) == (issued.client_id, None)
        assert firm in set(operator.each_firm(limit=2))
        assert [key.key_id for key in operator.each_key(firm="New Firm")] == [issued.client_id]
        with Client(service.url, str(issued.client_id), issued.client_secret, policy=QUICK) as desk:
            instrument_id = service.market().instrument_id
            rfq_id = desk.open_rfq(legs=[Leg(instrument_id)], side="buy", quantity=1000).rfq.rfq_id
            service.quote(DEALERS[0], rfq_id)
            _audit(service, operator, rfq_id)
            with desk.stream([Topic.CONTROLS]) as stream:
                operator.revoke_key(issued.client_id)
                with pytest.raises(Unauthenticated):
                    list(stream)
        with pytest.raises(Forbidden):
            operator.list_rfqs()


def _audit(service, operator, rfq_id):
    with service.connect("Auditor", QUICK) as auditor:
        with pytest.raises(NotFound):
            auditor.audit_quotes("New Firm")
        grant = operator.add_audit_grant("Auditor", firm="New Firm")
        (record,) = auditor.each_audited_quote("New Firm")
        assert record.quote.rfq_id == rfq_id
        told = []
        while "quote.posted" not in {event.kind for event in told}:  # numbered within 200 ms
            told = list(auditor.each_audited_event("New Firm", party=Party.CLIENT, limit=2))
        assert [event.number for event in told] == list(range(1, len(told) + 1))
        operator.revoke_audit_grant(grant.grant_id)
        with pytest.raises(NotFound):
            auditor.audit_quotes("New Firm")


def examples():
    return re.findall(r"```python\n(.*?)```", (PROJECT_ROOT / "docs" / "client.md").read_text(), re.DOTALL)


@contextmanager
def running(service, firm, program, folder):
    (folder / "program.py").write_text(program)
    client_id, secret = service.keys[firm]
    settings = {"RFQ_URL": service.url, "RFQ_CLIENT_ID": client_id, "RFQ_CLIENT_SECRET": secret}
    process = subprocess.Popen(
        [sys.executable, str(folder / "program.py")],
        env={**os.environ, **settings, "PYTHONPATH": str(PROJECT_ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_sockets(service, count):
    deadline = time.monotonic() + 30
    with Client(service.url, *service.keys["Operator"], policy=QUICK) as operator:
        while f"rfq_stream_sockets {count}\n" not in operator.metrics():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_examples_of_the_document_trade_with_each_other(service, tmp_path):
    desk_program, dealer_program = examples()
    wait_for_sockets(service, 0)
    for name in ("desk", "dealer"):
        (tmp_path / name).mkdir()
    with running(service, DEALERS[0], dealer_program, tmp_path / "dealer"):
        wait_for_sockets(service, 1)  # the desk asks when somebody listens
        with running(service, CLIENT, desk_program, tmp_path / "desk") as desk:
            output, errors = desk.communicate(timeout=30)
    assert desk.returncode == 0, errors
    quantity, price, filled_at = output.split()
    assert (Decimal(quantity), Decimal(price) > 0, filled_at.endswith("Z")) == (1000, True, True)


def test_examples_are_typed(tmp_path):
    for number, text in enumerate(examples()):
        (tmp_path / f"example_{number}.py").write_text(text)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(tmp_path), str(tmp_path)],
        cwd=PROJECT_ROOT,
        env={**os.environ, "MYPYPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
