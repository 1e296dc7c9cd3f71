"""`production` on a Kubernetes of one machine: from `kubectl apply` to the first video.

The tests share the cluster and run in this order. GPU workers come and go when a test asks for them.
"""

import pytest

from tests.k8s.kuberay import Cluster
from tests.k8s.needs import needs_cluster
from tests.k8s.scene import START_TIMEOUT_S, Scene, production

pytestmark = [needs_cluster, pytest.mark.timeout(1200)]


def scale(cluster: Cluster, name: str, replicas: int) -> None:
    """What the autoscaler asks of the operator."""
    (group,) = [each for each in cluster.made["spec"]["workerGroupSpecs"] if each["groupName"] == name]
    group["replicas"] = replicas


def active(scene: Scene) -> Cluster:
    assert scene.operator.active is not None
    return scene.operator.active


def all_complete(scene: Scene, tasks: list[str]) -> None:
    for task in tasks:
        body = scene.wait(task)
        assert body["status"] == "completed", body


def both_workers_answer(scene: Scene) -> None:
    scene.operator.until(lambda: len(scene.operator.endpoints()) >= 2, START_TIMEOUT_S, "two workers that answer")


def test_what_is_applied_comes_up_and_makes_a_video(scene: Scene) -> None:
    operator = scene.operator
    operator.apply(production())
    operator.until(lambda: operator.active is not None, START_TIMEOUT_S, "RUNNING")
    both_workers_answer(scene)
    for pod in active(scene).of("cpu"):
        found = {name: scene.replicas(pod, name) for name in ("Ingress", "Dispatcher", "Encoder")}
        assert found == {"Ingress": 1, "Dispatcher": 1, "Encoder": 1}, pod.name
    task = scene.submit()
    scale(active(scene), "gpu", 1)
    all_complete(scene, [task])
    (gpu,) = active(scene).of("gpu")
    assert scene.replicas(gpu, "PretendingGenerator") == 1
    assert scene.request("HEAD", f"/outputs/ltx2_{task}.mp4").status_code == 200


def test_no_container_was_restarted_on_the_way(scene: Scene) -> None:
    assert {each.restarts for pod in scene.operator.pods for each in pod.containers} == {0}
