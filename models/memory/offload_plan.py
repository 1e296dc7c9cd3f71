"""Where the model's components stand while they work: chosen from the memory that is free. Knows no Ray and no torch.

Sizes come from the checkpoint's files (models/checkpoint/sizes.py). What a render needs beside the weights is
models/memory/estimate.py's count for 512x768, 121 frames: 5.4 GB while the text is encoded or an image-to-video
denoises, 3 GB for CUDA and its kernels, and a margin.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType

from models.checkpoint.profile import BLOCKS_OF_LTX2
from models.errors import ModelUnavailable

GB = 10**9
TRANSFORMER = "transformer"
TEXT_ENCODER = "text_encoder"
RESERVED_VRAM_BYTES = 9 * GB
"""Beside the weights, at 512x768, 121 frames."""
RESERVED_HOST_BYTES = 4 * GB
BLOCKS_IN_FLIGHT = 2
"""A streamed transformer keeps the block that works and the block that comes next."""


class OffloadMode(StrEnum):
    """Ways to hold a model, from the fastest to the smallest. All give the same result."""

    CPU = "cpu"
    """All on the CPU."""
    NONE = "none"
    """All on the GPU."""
    TEXT_ENCODER = "text_encoder"
    """The text encoder passes through the GPU layer by layer while it encodes; all else stays on it."""
    ALL_BUT_TRANSFORMER = "all_but_transformer"
    """The transformer stays on the GPU; text encoder, connectors and VAE pass through it."""
    BLOCK = "block"
    """The transformer passes through the GPU too, block by block, at every step."""


OFFLOADED_COMPONENTS = MappingProxyType(
    {
        OffloadMode.NONE: (),
        OffloadMode.TEXT_ENCODER: (TEXT_ENCODER,),
        OffloadMode.ALL_BUT_TRANSFORMER: (TEXT_ENCODER, "connectors", "vae"),
        OffloadMode.BLOCK: (TEXT_ENCODER, "connectors", "vae", TRANSFORMER),
    }
)
"""The components that pass through the GPU, by place."""


PASSING = "host, passes through GPU"


class WeightDtype(StrEnum):
    """How the transformer's weights are stored. Everything is computed in bfloat16."""

    BF16 = "bf16"
    """As the checkpoint has them."""
    FP8 = "fp8"
    """Attention and feed-forward weights rounded to float8 (e4m3), half the size. Not exact: only where the operator
    asks for it."""


class TextEncoderDtype(StrEnum):
    """How the text encoder's weights are stored on a GPU. Everything is computed in bfloat16."""

    BF16 = "bf16"
    """As the checkpoint has them."""
    NF4 = "nf4"
    """The matrices of its layers rounded to 4 bits, a quarter of their size. Not exact: only where the operator asks
    for it."""


NF4_SHARE = Fraction(9, 32)
"""Of what bfloat16 takes: 4 bits a weight, and a scale of 32 bits for each 64 weights."""


@dataclass(frozen=True)
class Sizes:
    """The weights of each component in bytes, and the number of the transformer's blocks.

    `converted` are those bytes of them that a load makes in host memory, because they are stored as other numbers.
    `outside_blocks` are those of the transformer that are in none of its blocks, `text_matrices` those of the text
    encoder that can be stored in 4 bits. `fp8_bytes` is all that the transformer takes as fp8; 0 where nobody looked.
    `float32` are the components of float32 numbers whatever the others are.
    """

    weights: Mapping[str, int]
    blocks: int = BLOCKS_OF_LTX2
    converted: Mapping[str, int] = field(default_factory=dict)
    outside_blocks: int = 0
    text_matrices: int = 0
    fp8_bytes: int = 0
    float32: frozenset[str] = frozenset()

    @property
    def total(self) -> int:
        """All weights."""
        return sum(self.weights.values())

    def dtype_of(self, name: str, dtype: str) -> str:
        """What a component is made of where the others are made of `dtype`."""
        return "float32" if name in self.float32 else dtype

    def stored(self, weights: WeightDtype, text_weights: TextEncoderDtype = TextEncoderDtype.BF16) -> "Sizes":
        """The sizes once transformer and text encoder are stored so. What is rounded is made in host memory."""
        stored = self._with_transformer(weights)
        return stored if text_weights is TextEncoderDtype.BF16 else stored.with_text_encoder_in_4_bits()

    def with_text_encoder_in_4_bits(self) -> "Sizes":
        """The sizes once the text encoder's matrices are stored in 4 bits."""
        if TEXT_ENCODER not in self.weights:
            return self
        rounded = self.weights[TEXT_ENCODER] - int(self.text_matrices * (1 - NF4_SHARE))
        return replace(
            self,
            weights={**self.weights, TEXT_ENCODER: rounded},
            converted={**self.converted, TEXT_ENCODER: rounded},
        )

    def _with_transformer(self, weights: WeightDtype) -> "Sizes":
        if weights is WeightDtype.BF16:
            return self
        outside = self.outside_blocks
        rounded = self.fp8_bytes or outside + (self.weights.get(TRANSFORMER, outside) - outside) // 2
        return replace(self, weights={**self.weights, TRANSFORMER: rounded})


@dataclass(frozen=True)
class ComponentPlacement:
    """Where one component goes."""

    component: str
    dtype: str
    where: str
    size_bytes: int


@dataclass(frozen=True)
class Placement:
    """Where a model goes, and what it takes: GPU bytes with a render's working memory in them, and host bytes."""

    mode: OffloadMode
    gpu_bytes: int
    host_bytes: int
    rows: tuple[ComponentPlacement, ...] = ()
    weights: WeightDtype = WeightDtype.BF16
    text_weights: TextEncoderDtype = TextEncoderDtype.BF16
    stream_buffer_bytes: int = 0
    """What of the GPU the blocks of a streamed transformer take while it works. What is in no block stands there
    already, so that memory that is free is without it."""

    def with_pinned(self, names: Collection[str]) -> "Placement":
        """The same where these components wait in pinned host memory."""
        rows = (replace(row, where=f"pinned {PASSING}") if row.component in names else row for row in self.rows)
        return replace(self, rows=tuple(rows))

    def table(self) -> str:
        """The placement for the log: component, dtype, where, GB."""
        lines = [f"{'component':<14} {'dtype':<9} {'where':<31} {'GB':>6}"]
        lines += [
            f"{row.component:<14} {row.dtype:<9} {row.where:<31} {row.size_bytes / GB:>6.2f}" for row in self.rows
        ]
        total = (
            f"all, with a render's own memory: {_gb(self.gpu_bytes)} on the GPU, {_gb(self.host_bytes)} in host memory"
        )
        return "\n".join([*lines, total])


def plan(
    free_vram_bytes: int,
    host_bytes: int,
    sizes: Sizes,
    *,
    place: OffloadMode | None = None,
    weights: WeightDtype = WeightDtype.BF16,
    text_weights: TextEncoderDtype = TextEncoderDtype.BF16,
    card_bytes: int | None = None,
) -> Placement:
    """The fastest placement that fits, for `free_vram_bytes` on the GPU and `host_bytes` of free host memory.

    `place` leaves only that one to choose. `card_bytes` is all that the GPU has, for the error. Raises
    ModelUnavailable where none fits, saying what each would need.
    """
    options = [option for option in gpu_placements(sizes, weights, text_weights) if place in (None, option.mode)]
    for option in options:
        if option.gpu_bytes <= free_vram_bytes and option.host_bytes <= host_bytes:
            return option
    needs = "; ".join(
        f"{option.mode}: {_gb(option.gpu_bytes)} on the GPU and {_gb(option.host_bytes)} in host memory"
        for option in options
    )
    advice = (
        ". generator.weight_dtype: fp8 halves the transformer and is not exact" if weights is WeightDtype.BF16 else ""
    )
    if text_weights is TextEncoderDtype.BF16:
        advice += ". generator.text_encoder_dtype: nf4 takes two thirds off the text encoder and is not exact"
    raise ModelUnavailable(
        f"the model does not fit: {_free(free_vram_bytes, card_bytes)} on the GPU and {_gb(host_bytes)} in host "
        f"memory, and it needs ({needs}){advice}"
    )


def _free(free_bytes: int, all_bytes: int | None) -> str:
    if all_bytes is None:
        return f"{_gb(free_bytes)} is free"
    return f"{_gb(free_bytes)} of {_gb(all_bytes)} is free (nvidia-smi shows who has the rest)"


def plan_cpu(host_bytes: int, sizes: Sizes, dtype: str = "bfloat16") -> Placement:
    """All on the CPU. Raises ModelUnavailable where host memory is too small."""
    needed = sizes.total
    if needed > host_bytes:
        raise ModelUnavailable(
            f"the model does not fit: it needs {_gb(needed)} of host memory on the CPU, and {_gb(host_bytes)} is free"
        )
    rows = tuple(
        ComponentPlacement(name, sizes.dtype_of(name, dtype), "CPU", size) for name, size in sizes.weights.items()
    )
    return Placement(OffloadMode.CPU, gpu_bytes=0, host_bytes=needed, rows=rows)


def gpu_placements(
    sizes: Sizes, weights: WeightDtype = WeightDtype.BF16, text_weights: TextEncoderDtype = TextEncoderDtype.BF16
) -> tuple[Placement, ...]:
    """What each way on a GPU takes, the fastest first."""
    stored = sizes.stored(weights, text_weights)
    return tuple(_place(place, stored, weights, text_weights) for place in OFFLOADED_COMPONENTS)


def _place(place: OffloadMode, sizes: Sizes, weights: WeightDtype, text_weights: TextEncoderDtype) -> Placement:
    """What one way takes. The text encoder is gone from the GPU before denoising asks for its memory.

    Host memory has to hold the blocks that pass at every step, and what a load makes there. What is mapped from its
    file and passes once a task is the kernel's to keep or to read again.
    """
    passing = [name for name in OFFLOADED_COMPONENTS[place] if name in sizes.weights]
    held_bytes = sum(sizes.weights[name] for name in passing)
    blocks_bytes = sizes.weights[TRANSFORMER] - sizes.outside_blocks if TRANSFORMER in passing else 0
    window = blocks_bytes // sizes.blocks * BLOCKS_IN_FLIGHT
    staying = sizes.outside_blocks if TRANSFORMER in passing else 0
    rows = tuple(
        ComponentPlacement(
            name,
            sizes.dtype_of(name, _dtype(name, weights, text_weights)),
            PASSING if name in passing else "GPU",
            size,
        )
        for name, size in sizes.weights.items()
    )
    gpu_bytes = sizes.total - held_bytes + staying + window + RESERVED_VRAM_BYTES
    host_bytes = blocks_bytes + _made_bytes(sizes, passing) + RESERVED_HOST_BYTES
    return Placement(place, gpu_bytes, host_bytes, rows, weights, text_weights, window)


def _dtype(name: str, weights: WeightDtype, text_weights: TextEncoderDtype) -> str:
    if name == TRANSFORMER and weights is WeightDtype.FP8:
        return "float8"
    return "nf4" if name == TEXT_ENCODER and text_weights is TextEncoderDtype.NF4 else "bfloat16"


def _made_bytes(sizes: Sizes, passing: Collection[str]) -> int:
    """What a load makes of other numbers in host memory, beside blocks that pass."""
    return sum(size for name, size in sizes.converted.items() if name != TRANSFORMER or name not in passing)


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / GB:.1f} GB"
