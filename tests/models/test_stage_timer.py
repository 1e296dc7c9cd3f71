from models.progress import Progress, Stage
from models.timing import StageTimer, TimedStage


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def run(*reports: tuple[float, Stage, int]) -> dict[str, float]:
    """The seconds of each stage of a run. A report is (time in seconds, stage, finished steps)."""
    clock = Clock()
    watch = StageTimer(clock)
    for clock.now, stage, step in reports:
        watch.observe(Progress(stage, step))
    return dict(watch.timings.seconds)


def test_a_cold_run_is_parted_into_its_laps() -> None:
    assert run(
        (0, Stage.STARTING, 0),
        (1, Stage.DOWNLOADING, 0),
        (11, Stage.DOWNLOADING, 0),
        (21, Stage.LOADING, 0),
        (26, Stage.DENOISING, 0),
        (28, Stage.DENOISING, 0),
        (30, Stage.DENOISING, 1),
        (32, Stage.DENOISING, 2),
        (32, Stage.DECODING, 0),
        (35, Stage.DECODING, 0),
        (36, Stage.ENCODING, 2),
    ) == {
        TimedStage.DOWNLOAD: 20,
        TimedStage.LOAD: 5,
        TimedStage.ENCODE_TEXT: 2,
        TimedStage.DENOISE: 4,
        TimedStage.DECODE: 4,
    }


def test_both_stages_of_an_upscaled_run_have_laps_and_its_steps_are_those_of_the_first() -> None:
    clock = Clock()
    watch = StageTimer(clock)
    given = Progress(Stage.REFINING, encodes_given=True)
    reports = (
        *((0, Progress(Stage.DENOISING)), (1, Progress(Stage.DENOISING)), (9, Progress(Stage.DENOISING, 8))),
        *((9, Progress(Stage.UPSCALING)), (10, Progress(Stage.REFINING)), (10, given)),
        *((12, Progress(Stage.REFINING)), (18, Progress(Stage.REFINING, 3)), (18, Progress(Stage.DECODING))),
    )
    for clock.now, progress in reports:
        watch.observe(progress)
    assert watch.timings.seconds == {
        TimedStage.ENCODE_TEXT: 1,
        TimedStage.DENOISE: 8,
        TimedStage.UPSCALE: 1,
        TimedStage.REFINE: 6,
        TimedStage.ENCODE_GIVEN: 2,
    }
    assert watch.timings.steps == 8


def test_a_warm_run_neither_downloads_nor_loads() -> None:
    laps = run((0, Stage.STARTING, 0), (0, Stage.DENOISING, 0), (3, Stage.DENOISING, 0), (9, Stage.DECODING, 0))
    assert laps == {TimedStage.ENCODE_TEXT: 3, TimedStage.DENOISE: 6}


def test_what_was_given_is_encoded_in_a_lap_of_its_own() -> None:
    clock = Clock()
    watch = StageTimer(clock)
    given = Progress(Stage.DENOISING, encodes_given=True)
    first = Progress(Stage.DENOISING)
    for clock.now, progress in ((0, first), (2, given), (5, first), (6, Progress(Stage.DENOISING, 1))):
        watch.observe(progress)
    watch.start_stage(None)
    assert watch.timings.seconds == {TimedStage.ENCODE_TEXT: 2, TimedStage.ENCODE_GIVEN: 3, TimedStage.DENOISE: 1}


def test_a_lap_that_comes_again_is_added_up() -> None:
    clock = Clock()
    watch = StageTimer(clock)
    for clock.now, lap in ((0, TimedStage.DECODE), (1, TimedStage.WAIT_FOR_ENCODER), (5, TimedStage.DECODE), (7, None)):
        watch.start_stage(lap)
    assert watch.timings.seconds == {TimedStage.DECODE: 3, TimedStage.WAIT_FOR_ENCODER: 4}


def test_the_steps_of_a_run_are_the_most_that_were_reported() -> None:
    watch = StageTimer(Clock())
    for step in (0, 0, 1, 2):
        watch.observe(Progress(Stage.DENOISING, step))
    watch.observe(Progress(Stage.DECODING))
    assert watch.timings.steps == 2


def test_each_lap_is_told_as_it_ends() -> None:
    clock, told = Clock(), []
    watch = StageTimer(clock, lambda lap, seconds: told.append((lap, seconds)))
    for clock.now, lap in ((0, TimedStage.LOAD), (5, TimedStage.DENOISE), (9, None), (9, None)):
        watch.start_stage(lap)
    assert told == [(TimedStage.LOAD, 5), (TimedStage.DENOISE, 4)]
