"""Settings of the prompt enhancement, which a language model does."""

from typing import Annotated

from pydantic import AfterValidator, AnyHttpUrl, Field, SecretStr

from deployments.settings.base import ENV_NESTED_DELIMITER, ENV_PREFIX, SettingsModel

API_KEY_VARIABLE = f"{ENV_PREFIX}ENHANCE{ENV_NESTED_DELIMITER}API_KEY"


def _refuse_credentials(url: AnyHttpUrl) -> AnyHttpUrl:
    if url.username or url.password:
        raise ValueError(f"a url without a user name and a password; a key goes into {API_KEY_VARIABLE}")
    return url


class EnhanceSettings(SettingsModel):
    """Settings of the prompt enhancement, which a language model does."""

    base_url: Annotated[
        Annotated[AnyHttpUrl, AfterValidator(_refuse_credentials)] | None,
        Field(
            description="Start of the urls of an API like OpenAI's, such as http://localhost:11434/v1. Its "
            "/chat/completions rewrites prompts. null: enhance_prompt is refused."
        ),
    ] = None
    model: Annotated[
        str | None, Field(min_length=1, description="Name of the language model there. It is needed with base_url.")
    ] = None
    api_key: Annotated[
        SecretStr | None, Field(description="API key for it, if it needs one. Set it in the environment only.")
    ] = None
    timeout_s: Annotated[
        float, Field(gt=0, le=120, description="Maximum time for its answer. Then the prompt is used as given.")
    ] = 20.0
    max_concurrent: Annotated[
        int, Field(ge=1, description="Prompts that one Ingress replica has rewritten at once. Beyond it: a 429.")
    ] = 16

    @property
    def is_configured(self) -> bool:
        """Whether there is a language model."""
        return self.base_url is not None and self.model is not None
