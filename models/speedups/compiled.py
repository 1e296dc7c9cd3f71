"""torch.compile on the repeated block: fuses norms, modulation, RoPE and residuals, which are small kernels in fp32.

One block is compiled for all of them, as they are alike. The first render of a size waits for it; keep
TORCHINDUCTOR_CACHE_DIR on a disk that stays, and a later process finds what was compiled.
"""

from typing import Any


def compile_blocks(transformer: Any, backend: str = "inductor") -> bool:
    """Compile the blocks of `transformer`, at their first call."""
    transformer.compile_repeated_blocks(fullgraph=False, backend=backend)
    return True
