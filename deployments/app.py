"""Entry point of the Serve application: `build` turns the settings into four bound deployments.

Do not add `from __future__ import annotations` here. Serve reads the annotation of `build` to learn that it takes
Settings. With that import Serve would pass a plain dict.
"""

import socket
from dataclasses import dataclass
from typing import Any

import ray
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy
from ray.serve.schema import LoggingConfig

from deployments.cluster.shared_memory_check import check_shared_memory
from deployments.cluster.single_node import node_affinity, require_single_node
from deployments.dispatcher.deployment import Dispatcher
from deployments.encoder.deployment import Encoder
from deployments.generator.autoscaling_policy import GeneratorPolicy
from deployments.generator.deployment import Generator
from deployments.ingress.deployment import Ingress
from deployments.model_selection import ModelSelection, resolve_model
from deployments.observability.logging_setup import configure_system_logging, make_logging_config
from deployments.observability.metrics.ray_recorder import RayMetricsRecorder
from deployments.settings import GeneratorSettings, Settings
from models.startup.freed_memory import KEEP_FREED_MEMORY
from storage.db.engine import SqliteLock, migrate, open_engine
from storage.sql.dispatcher_registry import SqlDispatcherRegistry
from storage.task_store import SqlTaskStore

ENCODER_QUEUE = 8
HEALTH_CHECK_PERIOD_S = 1.0
HEALTH_CHECK_TIMEOUT_S = 30.0
"""A model may hold the interpreter lock for a while. The Generator must not fail its health check meanwhile."""
STOP_MARGIN_S = 5.0


def build(settings: Settings) -> Application:
    """Build the application. Raises SettingsError, or StoreUnavailable when the database cannot be used."""
    settings = settings.with_absolute_paths().without_secrets()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    home = ray.get_runtime_context().get_node_id()
    if settings.uses_sqlite:
        require_single_node(home, nodes)
    shared = _Shared(make_logging_config(settings.log), node_affinity(settings.database_url, home))
    configure_system_logging(shared.logging)
    server = f"{socket.gethostname()}/{ray.get_runtime_context().gcs_address}"
    choice, app = _prepare(settings.with_secrets(), server)
    notices = [*choice.notices, *check_shared_memory(settings.limits, nodes)]
    generator = shared.wrap(
        Generator,
        _generator_actor(settings.generator, choice.device),
        **_generator_options(settings.generator),
    ).bind(settings, choice.model, choice.name, choice.device, app=app, metrics=RayMetricsRecorder())
    encoder = shared.wrap(
        Encoder,
        {"num_cpus": settings.encoder.num_cpus},
        num_replicas=settings.encoder.replicas,
        max_ongoing_requests=ENCODER_QUEUE,
    ).bind(settings, metrics=RayMetricsRecorder())
    dispatcher = shared.wrap(
        Dispatcher,
        {"num_cpus": settings.dispatcher.num_cpus},
        num_replicas=settings.dispatcher.replicas,
        graceful_shutdown_timeout_s=settings.dispatcher.drain_timeout_s + STOP_MARGIN_S,
    ).bind(settings, choice.name, generator, encoder, server=server, app=app, metrics=RayMetricsRecorder())
    return shared.wrap(
        serve.ingress()(Ingress),
        {"num_cpus": settings.ingress.num_cpus},
        num_replicas=settings.ingress.replicas,
        max_ongoing_requests=settings.ingress.max_ongoing_requests,
    ).bind(settings, choice.name, server, notices, dispatcher, metrics=RayMetricsRecorder())


@dataclass(frozen=True)
class _Shared:
    """Deployment options that all four deployments share."""

    logging: LoggingConfig
    at_home: dict[str, Any]
    """Ray actor options that say on which node a replica may run."""

    def wrap(self, plain: type, actor: dict[str, Any], **options: Any) -> serve.Deployment:
        """Make a Serve deployment of a plain class. `actor` holds Ray's options for the actor of each replica."""
        return serve.deployment(
            ray_actor_options={**actor, **self.at_home},
            health_check_period_s=HEALTH_CHECK_PERIOD_S,
            logging_config=self.logging,
            **options,
        )(plain)


def _generator_actor(settings: GeneratorSettings, device: str) -> dict[str, Any]:
    """Ray's options for the actor of a Generator: the CPUs and the GPU that it reserves, and its environment."""
    if device == "cuda":
        return {"num_cpus": settings.num_cpus, "num_gpus": 1}
    return {"num_cpus": settings.num_cpus, "runtime_env": {"env_vars": KEEP_FREED_MEMORY}}


def _generator_options(settings: GeneratorSettings) -> dict[str, Any]:
    """Options for one replica per GPU, from zero to `max_replicas`, depending on the number of unfinished tasks.

    GeneratorPolicy applies `min_replicas` and the idle delay. Serve would also keep those replicas in a server that a
    newer one has superseded.
    """
    idle_s = settings.downscale_to_zero_delay_s
    return {
        # With one GPU the second task waits at the replica's lock, so there is no gap between two tasks. With several
        # GPUs it could wait at a busy GPU while another is idle, and tasks would not start in order of arrival.
        "max_ongoing_requests": 2 if settings.max_replicas == 1 else 1,
        "autoscaling_config": AutoscalingConfig(
            min_replicas=0,
            max_replicas=settings.max_replicas,
            target_ongoing_requests=1,
            metrics_interval_s=0.5,
            look_back_period_s=2,
            upscale_delay_s=1,
            downscale_delay_s=0,
            downscale_to_zero_delay_s=0,
            policy=AutoscalingPolicy(  # type: ignore[no-untyped-call]
                policy_function=GeneratorPolicy,
                policy_kwargs={"min_replicas": settings.min_replicas, "idle_s": idle_s},
            ),
        ),
        "request_router_config": {"initial_backoff_s": 0.005, "max_backoff_s": 0.02},
        "health_check_timeout_s": HEALTH_CHECK_TIMEOUT_S,
        "graceful_shutdown_timeout_s": settings.graceful_shutdown_timeout_s,
    }


def _prepare(settings: Settings, server: str) -> tuple[ModelSelection, int]:
    """Migrate the database, select the model and number this app, before any replica starts."""
    lock = SqliteLock(settings.database_url, server) if settings.uses_sqlite else None
    engine = open_engine(settings.database_url)
    try:
        migrate(engine)
        gpus = ray.cluster_resources().get("GPU", 0)  # type: ignore[no-untyped-call]
        store = SqlTaskStore(engine)
        store.delete_model_info()  # the settings or the GPU may have changed
        choice = resolve_model(settings.model, settings.device, gpus, store.last_real_model())
        return choice, SqlDispatcherRegistry(engine).register()
    finally:
        engine.dispose()
        if lock is not None:
            lock.release()
