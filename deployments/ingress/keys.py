"""Who asks: the owner of the API key that came with a request. Without `api_keys` nobody is asked.

The door stands before every route, so that a new one is closed until it is named here.
"""

import hmac
from collections.abc import Sequence

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.ingress.errors import answer_error
from deployments.ingress.schemas import ErrorBody
from deployments.ingress.tenants import OWNER
from deployments.settings import ApiKey
from deployments.settings.keys import hash_key
from storage.tasks import NOBODY

OPEN = frozenset({"/health", "/", "/skill.md", "/llms.txt", "/docs", "/openapi.json"})
"""What tells a client that it needs a key, and how the API works; nothing of any task. Probes ask /health."""
OPEN_FOLDERS = ("/page/", "/docs/")
SIGNED_FOLDER = "/outputs/"
"""Its route takes a signature in place of a key, so it decides for itself."""
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="ltx2"'}
MISSING = "this server wants an API key: send the header Authorization: Bearer KEY"
UNKNOWN = "the API key is not known here"
OPEN_NOTICE = (
    "api_keys is empty: whoever reaches this server may use it, and sees and may delete every task (docs/security.md)"
)


class Unauthorized(HTTPException):
    """No key came, or one that is not known."""

    def __init__(self, key: str | None) -> None:
        super().__init__(401, MISSING if key is None else UNKNOWN, CHALLENGE)


class Keyring:
    """The keys that are let in."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = tuple(keys)

    def owner(self, key: str) -> str | None:
        """Whose key this is. Takes as long for a wrong one as for any right one."""
        given, owner = hash_key(key), None
        for each in self._keys:
            if hmac.compare_digest(each.sha256, given):
                owner = each.name
        return owner


class Door:
    """Lets in who has a key, and writes down on the request whose it is."""

    def __init__(self, app: ASGIApp, keyring: Keyring) -> None:
        self._app = app
        self._keyring = keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, or with a 401."""
        if scope["type"] == "http" and not is_open(scope["path"]):
            request = Request(scope)
            key = presented_key(request)
            request.state.owner = owner = self._keyring.owner(key) if key else None
            OWNER.set(owner or NOBODY)
            if owner is None and not scope["path"].startswith(SIGNED_FOLDER):
                refusal = Unauthorized(key)
                body = ErrorBody(error=refusal.detail, error_code="unauthorized")
                await answer_error(request, 401, body, CHALLENGE)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def owner_of(request: Request) -> str | None:
    """Whose key came with the request; None where the server asks for none."""
    owner: str | None = getattr(request.state, "owner", None)
    return owner


def presented_key(request: Request) -> str | None:
    """The key in the header, if there is one."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def is_open(path: str) -> bool:
    """Whether the path needs no key, also where there are keys."""
    return path in OPEN or path.startswith(OPEN_FOLDERS)
