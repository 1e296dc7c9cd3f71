"""What both clients tell httpx, once: the address, time limits, and a call in httpx's words."""

import os
from collections.abc import Mapping
from typing import Any

import httpx

from ltx2_client.errors import ClientError
from ltx2_client.talk import Answer, Call

DEFAULT_SERVER = "http://localhost:8004"
SERVER_VARIABLE = "LTX_SERVER"
"""Not LTX2_...: the server refuses such variables when it does not know them."""
KEY_VARIABLE = "LTX_API_KEY"
TIMEOUT = httpx.Timeout(30.0, connect=5.0)
"""For one answer, in seconds; a download may be silent for as long between two chunks."""


def server_url(server: str | None) -> str:
    """The base url: what was said, or the environment's, or the default. Raises ClientError."""
    url = server or os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER
    url = url if "://" in url else f"http://{url}"
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ClientError(f"{url!r} is no address of a server, such as {DEFAULT_SERVER}")
    return url.rstrip("/")


def key_headers(api_key: str | None) -> dict[str, str]:
    """What the server asks for: the key that was said, or the environment's. Raises ClientError."""
    key = api_key or os.environ.get(KEY_VARIABLE)
    if not key:
        return {}
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ClientError(f"{KEY_VARIABLE} or api_key is no key: it holds a blank, or what no header can")
    return {"Authorization": f"Bearer {key}"}


def arguments(base_url: str, call: Call, key: Mapping[str, str]) -> dict[str, Any]:
    """A call as httpx's `request` and `stream` take it. The key goes to the server alone: signed urls need none."""
    url = call.path if "://" in call.path else base_url + call.path
    own = key if url.startswith(base_url + "/") else {}
    return {
        "method": call.method,
        "url": url,
        "headers": {**call.headers, **own},
        "params": call.query,
        "json": call.json,
        "data": call.form,
        "files": None if call.image is None else {"image": call.image},
    }


def answer(response: httpx.Response, content: bytes = b"") -> Answer:
    """A response as talks know it."""
    headers: Mapping[str, str] = response.headers
    return Answer(response.status_code, headers, content)


def loss(base_url: str, error: httpx.TransportError) -> str:
    """What happened to a call, in words."""
    return f"no answer from {base_url} ({error or type(error).__name__})"
