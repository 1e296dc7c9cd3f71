"""The request's JSON schema, for OpenAPI and for agents."""

import copy
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from models.request.enums import CHOICES
from models.request.loras import LORAS, KnownLora, loras_schema
from models.request.request import TEXTS, RequestLimits, VideoRequest


@cache
def _plain_schema() -> dict[str, Any]:
    return VideoRequest.model_json_schema()


def request_schema(
    limits: RequestLimits,
    defaults: Mapping[str, float] = MappingProxyType({}),
    loras: Mapping[str, KnownLora] = MappingProxyType({}),
) -> dict[str, Any]:
    """The JSON schema of VideoRequest for OpenAPI, with bounds and LoRAs of this server and `defaults` of its model."""
    schema = copy.deepcopy(_plain_schema())
    del schema["$defs"]
    described = schema["properties"][LORAS]["description"]
    schema["properties"][LORAS] = {**loras_schema(loras), "description": described}
    for name, words in CHOICES.items():
        schema["properties"][name] |= {"type": "string", "enum": list(words)}
        del schema["properties"][name]["$ref"]
    for name, (low, high) in limits.bounds().items():
        target = schema["properties"][name]
        for option in target.get("anyOf", [target]):
            if option.get("type") in ("integer", "number"):
                for name_of_pydantic in (
                    "ge",
                    "gt",
                    "exclusiveMinimum",
                ):  # pydantic keeps its own names for a field with a BeforeValidator
                    option.pop(name_of_pydantic, None)
                option.update(minimum=low, maximum=high)
                if multiple := option.pop("multiple_of", None):
                    option["multipleOf"] = multiple
    for name, default in defaults.items():
        schema["properties"][name]["default"] = default
    for name in TEXTS:
        schema["properties"][name]["maxLength"] = limits.max_prompt_chars
    return schema
