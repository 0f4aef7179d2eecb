"""Databases for tests: one server per test process, one migrated template, one database per test."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import asyncpg

from rfq_service.db.embedded import EmbeddedPostgres

_TEMPLATE = "template_migrated"


class DatabaseServer:
    """An embedded server without fsync, which hands out databases and drops them again."""

    def __init__(self) -> None:
        # Not pytest's folder: that is closed to the user the server runs as when the tests run as root.
        # In memory where there is some: a database per test is made twenty times faster than on a disk.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._directory = Path(tempfile.mkdtemp(prefix="rfq-tests-", dir=memory))
        self._directory.chmod(0o755)
        self._postgres = EmbeddedPostgres(self._directory, fsync=False)
        # A loop of its own: asyncio.run would take away the loop that pytest-asyncio has set.
        self._loop = asyncio.new_event_loop()
        self._made = 0
        self._has_template = False

    def __enter__(self) -> Self:
        self._postgres.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._postgres.stop()
        self._loop.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._postgres.pid

    def dsn(self, database: str) -> str:
        """Connection string of one database of this server, as its owner."""
        return self._postgres.dsn.rpartition("/")[0] + f"/{database}"

    @contextmanager
    def database(self, *, migrated: bool) -> Iterator[str]:
        """A new database, dropped afterwards with whatever is still connected to it; yields its DSN."""
        template = self._migrated_template() if migrated else "template0"
        self._made += 1
        name = f"test_{self._made}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.dsn(name)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _migrated_template(self) -> str:
        """Build the template by the real upgrade, once; it makes the login roles of the whole server, too."""
        if not self._has_template:
            from rfq_service.db.migrate import upgrade

            self._execute(f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0")
            upgrade(self.dsn(_TEMPLATE), revision="head")
            self._has_template = True
        return _TEMPLATE

    def _execute(self, statement: str) -> None:
        self._loop.run_until_complete(_execute(self.dsn("postgres"), statement))


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
