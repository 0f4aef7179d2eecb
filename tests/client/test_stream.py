# The stream over real sockets: what is handed over when connections break, numbers repeat and tokens end.
from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from websockets.asyncio.server import serve

from rfq_service.client import BoardUpdate, Event, Forbidden, Policy, Resync, StreamRefused, Topic, Unavailable
from rfq_service.client import stream as stream_module
from rfq_service.client.schemas.event import DecisionMade, FillBooked, InvitationClosed, QuoteGiven, RequestMade
from rfq_service.client.stream import Stream
from rfq_service.client.tokens import Token

QUICK = Policy(deadline_s=1.0, timeout_s=0.5, pause_s=0.01, pause_s_max=0.05)


class Source:
    """Numbered tokens of a given life."""

    def __init__(self, life_s: float = 60.0) -> None:
        self.life_s = life_s
        self.given = 0
        self.rejected: list[str] = []
        self.kept: Token | None = None

    async def token(self) -> Token:
        if self.kept is None or time.monotonic() >= self.kept.renew_at_s:
            self.given += 1
            self.kept = Token(f"secret-{self.given}", time.monotonic() + self.life_s)
        return self.kept

    def reject(self, text: str) -> None:
        self.rejected.append(text)
        self.kept = None


def event(number, kind="quote.ended", **payload):
    return {
        "type": "event",
        "number": number,
        "topic": "quotes",
        "kind": kind,
        "event_id": "01a1f8e6-b775-7039-8a22-f186dfd0db6d",
        "occurred_at": "2026-11-20T12:20:32.344205261Z",
        "rfq_id": None,
        "quote_id": "01a1f8e6-b775-7039-8a22-f186dfd0db6d",
        "payload": payload or {"reason": "hit", "state": "accepted"},
        "of_the_future": True,
    }


def subscribed(number):
    return {"type": "subscribed", "topics": ["quotes"], "number": number}


class Service:
    """Plays one script per connection; a script is messages to send, an int to close with, or a wait in seconds."""

    def __init__(self, *scripts) -> None:
        self.scripts = list(scripts)
        self.heard: list[dict] = []
        self.tokens: list[str] = []
        self.url = ""

    async def __call__(self, socket) -> None:
        self.tokens.append(socket.request.headers["Authorization"])
        script = self.scripts.pop(0) if self.scripts else [0]
        self.heard.append(json.loads(await socket.recv()))
        for step in script:
            if step == "listen":
                self.heard.append(json.loads(await socket.recv()))
            elif step == "abort":
                socket.transport.abort()
            elif isinstance(step, float):
                await asyncio.sleep(step)
            elif isinstance(step, int):
                await socket.close(step or 1011)
                return
            else:
                await socket.send(json.dumps(step))
        await socket.wait_closed()


@asynccontextmanager
async def serving(*scripts, **named):
    service = Service(*scripts)
    async with serve(service, "127.0.0.1", 0, close_timeout=0.5, **named) as server:
        service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield service


def reading(service, source=None, topics=(Topic.QUOTES,), **named):
    return Stream(service.url, source or Source(), topics, policy=QUICK, **named)


async def take(stream, count):
    return [await asyncio.wait_for(anext(stream), 5) for _ in range(count)]


async def test_it_resumes_after_the_last_number_without_gap_or_repeat():
    scripts = (
        [subscribed(4), event(5), event(6), "abort"],
        [subscribed(9), event(6), event(7), event(7), 1012],
        [subscribed(9), event(8), event(9)],
    )
    async with serving(*scripts) as service, reading(service) as stream:
        assert stream.number == 4
        assert [item.number for item in await take(stream, 5)] == [5, 6, 7, 8, 9]
        assert stream.number == 9
    assert service.heard == [
        {"op": "subscribe", "topics": ["quotes"]},
        {"op": "subscribe", "topics": ["quotes"], "after": 6},
        {"op": "subscribe", "topics": ["quotes"], "after": 7},
    ]


async def test_number_is_what_has_been_handed_over_and_heartbeats_advance_it():
    script = [subscribed(9), event(3), event(5), {"type": "heartbeat", "number": 8, "time": "x"}, {"type": "new"}]
    async with serving(script, [subscribed(9)]) as service, reading(service, after=2) as stream:
        assert stream.number == 2
        await take(stream, 1)
        assert stream.number == 3
        await take(stream, 1)
        assert await stream.next(0.2) is None
        assert stream.number == 8


async def test_expired_cursor_is_said_and_the_subscription_goes_on():
    script = [{"type": "resync", "first": 50, "last": 70}, "listen", subscribed(70), event(70), event(71)]
    async with serving(script) as service, reading(service, after=3) as stream:
        resync, first = await take(stream, 2)
    assert resync == Resync(first=50, last=70)
    assert first.number == 71
    assert [message.get("after") for message in service.heard] == [3, 70]


async def test_a_subscription_that_is_refused_for_now_is_made_again_and_nothing_is_missed():
    refused = {"type": "error", "code": "DATABASE_UNAVAILABLE", "detail": "try again", "field": ""}
    scripts = (
        [{"type": "resync", "first": 50, "last": 70}, "listen", refused],
        [refused],
        [subscribed(80), event(71)],
    )
    async with serving(*scripts) as service, reading(service, after=3) as stream:
        resync, first = await take(stream, 2)
    assert resync == Resync(first=50, last=70)
    assert first.number == 71
    assert [message.get("after") for message in service.heard] == [3, 70, 70, 70]


async def test_a_market_that_does_not_exist_is_said_at_once():
    refused = {"type": "error", "code": "UNKNOWN_INSTRUMENT", "detail": "no instrument X", "field": ""}
    async with serving([refused]) as service:
        with pytest.raises(StreamRefused, match="no instrument X"):
            await reading(service, topics=[Topic.BOARD], instruments=["X"]).connect()
    assert len(service.heard) == 1


async def test_events_are_typed():
    kinds = [
        event(1, "quote.posted", dealer="A", bid=None, ask="1.20", quantity="10", valid_until_ns=5),
        event(2, "decision.made", decision_id="01a1f8e6-b775-7039-8a22-f186dfd0db6d", action="accept", quote_id=None),
        event(3, "fill.booked", side="buy", quantity="10", price="1.20"),
        event(4, "invitation.sent", legs=[["X", "buy", "1"]], quantity="10", side="two_way"),
        event(5, "invitation.closed", outcome="cover", cover_distance_micro_bps=7),
        event(6, "moon.rose", anything=1),
        event(7, "fill.booked", of_another_shape=True),
    ]
    async with serving([subscribed(0), *kinds]) as service, reading(service) as stream:
        items = await take(stream, 7)
    payloads = [item.payload for item in items]
    assert [type(payload) for payload in payloads[:5]] == [
        *(QuoteGiven, DecisionMade, FillBooked, RequestMade, InvitationClosed)
    ]
    assert payloads[0].ask == Decimal("1.20")
    assert payloads[3].legs[0].ratio == 1
    assert payloads[5:] == [{"anything": 1}, {"of_another_shape": True}]
    assert int(items[0].occurred_at_ns) == 1_795_177_232_344_205_261
    assert str(items[0].occurred_at_ns) == "2026-11-20T12:20:32.344205261Z"


async def test_board_is_handed_over_and_has_no_number():
    rows = [{"instrument_id": "X", "status": "live", "bid": "1.20", "observed_at": "2026-11-20T12:20:32.344205261Z"}]
    script = [subscribed(0), {"type": "board", "items": rows, "is_snapshot": True}, 1012]
    topics = [Topic.BOARD, Topic.BOARD]
    async with (
        serving(script, [subscribed(0)]) as service,
        reading(service, topics=topics, instruments=["X"]) as stream,
    ):
        (update,) = await take(stream, 1)
        await stream.next(0.2)
    assert isinstance(update, BoardUpdate)
    assert (update.items[0].bid, update.is_snapshot) == (Decimal("1.20"), True)
    assert service.heard == [{"op": "subscribe", "topics": ["board"], "instruments": ["X"]}] * 2


async def test_token_is_renewed_on_the_open_socket():
    async with (
        serving([subscribed(0), "listen", event(1)]) as service,
        reading(service, Source(life_s=0.2)) as stream,
    ):
        assert [item.number for item in await take(stream, 1)] == [1]
    assert service.tokens == ["Bearer secret-1"]
    assert service.heard[1] == {"op": "auth", "token": "secret-2"}


async def test_refused_token_is_replaced():
    source = Source()
    async with (
        serving([subscribed(0), 4401], [subscribed(0), event(1)]) as service,
        reading(service, source) as stream,
    ):
        await take(stream, 1)
    assert source.rejected == ["secret-1"]
    assert service.tokens == ["Bearer secret-1", "Bearer secret-2"]


@pytest.mark.parametrize("code,kind", [(4403, Forbidden), (4400, StreamRefused)])
async def test_what_cannot_be_cured_is_raised(code, kind):
    said = {"type": "error", "code": "FORBIDDEN", "detail": "auditors have no stream", "field": ""}
    async with serving([subscribed(0), said, code]) as service, reading(service) as stream:
        with pytest.raises(kind, match="auditors have no stream"):
            await anext(stream)


async def test_handshake_that_is_refused_is_raised():
    def refuse(connection, _request):
        return connection.respond(404, "no stream here\n")

    async with serving([], process_request=refuse) as service:
        with pytest.raises(StreamRefused):
            await reading(service).connect()


async def test_nobody_there_is_raised_after_the_deadline():
    service = Service()
    service.url = "http://127.0.0.1:9"
    began = time.monotonic()
    with pytest.raises(Unavailable):
        await reading(service).connect()
    assert time.monotonic() - began < 3


async def test_silence_is_a_dead_connection(monkeypatch):
    monkeypatch.setattr(stream_module, "_SILENCE_S_MAX", 0.2)
    async with serving([subscribed(0), "listen"], [subscribed(0), event(1)]) as service, reading(service) as stream:
        assert [item.number for item in await take(stream, 1)] == [1]
    assert len(service.tokens) == 2
    assert service.heard[1] == {"op": "ping"}


async def test_who_answers_when_asked_is_not_dead(monkeypatch):
    monkeypatch.setattr(stream_module, "_SILENCE_S_MAX", 0.2)
    steps = ["listen", {"type": "pong"}] * 3
    async with serving([subscribed(0), *steps, event(1)]) as service, reading(service) as stream:
        assert [item.number for item in await take(stream, 1)] == [1]
    assert len(service.tokens) == 1


async def test_short_waits_add_up_to_a_connection():
    async def slow(_connection, _request):
        await asyncio.sleep(0.3)

    async with serving([subscribed(0), event(1)], process_request=slow) as service:
        stream = reading(service)
        for _ in range(50):
            if (item := await stream.next(0.02)) is not None:
                break
        await stream.aclose()
    assert item.number == 1
    assert len(service.tokens) == 1


async def test_short_waits_do_not_hurry_the_next_attempt():
    attempts = []

    def refuse(connection, _request):
        attempts.append(1)
        return connection.respond(503, "not now\n")

    async with serving(process_request=refuse) as service:
        stream = Stream(service.url, Source(), [Topic.QUOTES], policy=Policy(5.0, 0.5, 0.2, 0.2))
        for _ in range(50):
            assert await stream.next(0.01) is None
        await stream.aclose()
    assert len(attempts) <= 6


async def test_giving_up_waiting_loses_nothing():
    numbers = list(range(1, 40))
    steps = [step for number in numbers for step in (0.005, event(number))]
    got = []
    async with serving([subscribed(0), *steps]) as service, reading(service) as stream:
        while len(got) < len(numbers):
            item = await stream.next(0.004)
            if item is not None:
                got.append(item.number)
    assert got == numbers


async def test_closing_ends_the_iteration():
    async with serving([subscribed(0), event(1)]) as service:
        stream = reading(service)
        got_one = asyncio.Event()

        async def read():
            async for item in stream:
                assert isinstance(item, Event)
                got_one.set()

        task = asyncio.create_task(read())
        await asyncio.wait_for(got_one.wait(), 2)
        await stream.aclose()
        await asyncio.wait_for(task, 2)


async def test_tokens_are_in_no_log(caplog):
    caplog.set_level(logging.DEBUG)
    async with (
        serving([subscribed(0), "listen", event(1)], logger=logging.getLogger("quiet")) as service,
        reading(service, Source(life_s=0.2)) as stream,
    ):
        logging.getLogger("quiet").setLevel(logging.INFO)
        await take(stream, 1)
    own = [record for record in caplog.records if record.name != "quiet"]
    assert "secret-" not in "".join(record.getMessage() for record in own)
