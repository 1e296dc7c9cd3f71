"""Reads the metrics of a real server as Prometheus does, from the addresses in the file that Ray writes."""

import json
from collections.abc import Iterator

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

from deployments.observability.metrics.definitions import PREFIX
from tests.e2e.server import Server

OURS = f"{PREFIX}ltx2_"


def targets(server: Server) -> list[str]:
    """The host:port of each process that exports metrics."""
    found = json.loads((server.ray_folder / PROMETHEUS_SERVICE_DISCOVERY_FILE).read_text())
    return [target for group in found for target in group["targets"]]


def our_samples(server: Server) -> Iterator[Sample]:
    """Scrape all targets once. Yields the samples of this project's metrics."""
    for target in targets(server):
        for family in text_string_to_metric_families(httpx.get(f"http://{target}/metrics").text):
            yield from (sample for sample in family.samples if sample.name.startswith(OURS))
