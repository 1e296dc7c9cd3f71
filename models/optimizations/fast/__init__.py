"""The optimizations for `quality: fast`: less work for nearly the same video. Only for tasks that ask for it.

| module | what it skips | where |
|---|---|---|
| `guidance_interval` | guidance after the first steps: three of four transformer calls of each step | everywhere |
| `fp8` | half the bits of large products | if the operator enables it, on a GPU with float8 and memory for a copy |

Neither copies code of diffusers, and neither changes an `exact` task.
"""

from models.optimizations.fast.fast_mode import FastMode

__all__ = ["FastMode"]
