"""The demo's HTTP client: one firm, one key, and errors that say what the service said."""

from __future__ import annotations

import os
from typing import Any

import httpx

URL_VARIABLE = "RFQ_URL"
KEY_VARIABLE = "RFQ_API_KEY"


class Refused(Exception):  # noqa: N818 - an answer, not a failure
    """The service refused; ``code`` is its stable reason."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('code')}: {problem.get('detail')} {problem.get('field', '')}".strip())
        self.status = status
        self.code = str(problem.get("code"))


class Client:
    """Calls the service as the firm of the key in the environment."""

    def __init__(self) -> None:
        headers = {"Authorization": f"Bearer {os.environ[KEY_VARIABLE]}"}
        self._http = httpx.Client(base_url=os.environ[URL_VARIABLE], headers=headers, timeout=10.0)

    def get(self, path: str, **parameters: str) -> Any:
        """GET a JSON answer; raises ``Refused``."""
        return self._checked(self._http.get(path, params=parameters))

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """POST a JSON body; raises ``Refused``."""
        return self._checked(self._http.post(path, json=body or {}))

    @staticmethod
    def _checked(answer: httpx.Response) -> Any:
        if answer.is_success:
            return answer.json()
        raise Refused(answer.status_code, answer.json())
