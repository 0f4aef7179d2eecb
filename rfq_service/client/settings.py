"""Where the service is and who calls, given or from the environment."""

from __future__ import annotations

import os

URL_VARIABLE = "RFQ_URL"
CLIENT_ID_VARIABLE = "RFQ_CLIENT_ID"
CLIENT_SECRET_VARIABLE = "RFQ_CLIENT_SECRET"  # noqa: S105 - the name of it


def given(value: str | None, variable: str) -> str:
    """The value, else that of the environment variable; raises ``ValueError`` when there is neither."""
    found = os.environ.get(variable, "") if value is None else value
    if not found:
        raise ValueError(f"{variable} is not set")
    return found


def given_url(value: str | None) -> str:
    """Address of the service without a slash at its end; raises ``ValueError`` when it is no http(s) URL."""
    url = given(value, URL_VARIABLE).rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r}: the address of the service begins with http:// or https://")
    return url
