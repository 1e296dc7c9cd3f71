"""The baseline of `benchmarks.cold_stages`: start, imports, load and first step in a bare Python process.

    python -m benchmarks.cold_stages_baseline CACHE REQUEST

CACHE is the folder of the tiny model, REQUEST a request as JSON. Prints the end time of each part, in seconds since the
epoch.
"""

import json
import sys
import time
from pathlib import Path


class FirstStep(Exception):
    """Raised after the first step, to end the render."""


def main() -> None:
    """Run up to the first step, and print the times."""
    times = {"started": time.time()}
    from models.conditions import NO_CONDITIONS
    from models.startup.warm_up import import_pipelines

    import_pipelines("cpu")
    from models.ltx2.model import Ltx2Model
    from models.progress import Progress
    from models.request.request import VideoRequest

    times["imported"] = time.time()

    def stop_at_first_step(progress: Progress) -> None:
        if progress.step == 1:
            times["stepped"] = time.time()
            raise FirstStep

    def ignore(_progress: Progress) -> None:
        """Ignore a progress report of the load."""

    model = Ltx2Model.load("tiny", "cpu", Path(sys.argv[1]), ignore)
    times["loaded"] = time.time()
    try:
        model.render(VideoRequest.model_validate_json(sys.argv[2]), NO_CONDITIONS, stop_at_first_step)
    except Exception as error:
        if not isinstance(error.__cause__, FirstStep):
            raise
    print(json.dumps(times))


if __name__ == "__main__":
    main()
