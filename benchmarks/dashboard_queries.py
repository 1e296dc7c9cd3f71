"""Run all queries of the dashboard on a real Prometheus and a real server: `python -m benchmarks.dashboard_queries`.

Starts the server and Prometheus, and lets some tasks end in all ways that are quick to produce. Prints what each panel
would show. Exits with 1 if a query fails, or returns nothing where data is expected.
"""

import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from PIL import Image
from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

from tests.e2e.server import QUICK, ROOT, Server, running_server
from tests.ports import free_port

OBSERVABILITY = ROOT / "observability"
SCRAPE_S = 2
MAY_BE_EMPTY = {"GPU memory", "GPU at work", "Failures by code"}
"""There is no GPU, and no task fails in this run."""
VARIABLES = {"$application": ".*", "$window": "5m", "$__rate_interval": "1m"}
PATIENCE_S = 60.0


@contextmanager
def prometheus(server: Server, folder: Path) -> Iterator[httpx.Client]:
    """Run a Prometheus that scrapes the server and evaluates the project's rules. Yields a client of its API."""
    targets = [{"files": [str(server.ray_folder / PROMETHEUS_SERVICE_DISCOVERY_FILE)], "refresh_interval": "2s"}]
    config = {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
        "rule_files": [str(OBSERVABILITY / "alerts.yaml")],
        "scrape_configs": [{"job_name": "ray", "file_sd_configs": targets}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder / 'prometheus.yaml'}", f"--web.listen-address={address}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--storage.tsdb.path={folder / 'tsdb'}"], stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://{address}/api/v1", timeout=30) as client:
                yield client
        finally:
            process.terminate()
            process.wait(30)


def ask(client: httpx.Client, query: str) -> list[dict[str, Any]]:
    """The current series of a query. Raises AssertionError with Prometheus' own message."""
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    answer = client.get("/query", params={"query": query})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["data"]["result"])


def work(server: Server) -> None:
    """Submit tasks from a text and from an image, one that is canceled, and requests that are rejected."""
    image = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(image, "PNG")
    fields = {name: str(value) for name, value in QUICK.items()}
    server.client.post("/v1/video/async_i2v", data=fields, files={"image": ("x.png", image.getvalue())})
    server.client.delete(f"/v1/video/tasks/{server.submit(num_inference_steps=100)}")
    server.client.get("/v1/video/tasks/none")
    server.client.post("/v1/video/async_t2v", json={})
    for steps in (10, 20, 30):
        server.wait(server.submit(num_inference_steps=steps))


def until_scraped(client: httpx.Client) -> None:
    """Wait until Prometheus has scraped the server's own metrics."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if ask(client, "sum(ray_ltx2_queue_sampled_timestamp_seconds) > 0"):
                return
        except httpx.HTTPError:
            pass  # still starting
        assert time.monotonic() < deadline, "Prometheus has not seen the server"
        time.sleep(1)


def show_panels(client: httpx.Client) -> list[str]:
    """Print what each panel shows. Returns the titles of the panels that are empty but should not be."""
    empty = []
    for panel in json.loads((OBSERVABILITY / "dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            series = ask(client, target["expr"])
            shown = ", ".join(f"{next(iter(each['metric'].values()), '')} {each['value'][1][:7]}" for each in series)
            print(f"{panel['title']:30} {len(series):3} {shown[:110]}")
            if not series and panel["title"] not in MAY_BE_EMPTY:
                empty.append(panel["title"])
    return empty


def show_rules(client: httpx.Client) -> list[str]:
    """Print the state of each alert. Returns the names of those that could not be evaluated."""
    (group,) = client.get("/rules").json()["data"]["groups"]
    for rule in group["rules"]:
        print(f"{rule['name']:30} {rule['health']} {rule['state']} {rule.get('lastError', '')}")
    return [rule["name"] for rule in group["rules"] if rule["health"] != "ok"]


def main() -> int:
    """Start both, run all queries, and print what is wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running_server(folder) as server, prometheus(server, folder) as client:
            until_scraped(client)
            for _ in range(2):  # in the second round, the counters created in the first one increase
                work(server)
                time.sleep(25)  # twice Ray's export interval, and one scrape
            wrong = show_panels(client) + show_rules(client)
    print("wrong:", wrong or "nothing")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
