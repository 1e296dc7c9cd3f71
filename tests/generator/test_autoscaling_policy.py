"""The number of Generators, tick by tick, as Serve's controller asks for it."""

from types import SimpleNamespace

from deployments.generator.autoscaling_policy import SUPERSEDED, GeneratorPolicy

IDLE_S = 600.0


class Serve:
    """Asks the policy each second and follows its answer."""

    def __init__(self, min_replicas: int = 0) -> None:
        self._policy = GeneratorPolicy(min_replicas, IDLE_S)
        self._now = 1000.0
        self.replicas = 0

    def run(self, seconds: int = 1, tasks: float = 0, superseded: bool | None = False) -> int:
        """Run for some seconds and return the number of replicas.

        `superseded` is what each replica reports; None means that none has reported yet.
        """
        for _ in range(seconds):
            self._now += 1
            said = {} if superseded is None else {number: float(superseded) for number in range(self.replicas)}
            context = SimpleNamespace(
                total_num_requests=tasks,
                target_num_replicas=self.replicas,
                aggregated_metrics={SUPERSEDED: said} if said else {},
                current_time=self._now,
            )
            self.replicas, _ = self._policy(context)
        return self.replicas


def test_each_task_gets_a_generator_at_once():
    serve = Serve()
    assert [serve.run(tasks=tasks) for tasks in (0, 1, 3, 2.5)] == [0, 1, 3, 3]


def test_a_generator_goes_when_nobody_has_wanted_it_for_the_whole_delay():
    serve = Serve()
    serve.run(tasks=1)
    assert serve.run(600) == 1
    assert serve.run(1) == 0


def test_a_task_in_between_begins_the_delay_anew():
    serve = Serve()
    serve.run(tasks=1)
    serve.run(590)
    serve.run(tasks=1)
    assert serve.run(600) == 1


def test_min_replicas_come_without_a_task_and_stay():
    serve = Serve(min_replicas=2)
    assert serve.run(1) == 2
    assert serve.run(tasks=3) == 3
    assert serve.run(10_000) == 2


def test_a_superseded_server_keeps_no_generator_without_a_task():
    serve = Serve(min_replicas=1)
    serve.run(tasks=2)
    assert serve.run(tasks=2, superseded=True) == 2
    assert serve.run(tasks=1, superseded=True) == 1
    assert serve.run(superseded=True) == 0
    assert serve.run(10_000, superseded=None) == 0, "nobody is left to report, and it stays so"


def test_a_server_whose_successor_died_is_as_it_was():
    serve = Serve(min_replicas=1)
    serve.run(tasks=1)
    assert serve.run(superseded=True) == 0
    assert serve.run(tasks=1, superseded=None) == 1, "its Dispatcher claims again"
    assert serve.run(10_000) == 1


def test_a_replica_that_has_not_reported_yet_changes_nothing():
    serve = Serve(min_replicas=1)
    assert serve.run(5, superseded=None) == 1
