"""Documents for AI agents: /skill.md, which explains how to use this server, and /llms.txt, which points to it."""

import json
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from deployments.ingress.context import AppContext
from deployments.ingress.request_body.given_images import max_images_bytes
from models.names import DEMO_MODEL_NAME, TINY_MODEL_NAME
from models.request.control import control_loras
from models.request.json_schema import request_schema
from models.request.loras import KnownLora
from models.request.places import MAX_KEYFRAMES
from models.request.request import RequestLimits, VideoRequest, spell_number

MARKDOWN = "text/markdown"
MODEL_WARNINGS = {
    DEMO_MODEL_NAME: """
> **This server has only the demo model, not LTX-2.** It draws one shape (circle, square, triangle) in red,
> green, blue, yellow, white, black, purple or orange on a background of another of these. The shape stays still, moves
> left, right, up or down, grows or shrinks. The audio is a low, high or rising tone, beeps, or silence. It ignores all
> other words. Write prompts such as "a red circle moves left on a blue background, a low tone". Tell the user that this
> is a demo.
""",
    TINY_MODEL_NAME: """
> **This server has only the tiny random-weight model: every video it makes is NOISE**, and is labeled as a demo.
> Use this server only to try the API. Tell the user that the video will not show what the prompt describes.
""",
}
"""What an agent must know about a built-in model, by its name."""
LORAS = """### LoRAs

This server has LoRAs: they change the style or the motion of a video. Send
`"loras": [{"name": "...", "scale": 1.0}]`; in a form, the same list as JSON text. Use the words of a LoRA in the
prompt.

| Name | Words for the prompt | Largest scale | Control video |
|---|---|---|---|
"""
CONTROLS = """\
A LoRA with a control video is only for `POST /v1/video/async_control`: send the control video as `video`, or
name a `source_task`, and pick exactly one such LoRA. The new video follows it: its depth, edges or poses.
`"preprocessor": "canny"` makes the edges of any video; send other control videos as they are. `control_strength` goes
from 0 to 1.

"""
KEYS = """
**This server requires an API key.** Send the key with every request, in the header `Authorization: Bearer <your key>`.
Without it, the server answers 401 with `error_code` `unauthorized`. Ask the operator of the server for a key, and keep
it secret. You see only the tasks of your own key. `url` and `poster_url` of a completed task are signed. Anyone who has
a signed url can open it without the header until `url_expires_at`; after that, poll for fresh urls.
`GET /v1/video/usage` shows what your key has used.
"""


def skill_router(context: AppContext) -> APIRouter:
    """Create the router of the two documents."""
    router = APIRouter(tags=["agents"])
    skill, llms = _template("skill.md"), _template("llms.txt")

    @router.head("/skill.md", include_in_schema=False)
    @router.get(
        "/skill.md",
        summary="How an agent uses this server",
        response_class=Response,
        responses={200: {"content": {MARKDOWN: {}}}},
    )
    @context.read_threads.offload
    def get_skill(request: Request) -> PlainTextResponse:
        """The whole workflow as Markdown, with this server's own address, limits and defaults."""
        return _answer(skill, server_facts(context), context.base_url(request), MARKDOWN)

    @router.head("/llms.txt", include_in_schema=False)
    @router.get("/llms.txt", summary="What this server is, for agents", response_class=PlainTextResponse)
    @context.read_threads.offload
    def get_llms_txt(request: Request) -> PlainTextResponse:
        """Points to /skill.md."""
        return _answer(llms, server_facts(context), context.base_url(request), "text/plain")

    return router


def server_facts(context: AppContext) -> dict[str, object]:
    """The values of this server for the document templates, except its address. Blocks on the store."""
    limits = context.settings.limits
    loras = context.settings.generator.known_loras
    properties = request_schema(limits, context.model_info.defaults(), loras)["properties"]
    defaults = {name: schema.get("default") for name, schema in properties.items()}
    largest = context.settings.encoder.max_bytes
    return {
        **defaults,
        "model": context.model,
        "keys": KEYS if context.settings.api_keys else "",
        "model_warning": MODEL_WARNINGS.get(context.model, ""),
        "loras": _describe_loras(loras),
        "fields": "\n".join(_field_row(name, schema) for name, schema in properties.items()),
        "size_note": "" if largest is None else f", at most {largest} bytes",
        "duration_s": f"{VideoRequest.model_construct(prompt='').duration_s:.1f}",
        **_shared_limits(limits),
    }


def _describe_loras(known: Mapping[str, KnownLora]) -> str:
    """The section on LoRAs, if the server has any."""
    if not known:
        return ""
    controls = CONTROLS if control_loras(known) else ""
    return f"{LORAS}{lora_rows(known)}\n{controls}"


def lora_rows(known: Mapping[str, KnownLora]) -> str:
    """The rows of a table of LoRAs: name, words for the prompt, largest scale, control video."""
    return "".join(
        f"| `{name}` | {each.trigger} | {each.max_scale:g} | {each.control or ''} |\n" for name, each in known.items()
    )


def _shared_limits(limits: RequestLimits) -> dict[str, object]:
    """The limits that do not belong to a single field."""
    return {
        "max_total_pixels": limits.max_total_pixels,
        "max_duration_s": f"{limits.max_duration_s:g}",
        "max_image_bytes": limits.max_image_bytes,
        "max_body_bytes": max_images_bytes(limits),
        "max_keyframes": MAX_KEYFRAMES,
    }


def _field_row(name: str, schema: Mapping[str, Any]) -> str:
    default = "required" if "default" not in schema else f"`{_in_json(schema['default'])}`"
    return f"| `{name}` | {default} | {_allowed(schema)} | {schema.get('description', '')} |"


def _in_json(value: object) -> object:
    return json.dumps(value) if value is None or isinstance(value, bool | list) else value


def _allowed(schema: Mapping[str, Any]) -> str:
    """The allowed values of a field in words, from its JSON schema."""
    if words := ("true", "false") if schema.get("type") == "boolean" else schema.get("enum"):
        return ", ".join(f"`{value}`" for value in words)
    if "anyOf" in schema:
        return " or ".join(_allowed(option) for option in schema["anyOf"])
    if schema["type"] == "array":
        return _allowed_list(schema)
    if schema["type"] == "string":
        return f"text of {schema.get('minLength', 0)} to {schema['maxLength']} characters"
    if "minimum" not in schema:
        return str(schema["type"])
    multiple = f", multiple of {schema['multipleOf']}" if "multipleOf" in schema else ""
    kind = "whole number, " if schema["type"] == "integer" else ""
    return f"{kind}{spell_number(schema['minimum'])} to {spell_number(schema['maximum'])}{multiple}"


def _allowed_list(schema: Mapping[str, Any]) -> str:
    """The members of a list of objects, in words."""
    members = ", ".join(f"`{name}`: {_allowed(member)}" for name, member in schema["items"]["properties"].items())
    return f"list of at most {schema['maxItems']} objects ({members})"


def _template(filename: str) -> Template:
    return Template((files("deployments.ingress") / "static" / filename).read_text(encoding="utf-8"))


def _answer(template: Template, facts: Mapping[str, object], base_url: str, media_type: str) -> PlainTextResponse:
    # Without public_base_url the document contains the Host header, so caches must not reuse it for another host.
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Vary": "Host"}
    return PlainTextResponse(template.substitute(facts, base_url=base_url), 200, headers, media_type)
