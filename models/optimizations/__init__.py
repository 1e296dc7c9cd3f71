"""Optimizations that make a loaded transformer do less work for the same result. Each is independent of the others.

| name | what it skips | equal to diffusers |
|---|---|---|
| `stg_prefix_reuse` | the blocks before the STG block in the STG pass: equal to the conditional pass | up to rounding |
| `first_attention_reuse` | block 0's self-attention of the video in all guidance passes but one | up to rounding |
| `skip_closed_gates` | attention between video and audio whose gates are zero, and the modality pass | up to rounding |
| `dedup_registers` | attention to equal registers in a text's padding (connectors without layers) | up to rounding |
| `drop_noop_mask` | a text mask that masks nothing | bit for bit |
| `text_kv_cache` | keys and values of the text, which do not change between steps (LTX-2 19B) | bit for bit |
| `dedup_timesteps` | 6,144 rows of timestep tables in image-to-video, of which two differ | up to rounding |
| `cudnn` | nothing: another kernel for the video's self-attention | up to rounding |
| `compile` | nothing: fuses a block's elementwise operations; takes minutes at a first size | up to rounding |

No module here copies code of diffusers: each changes the inputs of diffusers' modules, or does not call them. None
imports Ray or an HTTP framework.
"""
