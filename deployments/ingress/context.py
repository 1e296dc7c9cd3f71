"""The context that all routes of the Ingress share: the two stores, the settings, thread pools and limits."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property

from fastapi import Request

from deployments.ingress.concurrency.limits import ConcurrencyLimit, limit_per_owner
from deployments.ingress.concurrency.thread_pool import AsyncOutputReader, ThreadPool
from deployments.ingress.derived.maker import DerivedFileMaker
from deployments.ingress.images.fetching import ImageFetcher
from deployments.ingress.missing_files import MissingFiles
from deployments.ingress.model_info import ModelInfoCache
from deployments.ingress.prompts.enhancer import PromptEnhancer
from deployments.ingress.throughput.estimator import ThroughputEstimator
from deployments.observability.metrics.recorder import NOOP_METRICS, MetricsRecorder
from deployments.observability.tracing import NOOP_TRACER, Tracer
from deployments.settings import Settings
from deployments.signed_urls import Signer, UrlBuilder, make_url_builder
from models.errors import StorageFull
from storage.outputs.store import OutputStore
from storage.task_store import SqlTaskStore

READ_THREADS = 8
WRITE_THREADS = 4
DELETE_THREADS = 4
FILE_THREADS = 32
"""A download uses a thread only while it reads a chunk, so slow clients occupy no thread."""
DERIVED_FILE_THREADS = 2
"""Each runs a process that decodes a whole video."""
MAX_DERIVED_FILES = 64
"""Files that one replica makes from videos or that wait for it."""
HEALTH_THREADS = 4
URL_SIGNING = "urls"
"""The name of the secret that signs URLs."""


@dataclass(frozen=True)
class AppContext:
    """The shared objects of one app. `create_app` passes them to each router."""

    settings: Settings
    model: str
    tasks: SqlTaskStore
    outputs: OutputStore
    notify_dispatchers: Callable[[], Awaitable[None]]
    notices: tuple[str, ...] = ()
    metrics: MetricsRecorder = NOOP_METRICS
    tracer: Tracer = NOOP_TRACER
    dynamic_notices: Callable[[], tuple[str, ...]] = tuple
    """Returns the notices that can appear and disappear while the server runs."""

    @cached_property
    def read_threads(self) -> ThreadPool:
        """Threads for reads of the task store."""
        return self._threads("reads", READ_THREADS)

    @cached_property
    def write_threads(self) -> ThreadPool:
        """Threads for submits without an image. SQLite allows one writer, so more threads would only wait."""
        return self._threads("writes", WRITE_THREADS)

    @cached_property
    def image_threads(self) -> ThreadPool:
        """Threads for submits with an image. A small file can need more than a gigabyte while it is decoded."""
        return self._threads("images", self.settings.ingress.max_image_decodes)

    @cached_property
    def media_threads(self) -> ThreadPool:
        """Threads for audio and video files. Each waits for a process that reads one."""
        return self._threads("media", self.settings.ingress.max_media_reads)

    @cached_property
    def delete_threads(self) -> ThreadPool:
        """Threads that delete tasks with their files. If the output store hangs, polls still have their threads."""
        return self._threads("deletes", DELETE_THREADS)

    @cached_property
    def file_threads(self) -> ThreadPool:
        """Threads for downloads. If the output store hangs, polls still have their threads."""
        return self._threads("files", FILE_THREADS)

    @cached_property
    def health_threads(self) -> ThreadPool:
        """Threads for /health, which queries both stores. It answers even while downloads use all file threads."""
        return ThreadPool("health", HEALTH_THREADS)

    @cached_property
    def uploads(self) -> ConcurrencyLimit:
        """Limits requests with a file, from the first byte of the body until the image is decoded."""
        return self.concurrency_limit(
            self.settings.ingress.max_uploads, "uploads", "too_many_uploads", "send one after the other"
        )

    @cached_property
    def sync_requests(self) -> ConcurrencyLimit:
        """Limits requests that wait until their video is done."""
        most, advice = self.settings.ingress.max_sync_requests, "use the asynchronous route"
        return self.concurrency_limit(most, "synchronous requests", "too_many_waiting_requests", advice)

    def concurrency_limit(self, limit: int, kind: str, code: str, advice: str) -> ConcurrencyLimit:
        """Build a limit for requests of one kind. Each owner may use only a part of it."""
        return ConcurrencyLimit(limit, limit_per_owner(self.settings, limit), kind, code, advice)

    def _threads(self, name: str, size: int) -> ThreadPool:
        """Build a thread pool for work of one kind. Each owner may use only a part of it."""
        return ThreadPool(name, size, limit_per_owner(self.settings, size))

    @cached_property
    def reads(self) -> AsyncOutputReader:
        """Reads the output store for downloads."""
        return AsyncOutputReader(self.outputs, self.file_threads)

    @cached_property
    def derived_files(self) -> DerivedFileMaker:
        """Makes further files from completed videos, in threads that no other work uses."""
        threads = self._threads("derived", DERIVED_FILE_THREADS)
        waiting = self.concurrency_limit(
            MAX_DERIVED_FILES, "files made from videos", "too_many_derived_files", "ask again in a moment"
        )
        return DerivedFileMaker(
            self.tasks,
            self.outputs,
            threads=threads,
            waiting=waiting,
            check_space=self.check_space,
            metrics=self.metrics,
        )

    @cached_property
    def image_fetcher(self) -> ImageFetcher:
        """Fetches images that clients name by url."""
        return ImageFetcher(self.settings)

    @cached_property
    def enhancer(self) -> PromptEnhancer:
        """Rewrites prompts with the operator's language model, if there is one."""
        return PromptEnhancer(self.settings.enhance, self.settings.limits.max_prompt_chars, self.metrics)

    @cached_property
    def enhancements(self) -> ConcurrencyLimit:
        """Limits prompts that are being rewritten."""
        most = self.settings.enhance.max_concurrent
        return self.concurrency_limit(most, "prompt enhancements", "too_many_enhancements", "try again in a moment")

    @cached_property
    def missing_files(self) -> MissingFiles:
        """Records files of completed tasks that downloads did not find."""
        return MissingFiles()

    @cached_property
    def throughput(self) -> ThroughputEstimator:
        """Estimates how long tasks take on this server."""
        generator = self.settings.generator
        return ThroughputEstimator(self.tasks, self.model, generator.fast_guidance_fraction, generator.known_loras)

    @cached_property
    def signer(self) -> Signer | None:
        """Signs file URLs; None without API keys. All replicas share the secret. Blocks on the task store."""
        if not self.settings.api_keys:
            return None
        return Signer(self.tasks.shared_secret(URL_SIGNING), self.settings.outputs.signed_url_ttl_s)

    def urls(self, request: Request) -> UrlBuilder:
        """Builds the file URLs in the answer to `request`. The first call blocks on the task store."""
        return make_url_builder(self.base_url(request), self.signer)

    @cached_property
    def model_info(self) -> ModelInfoCache:
        """Caches the information about the model."""
        settings, generator = self.settings, self.settings.generator
        return ModelInfoCache(
            self.tasks,
            self.model,
            settings.cache_dir,
            generator.checkpoint_type,
            generator.latent_upsampler,
            generator.distilled_lora,
        )

    def check_space(self) -> None:
        """Raise StorageFull if the output store has less free space than the settings require. Blocks on the store."""
        least = self.settings.outputs.min_free_bytes
        free = self.outputs.free_bytes() if least else None
        if free is not None and free < least:
            raise StorageFull(f"the output store has {free} bytes left, and outputs.min_free_bytes keeps {least} free")

    def base_url(self, request: Request) -> str:
        """Return the start of all URLs in the answer to `request`, without a slash at the end."""
        if self.settings.public_base_url is not None:
            return str(self.settings.public_base_url).rstrip("/")
        scheme, host = request.url.scheme, request.headers.get("host", request.url.netloc)
        if self.settings.trusted_proxy:
            scheme = _first(request.headers.get("x-forwarded-proto")) or scheme
            host = _first(request.headers.get("x-forwarded-host")) or host
        return f"{scheme}://{host}"


def _first(header: str | None) -> str:
    """Return the first value of the list: the proxy nearest to the client wrote it."""
    return (header or "").split(",")[0].strip()
