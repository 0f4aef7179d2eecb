"""The ASGI application: every operation served with the parts of one runtime."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar, get
from litestar.response.base import ASGIResponse

from rfq_service.api.dependencies import Runtime
from rfq_service.api.documentation import docs_page
from rfq_service.api.openapi import openapi_json, write_openapi
from rfq_service.api.problems import to_response
from rfq_service.api.routes import OPERATIONS
from rfq_service.api.stream import stream_handler

__all__ = ["create_app", "write_openapi"]

# Nothing on the page comes from elsewhere, and nothing on it runs.
_DOCS_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def create_app(runtime: Runtime) -> Litestar:
    """The application; its lifespan starts and stops ``runtime``."""

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        await runtime.start()
        try:
            yield
        finally:
            await runtime.stop()

    return Litestar(
        route_handlers=[
            *(operation.handler(runtime) for operation in OPERATIONS),
            stream_handler(runtime),
            _serve_openapi,
            _serve_docs,
        ],
        exception_handlers={Exception: to_response},
        lifespan=[lifespan],
        # Our own document and page: Litestar's know nothing of the problems, and its pages load scripts from a CDN.
        openapi_config=None,
        logging_config=None,
        debug=False,
    )


@get("/openapi.json")
async def _serve_openapi() -> ASGIResponse:
    return ASGIResponse(body=_openapi_bytes(), media_type="application/json")


@get("/docs")
async def _serve_docs() -> ASGIResponse:
    return ASGIResponse(
        body=_docs_bytes(),
        media_type="text/html",
        headers={"content-security-policy": _DOCS_POLICY},
    )


@functools.cache
def _openapi_bytes() -> bytes:
    return openapi_json().encode()


@functools.cache
def _docs_bytes() -> bytes:
    return docs_page().encode()
