"""Who asks: the owner of the API key that came with a request. Without `api_keys` nobody is asked.

The door stands before every route, so that a new one is closed until it is named here.
"""

import hmac
from collections.abc import Sequence

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.ingress.concurrency.tenants import current_owner
from deployments.ingress.errors import error_response
from deployments.ingress.schemas import ErrorBody
from deployments.settings import ApiKey
from deployments.settings.api_keys import hash_key
from storage.tasks import ANONYMOUS

PUBLIC_PATHS = frozenset({"/health", "/", "/skill.md", "/llms.txt", "/docs", "/openapi.json"})
"""What tells a client that it needs a key, and how the API works; nothing of any task. Probes ask /health."""
PUBLIC_PREFIXES = ("/page/", "/docs/")
SIGNED_FOLDER = "/outputs/"
"""Its route takes a signature in place of a key, so it decides for itself."""
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="ltx2"'}
MISSING_KEY = "this server wants an API key: send the header Authorization: Bearer KEY"
UNKNOWN_KEY = "the API key is not known here"
NO_KEYS_NOTICE = (
    "api_keys is empty: whoever reaches this server may use it, and sees and may delete every task (docs/security.md)"
)


class Unauthorized(HTTPException):
    """No key came, or one that is not known."""

    def __init__(self, key: str | None) -> None:
        super().__init__(401, MISSING_KEY if key is None else UNKNOWN_KEY, CHALLENGE)


class ApiKeyStore:
    """The keys that are let in."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = tuple(keys)

    def find_owner(self, key: str) -> str | None:
        """Whose key this is. Takes as long for a wrong one as for any right one."""
        given, owner = hash_key(key), None
        for each in self._keys:
            if hmac.compare_digest(each.sha256, given):
                owner = each.name
        return owner


class ApiKeyMiddleware:
    """Lets in who has a key, and writes down on the request whose it is."""

    def __init__(self, app: ASGIApp, key_store: ApiKeyStore) -> None:
        self._app = app
        self._key_store = key_store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, or with a 401."""
        if scope["type"] == "http" and not is_public(scope["path"]):
            request = Request(scope)
            key = bearer_token(request)
            request.state.owner = owner = self._key_store.find_owner(key) if key else None
            current_owner.set(owner or ANONYMOUS)
            if owner is None and not scope["path"].startswith(SIGNED_FOLDER):
                refusal = Unauthorized(key)
                body = ErrorBody(error=refusal.detail, error_code="unauthorized")
                await error_response(request, 401, body, CHALLENGE)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def request_owner(request: Request) -> str | None:
    """Whose key came with the request; None where the server asks for none."""
    owner: str | None = getattr(request.state, "owner", None)
    return owner


def bearer_token(request: Request) -> str | None:
    """The key in the header, if there is one."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def is_public(path: str) -> bool:
    """Whether the path needs no key, also where there are keys."""
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIXES)
