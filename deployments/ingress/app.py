"""The HTTP app. Knows no Ray: a test builds it with two stores and a nudge that does nothing."""

from fastapi import FastAPI

from deployments.ingress.counting import CountedAnswers
from deployments.ingress.described import describe_defaults
from deployments.ingress.door import add_door, said_in_docs
from deployments.ingress.errors import add_error_handlers
from deployments.ingress.estimate import estimate_router
from deployments.ingress.events import events_router
from deployments.ingress.handbook import handbook_router
from deployments.ingress.headers import SafeHeaders
from deployments.ingress.health import health_router
from deployments.ingress.listing import listing_router
from deployments.ingress.openai import openai_router
from deployments.ingress.openai_shapes import OpenAIErrorBody
from deployments.ingress.outputs import outputs_router
from deployments.ingress.page import page_router
from deployments.ingress.removal import removal_router
from deployments.ingress.rooms import Rooms
from deployments.ingress.skill import skill_router
from deployments.ingress.slashes import PlainPaths
from deployments.ingress.tasks import tasks_router
from deployments.ingress.usage import usage_router
from deployments.ingress.video import video_router
from deployments.ingress.watch import Watch
from deployments.ingress.webhooks.described import describe_webhooks
from deployments.ingress.webhooks.resend import resend_router
from deployments.ingress.webhooks.sending import sending

DESCRIPTION = "Text or an image in, a video with sound out. Submit a task, poll it, download the MP4."


def create_app(rooms: Rooms) -> FastAPI:
    """Build the app from its rooms."""
    app = FastAPI(
        title="LTX-2 video server",
        description=DESCRIPTION,
        version="1",
        lifespan=lambda _app: sending(rooms),
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,  # what generated clients and tools call an operation
        redirect_slashes=False,  # its redirect names the scheme and host that reach us, not those behind a TLS proxy
    )
    add_error_handlers(app)
    add_door(app, rooms.settings)
    app.add_middleware(SafeHeaders)
    app.add_middleware(CountedAnswers, metrics=rooms.metrics)
    app.add_middleware(PlainPaths)  # outside of all that looks at a path
    watch = Watch(rooms.tasks)
    closed = said_in_docs(rooms.settings)
    app.include_router(video_router(rooms, watch), **closed)
    app.include_router(events_router(rooms, watch), **closed)
    about_tasks = (tasks_router, listing_router, removal_router, resend_router)
    for make_router in (estimate_router, usage_router, *about_tasks, outputs_router):
        app.include_router(make_router(rooms), **closed)
    app.include_router(openai_router(rooms, watch), **said_in_docs(rooms.settings, OpenAIErrorBody))
    for make_router in (health_router, skill_router, page_router):
        app.include_router(make_router(rooms))
    app.include_router(handbook_router())
    describe_webhooks(app)
    describe_defaults(app, rooms)
    return app
