"""docs/settings.md, written from the settings themselves: `python -m deployments.settings.docs` prints it.

`make fix` writes it anew and `make check` compares it, so that it cannot differ from what a start takes.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from deployments.settings.settings import Settings

Schema = Mapping[str, Any]
"""A part of the JSON schema that pydantic makes of the settings."""

INTRODUCTION = """\
# Every setting

They stand under `args` in `serve_config.yaml`, or in the environment, which wins: `LTX2_` and the name in capitals,
`__` for each dot. So `limits.max_inference_steps` is `LTX2_LIMITS__MAX_INFERENCE_STEPS`; a list is JSON there. A name
that does not exist, or a value that is not allowed, stops the start and says what is. Secrets come from the environment
alone.

Address and port stand beside `args`, under `http_options`; what Ray itself reads where it starts stands in `ray.env`.

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
"""By the end of a name; the longer of two ends that fit comes first."""
NUMBERS = {"integer": "whole number", "number": "number"}
TEXTS = {"uri": "url", "path": "folder", "password": "secret"}


def write_page() -> str:
    """The page, as Markdown."""
    schema = Settings.model_json_schema()
    title = "## The server as a whole\n"
    return "\n".join([INTRODUCTION, *_tables("", title, schema, schema["$defs"])])


def _tables(prefix: str, title: str, section: Schema, defs: Schema) -> Iterator[str]:
    """The table of a section, then those of the sections and records in it."""
    fields = {f"{prefix}{name}": _resolve(field, defs) for name, field in section["properties"].items()}
    rows = [_row(name, field, defs) for name, field in fields.items() if "properties" not in field]
    yield "\n".join([title, HEADER, *rows, ""])
    for name, field in fields.items():
        inner = _resolve(field.get("items", field), defs)
        if "properties" in inner:
            place = f"{name}[]" if "items" in field else name
            said = inner["description"].split("\n\n")[0]
            yield from _tables(f"{place}.", f"## `{place}`\n\n{said}\n", inner, defs)


def _resolve(field: Schema, defs: Schema) -> Schema:
    """The field with what it refers to in its place; what it says of itself stands."""
    return {**defs[field["$ref"].rsplit("/", 1)[1]], **field} if "$ref" in field else field


def _row(name: str, field: Schema, defs: Schema) -> str:
    unit = next((unit for end, unit in UNITS.items() if name.endswith(end)), "")
    return f"| `{name}` | {_default(name, field)} | {unit} | {_allowed(field, defs)} | {field['description']} |"


def _default(name: str, field: Schema) -> str:
    """As it is written in YAML. A default that is made at the start, not fixed, is null."""
    if "[]" in name and "default" not in field:
        return "required"
    value = field.get("default")
    if isinstance(value, str):
        return f"`{value}`"
    return f"`{int(value)}`" if isinstance(value, float) and value.is_integer() else f"`{json.dumps(value)}`"


def _allowed(field: Schema, defs: Schema) -> str:
    """What a value may be, in words."""
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
