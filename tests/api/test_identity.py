"""Keys, tokens and grants on the whole service: what is let in, what is refused, what is written down, and when."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from dataclasses import replace
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from rfq_service.administration import rotate_token_key
from rfq_service.api.problems import TOKEN_PATH
from rfq_service.bootstrap import new_id
from rfq_service.db.engine import Database, Databases
from rfq_service.desk.identity import Identity
from rfq_service.desk.keys import digest_of
from rfq_service.desk.tokens import TokenTerms, read_token_key
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.identity import Role
from rfq_service.domain.units import NS_PER_S
from rfq_service.settings import DatabaseSettings, Settings
from tests.api.service import AUDITOR, CLIENT, DEALERS, OPERATOR, RIVAL_CLIENT, Service, make_runtime, running

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORM = "application/x-www-form-urlencoded"
GRANT = "grant_type=client_credentials"


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# ---------------------------------------------------------------------------------------------------------- tokens


async def test_a_secret_buys_a_token_that_opens_the_api(service: Service) -> None:
    answer = await service.ask_token(*service.keys[CLIENT])
    assert answer.status_code == 200
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    content = answer.json()
    assert (content["token_type"], content["expires_in"]) == ("Bearer", 3_600)
    assert content["scope"] == "rfq:read rfq:write"
    async with service.http(Authorization=f"bearer {content['access_token']}") as http:
        assert (await http.get("/v1/rfqs")).status_code == 200


async def test_what_a_token_says(service: Service) -> None:
    token = await service.token(*service.keys[CLIENT])
    header = jwt.get_unverified_header(token)
    async with service.http() as http:
        keys = (await http.get("/.well-known/jwks.json")).json()["keys"]
    [key] = [key for key in keys if key["kid"] == header["kid"]]
    assert (header["alg"], header["typ"]) == ("EdDSA", "at+jwt")
    # verified as anybody else would, from the published key
    claims = jwt.decode(token, jwt.PyJWK(key), algorithms=["EdDSA"], audience="rfq-api", issuer="rfq-service")
    assert claims["client_id"] == service.keys[CLIENT][0]
    assert (claims["role"], claims["scope"]) == ("buy_side", "rfq:read rfq:write")
    assert claims["exp"] - claims["iat"] == 3_600
    assert claims["nbf"] == claims["iat"]
    assert UUID(claims["sub"])
    assert claims["jti"]


async def test_credentials_by_http_basic(service: Service) -> None:
    client_id, secret = service.keys[CLIENT]
    async with service.http() as http:
        for encode in (str, quote):
            basic = base64.b64encode(f"{encode(client_id)}:{encode(secret)}".encode()).decode()
            headers = {"Authorization": f"Basic {basic}", "content-type": FORM}
            for content in (GRANT, f"{GRANT}&client_id={client_id}"):
                assert (await http.post(TOKEN_PATH, content=content, headers=headers)).status_code == 200
            twice = await http.post(TOKEN_PATH, content=f"{GRANT}&client_secret={secret}", headers=headers)
            assert (twice.status_code, twice.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "basic", ["", "x", "Basic", "Basic !", "Basic eA==", "Basic " + "A" * 2_000, "Bearer x", "Digest x"]
)
async def test_odd_authorization_buys_nothing(service: Service, basic: str) -> None:
    async with service.http() as http:
        answer = await http.post(TOKEN_PATH, content=GRANT, headers={"Authorization": basic, "content-type": FORM})
    assert error_of(answer) == (401, "UNAUTHENTICATED")
    assert answer.json()["error"] == "invalid_client"
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "content, media_type, status, code, error",
    [
        ("", FORM, 400, "MALFORMED_BODY", "invalid_request"),
        ("grant_type", FORM, 400, "MALFORMED_BODY", "invalid_request"),
        ("scope=rfq:read", FORM, 400, "MALFORMED_BODY", "invalid_request"),
        (f"{GRANT}&{GRANT}", FORM, 400, "REPEATED_PARAMETER", "invalid_request"),
        (f"{GRANT}&resource=a&resource=b", FORM, 400, "REPEATED_PARAMETER", "invalid_request"),
        (f"{GRANT}&scope=%00", FORM, 400, "NUL_BYTE", "invalid_request"),
        (f"{GRANT}&scope=%ff", FORM, 400, "MALFORMED_BODY", "invalid_request"),
        (GRANT + "&a=b" * 100, FORM, 400, "MALFORMED_BODY", "invalid_request"),
        (f"{GRANT}&scope=" + "x" * 9_000, FORM, 400, "MALFORMED_BODY", "invalid_request"),
        (f"{GRANT}&client_secret=" + "x" * 300, FORM, 400, "MALFORMED_BODY", "invalid_request"),
        (GRANT, "application/json", 415, "UNSUPPORTED_MEDIA_TYPE", "invalid_request"),
        (json.dumps({"grant_type": "client_credentials"}), "application/json", 415, "UNSUPPORTED_MEDIA_TYPE", ""),
        (GRANT, FORM + "; charset=latin-1", 415, "UNSUPPORTED_MEDIA_TYPE", "invalid_request"),
        ("x" * 40_000, FORM, 413, "BODY_TOO_LARGE", "invalid_request"),
        ("grant_type=password", FORM, 400, "UNSUPPORTED_GRANT_TYPE", "unsupported_grant_type"),
        ("grant_type=authorization_code&code=x", FORM, 400, "UNSUPPORTED_GRANT_TYPE", "unsupported_grant_type"),
        (f"{GRANT}&scope=everything", FORM, 400, "INVALID_SCOPE", "invalid_scope"),
        (GRANT, FORM, 401, "UNAUTHENTICATED", "invalid_client"),
        (f"{GRANT}&client_id=x&client_secret=y", FORM, 401, "UNAUTHENTICATED", "invalid_client"),
        (f"{GRANT}&client_id={UUID(int=1)}&client_secret=y", FORM, 401, "UNAUTHENTICATED", "invalid_client"),
        (f"{GRANT}&client_id={UUID(int=1)}&client_secret=%C3%A9", FORM, 401, "UNAUTHENTICATED", "invalid_client"),
    ],
)
async def test_what_the_token_endpoint_refuses(
    service: Service, content: str, media_type: str, status: int, code: str, error: str
) -> None:
    async with service.http() as http:
        answer = await http.post(TOKEN_PATH, content=content, headers={"content-type": media_type})
    assert error_of(answer) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["error"] == error or not error
    assert problem["error_description"].isascii()
    assert '"' not in problem["error_description"]


async def test_parameters_that_oauth_does_not_know_are_passed_over(service: Service) -> None:
    assert (await service.ask_token(*service.keys[CLIENT], audience="x", resource="y")).status_code == 200


async def test_a_token_is_for_the_scopes_asked_for_and_no_others(service: Service) -> None:
    answer = await service.ask_token(*service.keys[CLIENT], scope="rfq:read")
    assert answer.json()["scope"] == "rfq:read"
    async with service.http(Authorization=f"Bearer {answer.json()['access_token']}") as http:
        assert (await http.get("/v1/rfqs")).status_code == 200
        refused = await http.post("/v1/rfqs", json={})
    assert error_of(refused) == (403, "FORBIDDEN")
    assert refused.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="rfq:write"'
    for scope in ("admin", "rfq:read admin", "quote:write"):
        answer = await service.ask_token(*service.keys[CLIENT], scope=scope)
        assert error_of(answer) == (400, "INVALID_SCOPE")


async def test_secrets_and_keys_open_nothing_by_themselves(service: Service) -> None:
    client_id, secret = service.keys[CLIENT]
    for headers in (
        {"Authorization": f"Bearer {secret}"},
        {"X-API-Key": secret},
        {"Authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()},
    ):
        async with service.http(**headers) as http:
            assert error_of(await http.get("/v1/rfqs")) == (401, "UNAUTHENTICATED")


# ------------------------------------------------------------------------------------------------------------ forged


def forged(service: Service, *, header: dict[str, Any] | None = None, key: Any = None, **changes: Any) -> str:
    """A token as we would sign it, with something changed; ``key`` signs instead of ours."""
    ring = service.runtime.identity._token_keys
    good = service.tokens[CLIENT]
    claims = jwt.decode(good, options={"verify_signature": False})
    headers = {**jwt.get_unverified_header(good), **(header or {})}
    algorithm = headers.pop("alg")
    headers = {name: value for name, value in headers.items() if value is not ...}
    content = {name: value for name, value in {**claims, **changes}.items() if value is not ...}
    return jwt.encode(content, key if key is not None else ring._private, algorithm=algorithm, headers=headers)


def unsigned(service: Service) -> str:
    head, body, _ = service.tokens[CLIENT].split(".")
    header = {**jwt.get_unverified_header(service.tokens[CLIENT]), "alg": "none"}
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    return f"{head}.{body}."


def signed_with_the_public_key(service: Service) -> str:
    """HS256 with what everybody may read as its secret: the classic confusion."""
    ring = service.runtime.identity._token_keys
    head, body, _ = service.tokens[CLIENT].split(".")
    header = {**jwt.get_unverified_header(service.tokens[CLIENT]), "alg": "HS256"}
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    raw = ring.public_keys()[jwt.get_unverified_header(service.tokens[CLIENT])["kid"]]
    signature = hmac.digest(raw, f"{head}.{body}".encode(), hashlib.sha256)
    return f"{head}.{body}." + base64.urlsafe_b64encode(signature).decode().rstrip("=")


def tampered(service: Service) -> str:
    head, body, signature = service.tokens[CLIENT].split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    body = base64.urlsafe_b64encode(json.dumps({**claims, "role": "operator"}).encode()).decode().rstrip("=")
    return f"{head}.{body}.{signature}"


NOW_S = int(time.time())
FORGERIES = {
    "none": unsigned,
    "HS256": signed_with_the_public_key,
    "tampered": tampered,
    "another key": lambda service: forged(service, key=Ed25519PrivateKey.generate()),
    "unknown kid": lambda service: forged(service, header={"kid": str(uuid4())}),
    "no kid": lambda service: forged(service, header={"kid": ...}),
    "another type": lambda service: forged(service, header={"typ": "JWT"}),
    "another issuer": lambda service: forged(service, iss="somebody"),
    "another audience": lambda service: forged(service, aud="another-api"),
    "two audiences": lambda service: forged(service, aud=["rfq-api", "another-api"]),
    "expired": lambda service: forged(service, exp=NOW_S - 1),
    "not yet valid": lambda service: forged(service, nbf=NOW_S + 600),
    "from the future": lambda service: forged(service, iat=NOW_S + 600),
    "no end": lambda service: forged(service, exp=...),
    "no client": lambda service: forged(service, client_id=...),
    "end as text": lambda service: forged(service, exp="9999999999"),
    "another role": lambda service: forged(service, role="operator", scope="admin"),
    "no such role": lambda service: forged(service, role="god"),
    "another firm": lambda service: forged(service, sub=str(uuid4())),
    "no such key": lambda service: forged(service, client_id=str(uuid4())),
    "too long": lambda service: forged(service, jti="x" * 3_000),
    "two parts": lambda service: service.tokens[CLIENT].rpartition(".")[0],
    "four parts": lambda service: service.tokens[CLIENT] + ".x",
    "spaces": lambda service: " " + service.tokens[CLIENT],
    "nothing": lambda _: "",
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_token_opens_nothing(service: Service, forgery: str) -> None:
    async with service.http(Authorization=f"Bearer {FORGERIES[forgery](service)}") as http:
        answer = await http.get("/v1/rfqs")
    assert error_of(answer) == (401, "UNAUTHENTICATED")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_the_forger_can_also_make_a_good_token(service: Service) -> None:
    async with service.http(Authorization=f"Bearer {forged(service, jti='other')}") as http:
        assert (await http.get("/v1/rfqs")).status_code == 200


async def test_a_token_cannot_claim_more_scopes_than_its_key_has(service: Service) -> None:
    client_id, secret = await service.add_key(OPERATOR, Role.BUY_SIDE)
    narrow = await service.token(client_id, secret, scope="rfq:read")
    claims = jwt.decode(narrow, options={"verify_signature": False})
    wide = forged(service, **{**claims, "scope": "rfq:read quote:write admin nonsense"})
    principal = await service.runtime.identity.verify(wide)
    assert principal.scopes == {"rfq:read"}


# --------------------------------------------------------------------------------------------------- keys and their end


async def test_a_key_is_made_listed_rotated_and_revoked_by_an_operator(service: Service) -> None:
    async with service.http(OPERATOR) as http:
        made = (await http.post("/v1/admin/keys", json={"firm": CLIENT, "label": "desk 4"})).json()
        old_id, old_secret = made["client_id"], made["client_secret"]
        assert made["key"]["prefix"] == old_secret[:10]
        listed = (await http.get("/v1/admin/keys", params={"firm": CLIENT})).json()["items"]
        assert listed[0] == made["key"]
        assert old_secret not in json.dumps(listed)
        old_token = await service.token(old_id, old_secret)
        path = f"/v1/admin/keys/{old_id}"
        rotated = (await http.post(f"{path}/rotate", json={"overlap_s": "1.5"})).json()
        new_id_, new_secret = rotated["client_id"], rotated["client_secret"]
        assert (rotated["key"]["label"], rotated["key"]["scopes"]) == ("desk 4", ["rfq:read", "rfq:write"])
        new_token = await service.token(new_id_, new_secret)
        assert {await status_with(service, token) for token in (old_token, new_token)} == {200}
        assert error_of(await http.post(f"{path}/rotate", json={})) == (404, "KEY_NOT_FOUND")
        await asyncio.sleep(1.6)
        assert await status_with(service, old_token) == 401
        assert (await service.ask_token(old_id, old_secret)).status_code == 401
        revoked = (await http.post(f"/v1/admin/keys/{new_id_}/revoke")).json()
        assert revoked["revoked_at"] is not None
        # in this replica at once
        assert await status_with(service, new_token) == 401
        assert error_of(await http.post(f"/v1/admin/keys/{new_id_}/revoke")) == (404, "KEY_NOT_FOUND")
        old = (await http.get("/v1/admin/keys", params={"firm": CLIENT, "limit": 2})).json()["items"][1]
        assert (old["key_id"], old["replaced_by"]) == (old_id, new_id_)


async def status_with(service: Service, token: str) -> int:
    async with service.http(Authorization=f"Bearer {token}") as http:
        return (await http.get("/v1/board")).status_code


async def test_another_replica_notices_a_revocation_within_its_poll(service: Service) -> None:
    client_id, secret = await service.add_key(CLIENT)
    async with running(make_runtime(service.dsn), add_firms=False) as other:
        token = await service.token(client_id, secret)
        assert await status_with(other, token) == 200
        async with service.http(OPERATOR) as http:
            assert (await http.post(f"/v1/admin/keys/{client_id}/revoke")).status_code == 200
        revoked_at = time.monotonic()
        principal = remembered(other, token)
        while await status_with(other, token) != 401:
            assert time.monotonic() - revoked_at < 2.5
            await asyncio.sleep(0.05)
        assert not other.runtime.identity.is_valid(principal)


def remembered(service: Service, token: str) -> Any:
    return service.runtime.identity._known[hashlib.sha256(token.encode()).digest()]


async def test_a_repeated_creation_is_answered_without_the_secret_and_nothing_of_it_is_stored(service: Service) -> None:
    headers = {"Idempotency-Key": "make-one-key"}
    async with service.http(OPERATOR) as http:
        first = await http.post("/v1/admin/keys", json={"firm": CLIENT}, headers=headers)
        second = await http.post("/v1/admin/keys", json={"firm": CLIENT}, headers=headers)
    secret = first.json()["client_secret"]
    assert first.headers["cache-control"] == "no-store"
    assert (second.status_code, second.headers["idempotency-replayed"]) == (201, "true")
    assert second.json() == {**first.json(), "client_secret": None}
    for table in ("api_key", "event", "idempotency_key", "stream_entry"):
        stored = await service.rows(f"SELECT {table}::text FROM {table}")
        assert not [row for row in stored if secret in row[0] or secret.encode().hex() in row[0]], table
    [[digest]] = await service.rows("SELECT digest FROM api_key WHERE id = :id", id=UUID(first.json()["client_id"]))
    assert bytes(digest) == digest_of(secret)


async def test_a_key_ends_with_its_life_and_its_tokens_with_it(service: Service) -> None:
    async with service.http(OPERATOR) as http:
        body = {"firm": CLIENT, "expires_in_s": "2.5"}
        made = (await http.post("/v1/admin/keys", json=body)).json()
    answer = await service.ask_token(made["client_id"], made["client_secret"])
    assert 0 < answer.json()["expires_in"] <= 3
    token = answer.json()["access_token"]
    assert await status_with(service, token) == 200
    await asyncio.sleep(2.6)
    assert await status_with(service, token) == 401
    assert (await service.ask_token(made["client_id"], made["client_secret"])).status_code == 401


@pytest.mark.parametrize(
    "body, status, code, field",
    [
        ({"firm": "Nobody"}, 404, "FIRM_NOT_FOUND", "firm"),
        ({"firm": CLIENT, "role": "dealer"}, 422, "INVALID_FIELD", "role"),
        ({"firm": CLIENT, "role": "god"}, 422, "INVALID_FIELD", "role"),
        ({"firm": CLIENT, "scopes": ["quote:write"]}, 422, "INVALID_FIELD", "scopes"),
        ({"firm": CLIENT, "scopes": ["everything"]}, 422, "INVALID_FIELD", "scopes[0]"),
        ({"firm": DEALERS[0], "scopes": ["rfq:write"]}, 422, "INVALID_FIELD", "scopes"),
        ({"firm": CLIENT, "label": "\x07"}, 422, "INVALID_FIELD", "label"),
        ({"firm": CLIENT, "label": "x" * 65}, 422, "INVALID_FIELD", "label"),
        ({"firm": CLIENT, "expires_in_s": "-1"}, 422, "OUT_OF_RANGE", "expires_in_s"),
        ({}, 422, "INVALID_FIELD", "firm"),
    ],
)
async def test_keys_that_cannot_be(service: Service, body: Any, status: int, code: str, field: str) -> None:
    async with service.http(OPERATOR) as http:
        answer = await http.post("/v1/admin/keys", json=body)
    assert (*error_of(answer), answer.json()["field"]) == (status, code, field)


@pytest.mark.parametrize(
    "body, status, code",
    [
        ({"name": CLIENT}, 409, "NAME_TAKEN"),
        ({"name": " x"}, 422, "INVALID_FIELD"),
        ({"name": "a\u200bb"}, 422, "INVALID_FIELD"),
        ({"name": ""}, 422, "INVALID_FIELD"),
        ({"name": "x" * 65}, 422, "INVALID_FIELD"),
    ],
)
async def test_firms_that_cannot_be(service: Service, body: Any, status: int, code: str) -> None:
    async with service.http(OPERATOR) as http:
        assert error_of(await http.post("/v1/admin/firms", json=body)) == (status, code)


async def test_every_change_by_an_operator_is_an_event_with_his_key(service: Service) -> None:
    name = f"Firm {uuid4().hex[:8]}"
    async with service.http(OPERATOR) as http:
        await http.post("/v1/admin/firms", json={"name": name, "is_dealer": True})
        key_id = (await http.post("/v1/admin/keys", json={"firm": name})).json()["client_id"]
        new_id_ = (await http.post(f"/v1/admin/keys/{key_id}/rotate", json={})).json()["client_id"]
        await http.post(f"/v1/admin/keys/{new_id_}/revoke")
        grant = (await http.post("/v1/admin/audit-grants", json={"auditor": name, "firm": None})).json()
        taken = await http.post("/v1/admin/audit-grants", json={"auditor": name, "firm": None})
        assert error_of(taken) == (409, "GRANT_EXISTS")
        await http.post(f"/v1/admin/audit-grants/{grant['grant_id']}/revoke")
    found = await service.rows(
        "SELECT kind, audience, payload_json->>'by', payload_json::text FROM event "
        "WHERE dealer_firm_id = (SELECT id FROM firm WHERE name = :name) ORDER BY id",
        name=name,
    )
    kinds = ["firm.added", "key.added", "key.rotated", "key.revoked", "grant.added", "grant.revoked"]
    assert [(kind, audience, by) for kind, audience, by, _ in found] == [
        (kind, "dealer", service.keys[OPERATOR][0]) for kind in kinds
    ]


async def test_pages_of_keys_and_firms_are_whole(service: Service) -> None:
    async with service.http(OPERATOR) as http:
        for path, name in (("/v1/admin/keys", "key_id"), ("/v1/admin/firms", "firm_id")):
            everything = (await http.get(path, params={"limit": 200})).json()
            assert everything["next_cursor"] is None
            walked: list[str] = []
            cursor: dict[str, str] = {}
            while True:
                page = (await http.get(path, params={"limit": 3, **cursor})).json()
                walked += [item[name] for item in page["items"]]
                if page["next_cursor"] is None:
                    break
                cursor = {"cursor": page["next_cursor"]}
            assert walked == [item[name] for item in everything["items"]]


# ------------------------------------------------------------------------------------------------------------ auditors


async def test_an_auditor_reads_whom_he_was_granted_until_it_ends(service: Service) -> None:
    async with service.http(OPERATOR) as operator, service.http(AUDITOR) as auditor:

        async def status(firm: str) -> int:
            answers = [await auditor.get(f"/v1/audit/{what}", params={"firm": firm}) for what in ("quotes", "events")]
            [one] = {answer.status_code for answer in answers}
            assert one == 200 or {answer.json()["code"] for answer in answers} == {"FIRM_NOT_FOUND"}
            return one

        assert await status(RIVAL_CLIENT) == 404
        body = {"auditor": AUDITOR, "firm": RIVAL_CLIENT}
        grant = (await operator.post("/v1/admin/audit-grants", json=body)).json()
        assert [await status(firm) for firm in (RIVAL_CLIENT, DEALERS[1], "Nobody")] == [200, 404, 404]
        await operator.post(f"/v1/admin/audit-grants/{grant['grant_id']}/revoke")
        assert await status(RIVAL_CLIENT) == 404
        grant = (await operator.post("/v1/admin/audit-grants", json={**body, "firm": None})).json()
        assert [await status(firm) for firm in (RIVAL_CLIENT, DEALERS[1], "Nobody")] == [200, 200, 404]
        await operator.post(f"/v1/admin/audit-grants/{grant['grant_id']}/revoke")
        assert await status(RIVAL_CLIENT) == 404


async def test_an_auditor_reads_what_the_firm_was_told_in_its_order(service: Service, market: dict[str, Any]) -> None:
    order = {"legs": [{"instrument_id": market["instrument_id"]}], "side": "buy", "quantity": "100"}
    async with service.http(OPERATOR) as operator, service.http(AUDITOR) as auditor, service.http(RIVAL_CLIENT) as http:
        body = {"auditor": AUDITOR, "firm": RIVAL_CLIENT}
        grant = (await operator.post("/v1/admin/audit-grants", json=body)).json()
        rfq_id = (await http.post("/v1/rfqs", json=order)).json()["rfq"]["rfq_id"]
        async with asyncio.timeout(5):
            while True:
                query = {"firm": RIVAL_CLIENT, "limit": 200}
                events = (await auditor.get("/v1/audit/events", params=query)).json()["items"]
                if [event for event in events if event["rfq_id"] == rfq_id]:
                    break
                await asyncio.sleep(0.02)
        assert [event["number"] for event in events] == list(range(1, len(events) + 1))
        page = (await auditor.get("/v1/audit/events", params={**query, "limit": 1})).json()
        assert (page["items"], page["next_after"]) == (events[:1], 1)
        rest = (await auditor.get("/v1/audit/events", params={**query, "after": 1})).json()
        assert rest["items"] == events[1:]
        await operator.post(f"/v1/admin/audit-grants/{grant['grant_id']}/revoke")


# -------------------------------------------------------------------------------------------------------- signing keys


async def test_replicas_that_start_at_once_sign_with_one_key(service: Service, database_dsn: str) -> None:
    pools = [Databases.open(database_dsn) for _ in range(5)]
    replicas = [make_identity(service, pool=pool.operator) for pool in pools]
    await asyncio.gather(*(replica.start() for replica in replicas))
    assert len({tuple(replica.public_keys()) for replica in replicas}) == 1
    assert [len(replica.public_keys()) for replica in replicas] == [1] * 5
    await asyncio.gather(*(pool.close() for pool in pools))


async def signing_key(service: Service) -> str:
    return str(jwt.get_unverified_header(await service.token(*service.keys[CLIENT]))["kid"])


async def test_tokens_survive_a_rotation_of_the_signing_key_unless_it_leaked(service: Service) -> None:
    settings = Settings(database=DatabaseSettings(url=service.dsn))
    old_token = await service.token(*service.keys[CLIENT])
    for at_once, expected in ((False, 200), (True, 401)):
        before = await signing_key(service)
        await asyncio.to_thread(rotate_token_key, settings, at_once=at_once)
        async with asyncio.timeout(5):
            while await signing_key(service) == before:  # noqa: ASYNC110 - the service polls
                await asyncio.sleep(0.05)
        assert await status_with(service, old_token) == expected
        assert await service.rows("SELECT id FROM token_key WHERE retired_at_ns > 0 AND private_key IS NOT NULL") == []
    for firm, key in service.keys.items():
        service.tokens[firm] = await service.token(*key)


async def test_a_key_from_a_file_signs_and_others_can_verify_it(service: Service) -> None:
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    own = read_token_key(pem, time.time_ns())
    assert own.key_id == read_token_key(pem, 1).key_id
    identity = make_identity(service, own_key=own)
    await identity.start()
    issued = await identity.issue(UUID(service.keys[CLIENT][0]), service.keys[CLIENT][1], frozenset())
    assert jwt.get_unverified_header(issued.token)["kid"] == str(own.key_id)
    async with asyncio.timeout(5):
        while await status_with(service, issued.token) != 200:  # noqa: ASYNC110 - the service polls
            await asyncio.sleep(0.1)
    [[stored]] = await service.rows("SELECT private_key FROM token_key WHERE id = :id", id=own.key_id)
    assert stored is None


@pytest.mark.parametrize("pem", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
async def test_a_file_that_holds_no_key_is_refused(pem: bytes) -> None:
    with pytest.raises(ValueError, match="PEM"):
        read_token_key(pem, 1)


def make_identity(service: Service, **options: Any) -> Identity:
    runtime = service.runtime
    terms = TokenTerms("rfq-service", "rfq-api", 300)
    clock = options.pop("clock", runtime.clock)
    pool = options.pop("pool", runtime.databases.operator)
    return Identity(pool, clock, new_id, terms, blind_max_ns=10 * NS_PER_S, **options)


class AdvancedClock:
    """The service's clocks, ahead by as much as a test says."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def now_ns(self) -> int:
        return time.time_ns() + self.ahead_ns

    def monotonic_ns(self) -> int:
        return time.monotonic_ns() + self.ahead_ns


async def test_without_news_of_revocations_nobody_is_let_in(service: Service) -> None:
    clock = AdvancedClock()
    lost = Database("postgresql://rfq:rfq@127.0.0.1:1/rfq")
    identity = make_identity(service, clock=clock)
    client_id, secret = service.keys[CLIENT]
    await identity.start()
    issued = await identity.issue(UUID(client_id), secret, frozenset())
    principal = await identity.verify(issued.token)
    assert identity.is_valid(principal)
    assert identity.state() == "ok"
    clock.ahead_ns = 11 * NS_PER_S
    assert not identity.is_valid(principal)
    assert identity.state() == "revoked keys cannot be read"
    identity._database, found = lost, identity._database
    for _ in range(2):
        with pytest.raises(RfqError) as caught:
            await identity.verify(issued.token)
        assert caught.value.code is ErrorCode.DATABASE_UNAVAILABLE
    # it looks again by itself, once a second at most
    identity._database = found
    with pytest.raises(RfqError):
        await identity.verify(issued.token)
    clock.ahead_ns += 2 * NS_PER_S
    assert identity.is_valid(await identity.verify(issued.token))
    clock.ahead_ns = 301 * NS_PER_S
    await identity.poll()
    assert not identity.is_valid(principal)
    with pytest.raises(RfqError) as caught:
        await identity.verify(issued.token)
    assert caught.value.code is ErrorCode.UNAUTHENTICATED


async def test_verified_tokens_are_remembered_and_the_memory_is_bounded(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rfq_service.desk.identity._CACHE_MAX", 3)
    identity = make_identity(service)
    await identity.start()
    tokens = [forged(service, jti=f"t{number}") for number in range(5)]
    first = [await identity.verify(token) for token in tokens]
    assert len(identity._known) == 3
    assert await identity.verify(tokens[-1]) is first[-1]
    again = await identity.verify(tokens[0])
    assert again == first[0]
    assert again is not first[0]
    assert replace(again) == again
    assert msgspec.to_builtins(sorted(again.scopes)) == ["rfq:read", "rfq:write"]


async def test_published_keys_are_raw_ed25519(service: Service) -> None:
    for raw in service.runtime.identity.public_keys().values():
        key = Ed25519PublicKey.from_public_bytes(raw)
        assert key.public_bytes(Encoding.Raw, PublicFormat.Raw) == raw


async def test_a_key_is_told_of_at_the_desk_it_serves(service: Service) -> None:
    name = f"Firm {uuid4().hex[:8]}"
    async with service.http(OPERATOR) as http:
        await http.post("/v1/admin/firms", json={"name": name, "is_dealer": True})
        for role in ("dealer", "buy_side"):
            await http.post("/v1/admin/keys", json={"firm": name, "role": role})
    found = await service.rows(
        "SELECT audience, payload_json->>'role' FROM event WHERE kind = 'key.added' AND "
        "coalesce(dealer_firm_id, client_firm_id) = (SELECT id FROM firm WHERE name = :name) ORDER BY id",
        name=name,
    )
    assert sorted(tuple(row) for row in found) == [("client", "buy_side"), ("dealer", "dealer")]
