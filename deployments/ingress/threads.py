"""Threads of the ingress, a bounded number for each kind of blocking work, so that none takes another's.

Starlette's own (anyio's) live as long as the task that runs the event loop. A replica has none such, so there each
call would start a thread and end it again (anyio 4.16, `find_root_task`).
"""

import asyncio
import contextvars
import functools
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

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

    def serve(self, work: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Turn a route that blocks into one that does it here; FastAPI sees the same parameters."""

        @functools.wraps(work)
        async def served(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self.run(work, *args, **kwargs)

        return served
