"""Builds webhook messages: the poll body of an ended task, signed as Standard Webhooks 1.0 specifies."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

from standardwebhooks import Webhook

from deployments.ingress.schemas import task_body
from deployments.settings import Settings
from deployments.signed_urls import Signer, make_url_builder
from storage.tasks import Task
from storage.webhooks import Delivery

USER_AGENT = "ltx2-server"


class PayloadBuilder:
    """Builds and signs messages.

    All attempts of a delivery have the same id and content. Each attempt has its own time and signature.
    """

    def __init__(self, settings: Settings, url_signer: Callable[[], Signer | None]) -> None:
        self._public_base_url = settings.public_base_url
        self._url_signer = url_signer
        self._kept_s = settings.retention.output_ttl_s
        self._secrets_of = settings.webhooks.secrets_of

    def body(self, task: Task) -> str:
        """Return the JSON body: `type`, `timestamp` of the end, and `data`, the poll body. Blocks on the store."""
        base_url = task.base_url if self._public_base_url is None else str(self._public_base_url).rstrip("/")
        ended_at = datetime.fromtimestamp(task.finished_at or 0.0, UTC)
        told = {
            "type": f"video.{task.state}",
            "timestamp": ended_at.isoformat().replace("+00:00", "Z"),
            "data": task_body(task, make_url_builder(base_url, self._url_signer()), kept_s=self._kept_s),
        }
        return json.dumps(told, separators=(",", ":"))

    def headers(self, delivery: Delivery, body: str, now: float) -> dict[str, str]:
        """Return the headers of an attempt that is made at `now`."""
        at = datetime.fromtimestamp(int(now), UTC)
        signers = [Webhook(secret) for secret in self._secrets_of(delivery.task.owner)]
        return {
            "content-type": "application/json",
            "user-agent": USER_AGENT,
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(now)),
            "webhook-signature": " ".join(signer.sign(delivery.id, at, body) for signer in signers),
        }
