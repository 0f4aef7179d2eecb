# A wrong setting is named at start, with the variable that the operator wrote.
from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfq_service.settings import (
    Settings,
    SettingsError,
    describe_settings,
    milliseconds_to_ns,
    read_settings,
    seconds_to_ns,
    variable_name,
)

TREE = [
    (section.name, item) for section in fields(Settings) for item in fields(type(getattr(Settings(), section.name)))
]
IDS = [variable_name(section, item.name) for section, item in TREE]
NUMBERS = [(section, item) for section, item in TREE if type(item.default) in (int, float)]
NUMBER_IDS = [variable_name(section, item.name) for section, item in NUMBERS]


def refused(environment):
    with pytest.raises(SettingsError) as raised:
        read_settings(environment)
    return str(raised.value)


def test_defaults():
    assert read_settings({}) == Settings()
    assert read_settings({"PATH": "/bin", "HOME": "/root"}) == Settings()


@pytest.mark.parametrize("section, item", TREE, ids=IDS)
def test_every_setting_is_documented_and_read(section, item):
    variable = variable_name(section, item.name)
    default = getattr(getattr(Settings(), section), item.name)
    described = {name: (shown, doc) for name, shown, doc in describe_settings()}
    shown, doc = described[variable]
    assert shown == str(default)
    assert len(doc) > 8
    if default != "":
        assert read_settings({variable: shown}) == Settings()


def test_describes_nothing_else():
    assert [name for name, _, _ in describe_settings()] == IDS
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize("section, item", NUMBERS, ids=NUMBER_IDS)
def test_numbers_have_bounds(section, item):
    variable = variable_name(section, item.name)
    minimum, maximum = item.metadata["minimum"], item.metadata["maximum"]
    assert minimum <= item.default <= maximum
    below, above = minimum - 1, maximum + 1
    for text in (f"{below:.10g}", f"{above:.10g}", "9" * 400):
        message = refused({variable: text})
        assert message.startswith(f"{variable}=")
        assert f"{minimum:g}" in message
        assert f"{maximum:g}" in message
    for text in ("", "many", "0x10", "NaN", "inf", "-Infinity", "1e999", "9" * 5000):
        assert refused({variable: text}).startswith(f"{variable}=")


def test_numbers_keep_their_kind():
    settings = read_settings({"RFQ_HTTP_PORT": "0", "RFQ_HTTP_RATE_PER_S": "3", "RFQ_MARKET_SPEED": "0.5"})
    assert settings.http.port == 0
    assert isinstance(settings.http.rate_per_s, float)
    assert settings.market.speed == 0.5
    assert refused({"RFQ_HTTP_PORT": "80.5"}) == "RFQ_HTTP_PORT='80.5': a number is needed"


@pytest.mark.parametrize(
    "text, value",
    [("true", True), ("TRUE", True), ("1", True), ("Yes", True), ("false", False), ("0", False), ("no", False)],
)
def test_booleans(text, value):
    assert read_settings({"RFQ_HTTP_PROXY_HEADERS": text}).http.proxy_headers is value
    assert read_settings({"RFQ_MARKET_LOOP": text}).market.loop is value


@pytest.mark.parametrize("text", ["", "2", "on", "y", "None", " true"])
def test_no_booleans(text):
    assert refused({"RFQ_MARKET_LOOP": text}).startswith("RFQ_MARKET_LOOP=")


def test_texts_and_paths_are_taken_as_they_are():
    settings = read_settings({"RFQ_DATABASE_DATA_DIR": "/var/lib/rfq", "RFQ_MARKET_SOURCE": "simulated"})
    assert settings.database.data_dir == Path("/var/lib/rfq")
    assert settings.market.source == "simulated"


@pytest.mark.parametrize("name", ["RFQ_", "RFQ_PORT", "RFQ_HTTP_PROT", "RFQ_HTTP_PORT_", "RFQ_http_port"])
def test_an_unknown_variable_is_named(name):
    assert refused({name: "1", "OTHER": "x"}) == f"{name} is not a setting; `rfq settings` lists them all"


def test_the_first_unknown_by_name():
    assert refused({"RFQ_ZZZ": "", "RFQ_AAA": ""}).startswith("RFQ_AAA ")


@given(st.text(min_size=1, max_size=20))
def test_whatever_is_not_a_setting_is_refused(suffix):
    name = f"RFQ_{suffix}"
    if name not in IDS and name not in {"RFQ_PG_BIN", "RFQ_REQUIRE_DATA", "RFQ_DATA", "RFQ_API_KEY", "RFQ_URL"}:
        assert refused({name: "1"}).startswith(name)


def test_variables_that_are_read_elsewhere_are_let_pass():
    elsewhere = {"RFQ_PG_BIN": "/usr/lib/postgresql/16/bin", "RFQ_REQUIRE_DATA": "1", "RFQ_DATA": "/data"}
    assert read_settings(elsewhere) == Settings()


def test_database_url():
    url, other = "postgresql://a:secret@h/d", "postgres://b@h/e"
    assert read_settings({"DATABASE_URL": url}).database.url == url
    assert read_settings({"RFQ_DATABASE_URL": url}).database.url == url
    assert read_settings({"RFQ_DATABASE_URL": url, "DATABASE_URL": other}).database.url == url
    assert read_settings({"RFQ_DATABASE_URL": "", "DATABASE_URL": other}).database.url == other
    assert read_settings({"DATABASE_URL": ""}).database.url == ""
    assert read_settings({"DATABASE_URL": url, "RFQ_DATABASE_POOL_SIZE": "3"}).database.pool_size == 3


@pytest.mark.parametrize("variable", ["DATABASE_URL", "RFQ_DATABASE_URL"])
def test_a_wrong_address_is_named_without_its_password(variable):
    assert refused({variable: "mysql://a:secret@h/d"}) == f"{variable}: a postgresql:// address is needed"


@pytest.mark.parametrize("kind", ["RFQ_EXPIRY", "QUOTE_TTL"])
def test_a_default_life_lies_within_its_bounds(kind):
    message = refused({f"RFQ_LIFE_{kind}_MIN_S": "20", f"RFQ_LIFE_{kind}_DEFAULT_S": "10"})
    assert message.startswith(f"RFQ_LIFE_{kind}_DEFAULT_S=10: ")
    message = refused({f"RFQ_LIFE_{kind}_MAX_S": "5", f"RFQ_LIFE_{kind}_DEFAULT_S": "10"})
    assert message.startswith(f"RFQ_LIFE_{kind}_DEFAULT_S=10: ")


def test_log_level():
    assert read_settings({"RFQ_TELEMETRY_LOG_LEVEL": "DEBUG"}).telemetry.log_level == "DEBUG"
    assert refused({"RFQ_TELEMETRY_LOG_LEVEL": "LOUD"}).startswith("RFQ_TELEMETRY_LOG_LEVEL='LOUD'")


def test_durations():
    assert seconds_to_ns(0.1) == 100_000_000
    assert seconds_to_ns(86_400.0) == 86_400_000_000_000
    assert milliseconds_to_ns(200) == 200_000_000
