"""Private names of other packages that the code uses, and calls of theirs that it replaces: all of them, in one table.

A new version of a package may take any of these away. tests/test_private_apis.py then fails with the row's reason, and
finds private names in the code that have no row.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PrivateApi:
    """One private name, or one replaced call."""

    symbol: str
    """Where it is, as `package.module:attribute.attribute`."""
    used_by: str
    """The file that uses it."""
    reason: str
    """Why no public name does."""
    remove_when: str
    """What the package has to offer for this row to go."""
    only_with_cuda: bool = False
    """Whether only CUDA builds of torch have it."""


PRIVATE_APIS = (
    # diffusers
    PrivateApi(
        "diffusers:LTX2Pipeline._denormalize_latents",
        "models/ltx2/denoise.py",
        "The pipeline denormalizes in the VAE's type where it decodes, and in float32 where it returns latents.",
        "both ways round alike",
    ),
    PrivateApi(
        "diffusers:LTX2Pipeline._denormalize_latents",
        "models/ltx2/preview.py",
        "A preview denormalizes latents as the pipeline does at its end.",
        "a public name does it",
    ),
    PrivateApi(
        "diffusers:LTX2Pipeline.convert_x0_to_velocity",
        "models/ltx2/preview.py",
        "The pipeline hands the clean latents of a step to nothing else. Replaced while previews are made.",
        "the callback after a step gets the clean latents",
    ),
    PrivateApi(
        "diffusers:LTX2ConditionPipeline.prepare_latents",
        "models/ltx2/conditioned.py",
        "The pipeline places an image at every eighth frame only, and draws other noise than text-to-video.",
        "a condition names its frame, and the noise of a seed is that of the other pipelines",
    ),
    PrivateApi(
        "diffusers:LTX2ConditionPipeline.prepare_audio_latents",
        "models/ltx2/conditioned.py",
        "The pipeline draws other noise for the audio than text-to-video.",
        "the noise of a seed is that of the other pipelines",
    ),
    PrivateApi(
        "diffusers:LTX2ConditionPipeline._prepare_keyframe_coords",
        "models/ltx2/conditioned.py",
        "The coordinates of an image's tokens, for the method above that is replaced.",
        "the row above goes",
    ),
    PrivateApi(
        "diffusers:LTX2ConditionPipeline._pack_latents",
        "models/ltx2/conditioned.py",
        "The order of tokens, for the method above that is replaced.",
        "the row above goes",
    ),
    PrivateApi(
        "diffusers:LTX2ConditionPipeline._pack_audio_latents",
        "models/ltx2/conditioned.py",
        "The order of tokens, for the method above that is replaced.",
        "the row above goes",
    ),
    PrivateApi(
        "diffusers:LTX2ConditionPipeline._normalize_latents",
        "models/ltx2/conditioned.py",
        "The statistics of the latents, for the method above that is replaced.",
        "the row above goes",
    ),
    PrivateApi(
        "diffusers:LTX2ConditionPipeline._normalize_audio_latents",
        "models/ltx2/conditioned.py",
        "The statistics of the audio's latents, for the method above that is replaced.",
        "the row above goes",
    ),
    PrivateApi(
        "diffusers:LTX2Pipeline._get_gemma_prompt_embeds",
        "models/ltx2/text_encoding.py",
        "The pipeline encodes the prompt and the negative prompt in two calls; a streamed encoder then passes twice.",
        "encode_prompt encodes both in one call",
    ),
    PrivateApi(
        "diffusers.hooks:HookRegistry.get_hook",
        "models/memory/offload.py",
        "Group offloading moves what belongs to no block to the GPU and back at each call, without overlap.",
        "apply_group_offloading can leave these modules on the GPU",
    ),
    PrivateApi(
        "diffusers.models.attention_dispatch:AttentionBackendName._NATIVE_CUDNN",
        "models/optimizations/compiled.py",
        "diffusers has no public name for the cuDNN kernel of torch.",
        "the backend's name has no underscore, or cuDNN is chosen by default",
    ),
    PrivateApi(
        "diffusers:LTX2VideoTransformer3DModel.forward",
        "models/optimizations/fast/guidance_interval.py",
        "Guidance is on or off for a whole run of the pipeline, not for a part of its steps.",
        "the pipeline takes an interval of steps for its guidance",
    ),
    PrivateApi(
        "diffusers.pipelines.ltx2:LTX2TextConnectors.forward",
        "models/ltx2/prompt_cache.py",
        "The connectors compute the same output at each task with the same prompt.",
        "the pipeline takes the output of the connectors as an input",
    ),
    # torch
    PrivateApi(
        "torch:_C._host_emptyCache",
        "models/memory/gpu.py",
        "Pinned memory that torch has cached is not given back to the host otherwise.",
        "torch.accelerator has empty_host_cache (not in 2.11)",
        only_with_cuda=True,
    ),
    PrivateApi(
        "torch:Tensor._version",
        "models/optimizations/fast/fp8.py",
        "Tells that a tensor was written to since it was quantized.",
        "torch has a public counter of in-place writes",
    ),
    PrivateApi(
        "torch._dynamo:config.recompile_limit",
        "models/optimizations/compiled.py",
        "A compiled block has more variants than torch keeps by default.",
        "torch.compile takes the limit as an argument",
    ),
    # huggingface_hub
    PrivateApi(
        "huggingface_hub.utils._xet:abort_xet_session",
        "models/hub/download.py",
        "A download through Xet cannot be interrupted by an exception in its progress bar.",
        "snapshot_download can be canceled",
    ),
    PrivateApi(
        "huggingface_hub.utils._fixes:WeakFileLock",
        "models/hub/download.py",
        "Says whether another process is downloading a file at the moment.",
        "the client removes partial files that nobody writes",
    ),
    # Ray
    PrivateApi(
        "ray.serve.handle:DeploymentResponse._to_object_ref",
        "deployments/dispatcher/deployment.py",
        "A response that is passed on keeps the clip in shared memory after its task has ended (Ray 2.60).",
        "a passed response lets its object go, or the method loses its underscore",
    ),
    PrivateApi(
        "ray.util.metrics:Counter._record",
        "deployments/observability/metrics/ray_recorder.py",
        "inc() refuses 0, so that a series would appear with its first event, and no rise would be seen.",
        "inc(0) is allowed",
    ),
    PrivateApi(
        "ray.serve.context:_get_global_client",
        "deployments/observability/logging_setup.py",
        "serve run does not hand logging_config to Serve's controller and proxies.",
        "serve run does, or there is a public call",
    ),
    PrivateApi(
        "ray.serve._private.client:ServeControllerClient.update_global_logging_config",
        "deployments/observability/logging_setup.py",
        "The object that the private name above returns is private, too.",
        "the row above goes",
    ),
    # others
    PrivateApi(
        "sqlalchemy:Row._mapping",
        "storage/sql/outbox.py",
        "Public in SQLAlchemy's documentation; the underscore only keeps it apart from columns.",
        "never",
    ),
    PrivateApi(
        "psycopg:Connection.wait",
        "storage/db/postgres.py",
        "A statement to a server that hangs has no time-out on the client's side.",
        "psycopg takes a time-out for each statement",
    ),
)
