"""Settings of the webhooks, which report the end of a task to its client."""

import base64
import binascii
import hmac
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from deployments.settings.base import ENV_NESTED_DELIMITER, ENV_PREFIX, SettingsModel

SECRET_VARIABLE = f"{ENV_PREFIX}WEBHOOKS{ENV_NESTED_DELIMITER}SECRET"
SECRET_PREFIX = "whsec_"  # noqa: S105
SECRET_BYTES = range(24, 65)
"""Allowed lengths of a symmetric secret in Standard Webhooks."""


def _check_secrets(given: SecretStr) -> SecretStr:
    secrets = given.get_secret_value().split()
    if not secrets or not all(_is_secret(each) for each in secrets):
        low, high = SECRET_BYTES[0], SECRET_BYTES[-1]
        raise ValueError(f"{SECRET_PREFIX} and base64 of {low} to {high} random bytes; separate several with spaces")
    return given


def _is_secret(given: str) -> bool:
    try:
        key = base64.b64decode(given.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        return False
    return given.startswith(SECRET_PREFIX) and len(key) in SECRET_BYTES


def _derive(secret: str, owner: str) -> str:
    """Derive the secret of one owner. It does not reveal the secrets of other owners."""
    digest = hmac.digest(base64.b64decode(secret.removeprefix(SECRET_PREFIX)), f"owner\n{owner}".encode(), "sha256")
    return SECRET_PREFIX + base64.b64encode(digest).decode()


class WebhookSettings(SettingsModel):
    """Settings of the webhooks, which report the end of a task to its client."""

    secret: Annotated[
        Annotated[SecretStr, AfterValidator(_check_secrets)] | None,
        Field(
            description="Secret that signs messages: whsec_ and base64. Set it in the environment only. Several "
            "secrets, separated by spaces, each add a signature. null: every webhook_url is refused."
        ),
    ] = None
    allow_private: Annotated[
        bool,
        Field(description="Allow a webhook_url with a private, loopback or link-local address."),
    ] = False
    timeout_s: Annotated[float, Field(gt=0, le=60, description="Maximum time for the answer of a receiver.")] = 20.0
    connect_timeout_s: Annotated[
        float, Field(gt=0, le=60, description="Maximum part of timeout_s for the connection.")
    ] = 5.0
    max_concurrent_deliveries: Annotated[
        int, Field(ge=1, description="Messages that one Ingress replica sends at once.")
    ] = 32
    max_per_host: Annotated[int, Field(ge=1, description="Maximum of these messages to one host.")] = 4
    max_per_owner: Annotated[
        int, Field(ge=1, description="Maximum of these messages for the tasks of one API key.")
    ] = 8

    def secrets_of(self, owner: str) -> list[str]:
        """The secrets that sign messages for the tasks of `owner`. Give the first one to the owner.

        With API keys each owner has its own derived secrets, so that no owner can sign messages of another.
        """
        given = [] if self.secret is None else self.secret.get_secret_value().split()
        return [_derive(secret, owner) for secret in given] if owner else given
