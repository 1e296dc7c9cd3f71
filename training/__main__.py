"""Trains the demo model from nothing, or goes on with a run that was cut.

    python -m training FOLDER [--seed 0] [--device cpu] [--threads 2] [--resume-from CHECKPOINT]

The run keeps its state in FOLDER, saves it every two minutes and goes on from it when it is called again. With the same
seed, device and numbers of steps it makes the same model. At the end it writes the checkpoint to FOLDER/checkpoint.
"""

import argparse
from pathlib import Path

import torch

from training.run import AUDIO_VAE_STEPS, TRANSFORMER_STEPS, VIDEO_VAE_STEPS, Steps, train
from training.stage import LEARNING_RATE, Plan


def main() -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume-from", type=Path, help="a checkpoint whose weights a new run begins with")
    parser.add_argument("--video-vae-steps", type=int, default=VIDEO_VAE_STEPS)
    parser.add_argument("--audio-vae-steps", type=int, default=AUDIO_VAE_STEPS)
    parser.add_argument("--transformer-steps", type=int, default=TRANSFORMER_STEPS)
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE, help="the highest one of the transformer")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    steps = Steps(options.video_vae_steps, options.audio_vae_steps, options.transformer_steps)
    plan = Plan(options.folder, options.seed, options.device, learning_rate=options.learning_rate)
    train(plan, steps, options.resume_from)


if __name__ == "__main__":
    main()
