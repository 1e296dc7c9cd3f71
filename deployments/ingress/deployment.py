"""The Serve deployment of the Ingress: opens the stores and builds the HTTP app in the replica."""

import asyncio
import contextlib
import logging
from typing import Any

import ray
from fastapi import FastAPI

from deployments.cluster.ray_env import missing_variables
from deployments.cluster.single_node import NodeMonitor
from deployments.ingress.app import create_app
from deployments.ingress.context import AppContext
from deployments.ingress.middleware.auth import NO_KEYS_NOTICE
from deployments.ingress.notifier import DispatcherNotifier
from deployments.observability import log_context
from deployments.observability.metrics.definitions import TASKS_SUBMITTED, WEBHOOKS
from deployments.observability.metrics.recorder import NOOP_METRICS, MetricsRecorder
from deployments.observability.metrics.task_ends import task_end_recorder
from deployments.observability.open_tracer import open_tracer
from deployments.settings import SQLITE_SCHEME, Settings
from storage.db.engine import SqliteLock
from storage.outputs.open_store import open_output_store
from storage.task_store import SqlTaskStore
from storage.tasks import State

logger = logging.getLogger("ray.serve")


class Ingress:
    """Serves the HTTP API. Every replica can answer for every task."""

    def __init__(
        self,
        settings: Settings,
        model_name: str,
        server: str,
        notices: list[str],
        dispatcher: Any,
        *,
        metrics: MetricsRecorder = NOOP_METRICS,
    ) -> None:
        log_context.install_filter()
        settings = settings.with_secrets()
        neighbourhood = NodeMonitor(ray.get_runtime_context().get_node_id(), ray.nodes)
        if settings.database_url.startswith(SQLITE_SCHEME):
            self._lock = SqliteLock(settings.database_url, server)
            self._node_watch = asyncio.get_running_loop().create_task(neighbourhood.run())
        notices = [*notices, *missing_variables(), *([] if settings.api_keys else [NO_KEYS_NOTICE])]
        for notice in notices:
            logger.warning(notice)
        metrics.initialize(TASKS_SUBMITTED)
        metrics.initialize(WEBHOOKS)
        self._dispatcher = dispatcher
        self._context = AppContext(
            settings=settings,
            model=model_name,
            tasks=SqlTaskStore.open(
                settings.database_url,
                task_end_recorder(metrics, State.CANCELED),
                settings.quotas,
                settings.generator.fast_guidance_fraction,
            ),
            outputs=open_output_store(settings.outputs.url, settings.outputs.s3),
            notify_dispatchers=DispatcherNotifier(self._send_nudge),
            notices=tuple(notices),
            dynamic_notices=lambda: neighbourhood.notices,
            metrics=metrics,
            tracer=open_tracer(settings.traces, "Ingress"),
        )

    def __serve_build_asgi_app__(self) -> FastAPI:  # Serve defines this name
        """Return the app. Serve calls this once, after the constructor."""
        return create_app(self._context)

    def __del__(self) -> None:
        """Send the spans that are still buffered."""
        with contextlib.suppress(AttributeError):  # the constructor may have failed
            self._context.tracer.close()

    async def _send_nudge(self) -> None:
        with contextlib.suppress(Exception):  # the notification only saves time: the Dispatcher also polls
            await asyncio.wait_for(self._dispatcher.nudge.remote(), timeout=5)
