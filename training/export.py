"""Writes the checkpoint of a run, finished or not, from its last save.

    python -m training.export FOLDER CHECKPOINT [--seed 0]

Beside the checkpoint's own files it writes `training.json`: the steps of each stage and the PSNR of the video VAE.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from training.checkpoint import export_checkpoint
from training.evaluate import held_out_scenes, measure_psnr
from training.run import create_parts, prepare, restore_parts
from training.stage import Plan
from training.world import Size

PSNR_CLIPS = 16
PSNR_SIZE = Size(256, 384, 25)
RECORD = "training.json"


def export(plan: Plan, target: Path) -> dict[str, Any]:
    """Write the checkpoint of the run in `plan.folder` to `target`. Returns what `training.json` says."""
    parts = create_parts(plan, None)
    restore_parts(parts, plan)
    prepare(parts, plan)
    export_checkpoint(target, {name: part.average for name, part in parts.items()})
    psnr_db = measure_psnr(parts["video_vae"].average, held_out_scenes(PSNR_CLIPS), PSNR_SIZE)
    record = {"steps": {name: part.step for name, part in parts.items()}, "psnr_db": psnr_db, "psnr_clips": PSNR_CLIPS}
    (target / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    return record


def main() -> None:
    """Export a run and print its record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="the seed of the run")
    options = parser.parse_args()
    print(json.dumps(export(Plan(options.folder, options.seed, "cpu"), options.checkpoint)))  # noqa: T201


if __name__ == "__main__":
    main()
