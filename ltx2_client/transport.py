"""Shared httpx code of both clients: address, time limits, and converting requests and responses."""

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
"""Not named LTX2_...: the server rejects unknown environment variables with that prefix."""
KEY_VARIABLE = "LTX_API_KEY"
PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
"""Environment variables that httpx and OpenSSL read; also in lower case for the proxies."""
MAX_PORT = 65_535
TIMEOUT = httpx.Timeout(30.0, connect=5.0)
"""Seconds for a response; also the longest silence between two chunks of a download."""


def server_url(server: str | None) -> str:
    """Return the base URL: the argument, else the environment variable, else the default. Raises ClientError."""
    url = server or os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER
    url = url if "://" in url else f"http://{url}"
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):  # also covers UnicodeError, from an invalid host name
        parsed = httpx.URL()
    whole = parsed.scheme in ("http", "https") and parsed.host and not (parsed.query or parsed.fragment)
    if not whole or any(char.isspace() for char in url) or not 0 < (parsed.port or 80) <= MAX_PORT:
        raise UsageError(f"{url!a} is not a server address, such as {DEFAULT_SERVER}")
    return url.rstrip("/")


def key_headers(api_key: str | None) -> dict[str, str]:
    """Return the Authorization header from the argument or the environment variable. Raises ClientError."""
    key = api_key or os.environ.get(KEY_VARIABLE)
    if not key:
        return {}
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UsageError(
            f"{KEY_VARIABLE} or api_key is not a valid key: it has a blank, or a character that no header can hold"
        )
    return {"Authorization": f"Bearer {key}"}


def arguments(base_url: str, call: Request, key: Mapping[str, str]) -> dict[str, Any]:
    """Convert a request to arguments of httpx. The key is only sent to the server itself; signed URLs need none."""
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
    """Convert httpx's response to this package's."""
    headers: Mapping[str, str] = response.headers
    return Response(response.status_code, headers, content)


Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)


def open_http(kind: type[Http], transport: Callable[[], Any], server: str) -> Http:
    """Create an httpx client with proxies and certificates from the environment. Raises UsageError if they are invalid.

    httpx creates a transport for each proxy at once, so an unusable proxy fails even if NO_PROXY excludes the server.
    In that case the client is created without proxies.
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
        how = "pip install 'httpx[socks]', or exclude the server with NO_PROXY"
        raise UsageError(f"{_variables(PROXIES)} names a SOCKS proxy, which needs a package: {how}") from error
    except Exception as error:  # reading proxies and certificates raises ValueError, OSError and others
        names = _variables((*PROXIES, *CERTIFICATES)) or "the environment"
        raise UsageError(f"{names} cannot be used: {_in_one_line(error)}") from error


def build_request(http: Http, base_url: str, call: Request, key: Mapping[str, str]) -> httpx.Request:
    """Build the httpx request. Raises UsageError for values that no request can hold, such as half a character."""
    try:
        return http.build_request(**arguments(base_url, call, key))
    except (ValueError, TypeError, httpx.InvalidURL) as error:
        raise UsageError(f"this cannot be sent: {_in_one_line(error)}") from error


def describe_failure(base_url: str, error: Exception) -> NoResponse:
    """Describe why a request failed. Raises Unreachable if a retry cannot help, and re-raises this package's errors."""
    if isinstance(error, ClientError):
        raise error
    proxies = _variables(PROXIES)
    through = f", through {proxies}" if proxies else ""
    reason = f"no answer from {base_url}{through} ({_in_one_line(error)})"
    lasting = isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError) or _is_untrusted(error)
    if isinstance(error, httpx.TransportError) and not lasting:
        return NoResponse(reason)
    raise Unreachable(reason) from error


def _is_untrusted(error: BaseException | None) -> bool:
    """Return True if the server's certificate was rejected. A retry would fail too."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _variables(names: Sequence[str]) -> str:
    """Return the variables among `names` that are set, in their spelling in the environment."""
    spelt = (spelling for name in names for spelling in (name, name.lower()))
    return " and ".join(name for name in spelt if os.environ.get(name))


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
