"""PostgreSQL, an S3 server, Redis and the name server on one address of the pods' network."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from sqlalchemy import make_url

from tests.k8s.network import Holder, Network, entered
from tests.postgres import running_postgres
from tests.s3 import CREDENTIALS, client_of

REDIS_PASSWORD = "a-password-of-redis"
POSTGRES_PORT, REDIS_PORT, S3_PORT, DNS_PORT = 5432, 6379, 443, 53
"""S3 runs without TLS here. 443 is the port that the NetworkPolicy allows."""
BUCKET = "ltx2-videos"
PATIENCE_S = 30.0


class Backends:
    """The addresses of the backends, for pods and from inside the network."""

    def __init__(self, holder: Holder, address: str, database: str, names: Path, resolver: int) -> None:
        self.holder = holder
        self.address = address
        self._names = names
        self._resolver = resolver
        self.database_url = f"postgresql+psycopg://postgres@postgres:{POSTGRES_PORT}/{database}"

    @property
    def services(self) -> dict[str, tuple[str, dict[str, int]]]:
        """The backends as services of the server's namespace."""
        ports = {"postgres": POSTGRES_PORT, "redis": REDIS_PORT, "s3": S3_PORT}
        return {name: (self.address, {name: port}) for name, port in ports.items()}

    def publish(self, names: Mapping[str, str]) -> None:
        """Set the names that the name server resolves. All other names are removed."""
        text = "".join(f"{address} {name}\n" for name, address in sorted(names.items()))
        if not self._names.exists() or self._names.read_text() != text:
            self._names.write_text(text)
            os.kill(self._resolver, signal.SIGHUP)


@contextmanager
def running_backends(folder: Path, network: Network) -> Iterator[Backends]:
    folder.mkdir(parents=True)
    holder = Holder("net", "uts")
    address = network.join(holder)
    with ExitStack() as stack:
        with entered(holder):
            stack.callback(holder.close)
            postgres = stack.enter_context(running_postgres())
            database = make_url(postgres.database()).database
            assert database is not None
            postgres.listen()
            redis = ["redis-server", "--port", str(REDIS_PORT), "--requirepass", REDIS_PASSWORD]
            stack.enter_context(_running([*redis, "--save", "", "--protected-mode", "no"], folder))
            moto = [str(Path(sys.executable).with_name("moto_server")), "-H", "0.0.0.0", "-p", str(S3_PORT)]
            stack.enter_context(_running(moto, folder))
            (names := folder / "names").touch()
            resolver = [
                "dnsmasq",
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--pid-file=",
            ]
            resolver += ["--user=root", "--local=/cluster.local/", "--local=//", f"--addn-hosts={names}"]
            dns = stack.enter_context(_running(resolver, folder))
            for port in (REDIS_PORT, S3_PORT, DNS_PORT):
                _wait_for(port)
            with _credentials():
                client = client_of(f"http://127.0.0.1:{S3_PORT}")
                client.create_bucket(Bucket=BUCKET)
                client.close()
        yield Backends(holder, address, database, names, dns)


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[int]:
    """Run the command in this context. Yields its process id."""
    with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextmanager
def _credentials() -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(CREDENTIALS)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.1)
    raise AssertionError(f"nobody listens on {port}")
