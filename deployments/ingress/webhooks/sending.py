"""The sender beside the HTTP app, from its start to its end."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from deployments.ingress.rooms import Rooms
from deployments.ingress.webhooks.message import Messages
from deployments.ingress.webhooks.network import Resolver
from deployments.ingress.webhooks.post import Post
from deployments.ingress.webhooks.sender import Sender


@contextlib.asynccontextmanager
async def sending(rooms: Rooms) -> AsyncIterator[None]:
    """Send webhooks meanwhile; without a secret to sign with, none."""
    settings = rooms.settings.webhooks
    if settings.secret is None:
        yield
        return
    messages = Messages(rooms.settings, lambda: rooms.signer)
    with contextlib.closing(Resolver(settings.max_sending)) as resolver:
        async with Post(settings, messages, resolver, time.time) as post:
            loop = asyncio.create_task(Sender(settings, rooms.tasks, post, metrics=rooms.metrics).run())
            try:
                yield
            finally:
                loop.cancel()
                await asyncio.wait([loop])
