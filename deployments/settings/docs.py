"""Generates docs/settings.md from the settings: `python -m deployments.settings.docs` prints it.

`make fix` writes the page and `make check` compares it, so that it always matches the code.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from deployments.settings.settings import Settings

Schema = Mapping[str, Any]
"""A part of the JSON schema that pydantic generates from the settings."""

INTRODUCTION = """\
# Every setting

Set them under `args` in `serve_config.yaml` or in the environment. The environment overrides the file.

- The variable of a setting is `LTX2_` and its name in capitals, with `__` for each dot: `limits.max_inference_steps` is
  `LTX2_LIMITS__MAX_INFERENCE_STEPS`. A list is JSON there.
- An unknown name or an invalid value stops the start. The error message lists what is allowed.
- Secrets must come from the environment.

Address and port are in `serve_config.yaml` beside `args`, under `http_options`. The variables that Ray itself reads at
its start are in `ray.env`.

<!-- Written by `make fix`. Edit deployments/settings/, models/request/request.py and storage/outputs/s3_options.py. -->
"""
HEADER = "| Setting | Default | Unit | Allowed | |\n|---|---|---|---|---|"
UNITS = {
    "_pixel_frames": "pixels x frames",
    "_frame_rate": "frames/s",
    "_frames": "frames",
    "_steps": "steps",
    "_pixels": "pixels",
    "_side": "pixels",
    "_chars": "characters",
    "_bytes": "bytes",
    "_cpus": "CPUs",
    "_s": "seconds",
}
"""Unit by the end of a setting's name. Of two endings that match, the longer one comes first."""
NUMBERS = {"integer": "whole number", "number": "number"}
TEXTS = {"uri": "url", "path": "path", "password": "secret"}


def write_page() -> str:
    """The whole page, as Markdown."""
    schema = Settings.model_json_schema()
    title = "## The server as a whole\n"
    return "\n".join([INTRODUCTION, *_tables("", title, schema, schema["$defs"])])


def _tables(prefix: str, title: str, section: Schema, defs: Schema) -> Iterator[str]:
    """Yield the table of a section, then the tables of the sections and records in it."""
    fields = {f"{prefix}{name}": _resolve(field, defs) for name, field in section["properties"].items()}
    rows = [_row(name, field, defs) for name, field in fields.items() if "properties" not in field]
    yield "\n".join([title, HEADER, *rows, ""])
    for name, field in fields.items():
        named = next(iter(field.get("patternProperties", {}).values()), None)
        inner = _resolve(field.get("items") or named or field, defs)
        if "properties" in inner:
            place = f"{name}[]" if "items" in field else f"{name}.NAME" if named else name
            said = inner["description"].split("\n\n")[0]
            yield from _tables(f"{place}.", f"## `{place}`\n\n{said}\n", inner, defs)


def _resolve(field: Schema, defs: Schema) -> Schema:
    """Replace a `$ref` of the field by its target. The field's own entries override those of the target."""
    return {**defs[field["$ref"].rsplit("/", 1)[1]], **field} if "$ref" in field else field


def _row(name: str, field: Schema, defs: Schema) -> str:
    unit = next((unit for end, unit in UNITS.items() if name.endswith(end)), "")
    return f"| `{name}` | {_default(name, field)} | {unit} | {_allowed(field, defs)} | {field['description']} |"


def _default(name: str, field: Schema) -> str:
    """The default as written in YAML. A default that is computed at the start is shown as null."""
    if "[]" in name and "default" not in field:
        return "required"
    value = field.get("default")
    if isinstance(value, str) and value:
        return f"`{value}`"
    return f"`{int(value)}`" if isinstance(value, float) and value.is_integer() else f"`{json.dumps(value)}`"


def _allowed(field: Schema, defs: Schema) -> str:
    """The allowed values, in words."""
    field = _resolve(field, defs)
    if "anyOf" in field:
        return ", ".join(_allowed(option, defs) for option in field["anyOf"])
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field["type"] in NUMBERS:
        return NUMBERS[field["type"]] + _bounds(field)
    if field["type"] == "array":
        return f"list of {_allowed(field['items'], defs)}"
    words = {"boolean": "`true`, `false`", "null": "`null`", "object": "the records below"}
    return words.get(field["type"]) or TEXTS.get(field.get("format", ""), "text")


def _bounds(field: Schema) -> str:
    low = f" from {field['minimum']:.16g}" if "minimum" in field else ""
    above = f" above {field['exclusiveMinimum']:.16g}" if "exclusiveMinimum" in field else ""
    high = f" to {field['maximum']:.16g}" if "maximum" in field else ""
    return low + above + high


if __name__ == "__main__":
    sys.stdout.write(write_page())
