from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import asyncpg
import pytest

from rfq_service.db import embedded, embedded_cluster
from rfq_service.db.embedded import EmbeddedPostgres, EmbeddedPostgresError
from tests.support.data import PROJECT_ROOT

# A process that serves a cluster and says so, until it is killed.
_CHILD = [sys.executable, "-m", "rfq_service.db.embedded"]


def new_directory():
    directory = Path(tempfile.mkdtemp(prefix="rfq-embedded-"))
    directory.chmod(0o755)
    return directory


@pytest.fixture
def data_dir():
    """Where no cluster has been made yet."""
    directory = new_directory()
    yield directory / "postgres"
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def made_dir():
    """A cluster for the tests that leave it whole: making one is most of a test's time."""
    directory = new_directory()
    yield directory / "postgres"
    shutil.rmtree(directory)


def query(dsn, statement, *arguments):
    async def run():
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetch(statement, *arguments)
        finally:
            await connection.close()

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


def wait_until(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_data_survive_a_clean_restart_and_the_dsn_stays(made_dir):
    server = EmbeddedPostgres(made_dir)
    first = server.start()
    query(first, "CREATE TABLE restarted AS SELECT 7 AS value")
    server.stop()
    with pytest.raises(OSError, match="onnect"):
        query(first, "SELECT 1")
    second = server.start()
    assert second == first
    assert query(second, "SELECT value FROM restarted")[0]["value"] == 7
    server.stop()


def test_cluster_is_durable_checked_private_and_on_the_loopback_only(made_dir):
    with EmbeddedPostgres(made_dir) as server:
        names = "fsync synchronous_commit full_page_writes data_checksums listen_addresses password_encryption"
        settings = {name: query(server.dsn, f"SHOW {name}")[0][0] for name in names.split()}
        encoding = query(server.dsn, "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname='rfq'")[0][0]
        wrong = server.dsn.replace(":" + server.dsn.split(":")[2].split("@")[0], ":wrong")
        with pytest.raises(asyncpg.InvalidPasswordError):
            query(wrong, "SELECT 1")
    assert settings == {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "data_checksums": "on",
        "listen_addresses": "127.0.0.1",
        "password_encryption": "scram-sha-256",
    }
    assert encoding == "UTF8"
    for name in ("password", "server.log"):
        assert (made_dir / name).stat().st_mode & 0o777 == 0o600, name
    assert (made_dir / "cluster").stat().st_mode & 0o777 == 0o700
    assert (made_dir / "socket").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to drop its rights")
def test_root_does_not_run_the_server(made_dir):
    with EmbeddedPostgres(made_dir, fsync=False) as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_starts_his_own_server(data_dir):
    import pwd

    user = pwd.getpwnam("nobody")
    data_dir.mkdir()
    os.chown(data_dir, user.pw_uid, user.pw_gid)
    child = os.fork()
    if child == 0:  # not a new interpreter: root's may lie in a closed folder
        status = 1
        try:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            with EmbeddedPostgres(data_dir, fsync=False) as server:
                status = 0 if Path(f"/proc/{server.pid}").stat().st_uid == user.pw_uid else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (data_dir / "cluster" / "PG_VERSION").stat().st_uid == user.pw_uid


def test_server_stops_cleanly_when_its_parent_is_killed(made_dir):
    child = subprocess.Popen([*_CHILD, str(made_dir)], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True)
    child.stdout.readline()
    attached = EmbeddedPostgres(made_dir)
    attached.start()
    pid = attached.pid
    assert is_running(pid)
    child.kill()
    child.wait()
    child.stdout.close()
    assert wait_until(lambda: not is_running(pid))
    assert "database system is shut down" in (made_dir / "server.log").read_text()


def test_second_process_attaches_and_does_not_stop_the_server(made_dir):
    with EmbeddedPostgres(made_dir) as owner:
        guest = EmbeddedPostgres(made_dir)
        assert guest.start() == owner.dsn
        assert owner.is_owner
        assert not guest.is_owner
        guest.stop()
        assert query(owner.dsn, "SELECT 1")[0][0] == 1
        other_port = EmbeddedPostgres(made_dir, port=owner.port + 1)
        with pytest.raises(EmbeddedPostgresError, match="already served on port"):
            other_port.start()


def test_two_processes_starting_at_once_share_one_server(data_dir):
    children = [
        subprocess.Popen([*_CHILD, str(data_dir)], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        lines = {child.stdout.readline() for child in children}
        assert len(lines) == 1
        assert lines.pop().startswith("postgresql://rfq:")
        attached = EmbeddedPostgres(data_dir)
        attached.start()
    finally:
        for child in children:
            child.kill()
            child.wait()
            child.stdout.close()
    assert wait_until(lambda: not is_running(attached.pid))


def test_start_recovers_from_a_killed_server(made_dir):
    server = EmbeddedPostgres(made_dir)
    dsn = server.start()
    query(dsn, "CREATE TABLE acknowledged (value int)")
    for value in range(50):
        query(dsn, "INSERT INTO acknowledged VALUES ($1)", value)
    os.kill(server.pid, signal.SIGKILL)
    assert wait_until(lambda: not is_running(server.pid))
    assert server.start() == dsn
    assert query(dsn, "SELECT count(*) FROM acknowledged")[0][0] == 50
    server.stop()


def test_number_of_the_dead_server_taken_by_another_process(made_dir):
    with EmbeddedPostgres(made_dir):
        pid_file = made_dir / "cluster" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
    stranger = subprocess.Popen(["/bin/sleep", "60"])
    try:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        with EmbeddedPostgres(made_dir) as server:
            assert server.pid != stranger.pid
    finally:
        stranger.kill()
        stranger.wait()


def test_half_made_cluster_is_thrown_away(data_dir):
    (data_dir / "cluster.new").mkdir(parents=True)
    (data_dir / "cluster.new" / "PG_VERSION").write_text("rubbish")
    with EmbeddedPostgres(data_dir, fsync=False) as server:
        assert query(server.dsn, "SELECT 1")[0][0] == 1
    assert not (data_dir / "cluster.new").exists()


def test_long_path_does_without_the_local_socket(data_dir):
    deep = data_dir / ("a" * 60) / ("b" * 60)
    with EmbeddedPostgres(deep, fsync=False) as server:
        assert query(server.dsn, "SHOW unix_socket_directories")[0][0] == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="a closed folder closes nobody out but the user root drops to")
def test_closed_folders_are_worked_around(data_dir, monkeypatch):
    closed = data_dir.parent / "closed"
    closed.mkdir(mode=0o700)
    package = embedded_cluster._package_directory()
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.with_name(name), closed / name, symlinks=True)
    fallback = data_dir.parent / "fallback"
    monkeypatch.setattr(embedded_cluster, "_package_directory", lambda: closed / package.name)
    monkeypatch.setattr(embedded_cluster, "_ROOT_FALLBACK", fallback)
    with EmbeddedPostgres(closed / "data", fsync=False) as server:
        assert query(server.dsn, "SELECT 1")[0][0] == 1
        program = Path(f"/proc/{server.pid}/exe").readlink()
    assert program.is_relative_to(fallback)
    home = Path((closed / "data" / "location").read_text().strip())
    assert home.is_relative_to(fallback)
    assert (home / "cluster").is_dir()


def test_wrong_binaries_are_named(made_dir, monkeypatch):
    monkeypatch.setenv("RFQ_PG_BIN", "/nowhere")
    with pytest.raises(EmbeddedPostgresError, match=r"RFQ_PG_BIN: /nowhere/postgres"):
        EmbeddedPostgres(made_dir).start()


def test_taken_port_is_named_with_the_servers_own_words(made_dir, monkeypatch):
    monkeypatch.setattr(embedded, "_START_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = EmbeddedPostgres(made_dir, port=taken.getsockname()[1])
        with pytest.raises(EmbeddedPostgresError, match="could not bind"):
            server.start()


def test_only_the_main_thread_may_start(made_dir):
    errors = []

    def start():
        try:
            EmbeddedPostgres(made_dir, fsync=False).start()
        except EmbeddedPostgresError as error:
            errors.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert errors == ["start the embedded PostgreSQL from the main thread"]


def test_empty_databases_are_separate(empty_database_dsn, database_server):
    query(empty_database_dsn, "CREATE TABLE mine (value int)")
    with database_server.database(migrated=False) as other:
        assert query(other, "SELECT to_regclass('mine')")[0][0] is None
