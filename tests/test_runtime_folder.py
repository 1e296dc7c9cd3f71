"""The server's sockets are in a folder that no other user can enter, also after another user ran a server."""

import os
import socket
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from ray.serve._private import constants

from deployments.cluster import runtime_folder
from deployments.cluster.runtime_folder import (
    HAPROXY_FILES,
    folder_problems,
    make_own_folder,
    own_folder,
    use_own_folder,
)

HAPROXY = {"RAY_SERVE_ENABLE_HA_PROXY": "1"}


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """The folder, moved so that it differs from that of a running server."""
    monkeypatch.setattr(runtime_folder, "own_folder", lambda: tmp_path / "own")
    return tmp_path / "own"


def test_ray_reads_these_variables_and_has_these_defaults() -> None:
    for name, file in HAPROXY_FILES.items():
        value = os.environ.get(name, str(Path(runtime_folder.DEFAULT_FOLDER) / file))
        assert getattr(constants, name) == value.removesuffix("/")


def test_a_new_folder_is_its_users_alone_whatever_the_umask(own) -> None:
    before = os.umask(0)
    try:
        make_own_folder()
    finally:
        os.umask(before)
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    own.chmod(0o755)
    make_own_folder()
    assert stat.S_IMODE(own.stat().st_mode) == 0o700


def test_haproxys_files_go_there_and_rays_too_where_another_user_has_been(own, tmp_path) -> None:
    environment = {"RAY_SERVE_HAPROXY_SOCKET_PATH": "/elsewhere/admin.sock", "TMPDIR": str(tmp_path)}
    use_own_folder(environment)
    assert environment["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"] == str(own / "haproxy.cfg")
    assert environment["RAY_SERVE_HAPROXY_SOCKET_PATH"] == "/elsewhere/admin.sock"
    assert "RAY_TMPDIR" not in environment


@pytest.mark.skipif(os.getuid() != 0, reason="gives a file to another user")
def test_files_of_another_user_in_rays_folder_send_ray_elsewhere(own, tmp_path) -> None:
    (tmp_path / "ray").mkdir(mode=0o777)
    (tmp_path / "ray/ray_current_cluster").touch()
    os.chown(tmp_path / "ray/ray_current_cluster", 65534, 65534)
    environment = {"TMPDIR": str(tmp_path)}
    (problem,) = folder_problems(environment)
    assert str(tmp_path / "ray") in problem
    assert "RAY_TMPDIR" in problem
    use_own_folder(environment)
    assert environment["RAY_TMPDIR"] == str(own)
    assert list(folder_problems(environment)) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_cannot_be_written_is_named_with_its_variable() -> None:
    """As the user nobody, where root has run a server without the variables."""
    script = """
        import os, sys, tempfile
        folder = tempfile.mkdtemp()
        os.chmod(folder, 0o755)
        from deployments.cluster.runtime_folder import HAPROXY_FILES, folder_problems
        os.setgid(65534); os.setuid(65534)
        names = {name: f"{folder}/{file}" for name, file in HAPROXY_FILES.items()}
        print(*folder_problems({"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_TMPDIR": "/tmp/new", **names}), sep="\\n")
    """
    found = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert (
        "cannot be written by user 65534; name another folder with RAY_SERVE_HAPROXY_CONFIG_FILE_LOC, " in found.stdout
    )


@pytest.mark.skipif(os.getuid() != 0, reason="makes a folder of another user")
def test_a_folder_of_another_user_or_a_link_is_not_taken(own, tmp_path) -> None:
    own.mkdir()
    os.chown(own, 65534, 65534)
    environment = dict(HAPROXY)
    use_own_folder(environment)
    (problem,) = folder_problems(environment)
    assert f"{own} is not a folder of user 0; remove it" in problem
    own.rmdir()
    own.symlink_to(tmp_path)
    assert len(list(folder_problems(environment))) == 1


def test_a_socket_has_room_for_its_path_and_one_that_has_not_is_named(tmp_path) -> None:
    longest = own_folder().with_name("ltx2-4294967294") / ("n" * runtime_folder.NODE_ID) / "metrics.sock.4194304.tmp"
    assert len(str(longest)) <= runtime_folder.MAX_SOCKET_PATH
    with socket.socket(socket.AF_UNIX) as probe, pytest.raises(OSError, match="AF_UNIX path too long"):
        probe.bind("/tmp/" + "x" * (runtime_folder.MAX_SOCKET_PATH - 4))
    environment = {**HAPROXY, "RAY_SERVE_HAPROXY_SOCKET_PATH": f"/tmp/{'x' * 40}/admin.sock"}
    assert any("has room for 38 bytes" in problem for problem in folder_problems(environment))
