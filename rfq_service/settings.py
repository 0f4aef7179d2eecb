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
    pool_size: int = _setting(8, "connections; the evaluations' writer keeps one of them", 2, 500)
    statement_cache_size: int = _setting(256, "prepared statements per connection; 0 behind pgbouncer", 0, 10_000)
    command_timeout_ms: int = _setting(1_500, "longest statement", 10, 600_000)
    batch_max: int = _setting(64, "evaluations committed together at most", 1, 1_000)
    batch_spacing_ms: float = _setting(3.0, "least time between two group commits", 0, 1_000)
    queue_max: int = _setting(1_024, "evaluations waiting for their commit; beyond it 503 OVERLOADED", 1, 100_000)


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The API's socket and what it refuses."""

    host: str = _setting("127.0.0.1", "address to listen on")
    port: int = _setting(8080, "port; 0 lets the system choose", 0, 65_535)
    deadline_ms: int = _setting(2_000, "a request that cannot be answered by then gets 503", 10, 60_000)
    body_max_bytes: int = _setting(262_144, "largest request body", 1_024, 67_108_864)
    json_depth_max: int = _setting(16, "deepest nesting of a JSON body", 4, 200)
    page_max: int = _setting(200, "largest page of a listing", 1, 10_000)
    key_cache_s: float = _setting(5.0, "seconds for which a verified API key is remembered", 0.0, 300.0)
    proxy_headers: bool = _setting(False, "trust X-Forwarded-* (only behind a proxy that sets them)")


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
