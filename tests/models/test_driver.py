"""A driver that is too old for torch's CUDA is reported in one sentence."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.cli import preflight
from models.errors import ModelUnavailable
from models.ltx2.load import check_device
from models.memory import driver
from models.memory.driver import find_old_driver
from tests.ports import free_port

Host = Callable[[str | None, str], None]

CLOSED = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Thu Jul 11 03:13:42 UTC 2024\n"
    "GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n"
)
OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (root@host)\n"
    "GCC version:  gcc version 13.3.0\n"
)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A function that simulates a host, from a driver's version file and torch's own version file."""

    def make(module: str | None, cuda: str) -> None:
        version = tmp_path / "version.py"
        version.write_text(f"__version__ = '2.13.0'\ncuda: Optional[str] = {cuda}\nhip: Optional[str] = None\n")
        if module is not None:
            (tmp_path / "nvidia").write_text(module)
        monkeypatch.setattr(driver, "DRIVER", tmp_path / "nvidia")
        monkeypatch.setattr(driver, "_find_torch_version", lambda: version)

    return make


@pytest.mark.parametrize("form", [CLOSED, OPEN])
def test_an_older_driver_is_named_with_what_is_wanted_and_the_ways_out(form: str, host: Host) -> None:
    host(form.format("535.183.06"), "'13.0'")
    sentence = find_old_driver()
    assert sentence is not None
    assert "driver is 535.183.06" in sentence
    assert "CUDA 13.0 requires 580 or newer" in sentence
    assert "TORCH_INDEX" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("module", "cuda"),
    [
        (CLOSED.format("580.65.06"), "'13.0'"),
        (OPEN.format("590.44.01"), "'13.0'"),
        (CLOSED.format("535.183.06"), "'12.8'"),
        (CLOSED.format("535.183.06"), "None"),
        (None, "'13.0'"),
        ("something else", "'13.0'"),
    ],
)
def test_nothing_is_said_of_a_driver_that_will_do_or_is_not_there(module: str | None, cuda: str, host: Host) -> None:
    host(module, cuda)
    assert find_old_driver() is None


def test_the_installed_torch_is_found_without_being_imported() -> None:
    found = driver._find_torch_version()
    assert found is not None
    assert "cuda" in found.read_text()


def test_a_start_says_it_and_goes_on_and_a_task_fails_with_it(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host(CLOSED.format("535.183.06"), "'13.0'")
    config = tmp_path / "serve_config.yaml"
    config.write_text(f"http_options: {{port: {free_port()}}}\napplications: [{{args: {{}}}}]\n")
    monkeypatch.setattr(sys, "argv", ["preflight", str(config)])
    preflight.main()
    (line,) = [record.getMessage() for record in caplog.records if "driver" in record.getMessage()]
    assert line.startswith("no GPU can be used: the NVIDIA driver is 535.183.06")
    with pytest.raises(ModelUnavailable, match=r"device is cuda, but the NVIDIA driver is 535"):
        check_device("cuda")
