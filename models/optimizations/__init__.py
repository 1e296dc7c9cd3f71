"""Ways to make a loaded transformer do less work for the same result, each behind a seam of its own.

| name | what it leaves out | equal to diffusers |
|---|---|---|
| `stg_prefix_reuse` | the blocks before the STG block in the STG pass: they repeat the conditional pass | to rounding |
| `drop_noop_mask` | a text mask that masks nothing | to the bit |
| `text_kv_cache` | keys and values of the text, which never change from step to step (LTX-2 19B) | to the bit |
| `dedup_timesteps` | 6,144 rows of timestep tables in image-to-video, of which two differ | to rounding |
| `cudnn` | nothing: another kernel for the picture's self-attention | to rounding |
| `compile` | nothing: torch.compile fuses the elementwise work of a block; minutes at the first size | to rounding |

No module here copies diffusers: each passes diffusers' own modules other inputs, or does not call them. None knows Ray
or HTTP.
"""
