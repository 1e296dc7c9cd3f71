"""Runs the DeliveryWorker in a thread with its own event loop while the HTTP app runs.

So slow receivers do not take time from the API's event loop.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future

from deployments.ingress.context import AppContext
from deployments.ingress.webhooks.client import PayloadBuilder, WebhookClient
from deployments.ingress.webhooks.ssrf import Resolver
from deployments.ingress.webhooks.worker import DeliveryWorker


@contextlib.asynccontextmanager
async def lifespan(context: AppContext) -> AsyncIterator[None]:
    """Send webhooks while the context is open. Without a signing secret, no webhooks are sent."""
    if context.settings.webhooks.secret is None:
        yield
        return
    begun = Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]]()
    thread = threading.Thread(target=lambda: asyncio.run(_send(context, begun)), name="webhooks", daemon=True)
    thread.start()
    loop, sender = await asyncio.wrap_future(begun)
    try:
        yield
    finally:
        with contextlib.suppress(RuntimeError):  # the thread's loop is already closed
            loop.call_soon_threadsafe(sender.cancel)
        await asyncio.to_thread(thread.join)


async def _send(context: AppContext, begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]]) -> None:
    """Send until canceled."""
    settings = context.settings.webhooks
    messages = PayloadBuilder(context.settings, lambda: context.signer)
    with contextlib.closing(Resolver(settings.max_concurrent_deliveries)) as resolver:
        async with WebhookClient(settings, messages, resolver, time.time) as post:
            sender = asyncio.create_task(DeliveryWorker(settings, context.tasks, post, metrics=context.metrics).run())
            begun.set_result((asyncio.get_running_loop(), sender))
            await asyncio.wait([sender])
