"""`production` on a Kubernetes on one machine: the first video, a drain, a lost head, an upgrade, a rollback.

The tests share the machine and run in this order. In the first cluster a test requests the GPU worker. In the upgrade's
cluster Ray's autoscaler v2 requests it, in the rollback's cluster v1.
"""

import time
from typing import Any

import pytest

from tests.e2e.server import QUICK
from tests.k8s.kubelet import Pod
from tests.k8s.kuberay import Cluster
from tests.k8s.needs import needs_cluster
from tests.k8s.scene import SECOND_KEY, START_TIMEOUT_S, Scene, keys_of_alice, production
from tests.kubernetes import of_kind, render

pytestmark = [needs_cluster, pytest.mark.timeout(1200)]
LONG = {"num_inference_steps": 40}
"""A task that takes some seconds."""
TASKS = "/v1/video/tasks"
IDLE_GENERATOR_S = 3
DELAY_LEFT_S = 60


def scale(cluster: Cluster, name: str, replicas: int) -> None:
    """Scale a group, as the autoscaler asks the operator to."""
    (group,) = [each for each in cluster.made["spec"]["workerGroupSpecs"] if each["groupName"] == name]
    group["replicas"] = replicas
    if replicas == 0:
        group["scaleStrategy"] = {"workersToDelete": [pod.name for pod in cluster.of(name)]}


def active(scene: Scene) -> Cluster:
    assert scene.operator.active is not None
    return scene.operator.active


def is_under_way(body: dict[str, Any]) -> bool:
    return body["status"] != "processing" or bool(body.get("progress"))


def seconds_to_leave(pod: Pod) -> int:
    """The maximum wait of the pod's preStop."""
    return int(pod.ray.spec["lifecycle"]["preStop"]["exec"]["command"][3])


def all_complete(scene: Scene, tasks: list[str]) -> None:
    for task in tasks:
        body = scene.wait(task)
        assert body["status"] == "completed", body


def both_workers_answer(scene: Scene) -> None:
    """Wait until both workers answer, with one replica of each deployment on each."""
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
    """Its replicas cannot move: the other worker has one of each, and a new worker comes only when it is gone."""
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
    """At first the name server still returns the old address, so no process finds the head. No replica ends because of
    it.
    """
    operator, cluster = scene.operator, active(scene)
    before = {each for pod in cluster.pods for each in scene.replica_processes(pod)}
    tasks = [scene.submit(**LONG)]
    lost = cluster.head
    assert lost is not None
    lost.lose()
    all_complete(scene, tasks)
    cluster.applications = {}
    operator.until(lambda: cluster.replica_states == {"RUNNING"}, START_TIMEOUT_S, "a head that knows the replicas")
    assert before == {each for pod in cluster.pods for each in scene.replica_processes(pod)}
    all_complete(scene, [scene.submit()])


def upgrade_under_tasks(scene: Scene, version: str, autoscaler: str, **generator: Any) -> tuple[Cluster, list[str]]:
    """Deploy a version while tasks are submitted. Returns the superseded cluster and those tasks."""
    operator, old = scene.operator, active(scene)
    tasks = [scene.submit()]
    operator.apply(production(version, cpu_workers=1, autoscaler=autoscaler, **generator))
    operator.until(lambda: operator.pending, START_TIMEOUT_S, "a second cluster")
    new = operator.pending
    assert new is not None
    operator.until(lambda: has_a_dispatcher(scene, new), START_TIMEOUT_S, "its Dispatcher")
    tasks += submit_until_the_switch(scene, old)
    assert active(scene) is new
    assert new.of("gpu") == [], "it answers without the GPU, which the old one holds"
    return old, tasks


def has_a_dispatcher(scene: Scene, cluster: Cluster) -> bool:
    return any(scene.replicas(pod, "Dispatcher") for pod in cluster.of("cpu"))


def submit_until_the_switch(scene: Scene, old: Cluster) -> list[str]:
    """Submit one task after the other. The last one may be refused if the key changes with the upgrade."""
    tasks: list[str] = []

    def is_over() -> bool:
        answer = scene.request("GET", f"{TASKS}/{tasks[-1]}")
        return active(scene) is not old or answer.json()["status"] != "processing"

    while active(scene) is old:
        answer = scene.request("POST", "/v1/video/async_t2v", json={**QUICK, **LONG})
        if answer.status_code == 200:
            tasks.append(answer.json()["task_id"])
            scene.operator.until(is_over, START_TIMEOUT_S, "the switch")
    return tasks


def generator_ends(scene: Scene, cluster: Cluster) -> Pod:
    """Wait until the superseded cluster's Generator has ended. Nothing removes its worker. Returns that worker."""
    (worker,) = cluster.of("gpu")
    scene.operator.until(
        lambda: scene.replicas(worker, "PretendingGenerator") == 0, START_TIMEOUT_S, "a Generator that ends"
    )
    return worker


def test_an_upgrade_takes_the_one_gpu_over_and_brings_the_changed_key(scene: Scene) -> None:
    """The new server wants a Generator at all times, but is ready without one: a full GPU pool is no deadlock."""
    operator = scene.operator
    scene.shared.secrets["ltx2"]["api-keys"] = keys_of_alice(SECOND_KEY)
    old, tasks = upgrade_under_tasks(scene, "0.2.0", "v2", min_replicas=1)
    assert scene.request("GET", f"{TASKS}/{tasks[0]}").status_code == 401
    scene.key = SECOND_KEY
    tasks.append(scene.submit())
    assert not generator_ends(scene, old).leaving
    scale(old, "gpu", 0)
    (worker,) = operator.until(lambda: active(scene).of("gpu"), START_TIMEOUT_S, "the GPU worker of the new cluster")
    all_complete(scene, tasks)
    # The older Dispatcher may have claimed the last task too, so that this Generator still starts.
    operator.until(lambda: scene.replicas(worker, "PretendingGenerator") == 1, START_TIMEOUT_S, "its Generator")


def test_the_older_cluster_is_deleted_when_its_delay_is_over(scene: Scene) -> None:
    operator = scene.operator
    (old,) = operator.old
    operator.skip(operator.seconds_left(old) - DELAY_LEFT_S)
    operator.reconcile()
    assert not any(pod.leaving for pod in old.pods), "its delay is not over"
    operator.skip(DELAY_LEFT_S)
    operator.reconcile()
    assert all(pod.leaving for pod in old.pods)
    all_complete(scene, [scene.submit()])


def test_a_rollback_is_an_upgrade_to_the_version_before(scene: Scene) -> None:
    """The autoscaler of each cluster moves the one GPU on, and removes its worker when no task is left.

    A node is idle only if no clip is in its object store. A Dispatcher that holds a clip longer than its task keeps the
    GPU worker forever, and this test fails. That was the case before "Let a clip leave shared memory with its task".
    """
    operator = scene.operator
    old, tasks = upgrade_under_tasks(scene, "0.1.0", "v1", downscale_to_zero_delay_s=IDLE_GENERATOR_S)
    superseded = generator_ends(scene, old)
    tasks.append(scene.submit())  # not sooner: for 2 s after the switch, the older Dispatcher may still claim it
    operator.until(lambda: superseded.gone, START_TIMEOUT_S, "the end of the older cluster's GPU worker, by v2")
    (worker,) = operator.until(lambda: active(scene).of("gpu"), START_TIMEOUT_S, "a GPU worker, by v1")
    all_complete(scene, tasks)
    operator.until(lambda: worker.gone, START_TIMEOUT_S, "its end, by v1")
    operator.until(lambda: operator.old == [old], START_TIMEOUT_S, "the end of the first cluster's last pods")
    others = [pod for pod in operator.pods if pod.labels["ray.io/group"] != "gpu"]
    assert not any(pod.leaving for pod in others), "an autoscaler takes no other worker away"


def test_no_pod_of_a_cluster_that_stands_was_killed_at_the_end_of_its_grace_period(scene: Scene) -> None:
    assert {pod.name: pod.events for pod in scene.operator.killed} == {}
