"""A second user of a host starts a server after root has run one: root owns /tmp/haproxy-serve and Ray's folder."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deployments.cluster.runtime_folder import DEFAULT_FOLDER
from tests.e2e.checks import assert_nothing_lost
from tests.e2e.server import Server

pytestmark = pytest.mark.timeout(400)
UID, NOBODY = 54_321, 65_534
AS_USER = f"""
    mount --bind "$1" "$2" && mount -t tmpfs -o mode=755 tmpfs "$3" && mkdir -p "$1" && mount --bind "$2" "$1"
    shift 3
    exec setpriv --reuid={UID} --regid={UID} --clear-groups "$@"
"""
"""Runs in its own mount namespace. The Python in root's home is readable there, and nothing else of that home."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of that user, below a temporary folder in which root has run Ray."""
    shutil.rmtree(f"/tmp/ltx2-{UID}", ignore_errors=True)  # left by a run that was killed
    place = Path(tempfile.mkdtemp(prefix="user-"))
    place.chmod(0o777)
    (place / "own").mkdir()
    os.chown(place / "own", UID, UID)
    (place / "python").mkdir()
    (place / "ray").mkdir(mode=0o777)
    (place / "ray").chmod(0o777)  # as Ray leaves it
    (place / "ray/ray_current_cluster").write_text("127.0.0.1:6379")
    had = Path(DEFAULT_FOLDER).exists()
    Path(DEFAULT_FOLDER).mkdir(exist_ok=True)
    yield place / "own"
    shutil.rmtree(place)
    shutil.rmtree(f"/tmp/ltx2-{UID}", ignore_errors=True)
    if not had:
        Path(DEFAULT_FOLDER).rmdir()


def as_user(folder: Path) -> list[str]:
    """The command prefix that runs a command as that user."""
    python = Path(sys.base_prefix).resolve()
    if not python.is_relative_to("/root"):
        return ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
    return ["unshare", "-m", "sh", "-c", AS_USER, "sh", str(python), str(folder.parent / "python"), "/root"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_second_user_starts_makes_a_video_and_keeps_the_admin_socket_to_himself(folder: Path) -> None:
    server = Server(folder, {}, {"TMPDIR": str(folder.parent), "HOME": str(folder)}, prefix=as_user(folder))
    del server.environment["RAY_TMPDIR"]
    try:
        server.start()
        own = Path(f"/tmp/ltx2-{UID}")
        found = own.stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (UID, 0o700)
        (admin,) = own.glob("*/admin.sock")
        assert may_write(admin, UID)
        assert not may_write(admin, NOBODY)
        assert {each.uids().real for each in server.processes() if each.is_running()} == {UID}
        assert_nothing_lost(server, [server.submit()])
        processes = server.processes()
        processes[0].terminate()
        assert server.wait_for_exit() == 0
        assert [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
    finally:
        server.close()


def may_write(path: Path, uid: int) -> bool:
    """Whether that user could connect to the socket."""
    command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "test", "-w", str(path)]
    return subprocess.run(command, check=False).returncode == 0
