from models.timing import ColdStartTimeline, Milestone


def test_only_the_first_time_that_a_mark_is_reached_counts() -> None:
    timeline = ColdStartTimeline()
    assert timeline.record(Milestone.IMPORTED)
    first = timeline.milestones[Milestone.IMPORTED]
    assert not timeline.record(Milestone.IMPORTED)
    assert timeline.milestones[Milestone.IMPORTED] == first


def test_the_process_began_before_the_replica_which_is_the_zero() -> None:
    marks = ColdStartTimeline().milestones
    assert marks[Milestone.PROCESS] < marks[Milestone.REPLICA] == 0.0


def test_the_line_names_the_marks_in_the_order_in_which_they_were_reached() -> None:
    timeline = ColdStartTimeline()
    for mark in (Milestone.READ, Milestone.IMPORTED, Milestone.FIRST_STEP):
        timeline.record(mark)
    words = timeline.summary().split(", ")
    assert [word.split()[0] for word in words] == ["process", "replica", "read", "imported", "first_step"]
    assert all(word.endswith(" s") for word in words)
