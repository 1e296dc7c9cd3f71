"""The names that a task's row and a page show for a model. Knows no torch, so everything may import it."""

REAL_MODEL_NAME = "Lightricks/LTX-2"
"""What `model: auto` serves where there is a CUDA device."""
TINY = "tiny"
"""What a setting says to ask for the built-in model."""
TINY_MODEL_NAME = "tiny-random-ltx2"
"""What stands in a task for the built-in model: its weights are random, it draws noise."""


def model_name(model: str) -> str:
    """The name under which `model` (a setting: "tiny", a hub repository or a folder) stands in a task."""
    return TINY_MODEL_NAME if model == TINY else model
