"""torch.compile on the repeated block: fuses norms, modulation, RoPE and residuals, which are small kernels in fp32.

One block is compiled for all of them, as they are alike. The first render of a size waits for it; what was compiled is
kept in a folder where a later process finds it.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST_VARIANTS = 64
"""How often a block may be compiled. Each kind of call is a variant: two prompts or one, STG, no cross-modal attention;
then once more for sizes other than the first. torch's own 8 are gone with the second size, and from then on the blocks
run as if they were not compiled, with no more than a warning."""


def keep_compiled(folder: Path) -> None:
    """Have torch keep what it compiles in `folder`, beside the weights, and not in a temporary one.

    Who has set TORCHINDUCTOR_CACHE_DIR keeps what is set.
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
