"""The real application on fake GPU workers: each Generator requests a GPU from Ray, and renders on the CPU."""

import deployments.app
from deployments.generator.deployment import Generator
from deployments.observability.metrics.recorder import NOOP_METRICS, MetricsRecorder
from deployments.settings import Settings


class PretendingGenerator(Generator):
    def __init__(
        self,
        settings: Settings,
        model: str,
        model_name: str,
        _device: str,
        *,
        app: int,
        metrics: MetricsRecorder = NOOP_METRICS,
    ) -> None:
        super().__init__(settings, model, model_name, "cpu", app=app, metrics=metrics)


def build(settings: Settings) -> object:
    deployments.app.Generator = PretendingGenerator  # type: ignore[misc]
    return deployments.app.build(settings)
