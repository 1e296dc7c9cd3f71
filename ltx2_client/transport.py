"""What both clients tell httpx, once: the address, time limits, and a call in httpx's words."""

import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.request import proxy_bypass

import httpx

from ltx2_client.core import NoResponse, Request, Response
from ltx2_client.errors import ClientError, Unreachable, UsageError

DEFAULT_SERVER = "http://localhost:8004"
SERVER_VARIABLE = "LTX_SERVER"
"""Not LTX2_...: the server refuses such variables when it does not know them."""
KEY_VARIABLE = "LTX_API_KEY"
PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
"""What httpx and OpenSSL read from the environment; the first also in small letters."""
MAX_PORT = 65_535
TIMEOUT = httpx.Timeout(30.0, connect=5.0)
"""For one answer, in seconds; a download may be silent for as long between two chunks."""


def server_url(server: str | None) -> str:
    """The base url: what was said, or the environment's, or the default. Raises ClientError."""
    url = server or os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER
    url = url if "://" in url else f"http://{url}"
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):  # UnicodeError, of a name that is none, is one too
        parsed = httpx.URL()
    whole = parsed.scheme in ("http", "https") and parsed.host and not (parsed.query or parsed.fragment)
    if not whole or any(char.isspace() for char in url) or not 0 < (parsed.port or 80) <= MAX_PORT:
        raise UsageError(f"{url!a} is no address of a server, such as {DEFAULT_SERVER}")
    return url.rstrip("/")


def key_headers(api_key: str | None) -> dict[str, str]:
    """What the server asks for: the key that was said, or the environment's. Raises ClientError."""
    key = api_key or os.environ.get(KEY_VARIABLE)
    if not key:
        return {}
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UsageError(f"{KEY_VARIABLE} or api_key is no key: it holds a blank, or what no header can")
    return {"Authorization": f"Bearer {key}"}


def arguments(base_url: str, call: Request, key: Mapping[str, str]) -> dict[str, Any]:
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


def to_response(response: httpx.Response, content: bytes = b"") -> Response:
    """A response as talks know it."""
    headers: Mapping[str, str] = response.headers
    return Response(response.status_code, headers, content)


Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)


def open_http(kind: type[Http], transport: Callable[[], Any], server: str) -> Http:
    """A client of httpx, with the proxies and certificates of the environment. Raises UsageError where they cannot be.

    httpx makes a connection for each proxy at once: one that it cannot use fails also where NO_PROXY goes past it.
    """
    options: dict[str, Any] = {"timeout": TIMEOUT, "follow_redirects": True}
    try:
        try:
            return kind(**options)
        except (ImportError, ValueError, httpx.InvalidURL):
            if not proxy_bypass(httpx.URL(server).host):
                raise
            return kind(**options, transport=transport())
    except ImportError as error:
        how = "pip install 'httpx[socks]', or NO_PROXY with the server's name goes past it"
        raise UsageError(f"{_variables(PROXIES)} names a SOCKS proxy, which needs a package: {how}") from error
    except Exception as error:  # whatever reading proxies and certificates runs into: ValueError, OSError, ...
        names = _variables((*PROXIES, *CERTIFICATES)) or "the environment"
        raise UsageError(f"{names} cannot be used: {_in_one_line(error)}") from error


def build_request(http: Http, base_url: str, call: Request, key: Mapping[str, str]) -> httpx.Request:
    """The request of a call. Raises UsageError where no request can hold what it says, such as half a character."""
    try:
        return http.build_request(**arguments(base_url, call, key))
    except (ValueError, TypeError, httpx.InvalidURL) as error:
        raise UsageError(f"this cannot be sent: {_in_one_line(error)}") from error


def describe_failure(base_url: str, error: Exception) -> NoResponse:
    """What happened to a call, in words. Raises Unreachable where asking again cannot help, and what is ours."""
    if isinstance(error, ClientError):
        raise error
    proxies = _variables(PROXIES)
    through = f", by way of {proxies}" if proxies else ""
    reason = f"no answer from {base_url}{through} ({_in_one_line(error)})"
    lasting = isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError) or _is_untrusted(error)
    if isinstance(error, httpx.TransportError) and not lasting:
        return NoResponse(reason)
    raise Unreachable(reason) from error


def _is_untrusted(error: BaseException | None) -> bool:
    """Whether the server's certificate was refused: it will be the next time."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _variables(names: Sequence[str]) -> str:
    """Those of these variables that are set, as they are spelt there."""
    spelt = (spelling for name in names for spelling in (name, name.lower()))
    return " and ".join(name for name in spelt if os.environ.get(name))


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
