"""The dependencies that all routers share: stores, settings, thread pools, limits and URL builders."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property

from fastapi import Request

from deployments.ingress.concurrency.limits import ConcurrencyLimit
from deployments.ingress.concurrency.output_reader import MAX_READS, AsyncOutputReader
from deployments.ingress.concurrency.tenants import limit_per_owner
from deployments.ingress.concurrency.thread_pool import ThreadPool
from deployments.ingress.missing_files import MissingFiles
from deployments.ingress.model_info import ModelInfoCache
from deployments.ingress.throughput.estimator import ThroughputEstimator
from deployments.observability.metrics.recorder import NOOP_METRICS, MetricsRecorder
from deployments.observability.tracing import NOOP_TRACER, Tracer
from deployments.settings import Settings
from deployments.signed_urls import Signer, UrlBuilder, make_url_builder
from storage.outputs.store import OutputStore
from storage.task_store import TaskStore

READ_THREADS = 8
SUBMIT_THREADS = 4
DELETE_THREADS = 4
CHECK_THREADS = 4
URL_SIGNING = "urls"
"""Name of the secret that signs URLs of files."""


@dataclass(frozen=True)
class AppContext:
    """The dependencies of the routers; `create_app` passes them to each router."""

    settings: Settings
    model: str
    tasks: TaskStore
    outputs: OutputStore
    notify_dispatchers: Callable[[], Awaitable[None]]
    notices: tuple[str, ...] = ()
    metrics: MetricsRecorder = NOOP_METRICS
    tracer: Tracer = NOOP_TRACER
    dynamic_notices: Callable[[], tuple[str, ...]] = tuple
    """Notices that can appear and disappear while the server runs."""

    @cached_property
    def reading(self) -> ThreadPool:
        """Threads that read the task store."""
        return self._threads("reading", READ_THREADS)

    @cached_property
    def submitting(self) -> ThreadPool:
        """Threads for submits without an image."""
        return self._threads("submitting", SUBMIT_THREADS)

    @cached_property
    def decoding(self) -> ThreadPool:
        """Threads for submits with an image. A small file can briefly need more than a gigabyte while it is decoded."""
        return self._threads("decoding", self.settings.ingress.max_image_decodes)

    @cached_property
    def removing(self) -> ThreadPool:
        """Threads that delete files. They are separate so that a hanging output store does not block polls."""
        return self._threads("removing", DELETE_THREADS)

    @cached_property
    def checking(self) -> ThreadPool:
        """Threads for /health. They are separate because /health also queries the output store, which may hang."""
        return ThreadPool("checking", CHECK_THREADS)

    @cached_property
    def uploads(self) -> ConcurrencyLimit:
        """Limit on requests with a file, from the first byte of the body until the image is decoded."""
        return self.concurrency_limit(
            self.settings.ingress.max_uploads, "uploads", "too_many_uploads", "send one after the other"
        )

    @cached_property
    def sync_requests(self) -> ConcurrencyLimit:
        """Limit on requests that wait for their video."""
        most, advice = self.settings.ingress.max_sync_requests, "use the asynchronous route"
        return self.concurrency_limit(most, "synchronous requests", "too_many_waiting_requests", advice)

    def concurrency_limit(self, limit: int, kind: str, code: str, advice: str) -> ConcurrencyLimit:
        """Return a limit on requests of one kind, which also bounds the part of each owner."""
        return ConcurrencyLimit(limit, limit_per_owner(self.settings, limit), kind, code, advice)

    def _threads(self, name: str, size: int) -> ThreadPool:
        """Return a pool for one kind of work, which also bounds the part of each owner."""
        return ThreadPool(name, size, limit_per_owner(self.settings, size))

    @cached_property
    def reads(self) -> AsyncOutputReader:
        """The output store, for downloads."""
        return AsyncOutputReader(self.outputs, self._threads("outputs", MAX_READS))

    @cached_property
    def missing_files(self) -> MissingFiles:
        """Completed tasks' files that downloads did not find."""
        return MissingFiles()

    @cached_property
    def throughput(self) -> ThroughputEstimator:
        """Estimates waiting and render times from completed tasks."""
        return ThroughputEstimator(self.tasks, self.model, self.settings.generator.fast_guidance_fraction)

    @cached_property
    def signer(self) -> Signer | None:
        """Signs URLs of files; None without API keys. All replicas share its secret. Blocks on the store."""
        if not self.settings.api_keys:
            return None
        return Signer(self.tasks.shared_secret(URL_SIGNING), self.settings.outputs.signed_url_ttl_s)

    def urls(self, request: Request) -> UrlBuilder:
        """Return the builder of file URLs for the response to `request`. Blocks on the store once."""
        return make_url_builder(self.base_url(request), self.signer)

    @cached_property
    def model_info(self) -> ModelInfoCache:
        """What is known about the served model."""
        return ModelInfoCache(self.tasks, self.model, self.settings.cache_dir, self.settings.generator.checkpoint_type)

    def base_url(self, request: Request) -> str:
        """Return the start of every URL in the response to `request`, without a trailing slash."""
        if self.settings.public_base_url is not None:
            return str(self.settings.public_base_url).rstrip("/")
        scheme, host = request.url.scheme, request.headers.get("host", request.url.netloc)
        if self.settings.trusted_proxy:
            scheme = _first(request.headers.get("x-forwarded-proto")) or scheme
            host = _first(request.headers.get("x-forwarded-host")) or host
        return f"{scheme}://{host}"


def _first(header: str | None) -> str:
    """Return the first value of a comma-separated header, which the proxy nearest to the client wrote."""
    return (header or "").split(",")[0].strip()
