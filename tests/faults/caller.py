"""One firm's calls, each attempt entered in the ledger by itself: nothing here retries in silence."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.ledger import NOT_SENT, Attempt, Change, Ledger, Outcome

ANSWER_WITHIN_S = 15.0
PAUSE_AFTER_TROUBLE_S = 0.05


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a firm calls with."""

    client_id: str
    secret: str


@dataclass(slots=True)
class OpenRfq:
    """What the firms know of an RFQ that may still be open: its quotes by id, each with its dealer."""

    client: str
    quotes: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Floor:
    """What everybody at work knows: where the service is, who he is, and what is open.

    Attributes:
        urls: addresses of the replicas; a firm's callers begin with different ones and go on when one fails.
        is_persistent: whether a call without an answer is repeated at once, with its key, at the next replica.
        patience_s: when set, callers give up after a random time up to this and close the socket.
    """

    ledger: Ledger
    urls: Sequence[str]
    credentials: dict[str, Credentials]
    is_persistent: bool = False
    patience_s: float | None = None
    rfqs: dict[str, OpenRfq] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)


class Caller:
    """Sends the requests of one firm and enters what becomes of them."""

    def __init__(
        self, floor: Floor, party: str, http: httpx.AsyncClient, draws: random.Random, replica: int = 0
    ) -> None:
        self.party = party
        self.draws = draws
        self._floor = floor
        self._http = http
        self._replica = replica

    async def change(self, operation: str, path: str, body: dict[str, Any]) -> Change:
        """Ask for a change once, or, if persistent, until its outcome is known or every replica has failed twice."""
        change = self._floor.ledger.open(self.party, operation, path, body)
        for _ in range(2 * len(self._floor.urls) if self._floor.is_persistent else 1):
            attempt = await self.attempt(change)
            change.attempts.append(attempt)
            if attempt.status == 0 or attempt.status >= 500:
                self._replica += 1
                await asyncio.sleep(PAUSE_AFTER_TROUBLE_S)
            elif attempt.is_ok or attempt.is_judged:
                break
        return change

    async def repeat(self, change: Change) -> None:
        """Send a change again while nothing else is under way; after trouble the next replica has its turn."""
        change.attempts.append(await self.attempt(change, is_quiet=True))
        if change.outcome is Outcome.UNKNOWN:
            self._replica += 1
            await asyncio.sleep(PAUSE_AFTER_TROUBLE_S)

    async def get(self, path: str, **parameters: str) -> Any:
        """Read something; ``None`` when it cannot be read now."""
        try:
            answer = await self._http.get(self._url(path), headers=await self.headers(), params=parameters)
        except httpx.TransportError:
            return None
        return answer.json() if answer.is_success else None

    async def attempt(self, change: Change, *, is_quiet: bool = False) -> Attempt:
        """Send a change with its key, once."""
        began_s = time.monotonic()
        try:
            answer = await self._post(change)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return Attempt(0, NOT_SENT, b"", time.monotonic() - began_s, is_quiet=is_quiet)
        except (httpx.TransportError, TimeoutError) as error:
            return Attempt(0, type(error).__name__, b"", time.monotonic() - began_s)
        elapsed_s = time.monotonic() - began_s
        if answer.is_success:
            is_replay = answer.headers.get("idempotency-replayed") == "true"
            return Attempt(answer.status_code, "", answer.content, elapsed_s, is_replay, is_quiet)
        code = str(answer.json().get("code"))
        if code == "UNAUTHENTICATED":
            self._floor.tokens.pop(self.party, None)
        return Attempt(answer.status_code, code, b"", elapsed_s, is_quiet=is_quiet)

    async def _post(self, change: Change) -> httpx.Response:
        headers = {**await self.headers(), "idempotency-key": change.key, "content-type": "application/json"}
        content = json.dumps(change.body) if change.body else ""
        patience_s = self._floor.patience_s
        # who runs out of patience cancels his request, which closes its socket
        async with asyncio.timeout(None if patience_s is None else self.draws.uniform(0.0, patience_s)):
            return await self._http.post(self._url(change.path), headers=headers, content=content)

    async def headers(self) -> dict[str, str]:
        """The firm's token, bought when there is none."""
        floor = self._floor
        if self.party not in floor.tokens:
            known = floor.credentials[self.party]
            basic = base64.b64encode(f"{known.client_id}:{known.secret}".encode()).decode()
            answer = await self._http.post(
                self._url("/v1/oauth/token"),
                headers={"authorization": f"Basic {basic}"},
                data={"grant_type": "client_credentials"},
            )
            if not answer.is_success:
                # nothing was asked for yet, so nothing can have happened
                raise httpx.ConnectError(f"no token: {answer.status_code} {answer.text}")
            floor.tokens[self.party] = answer.json()["access_token"]
        return {"authorization": f"Bearer {floor.tokens[self.party]}"}

    def _url(self, path: str) -> str:
        return self._floor.urls[self._replica % len(self._floor.urls)] + path


def new_http() -> httpx.AsyncClient:
    """A client for many callers at once."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    return httpx.AsyncClient(timeout=ANSWER_WITHIN_S, limits=limits, trust_env=False)
