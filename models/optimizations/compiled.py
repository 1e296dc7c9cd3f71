"""Uses torch.compile on the repeated block, to fuse norms, modulation, RoPE and residuals: small kernels in fp32.

All blocks are alike, so one is compiled for all of them. The first render of a size waits for the compilation. The
compiled code is kept in a folder for later processes.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST_VARIANTS = 64
"""How often a block may be compiled. Each kind of call is a variant: two prompts or one, STG, no cross-modal attention.
All are compiled again for the second size. torch's own limit of 8 is reached with the second size; the blocks then run
uncompiled, with only a warning."""


def keep_compiled(folder: Path) -> None:
    """Make torch keep compiled code in `folder`, beside the weights, instead of a temporary folder.

    A value of TORCHINDUCTOR_CACHE_DIR that the user has set is kept.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder.absolute()))


def compile_blocks(
    transformer: Any,
    backend: str | Callable[..., Any] = "inductor",
    *,
    mode: str | None = None,
    dynamic: bool | None = None,
) -> bool:
    """Compile the blocks of `transformer`, at their first call. `mode` and `dynamic` are torch.compile's."""
    from torch._dynamo import config

    config.recompile_limit = max(MOST_VARIANTS, config.recompile_limit)
    transformer.compile_repeated_blocks(fullgraph=False, backend=backend, mode=mode, dynamic=dynamic)
    return True


CUDNN = "_native_cudnn"


def use_cudnn(transformer: Any) -> bool:
    """Use cuDNN's fused attention, through torch, for the video's self-attention."""
    use_backend(transformer, CUDNN)
    return True


def use_backend(transformer: Any, backend: str) -> None:
    """Use one of diffusers' attention backends for the video's self-attention."""
    for block in transformer.transformer_blocks:
        block.attn1.set_attention_backend(backend)
