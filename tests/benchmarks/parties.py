"""Firms, keys and tokens of the benchmarks."""

from __future__ import annotations

import httpx

from rfq_service import administration
from rfq_service.db import migrate
from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.domain.identity import Role
from rfq_service.settings import Settings


def issue_keys(dsn: str, clients: list[str], dealers: list[str] | None = None) -> list[tuple[str, str]]:
    """Client id and secret of a new firm each, clients first."""

    async def work(uow: UnitOfWork) -> list[tuple[str, str]]:
        issued = []
        for name in [*clients, *(dealers or [])]:
            is_dealer = name not in clients
            await administration.store_firm(uow, name, is_dealer=is_dealer)
            role = Role.DEALER if is_dealer else Role.BUY_SIDE
            key_id, secret = await administration.store_key(uow, name, "bench", role=role)
            issued.append((str(key_id), secret))
        return issued

    migrate.upgrade(dsn)
    return administration.in_transaction(Settings(), work, dsn)


def tokens(port: int, keys: list[tuple[str, str]]) -> list[str]:
    """An ``Authorization`` header's value for each key."""
    url = f"http://127.0.0.1:{port}/v1/oauth/token"
    answers = [httpx.post(url, auth=key, data={"grant_type": "client_credentials"}) for key in keys]
    return [f"Bearer {answer.raise_for_status().json()['access_token']}" for answer in answers]
