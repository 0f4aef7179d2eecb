"""Access tokens: OAuth2 client credentials (RFC 6749 §4.4), and the public keys that sign them."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_plus
from uuid import UUID

import msgspec

from rfq_service.api.operation import Call, NoBody, NoQuery, Reply, operation
from rfq_service.api.parsing import FORM, JSON, parse_path_id
from rfq_service.api.problems import TOKEN_PATH
from rfq_service.api.schemas.identity import TokenIn, TokenKeyOut, TokenKeysOut, TokenOut
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.identity import Scope

TAG = "Identity"
_CREDENTIALS_MAX = 1_024
_NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}


@operation(
    "POST",
    TOKEN_PATH,
    tag=TAG,
    body=TokenIn,
    query=NoQuery,
    returns=TokenOut,
    problems=(
        *(ErrorCode.UNAUTHENTICATED, ErrorCode.UNSUPPORTED_GRANT_TYPE, ErrorCode.INVALID_SCOPE),
        *(ErrorCode.RATE_LIMITED, ErrorCode.DATABASE_UNAVAILABLE),
    ),
    media_type=FORM,
)
async def issue_token(call: Call[TokenIn, NoQuery]) -> Reply:
    """Get an access token for a key.

    Send the key's id and secret by HTTP Basic, or as `client_id` and `client_secret` in the form. The token stands for
    the key's role and for the scopes asked for, and ends after some minutes: ask for the next one in time. Errors have
    the members of RFC 6749 too. Wrong secrets are counted for each client id; tokens count as requests of the key.
    """
    form = call.body
    if form.grant_type != "client_credentials":
        raise RfqError(ErrorCode.UNSUPPORTED_GRANT_TYPE, "the grant type must be client_credentials", "grant_type")
    asked = _scopes(form.scope)
    client_id, secret = _credentials(call.headers.get("authorization", ""), form)
    identity = call.runtime.identity
    # whoever was let in before is not shut out by others who try his id
    if not identity.is_known_secret(client_id, secret):
        call.runtime.gate.count_secret(client_id, call.reply_headers)
    issued = await identity.issue(client_id, secret, asked)
    call.runtime.gate.count_request(issued.principal.key_id, call.reply_headers)
    scope = " ".join(sorted(issued.principal.scopes))
    body = TokenOut(issued.token, "Bearer", issued.life_s, scope)
    return Reply(msgspec.json.encode(body), JSON, headers=_NO_STORE)


@operation("GET", "/.well-known/jwks.json", tag=TAG, body=NoBody, query=NoQuery, returns=TokenKeysOut)
async def list_token_keys(call: Call[NoBody, NoQuery]) -> TokenKeysOut:
    """Read the public keys that sign tokens.

    For those who verify tokens themselves. A retired key stays until its last token has ended.
    """
    keys = call.runtime.identity.public_keys()
    return TokenKeysOut([TokenKeyOut(kid, _base64url(public)) for kid, public in sorted(keys.items())])


def _scopes(text: str) -> frozenset[Scope]:
    try:
        return frozenset(Scope(name) for name in text.split())
    except ValueError:
        raise RfqError(ErrorCode.INVALID_SCOPE, f"scopes are {', '.join(Scope)}", "scope") from None


def _credentials(authorization: str, form: TokenIn) -> tuple[UUID, str]:
    """Client id and secret, given in one way.

    Raises:
        RfqError: ``MALFORMED_BODY`` when they are given in two ways, ``UNAUTHENTICATED`` when they cannot be right.
    """
    client_id, secret = form.client_id, form.client_secret
    if authorization:
        client_id, secret = _basic(authorization)
        if form.client_secret or form.client_id not in ("", client_id):
            raise RfqError(ErrorCode.MALFORMED_BODY, "client id and secret are given in two ways", "client_id")
    if not secret.isascii():
        raise _no_client()
    return parse_path_id(client_id, ErrorCode.UNAUTHENTICATED), secret


def _basic(authorization: str) -> tuple[str, str]:
    """The two parts of ``Basic`` credentials, each a form value (RFC 6749 §2.3.1)."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic" or len(encoded) > _CREDENTIALS_MAX:
        raise _no_client()
    try:
        client_id, _, secret = base64.b64decode(encoded.strip(), validate=True).decode("ascii").partition(":")
    except (ValueError, binascii.Error):
        raise _no_client() from None
    return unquote_plus(client_id), unquote_plus(secret)


def _no_client() -> RfqError:
    return RfqError(ErrorCode.UNAUTHENTICATED, "client id and secret are needed: by HTTP Basic or in the form")


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
