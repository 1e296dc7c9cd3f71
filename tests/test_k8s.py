import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.leave import LINGER_S
from deployments.settings import PREFIX, Settings, SettingsError
from tests.e2e.server import ROOT
from tests.kubernetes import CRD, OVERLAYS, of_kind, pods, problems, render, render_with

NAMES = ("single", "production")
SECRETS = {
    "LTX2_DATABASE_URL": ("database-url", "postgresql+psycopg://ltx2:secret@db/ltx2"),
    "LTX2_API_KEYS": ("api-keys", json.dumps([{"name": "alice", "sha256": "0" * 64}])),
}
"""What a pod must have: the key in the secret, and such a value."""

described = pytest.mark.skipif(not CRD.exists(), reason=f"KubeRay's CRD is not at {CRD}")
each_overlay = pytest.mark.parametrize("overlay", NAMES)


@cache
def objects(overlay: str) -> list[dict[str, Any]]:
    return render(overlay)


def rayservice(overlay: str) -> dict[str, Any]:
    return deepcopy(of_kind(objects(overlay), "RayService"))


def served(overlay: str) -> dict[str, Any]:
    """The Serve config of an overlay, read from its patch: this needs no kubectl."""
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
    """Without the secret its args alone must not make a SQLite file in some pod."""
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
            assert container["image"].endswith("/ltx2-server:0.1.0"), name
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
    """The builder may run in any of them; only settings that are known are set."""
    for name, template in pods(rayservice("production")):
        variables = {each["name"]: each for each in template["spec"]["containers"][0]["env"]}
        ours = [each for each in variables if each.startswith(PREFIX)]
        assert ours == [*SECRETS, "LTX2_WEBHOOKS__SECRET"], name
        assert variables["LTX2_WEBHOOKS__SECRET"]["valueFrom"]["secretKeyRef"]["optional"] is True
        for variable, (key, _) in SECRETS.items():
            assert variables[variable]["valueFrom"]["secretKeyRef"] == {"name": "ltx2", "key": key}


@each_overlay
def test_every_claim_that_a_pod_names_is_there(overlay: str) -> None:
    claims = {each["metadata"]["name"] for each in objects(overlay) if each["kind"] == "PersistentVolumeClaim"}
    named = {
        volume["persistentVolumeClaim"]["claimName"]
        for _, template in pods(rayservice(overlay))
        for volume in template["spec"].get("volumes", [])
    }
    assert named == claims


def test_only_production_upgrades_beside_the_old_cluster() -> None:
    assert rayservice("single")["spec"]["upgradeStrategy"]["type"] == "None"
    production = rayservice("production")["spec"]
    assert production["upgradeStrategy"]["type"] == "NewCluster"
    assert production["rayClusterDeletionDelaySeconds"] >= Settings().generator.max_task_s


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
    assert int(group["rayStartParams"]["num-cpus"]) == generator.num_cpus
    assert group["template"]["spec"]["tolerations"]
    assert seconds_to_leave(group) >= generator.max_task_s


def test_the_pod_of_a_worker_outlives_its_way_out() -> None:
    """Kubernetes counts preStop into the grace period; after it Ray takes 30 s (measured)."""
    for group in rayservice("production")["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        grace_s = group["template"]["spec"]["terminationGracePeriodSeconds"]
        assert grace_s >= seconds_to_leave(group) + LINGER_S + 30


def seconds_to_leave(group: dict[str, Any]) -> int:
    """For how long the pod waits for its replicas before Ray is told to end."""
    command = group["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert command[1:3] == ["-m", "deployments.leave"]
    return int(command[3])


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
            or (monitoring and ports == {8080})
        )


@each_overlay
def test_every_pod_is_under_the_policy_and_the_budget_finds_its_pods(overlay: str) -> None:
    labels = [template["metadata"]["labels"] for _, template in pods(rayservice(overlay))]
    assert {each["app"] for each in labels} == {"ltx2"}
    for each in objects(overlay):
        if each["kind"] == "PodDisruptionBudget":
            assert each["spec"]["selector"]["matchLabels"] in labels
            assert each["spec"]["minAvailable"] < fewest_workers()


OBSERVABILITY = ROOT / "observability"


@each_overlay
def test_the_observability_component_scrapes_every_pod_and_brings_alerts_and_dashboard(
    overlay: str, tmp_path: Path
) -> None:
    found = render_with(OBSERVABILITY, overlay, tmp_path.resolve())
    monitor = of_kind(found, "PodMonitor")["spec"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    for name, template in pods(of_kind(found, "RayService")):
        assert monitor["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
        assert ports[endpoint["port"]] == 8080, name
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
