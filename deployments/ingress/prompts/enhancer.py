"""Asks a language model to rewrite a prompt, over the chat completions API of OpenAI.

vLLM, SGLang, Ollama, llama.cpp and the hosted providers serve this API. The request has only the two fields that all of
them take: some models refuse a temperature, others a bound of the tokens. The text of the system prompt is in
`system_prompt.md`.
"""

import asyncio
import base64
import json
import logging
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import httpx

from deployments.observability.metrics.definitions import (
    ENHANCED,
    NOT_ENHANCED,
    PROMPT_ENHANCEMENT_DURATION_SECONDS,
)
from deployments.observability.metrics.recorder import NOOP_METRICS, MetricsRecorder
from deployments.settings.enhance import EnhanceSettings
from models.errors import EnhancementFailed, InvalidRequest
from models.request.places import LAST
from models.request.request import VideoRequest

MAX_ANSWER_BYTES = 1024 * 1024
"""Limit for a whole answer. The thoughts of a model may be part of it."""
CONNECT_TIMEOUT_S = 5.0
THOUGHTS_BEGIN, THOUGHTS_END = "<think>", "</think>"
"""Around thoughts that some servers leave in the text. The first one may be in the chat template and so be missing."""
MAX_CODE_CHARS = 40
CUT_OFF = "length"
"""The `finish_reason` of a text that reached the most tokens."""
NOT_CONFIGURED = "this server has no language model for prompts: its operator sets enhance.base_url and enhance.model"

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class SeenImage:
    """An image of the request, as the language model sees it: a JPEG, and the frame that it becomes."""

    content: bytes
    frame: int


@dataclass(frozen=True)
class PromptEnhancer:
    """Rewrites prompts. `max_chars` is the longest prompt that a request may have."""

    settings: EnhanceSettings
    max_chars: int
    metrics: MetricsRecorder = NOOP_METRICS

    def check_request(self, request: VideoRequest) -> None:
        """Raise InvalidRequest if the request asks for what this server does not have."""
        if request.enhance_prompt and not self.settings.is_configured:
            raise InvalidRequest("enhance_prompt", True, f"false: {NOT_CONFIGURED}")

    async def enhance(self, request: VideoRequest, images: Sequence[SeenImage] = ()) -> str:
        """Return the rewritten prompt of `request`, which is made from `images`.

        Raises EnhancementFailed if no usable text came in `enhance.timeout_s` seconds.
        """
        began = time.monotonic()
        outcome = NOT_ENHANCED
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                text = self._read(await self._post(_messages(request, images)))
            outcome = ENHANCED
            return text
        except TimeoutError:
            raise EnhancementFailed(f"the language model did not answer in {self.settings.timeout_s:g} s") from None
        except httpx.HTTPError as error:
            logger.warning("enhance: %s: %s", type(error).__name__, error)
            raise EnhancementFailed("the language model could not be reached") from None
        finally:
            self.metrics.observe(PROMPT_ENHANCEMENT_DURATION_SECONDS, time.monotonic() - began, outcome=outcome)

    async def _post(self, messages: list[dict[str, Any]]) -> bytes:
        settings = self.settings
        headers = {} if settings.api_key is None else {"Authorization": f"Bearer {settings.api_key.get_secret_value()}"}
        timeout = httpx.Timeout(settings.timeout_s, connect=CONNECT_TIMEOUT_S)
        url = f"{str(settings.base_url).rstrip('/')}/chat/completions"
        body = {"model": settings.model, "messages": messages}
        async with (
            httpx.AsyncClient(verify=self._tls, timeout=timeout) as client,
            client.stream("POST", url, json=body, headers=headers) as answer,
        ):
            content = bytearray()
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise EnhancementFailed("the language model answered more than a prompt can be")
            if not answer.is_success:
                logger.warning("enhance: status %d: %s", answer.status_code, _code_of(content))
                raise EnhancementFailed(f"the language model answered with status {answer.status_code}")
            return bytes(content)

    def _read(self, answer: bytes) -> str:
        try:
            choice = json.loads(answer)["choices"][0]
            text = choice["message"]["content"]
            whole = choice.get("finish_reason") != CUT_OFF
            text = _tidy(text)
            text.encode()
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise EnhancementFailed("the language model did not answer with a chat completion") from None
        if not whole or not 0 < len(text) <= self.max_chars:
            raise EnhancementFailed(
                f"the language model did not answer with a text of 1 to {self.max_chars} characters"
            )
        return text

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()


@cache
def _system_prompt() -> str:
    return files(__package__).joinpath("system_prompt.md").read_text(encoding="utf-8")


def _messages(request: VideoRequest, images: Sequence[SeenImage]) -> list[dict[str, Any]]:
    """The system prompt and the request as chat messages."""
    shown = "".join(f" Image {number} is {_place(each, request)}." for number, each in enumerate(images, 1))
    asked = f"The video is {request.duration_s:.1f} seconds long.{shown} The request:\n\n{request.prompt}"
    content: str | list[dict[str, Any]] = asked
    if images:
        urls = [f"data:image/jpeg;base64,{base64.b64encode(each.content).decode()}" for each in images]
        content = [{"type": "text", "text": asked}, *({"type": "image_url", "image_url": {"url": url}} for url in urls)]
    return [{"role": "system", "content": _system_prompt()}, {"role": "user", "content": content}]


def _code_of(answer: bytes | bytearray) -> str:
    """The type and the code of an error. Its message may repeat the prompt, which the log must not have."""
    try:
        error = json.loads(answer)["error"]
        return f"{str(error.get('type'))[:MAX_CODE_CHARS]}, {str(error.get('code'))[:MAX_CODE_CHARS]}"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return "no error object"


def _place(image: SeenImage, request: VideoRequest) -> str:
    """Where in the video the image is, in words."""
    if image.frame == 0:
        return "the first frame"
    if image.frame in (LAST, request.num_frames - 1):
        return "the last frame"
    return f"the frame at {float(image.frame / request.exact_frame_rate):.1f} seconds"


def _tidy(text: str) -> str:
    """One paragraph, without thoughts and without quotation marks around the whole. Raises ValueError."""
    text = " ".join(text.rpartition(THOUGHTS_END)[2].split())
    if THOUGHTS_BEGIN in text:
        raise ValueError("thoughts without an end")
    inner = text[1:-1]
    return inner.strip() if text[:1] == text[-1:] == '"' and '"' not in inner else text
