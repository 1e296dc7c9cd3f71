"""Fixes where diffusers 0.42.1 computes something other than Lightricks' own pipelines, and Lightricks is right.

Each fix hooks into diffusers at one place and copies no code of it. All are on by default. Without them
(`LoadOptions.fixes`, for tests) a render equals that of diffusers bit for bit.

L is Lightricks/LTX-2 at 400fd31; `core` is its ltx_core, `pipelines` its ltx_pipelines.

| fix | what diffusers 0.42.1 does | what the reference does | applies to | can be removed when diffusers |
|---|---|---|---|---|
| `schedule` | shifts the noise levels by the number of tokens, without bound | one shift, 2.05, for every size (L core/components/schedulers.py:29, called without a latent by pipelines/ti2vid_one_stage.py) | base checkpoints | lets a pipeline set the shift |
| `vocoder` | runs vocoder and bandwidth extension in the dtype they are loaded in; a load in bfloat16 also *computes* the resampling filter in it | float32 (L core/model/audio_vae/vocoder.py:575-600) | 48 kHz (LTX-2.3 and later) | builds and runs it in float32 |
| `cross_timesteps` | takes scale, shift and gate of the audio-video cross-attention from one timestep | scale and shift from a modality's own timesteps, the gate from the other's sigma (L core/model/transformer/transformer_args.py:382-413) | all; has an effect where tokens have timesteps of their own | has a third mode beside `use_cross_timestep` |
| `keyframes` | leaves `video_keyframes_mask` out | marks the first latent frame in every call (L core/tools.py:184-198) | transformers with the embedding (LTX-2.5) | passes the mask in its text and image pipelines |
| `leading_bos` | uses the tokenizer's output unchanged | a prompt begins with BOS (L core/text_encoders/gemma/tokenizer.py:11,45) | tokenizers that leave it out | adds it |
| `ancestral` | deterministic Euler steps | ancestral Euler, eta 1, noise from its own generator (L pipelines/distilled.py:53-66, core/components/diffusion_steps.py:50) | LTX-2.5 distilled | passes a generator to its scheduler's steps |
"""  # noqa: E501  # a table

from models.fixes.fix import ALL, NONE, Fix

__all__ = ["ALL", "NONE", "Fix"]
