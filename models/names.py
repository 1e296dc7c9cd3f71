"""The model names that task rows and pages show. Does not import torch, so that every module can import it."""

from collections.abc import Mapping
from types import MappingProxyType

REAL_MODEL_NAME = "Lightricks/LTX-2"
"""The model that `model: auto` selects where there is a CUDA device."""
DEMO = "demo"
"""The setting's value for the demo model, which `model: auto` selects where there is no CUDA device."""
DEMO_MODEL_NAME = "ltx2-demo"
"""The demo model's name in a task. It draws one colored shape that moves, with a tone."""
TINY = "tiny"
"""The setting's value for the model with random weights."""
TINY_MODEL_NAME = "tiny-random-ltx2"
"""That model's name in a task. Its videos are noise."""
BUILT_IN: Mapping[str, str] = MappingProxyType({DEMO: DEMO_MODEL_NAME, TINY: TINY_MODEL_NAME})
"""The models that the server brings along: the names in tasks by the setting's values."""
BUILT_IN_NAMES = frozenset(BUILT_IN.values())


def model_name(model: str) -> str:
    """The name of `model` in a task. `model` is the setting: a key of `BUILT_IN`, a hub repository or a folder."""
    return BUILT_IN.get(model, model)


def model_setting(name: str) -> str:
    """The setting that selects the model with this name: the inverse of `model_name`."""
    return next((setting for setting, built_in in BUILT_IN.items() if built_in == name), name)
