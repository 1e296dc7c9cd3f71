"""Makes one attempt of one delivery: builds and signs the message, sends it, and classifies the response."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpcore
import httpx
from standardwebhooks import Webhook

from deployments.ingress.schemas import task_body
from deployments.ingress.webhooks.bounded_stream import TooMuchAnswer
from deployments.ingress.webhooks.ssrf import PrivateAddressError, PublicNetworkBackend, Resolve
from deployments.settings import Settings, WebhookSettings
from deployments.signed_urls import Signer, make_url_builder
from storage.tasks import Task
from storage.webhooks import Delivery

USER_AGENT = "ltx2-server"


class PayloadBuilder:
    """Builds and signs messages.

    All attempts of a delivery have the same id and the same content. Each has its own timestamp and signature.
    """

    def __init__(self, settings: Settings, url_signer: Callable[[], Signer | None]) -> None:
        self._public_base_url = settings.public_base_url
        self._url_signer = url_signer
        self._kept_s = settings.retention.output_ttl_s
        self._secrets_of = settings.webhooks.secrets_of

    def body(self, task: Task) -> str:
        """The JSON message: `type`, `timestamp` of the task's end, and `data`, the poll body. Blocks on the store."""
        base_url = task.base_url if self._public_base_url is None else str(self._public_base_url).rstrip("/")
        ended_at = datetime.fromtimestamp(task.finished_at or 0.0, UTC)
        told = {
            "type": f"video.{task.state}",
            "timestamp": ended_at.isoformat().replace("+00:00", "Z"),
            "data": task_body(task, make_url_builder(base_url, self._url_signer()), kept_s=self._kept_s),
        }
        return json.dumps(told, separators=(",", ":"))

    def headers(self, delivery: Delivery, body: str, now: float) -> dict[str, str]:
        """The headers of an attempt at the time `now`."""
        at = datetime.fromtimestamp(int(now), UTC)
        signers = [Webhook(secret) for secret in self._secrets_of(delivery.task.owner)]
        return {
            "content-type": "application/json",
            "user-agent": USER_AGENT,
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(now)),
            "webhook-signature": " ".join(signer.sign(delivery.id, at, body) for signer in signers),
        }


STATUS_GONE = 410
MAX_RETRY_AFTER_S = 3600
NO_CONNECTION = "no connection to its host"
"""Clients see the same error for a host with a private address. So they cannot find out which internal names exist.

The log has the real error.
"""

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class DeliveryResult:
    """The result of an attempt.

    `error` is None if the receiver accepted the message. With `final`, the receiver wants no further attempt.
    """

    error: str | None = None
    final: bool = False
    retry_after_s: float = 0.0


class WebhookClient:
    """Sends messages, within time limits. Reads only the status and the headers of a response."""

    def __init__(
        self, settings: WebhookSettings, messages: PayloadBuilder, resolve: Resolve, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._messages = messages
        self._clock = clock
        self._connections = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=settings.max_concurrent_deliveries,
            max_keepalive_connections=0,
            network_backend=PublicNetworkBackend(resolve, allow_private=settings.allow_private),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connections.aclose()

    async def send(self, delivery: Delivery) -> DeliveryResult:
        """Make one attempt. Errors that a receiver can cause become results. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await self._send(delivery)
        except TooMuchAnswer:
            return DeliveryResult("the receiver sent too many bytes")
        except httpcore.ConnectTimeout:
            return DeliveryResult(f"no connection in {self._settings.connect_timeout_s:g} s")
        except (TimeoutError, httpcore.TimeoutException):
            return DeliveryResult(f"no answer in {self._settings.timeout_s:g} s")
        except (httpcore.ConnectError, PrivateAddressError) as error:
            logger.info("webhook %s: %s: %s", delivery.id, type(error).__name__, error)
            return DeliveryResult(NO_CONNECTION)
        except (httpcore.NetworkError, httpcore.ProtocolError):
            return DeliveryResult("the connection broke before an answer")

    async def _send(self, delivery: Delivery) -> DeliveryResult:
        body = await asyncio.to_thread(self._messages.body, delivery.task)
        headers = self._messages.headers(delivery, body, self._clock()) | {"host": urlsplit(delivery.url).netloc}
        whole_s, connect_s = self._settings.timeout_s, self._settings.connect_timeout_s
        async with self._connections.stream(
            "POST",
            delivery.url,
            headers=list(headers.items()),
            content=body.encode(),
            extensions={"timeout": {"connect": connect_s, "read": whole_s, "write": whole_s, "pool": whole_s}},
        ) as answer:
            return classify_response(answer.status, dict(answer.headers))


def classify_response(status: int, headers: dict[bytes, bytes]) -> DeliveryResult:
    """Classify a response. Redirects are not followed: if the receiver moves, the client must submit the new url."""
    if httpx.codes.is_success(status):
        return DeliveryResult()
    if status == STATUS_GONE:
        return DeliveryResult("the receiver answered 410: it wants no more messages", final=True)
    moved = ", a redirect, which is not followed" if httpx.codes.is_redirect(status) else ""
    return DeliveryResult(f"the receiver answered {status}{moved}", retry_after_s=_retry_after_s(headers))


def _retry_after_s(headers: dict[bytes, bytes]) -> float:
    """The `Retry-After` header in seconds; 0 if it is missing or has another format."""
    asked = next((value for name, value in headers.items() if name.lower() == b"retry-after"), b"")
    with contextlib.suppress(ValueError):
        return min(MAX_RETRY_AFTER_S, max(0, int(asked)))
    return 0.0
