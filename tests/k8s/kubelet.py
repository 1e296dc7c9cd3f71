"""Runs the containers of pods like a kubelet: variables, volumes, probes, preStop, restarts, the grace period.

Each pod has a network namespace and a host name. Each container has its own processes, files and /tmp. All run as the
user of the tests, so permissions of user 1000 are not tested.
"""

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.k8s.image import image_environment, setup_script
from tests.k8s.network import Holder, Network
from tests.process_reaper import MARK

LOOK_EVERY_S = 0.2
STARTED = "Ray runtime started"
STARTING = threading.Lock()
"""Held while a container starts: Ray allows a node 30 s to start, and parallel starts would share two processors."""
START_PATIENCE_S = 60.0
REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
Object = dict[str, Any]


@dataclass
class Shared:
    """Objects that the API server would provide: secrets, services with their ports, and folders."""

    folder: Path
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    services: dict[str, tuple[str, dict[str, int]]] = field(default_factory=dict)
    """Services with their own address: the address, and the ports by name."""
    api: tuple[str, int] = ("", 0)
    """The address of Kubernetes' own API; passed to every container."""
    account: dict[str, str] = field(default_factory=dict)
    """Files for a pod that may use the API: `token`, `ca.crt` and `namespace`."""

    def prepare(self, name_server: str) -> None:
        """Write the files that all containers have in /etc."""
        self.folder.mkdir()
        search = "ltx2.svc.cluster.local svc.cluster.local cluster.local"
        (self.folder / "resolv.conf").write_text(f"nameserver {name_server}\nsearch {search}\noptions ndots:5\n")

    def links(self) -> dict[str, str]:
        """The service variables that the kubelet sets in a container that starts now."""
        found = {}
        for service, (address, ports) in self.services.items():
            prefix = service.upper().replace("-", "_")
            first = next(iter(ports.values()))
            found |= {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(first)}
            found[f"{prefix}_PORT"] = f"tcp://{address}:{first}"
            for name, port in ports.items():
                found[f"{prefix}_SERVICE_PORT_{name.upper().replace('-', '_')}"] = str(port)
                link = f"{prefix}_PORT_{port}_TCP"
                found |= {link: f"tcp://{address}:{port}", f"{link}_PROTO": "tcp"}
                found |= {f"{link}_PORT": str(port), f"{link}_ADDR": address}
        return found


class Container:
    """One container of a pod. `run` starts it again, with the current variables."""

    def __init__(self, pod: "Pod", spec: Object) -> None:
        self._pod = pod
        self.spec = spec
        self.ready = False
        self.restarts = -1  # not started yet
        self._failures = 0
        self._process: subprocess.Popen[bytes]
        self._environment: dict[str, str] = {}
        self.started_at = 0.0

    def run(self) -> None:
        self.ready, self._failures, self.started_at = False, 0, time.monotonic()
        self._environment = self._pod.environment(self.spec)
        command = [
            *self._enter(),
            "/usr/bin/unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "/bin/sh",
            "-c",
            setup_script(self._pod.mounts(self.spec)),
            "setup",
            str(self._pod.folder),
            *(_expand(each, self._environment) for each in (*self.spec["command"], *self.spec.get("args", []))),
        ]
        with (self._pod.folder / f"{self.spec['name']}.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.restarts += 1

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    @property
    def state(self) -> str:
        """The state, with Kubernetes' name."""
        if self.restarts < 0:
            return "waiting"
        return "running" if self.exit_code is None else "terminated"

    def processes(self) -> list[psutil.Process]:
        if self.restarts < 0:
            return []
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self._process.pid).children(recursive=True)
        return []

    def execute(self, command: list[str], timeout_s: float) -> subprocess.CompletedProcess[bytes]:
        """Run a command in the container, like `kubectl exec`. Raises TimeoutExpired."""
        (first,) = psutil.Process(self._process.pid).children()
        inside = ["/usr/bin/nsenter", f"--target={first.pid}", "--mount", "--pid", "--uts", "--net", "--ipc"]
        script = 'cd /srv/ltx2; exec "$@"'
        return subprocess.run(
            [*inside, "/bin/sh", "-c", script, "exec", *command],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )

    def look(self) -> None:
        """Run the probes that are due."""
        for kind in ("livenessProbe", "readinessProbe"):
            probe = self.spec.get(kind)
            if probe is None:
                self.ready = self.ready or kind == "readinessProbe"
            elif self._due(kind, probe):
                self._judge(kind, probe, self._answers(probe))

    def _due(self, kind: str, probe: Object) -> bool:
        age = time.monotonic() - self.started_at
        last = self._pod.looked_at.get((self.spec["name"], kind), 0.0)
        if age < probe.get("initialDelaySeconds", 0) or time.monotonic() - last < probe.get("periodSeconds", 10):
            return False
        self._pod.looked_at[self.spec["name"], kind] = time.monotonic()
        return True

    def _answers(self, probe: Object) -> bool:
        try:
            return self.execute(probe["exec"]["command"], probe.get("timeoutSeconds", 1)).returncode == 0
        except (subprocess.TimeoutExpired, ValueError, psutil.NoSuchProcess):
            return False

    def _judge(self, kind: str, probe: Object, answers: bool) -> None:
        failures = self._pod.failures
        failures[kind] = 0 if answers else failures.get(kind, 0) + 1
        if kind == "readinessProbe":
            self.ready = answers or (self.ready and failures[kind] < probe.get("failureThreshold", 3))
        elif failures[kind] >= probe.get("failureThreshold", 3):
            self._pod.events.append(f"{self.spec['name']}: liveness probe failed, the container is restarted")
            failures[kind] = 0
            self.kill()

    def terminate(self) -> None:
        for each in psutil.Process(self._process.pid).children():
            each.terminate()

    def wait(self, seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(seconds, 0.0))
        return self.exit_code is not None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _enter(self) -> list[str]:
        return ["/usr/bin/nsenter", f"--target={self._pod.holder.pid}", "--net", "--uts", "--ipc"]


class Pod:
    """A running pod. `made` is the pod that the operator created from a template."""

    def __init__(self, made: Object, shared: Shared, network: Network) -> None:
        self.made = made
        self.name = str(made["metadata"]["name"])
        self.labels: dict[str, str] = made["metadata"]["labels"]
        self.folder = shared.folder / "pods" / self.name
        (self.folder / "tmp").mkdir(parents=True)
        self._shared = shared
        self.events: list[str] = []
        self.looked_at: dict[tuple[str, str], float] = {}
        self.failures: dict[str, int] = {}
        self.leaving = self.gone = self.failed = self.killed = False
        self.pre_stop_s = 0.0
        self.holder = Holder("net", "uts", "ipc")
        self.holder.run("hostname", self.name)
        self.address = network.join(self.holder)
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n{self.address} {self.name}\n")
        self.containers = [Container(self, each) for each in made["spec"]["containers"]]
        self._thread = threading.Thread(target=self._live, name=self.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def ready(self) -> bool:
        started = all(each.restarts >= 0 for each in self.containers)
        return started and not self.leaving and all(each.ready for each in self.containers)

    @property
    def ray(self) -> Container:
        return self.containers[0]

    def delete(self, *, done: Callable[[], None] = lambda: None) -> None:
        """Delete it like `kubectl delete pod`: preStop and SIGTERM within the grace period, then SIGKILL."""
        if not self.leaving:
            self.leaving = True
            threading.Thread(target=self._leave, args=(done,), name=f"end of {self.name}", daemon=True).start()

    def lose(self) -> None:
        """Remove it at once, like the loss of a machine."""
        self.leaving = True
        for each in self.containers:
            if each.restarts >= 0:
                each.kill()
        self.holder.close()
        self.gone = True

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    def environment(self, container: Object) -> dict[str, str]:
        host, port = self._shared.api
        found = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT_HTTPS": str(port)}
        if self.made["spec"].get("enableServiceLinks", True):
            found |= self._shared.links()
        found = {**image_environment(), MARK: os.environ.get(MARK, ""), "HOSTNAME": self.name, **found}
        for variable in container.get("env", []):
            value = self._value(variable)
            if value is not None:
                found[variable["name"]] = _expand(value, found)
        return found

    def mounts(self, container: Object) -> list[tuple[str | None, str]]:
        volumes = {each["name"]: each for each in self.made["spec"].get("volumes", [])}
        mounts = [(self._source(volumes[each["name"]]), each) for each in container.get("volumeMounts", [])]
        return [(source and str(source / each.get("subPath", "")), each["mountPath"]) for source, each in mounts]

    def _source(self, volume: Object) -> Path | None:
        if volume.get("emptyDir", {}).get("medium") == "Memory":
            return None
        if claim := volume.get("persistentVolumeClaim"):
            folder = self._shared.folder / "volumes" / claim["claimName"]
        else:
            folder = self.folder / "volumes" / volume["name"]
        folder.mkdir(parents=True, exist_ok=True)
        for source in volume.get("projected", {}).get("sources", []):
            for name in _projected(source):
                (folder / name).write_text(self._shared.account[name])
        return folder

    def _value(self, variable: Object) -> str | None:
        if "value" in variable:
            return str(variable["value"])
        source = variable.get("valueFrom", {})
        if reference := source.get("secretKeyRef"):
            secret = self._shared.secrets.get(reference["name"], {})
            if reference["key"] not in secret and not reference.get("optional"):
                raise KeyError(f"CreateContainerConfigError: no {reference['key']} in secret {reference['name']}")
            return secret.get(reference["key"])
        return self._field(source["fieldRef"]["fieldPath"])

    def _field(self, path: str) -> str:
        if path.startswith("metadata.labels["):
            return self.labels[path.split("'")[1]]
        known: Mapping[str, str] = {
            "metadata.name": self.name,
            "metadata.namespace": self.made["metadata"]["namespace"],
            "status.podIP": self.address,
        }
        return known[path]

    def _live(self) -> None:
        for spec in self.made["spec"].get("initContainers", []):
            first = Container(self, spec)
            first.run()
            while not self.leaving and first.exit_code is None:
                time.sleep(LOOK_EVERY_S)
            if self.leaving:
                first.kill()
                return
        for each in self.containers:
            self._run(each)
        while not self.leaving:
            for each in self.containers:
                if each.exit_code is None:
                    each.look()
                elif self.made["spec"].get("restartPolicy", "Always") == "Always":
                    self.events.append(f"{each.spec['name']}: ended with {each.exit_code}, started again")
                    self._run(each)
                else:
                    self.failed = True
                    return
            time.sleep(LOOK_EVERY_S)

    def _run(self, container: Container) -> None:
        """Start the container. No other one may start until Ray has started."""
        if container is not self.ray:
            container.run()
            return
        with STARTING:
            before, deadline = self.log().count(STARTED), time.monotonic() + START_PATIENCE_S
            container.run()
            while not self.leaving and container.exit_code is None and self.log().count(STARTED) == before:
                if time.monotonic() > deadline:
                    return
                time.sleep(LOOK_EVERY_S)

    def _leave(self, done: Callable[[], None]) -> None:
        """End the pod. The grace period includes preStop."""
        self._thread.join()
        ends_at = time.monotonic() + self.made["spec"].get("terminationGracePeriodSeconds", 30)
        running = [each for each in self.containers if each.restarts >= 0 and each.exit_code is None]
        for each in running:
            self._run_pre_stop(each, ends_at - time.monotonic())
            with suppress(psutil.NoSuchProcess):
                each.terminate()
        for each in running:
            if not each.wait(ends_at - time.monotonic()):
                self.events.append(f"{each.spec['name']}: killed when the grace period was over")
                self.killed = True
                each.kill()
        self.holder.close()
        self.gone = True
        done()

    def _run_pre_stop(self, container: Container, seconds: float) -> None:
        hook = container.spec.get("lifecycle", {}).get("preStop")
        if hook is None:
            return
        began = time.monotonic()
        try:
            ended = container.execute(hook["exec"]["command"], seconds)
            said = f"preStop ended with {ended.returncode}: {ended.stderr.decode()[-500:]}"
        except (subprocess.TimeoutExpired, psutil.NoSuchProcess, ValueError) as error:
            said = f"preStop broke off: {error}"
        self.pre_stop_s = time.monotonic() - began
        self.events.append(f"{said} after {self.pre_stop_s:.1f} s")


def _projected(source: Object) -> list[str]:
    """The file names of one source of a projected volume."""
    if token := source.get("serviceAccountToken"):
        return [token["path"]]
    kind = source.get("configMap") or source.get("downwardAPI") or source.get("secret") or {}
    return [each["path"] for each in kind.get("items", [])]


def _expand(text: str, environment: Mapping[str, str]) -> str:
    """Expand $(NAME) like Kubernetes: an unknown name stays unchanged."""
    return REFERENCE.sub(lambda match: environment.get(match[1], match[0]), text)
