"""How much one caller may ask: requests served at once, and a rate for each key with the standard headers.

Both are counted in this process. A key's allowance is its own whatever address, token or header its requests come with.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from types import TracebackType
from typing import Self

from rfq_service.domain.clock import Clock
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.identifiers import ApiKeyId, FirmId
from rfq_service.domain.units import NS_PER_S
from rfq_service.settings import Settings

_CALLERS_MAX = 10_000
_FAILURE_BURST = 10
# Of the requests served at once, the share that may be callers who have not said who they are.
_PUBLIC_SHARE = 4
# And the share that no single firm gets, or one that sends its bodies slowly would be served alone.
_OTHERS_SHARE = 4


class Admission:
    """A bound on requests served at once, used as a context manager around each; beyond it ``OVERLOADED``."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.in_flight = 0

    def __enter__(self) -> Self:
        if self.in_flight >= self._most:
            raise RfqError(ErrorCode.OVERLOADED, "too many requests at once; try again")
        self.in_flight += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.in_flight -= 1


class RateLimiter:
    """A leaky bucket for each caller (GCRA): ``burst`` at once, refilled at ``rate_per_s``.

    Of each caller one number is kept: when, on the monotonic clock, his bucket would be full again.
    """

    def __init__(self, rate_per_s: float, burst: int, clock: Clock) -> None:
        self._interval_ns = NS_PER_S / rate_per_s
        self._depth_ns = self._interval_ns * burst
        self._clock = clock
        self._full_at_ns: dict[Hashable, float] = {}
        self.policy = f'"key";q={burst};w={max(1, math.ceil(burst / rate_per_s))}'

    def take(self, caller: Hashable) -> tuple[int, float, float]:
        """Count one request.

        Returns:
            (requests left, seconds until all are there again, seconds to wait): waiting is 0 unless this is too much.
        """
        now_ns = self._clock.monotonic_ns()
        used_ns = max(0.0, self._full_at_ns.get(caller, 0.0) - now_ns)
        excess_ns = used_ns + self._interval_ns - self._depth_ns
        if excess_ns > 1e-3:
            return 0, used_ns / NS_PER_S, excess_ns / NS_PER_S
        used_ns += self._interval_ns
        if len(self._full_at_ns) >= _CALLERS_MAX and caller not in self._full_at_ns:
            self._forget_idle(now_ns)
        self._full_at_ns[caller] = now_ns + used_ns
        return int((self._depth_ns - used_ns) / self._interval_ns + 1e-9), used_ns / NS_PER_S, 0.0

    def _forget_idle(self, now_ns: int) -> None:
        """Drop those whose bucket is full; when nobody is idle, the one who was seen first."""
        busy = {caller: at_ns for caller, at_ns in self._full_at_ns.items() if at_ns > now_ns}
        if len(busy) >= _CALLERS_MAX:
            del busy[next(iter(busy))]
        self._full_at_ns = busy


class Gate:
    """The bounds of one replica."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        most = settings.http.in_flight_max
        self.protected = Admission(most)
        self.public = Admission(max(1, most // _PUBLIC_SHARE))
        self._firm_most = most - most // _OTHERS_SHARE
        self._of_firm: dict[FirmId, Admission] = {}
        self._requests = RateLimiter(settings.http.rate_per_s, settings.http.rate_burst, clock)
        self._secrets = RateLimiter(settings.auth.failures_per_minute / 60, _FAILURE_BURST, clock)

    def firm(self, firm_id: FirmId) -> Admission:
        """The bound on the requests of one firm at once, whatever keys they come with."""
        admission = self._of_firm.get(firm_id)
        if admission is None:
            admission = self._of_firm[firm_id] = Admission(self._firm_most)
        return admission

    def count_request(self, key_id: ApiKeyId, headers: dict[str, str]) -> None:
        """Count a request of a key and tell him in ``headers`` what is left (IETF draft ``RateLimit``).

        Raises:
            RfqError: ``RATE_LIMITED``, with ``retry-after`` among the headers.
        """
        left, full_in_s, wait_s = self._requests.take(key_id)
        headers["ratelimit-policy"] = self._requests.policy
        headers["ratelimit"] = f'"key";r={left};t={math.ceil(full_in_s)}'
        if wait_s > 0:
            _refuse(wait_s, headers)

    def count_secret(self, client_id: Hashable, headers: dict[str, str]) -> None:
        """Count a secret that may be a guess; raises as ``count_request``."""
        _, _, wait_s = self._secrets.take(client_id)
        if wait_s > 0:
            _refuse(wait_s, headers)


def _refuse(wait_s: float, headers: dict[str, str]) -> None:
    headers["retry-after"] = str(math.ceil(wait_s))
    raise RfqError(ErrorCode.RATE_LIMITED, f"too many requests; the next is served in {wait_s:.3f} s")
