"""Texts that were encoded before: what the connectors made of a prompt, kept for the next task with the same words.

It is what the transformer reads, 8 to 17 MB a prompt with LTX-2, and not the text encoder's 385 MB. A text that is new
goes through diffusers' own calls, and is kept as it passes; for one that is known the pipeline gets placeholders in
place of the words, and the connectors answer from memory. Kept in host memory, so that it takes none of the GPU.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.request import VideoRequest

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Key:
    """What a text's encoding depends on, for one loaded model. `negative` is None where it is not read."""

    prompt: str
    negative: str | None

    @classmethod
    def of(cls, request: VideoRequest) -> "Key":
        """The key of a request's text."""
        return cls(request.prompt, request.negative_prompt if request.reads_negative_prompt else None)


@dataclass(frozen=True)
class Text:
    """An encoded text, in host memory: embeddings for picture and sound and their mask, with a row for each prompt.

    `dtype` is that of the text encoder, which the pipeline takes for all its inputs; `device` is where it is wanted.
    """

    outputs: tuple["torch.Tensor", ...]
    dtype: "torch.dtype"
    device: "torch.device"

    @property
    def size_bytes(self) -> int:
        """What it occupies."""
        return sum(output.nbytes for output in self.outputs)


class PromptCache:
    """Stands in the way of one pipeline's connectors. The least recently used texts go when `max_bytes` are kept.

    A text that is larger than that alone is not kept, and takes no other's place.
    """

    def __init__(self, connectors: Any, max_bytes: int) -> None:
        self._encode = connectors.forward
        self._max_bytes = max_bytes
        self._texts: OrderedDict[Key, Text] = OrderedDict()
        self._key: Key | None = None
        connectors.forward = self._forward

    @contextlib.contextmanager
    def text_of(self, request: VideoRequest) -> Iterator[dict[str, Any]]:
        """What the pipeline is to be told of a request's text, while it runs in this context."""
        self._key = Key.of(request)
        known = self._texts.get(self._key)
        try:
            if known is None:
                yield {"prompt": request.prompt, "negative_prompt": request.negative_prompt}
            else:
                self._texts.move_to_end(self._key)
                yield _placeholders(known)
        finally:
            self._key = None

    @property
    def size_bytes(self) -> int:
        """What all kept texts occupy, in host memory."""
        return sum(text.size_bytes for text in self._texts.values())

    def _forward(self, embeddings: "torch.Tensor", *args: Any, **options: Any) -> tuple["torch.Tensor", ...]:
        known = self._texts.get(self._key) if self._key else None
        if known is not None:
            return tuple(output.to(known.device) for output in known.outputs)
        outputs: tuple[torch.Tensor, ...] = self._encode(embeddings, *args, **options)
        if self._key is not None and sum(output.nbytes for output in outputs) <= self._max_bytes:
            kept = tuple(output.detach().cpu() for output in outputs)
            self._keep(self._key, Text(kept, embeddings.dtype, embeddings.device))
        return outputs

    def _keep(self, key: Key, text: Text) -> None:
        self._texts[key] = text
        while self.size_bytes > self._max_bytes:
            self._texts.popitem(last=False)


def _placeholders(text: Text) -> dict[str, Any]:
    """Embeddings that nobody reads: they tell the pipeline how many prompts there are, and of which dtype."""
    import torch

    embeddings = torch.zeros(1, 1, 1, dtype=text.dtype, device=text.device)
    mask = torch.ones(1, 1, dtype=torch.int64, device=text.device)
    return {
        "prompt_embeds": embeddings,
        "prompt_attention_mask": mask,
        "negative_prompt_embeds": embeddings,
        "negative_prompt_attention_mask": mask,
    }
