"""The systemd unit in docs/one_box.md: it starts the server like `make run`, and stops it so that it drains."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.cli.preflight import OPEN_FILES
from deployments.settings import Settings

ROOT = Path(__file__).parents[1]
(UNIT,) = re.findall(r"^```ini\n(.*?)^```$", (ROOT / "docs/one_box.md").read_text(), re.MULTILINE | re.DOTALL)
HOME = "/srv/ltx2/server"
VERIFY = shutil.which("systemd-analyze")


def values(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)


def test_a_stop_drains() -> None:
    """systemd sends SIGTERM only to the launcher, and waits longer than a drain takes."""
    assert (values("KillSignal"), values("KillMode")) == ([], ["mixed"])
    assert int(values("TimeoutStopSec")[0]) > Settings().dispatcher.drain_timeout_s + 15
    assert int(values("LimitNOFILE")[0]) >= OPEN_FILES


def test_a_start_is_that_of_make_run() -> None:
    profile = (ROOT / "Makefile").read_text().replace("$(BIN)", f"{HOME}/.venv/bin")
    (command,) = values("ExecStart")
    assert f"exec {command}\n" in profile


@pytest.mark.skipif(VERIFY is None, reason="systemd-analyze is not installed")
def test_systemd_takes_it(tmp_path: Path) -> None:
    here = UNIT.replace(f"{HOME}/.venv/bin", str(Path(sys.executable).parent)).replace(HOME, str(ROOT))
    unit = tmp_path / "ltx2.service"
    unit.write_text(here.replace("User=ltx2", "User=root"))
    verified = subprocess.run(["systemd-analyze", "verify", str(unit)], check=False, capture_output=True, text=True)
    assert verified.returncode == 0, verified.stderr
