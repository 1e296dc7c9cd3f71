"""What `make run` looks at before Ray starts: the settings and the ports. Says what is wrong, and ends there.

A server that is started by hand meets wrong settings in `build`, where Serve reports a failed deployment and goes on
running without the app; and a port that is held where Ray starts HAProxy, in Ray's words.
"""

import logging
import sys
from pathlib import Path

import yaml

from deployments.ports import end_orphans, holders, ports_needed
from deployments.settings import Settings, SettingsError


def main() -> None:
    """Check `serve_config.yaml`, given as the only argument."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    config = yaml.safe_load(Path(sys.argv[1]).read_text())
    try:
        for application in config["applications"]:
            Settings.model_validate(application.get("args") or {})
    except SettingsError as error:
        sys.exit(str(error))
    end_orphans()
    ports = ports_needed((config.get("http_options") or {}).get("port", 8000))
    held = [f"port {port} is held by {who}; end it, or change {ports[port]}" for port, who in holders(ports).items()]
    if held:
        sys.exit("\n".join(held))


if __name__ == "__main__":
    main()
