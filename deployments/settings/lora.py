"""Settings of the LoRAs that requests may pick."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from deployments.settings.base import SettingsModel, absolute
from models.lora.source import LoraSource
from models.request.enums import Control
from models.request.loras import DEFAULT_MAX_SCALE, MAX_NAME_CHARS, KnownLora

LoraName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=MAX_NAME_CHARS)]


class LoraSettings(SettingsModel):
    """One LoRA: a safetensors file, on this machine or in a repository of the Hugging Face hub."""

    path: Annotated[Path | None, Field(description="Its file, or a folder with one such file.")] = None
    repository: Annotated[
        Annotated[str, Field(pattern=r"^[^/@]+/[^/@]+(@.+)?$")] | None,
        Field(description="Its repository, owner/name or owner/name@revision, in place of a path."),
    ] = None
    file: Annotated[
        Annotated[str, Field(pattern=r"^[^/].*\.safetensors$")] | None,
        Field(description="The file in a folder or a repository that has several."),
    ] = None
    trigger: Annotated[
        str, Field(max_length=500, description="Words that a prompt should have for it. Clients see them.")
    ] = ""
    max_scale: Annotated[float, Field(gt=0, le=10, description="The largest scale that a request may ask for.")] = (
        DEFAULT_MAX_SCALE
    )
    control: Annotated[
        Control | None,
        Field(description="For an IC-LoRA: what its control video shows. Left out: it is none."),
    ] = None
    reference_downscale_factor: Annotated[
        int,
        Field(
            ge=1,
            le=8,
            description="For an IC-LoRA: how many times smaller its control video is than the result, on each side. "
            "Must be what its file says.",
        ),
    ] = 1

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        if (self.path is None) == (self.repository is None):
            raise ValueError("either path or repository must be set")
        return self

    @property
    def known(self) -> KnownLora:
        """What clients may know of it."""
        return KnownLora(self.trigger, self.max_scale, self.control, self.reference_downscale_factor)

    def source(self, name: str) -> LoraSource:
        """Where the model loads it from."""
        factor = None if self.control is None else self.reference_downscale_factor
        return LoraSource(name, self.path, self.repository, self.file, reference_downscale_factor=factor)

    def with_absolute_path(self) -> Self:
        """Copy the settings with an absolute path: replicas may have another working directory."""
        return self if self.path is None else self.model_copy(update={"path": absolute(self.path)})
