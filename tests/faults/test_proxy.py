"""The proxy loses exactly what it says: the reply of a commit that took place, or the request of one that did not."""

from __future__ import annotations

from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.postgres_tap import Chooser, CommitTap, Fate
from tests.support.proxy import TcpProxy
from tests.support.waiting import execute, fetch_value

COUNT = "SELECT count(*) FROM things"
LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


def through(dsn: str, proxy: TcpProxy) -> str:
    return dsn.replace(f":{urlsplit(dsn).port}/", f":{proxy.port}/")


@pytest.mark.parametrize("fate, stored", [(Fate.KEEP, 1), (Fate.LOSE_REPLY, 1), (Fate.LOSE_REQUEST, 0)])
@pytest.mark.parametrize("has_block", [True, False])
async def test_fate_of_a_commit(empty_database_dsn: str, fate: Fate, stored: int, *, has_block: bool) -> None:
    await execute(empty_database_dsn, "CREATE TABLE things (id INTEGER)")
    chooser = Chooser()
    with TcpProxy(urlsplit(empty_database_dsn).port or 0, lambda: CommitTap(chooser)) as proxy:
        connection = await asyncpg.connect(through(empty_database_dsn, proxy), timeout=10)
        assert await connection.fetchval(COUNT) == 0
        chooser.choose = lambda _sql: fate
        try:
            if has_block:
                async with connection.transaction():
                    await connection.execute("INSERT INTO things VALUES ($1)", 1)
            else:
                await connection.execute("INSERT INTO things VALUES ($1)", 1)
        except LOST:
            assert fate is not Fate.KEEP
        else:
            assert fate is Fate.KEEP
        connection.terminate()
    assert chooser.counts == {fate: 1}
    assert await fetch_value(empty_database_dsn, COUNT) == stored


async def test_cut_refuse_freeze(empty_database_dsn: str) -> None:
    with TcpProxy(urlsplit(empty_database_dsn).port or 0) as proxy:
        connection = await asyncpg.connect(through(empty_database_dsn, proxy), timeout=10)
        proxy.freeze("to_client")
        with pytest.raises(TimeoutError):
            await connection.fetchval("SELECT 1", timeout=0.3)
        proxy.thaw()
        connection.terminate()
        connection = await asyncpg.connect(through(empty_database_dsn, proxy), timeout=10)
        proxy.delay("to_client", 0.2)
        assert await connection.fetchval("SELECT 1", timeout=10) == 1
        assert proxy.cut() >= 1
        with pytest.raises(LOST):
            await connection.fetchval("SELECT 1", timeout=10)
        proxy.refuse(is_refusing=True)
        with pytest.raises(LOST):
            await asyncpg.connect(through(empty_database_dsn, proxy), timeout=10)
        proxy.refuse(is_refusing=False)
        proxy.delay("to_client", 0.0)
        await (await asyncpg.connect(through(empty_database_dsn, proxy), timeout=10)).close()
