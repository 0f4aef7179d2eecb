"""For operators: alive and ready."""

from __future__ import annotations

from rfq_service.client.values import Reply


class Live(Reply, frozen=True, kw_only=True):
    """The process runs and answers."""

    status: str = "ok"


class Ready(Reply, frozen=True, kw_only=True):
    """State of every component: ``ok``, or what is wrong with it."""

    status: str
    components: dict[str, str]
