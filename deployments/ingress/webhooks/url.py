"""Checks a `webhook_url` at submit. Host names are resolved and checked when a message is sent (`network.py`)."""

from typing import Annotated

from pydantic import AnyHttpUrl, TypeAdapter, UrlConstraints, ValidationError

from deployments.ingress.webhooks.network import is_public, parse_address
from deployments.settings import WebhookSettings
from models.errors import InvalidRequest
from models.request.request import MAX_URL_CHARS, VideoRequest

FIELD = "webhook_url"
URL = TypeAdapter(Annotated[AnyHttpUrl, UrlConstraints(max_length=MAX_URL_CHARS)])
UNSIGNED = "left out: this server sends no webhooks until webhooks.secret (LTX2_WEBHOOKS__SECRET) is set"
ALLOWED = f"an http or https url of at most {MAX_URL_CHARS} characters"


def check_webhook(request: VideoRequest, settings: WebhookSettings) -> VideoRequest:
    """Return the request with its url in normalized form. Raises InvalidRequest."""
    if request.webhook_url is None:
        return request
    if settings.secret is None:
        raise InvalidRequest(FIELD, request.webhook_url, UNSIGNED)
    return request.model_copy(update={FIELD: _checked(request.webhook_url, settings)})


def _checked(given: str, settings: WebhookSettings) -> str:
    try:
        url = URL.validate_python(given)
    except ValidationError:
        raise InvalidRequest(FIELD, given, ALLOWED) from None
    if url.username or url.password:
        raise InvalidRequest(FIELD, _without_credentials(url), "a url without a user name and a password")
    if not settings.allow_private and _is_private(url.host or ""):
        raise InvalidRequest(FIELD, given, "a url of the open internet (webhooks.allow_private)")
    if len(str(url)) > MAX_URL_CHARS:  # non-ASCII characters become longer when encoded
        raise InvalidRequest(FIELD, given, f"{ALLOWED}, also as it is sent: %C3%A9 for é")
    return str(url)


def _is_private(host: str) -> bool:
    """Whether the host is localhost or a literal address that is not public.

    The url parser has already normalized spellings such as 0x7f.1.
    """
    address = parse_address(host)
    if address is not None:
        return not is_public(address)
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")


def _without_credentials(url: AnyHttpUrl) -> str:
    return f"{url.scheme}://***@{url.host}"
