"""Threads of the ingress, a bounded number for each kind of blocking work, so that none takes another's.

Starlette's own (anyio's) live as long as the task that runs the event loop. A replica has none such, so there each
call would start a thread and end it again (anyio 4.14, `find_root_task`).
"""

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """At most `size` threads, started as they are needed. Work beyond that waits its turn."""

    def __init__(self, name: str, size: int) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix=name)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do it in a thread, in the caller's context. When the caller is canceled, work that has begun goes on."""
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, functools.partial(context.run, work, *args, **kwargs))
