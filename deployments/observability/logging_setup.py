"""How Serve writes its log files, in the replicas and in processes of its own. The console is text in either case."""

import logging

from ray.serve.schema import LoggingConfig

from deployments.settings import LogSettings

logger = logging.getLogger("ray.serve")


def make_logging_config(settings: LogSettings) -> LoggingConfig:
    """The settings in Serve's words."""
    return LoggingConfig(encoding="JSON" if settings.format == "json" else "TEXT", log_level=settings.level)


def configure_system_logging(config: LoggingConfig) -> None:
    """Have Serve's controller and proxies write in the same format, from now on and after a restart.

    Only `serve deploy` hands them the `logging_config` of a config file; `serve run` does not (Ray 2.60, scripts.py),
    and there is no public call for it. A Ray without these private names costs the format, not the start.
    """
    try:
        from ray.serve.context import _get_global_client

        if (client := _get_global_client(raise_if_no_controller_running=False)) is not None:
            client.update_global_logging_config(config)
    except (ImportError, AttributeError, TypeError) as error:
        logger.warning("the logs of Serve's controller and proxies keep Ray's own format: %s", error)
