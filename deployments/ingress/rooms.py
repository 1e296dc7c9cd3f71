"""What every room of the ingress needs: the two stores, the settings, the base of urls."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property

from fastapi import Request

from deployments.ingress.missing_files import MissingFiles
from deployments.ingress.pace import Pace
from deployments.ingress.reads import MAX_READS, Reads
from deployments.ingress.seats import Seats
from deployments.ingress.served import Served
from deployments.ingress.tenants import bound_per_owner
from deployments.ingress.threads import Threads
from deployments.metrics.metrics import NO_METRICS, Metrics
from deployments.settings import Settings
from deployments.signing import Links, Signer, make_links
from deployments.traces import NO_TRACES, Traces
from storage.outputs import OutputStore
from storage.task_store import TaskStore

READING_THREADS = 8
SUBMITTING_THREADS = 4
REMOVING_THREADS = 4
CHECKING_THREADS = 4
SIGNING = "urls"
"""The name of the secret that urls are signed with."""


@dataclass(frozen=True)
class Rooms:
    """Handed to each router by `create_app`."""

    settings: Settings
    model: str
    tasks: TaskStore
    outputs: OutputStore
    nudge: Callable[[], Awaitable[None]]
    notices: tuple[str, ...] = ()
    metrics: Metrics = NO_METRICS
    traces: Traces = NO_TRACES
    passing_notices: Callable[[], tuple[str, ...]] = tuple
    """Those that come and go while the server runs."""

    @cached_property
    def reading(self) -> Threads:
        """For what reads the task store."""
        return self._threads("reading", READING_THREADS)

    @cached_property
    def submitting(self) -> Threads:
        """For submits without a picture."""
        return self._threads("submitting", SUBMITTING_THREADS)

    @cached_property
    def decoding(self) -> Threads:
        """For submits with a picture: a small file can decode to more than a gigabyte for a moment."""
        return self._threads("decoding", self.settings.ingress.max_decoding)

    @cached_property
    def removing(self) -> Threads:
        """For what deletes files: a store that hangs takes no thread of the polls."""
        return self._threads("removing", REMOVING_THREADS)

    @cached_property
    def checking(self) -> Threads:
        """For /health, which asks the output store too: one that hangs takes no thread of the polls."""
        return Threads("checking", CHECKING_THREADS)

    @cached_property
    def uploads(self) -> Seats:
        """For requests with a file, from the first byte of the body until the image is decoded."""
        return self.seats(self.settings.ingress.max_uploads, "uploads", "too_many_uploads", "send one after the other")

    @cached_property
    def waiting(self) -> Seats:
        """For requests that wait until their video is done."""
        most, advice = self.settings.ingress.max_waiting, "use the asynchronous route"
        return self.seats(most, "synchronous requests", "too_many_waiting_requests", advice)

    def seats(self, limit: int, kind: str, code: str, advice: str) -> Seats:
        """Seats for requests of one kind, a part of them for each owner."""
        return Seats(limit, bound_per_owner(self.settings, limit), kind, code, advice)

    def _threads(self, name: str, size: int) -> Threads:
        """Threads for work of one kind, a part of them for each owner."""
        return Threads(name, size, bound_per_owner(self.settings, size))

    @cached_property
    def reads(self) -> Reads:
        """The output store, for downloads."""
        return Reads(self.outputs, self._threads("outputs", MAX_READS))

    @cached_property
    def missing_files(self) -> MissingFiles:
        """Files of completed tasks that downloads did not find."""
        return MissingFiles()

    @cached_property
    def pace(self) -> Pace:
        """How fast tasks go here."""
        return Pace(self.tasks, self.model, self.settings.generator.fast_guided_share)

    @cached_property
    def signer(self) -> Signer | None:
        """Signs urls of files where there are keys. Its secret is one for all replicas. Blocks on the store."""
        if not self.settings.api_keys:
            return None
        return Signer(self.tasks.shared_secret(SIGNING), self.settings.outputs.signed_url_s)

    def links(self, request: Request) -> Links:
        """The urls of files in the answer to `request`. Blocks on the store, once."""
        return make_links(self.base_url(request), self.signer)

    @cached_property
    def served(self) -> Served:
        """What is known of the model."""
        return Served(self.tasks, self.model, self.settings.cache_dir, self.settings.generator.recipe)

    def base_url(self, request: Request) -> str:
        """What urls in the answer to `request` begin with, without a slash at the end."""
        if self.settings.public_base_url is not None:
            return str(self.settings.public_base_url).rstrip("/")
        scheme, host = request.url.scheme, request.headers.get("host", request.url.netloc)
        if self.settings.trusted_proxy:
            scheme = _first(request.headers.get("x-forwarded-proto")) or scheme
            host = _first(request.headers.get("x-forwarded-host")) or host
        return f"{scheme}://{host}"


def _first(header: str | None) -> str:
    """The value that the proxy nearest to the client wrote."""
    return (header or "").split(",")[0].strip()
