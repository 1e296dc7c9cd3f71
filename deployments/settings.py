"""Every knob: description, unit, default.

`args:` in serve_config.yaml fill it; `LTX2_*` environment variables win over the file, nested names with `__`
(LTX2_LIMITS__MAX_STEPS=50). A name that does not exist stops the start.
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from models.placement import Place, Weights
from models.recipes import Training
from models.request import Limits
from models.speedup_choice import Speedup
from storage.admission import KEPT_S
from storage.s3_options import S3Options

PREFIX = "LTX2_"
NESTING = "__"
SQLITE = "sqlite:///"
FOLDER = "file:"
CREDENTIALS = re.compile(r"//.*@")
"""What a url may hold that no log should."""


class SettingsError(Exception):
    """A setting is unknown or wrong. Says which, and what is allowed."""


class OutputSettings(BaseModel):
    """Where finished videos go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[
        str,
        Field(
            pattern=r"^(file:.+|s3://[a-z0-9][a-z0-9.-]+(/[A-Za-z0-9._/-]*)?)$",
            description="file:FOLDER, a folder that every node sees, or s3://BUCKET/PREFIX.",
        ),
    ] = "file:data/outputs"
    s3: S3Options = S3Options()
    delivery: Annotated[
        Literal["proxy", "redirect"],
        Field(description="proxy sends files through the way in; redirect sends clients to a signed url of a bucket."),
    ] = "proxy"
    signed_url_s: Annotated[int, Field(ge=60, le=604_800, description="How long such a url is good, in seconds.")] = (
        3600
    )
    min_free_bytes: Annotated[
        int, Field(ge=0, description="With less room under a folder, no task is taken; 0 never looks.")
    ] = 500_000_000


class EncodeSettings(BaseModel):
    """How a clip becomes a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: Annotated[
        int | None,
        Field(ge=100_000, description="Largest MP4, in bytes; null for no cap. WhatsApp takes 16 MB."),
    ] = 16_000_000
    prompt_in_metadata: Annotated[
        bool, Field(description="Whether the MP4 carries the prompt for everyone who gets the file.")
    ] = False
    replicas: Annotated[int, Field(ge=1, description="Encoder replicas.")] = 1
    num_cpus: Annotated[float, Field(ge=0, description="CPUs that Ray sets aside for each Encoder.")] = 0.1


class RetentionSettings(BaseModel):
    """What is forgotten, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outputs_s: Annotated[
        float | None, Field(ge=60, description="How long a finished video is kept, in seconds; null keeps it.")
    ] = 7 * 86_400.0
    rows_s: Annotated[
        float | None,
        Field(
            ge=KEPT_S,
            description="How long a task without a video can be asked for after its end, in seconds; null keeps it.",
        ),
    ] = 30 * 86_400.0
    batch: Annotated[
        int, Field(ge=1, le=1000, description="Rows, and files, of each kind that are looked at once a minute.")
    ] = 200


class GeneratorSettings(BaseModel):
    """The replicas that hold the model, one a GPU."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_replicas: Annotated[int, Field(ge=0, description="Replicas kept when idle; 0 frees the GPU.")] = 0
    max_replicas: Annotated[int, Field(ge=1, description="Most replicas: the GPUs it may take.")] = 1
    downscale_to_zero_delay_s: Annotated[
        float, Field(ge=0, description="Idle unload: seconds without a task until the last replica goes.")
    ] = 600.0
    num_cpus: Annotated[float, Field(ge=0, description="CPUs that Ray sets aside for each Generator.")] = 0.5
    stall_timeout_s: Annotated[
        float,
        Field(gt=0, description="A step or a decode that reports nothing for so long ends its replica."),
    ] = 300.0
    load_timeout_s: Annotated[
        float, Field(gt=0, description="The same for loading and downloading the model, in seconds.")
    ] = 1800.0
    max_waiting_clip_bytes: Annotated[
        int,
        Field(
            ge=1,
            description="Clips of one Generator that wait for an Encoder: at so many bytes it waits before it decodes.",
        ),
    ] = 2_000_000_000
    max_task_s: Annotated[
        float, Field(gt=0, description="How long a running task may go on when its replica is asked to end.")
    ] = 900.0

    placement: Annotated[
        Literal["auto"] | Place,
        Field(
            description="Where the weights go on a GPU: auto (the fastest that fits), resident, text_streamed, "
            "transformer or blocks."
        ),
    ] = "auto"
    weights: Annotated[
        Weights,
        Field(description="How the transformer is stored on a GPU: bf16, or fp8, half as large and not exact."),
    ] = Weights.BF16
    recipe: Annotated[
        Training,
        Field(
            description="How the checkpoint was trained: auto (its scheduler's config tells), base, or distilled "
            "(8 steps, no guidance)."
        ),
    ] = Training.AUTO
    speedups: Annotated[
        Literal["auto", "off"] | tuple[Speedup, ...],
        Field(
            description="auto (on a GPU, those that leave out needless work), off, or a list of: "
            + ", ".join(Speedup)
            + "."
        ),
    ] = "auto"

    @model_validator(mode="after")
    def _check_replicas(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas must be at most max_replicas, which is {self.max_replicas}")
        return self


class IngressSettings(BaseModel):
    """The way in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    replicas: Annotated[int, Field(ge=1, description="Ingress replicas.")] = 1
    num_cpus: Annotated[float, Field(ge=0, description="CPUs that Ray sets aside for each Ingress.")] = 0.1
    max_ongoing_requests: Annotated[
        int, Field(ge=10, description="Open connections that one replica serves at once.")
    ] = 2000
    max_queued: Annotated[
        int, Field(ge=1, description="Tasks that may wait in the queue: over it a submit is a 429 with Retry-After.")
    ] = 1000
    max_waiting: Annotated[
        int, Field(ge=1, description="Synchronous requests that one replica holds open at once.")
    ] = 200
    max_body_s: Annotated[
        float, Field(gt=0, description="How long the body of a request may take to arrive, in seconds.")
    ] = 180.0
    max_decoding: Annotated[
        int,
        Field(ge=1, description="Pictures that one replica decodes at once; one can take 1.3 GB for a moment."),
    ] = 2
    max_streams: Annotated[int, Field(ge=1, description="Event streams that one replica holds open at once.")] = 500
    heartbeat_s: Annotated[
        float, Field(gt=0, description="Seconds of silence after which an event stream says that it is still there.")
    ] = 15.0


class DispatcherSettings(BaseModel):
    """The loop that claims tasks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    replicas: Annotated[
        int, Field(ge=1, description="Dispatchers; more than one only with PostgreSQL. They share the Generators.")
    ] = 1
    num_cpus: Annotated[float, Field(ge=0, description="CPUs that Ray sets aside for each Dispatcher.")] = 0.1
    poll_interval_s: Annotated[
        float, Field(gt=0, description="How often it looks for tasks when nobody nudges it.")
    ] = 1.0
    lease_s: Annotated[
        float,
        Field(ge=5, description="How long another Dispatcher waits before it takes a silent one's tasks."),
    ] = 60.0
    max_attempts: Annotated[int, Field(ge=1, description="Generators that a task may lose before it fails.")] = 3
    max_restarts: Annotated[
        int, Field(ge=1, description="Restarts of the server that a task may live through before it fails.")
    ] = 20
    drain_s: Annotated[float, Field(ge=0, description="How long running tasks may go on at shutdown, in seconds.")] = (
        10.0
    )


class Settings(BaseSettings):
    """The settings of one app: one model, one queue."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=NESTING, extra="forbid", frozen=True, validate_default=True
    )

    model: Annotated[
        str,
        Field(
            min_length=1,
            description="auto, tiny, a repository id such as Lightricks/LTX-2 or owner/name@revision, or a folder.",
        ),
    ] = "auto"
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Field(description="auto looks for a GPU when the app starts; cuda waits for one to come."),
    ] = "auto"
    database_url: Annotated[
        str, Field(pattern=r"^(sqlite:///[^:]|postgresql)", description="sqlite:///FILE, or a PostgreSQL url.")
    ] = "sqlite:///data/ltx2.db"
    cache_dir: Annotated[Path, Field(description="Where the tiny model is built, once.")] = Path("data/cache")
    public_base_url: Annotated[
        AnyHttpUrl | None,
        Field(description="What urls in answers begin with; null takes each request's own Host."),
    ] = None
    trusted_proxy: Annotated[
        bool,
        Field(description="Whether a proxy of yours stands in front, so that X-Forwarded-* may be believed."),
    ] = False
    orphan_model_timeout_s: Annotated[
        float,
        Field(ge=0, description="When queued tasks of a model that is no longer served fail, in seconds."),
    ] = 3600.0
    outputs: OutputSettings = OutputSettings()
    encode: EncodeSettings = EncodeSettings()
    limits: Limits = Limits()
    retention: RetentionSettings = RetentionSettings()
    ingress: IngressSettings = IngressSettings()
    dispatcher: DispatcherSettings = DispatcherSettings()
    generator: GeneratorSettings = GeneratorSettings()

    @model_validator(mode="after")
    def _check_dispatchers(self) -> Self:
        if self.dispatcher.replicas > 1 and self.database_url.startswith(SQLITE):
            raise ValueError("dispatcher.replicas must be 1 with SQLite; several Dispatchers need PostgreSQL")
        return self

    def __init__(self, **values: Any) -> None:
        _refuse_unknown_variables(os.environ)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(_explain(error)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file."""
        return env_settings, init_settings

    def located(self) -> "Settings":
        """The same settings with absolute paths: replicas need not share this process's folder."""
        changes: dict[str, Any] = {"cache_dir": self.cache_dir.expanduser().absolute()}
        if self.outputs.url.startswith(FOLDER):
            folder = _absolute(self.outputs.url.removeprefix(FOLDER))
            changes["outputs"] = self.outputs.model_copy(update={"url": f"{FOLDER}{folder}"})
        if (folder := _absolute(self.model)).is_dir():
            changes["model"] = str(folder)
        if self.database_url.startswith(SQLITE):
            changes["database_url"] = SQLITE + str(_absolute(self.database_url.removeprefix(SQLITE)))
        return self.model_copy(update=changes)


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()


def _names(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """All environment variables that fill `model`."""
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name}".upper()
        yield variable
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _names(field.annotation, f"{variable}{NESTING}")


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    """Pydantic passes over a mistyped variable in silence; an operator wants to know."""
    known = list(_names(Settings, PREFIX))
    for name in environment:
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            close = difflib.get_close_matches(name.upper(), known, n=3) or known
            raise SettingsError(f"the environment variable {name} is no setting; did you mean {' or '.join(close)}?")


def _explain(error: ValidationError) -> str:
    return "\n".join(
        f"setting {'.'.join(str(part) for part in problem['loc'])}: {_say(problem)}"
        for problem in error.errors(include_url=False)
    )


def _say(problem: Any) -> str:
    if problem["type"] != "extra_forbidden":
        return f"{problem['msg']}; {CREDENTIALS.sub('//***@', repr(problem['input']))} was given"
    room: type[BaseModel] = Settings
    for part in problem["loc"][:-1]:
        annotation = room.model_fields[str(part)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            room = annotation
    return f"there is no such setting; there are {', '.join(room.model_fields)}"
