"""The token of a client: kept while it is good, asked for again before it ends. Nothing is sent here."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote_plus, urlencode

from rfq_service.client.call import Call
from rfq_service.client.schemas.identity import TokenReply

TOKEN_PATH = "/v1/oauth/token"  # noqa: S105 - a path
_FORM = "application/x-www-form-urlencoded"
# Renewed with a fifth of its life left, at most this long before its end.
_RENEW_SHARE = 0.2
_RENEW_S_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Token:
    """A token; ``renew_at_s`` is a monotonic time."""

    text: str = field(repr=False)
    renew_at_s: float


class Tokens:
    """Id and secret of a client, and the token they have bought.

    Args:
        client_id: id of the API key.
        client_secret: its secret; never shown.
        monotonic_s: the clock.
    """

    def __init__(self, client_id: str, client_secret: str, monotonic_s: Callable[[], float]) -> None:
        self.client_id = client_id
        self._client_secret = client_secret
        self._monotonic_s = monotonic_s
        self._token: Token | None = None

    def current(self) -> Token | None:
        """The token, ``None`` when a new one is due."""
        token = self._token
        return token if token is not None and self._monotonic_s() < token.renew_at_s else None

    def reject(self, text: str) -> None:
        """The service has refused this token: do not use it again."""
        if self._token is not None and self._token.text == text:
            self._token = None

    def keep(self, reply: TokenReply, asked_at_s: float) -> Token:
        """Keep what was answered to a request of ``asked_at_s``, a monotonic time."""
        life_s = reply.expires_in - min(_RENEW_S_MAX, _RENEW_SHARE * reply.expires_in)
        self._token = Token(reply.access_token, asked_at_s + life_s)
        return self._token

    def call(self) -> Call[TokenReply]:
        """What asks for a token, by RFC 6749 §4.4; the secret is in the header that ``authorization`` makes."""
        form = urlencode({"grant_type": "client_credentials"}).encode()
        return Call("issue_token", "POST", TOKEN_PATH, TokenReply, body=form, media_type=_FORM)

    def authorization(self) -> str:
        """HTTP Basic of id and secret, by RFC 6749 §2.3.1."""
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self._client_secret)}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
