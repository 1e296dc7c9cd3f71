"""The model that `auto` selects, and that no client gets noise by mistake."""

import pytest

from deployments.model_selection import NOTICES, resolve_model
from deployments.settings import SettingsError
from models.names import BUILT_IN_NAMES, DEMO_MODEL_NAME, REAL_MODEL_NAME, TINY_MODEL_NAME, model_setting


@pytest.mark.parametrize(
    ("model", "device", "gpus", "chosen", "on"),
    [
        ("auto", "auto", 1, REAL_MODEL_NAME, "cuda"),
        ("auto", "auto", 0, DEMO_MODEL_NAME, "cpu"),
        ("auto", "cuda", 0, REAL_MODEL_NAME, "cuda"),
        ("auto", "cpu", 8, DEMO_MODEL_NAME, "cpu"),
        ("demo", "cuda", 1, DEMO_MODEL_NAME, "cuda"),
        ("tiny", "auto", 0, TINY_MODEL_NAME, "cpu"),
        ("tiny", "cuda", 1, TINY_MODEL_NAME, "cuda"),
        ("owner/model", "auto", 1, "owner/model", "cuda"),
        ("owner/model", "cuda", 0, "owner/model", "cuda"),
    ],
)
def test_the_model_follows_the_settings_and_the_cluster(model, device, gpus, chosen, on):
    choice = resolve_model(model, device, gpus, None)
    assert (choice.name, choice.device) == (chosen, on)
    assert choice.notices == ((NOTICES[model_setting(chosen)],) if chosen in BUILT_IN_NAMES else ())


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_real_model_without_cuda_is_an_error_that_says_what_to_change(device):
    with pytest.raises(SettingsError, match=r"owner/model.*CUDA.*device to cuda.*model to demo"):
        resolve_model("owner/model", device, 0, None)


def test_auto_never_falls_from_a_real_model_to_a_built_in_one():
    choice = resolve_model("auto", "auto", 0, "owner/model")
    assert (choice.name, choice.device) == ("owner/model", "cuda")
    assert "no CUDA device" in choice.notices[0]
    assert "set model to demo" in choice.notices[0]


def test_a_built_in_model_is_served_to_whoever_asks_for_it_by_name():
    assert resolve_model("tiny", "auto", 0, "owner/model").name == TINY_MODEL_NAME
    assert resolve_model("demo", "auto", 0, "owner/model").name == DEMO_MODEL_NAME
