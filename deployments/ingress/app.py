"""The HTTP app. It does not import Ray: a test builds it with two stores and a notifier that does nothing."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from deployments.ingress.context import AppContext
from deployments.ingress.errors import add_error_handlers
from deployments.ingress.ltx_api.comfyui import ComfyUIMiddleware
from deployments.ingress.ltx_api.routes import ltx_router
from deployments.ingress.ltx_api.schemas import LtxErrorBody
from deployments.ingress.mcp.routes import mcp_router
from deployments.ingress.mcp.server import McpServer
from deployments.ingress.mcp.tools import Tools
from deployments.ingress.middleware.headers import SecurityHeadersMiddleware
from deployments.ingress.middleware.metrics import MetricsMiddleware
from deployments.ingress.middleware.paths import PathNormalizationMiddleware
from deployments.ingress.middleware.security import add_security_middleware, openapi_security
from deployments.ingress.openai.routes import openai_router
from deployments.ingress.openai.schemas import OpenAIErrorBody
from deployments.ingress.openapi import install_openapi_route
from deployments.ingress.prompts.routes import prompts_router
from deployments.ingress.routes.agents import skill_router
from deployments.ingress.routes.delete_task import deletion_router
from deployments.ingress.routes.docs import describe_webhooks, swagger_ui_router
from deployments.ingress.routes.edit import edit_router
from deployments.ingress.routes.estimate import estimate_router
from deployments.ingress.routes.events import events_router
from deployments.ingress.routes.generate import video_router
from deployments.ingress.routes.health import health_router
from deployments.ingress.routes.list_tasks import list_tasks_router
from deployments.ingress.routes.outputs import outputs_router
from deployments.ingress.routes.preview import preview_router
from deployments.ingress.routes.resend_webhook import resend_router
from deployments.ingress.routes.tasks import tasks_router
from deployments.ingress.routes.usage import usage_router
from deployments.ingress.routes.web_ui import page_router
from deployments.ingress.task_watcher import TaskWatcher
from deployments.ingress.uploads.routes import uploads_router
from deployments.ingress.webhooks.lifespan import lifespan

DESCRIPTION = "Text or an image in, a video with sound out. Submit a task, poll it, download the MP4."


def create_app(context: AppContext) -> FastAPI:
    """Build the app with all middleware, error handlers and routers."""
    watcher = TaskWatcher(context.tasks)
    mcp_server = McpServer(Tools(context, watcher))
    app = FastAPI(
        title="LTX-2 video server",
        description=DESCRIPTION,
        version="1",
        lifespan=lambda _app: _run_with(context, mcp_server),
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,  # clients and tools name an operation by it
        redirect_slashes=False,  # a redirect would carry our internal scheme and host, not the TLS proxy's
    )
    add_error_handlers(app)
    add_security_middleware(app, context.settings)
    app.add_middleware(SecurityHeadersMiddleware)
    app.add_middleware(MetricsMiddleware, metrics=context.metrics)
    app.add_middleware(ComfyUIMiddleware)
    app.add_middleware(PathNormalizationMiddleware)  # added last: it runs before everything that reads the path
    closed = openapi_security(context.settings)
    app.include_router(video_router(context, watcher), **closed)
    app.include_router(edit_router(context, watcher), **closed)
    app.include_router(events_router(context, watcher), **closed)
    about_tasks = (tasks_router, preview_router, list_tasks_router, deletion_router, resend_router)
    for make_router in (estimate_router, prompts_router, usage_router, *about_tasks, outputs_router):
        app.include_router(make_router(context), **closed)
    app.include_router(openai_router(context, watcher), **openapi_security(context.settings, OpenAIErrorBody))
    app.include_router(ltx_router(context, watcher), **openapi_security(context.settings, LtxErrorBody))
    app.include_router(mcp_router(context, mcp_server))
    app.include_router(uploads_router(context))
    for make_router in (health_router, skill_router, page_router):
        app.include_router(make_router(context))
    app.include_router(swagger_ui_router())
    describe_webhooks(app)
    install_openapi_route(app, context)
    return app


@contextlib.asynccontextmanager
async def _run_with(context: AppContext, mcp_server: McpServer) -> AsyncIterator[None]:
    """Send webhooks and accept MCP requests while the app runs."""
    async with lifespan(context), mcp_server.run():
        yield
