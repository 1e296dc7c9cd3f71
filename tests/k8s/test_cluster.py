"""`production` on a Kubernetes of one machine: the first video, a drain, a lost head.

The tests share the cluster and run in this order. GPU workers come and go when a test asks for them.
"""

import time
from typing import Any

import pytest

from tests.k8s.kubelet import Pod
from tests.k8s.kuberay import Cluster
from tests.k8s.needs import needs_cluster
from tests.k8s.scene import START_TIMEOUT_S, Scene, production
from tests.kubernetes import of_kind, render

pytestmark = [needs_cluster, pytest.mark.timeout(1200)]
LONG = {"num_inference_steps": 60}
"""A task that is under way for some seconds."""


def scale(cluster: Cluster, name: str, replicas: int) -> None:
    """What the autoscaler asks of the operator."""
    (group,) = [each for each in cluster.made["spec"]["workerGroupSpecs"] if each["groupName"] == name]
    group["replicas"] = replicas


def active(scene: Scene) -> Cluster:
    assert scene.operator.active is not None
    return scene.operator.active


def is_under_way(body: dict[str, Any]) -> bool:
    return body["status"] != "processing" or bool(body.get("progress"))


def seconds_to_leave(pod: Pod) -> int:
    """For how long its preStop waits at most."""
    return int(pod.ray.spec["lifecycle"]["preStop"]["exec"]["command"][3])


def head_is_ready(cluster: Cluster) -> bool:
    return cluster.head is not None and cluster.head.ready


def all_complete(scene: Scene, tasks: list[str]) -> None:
    for task in tasks:
        body = scene.wait(task)
        assert body["status"] == "completed", body


def both_workers_answer(scene: Scene) -> None:
    """With one replica of each on each."""
    one_of_each = {"Ingress": 1, "Dispatcher": 1, "Encoder": 1}

    def they_do() -> bool:
        workers = [pod for pod in active(scene).of("cpu") if pod.ready]
        return [{name: scene.replicas(pod, name) for name in one_of_each} for pod in workers] == [one_of_each] * 2

    scene.operator.until(they_do, START_TIMEOUT_S, "two workers that answer")


def test_what_is_applied_comes_up_and_makes_a_video(scene: Scene) -> None:
    operator = scene.operator
    operator.apply(production())
    operator.until(lambda: operator.active is not None, START_TIMEOUT_S, "RUNNING")
    both_workers_answer(scene)
    task = scene.submit()
    scale(active(scene), "gpu", 1)
    all_complete(scene, [task])
    (gpu,) = active(scene).of("gpu")
    assert scene.replicas(gpu, "PretendingGenerator") == 1
    assert scene.request("HEAD", f"/outputs/ltx2_{task}.mp4").status_code == 200


def test_no_container_was_restarted_on_the_way(scene: Scene) -> None:
    assert {each.restarts for pod in scene.operator.pods for each in pod.containers} == {0}


def test_a_drained_worker_goes_within_its_time_and_no_task_is_lost(scene: Scene) -> None:
    """Its replicas have nowhere to go: there is one of each on the other worker, and the next comes when it is gone."""
    operator = scene.operator
    budget = of_kind(render("production"), "PodDisruptionBudget")
    tasks = [scene.submit(**LONG) for _ in range(2)]
    scene.wait_until(tasks[0], is_under_way)
    doomed, other = active(scene).of("cpu")
    assert operator.evict(doomed, budget)
    assert not operator.evict(other, budget), "it is the last that answers"
    while not doomed.gone:
        operator.reconcile()
        assert other in operator.endpoints()
        assert scene.ask(other, "GET", f"/v1/video/tasks/{tasks[-1]}").status_code == 200
        time.sleep(0.3)
    assert not doomed.killed, doomed.events
    assert doomed.pre_stop_s < seconds_to_leave(doomed), doomed.events
    all_complete(scene, tasks)
    both_workers_answer(scene)


def test_a_head_that_is_lost_comes_back_and_no_task_is(scene: Scene) -> None:
    operator = scene.operator
    tasks = [scene.submit(**LONG)]
    lost = active(scene).head
    assert lost is not None
    lost.lose()
    all_complete(scene, tasks)
    operator.until(lambda: head_is_ready(active(scene)), START_TIMEOUT_S, "a new head")
    all_complete(scene, [scene.submit()])
