"""Every setting, in one documented tree, read once from ``RFQ_*`` variables by the command that starts.

A variable's name is ``RFQ_`` + section + ``_`` + field in capitals, as ``RFQ_HTTP_PORT``; ``rfq settings`` prints all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rfq_service.domain.units import NS_PER_MS, NS_PER_S

PREFIX = "RFQ_"


class SettingsError(ValueError):
    """A wrong setting, named with its variable."""


def _setting(default: Any, doc: str, minimum: float | None = None, maximum: float | None = None) -> Any:
    return field(default=default, metadata={"doc": doc, "minimum": minimum, "maximum": maximum})


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Where the history is kept."""

    url: str = _setting("", "PostgreSQL DSN; DATABASE_URL is read too; empty starts the embedded server")
    data_dir: Path = _setting(Path(".data"), "folder of the embedded server and its files")  # noqa: RUF009
    role_secret: str = _setting("", "what the login roles' passwords follow from; empty: the password in the DSN")
    pool_size: int = _setting(8, "connections for clients, dealers and changes, each; eleven more besides", 2, 500)
    statement_cache_size: int = _setting(256, "prepared statements per connection; 0 behind pgbouncer", 0, 10_000)
    command_timeout_ms: int = _setting(1_500, "longest statement", 10, 600_000)
    batch_max: int = _setting(64, "requests committed together at most", 1, 1_000)
    batch_spacing_ms: float = _setting(3.0, "least time between two group commits", 0, 1_000)
    queue_max: int = _setting(1_024, "requests waiting in one queue for it; beyond it 503 OVERLOADED", 1, 100_000)


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The API's socket and what it refuses."""

    host: str = _setting("127.0.0.1", "address to listen on")
    port: int = _setting(8080, "port; 0 lets the system choose", 0, 65_535)
    deadline_ms: int = _setting(2_000, "a request that cannot be answered by then gets 503", 10, 60_000)
    body_max_bytes: int = _setting(262_144, "largest request body", 1_024, 67_108_864)
    json_depth_max: int = _setting(16, "deepest nesting of a JSON body", 4, 200)
    page_max: int = _setting(200, "largest page of a listing", 1, 10_000)
    in_flight_max: int = _setting(256, "requests served at once by a replica; beyond it 503 OVERLOADED", 1, 100_000)
    rate_per_s: float = _setting(500.0, "requests a second for one key on one replica", 0.1, 1_000_000.0)
    rate_burst: int = _setting(1_000, "requests of one key that may come at once", 1, 1_000_000)
    idempotency_keep_s: float = _setting(172_800.0, "how long replies to Idempotency-Keys are kept", 1, 31_536_000)
    connections_max: int = _setting(4_000, "connections of a replica; beyond it requests get 503", 1, 1_000_000)
    proxy_headers: bool = _setting(False, "trust X-Forwarded-* (only behind a proxy that sets them)")


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """Keys and the tokens they buy."""

    token_s: int = _setting(300, "life of an access token", 5, 3_600)
    issuer: str = _setting("rfq-service", "who issues tokens; the same on every replica")
    audience: str = _setting("rfq-api", "whom tokens are for; another for every installation that shares an issuer")
    token_key_file: str = _setting("", "PEM file of the Ed25519 key that signs tokens; empty keeps it in the database")
    blind_max_s: float = _setting(10.0, "longest time without news of revoked keys; then no token is trusted", 2, 600)
    rotation_overlap_s: float = _setting(3_600.0, "life of a rotated key when nothing else is said", 0, 2_592_000)
    failures_per_minute: float = _setting(10.0, "wrong secrets a minute for one client id", 0.1, 10_000)


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Numbered events, and the sockets they are pushed to."""

    origins: str = _setting("", "pages that browsers may connect from, as https://desk.example, by comma; empty: none")
    keep_s: float = _setting(604_800.0, "seconds for which a reader may come back and resume", 1.0, 31_536_000.0)
    heartbeat_s: float = _setting(5.0, "time between two heartbeats of a socket", 0.1, 60.0)
    board_ms: int = _setting(100, "time between two messages of the board", 10, 60_000)
    queue_max: int = _setting(1_000, "events waiting for one socket; a slower one is cut off with 4408", 10, 100_000)
    page_max: int = _setting(500, "events read at once", 10, 10_000)
    send_timeout_s: float = _setting(5.0, "longest send; a socket that takes longer is cut off with 4408", 0.1, 60.0)
    auth_timeout_s: float = _setting(5.0, "time for a token as first message, where no header has one", 0.1, 60.0)
    message_max_bytes: int = _setting(16_384, "largest message of a client", 1_024, 1_048_576)
    sockets_max: int = _setting(1_000, "sockets on one replica; one more is closed with 4409", 1, 100_000)
    sockets_per_key: int = _setting(10, "sockets of one key on one replica; one more is closed with 4409", 1, 10_000)
    ping_s: float = _setting(20.0, "a socket that leaves a ping of the protocol unanswered for so long is gone", 1, 600)
    sequence_poll_ms: int = _setting(50, "time between two looks for events to number", 1, 10_000)
    sequence_spacing_ms: float = _setting(2.0, "least time between two steps of the sequencer", 0, 1_000)
    sequence_batch_max: int = _setting(1_000, "events numbered in one step, about", 1, 100_000)


@dataclass(frozen=True, slots=True)
class MarketSettings:
    """Where prices come from."""

    source: str = _setting("", "folder of recordings, 'simulated', or empty: recordings where found, else simulated")
    speed: float = _setting(1.0, "recorded seconds played per second", 0.01, 10_000.0)
    loop: bool = _setting(True, "start a recording again at its end")


@dataclass(frozen=True, slots=True)
class LifeSettings:
    """Bounds of RFQ expiry and quote life."""

    rfq_expiry_default_s: float = _setting(300.0, "RFQ expiry when the client names none", 0.1, 86_400.0)
    rfq_expiry_min_s: float = _setting(0.5, "shortest RFQ", 0.001, 86_400.0)
    rfq_expiry_max_s: float = _setting(86_400.0, "longest RFQ", 1.0, 604_800.0)
    quote_ttl_default_s: float = _setting(30.0, "quote life when the dealer names none", 0.1, 86_400.0)
    quote_ttl_min_s: float = _setting(0.1, "shortest quote", 0.001, 86_400.0)
    quote_ttl_max_s: float = _setting(3_600.0, "longest quote", 1.0, 604_800.0)
    sweep_ms: int = _setting(200, "pause between sweeps that expire RFQs and quotes", 10, 60_000)


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """What the service tells about itself."""

    sample_ratio: float = _setting(0.01, "share of use cases traced; failures always are", 0.0, 1.0)
    otlp_endpoint: str = _setting("", "OTLP/HTTP endpoint, as http://collector:4318; empty exports nothing")
    log_level: str = _setting("INFO", "DEBUG, INFO, WARNING or ERROR")
    log_json: bool = _setting(True, "JSON log lines; false for a person at a terminal")


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole tree."""

    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    stream: StreamSettings = field(default_factory=StreamSettings)
    market: MarketSettings = field(default_factory=MarketSettings)
    life: LifeSettings = field(default_factory=LifeSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Build the settings from the environment.

    Raises:
        SettingsError: for an unknown ``RFQ_*`` variable or a value of the wrong type or range; it names the variable.
    """
    sections: dict[str, Any] = {}
    known = set(_OUTSIDE_THE_TREE)
    for section in fields(Settings):
        section_type = type(getattr(Settings(), section.name))
        values: dict[str, Any] = {}
        for item in fields(section_type):
            variable = variable_name(section.name, item.name)
            known.add(variable)
            if variable in environment:
                values[item.name] = _parse(variable, environment[variable], item.default, item.metadata)
        sections[section.name] = section_type(**values)
    unknown = sorted(name for name in environment if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise SettingsError(f"{unknown[0]} is not a setting; `rfq settings` lists them all")
    settings = Settings(**sections)
    url_variable = variable_name("database", "url")
    if not settings.database.url and environment.get("DATABASE_URL"):
        url_variable = "DATABASE_URL"
        settings = replace(settings, database=replace(settings.database, url=environment[url_variable]))
    url = settings.database.url
    if url and not url.startswith(("postgresql://", "postgres://", "postgresql+asyncpg://")):
        raise SettingsError(f"{url_variable}: a postgresql:// address is needed")
    _check_together(settings)
    return settings


# Read elsewhere, before or beside the tree: the embedded server's binaries and the tests' own switches.
_OUTSIDE_THE_TREE = ("RFQ_PG_BIN", "RFQ_REQUIRE_DATA", "RFQ_DATA", "RFQ_API_KEY", "RFQ_URL")


def variable_name(section: str, name: str) -> str:
    """Environment variable of a setting."""
    return f"{PREFIX}{section}_{name}".upper()


def describe_settings() -> list[tuple[str, str, str]]:
    """(variable, default, what it is) of every setting, in tree order."""
    rows = []
    defaults = Settings()
    for section in fields(Settings):
        values = getattr(defaults, section.name)
        rows += [
            (variable_name(section.name, item.name), str(getattr(values, item.name)), item.metadata["doc"])
            for item in fields(values)
        ]
    return rows


def _parse(variable: str, text: str, default: object, metadata: Mapping[str, Any]) -> object:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise SettingsError(f"{variable}={text!r}: true or false")
        return text.lower() in ("true", "1", "yes")
    if isinstance(default, Path):
        return Path(text)
    if isinstance(default, str):
        return text
    kind = type(default)
    try:
        value = kind(text)  # type: ignore[call-arg]
    except ValueError:
        raise SettingsError(f"{variable}={text!r}: a number is needed") from None
    minimum, maximum = metadata["minimum"], metadata["maximum"]
    if not minimum <= value <= maximum:  # never true of NaN
        raise SettingsError(f"{variable}={text!r}: must be between {minimum:g} and {maximum:g}")
    return value


def _check_together(settings: Settings) -> None:
    life = settings.life
    for name in ("rfq_expiry", "quote_ttl"):
        low, middle, high = (getattr(life, f"{name}_{end}_s") for end in ("min", "default", "max"))
        if not low <= middle <= high:
            variable = variable_name("life", f"{name}_default_s")
            raise SettingsError(f"{variable}={middle:g}: must lie between its min {low:g} and max {high:g}")
    if settings.telemetry.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise SettingsError(f"RFQ_TELEMETRY_LOG_LEVEL={settings.telemetry.log_level!r}: DEBUG, INFO, WARNING or ERROR")


def seconds_to_ns(value_s: float) -> int:
    """Whole nanoseconds of a setting in seconds."""
    return round(value_s * NS_PER_S)


def milliseconds_to_ns(value_ms: int) -> int:
    """Nanoseconds of a setting in milliseconds."""
    return value_ms * NS_PER_MS
