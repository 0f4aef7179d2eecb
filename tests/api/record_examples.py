"""``python -m tests.api.record_examples``: run the scenario on the whole service, write ``openapi/examples``."""

from __future__ import annotations

import asyncio

import msgspec

from rfq_service.api.openapi import EXAMPLES_DIR, Example
from tests.api.scenario import walk
from tests.api.service import make_runtime, running
from tests.support.postgres import DatabaseServer


async def _record(dsn: str) -> dict[str, Example]:
    async with running(make_runtime(dsn)) as service:
        return await walk(service)


def main() -> None:
    """Write one file for each operation; afterwards `make openapi` brings the document up to date."""
    with DatabaseServer() as server, server.database(migrated=True) as dsn:
        examples = asyncio.run(_record(dsn))
    EXAMPLES_DIR.mkdir(parents=True, exist_ok=True)
    for name, example in examples.items():
        text = msgspec.json.format(msgspec.json.encode(example), indent=2)
        (EXAMPLES_DIR / f"{name}.json").write_bytes(text + b"\n")


if __name__ == "__main__":
    main()
