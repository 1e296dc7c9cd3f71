"""The model names that task rows and pages show. Does not import torch, so that every module can import it."""

REAL_MODEL_NAME = "Lightricks/LTX-2"
"""The model that `model: auto` selects where there is a CUDA device."""
TINY = "tiny"
"""The setting's value for the built-in model."""
TINY_MODEL_NAME = "tiny-random-ltx2"
"""The built-in model's name in a task. Its weights are random; its videos are noise."""


def model_name(model: str) -> str:
    """The name of `model` in a task. `model` is the setting: "tiny", a hub repository or a folder."""
    return TINY_MODEL_NAME if model == TINY else model
