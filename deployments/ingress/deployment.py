"""The Ray Serve class of the Ingress: it opens the stores and builds the HTTP app in the replica."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import ray
from fastapi import FastAPI

from deployments.cluster.ray_env import missing_variables
from deployments.cluster.single_node import NodeMonitor
from deployments.ingress.app import create_app
from deployments.ingress.context import AppContext
from deployments.ingress.middleware.auth import NO_KEYS_NOTICE
from deployments.observability.metrics.definitions import TASKS_SUBMITTED, WEBHOOKS
from deployments.observability.metrics.recorder import NOOP_METRICS, MetricsRecorder
from deployments.replica_resources import open_resources
from deployments.settings import Settings
from deployments.work_folder import delete_abandoned_folders
from storage.db.engine import SqliteLock
from storage.tasks import State

logger = logging.getLogger("ray.serve")


class Ingress:
    """Answers HTTP requests. Any replica can answer for any task."""

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
        neighbourhood = NodeMonitor(ray.get_runtime_context().get_node_id(), ray.nodes)
        if settings.uses_sqlite:
            self._lock = SqliteLock(settings.database_url, server)
            self._node_watch = asyncio.get_running_loop().create_task(neighbourhood.run())
        resources = open_resources(settings, "Ingress", metrics, State.CANCELED)
        settings = resources.settings
        notices = [*notices, *missing_variables(), *([] if settings.api_keys else [NO_KEYS_NOTICE])]
        for notice in notices:
            logger.warning(notice)
        metrics.initialize(TASKS_SUBMITTED)
        metrics.initialize(WEBHOOKS)
        delete_abandoned_folders()
        self._dispatcher = dispatcher
        self._context = AppContext(
            settings=settings,
            model=model_name,
            tasks=resources.tasks,
            outputs=resources.outputs,
            notify_dispatchers=DispatcherNotifier(self._notify_dispatcher),
            notices=tuple(notices),
            dynamic_notices=lambda: neighbourhood.notices,
            metrics=metrics,
            tracer=resources.tracer,
        )

    def __serve_build_asgi_app__(self) -> FastAPI:  # Ray Serve defines this name
        """Build the HTTP app. Ray Serve calls this once, after the constructor."""
        return create_app(self._context)

    def __del__(self) -> None:
        """Close the tracer, which sends the remaining traces."""
        with contextlib.suppress(AttributeError):  # the constructor may have raised
            self._context.tracer.close()

    async def _notify_dispatcher(self) -> None:
        with contextlib.suppress(Exception):  # a notification only saves time: the Dispatcher also polls
            await asyncio.wait_for(self._dispatcher.notify.remote(), timeout=5)


MIN_INTERVAL_S = 0.05
"""A call to another process costs more than a submit. One call is enough for many submits: a Dispatcher with free
capacity claims everything that waits."""


class DispatcherNotifier:
    """Calls `send` for each request. All requests during the interval share one call after it."""

    def __init__(self, send: Callable[[], Awaitable[None]]) -> None:
        self._send = send
        self._asked = False
        self._sending: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        """Request a notification, without waiting for it."""
        self._asked = True
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_all())

    async def _send_all(self) -> None:
        while self._asked:
            self._asked = False
            await self._send()
            await asyncio.sleep(MIN_INTERVAL_S)
