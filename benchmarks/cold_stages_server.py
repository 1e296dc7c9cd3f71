"""The server of `benchmarks.cold_stages`: the real application, with a Generator that logs the end of each stage.

The notes are log lines, because no task row has these times.
"""

import logging
import time
from typing import TYPE_CHECKING, Any

from ray.serve import Application

import deployments.app
import deployments.generator.deployment
from deployments.settings import Settings

if TYPE_CHECKING:
    from models.ltx2.model import Ltx2Model
    from models.progress import Progress, ReportProgress

logger = logging.getLogger("ray.serve")


def note(name: str) -> None:
    """Log that `name` has ended."""
    logger.info("NOTE %s %.3f", name, time.time())


class Generator(deployments.generator.deployment.Generator):
    """Has the same name as its base class, because Serve names the deployment after it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        note("asked")
        super().__init__(*args, **options)
        note("constructed")
        load = self._model_manager._load  # noqa: SLF001  # hooks in between two parts of the load

        def load_noted(report: "ReportProgress") -> "Ltx2Model":
            note("called")
            self._model_manager._warm_up.wait_for_imports()  # noqa: SLF001
            note("imported")
            model = load(report)
            note("loaded")
            note_first_step(model)
            return model

        self._model_manager._load = load_noted  # type: ignore[method-assign]  # noqa: SLF001


def note_first_step(model: "Ltx2Model") -> None:
    """Make the model log the end of a task's first step."""
    render = model.render

    def render_noted(request: Any, conditions: Any, report: "ReportProgress") -> Any:
        def report_noted(progress: "Progress") -> None:
            if progress.step == 1:
                note("stepped")
            report(progress)

        return render(request, conditions, report_noted)

    model.render = render_noted  # type: ignore[method-assign]


def build(settings: Settings) -> Application:
    """The application, with this Generator."""
    vars(deployments.app)["Generator"] = Generator
    return deployments.app.build(settings)
