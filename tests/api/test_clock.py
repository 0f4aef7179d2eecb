"""Wall clocks that disagree: two replicas, or one whose clock is set back, on one RFQ."""

from __future__ import annotations

import time

import httpx

from rfq_service.bootstrap import build_runtime
from rfq_service.domain.units import NS_PER_S
from rfq_service.market_data.simulated import simulated_recording
from rfq_service.settings import Settings, TelemetrySettings
from tests.api.service import CLIENT, DEALERS, running


class SetClock:
    """A wall clock that somebody sets; the monotonic one goes on."""

    ahead_ns = 0

    def now_ns(self) -> int:
        return time.time_ns() + self.ahead_ns

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


async def test_the_last_decision_is_the_newest_whatever_the_clock_says(database_dsn: str) -> None:
    clock = SetClock()
    settings = Settings(telemetry=TelemetrySettings(log_level="ERROR"))
    runtime = build_runtime(settings, database_dsn, [simulated_recording(seed=3)], clock=clock)
    async with (
        running(runtime) as service,
        service.http(CLIENT) as client,
        service.http(DEALERS[0]) as first,
        service.http(DEALERS[1]) as second,
    ):
        line = (await client.get("/v1/board")).json()["items"][0]
        order = {"legs": [{"instrument_id": line["instrument_id"]}], "side": "buy", "quantity": "100"}
        rfq_id = (await client.post("/v1/rfqs", json=order)).json()["rfq"]["rfq_id"]

        async def quote_and_look(dealer: httpx.AsyncClient) -> bool:
            quote = {"ask": {"price": line["ask"]}}
            answer = await dealer.post(f"/v1/dealer/rfqs/{rfq_id}/quotes", json=quote)
            assert answer.status_code == 201, answer.text
            current: bool = (await client.get(f"/v1/rfqs/{rfq_id}/quotes")).json()["is_current"]
            return current

        assert await quote_and_look(first)
        clock.ahead_ns = -5 * NS_PER_S
        # by the clock the newest decision is still the first one, which knows nothing of the second quote; the
        # decision's number tells better
        assert await quote_and_look(second)


async def test_a_dealer_is_told_by_his_last_quote_though_the_clock_was_set_back(database_dsn: str) -> None:
    clock = SetClock()
    settings = Settings(telemetry=TelemetrySettings(log_level="ERROR"))
    runtime = build_runtime(settings, database_dsn, [simulated_recording(seed=3)], clock=clock)
    async with (
        running(runtime) as service,
        service.http(CLIENT) as client,
        service.http(DEALERS[0]) as first,
        service.http(DEALERS[1]) as second,
    ):
        line = (await client.get("/v1/board")).json()["items"][0]
        order = {"legs": [{"instrument_id": line["instrument_id"]}], "side": "buy", "quantity": "100"}
        rfq_id = (await client.post("/v1/rfqs", json=order)).json()["rfq"]["rfq_id"]

        async def quote(dealer: httpx.AsyncClient) -> str:
            answer = await dealer.post(f"/v1/dealer/rfqs/{rfq_id}/quotes", json={"ask": {"price": line["ask"]}})
            assert answer.status_code == 201, answer.text
            return str(answer.json()["quote_id"])

        withdrawn = await quote(first)
        assert (await first.post(f"/v1/dealer/quotes/{withdrawn}/withdraw")).status_code == 200
        clock.ahead_ns = -5 * NS_PER_S
        await quote(first)
        taken = await quote(second)
        answer = await client.post(f"/v1/rfqs/{rfq_id}/accept", json={"quote_id": taken})
        assert answer.status_code == 200, answer.text
        told = (await first.get(f"/v1/dealer/rfqs/{rfq_id}")).json()
        assert (told["outcome"], told["cover_distance_bps"]) == ("cover", 0.0)
