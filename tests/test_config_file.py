from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.settings import ENV_PREFIX, Settings

CONFIG = Path(__file__).parents[1] / "serve_config.yaml"


@pytest.fixture(autouse=True)
def _no_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.upper().startswith(ENV_PREFIX):
            monkeypatch.delenv(name)


def application() -> dict[str, Any]:
    (only,) = yaml.safe_load(CONFIG.read_text())["applications"]
    return dict(only)


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten `{"a": {"b": 1}}` to `{"a.b": 1}`."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def test_the_file_is_taken_by_settings() -> None:
    Settings.model_validate(application()["args"])


def test_the_file_shows_the_defaults() -> None:
    """Removing a line from the file therefore changes nothing."""
    defaults = leaves(Settings().model_dump(mode="json"))
    shown = leaves(application()["args"])
    assert shown == {name: defaults[name] for name in shown}


def test_the_file_names_the_builder_and_the_port() -> None:
    config = yaml.safe_load(CONFIG.read_text())
    assert config["http_options"]["port"] == 8004
    assert application()["import_path"] == "deployments.app:build"
    assert application()["route_prefix"] == "/"
