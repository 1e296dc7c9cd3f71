"""Promise: only one process of a host at a time measures and allocates memory, and a dead one blocks no other."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from models.hub import host_lock

HOLDER = """
import sys, time
from pathlib import Path
from models.hub.host_lock import host_lock
with host_lock(Path(sys.argv[1])) as held:
    print(held, flush=True)
    time.sleep(60)
"""


def hold(file: Path) -> subprocess.Popen[str]:
    """Start another process that holds the lock."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(file)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    return holder


def test_it_is_held_by_one_process_and_free_once_that_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    holder = hold(file)
    try:
        with host_lock.host_lock(file, most_wait_s=0.02) as held:
            assert not held
        taken = threading.Event()

        def take() -> None:
            with host_lock.host_lock(file) as held:
                if held:
                    taken.set()

        waiting = threading.Thread(target=take)
        waiting.start()
        assert not taken.wait(0.05)
        holder.send_signal(signal.SIGKILL)
        assert taken.wait(10)
        waiting.join()
    finally:
        holder.kill()
        holder.wait()
        if holder.stdout is not None:
            holder.stdout.close()


def test_another_users_file_is_opened_for_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels refuse to open another user's file in a sticky folder with O_CREAT (fs.protected_regular)."""
    file = tmp_path / "lock"
    with host_lock.host_lock(file) as held:
        assert held
    assert file.stat().st_mode & 0o777 == 0o644
    plain = os.open

    def refuse(path: object, flags: int, mode: int = 0o777) -> int:
        if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
            raise PermissionError(13, "Permission denied")
        return plain(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    with host_lock.host_lock(file) as held:
        assert held


def test_where_it_cannot_be_made_the_work_goes_on(tmp_path: Path) -> None:
    with host_lock.host_lock(tmp_path / "nowhere" / "lock") as held:
        assert not held
