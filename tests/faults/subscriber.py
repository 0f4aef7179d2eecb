"""A firm that follows its stream through every fault: it reconnects, at another replica if need be, and resumes."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field

import httpx
import websockets

from tests.faults.caller import Caller, Floor, new_http

TOPICS = ("rfqs", "quotes", "evaluations", "fills", "controls")
_PAUSE_S = 0.05
# said before the socket is closed while the database is away
_PASSING = ("DATABASE_UNAVAILABLE", "OVERLOADED")
_OPEN_WITHIN_S = 5.0
# longer than the time between two heartbeats, so that silence means a dead peer
_SILENCE_MAX_S = 12.0


@dataclass(slots=True)
class Subscriber:
    """Follows every topic of one firm from its first event on.

    Attributes:
        told: number and id of each event, in the order of arrival.
        connections: how often it has subscribed.
        complaints: what the protocol should never have sent here.
    """

    floor: Floor
    party: str
    told: list[tuple[int, str]] = field(default_factory=list)
    connections: int = 0
    complaints: list[str] = field(default_factory=list)

    async def follow(self) -> None:
        """Receive until cancelled."""
        async with new_http() as http:
            caller = Caller(self.floor, self.party, http, random.Random(0))
            while True:
                for url in self.floor.urls:
                    try:
                        await self._receive(url, await caller.headers())
                    except (OSError, TimeoutError, httpx.TransportError, websockets.WebSocketException):
                        await asyncio.sleep(_PAUSE_S)

    async def _receive(self, url: str, headers: dict[str, str]) -> None:
        address = url.replace("http://", "ws://") + "/v1/stream"
        async with websockets.connect(
            address, additional_headers=headers, open_timeout=_OPEN_WITHIN_S, close_timeout=1, proxy=None
        ) as socket:
            after = self.told[-1][0] if self.told else 0
            await socket.send(json.dumps({"op": "subscribe", "topics": TOPICS, "after": after}))
            while True:
                # not wait_for, which loses a cancellation that comes together with a message
                async with asyncio.timeout(_SILENCE_MAX_S):
                    message = await socket.recv()
                self._take(json.loads(message))

    def _take(self, message: dict[str, object]) -> None:
        if message["type"] == "event":
            self.told.append((int(str(message["number"])), str(message["event_id"])))
        elif message["type"] == "subscribed":
            self.connections += 1
        elif message["type"] == "resync" or (message["type"] == "error" and message["code"] not in _PASSING):
            self.complaints.append(json.dumps(message))
