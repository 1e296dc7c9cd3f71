"""A server with OpenAI's chat completions, on a real port. It answers what a test tells it."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from tests.ingress.conftest import serve

WRITTEN = 'A wide shot of a harbor at dawn. A gull cries. An old man says calmly: "Finally."'
KEY = "sk-secret"


def completion(text: object, **changes: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **changes}
    return {"id": "1", "object": "chat.completion", "choices": [choice]}


@dataclass
class LanguageModel:
    """What it answers, how late, and what it was asked."""

    base_url: str = ""
    answer: Response | None = None
    delay_s: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, Any]:
        return {"base_url": self.base_url, "model": "writer", "api_key": KEY, "timeout_s": 5}


@contextlib.contextmanager
def serve_language_model() -> Iterator[LanguageModel]:
    """A language model on a real port."""
    found, app = LanguageModel(), FastAPI()

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        found.asked.append(await request.json())
        found.keys.append(request.headers.get("authorization"))
        await asyncio.sleep(found.delay_s)
        return found.answer or JSONResponse(completion(WRITTEN))

    with serve(app) as base_url:
        found.base_url = f"{base_url}/v1"
        yield found
