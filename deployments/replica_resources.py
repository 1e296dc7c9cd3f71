"""What the replica of every deployment opens at its start: secrets, stores and the tracer."""

from dataclasses import dataclass

from sqlalchemy import Engine

from deployments.observability import log_context
from deployments.observability.metrics.recorder import MetricsRecorder
from deployments.observability.metrics.task_ends import task_end_recorder
from deployments.observability.open_tracer import open_tracer
from deployments.observability.tracing import Tracer
from deployments.settings import Settings
from storage.db.engine import open_engine
from storage.outputs.open_store import open_output_store
from storage.outputs.store import OutputStore
from storage.task_store import SqlTaskStore
from storage.tasks import State


@dataclass(frozen=True)
class ReplicaResources:
    """The resources of one replica. `settings` include the secrets of this machine's environment."""

    settings: Settings
    engine: Engine
    tasks: SqlTaskStore
    outputs: OutputStore
    tracer: Tracer


def open_resources(settings: Settings, deployment: str, metrics: MetricsRecorder, *ends: State) -> ReplicaResources:
    """Open the resources of a replica of `deployment`, and label its log lines with their tasks.

    `ends` are the states in which this deployment ends tasks: `metrics` counts those. Raises StoreUnavailable.
    """
    log_context.install_filter()
    settings = settings.with_secrets()
    engine = open_engine(settings.database_url)
    recorder = task_end_recorder(metrics, *ends, loras=settings.generator.loras) if ends else None
    tasks = SqlTaskStore(engine, recorder, settings.quotas, settings.generator.fast_guidance_fraction)
    outputs = open_output_store(settings.outputs.url, settings.outputs.s3)
    return ReplicaResources(settings, engine, tasks, outputs, open_tracer(settings.traces, deployment))
