from models.timeline import Mark, Timeline


def test_only_the_first_time_that_a_mark_is_reached_counts() -> None:
    timeline = Timeline()
    assert timeline.mark(Mark.IMPORTED)
    first = timeline.marks[Mark.IMPORTED]
    assert not timeline.mark(Mark.IMPORTED)
    assert timeline.marks[Mark.IMPORTED] == first


def test_the_process_began_before_the_replica_which_is_the_zero() -> None:
    marks = Timeline().marks
    assert marks[Mark.PROCESS] < marks[Mark.REPLICA] == 0.0


def test_the_line_names_the_marks_in_the_order_in_which_they_were_reached() -> None:
    timeline = Timeline()
    for mark in (Mark.READ, Mark.IMPORTED, Mark.FIRST_STEP):
        timeline.mark(mark)
    words = timeline.line().split(", ")
    assert [word.split()[0] for word in words] == ["process", "replica", "read", "imported", "first_step"]
    assert all(word.endswith(" s") for word in words)
