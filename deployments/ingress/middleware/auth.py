"""Authentication by API key. Without `api_keys` in the settings, no key is required.

The middleware runs before every route. A new route therefore needs a key, unless its path is listed here as public.
"""

import hmac
from collections.abc import Sequence

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.ingress.concurrency.limits import current_owner
from deployments.ingress.errors import error_response
from deployments.ingress.schemas import ErrorBody
from deployments.settings import ApiKey
from deployments.settings.api_keys import hash_key
from storage.tasks import ANONYMOUS

PUBLIC_PATHS = frozenset({"/health", "/", "/skill.md", "/llms.txt", "/docs", "/openapi.json"})
"""Paths that describe the API and the need for a key. They contain nothing about tasks. Probes call /health."""
PUBLIC_PREFIXES = ("/page/", "/docs/")
SIGNED_FOLDERS = ("/outputs/", "/uploads/")
"""Their routes also accept a signature instead of a key, so the routes themselves check access."""
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="ltx2"'}
MISSING_KEY = "this server requires an API key: send the header Authorization: Bearer KEY"
UNKNOWN_KEY = "the API key is unknown"
NO_KEYS_NOTICE = (
    "api_keys is empty: anyone who can reach this server can use it, and see and delete every task (docs/security.md)"
)


class Unauthorized(HTTPException):
    """The request has no API key, or an unknown one."""

    def __init__(self, key: str | None) -> None:
        super().__init__(401, MISSING_KEY if key is None else UNKNOWN_KEY, CHALLENGE)


class ApiKeyStore:
    """The API keys that the server accepts."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = tuple(keys)

    def find_owner(self, key: str) -> str | None:
        """Return the name of the key's owner, or None. A wrong key takes as long as a correct one."""
        given, owner = hash_key(key), None
        for each in self._keys:
            if hmac.compare_digest(each.sha256, given):
                owner = each.name
        return owner


class ApiKeyMiddleware:
    """Refuses requests without a valid key, and stores the key's owner on the request."""

    def __init__(self, app: ASGIApp, key_store: ApiKeyStore) -> None:
        self._app = app
        self._key_store = key_store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or respond with 401."""
        if scope["type"] == "http" and not is_public(scope["path"]):
            request = Request(scope)
            key = bearer_token(request)
            request.state.owner = owner = self._key_store.find_owner(key) if key else None
            current_owner.set(owner or ANONYMOUS)
            if owner is None and not scope["path"].startswith(SIGNED_FOLDERS):
                refusal = Unauthorized(key)
                body = ErrorBody(error=refusal.detail, error_code="unauthorized")
                await error_response(request, 401, body, CHALLENGE)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def request_owner(request: Request) -> str | None:
    """Return the owner of the request's key, or None if the request has no accepted key."""
    owner: str | None = getattr(request.state, "owner", None)
    return owner


def bearer_token(request: Request) -> str | None:
    """Return the key in the Authorization header, or None."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def is_public(path: str) -> bool:
    """Tell whether the path never needs a key, even if the server has API keys."""
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIXES)
