"""Texts that were encoded before: what the connectors made of each, kept for the next task with the same words.

It is what the transformer reads, 4 to 8 MB a text with LTX-2, and not the text encoder's 385 MB. A prompt and its
negative prompt are kept each by itself, as many prompts share one negative prompt. A text that is new goes through
diffusers' own calls, and is kept as it passes; for one that is known the pipeline gets placeholders in place of the
words, and the connectors' answer is put in its row from memory. Kept in host memory, so that it takes none of the GPU.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.request.request import VideoRequest

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Key:
    """What a text's encoding depends on, for one loaded model: its words, and its row of how many in the batch.

    Kernels may round one row alone otherwise than the same row of two.
    """

    text: str
    row: int
    rows: int


def keys_of(request: VideoRequest) -> tuple[Key, ...]:
    """The texts that a request has the model read, in the order of their rows: the negative one first."""
    texts = (request.negative_prompt, request.prompt) if request.uses_cfg else (request.prompt,)
    return tuple(Key(text, row, len(texts)) for row, text in enumerate(texts))


@dataclass(frozen=True)
class EncodedPrompt:
    """An encoded text, in host memory: embeddings for picture and sound and their mask, a row of each.

    `shape` is that of the text encoder's embeddings, and `dtype` theirs, which the pipeline takes for all its inputs;
    `device` is where they are wanted.
    """

    outputs: tuple["torch.Tensor", ...]
    shape: tuple[int, ...]
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
        self._texts: OrderedDict[Key, EncodedPrompt] = OrderedDict()
        self._keys: tuple[Key, ...] = ()
        self._known: Mapping[Key, EncodedPrompt] = {}
        connectors.forward = self._forward

    @contextlib.contextmanager
    def inputs_for(self, request: VideoRequest) -> Iterator[dict[str, Any]]:
        """What the pipeline is to be told of a request's text, while it runs in this context."""
        self._keys = keys_of(request)
        self._known = {key: self._texts[key] for key in self._keys if key in self._texts}
        for key in self._known:
            self._texts.move_to_end(key)
        try:
            yield self._told(request)
        finally:
            self._keys, self._known = (), {}

    @property
    def size_bytes(self) -> int:
        """What all kept texts occupy, in host memory."""
        return sum(text.size_bytes for text in self._texts.values())

    def _told(self, request: VideoRequest) -> dict[str, Any]:
        """The words of what is new. Where all is known, placeholders of one token tell how many texts there are."""
        *guiding, prompt = self._keys
        short = len(self._known) == len(self._keys)
        told: dict[str, Any] = {"prompt": request.prompt}
        if prompt in self._known:
            told = _placeholder("prompt", self._known[prompt], short=short)
        for negative in guiding:
            if negative in self._known:
                return told | _placeholder("negative_prompt", self._known[negative], short=short)
            return told | {"negative_prompt": request.negative_prompt}
        return told

    def _forward(self, embeddings: "torch.Tensor", *args: Any, **options: Any) -> tuple["torch.Tensor", ...]:
        if self._keys and len(self._known) == len(self._keys):
            return self._put_in(None)
        outputs: tuple[torch.Tensor, ...] = self._encode(embeddings, *args, **options)
        if len(embeddings) == len(self._keys):
            self._keep_new(outputs, embeddings)
            outputs = self._put_in(outputs)
        return outputs

    def _put_in(self, outputs: "tuple[torch.Tensor, ...] | None") -> tuple["torch.Tensor", ...]:
        """The rows that were encoded now, with what is known in the place of those that were not."""
        import torch

        if outputs is not None and not self._known:
            return outputs
        rows = [
            tuple(output.to(self._known[key].device) for output in self._known[key].outputs)
            if key in self._known
            else tuple(output[key.row : key.row + 1] for output in outputs or ())
            for key in self._keys
        ]
        return tuple(torch.cat(parts) for parts in zip(*rows, strict=True))

    def _keep_new(self, outputs: "tuple[torch.Tensor, ...]", embeddings: "torch.Tensor") -> None:
        for key in reversed(self._keys):  # the negative prompt is used last: more tasks have it
            if key in self._known:
                continue
            rows = [output[key.row : key.row + 1].detach() for output in outputs]
            if sum(row.nbytes for row in rows) <= self._max_bytes:
                kept = tuple(row.to("cpu", copy=True) for row in rows)
                self._texts[key] = EncodedPrompt(kept, tuple(embeddings.shape[1:]), embeddings.dtype, embeddings.device)
        while self.size_bytes > self._max_bytes:
            self._texts.popitem(last=False)


def _placeholder(name: str, text: EncodedPrompt, *, short: bool) -> dict[str, Any]:
    """Embeddings that nobody reads: they tell the pipeline that there is a text, and of which dtype.

    Beside a text that is encoded they are as long as its own. What is made of them is thrown away.
    """
    import torch

    shape = (1, 1, 1) if short else (1, *text.shape)
    return {
        f"{name}_embeds": torch.zeros(1, 1, 1, dtype=text.dtype, device=text.device).expand(shape),
        f"{name}_attention_mask": torch.ones(1, shape[1], dtype=torch.int64, device=text.device),
    }
