"""The use of httpx that both clients share: server address, API key, time limits, requests and errors."""

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
"""The name does not begin with LTX2_, because the server refuses unknown variables with that prefix."""
KEY_VARIABLE = "LTX_API_KEY"
PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
"""Environment variables that httpx and OpenSSL read: PROXIES also in lower case, CERTIFICATES as they are."""
MAX_PORT = 65_535
CONNECT_TIMEOUT_S = 5.0
TIMEOUT = httpx.Timeout(30.0, connect=CONNECT_TIMEOUT_S)
"""Limits in seconds for one response. In a download, 30 s is the longest pause between two chunks."""


def server_url(server: str | None) -> str:
    """The base url: from the argument, the environment or the default. Raises UsageError."""
    url = server or os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER
    url = url if "://" in url else f"http://{url}"
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):  # ValueError includes UnicodeError, for an invalid host name
        parsed = httpx.URL()
    whole = parsed.scheme in ("http", "https") and parsed.host and not (parsed.query or parsed.fragment)
    if not whole or any(char.isspace() for char in url) or not 0 < (parsed.port or 80) <= MAX_PORT:
        raise UsageError(f"{url!a} is not a server address, such as {DEFAULT_SERVER}")
    return url.rstrip("/")


def key_headers(api_key: str | None) -> dict[str, str]:
    """The header with the API key, from the argument or the environment. Empty without a key. Raises UsageError."""
    key = api_key or os.environ.get(KEY_VARIABLE)
    if not key:
        return {}
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UsageError(
            f"{KEY_VARIABLE} or api_key is not a valid key: it has a blank, or a character that no header can hold"
        )
    return {"Authorization": f"Bearer {key}"}


def arguments(base_url: str, call: Request, key: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of a call for httpx's `build_request`.

    The API key is sent only to the server itself: signed urls of other hosts do not need it.
    """
    url = call.path if "://" in call.path else base_url + call.path
    own = key if url.startswith(base_url + "/") else {}
    return {
        "method": call.method,
        "url": url,
        "headers": {**call.headers, **own},
        "params": call.query,
        "json": call.json,
        "data": call.form,
        "files": list(call.files) or None,
        **({} if call.timeout_s is None else {"timeout": httpx.Timeout(call.timeout_s, connect=CONNECT_TIMEOUT_S)}),
    }


def to_response(response: httpx.Response, content: bytes = b"") -> Response:
    """Convert a response of httpx to the one that operations receive."""
    headers: Mapping[str, str] = response.headers
    return Response(response.status_code, headers, content)


Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)


def open_http(kind: type[Http], transport: Callable[[], Any], server: str) -> Http:
    """Create an httpx client that uses the environment's proxies and certificates.

    httpx creates a transport for each proxy at once. So an unusable proxy raises even if NO_PROXY excludes the server.
    In that case, the client is created without proxies. Raises UsageError if a variable cannot be used.
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
    except Exception as error:  # proxies and certificates raise various errors: ValueError, OSError, ...
        names = _variables((*PROXIES, *CERTIFICATES)) or "the environment"
        raise UsageError(f"{names} cannot be used: {_in_one_line(error)}") from error


def build_request(http: Http, base_url: str, call: Request, key: Mapping[str, str]) -> httpx.Request:
    """Create the request of a call. Raises UsageError if a value cannot be sent, such as half of a surrogate pair."""
    try:
        return http.build_request(**arguments(base_url, call, key))
    except (ValueError, TypeError, httpx.InvalidURL) as error:
        raise UsageError(f"this cannot be sent: {_in_one_line(error)}") from error


def describe_failure(base_url: str, error: Exception) -> NoResponse:
    """Describe a failed call in words. Raises Unreachable if a retry cannot help, and re-raises ClientError."""
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
    """Whether the server's certificate was refused. A retry would be refused too."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _variables(names: Sequence[str]) -> str:
    """The names of the variables that are set, in their actual spelling, joined with "and"."""
    spelt = (spelling for name in names for spelling in (name, name.lower()))
    return " and ".join(name for name in spelt if os.environ.get(name))


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
