"""Configures the log files of Serve, in replicas and in Serve's own processes. Console output is always text."""

import logging

from ray.serve.schema import LoggingConfig

from deployments.settings import LogSettings

logger = logging.getLogger("ray.serve")


def make_logging_config(settings: LogSettings) -> LoggingConfig:
    """Convert the settings to Serve's LoggingConfig."""
    return LoggingConfig(encoding="JSON" if settings.format == "json" else "TEXT", log_level=settings.level)


def configure_system_logging(config: LoggingConfig) -> None:
    """Apply `config` to the controller and the proxies, now and after a restart.

    Only `serve deploy` passes them the `logging_config` of a config file; `serve run` does not (Ray 2.60, scripts.py).
    Ray has no public API for it. With a Ray that lacks these private names, the logs keep Ray's own format.
    """
    try:
        from ray.serve.context import _get_global_client

        if (client := _get_global_client(raise_if_no_controller_running=False)) is not None:
            client.update_global_logging_config(config)
    except (ImportError, AttributeError, TypeError) as error:
        logger.warning("the logs of Serve's controller and proxies keep Ray's own format: %s", error)
