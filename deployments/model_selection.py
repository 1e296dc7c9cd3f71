"""Selects the model and the device: resolves `auto` for this cluster."""

from collections.abc import Mapping
from dataclasses import dataclass

from deployments.settings import SettingsError
from models.names import BUILT_IN, DEMO, REAL_MODEL_NAME, TINY, model_name

_REMEDY = "For real video run it on a machine with a CUDA GPU, or set model to Lightricks/LTX-2 and device to cuda."
NOTICES: Mapping[str, str] = {
    DEMO: "This server has the demo model, not LTX-2. It draws a colored shape on a background, with a tone: "
    f"'a red circle moves left on a blue background, a low tone'. Outlines and motions are rough. {_REMEDY}",
    TINY: f"This server has the tiny random-weight model: every video is NOISE. {_REMEDY}",
}
"""What users of a built-in model must know, by the setting's value."""


@dataclass(frozen=True)
class ModelSelection:
    """The selected model. `model` is what the Generator loads; `notices` are shown in the log and in /health."""

    model: str
    device: str
    notices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The model name written to task rows."""
        return model_name(self.model)


def resolve_model(model: str, device: str, gpus: float, served_before: str | None) -> ModelSelection:
    """Resolve `model: auto` and `device: auto`.

    `gpus` is the number of GPUs in the cluster now. `served_before` is the last real model that this database has
    served, or None. Raises SettingsError when a real model is configured and there is no CUDA device.
    """
    cuda = device == "cuda" or (device == "auto" and gpus >= 1)
    if model in BUILT_IN:
        return ModelSelection(model, "cuda" if device == "cuda" else "cpu", (NOTICES[model],))
    if model != "auto":
        if not cuda:
            raise SettingsError(
                f"model is {model}, which needs a CUDA device, and this cluster has none. Set device to cuda if a "
                "GPU node joins later, or model to demo for a trial without a GPU"
            )
        return ModelSelection(model, "cuda")
    if cuda:
        return ModelSelection(REAL_MODEL_NAME, "cuda")
    if served_before is None:
        return ModelSelection(DEMO, "cpu", (NOTICES[DEMO],))
    waiting = (
        f"This database has served {served_before}, and now the cluster has no CUDA device: tasks wait until one is "
        "there (look at the driver: nvidia-smi). To serve the demo model instead, set model to demo."
    )
    return ModelSelection(served_before, "cuda", (waiting,))
