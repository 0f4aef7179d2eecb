# Who may listen, what he is told, and how he is told that he may not go on.
from __future__ import annotations

import json
import time
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from websockets.exceptions import InvalidStatus

from rfq_service.administration import drop_key
from rfq_service.domain.identity import Role, Scope
from tests.stream.journal import Told, write
from tests.stream.service import closed, hear, say, serving, subscribe

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def service_dsn(database_server):
    with database_server.database(migrated=True) as dsn:
        yield dsn


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(service_dsn):
    async with serving(service_dsn, heartbeat_s=0.4) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="module")
async def client(service):
    return await service.firm(f"Client {uuid4()}")


@pytest_asyncio.fixture(loop_scope="module")
async def dealer(service):
    return await service.firm(f"Dealer {uuid4()}", is_dealer=True)


@pytest.fixture
def owner(service):
    return service.owner


async def test_an_event_reaches_its_firm(service, client, owner):
    async with service.open(await service.token(client)) as connection:
        answer = await subscribe(connection, "quotes", "rfqs")
        assert answer == {"type": "subscribed", "topics": ["quotes", "rfqs"], "number": answer["number"]}
        (event_id,) = await write(owner, Told(client.firm_id, payload='{"price":"1.5"}'))
        event = await hear(connection, "event")
    assert event["payload"] == {"price": "1.5"}
    assert event == {
        "type": "event",
        "number": answer["number"] + 1,
        "topic": "quotes",
        "kind": "quote.posted",
        "event_id": str(event_id),
        "occurred_at": event["occurred_at"],
        "rfq_id": None,
        "quote_id": None,
        "payload": {"price": "1.5"},
    }
    assert len(event["occurred_at"]) == len("2026-01-01T00:00:00.000000000Z")


async def test_the_token_may_come_as_first_message(service, client):
    async with service.open() as connection:
        await say(connection, op="auth", token=await service.token(client))
        assert (await subscribe(connection, "fills"))["type"] == "subscribed"
        await say(connection, op="ping")
        assert await hear(connection) == {"type": "pong"}


async def test_only_topics_that_were_asked_for(service, client, owner):
    kinds = ["rfq.opened", "quote.posted", "decision.made", "fill.booked", "key.added", "quote.ended"]
    async with service.open(await service.token(client)) as connection:
        start = (await subscribe(connection, "quotes", "fills"))["number"]
        await write(owner, *[Told(client.firm_id, kind=kind) for kind in kinds])
        told = [await hear(connection, "event") for _ in range(3)]
        assert [event["kind"] for event in told] == ["quote.posted", "fill.booked", "quote.ended"]
        assert [event["number"] - start for event in told] == [2, 4, 6]


async def test_heartbeats_count_what_was_not_asked_for_too(service, client, owner):
    async with service.open(await service.token(client)) as connection:
        start = (await subscribe(connection, "fills"))["number"]
        await write(owner, *[Told(client.firm_id)] * 7)
        while (heartbeat := await hear(connection, "event", "heartbeat"))["number"] < start + 7:
            assert heartbeat["type"] == "heartbeat"
        assert heartbeat["number"] == start + 7
        assert len(heartbeat["time"]) == len("2026-01-01T00:00:00.000000000Z")


async def test_heartbeats_never_run_ahead_of_the_events(service, client, owner):
    async with service.open(await service.token(client)) as connection:
        seen = (await subscribe(connection, "quotes"))["number"]
        last = seen + 3_000
        for _ in range(30):
            await write(owner, *[Told(client.firm_id)] * 100)
        while seen < last:
            message = await hear(connection, "event", "heartbeat")
            if message["type"] == "event":
                assert message["number"] == seen + 1
                seen += 1
            else:
                assert message["number"] == seen


async def test_a_new_subscription_takes_the_place_of_the_old(service, client, owner):
    async with service.open(await service.token(client)) as connection:
        start = (await subscribe(connection, "quotes"))["number"]
        await write(owner, *[Told(client.firm_id)] * 3)
        for _ in range(3):
            await hear(connection, "event")
        assert (await subscribe(connection, "quotes", "rfqs", after=start + 1))["number"] == start + 1
        assert [(await hear(connection, "event"))["number"] - start for _ in range(2)] == [2, 3]


async def test_the_two_desks_of_a_firm_share_nothing(service, dealer, owner):
    both = dealer  # a firm that trades on both sides
    as_client, as_dealer = await service.token(both), await service.token(both, Role.DEALER)
    async with service.open(as_client) as client_side, service.open(as_dealer) as dealer_side:
        client_start = (await subscribe(client_side, "quotes", "evaluations"))["number"]
        dealer_start = (await subscribe(dealer_side, "quotes", "evaluations"))["number"]
        secret = Told(both.firm_id, kind="decision.made", payload='{"limit":"99"}')
        await write(owner, secret, secret, Told(client=both.firm_id, dealer=both.firm_id, audience="dealer"))
        assert (await hear(dealer_side, "event"))["kind"] == "quote.posted"
        told = [await hear(client_side, "event") for _ in range(2)]
        assert [event["number"] - client_start for event in told] == [1, 2]
        for connection, number in ((client_side, client_start + 2), (dealer_side, dealer_start + 1)):
            heartbeat = await hear(connection, "event", "heartbeat")
            while heartbeat["number"] < number:
                heartbeat = await hear(connection, "event", "heartbeat")
            assert (heartbeat["type"], heartbeat["number"]) == ("heartbeat", number)


@pytest.mark.parametrize("after,first,last", [(5, 4, 4), (3_000_000_000, 4, 4)])
async def test_a_number_that_was_never_given_is_told_so(service, client, owner, after, first, last):
    async with service.open(await service.token(client)) as connection:
        start = (await subscribe(connection, "quotes"))["number"]
        answer = await subscribe(connection, "quotes", after=start + after)
        assert answer == {"type": "resync", "first": answer["first"], "last": start}
        assert answer["first"] <= start + 1
        # and nothing is subscribed to until he asks again
        await write(owner, Told(client.firm_id))
        with pytest.raises(TimeoutError):
            await hear(connection, "event", timeout_s=0.5)
        assert (await subscribe(connection, "quotes", after=start))["number"] == start
        assert (await hear(connection, "event"))["number"] == start + 1


@pytest.mark.parametrize(
    "message,code",
    [
        ("no json", "MALFORMED_BODY"),
        ("[]", "MALFORMED_BODY"),
        ("{}", "INVALID_FIELD"),
        ('{"op":"buy"}', "INVALID_FIELD"),
        ('{"op":"ping","op":"ping"}', "DUPLICATE_KEY"),
        ('{"op":"ping","more":1}', "UNKNOWN_FIELD"),
        ('{"op":"subscribe"}', "INVALID_FIELD"),
        ('{"op":"subscribe","topics":[]}', "INVALID_FIELD"),
        ('{"op":"subscribe","topics":["quotes","quotes"]}', "INVALID_FIELD"),
        ('{"op":"subscribe","topics":["trades"]}', "INVALID_FIELD"),
        ('{"op":"subscribe","topics":["quotes"],"after":-1}', "INVALID_FIELD"),
        ('{"op":"subscribe","topics":["quotes"],"after":"1"}', "INVALID_FIELD"),
        ('{"op":"subscribe","topics":["quotes"],"after":1e400}', "INVALID_FIELD"),
        ('{"op":"subscribe","topics":["quotes"],"after":9223372036854775808}', "INVALID_FIELD"),
        ('{"op":"subscribe","topics":["board"],"after":1}', "INVALID_FIELD"),
        ('{"op":"subscribe","topics":["quotes"],"instruments":["x"]}', "INVALID_FIELD"),
        ('{"op":"subscribe","topics":["board"],"instruments":["a\\u0000"]}', "NUL_BYTE"),
        ('{"op":"auth","token":{"a":[[[[[[]]]]]]}}', "NESTING_TOO_DEEP"),
        ("[" * 5_000, "NESTING_TOO_DEEP"),
    ],
)
async def test_a_bad_message_ends_the_socket(service, client, message, code):
    async with service.open(await service.token(client)) as connection:
        await connection.send(message)
        error = await hear(connection)
        assert (error["type"], error["code"]) == ("error", code)
        assert await closed(connection) == 4400


async def test_binary_and_too_large_messages_end_the_socket(service, client):
    token = await service.token(client)
    async with service.open(token) as connection:
        await connection.send(b'{"op":"ping"}')
        assert await closed(connection) == 4400
    async with service.open(token) as connection:
        await connection.send(json.dumps({"op": "auth", "token": "x" * 20_000}))
        assert await closed(connection) == 1009


async def test_an_unknown_instrument_is_refused_and_the_subscription_stays(service, client, owner):
    async with service.open(await service.token(client)) as connection:
        await subscribe(connection, "quotes")
        answer = await subscribe(connection, "board", instruments=["NOWHERE"])
        assert (answer["type"], answer["code"]) == ("error", "UNKNOWN_INSTRUMENT")
        await write(owner, Told(client.firm_id))
        assert (await hear(connection, "event"))["kind"] == "quote.posted"


async def test_without_a_valid_token_there_is_no_stream(service, client):
    async with service.open("nonsense") as connection:
        assert (await hear(connection))["code"] == "UNAUTHENTICATED"
        assert await closed(connection) == 4401
    async with service.open() as connection:
        await say(connection, op="auth", token="nonsense")
        assert await closed(connection) == 4401
    async with service.open() as connection:
        await say(connection, op="ping")
        assert await closed(connection) == 4401


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.OPERATOR])
async def test_roles_without_a_stream_are_refused(service, client, role):
    async with service.open(await service.token(client, role)) as connection:
        assert (await hear(connection))["code"] == "FORBIDDEN"
        assert await closed(connection) == 4403


async def test_the_scope_is_needed(service, client):
    async with service.open(await service.token(client, Role.BUY_SIDE, Scope.RFQ_WRITE)) as connection:
        assert (await hear(connection))["code"] == "FORBIDDEN"
        assert await closed(connection) == 4403


async def test_no_page_is_named_by_default(service, client):
    with pytest.raises(InvalidStatus) as refused:
        await service.open(await service.token(client), origin="http://127.0.0.1")
    assert refused.value.response.status_code == 403


async def test_it_is_no_plain_page(service):
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"http://127.0.0.1:{service.port}/v1/stream")
    assert (answer.status_code, answer.json()["code"]) == (405, "METHOD_NOT_ALLOWED")


async def test_a_revoked_key_is_cut_off_within_seconds_and_its_firms_other_key_is_not(service, client):
    (key_id, secret), other = await service.key(client), await service.token(client)
    async with service.open(await service.token_of(key_id, secret)) as connection, service.open(other) as untouched:
        await subscribe(connection, "quotes")
        await subscribe(untouched, "quotes")
        async with service.runtime.databases.operator.begin(principal=client.firm_id) as uow:
            await drop_key(uow, key_id)
            await uow.commit()
        started_s = time.monotonic()
        assert await closed(connection) == 4401
        assert time.monotonic() - started_s < 2.5
        await say(untouched, op="ping")
        assert await hear(untouched, "pong")


async def test_a_token_of_somebody_else_renews_nothing(service, client, dealer):
    rival = await service.firm(f"Rival {uuid4()}")
    for token in (await service.token(rival), await service.token(client, Role.AUDITOR)):
        async with service.open(await service.token(client)) as connection:
            await say(connection, op="auth", token=token)
            assert await closed(connection) == 4403
    async with service.open(await service.token(client)) as connection:
        await say(connection, op="auth", token="nonsense")
        assert await closed(connection) == 4401
