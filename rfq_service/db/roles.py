"""The login roles of the service: none owns anything, each may do one job, and row policies hold all of them.

Which rows and columns each may use is in the migrations. The roles belong to the whole cluster. Their passwords follow
from one secret, so that every replica knows them and nobody has to keep eight.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.exc import DBAPIError

from rfq_service.domain.errors import ErrorCode, RfqError

CLIENT = "rfq_client"
DEALER = "rfq_dealer"
DESK = "rfq_desk"
WRITER = "rfq_writer"
AUDITOR = "rfq_auditor"
SEQUENCER = "rfq_sequencer"
STREAMER = "rfq_streamer"
OPERATOR = "rfq_operator"
ROLES = (CLIENT, DEALER, DESK, WRITER, AUDITOR, SEQUENCER, STREAMER, OPERATOR)

_SCRAM_ITERATIONS = 4096  # PostgreSQL's own default
_INSUFFICIENT_PRIVILEGE = "42501"
# Another database of the cluster is being given the same roles at this moment.
_AT_ONCE = ("23505", "42710")
_CHANGED_AT_ONCE = "tuple concurrently updated"  # an internal error, without a code of its own
_FOUND = text("SELECT rolname FROM pg_roles WHERE rolname IN :roles").bindparams(bindparam("roles", expanding=True))
_TOO_MIGHTY = text(
    "SELECT rolname FROM pg_roles WHERE rolname IN :roles "
    "AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)"
).bindparams(bindparam("roles", expanding=True))
_MAY_PROVISION = text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")


def role_secret(dsn: str, secret: str = "") -> str:
    """The secret that the roles' passwords follow from: the given one, or else the password in the owner's DSN.

    Raises:
        RfqError: ``DATABASE_UNAVAILABLE`` when there is neither: the passwords would be known to everybody.
    """
    parts = urlsplit(dsn)
    found = secret or unquote(parts.password or "") or dict(parse_qsl(parts.query)).get("password", "")
    if not found:
        raise RfqError(
            ErrorCode.DATABASE_UNAVAILABLE,
            "the database address has no password to derive the roles' from: set RFQ_DATABASE_ROLE_SECRET",
        )
    return found


def role_password(role: str, secret: str) -> str:
    """Password of a role: HMAC-SHA256 of its name under the secret, in hex."""
    return hmac.new(secret.encode(), role.encode(), hashlib.sha256).hexdigest()


def role_dsn(dsn: str, role: str, secret: str = "") -> str:
    """The owner's DSN with a role's name and password instead of his.

    Raises:
        RfqError: as ``role_secret``.
    """
    password = role_password(role, role_secret(dsn, secret))
    parts = urlsplit(dsn)
    hosts = parts.netloc.rpartition("@")[2]
    query = urlencode([item for item in parse_qsl(parts.query) if item[0] not in ("user", "password")], quote_via=quote)
    return urlunsplit((parts.scheme, f"{role}:{password}@{hosts}", parts.path, query, parts.fragment))


def provision(connection: Connection, secret: str) -> None:
    """Make the roles that are missing and give all of them their passwords.

    A caller that may not do so can go on where the roles exist: whoever administers the cluster made them.

    Raises:
        RfqError: ``DATABASE_UNAVAILABLE`` when roles are missing and cannot be made, or may more than they should.
    """
    missing = set(ROLES) - set(connection.execute(_FOUND, {"roles": ROLES}).scalars())
    if connection.execute(_MAY_PROVISION).scalar_one():
        for role in ROLES:
            if role in missing:
                _run(connection, f"CREATE ROLE {role} LOGIN")
            _run(connection, f"ALTER ROLE {role} LOGIN PASSWORD '{_scram_verifier(role_password(role, secret))}'")
    elif missing:
        names = ", ".join(sorted(missing))
        raise RfqError(ErrorCode.DATABASE_UNAVAILABLE, f"this user may not make the missing roles {names}")
    too_mighty = sorted(connection.execute(_TOO_MIGHTY, {"roles": ROLES}).scalars())
    if too_mighty:
        raise RfqError(
            ErrorCode.DATABASE_UNAVAILABLE, f"{', '.join(too_mighty)}: more than LOGIN, so row policies may not hold"
        )


def _run(connection: Connection, statement: str) -> None:
    """One statement that another process may be doing too, or that only the role's own administrator may do."""
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(statement)
    except DBAPIError as error:
        is_known = getattr(error.orig, "sqlstate", None) in (*_AT_ONCE, _INSUFFICIENT_PRIVILEGE)
        if not is_known and _CHANGED_AT_ONCE not in str(error.orig):
            raise


def _scram_verifier(password: str) -> str:
    """What PostgreSQL stores of a password (RFC 5803), so that the password itself never reaches the server's log."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _SCRAM_ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored_key, server_key))
    return f"SCRAM-SHA-256${_SCRAM_ITERATIONS}:{salt64}${stored64}:{server64}"
