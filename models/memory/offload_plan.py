"""Chooses where the model's components are kept, from the free memory. Does not import Ray or torch.

Component sizes come from the checkpoint's files (models/checkpoint/sizes.py). The memory of a render beside the weights
is the count of models/memory/estimate.py for 512x768, 121 frames: 5.4 GB for text encoding or image-to-video denoising,
3 GB for CUDA and its kernels, and a margin.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType

from models.checkpoint.profile import BLOCKS_OF_LTX2
from models.errors import ModelUnavailable
from models.request.loras import MAX_LORAS

GB = 10**9
TRANSFORMER = "transformer"
TEXT_ENCODER = "text_encoder"
UPSAMPLER = "latent_upsampler"
RESERVED_VRAM_BYTES = 9 * GB
"""GPU memory reserved beside the weights, for 512x768, 121 frames."""
RESERVED_HOST_BYTES = 4 * GB
BLOCKS_IN_FLIGHT = 2
"""A streamed transformer has two blocks on the GPU: the one that computes and the next one."""


class OffloadMode(StrEnum):
    """Ways to hold a model, from the fastest to the smallest. All give the same result."""

    CPU = "cpu"
    """All components on the CPU."""
    NONE = "none"
    """All components on the GPU."""
    TEXT_ENCODER = "text_encoder"
    """The text encoder is streamed layer by layer while it encodes; all else stays on the GPU."""
    ALL_BUT_TRANSFORMER = "all_but_transformer"
    """The transformer stays on the GPU; text encoder, connectors, VAE and upsampler are streamed."""
    BLOCK = "block"
    """The transformer is streamed too, block by block, at every step."""


OFFLOADED_COMPONENTS = MappingProxyType(
    {
        OffloadMode.NONE: (),
        OffloadMode.TEXT_ENCODER: (TEXT_ENCODER,),
        OffloadMode.ALL_BUT_TRANSFORMER: (TEXT_ENCODER, "connectors", "vae", UPSAMPLER),
        OffloadMode.BLOCK: (TEXT_ENCODER, "connectors", "vae", UPSAMPLER, TRANSFORMER),
    }
)
"""The streamed components of each mode."""


PASSING = "host, passes through GPU"
LENT = "host, copied to GPU for a task"


class WeightDtype(StrEnum):
    """How the transformer's weights are stored. All computation is in bfloat16."""

    BF16 = "bf16"
    """As in the checkpoint."""
    FP8 = "fp8"
    """Attention and feed-forward weights quantized to float8 (e4m3), half the size. Not exact: used only if the
    operator selects it."""


class TextEncoderDtype(StrEnum):
    """How the text encoder's weights are stored on a GPU. All computation is in bfloat16."""

    BF16 = "bf16"
    """As in the checkpoint."""
    NF4 = "nf4"
    """The matrices of its layers quantized to 4 bits, a quarter of their size. Not exact: used only if the operator
    selects it."""


NF4_SHARE = Fraction(9, 32)
"""Size relative to bfloat16: 4 bits per weight, and a 32-bit scale for each 64 weights."""


@dataclass(frozen=True)
class Sizes:
    """The size of each component's weights in bytes, and the number of the transformer's blocks.

    - `converted`: bytes that a load allocates in host memory, because they are stored in another dtype.
    - `outside_blocks`: bytes of the transformer outside its blocks.
    - `text_matrices`: bytes of the text encoder that can be stored in 4 bits.
    - `fp8_bytes`: the transformer's size as fp8; 0 if unknown.
    - `float32`: the components that are always float32.
    - `loras`: the bytes of each LoRA, by name, which are kept in host memory.
    - `distilled_lora`: the bytes of the LoRA of a base model's second stage, which is kept there too.
    """

    weights: Mapping[str, int]
    blocks: int = BLOCKS_OF_LTX2
    converted: Mapping[str, int] = field(default_factory=dict)
    outside_blocks: int = 0
    text_matrices: int = 0
    fp8_bytes: int = 0
    float32: frozenset[str] = frozenset()
    loras: Mapping[str, int] = field(default_factory=dict)
    distilled_lora: int = 0

    @property
    def total(self) -> int:
        """All weights of the model."""
        return sum(self.weights.values())

    @property
    def lora_bytes(self) -> int:
        """All LoRAs."""
        return sum(self.loras.values()) + self.distilled_lora

    @property
    def applied_lora_bytes(self) -> int:
        """The most LoRAs that one render applies, where it runs: the largest ones, and that of the second stage."""
        return sum(sorted(self.loras.values(), reverse=True)[:MAX_LORAS]) + self.distilled_lora

    def lora_rows(self, dtype: str, where: str) -> tuple["ComponentPlacement", ...]:
        """The rows of the LoRAs in the placement's table, if there are any."""
        found = {f"{len(self.loras)} LoRAs": sum(self.loras.values()), "distilled LoRA": self.distilled_lora}
        return tuple(ComponentPlacement(name, dtype, where, size) for name, size in found.items() if size)

    def dtype_of(self, name: str, dtype: str) -> str:
        """The dtype of a component, when most components have `dtype`."""
        return "float32" if name in self.float32 else dtype

    def stored(self, weights: WeightDtype, text_weights: TextEncoderDtype = TextEncoderDtype.BF16) -> "Sizes":
        """The sizes for these dtypes. Quantized weights are created in host memory."""
        stored = self._with_transformer(weights)
        return stored if text_weights is TextEncoderDtype.BF16 else stored.with_text_encoder_in_4_bits()

    def with_text_encoder_in_4_bits(self) -> "Sizes":
        """The sizes with the text encoder's matrices stored in 4 bits."""
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
    """Where one component is kept."""

    component: str
    dtype: str
    where: str
    size_bytes: int


@dataclass(frozen=True)
class Placement:
    """Where a model is kept. `gpu_bytes` includes a render's working memory; `host_bytes` is host memory."""

    mode: OffloadMode
    gpu_bytes: int
    host_bytes: int
    rows: tuple[ComponentPlacement, ...] = ()
    weights: WeightDtype = WeightDtype.BF16
    text_weights: TextEncoderDtype = TextEncoderDtype.BF16
    stream_buffer_bytes: int = 0
    """GPU memory for the blocks of a streamed transformer while it computes. The weights outside the blocks are on the
    GPU already, so they are not part of the free memory."""
    lora_bytes: int = 0
    """GPU memory for the LoRAs of a render. They are copied there when it begins."""

    def with_pinned(self, names: Collection[str]) -> "Placement":
        """A copy in which these components are pinned in host memory."""
        rows = (replace(row, where=f"pinned {PASSING}") if row.component in names else row for row in self.rows)
        return replace(self, rows=tuple(rows))

    def table(self) -> str:
        """The placement as a table for the log: component, dtype, where, GB."""
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
    """The fastest placement that fits `free_vram_bytes` on the GPU and `host_bytes` of free host memory.

    `place` restricts the choice to one mode. `card_bytes` is the GPU's total memory, for the error message. Raises
    ModelUnavailable if none fits; the message lists what each mode needs.
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
    """A placement with all components on the CPU. Raises ModelUnavailable if host memory is too small."""
    needed = sizes.total + sizes.lora_bytes + sizes.applied_lora_bytes
    if needed > host_bytes:
        raise ModelUnavailable(
            f"the model does not fit: it needs {_gb(needed)} of host memory on the CPU, and {_gb(host_bytes)} is free"
        )
    rows = tuple(
        ComponentPlacement(name, sizes.dtype_of(name, dtype), "CPU", size) for name, size in sizes.weights.items()
    )
    rows = (*rows, *sizes.lora_rows(dtype, "CPU"))
    return Placement(OffloadMode.CPU, gpu_bytes=0, host_bytes=needed, rows=rows)


def gpu_placements(
    sizes: Sizes, weights: WeightDtype = WeightDtype.BF16, text_weights: TextEncoderDtype = TextEncoderDtype.BF16
) -> tuple[Placement, ...]:
    """The memory that each mode on a GPU needs, the fastest first."""
    stored = sizes.stored(weights, text_weights)
    return tuple(_place(place, stored, weights, text_weights) for place in OFFLOADED_COMPONENTS)


def _place(place: OffloadMode, sizes: Sizes, weights: WeightDtype, text_weights: TextEncoderDtype) -> Placement:
    """The memory that one mode needs. The text encoder has left the GPU before denoising uses its memory.

    Host memory must hold the blocks that are streamed at every step, and the weights that a load converts. Weights that
    are memory-mapped and streamed once per task do not count: the kernel keeps them or reads them again.
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
    rows = (*rows, *sizes.lora_rows("bfloat16", LENT))
    lora_bytes = sizes.applied_lora_bytes
    gpu_bytes = sizes.total - held_bytes + staying + window + lora_bytes + RESERVED_VRAM_BYTES
    host_bytes = blocks_bytes + _made_bytes(sizes, passing) + sizes.lora_bytes + RESERVED_HOST_BYTES
    return Placement(place, gpu_bytes, host_bytes, rows, weights, text_weights, window, lora_bytes)


def _dtype(name: str, weights: WeightDtype, text_weights: TextEncoderDtype) -> str:
    if name == TRANSFORMER and weights is WeightDtype.FP8:
        return "float8"
    return "nf4" if name == TEXT_ENCODER and text_weights is TextEncoderDtype.NF4 else "bfloat16"


def _made_bytes(sizes: Sizes, passing: Collection[str]) -> int:
    """Bytes of converted weights in host memory, without those of streamed blocks."""
    return sum(size for name, size in sizes.converted.items() if name != TRANSFORMER or name not in passing)


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / GB:.1f} GB"
