"""The command line ``rfq``: each command reads the settings once, builds what it needs and says what to do next."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from models.artifacts.bundle import ArtifactError
from rfq_service.db.embedded import EmbeddedPostgresError
from rfq_service.domain.errors import RfqError
from rfq_service.domain.identity import Role, Scope
from rfq_service.settings import Settings, SettingsError, describe_settings, read_settings, seconds_to_ns

Command = Callable[[argparse.Namespace, Settings], int]

_USAGE_ERROR = 2
_SECONDS_MAX = 1e9


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 for a failure that is explained, 2 for wrong usage or settings."""
    parsed = _parser().parse_args(arguments)
    try:
        settings = read_settings(os.environ)
        command: Command = parsed.command
        return command(parsed, settings)
    except SettingsError as error:
        print(f"rfq: {error}", file=sys.stderr)
        return _USAGE_ERROR
    except (RfqError, EmbeddedPostgresError, ArtifactError, OSError) as error:
        print(f"rfq: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("rfq: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rfq", description="The RFQ service: quotes scored, quotes made.")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add(commands, "serve", _serve, "run the service until interrupted")
    _add(commands, "demo", _demo, "play a market and run RFQs end to end")
    _add_database(commands)
    _add_parties(commands)
    _add_market(commands)
    calibrate = _add(commands, "calibrate", _calibrate, "measure the closed forms' parameters on recordings")
    calibrate.add_argument("--data", type=Path, required=True, help="folder laid out like the recordings")
    calibrate.add_argument("--out", type=Path, required=True, help="folder for the artifact")
    openapi = _add(commands, "openapi", _openapi, "write the OpenAPI document")
    openapi.add_argument("--out", type=Path, default=Path("openapi/openapi.json"), help="file to write")
    _add(commands, "settings", _settings, "list every setting with its default")
    return parser


def _add(commands: argparse._SubParsersAction, name: str, run: Command, text: str) -> argparse.ArgumentParser:  # type: ignore[type-arg]
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=run)
    return parser


def _add_database(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    database = commands.add_parser("db", help="the schema").add_subparsers(required=True, metavar="action")
    upgrade = _add(database, "upgrade", _db_upgrade, "bring the schema to the newest revision")
    upgrade.add_argument("revision", nargs="?", default="head")
    downgrade = _add(database, "downgrade", _db_downgrade, "take the schema back to a revision (base: all of it)")
    downgrade.add_argument("revision")
    _add(database, "rebase", _db_rebase, "after restoring a dump: go on numbering events (no service may run)")


def _add_parties(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    firm = commands.add_parser("firm", help="the parties").add_subparsers(required=True, metavar="action")
    firm_add = _add(firm, "add", _firm_add, "add a firm")
    firm_add.add_argument("name")
    firm_add.add_argument("--dealer", action="store_true", help="asked when a client lets the service choose")
    _add(firm, "list", _firm_list, "list the firms")
    key = commands.add_parser("key", help="API keys").add_subparsers(required=True, metavar="action")
    key_add = _add(key, "add", _key_add, "create an API key of a firm; it is shown once")
    key_add.add_argument("firm")
    key_add.add_argument("--label", default="", help="what it is for")
    roles, scopes = [role.value for role in Role], [scope.value for scope in Scope]
    key_add.add_argument("--role", choices=roles, help="default: dealer or buy_side, as the firm")
    key_add.add_argument("--scope", action="append", default=[], choices=scopes, help="default: all of the role")
    key_add.add_argument("--life-s", type=_seconds, help="seconds until it ends; default: until it is revoked")
    key_list = _add(key, "list", _key_list, "list API keys, never their secrets")
    key_list.add_argument("firm", nargs="?")
    key_rotate = _add(key, "rotate", _key_rotate, "replace an API key; the new one is shown once")
    key_rotate.add_argument("key_id")
    key_rotate.add_argument("--overlap-s", type=_seconds, help="life of the old key; default: the settings'")
    key_revoke = _add(key, "revoke", _key_revoke, "revoke an API key")
    key_revoke.add_argument("key_id")
    _add_grants(commands)
    token_key = commands.add_parser("token-key", help="what signs tokens").add_subparsers(
        required=True, metavar="action"
    )
    rotate = _add(token_key, "rotate", _token_key_rotate, "sign with a new key; tokens of the old end in their time")
    rotate.add_argument("--at-once", action="store_true", help="the old key has leaked: refuse its tokens now")
    instrument = commands.add_parser("instrument", help="reference data").add_subparsers(
        required=True, metavar="action"
    )
    instrument_add = _add(instrument, "add", _instrument_add, "add or change instruments from a JSON file")
    instrument_add.add_argument("file", type=Path)


def _add_grants(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    grant = commands.add_parser("grant", help="whom auditors may read").add_subparsers(required=True, metavar="action")
    grant_add = _add(grant, "add", _grant_add, "let an auditor's firm read another")
    grant_add.add_argument("auditor", help="the auditor's firm")
    whom = grant_add.add_mutually_exclusive_group(required=True)
    whom.add_argument("firm", nargs="?", help="whom he may read")
    whom.add_argument("--every-firm", action="store_true", help="he may read every firm")
    _add(grant, "list", _grant_list, "list the grants")
    grant_revoke = _add(grant, "revoke", _grant_revoke, "end a grant")
    grant_revoke.add_argument("grant_id")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= _SECONDS_MAX:
        raise ValueError(text)
    return value


def _add_market(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    replay = _add(commands, "replay", _replay, "play recordings as fast as possible and check every sequence number")
    ingest = _add(commands, "ingest", _ingest, "build books from recordings and store minute bars in Postgres")
    for parser in (replay, ingest):
        parser.add_argument("data", nargs="?", help="folder of recordings (default: RFQ_MARKET_SOURCE)")


def _serve(_: argparse.Namespace, settings: Settings) -> int:
    from rfq_service.serve import serve

    return serve(settings)


def _demo(_: argparse.Namespace, settings: Settings) -> int:
    from rfq_service.demo.run import run_demo

    return run_demo(settings)


def _db_upgrade(arguments: argparse.Namespace, settings: Settings) -> int:
    from rfq_service import administration

    return administration.upgrade(settings, arguments.revision)


def _db_downgrade(arguments: argparse.Namespace, settings: Settings) -> int:
    from rfq_service import administration

    return administration.downgrade(settings, arguments.revision)


def _db_rebase(_: argparse.Namespace, settings: Settings) -> int:
    from rfq_service import administration

    return administration.rebase(settings)


def _firm_add(arguments: argparse.Namespace, settings: Settings) -> int:
    from rfq_service import administration

    return administration.add_firm(settings, arguments.name, is_dealer=arguments.dealer)


def _firm_list(_: argparse.Namespace, settings: Settings) -> int:
    from rfq_service import administration

    return administration.list_firms(settings)


def _key_add(arguments: argparse.Namespace, settings: Settings) -> int:
    from rfq_service import administration
    from rfq_service.desk.parties import KeyOrder

    life_ns = None if arguments.life_s is None else seconds_to_ns(arguments.life_s)
    order = KeyOrder(
        firm_name=arguments.firm,
        role=None if arguments.role is None else Role(arguments.role),
        scopes=frozenset(Scope(scope) for scope in arguments.scope),
        label=arguments.label,
        life_ns=life_ns,
    )
    return administration.add_key(settings, order)


def _key_list(arguments: argparse.Namespace, settings: Settings) -> int:
    from rfq_service import administration

    return administration.list_keys(settings, arguments.firm)


def _key_rotate(arguments: argparse.Namespace, settings: Settings) -> int:
    from rfq_service import administration

    return administration.rotate_key(settings, arguments.key_id, arguments.overlap_s)


def _key_revoke(arguments: argparse.Namespace, settings: Settings) -> int:
    from rfq_service import administration

    return administration.revoke_key(settings, arguments.key_id)


def _grant_add(arguments: argparse.Namespace, settings: Settings) -> int:
    from rfq_service import administration

    return administration.add_grant(settings, arguments.auditor, arguments.firm)


def _grant_list(_: argparse.Namespace, settings: Settings) -> int:
    from rfq_service import administration

    return administration.list_grants(settings)


def _grant_revoke(arguments: argparse.Namespace, settings: Settings) -> int:
    from rfq_service import administration

    return administration.revoke_grant(settings, arguments.grant_id)


def _token_key_rotate(arguments: argparse.Namespace, settings: Settings) -> int:
    from rfq_service import administration

    return administration.rotate_token_key(settings, at_once=arguments.at_once)


def _instrument_add(arguments: argparse.Namespace, settings: Settings) -> int:
    from rfq_service import administration

    return administration.add_instruments(settings, arguments.file)


def _replay(arguments: argparse.Namespace, settings: Settings) -> int:
    from rfq_service import recordings

    return recordings.replay_command(settings, arguments.data)


def _ingest(arguments: argparse.Namespace, settings: Settings) -> int:
    from rfq_service import recordings

    return recordings.ingest_command(settings, arguments.data)


def _calibrate(arguments: argparse.Namespace, _: Settings) -> int:
    from rfq_service import recordings

    return recordings.calibrate_command(arguments.data, arguments.out)


def _openapi(arguments: argparse.Namespace, _: Settings) -> int:
    from rfq_service.api.openapi import write_openapi

    write_openapi(arguments.out)
    print(f"wrote {arguments.out}")
    return 0


def _settings(_: argparse.Namespace, __: Settings) -> int:
    for variable, default, text in describe_settings():
        print(f"{variable:38} {default or '-':12} {text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
