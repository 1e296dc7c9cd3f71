"""What `quality: fast` means: less work for nearly the same video. Only for the tasks that ask for it.

| module | what it leaves out | where |
|---|---|---|
| `interval` | guidance after the first steps: three of four evaluations of each step | everywhere |
| `fp8` | half of the bits of large products | where asked for, on a GPU that has it, with room for a copy |

Neither copies diffusers, and neither touches a task that is `exact`.
"""

from models.optimizations.fast.fast_mode import FastMode

__all__ = ["FastMode"]
