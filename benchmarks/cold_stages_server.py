"""The server of `benchmarks.cold_stages`: the real application, with a Generator that logs the end of each stage.

The log has the times that no task contains.
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
    """Write down that `name` is over."""
    logger.info("NOTE %s %.3f", name, time.time())


class Generator(deployments.generator.deployment.Generator):
    """Has the name of the other, which Serve gives to the deployment."""

    def __init__(self, *args: Any, **options: Any) -> None:
        note("asked")
        super().__init__(*args, **options)
        note("constructed")
        load = self._model_manager._load  # noqa: SLF001  # the seam between two of the parts

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
    """Have the model note when the first step of a task is over."""
    render = model.render

    def render_noted(request: Any, image: Any, report: "ReportProgress") -> Any:
        def report_noted(progress: "Progress") -> None:
            if progress.step == 1:
                note("stepped")
            report(progress)

        return render(request, image, report_noted)

    model.render = render_noted  # type: ignore[method-assign]


def build(settings: Settings) -> Application:
    """The application, with that Generator."""
    vars(deployments.app)["Generator"] = Generator
    return deployments.app.build(settings)
