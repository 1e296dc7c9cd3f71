"""Caches encoded prompts: the connectors' output for each text, reused by later tasks with the same text.

The cached output is what the transformer reads, 4 to 8 MB per text with LTX-2, instead of the text encoder's 385 MB. It
is kept in host memory and uses no GPU memory. A prompt and its negative prompt are cached separately, because many
prompts share one negative prompt.

A new text goes through diffusers' own calls, and its output is stored. For a cached text, the pipeline gets placeholder
embeddings, and the connectors' output is filled in from the cache.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.memory.replaced_forward import ReplacedForward
from models.request.adjustments import Adjustment, truncation
from models.request.request import VideoRequest

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Key:
    """What a text's encoding depends on, for one loaded model: the text, its row and the batch size.

    Kernels may round a single row differently from the same row in a batch of two.
    """

    text: str
    row: int
    rows: int


def keys_of(request: VideoRequest) -> tuple[Key, ...]:
    """The keys of the texts that a request's render encodes, in the order of their rows: the negative prompt first."""
    texts = (request.negative_prompt, request.prompt) if request.uses_cfg else (request.prompt,)
    return tuple(Key(text, row, len(texts)) for row, text in enumerate(texts))


@dataclass(frozen=True)
class EncodedPrompt:
    """An encoded text in host memory: video embeddings, audio embeddings and their mask, one row each.

    `shape` and `dtype` are those of the text encoder's embeddings; the pipeline uses this dtype for all its inputs.
    `device` is the device that needs the outputs.
    """

    outputs: tuple["torch.Tensor", ...]
    shape: tuple[int, ...]
    dtype: "torch.dtype"
    device: "torch.device"

    @property
    def size_bytes(self) -> int:
        """Size of the outputs."""
        return sum(output.nbytes for output in self.outputs)


class PromptCache:
    """Replaces the connectors' `forward` of one pipeline. Evicts the least recently used texts above `max_bytes`.

    A text that alone is larger than `max_bytes` is not cached and evicts nothing.
    """

    def __init__(self, connectors: Any, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._texts: OrderedDict[Key, EncodedPrompt] = OrderedDict()
        self._keys: tuple[Key, ...] = ()
        self._known: Mapping[Key, EncodedPrompt] = {}
        self._encode = ReplacedForward(connectors, self._forward)

    @contextlib.contextmanager
    def inputs_for(self, request: VideoRequest, after: VideoRequest | None = None) -> Iterator[dict[str, Any]]:
        """The pipeline's text arguments for `request`. The pipeline must run in this context.

        `after` is the first of two stages. The second one uses its prompt as it was encoded there, beside another text.
        """
        self._keys = keys_of(request)
        if after is not None and (prompt := keys_of(after)[-1]) in self._texts:
            self._keys = (prompt,)
        self._known = {key: self._texts[key] for key in self._keys if key in self._texts}
        for key in self._known:
            self._texts.move_to_end(key)
        try:
            yield self._told(request)
        finally:
            self._keys, self._known = (), {}

    @property
    def size_bytes(self) -> int:
        """Size of all cached texts, in host memory."""
        return sum(text.size_bytes for text in self._texts.values())

    def _told(self, request: VideoRequest) -> dict[str, Any]:
        """The text arguments: new texts as strings, cached ones as placeholders.

        If all texts are cached, the placeholders have one token each; they only show the number of texts.
        """
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
        """Combine the rows encoded now with the cached rows of the other texts."""
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
        # the negative prompt is stored last, so it is evicted last: more tasks share it
        for key in reversed(self._keys):
            if key in self._known:
                continue
            rows = [output[key.row : key.row + 1].detach() for output in outputs]
            if sum(row.nbytes for row in rows) <= self._max_bytes:
                kept = tuple(row.to("cpu", copy=True) for row in rows)
                self._texts[key] = EncodedPrompt(kept, tuple(embeddings.shape[1:]), embeddings.dtype, embeddings.device)
        while self.size_bytes > self._max_bytes:
            self._texts.popitem(last=False)


def _placeholder(name: str, text: EncodedPrompt, *, short: bool) -> dict[str, Any]:
    """Placeholder embeddings. Their values are not used; they tell the pipeline that there is a text, and its dtype.

    Beside a text that is encoded, they have the length of their own text. Their encoding is discarded.
    """
    import torch

    shape = (1, 1, 1) if short else (1, *text.shape)
    return {
        f"{name}_embeds": torch.zeros(1, 1, 1, dtype=text.dtype, device=text.device).expand(shape),
        f"{name}_attention_mask": torch.ones(1, shape[1], dtype=torch.int64, device=text.device),
    }


MAX_TOKENS = 1024
"""LTX2Pipeline's default maximum, and the length in LTX-2's training."""
OWN_TOKENS = 2
"""Tokens that a tokenizer may add around a text."""


def find_truncations(request: VideoRequest, tokenizer: Any) -> Iterator[Adjustment]:
    """The texts given in `request` that are longer than the model reads. `request` must be adjusted already."""
    read = {"prompt": request.prompt}
    if request.uses_cfg:
        read["negative_prompt"] = request.negative_prompt
    for field, text in read.items():
        if field in request.model_fields_set and (tokens := count_tokens(text, tokenizer)) > MAX_TOKENS:
            yield truncation(field, tokens, MAX_TOKENS)


def count_tokens(text: str, tokenizer: Any) -> int:
    """Count the tokens of a text, or return an upper bound that does not exceed MAX_TOKENS.

    The bound is the number of bytes: no token is shorter than a byte.
    """
    most = len(text.encode()) + OWN_TOKENS
    return most if most <= MAX_TOKENS else len(tokenizer(text.strip(), verbose=False).input_ids)
