import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.cluster.ray_env import EXPECTED_VARIABLES, LINUX_ONLY, missing_variables

RAY_ENV = Path(__file__).parents[1] / "ray.env"
NOT_MISSED = {"RAY_USAGE_STATS_ENABLED", "PYTORCH_ALLOC_CONF"}
"""Variables of ray.env whose absence causes no notice: the server does not need them, or only a GPU uses them."""


def variables() -> dict[str, str]:
    lines = RAY_ENV.read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name: value for name, _, value in pairs}


def test_ray_env_sets_exactly_what_the_server_misses_without_it() -> None:
    assert set(variables()) == set(EXPECTED_VARIABLES) | NOT_MISSED


def test_ray_env_can_be_read_by_a_shell_and_by_a_container() -> None:
    """Both accept NAME=value; a space or a quote means one thing to `sh` and another to `docker --env-file`."""
    for name, value in variables().items():
        assert name.isidentifier()
        assert not set(value) & set(" '\"$`\\"), name


def test_nothing_is_missing_where_ray_env_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables().items():
        monkeypatch.setenv(name, value)
    assert missing_variables() == []


def test_the_allocators_setting_is_one_that_torch_knows_and_takes_in_silence() -> None:
    """The older name, PYTORCH_CUDA_ALLOC_CONF, causes a warning; a torch without CUDA reads neither."""
    (name, value) = next((name, value) for name, value in variables().items() if name.startswith("PYTORCH"))
    assert (name, value) == ("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    code = "import torch; torch.ones(1)"
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_missing_variable_is_named_with_what_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("FORWARDED_ALLOW_IPS")
    (notice,) = missing_variables()
    assert "FORWARDED_ALLOW_IPS" in notice
    assert EXPECTED_VARIABLES["FORWARDED_ALLOW_IPS"] in notice


def test_haproxy_is_not_missed_where_there_is_no_wheel_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(LINUX_ONLY)
    monkeypatch.setattr("sys.platform", "darwin")
    assert missing_variables() == []
