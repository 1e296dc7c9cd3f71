"""How clients are told that their tasks have ended."""

import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from deployments.settings.base import SettingsModel
from deployments.settings.constants import ENV_NESTED_DELIMITER, ENV_PREFIX

SECRET_VARIABLE = f"{ENV_PREFIX}WEBHOOKS{ENV_NESTED_DELIMITER}SECRET"
SECRET_PREFIX = "whsec_"  # noqa: S105
SECRET_BYTES = range(24, 65)
"""What Standard Webhooks asks of a symmetric secret."""


def _check_secrets(given: SecretStr) -> SecretStr:
    secrets = given.get_secret_value().split()
    if not secrets or not all(_is_secret(each) for each in secrets):
        low, high = SECRET_BYTES[0], SECRET_BYTES[-1]
        raise ValueError(f"{SECRET_PREFIX} and base64 of {low} to {high} random bytes; several are parted by spaces")
    return given


def _is_secret(given: str) -> bool:
    try:
        key = base64.b64decode(given.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        return False
    return given.startswith(SECRET_PREFIX) and len(key) in SECRET_BYTES


def _derive(secret: str, owner: str) -> str:
    """Another secret from this one and a name. Whoever has it learns nothing of those of other names."""
    digest = hmac.digest(base64.b64decode(secret.removeprefix(SECRET_PREFIX)), f"owner\n{owner}".encode(), "sha256")
    return SECRET_PREFIX + base64.b64encode(digest).decode()


class WebhookSettings(SettingsModel):
    """How clients are told that their tasks have ended."""

    secret: Annotated[
        Annotated[SecretStr, AfterValidator(_check_secrets)] | None,
        Field(
            description="What messages are signed with, from the environment alone: whsec_ and base64. Several, parted "
            "by spaces, all sign. null refuses every webhook_url."
        ),
    ] = None
    allow_private: Annotated[
        bool, Field(description="Whether a webhook_url may lead to private, loopback and link-local addresses.")
    ] = False
    timeout_s: Annotated[
        float, Field(gt=0, le=60, description="How long a receiver may take for its answer, in seconds.")
    ] = 20.0
    connect_timeout_s: Annotated[
        float, Field(gt=0, le=60, description="How long of it the connection may take, in seconds.")
    ] = 5.0
    max_concurrent_deliveries: Annotated[int, Field(ge=1, description="Messages that one Ingress sends at once.")] = 32
    max_per_host: Annotated[int, Field(ge=1, description="How many of them may go to one host.")] = 4
    max_per_owner: Annotated[
        int, Field(ge=1, description="How many of them may be about the tasks of one API key.")
    ] = 8

    def secrets_of(self, owner: str) -> list[str]:
        """What messages about the tasks of `owner` are signed with. All sign, and the first is the one to hand out.

        Where there are API keys, each owner has secrets of its own, so that none can sign a message for another.
        """
        given = [] if self.secret is None else self.secret.get_secret_value().split()
        return [_derive(secret, owner) for secret in given] if owner else given

    def with_secret(self, environment: Mapping[str, str]) -> "WebhookSettings":
        """The same settings with the secret of this environment, or without one."""
        found = (value for name, value in environment.items() if name.upper() == SECRET_VARIABLE)
        return self.model_validate({**self.model_dump(), "secret": next(found, None)})
