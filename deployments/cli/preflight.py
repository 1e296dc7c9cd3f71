"""Preflight checks before Ray starts: settings, folders, ports and open files. Exits with a message on a problem.

Without these checks, wrong settings fail in `build`: Serve then reports a failed deployment and keeps running without
the app. A port in use fails when Ray starts HAProxy, with an error message of Ray's.
"""

import logging
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

import yaml

from deployments.cluster.ports import kill_orphaned_haproxy, port_owners, required_ports
from deployments.cluster.runtime_folder import folder_problems
from deployments.settings import Settings, SettingsError
from models.errors import LoraUnusable
from models.lora.distilled import check_local_distilled_lora
from models.lora.files import check_local_loras
from models.memory.driver import find_old_driver
from storage.db.engine import sqlite_file

logger = logging.getLogger(__name__)

OTHERS = 0o007
OPEN_FILES = 10_276
"""Open files that HAProxy needs for the connections that Ray allows it (4,096)."""


def main() -> None:
    """Check `serve_config.yaml`, given as the only argument."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    check(Path(sys.argv[1]))


def check(file: Path) -> None:
    """Check a config file and this host. Raises SystemExit with a message for each problem that prevents a start."""
    config = yaml.safe_load(file.read_text())
    try:
        for application in config["applications"]:
            settings = Settings.model_validate(application.get("args") or {})
            settings.without_secrets()
            check_local_loras(settings.generator.lora_sources)
            check_local_distilled_lora(settings.generator.distilled_lora)
            _warn_of_readers(settings)
    except (SettingsError, LoraUnusable) as error:
        sys.exit(error.message if isinstance(error, LoraUnusable) else str(error))
    if problems := list(folder_problems(os.environ)):
        sys.exit("\n".join(problems))
    kill_orphaned_haproxy()
    ports = required_ports((config.get("http_options") or {}).get("port", 8000))
    held = [
        f"port {port} is held by {who}; end it, or change {ports[port]}" for port, who in port_owners(ports).items()
    ]
    if held:
        sys.exit("\n".join(held))
    if short := _too_few_files():
        sys.exit(short)
    if old := find_old_driver():
        logger.warning("no GPU can be used: %s", old)


def _warn_of_readers(settings: Settings) -> None:
    """Warn when other users can read the videos: older versions made the data folder accessible to every local user."""
    if not settings.uses_sqlite:
        return
    folder = sqlite_file(settings.database_url).absolute().parent
    with suppress(OSError):
        if folder.stat().st_mode & OTHERS:
            logger.warning(
                "%s can be entered by every user of this host: chmod o-rwx, unless they may see the videos", folder
            )


def _too_few_files() -> str | None:
    """A message when the hard limit of open files is too low for HAProxy. Only root may exceed the hard limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = most == resource.RLIM_INFINITY or most >= OPEN_FILES or os.getuid() == 0
    if enough or os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") != "1":
        return None
    return (
        f"{most} open files are allowed and HAProxy needs {OPEN_FILES}; raise the hard limit (ulimit -Hn, in Docker "
        "--ulimit nofile=65536), or unset RAY_SERVE_ENABLE_HA_PROXY"
    )


if __name__ == "__main__":
    main()
