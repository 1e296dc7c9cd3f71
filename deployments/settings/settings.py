"""The settings of one app, read from the config file and the environment."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AnyHttpUrl, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError

from deployments.settings.api_keys import ApiKey, check_keys
from deployments.settings.base import (
    ENV_NESTED_DELIMITER,
    ENV_PREFIX,
    FILE_SCHEME,
    SQLITE_SCHEME,
    SettingsModel,
    absolute,
)
from deployments.settings.enhance import API_KEY_VARIABLE, EnhanceSettings
from deployments.settings.generator import GeneratorSettings
from deployments.settings.ingress import IngressSettings
from deployments.settings.sections import (
    DispatcherSettings,
    EncoderSettings,
    LogSettings,
    OutputSettings,
    RetentionSettings,
    TraceSettings,
    with_password,
    without_password,
)
from deployments.settings.validation import (
    SettingsError,
    format_error,
    reject_password_in_config,
    reject_unknown_variables,
)
from deployments.settings.webhooks import SECRET_VARIABLE, WebhookSettings
from models.request.request import RequestLimits
from storage.fair_queue import Quota

CorsOrigin = Annotated[str, Field(pattern=r"^https?://[^/*?#@\s]+$")]
"""An origin as browsers send it: scheme, host and port, without a slash at the end."""


SECRETS = {"webhooks": ("secret", SECRET_VARIABLE), "enhance": ("api_key", API_KEY_VARIABLE)}
"""Secrets that come from the environment alone: their section, their field there, and their variable."""


class Settings(BaseSettings):
    """The settings of one app, which serves one model from one queue."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_NESTED_DELIMITER,
        extra="forbid",
        frozen=True,
        validate_default=True,
    )

    model: Annotated[
        str,
        Field(
            min_length=1,
            description="The model to serve. auto: Lightricks/LTX-2 with a GPU, else demo, or the real model that this "
            "database has served before, which waits for a GPU. demo: draws a colored shape that moves. tiny: random "
            "weights, makes noise. Or a repository id, such as Lightricks/LTX-2 or owner/name@revision, or a folder "
            "saved by diffusers.",
        ),
    ] = "auto"
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Field(description="auto: use a GPU if the cluster has one at the start. cuda: GPU nodes may join later."),
    ] = "auto"
    database_url: Annotated[
        str,
        Field(
            pattern=r"^(sqlite:///[^:]|postgresql)",
            description="sqlite:///FILE for one host, postgresql://USER@HOST/NAME for several. A password in the url "
            "must come from the environment.",
            repr=False,
        ),
    ] = "sqlite:///data/ltx2.db"
    cache_dir: Annotated[
        Path,
        Field(
            description="Folder for downloaded models and the tiny model. A complete model in the user's Hugging Face "
            "cache is used from there and not downloaded again."
        ),
    ] = Path("data/cache")
    public_base_url: Annotated[
        AnyHttpUrl | None,
        Field(description="Start of the urls in answers. null: taken from the client's Host header."),
    ] = None
    trusted_proxy: Annotated[
        bool,
        Field(description="true: trust X-Forwarded-* headers. Only for a server behind a proxy of yours."),
    ] = False
    unserved_model_timeout_s: Annotated[
        float,
        Field(ge=0, description="Queued tasks fail when no server has served their model for this long."),
    ] = 3600.0
    api_keys: Annotated[
        tuple[ApiKey, ...],
        Field(description="API keys, best set as LTX2_API_KEYS. Empty: no authentication, everyone has access."),
    ] = ()
    cors_origins: Annotated[
        tuple[CorsOrigin, ...],
        Field(description="Sites whose scripts may call the API in a browser, such as https://app.example.com."),
    ] = ()
    outputs: OutputSettings = OutputSettings()
    encoder: EncoderSettings = EncoderSettings()
    limits: RequestLimits = RequestLimits()
    retention: RetentionSettings = RetentionSettings()
    webhooks: WebhookSettings = WebhookSettings()
    enhance: EnhanceSettings = EnhanceSettings()
    ingress: IngressSettings = IngressSettings()
    dispatcher: DispatcherSettings = DispatcherSettings()
    generator: GeneratorSettings = GeneratorSettings()
    log: LogSettings = LogSettings()
    traces: TraceSettings = Field(default_factory=TraceSettings)

    @property
    def quotas(self) -> dict[str, Quota]:
        """The quota of each owner of API keys, by name."""
        return {each.name: Quota(each.weight, each.max_running, each.max_queued) for each in self.api_keys}

    @property
    def uses_sqlite(self) -> bool:
        """Whether the database is a file of this host, and not a PostgreSQL server."""
        return self.database_url.startswith(SQLITE_SCHEME)

    @model_validator(mode="after")
    def _check_dispatchers(self) -> Self:
        if self.dispatcher.replicas > 1 and self.uses_sqlite:
            raise ValueError("dispatcher.replicas must be 1 with SQLite; several Dispatchers need PostgreSQL")
        return self

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        check_keys(self.api_keys)
        return self

    @model_validator(mode="after")
    def _check_enhance(self) -> Self:
        if (self.enhance.base_url is None) != (self.enhance.model is None):
            raise ValueError("enhance.base_url and enhance.model must be set together")
        return self

    def __init__(self, **values: Any) -> None:
        reject_unknown_variables(type(self), os.environ)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(format_error(type(self), error)) from None
        except SourceError as error:  # an environment variable is not valid JSON
            raise SettingsError(f"{error}: it must be JSON") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment variables override the config file."""
        return env_settings, init_settings

    def without_secrets(self) -> "Settings":
        """Copy the settings without secrets, so that they can be pickled: Ray stores the arguments of deployments.

        Raises SettingsError for a secret that the replicas would not find in their environment.
        """
        reject_password_in_config(self.database_url, os.environ)
        bare: dict[str, Any] = {"database_url": without_password(self.database_url)}
        for section, (field, variable) in SECRETS.items():
            given: SettingsModel = getattr(self, section)
            if getattr(given, field) is not None and given != given.with_secret(field, variable, os.environ):
                raise SettingsError(f"setting {section}.{field}: it must come from the environment, as {variable}")
            bare[section] = given.model_copy(update={field: None})
        return self.model_copy(update=bare)

    def with_secrets(self) -> "Settings":
        """Copy the settings with the secrets from the environment of this process."""
        secrets: dict[str, Any] = {"database_url": with_password(self.database_url, os.environ)}
        for section, (field, variable) in SECRETS.items():
            secrets[section] = getattr(self, section).with_secret(field, variable, os.environ)
        return self.model_copy(update=secrets)

    def with_absolute_paths(self) -> "Settings":
        """Copy the settings with absolute paths: replicas may have another working directory."""
        changes: dict[str, Any] = {
            "cache_dir": absolute(self.cache_dir),
            "generator": self.generator.with_absolute_paths(),
        }
        if self.outputs.url.startswith(FILE_SCHEME):
            folder = absolute(self.outputs.url.removeprefix(FILE_SCHEME))
            changes["outputs"] = self.outputs.model_copy(update={"url": f"{FILE_SCHEME}{folder}"})
        if (folder := absolute(self.model)).is_dir():
            changes["model"] = str(folder)
        if self.uses_sqlite:
            changes["database_url"] = SQLITE_SCHEME + str(absolute(self.database_url.removeprefix(SQLITE_SCHEME)))
        return self.model_copy(update=changes)
