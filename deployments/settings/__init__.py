"""All settings, with description, unit and default. Each section has a module; `settings.py` combines them.

Values come from `args:` in serve_config.yaml. `LTX2_*` environment variables override the file; nested names use `__`
(LTX2_LIMITS__MAX_INFERENCE_STEPS=50). An unknown name stops the start.
"""

from deployments.settings.api_keys import ApiKey
from deployments.settings.base import ENV_NESTED_DELIMITER, ENV_PREFIX, FILE_SCHEME, SQLITE_SCHEME
from deployments.settings.generator import GeneratorSettings
from deployments.settings.ingress import IngressSettings
from deployments.settings.sections import (
    DispatcherSettings,
    EncoderSettings,
    LogSettings,
    OutputSettings,
    RetentionSettings,
    TraceSettings,
)
from deployments.settings.settings import Settings
from deployments.settings.validation import SettingsError
from deployments.settings.webhooks import WebhookSettings

__all__ = [
    "ENV_NESTED_DELIMITER",
    "ENV_PREFIX",
    "FILE_SCHEME",
    "SQLITE_SCHEME",
    "ApiKey",
    "DispatcherSettings",
    "EncoderSettings",
    "GeneratorSettings",
    "IngressSettings",
    "LogSettings",
    "OutputSettings",
    "RetentionSettings",
    "Settings",
    "SettingsError",
    "TraceSettings",
    "WebhookSettings",
]
