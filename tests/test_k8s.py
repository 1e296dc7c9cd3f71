import json
import os
import re
import subprocess
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve._private.constants import (
    DEFAULT_GRACEFUL_SHUTDOWN_TIMEOUT_S,
    PROXY_DRAIN_CHECK_PERIOD_S,
    PROXY_MIN_DRAINING_PERIOD_S,
)

from deployments.app import STOP_MARGIN_S
from deployments.settings import ENV_PREFIX, Settings, SettingsError
from tests.e2e.server import ROOT
from tests.kubernetes import COMPONENTS, CRD, K8S, KUBECTL, OVERLAYS, of_kind, pods, problems, render, render_with

NAMES = ("single", "production")
SECRETS = {
    "LTX2_DATABASE_URL": ("database-url", "postgresql+psycopg://ltx2:secret@db/ltx2"),
    "LTX2_API_KEYS": ("api-keys", json.dumps([{"name": "alice", "sha256": "0" * 64}])),
}
"""Variables that a pod must have: the key in the secret, and an example value."""

described = pytest.mark.skipif(not CRD.exists(), reason=f"KubeRay's CRD is not at {CRD}")
each_overlay = pytest.mark.parametrize("overlay", NAMES)
each_component = pytest.mark.parametrize("component", COMPONENTS, ids=lambda path: path.name)
STORAGE_OF = {"single": "ltx2-data", "production": "ltx2-model"}
"""The volume claim of each overlay. It is not part of the overlay, so that `kubectl delete -k` keeps the volume."""


@cache
def kustomize(folder: Path) -> list[dict[str, Any]]:
    command = [str(KUBECTL), "kustomize", str(folder)]
    return list(yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


@cache
def objects(overlay: str) -> list[dict[str, Any]]:
    return render(overlay)


def rayservice(overlay: str) -> dict[str, Any]:
    return deepcopy(of_kind(objects(overlay), "RayService"))


def served(overlay: str) -> dict[str, Any]:
    """The Serve config of an overlay, read from its patch. This needs no kubectl."""
    patch = yaml.safe_load((OVERLAYS / overlay / "serve.yaml").read_text())
    return dict(yaml.safe_load(patch["spec"]["serveConfigV2"]))


def settings(overlay: str) -> Settings:
    (application,) = served(overlay)["applications"]
    return Settings.model_validate(application["args"])


@pytest.fixture
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, (_, value) in SECRETS.items():
        monkeypatch.setenv(variable, value)


def test_every_overlay_is_tested() -> None:
    assert {each.name for each in OVERLAYS.iterdir()} == set(NAMES)


@each_overlay
def test_the_config_names_the_builder_and_the_port_of_serve_config(overlay: str) -> None:
    ours = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    theirs = served(overlay)
    assert theirs["http_options"]["port"] == ours["http_options"]["port"]
    for name in ("name", "route_prefix", "import_path"):
        assert theirs["applications"][0][name] == ours["applications"][0][name]


@pytest.mark.usefixtures("_secret")
@each_overlay
def test_settings_take_the_args_and_nothing_is_left_to_auto(overlay: str) -> None:
    assert settings(overlay).model == "Lightricks/LTX-2"
    assert settings(overlay).device == "cuda"


def test_the_single_node_keeps_everything_on_its_volume() -> None:
    found = settings("single")
    for place in (found.database_url, found.outputs.url, str(found.cache_dir)):
        assert "/srv/ltx2/data/" in place


@pytest.mark.usefixtures("_secret")
def test_production_shares_nothing_but_database_bucket_and_model() -> None:
    assert settings("production").outputs.url.startswith("s3://")
    assert [key.name for key in settings("production").api_keys] == ["alice"]
    assert settings("production").generator.min_replicas == 0


def test_production_does_not_start_without_its_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the secret, its args alone must not create a SQLite file in a pod."""
    monkeypatch.delenv("LTX2_DATABASE_URL", raising=False)
    with pytest.raises(SettingsError, match="PostgreSQL"):
        settings("production")


@described
@each_overlay
def test_kuberay_knows_every_field(overlay: str) -> None:
    assert problems(rayservice(overlay)) == []


@described
def test_a_field_that_kuberay_does_not_know_is_found_at_any_depth() -> None:
    wrong = rayservice("production")
    wrong["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imag"] = "x"
    wrong["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["maxReplica"] = 1
    wrong["spec"]["serveConfig"] = ""
    assert len(problems(wrong)) == 3


@each_overlay
def test_every_pod_runs_the_image_of_the_release_without_rights(overlay: str) -> None:
    for name, template in pods(rayservice(overlay)):
        assert template["spec"]["securityContext"]["runAsNonRoot"], name
        for container in template["spec"]["containers"]:
            gpu = "nvidia.com/gpu" in container["resources"]["limits"]
            assert container["image"].endswith("/ltx2-server:0.1.0" if gpu else "/ltx2-server:0.1.0-cpu"), name
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert {"livenessProbe", "readinessProbe", "resources"} <= set(container), name


@each_overlay
def test_probes_are_python_that_compiles(overlay: str) -> None:
    for _, template in pods(rayservice(overlay)):
        for probe in ("livenessProbe", "readinessProbe"):
            interpreter, flag, program = template["spec"]["containers"][0][probe]["exec"]["command"]
            assert (interpreter, flag) == ("/opt/ltx2/bin/python", "-c")
            compile(program, probe, "exec")


@each_overlay
def test_secrets_stand_in_no_manifest(overlay: str) -> None:
    assert "Secret" not in {each["kind"] for each in objects(overlay)}
    for _, template in pods(rayservice(overlay)):
        variables = template["spec"]["containers"][0].get("env", [])
        assert [each["name"] for each in variables if "value" in each] == []


def test_every_pod_of_production_has_the_database_and_may_have_the_secret_of_webhooks() -> None:
    """The builder may run in any pod; only known settings are set."""
    for name, template in pods(rayservice("production")):
        variables = {each["name"]: each for each in template["spec"]["containers"][0]["env"]}
        ours = [each for each in variables if each.startswith(ENV_PREFIX)]
        assert ours == [*SECRETS, "LTX2_WEBHOOKS__SECRET"], name
        optional = {each["name"] for each in variables.values() if each["valueFrom"]["secretKeyRef"].get("optional")}
        others = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"} if name != "head" else set()
        assert optional == {"LTX2_WEBHOOKS__SECRET", *others}, "a role of the cloud may open the bucket"
        assert variables["LTX2_WEBHOOKS__SECRET"]["valueFrom"]["secretKeyRef"]["optional"] is True
        for variable, (key, _) in SECRETS.items():
            assert variables[variable]["valueFrom"]["secretKeyRef"] == {"name": "ltx2", "key": key}


@each_overlay
def test_deleting_an_overlay_leaves_the_namespace_and_the_claim_that_its_pods_name(overlay: str) -> None:
    assert not {"Namespace", "PersistentVolumeClaim"} & {each["kind"] for each in objects(overlay)}
    named = {
        volume["persistentVolumeClaim"]["claimName"]
        for _, template in pods(rayservice(overlay))
        for volume in template["spec"].get("volumes", [])
        if "persistentVolumeClaim" in volume
    }
    stored = kustomize(K8S / "storage" / overlay)
    assert {each["kind"] for each in stored} == {"Namespace", "PersistentVolumeClaim"}
    assert of_kind(stored, "PersistentVolumeClaim")["metadata"]["name"] == STORAGE_OF[overlay]
    assert named == {STORAGE_OF[overlay]}


@each_overlay
def test_the_job_that_fetches_the_weights_puts_them_where_the_overlay_looks(overlay: str) -> None:
    job = of_kind(kustomize(K8S / "weights" / overlay), "Job")["spec"]["template"]
    (container,) = job["spec"]["containers"]
    (volume,) = job["spec"]["volumes"]
    (mount,) = container["volumeMounts"]
    assert volume["persistentVolumeClaim"]["claimName"] == STORAGE_OF[overlay]
    (application,) = served(overlay)["applications"]
    assert container["command"][1:3] == ["-m", "deployments.cli.download_model"]
    assert container["command"][4] == application["args"]["model"]
    cache_dir = Path(application["args"]["cache_dir"])
    assert cache_dir.is_relative_to(mount["mountPath"])
    assert Path("/srv/ltx2") / Settings().cache_dir == cache_dir, "the job runs with the image's own serve_config.yaml"
    assert {"nvidia.com/gpu"} & set(container["resources"]["limits"]) == set()
    assert job["metadata"]["labels"]["app"] != "ltx2", "the server's NetworkPolicy and service are not the job's"


@each_overlay
def test_no_pod_is_given_variables_of_services_or_a_token_of_kubernetes(overlay: str) -> None:
    """The kubelet's `LTX2_SERVE_SVC_*` are not settings, and a client with Ray's token can run code in the pods."""
    for name, template in pods(rayservice(overlay)):
        assert template["spec"]["enableServiceLinks"] is False, name
        assert template["spec"]["automountServiceAccountToken"] is False, name


@each_overlay
def test_ray_asks_for_a_token(overlay: str) -> None:
    assert rayservice(overlay)["spec"]["rayClusterConfig"]["authOptions"] == {"mode": "token"}


def test_the_autoscaler_alone_has_a_token_of_kubernetes() -> None:
    cluster = rayservice("production")["spec"]["rayClusterConfig"]
    head = cluster["headGroupSpec"]["template"]["spec"]
    (mount,) = cluster["autoscalerOptions"]["volumeMounts"]
    assert mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount", "where Ray's autoscaler looks"
    (volume,) = [each for each in head["volumes"] if each["name"] == mount["name"]]
    written = {path for source in volume["projected"]["sources"] for path in paths_of(source)}
    assert written == {"token", "ca.crt", "namespace"}
    for name, template in pods(rayservice("production")):
        (container,) = template["spec"]["containers"]
        assert mount["name"] not in [each["name"] for each in container.get("volumeMounts", [])], name


def paths_of(source: dict[str, Any]) -> list[str]:
    """The files that one source of a projected volume writes."""
    ((_, what),) = source.items()
    return [each["path"] for each in what.get("items", [what])]


def test_ingress_dispatcher_and_encoder_are_spread_over_nodes_and_never_land_on_a_gpu() -> None:
    (application,) = served("production")["applications"]
    spread = {each["name"]: each["max_replicas_per_node"] for each in application["deployments"]}
    assert spread == {"Ingress": 1, "Dispatcher": 1, "Encoder": 1}
    groups = {
        each["groupName"]: each for each in rayservice("production")["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    }
    for setting in ("ingress", "dispatcher", "encoder"):
        assert application["args"][setting]["replicas"] <= groups["cpu"]["minReplicas"]
        assert Settings().model_dump()[setting]["num_cpus"] > 0, "with none they would fit on a GPU worker"
    assert groups["gpu"]["rayStartParams"]["num-cpus"] == "0"
    assert groups["gpu"]["rayStartParams"]["num-gpus"] == "1"


def test_serve_takes_the_config_of_every_overlay() -> None:
    from ray.serve.schema import ServeDeploySchema

    for overlay in NAMES:
        ServeDeploySchema.model_validate(served(overlay))


def test_no_generator_is_put_where_a_runtime_shows_gpus_that_were_not_asked_for() -> None:
    cluster = rayservice("production")["spec"]["rayClusterConfig"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-gpus"] == "0"
    (cpu,) = [each for each in cluster["workerGroupSpecs"] if each["groupName"] == "cpu"]
    assert cpu["rayStartParams"]["num-gpus"] == "0"


@each_overlay
def test_autoscalers_of_nodes_leave_a_pod_with_a_gpu_alone(overlay: str) -> None:
    for name, template in pods(rayservice(overlay)):
        (container,) = template["spec"]["containers"]
        if "nvidia.com/gpu" in container["resources"]["limits"]:
            annotations = template["metadata"]["annotations"]
            assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false", name
            assert annotations["karpenter.sh/do-not-disrupt"] == "true", name


@each_overlay
def test_every_pod_asks_for_the_disk_that_ray_spills_to(overlay: str) -> None:
    for name, template in pods(rayservice(overlay)):
        assert "ephemeral-storage" in template["spec"]["containers"][0]["resources"]["requests"], name


def test_the_route_leads_to_the_server_without_a_time_limit_and_the_policy_lets_the_gateway_in() -> None:
    route = of_kind(objects("production"), "HTTPRoute")["spec"]
    (rule,) = route["rules"]
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    (backend,) = rule["backendRefs"]
    assert (backend["name"], backend["port"]) == ("ltx2-serve-svc", served("production")["http_options"]["port"])
    host = str(served("production")["applications"][0]["args"]["public_base_url"]).removeprefix("https://")
    assert route["hostnames"] == [host]
    gateway = of_kind(list(yaml.safe_load_all((K8S / "examples/gateway.yaml").read_text())), "Gateway")
    assert route["parentRefs"] == [{"name": gateway["metadata"]["name"]}]
    assert gateway["metadata"]["namespace"] == "ltx2"
    (listener,) = gateway["spec"]["listeners"]
    assert (listener["hostname"], listener["protocol"]) == (host, "HTTPS")


def test_the_redis_of_the_example_is_the_one_that_the_head_asks_for() -> None:
    found = list(yaml.safe_load_all((K8S / "examples/redis.yaml").read_text()))
    service, redis = of_kind(found, "Service"), of_kind(found, "StatefulSet")
    options = rayservice("production")["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]
    assert options["redisAddress"] == f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    (container,) = redis["spec"]["template"]["spec"]["containers"]
    wanted = container["env"][0]["valueFrom"]["secretKeyRef"]
    assert options["redisPassword"]["valueFrom"]["secretKeyRef"] == wanted
    assert service["spec"]["selector"] == redis["spec"]["template"]["metadata"]["labels"]


@described
@each_component
@each_overlay
def test_every_platform_and_component_renders_for_every_overlay_and_kuberay_knows_its_fields(
    component: Path, overlay: str, tmp_path: Path
) -> None:
    found = render_with(component, overlay, tmp_path.resolve())
    assert problems(of_kind(found, "RayService")) == []
    changed = [each for each in found if each not in objects(overlay)]
    assert changed or (component.name, overlay) == ("bucket-role", "single")


@pytest.mark.parametrize("platform", ["gke", "eks", "aks"])
@each_overlay
def test_a_cloud_names_the_card_and_a_class_that_many_nodes_can_mount(
    platform: str, overlay: str, tmp_path: Path
) -> None:
    found = render_with(K8S / "platforms" / platform, overlay, tmp_path.resolve())
    for name, template in pods(of_kind(found, "RayService")):
        gpu = "nvidia.com/gpu" in template["spec"]["containers"][0]["resources"]["limits"]
        assert ("h100" in str(template["spec"]["nodeSelector"]).lower()) == gpu, name
    folder = (tmp_path / "storage").resolve()
    folder.mkdir()
    kustomization = {
        "resources": [relative(K8S / "storage/production", folder)],
        "components": [relative(K8S / "platforms" / platform, folder)],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    claim = of_kind(kustomize(folder), "PersistentVolumeClaim")["spec"]
    assert claim["accessModes"] == ["ReadWriteMany"]
    assert claim["storageClassName"] != "shared"


@each_overlay
def test_the_logs_component_reads_the_files_that_ray_writes_and_ends_after_ray(overlay: str, tmp_path: Path) -> None:
    found = render_with(K8S / "components/logs", overlay, tmp_path.resolve())
    config = yaml.safe_load(of_kind(found, "ConfigMap")["data"]["fluent-bit.yaml"])
    (tail,) = config["pipeline"]["inputs"]
    for name, template in pods(of_kind(found, "RayService")):
        (sidecar,) = template["spec"]["initContainers"]
        assert sidecar["restartPolicy"] == "Always", name
        ray_mounts = template["spec"]["containers"][0]["volumeMounts"]
        files = {each["name"] for each in ray_mounts if each["mountPath"] == "/tmp/ray"}
        assert files <= {each["name"] for each in sidecar["volumeMounts"] if each["mountPath"] == "/tmp/ray"}
        assert len(files) == 1, name
        assert f"--config={sidecar['volumeMounts'][1]['mountPath']}/fluent-bit.yaml" in sidecar["args"]
    for written in (
        "/tmp/ray/session_2026-11-28_10-00-00_000001_7/logs/raylet.out",
        "/tmp/ray/session_2026-11-28_10-00-00_000001_7/logs/gcs_server.err",
        "/tmp/ray/session_2026-11-28_10-00-00_000001_7/logs/serve/replica_ltx2_Ingress_x.log",
    ):
        assert sum(Path(written).match(pattern) for pattern in tail["path"].split(",")) == 1, written
    twice = "/tmp/ray/session_latest/logs/raylet.out"
    assert not any(Path(twice).match(pattern) for pattern in tail["path"].split(",")), "a link to the same file"


@described
def test_the_patches_that_stand_as_comments_in_production_render(tmp_path: Path) -> None:
    written = (OVERLAYS / "production/kustomization.yaml").read_text()
    commented = re.search(r"^#  - target:.*?(?=^images:)", written, re.MULTILINE | re.DOTALL)
    assert commented is not None
    patches = yaml.safe_load("\n".join(line.removeprefix("#") for line in commented[0].splitlines()))
    folder = tmp_path.resolve()
    kustomization = {"resources": [relative(OVERLAYS / "production", folder)], "patches": patches}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    found = of_kind(kustomize(folder), "RayService")
    assert problems(found) == []
    for name, template in pods(found):
        assert template["spec"]["imagePullSecrets"] == [{"name": "registry"}], name
    priority = next(yaml.safe_load_all((K8S / "examples/quota.yaml").read_text()))
    assert priority["kind"] == "ResourceQuota"
    assert found["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"


def amount(quantity: str) -> float:
    """CPUs in cores, memory in Gi."""
    if quantity.endswith("Mi"):
        return float(quantity[:-2]) / 1024
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity.removesuffix("Gi"))


def test_the_quota_of_the_example_holds_the_two_clusters_of_an_upgrade() -> None:
    cluster = rayservice("production")["spec"]["rayClusterConfig"]
    most = {each["groupName"]: each["maxReplicas"] for each in cluster["workerGroupSpecs"]} | {"head": 1}
    taken = {"cpu": 0.0, "memory": 0.0, "nvidia.com/gpu": 0.0}
    for name, template in pods(rayservice("production")):
        requested = template["spec"]["containers"][0]["resources"]
        for resource in taken:
            quantity = requested["requests"].get(resource) or requested["limits"].get(resource, "0")
            taken[resource] += 2 * most[name] * amount(quantity)
    autoscaler = cluster["autoscalerOptions"]["resources"]["requests"]
    hard = next(yaml.safe_load_all((K8S / "examples/quota.yaml").read_text()))["spec"]["hard"]
    for resource, used in taken.items():
        extra = 2 * amount(autoscaler.get(resource, "0"))
        assert used + extra <= amount(hard[f"requests.{resource}"]), resource


def relative(path: Path, folder: Path) -> str:
    """Kustomize accepts only relative paths of folders."""
    return os.path.relpath(path, folder)


def test_the_pod_of_single_finishes_its_task_before_it_ends() -> None:
    ((_, template),) = pods(rayservice("single"))
    command = template["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert command[1:4] == ["-m", "deployments.cli.admin", "drain"]
    assert int(command[4]) >= Settings().generator.graceful_shutdown_timeout_s
    assert template["spec"]["terminationGracePeriodSeconds"] >= int(command[4]) + 30


def test_keys_are_optional_in_single() -> None:
    ((_, template),) = pods(rayservice("single"))
    variables = template["spec"]["containers"][0]["env"]
    assert [each["name"] for each in variables] == ["LTX2_API_KEYS", "LTX2_WEBHOOKS__SECRET", "HF_TOKEN"]
    assert all(each["valueFrom"]["secretKeyRef"]["optional"] for each in variables)


def test_only_production_upgrades_beside_the_old_cluster() -> None:
    assert rayservice("single")["spec"]["upgradeStrategy"]["type"] == "None"
    production = rayservice("production")["spec"]
    assert production["upgradeStrategy"]["type"] == "NewCluster"
    assert production["rayClusterDeletionDelaySeconds"] >= Settings().generator.graceful_shutdown_timeout_s


@pytest.mark.usefixtures("_secret")
def test_gpu_workers_of_production_come_from_zero_and_are_as_many_as_generators() -> None:
    (group,) = [
        each
        for each in rayservice("production")["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        if "nvidia.com/gpu" in each["template"]["spec"]["containers"][0]["resources"]["limits"]
    ]
    generator = settings("production").generator
    assert (group["minReplicas"], group["replicas"]) == (0, 0)
    assert group["maxReplicas"] == generator.max_replicas
    assert int(group["rayStartParams"]["num-cpus"]) == generator.num_cpus == 0
    assert group["template"]["spec"]["tolerations"]
    assert seconds_to_leave(group) >= generator.graceful_shutdown_timeout_s


def test_the_pod_of_a_worker_outlives_its_way_out() -> None:
    """Kubernetes counts preStop as part of the grace period; after it Ray needs 30 s (measured)."""
    for group in rayservice("production")["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        grace_s = group["template"]["spec"]["terminationGracePeriodSeconds"]
        assert grace_s >= seconds_to_leave(group) + 30


@pytest.mark.usefixtures("_secret")
def test_replicas_of_a_cpu_worker_end_at_once_and_it_waits_for_its_proxy() -> None:
    """If every other worker has one of each, no replacement can start: Serve would wait until the deadline."""
    (group,) = [
        each
        for each in rayservice("production")["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        if each["groupName"] == "cpu"
    ]
    seconds, deadline_s = [int(each) for each in leave_command(group)[3:]]
    ends_s = settings("production").dispatcher.drain_timeout_s + STOP_MARGIN_S
    assert deadline_s <= min(ends_s, DEFAULT_GRACEFUL_SHUTDOWN_TIMEOUT_S)
    assert seconds >= 2 * (PROXY_MIN_DRAINING_PERIOD_S + PROXY_DRAIN_CHECK_PERIOD_S)
    assert seconds >= deadline_s + DEFAULT_GRACEFUL_SHUTDOWN_TIMEOUT_S


def seconds_to_leave(group: dict[str, Any]) -> int:
    """How long the pod waits for its replicas before Ray is told to end."""
    return int(leave_command(group)[3])


def leave_command(group: dict[str, Any]) -> list[str]:
    command: list[str] = group["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert command[1:3] == ["-m", "deployments.cli.drain_node"]
    return command


@each_overlay
def test_strangers_reach_nothing_but_the_servers_port(overlay: str) -> None:
    policy = of_kind(objects(overlay), "NetworkPolicy")["spec"]
    for rule in policy["ingress"]:
        from_ourselves = rule.get("from") == [{"podSelector": {"matchLabels": policy["podSelector"]["matchLabels"]}}]
        ports = {port["port"] for port in rule.get("ports", [])}
        operator = "kuberay-system" in str(rule.get("from"))
        monitoring = "monitoring" in str(rule.get("from"))
        assert (
            from_ourselves
            or ports == {8004}
            or (operator and ports == {8265, 8004})
            or (monitoring and ports == {8080, 44217, 44227})
        )


@each_overlay
def test_every_pod_is_under_the_policy_and_the_budget_finds_its_pods(overlay: str) -> None:
    labels = [template["metadata"]["labels"] for _, template in pods(rayservice(overlay))]
    assert {each["app"] for each in labels} == {"ltx2"}
    for each in objects(overlay):
        if each["kind"] == "PodDisruptionBudget":
            assert each["spec"]["selector"]["matchLabels"] in labels
            assert each["spec"]["minAvailable"] < fewest_workers()
            assert each["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow", "a pod that never gets ready goes"


OBSERVABILITY = ROOT / "observability"


@each_overlay
def test_the_observability_component_scrapes_every_pod_and_brings_alerts_and_dashboard(
    overlay: str, tmp_path: Path
) -> None:
    found = render_with(OBSERVABILITY, overlay, tmp_path.resolve())
    monitor = of_kind(found, "PodMonitor")["spec"]
    endpoints = {each["port"]: each for each in monitor["podMetricsEndpoints"]}
    for endpoint in endpoints.values():
        (cluster,) = endpoint["relabelings"]
        assert cluster["sourceLabels"] == ["__meta_kubernetes_pod_label_ray_io_cluster"]
    for name, template in pods(of_kind(found, "RayService")):
        assert monitor["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
        assert ports["metrics"] == 8080, name
        others = {"as-metrics": 44217, "dash-metrics": 44227} if (name, overlay) == ("head", "production") else {}
        others |= {"dash-metrics": 44227} if name == "head" else {}
        assert {each: ports[each] for each in ports if each.endswith("-metrics")} == others, name
        scraped = {ports[each] for each in ports if each in endpoints}
        assert scraped <= {8080, 44217, 44227}, "what the NetworkPolicy lets Prometheus reach"
    alerts = yaml.safe_load((OBSERVABILITY / "alerts.yaml").read_text())
    assert of_kind(found, "PrometheusRule")["spec"] == alerts
    dashboard = next(each for each in found if each["metadata"]["name"] == "ltx2-dashboard")
    assert dashboard["data"]["ltx2.json"] == (OBSERVABILITY / "dashboard.json").read_text()
    assert dashboard["metadata"]["labels"] == {"grafana_dashboard": "1"}


def fewest_workers() -> int:
    (group,) = [
        each
        for each in rayservice("production")["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        if each["groupName"] == "cpu"
    ]
    return int(group["minReplicas"])


PATCH_LOCALLY = """
kubectl() {
    case "$*" in
        *" get "*) echo ltx2-abcde ;;
        *" patch "*)
            shift 3; kind=$1; shift 2
            "$KUBECTL" patch --local -f "$kind.yaml" "$@" -o yaml > "patched_$kind.yaml" ;;
    esac
}
"""
"""A shell function `kubectl` that patches a file instead of a server's object."""


def test_the_patches_of_the_page_change_what_they_are_said_to_change(tmp_path: Path) -> None:
    page = (ROOT / "docs/kubernetes.md").read_text()
    blocks = [block for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "kubectl -n ltx2 patch" in block]
    production = rayservice("production")
    spec = production["spec"]["rayClusterConfig"]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ltx2"}, "data": {"database-url": "eA=="}}
    objects_by_kind = {
        "rayservice": production,
        "raycluster": {
            "apiVersion": "ray.io/v1",
            "kind": "RayCluster",
            "metadata": {"name": "ltx2-abcde"},
            "spec": spec,
        },
        "secret": secret,
    }
    for kind, found in objects_by_kind.items():
        (tmp_path / f"{kind}.yaml").write_text(yaml.safe_dump(found))
    (keys,) = re.findall(r"```yaml\n(stringData:.*?)```", page, re.DOTALL)
    (tmp_path / "keys.yaml").write_text(keys)
    script = "set -e\n" + PATCH_LOCALLY + "\n".join(blocks).replace("kubectl apply", ": kubectl apply")
    environment = {**os.environ, "KUBECTL": str(KUBECTL)}
    subprocess.run(["bash", "-c", script], check=True, cwd=tmp_path, env=environment)
    patched = {kind: yaml.safe_load((tmp_path / f"patched_{kind}.yaml").read_text()) for kind in objects_by_kind}
    gpu = patched["raycluster"]["spec"]["workerGroupSpecs"][1]
    assert (gpu["groupName"], gpu["maxReplicas"]) == ("gpu", 8)
    head = patched["rayservice"]["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", head["metadata"]["annotations"]["ltx2/restarted-at"])
    assert head["metadata"]["labels"]["component"] == "head", "the rest stays"
    assert [each["name"] for each in json.loads(patched["secret"]["stringData"]["api-keys"])] == ["alice", "bob"]
    assert patched["secret"]["data"] == secret["data"]
