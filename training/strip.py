"""Draws a picture of what the demo model makes: one row of frames for each of four prompts, under the prompt.

    python -m training.strip PICTURE [--model demo] [--steps 20]

The videos are rendered as the server does. The picture has no label; its format is that of the file's ending.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.conditions import NO_CONDITIONS
from models.ltx2.model import Ltx2Model
from models.names import DEMO
from training.evaluate import ignore, open_model, request_for
from training.world import Size

PROMPTS = (
    "a red circle moves left on a blue background, a low tone",
    "a yellow triangle moves up on a black background, a rising tone",
    "a white square grows on a green background, beeps",
    "a purple circle shrinks on a white background, a high tone",
)
SIZE = Size(256, 384, 25)
SHOWN = (0, 8, 16, 24)
"""The frames of a row."""
SCALE = 2
"""Frames are shown at half their size."""
GAP_PX, CAPTION_PX = 6, 16
SEED = 5


def main() -> None:
    """Render the prompts and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--model", default=DEMO, help="a checkpoint's folder, or demo")
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        model = open_model(options.model, Path(cache))
        rows = [_row(model, prompt, options.steps) for prompt in PROMPTS]
        model.close()
    _stack(rows).save(options.picture, quality=90)


def _row(model: Ltx2Model, prompt: str, steps: int) -> Image.Image:
    """The prompt, and below it some frames of its video."""
    clip = model.render(request_for(prompt, SIZE, num_inference_steps=steps, seed=SEED), NO_CONDITIONS, ignore)
    width, height = SIZE.width // SCALE, SIZE.height // SCALE
    top = CAPTION_PX + 2 * GAP_PX
    row = Image.new("RGB", (len(SHOWN) * (width + GAP_PX) - GAP_PX, top + height), "white")
    ImageDraw.Draw(row).text((0, GAP_PX), prompt, "black", ImageFont.load_default(CAPTION_PX))
    for place, number in enumerate(SHOWN):
        frame = Image.fromarray(np.asarray(clip.frames[number])).resize((width, height), Image.Resampling.LANCZOS)
        row.paste(frame, (place * (width + GAP_PX), top))
    return row


def _stack(rows: Sequence[Image.Image]) -> Image.Image:
    picture = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        picture.paste(row, (0, top))
        top += row.height
    return picture


if __name__ == "__main__":
    main()
