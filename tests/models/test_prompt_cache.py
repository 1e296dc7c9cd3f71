"""Promise: a task's text is encoded once, and the cache returns the same encoding."""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from models.conditions import first_frame
from models.errors import TaskCanceled
from models.ltx2.denoise import Latents
from models.ltx2.model import Ltx2Model
from models.ltx2.options import LoadOptions
from models.ltx2.prompt_cache import PromptCache, keys_of
from tests.models.conftest import ignore, small
from tests.models.families import FAMILIES
from tests.models.optimizations.conftest import distance
from tests.models.test_ltx2 import make_image

UNGUIDED = {"cfg_scale_video": 1.0, "cfg_scale_audio": 1.0}


def load(folder: Path, cache_dir: Path, **options: Any) -> Ltx2Model:
    return Ltx2Model.load(str(folder), "cpu", cache_dir, ignore, LoadOptions(**options))


@contextmanager
def encodings(model: Ltx2Model) -> Iterator[list[str]]:
    """The modules that encode text, one entry per call."""
    read: list[str] = []
    pipe = model._text_to_video
    plain = pipe.text_encoder.forward

    def count(*args: Any, **options: Any) -> Any:
        read.append("text encoder")
        return plain(*args, **options)

    pipe.text_encoder.forward = count
    handle = pipe.connectors.video_connector.register_forward_pre_hook(lambda *_: read.append("connector"))
    try:
        yield read
    finally:
        del pipe.text_encoder.forward
        handle.remove()


def latents(model: Ltx2Model, image: Any = None, **fields: object) -> Latents:
    return model._denoise(small(**fields), first_frame(image), ignore)


def test_a_prompt_with_another_seed_is_not_encoded_again(tiny_folder: Path, cache_dir: Path) -> None:
    model = load(tiny_folder, cache_dir)
    with encodings(model) as read:
        latents(model, seed=1)
        assert read == ["text encoder", "text encoder", "connector"]
        latents(model, seed=2)
        latents(model, make_image(), seed=2)
    assert read == ["text encoder", "text encoder", "connector"]


@pytest.mark.parametrize("image", [None, make_image()], ids=["text", "image"])
@pytest.mark.parametrize("scales", [{}, UNGUIDED], ids=["guided", "plain"])
def test_a_remembered_prompt_gives_the_same_to_the_bit(
    tiny_folder: Path, cache_dir: Path, image: Any, scales: dict[str, object]
) -> None:
    model = load(tiny_folder, cache_dir)
    reference = latents(model, image, **scales)
    with encodings(model) as read:
        assert distance(latents(model, image, **scales), reference) == 0
    assert read == []


@pytest.mark.parametrize("family", ["2.3", "2.5"])
def test_later_families_remember_too(family: str, tmp_path: Path) -> None:
    model = load(FAMILIES[family].build(tmp_path / "model"), tmp_path)
    reference = latents(model)
    with encodings(model) as read:
        assert distance(latents(model), reference) == 0
    assert read == []


def test_other_words_are_encoded(tiny_folder: Path, cache_dir: Path) -> None:
    model = load(tiny_folder, cache_dir)
    latents(model)
    for words in ({"prompt": "a dog"}, {"negative_prompt": "rain"}, UNGUIDED):
        with encodings(model) as read:
            latents(model, **words)
        assert read


def test_what_was_remembered_does_not_stay_for_other_words(tiny_folder: Path, cache_dir: Path) -> None:
    model = load(tiny_folder, cache_dir)
    cat, dog = latents(model), latents(model, prompt="a dog")
    assert distance(cat, dog) > 0
    assert distance(latents(model), cat) == 0
    assert distance(latents(model, prompt="a dog"), dog) == 0


def test_nothing_is_remembered_where_nothing_may_be(tiny_folder: Path, cache_dir: Path) -> None:
    model = load(tiny_folder, cache_dir, prompt_cache_bytes=0)
    reference = latents(model)
    with encodings(model) as read:
        assert distance(latents(model), reference) == 0
    assert len(read) == 3
    assert model.prompt_cache.size_bytes == 0


def test_the_negative_prompt_counts_only_where_it_is_read() -> None:
    assert keys_of(small(negative_prompt="rain")) != keys_of(small(negative_prompt="snow"))
    assert keys_of(small(negative_prompt="rain", **UNGUIDED)) == keys_of(small(negative_prompt="snow", **UNGUIDED))
    assert len(keys_of(small(**UNGUIDED | {"cfg_scale_audio": 2.0}))) == 2


@pytest.mark.parametrize("family", ["tiny", "2.3", "2.5"])
@pytest.mark.parametrize("new", [{"prompt": "a dog"}, {"negative_prompt": "rain"}], ids=["prompt", "negative"])
def test_of_two_texts_the_one_that_is_new_is_encoded_and_the_result_is_the_same(
    tiny_folder: Path, tmp_path: Path, family: str, new: dict[str, object]
) -> None:
    """Most prompts come with the same negative prompt, which is encoded once."""
    folder = tiny_folder if family == "tiny" else FAMILIES[family].build(tmp_path / "model")
    fresh, model = load(folder, tmp_path), load(folder, tmp_path)
    reference = latents(fresh, **new)
    latents(model)
    with encodings(model) as read:
        assert distance(latents(model, **new), reference) == 0
    assert read == ["text encoder", "connector"]
    with encodings(model) as read:
        assert distance(latents(model, make_image(), **new), latents(fresh, make_image(), **new)) == 0
        assert distance(latents(model, **new), reference) == 0
    assert read == []


class Connectors:
    """Returns half a kilobyte for each text."""

    def forward(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (torch.zeros(len(embeddings), 128) + embeddings.sum(),)


def test_the_least_recently_used_goes_first() -> None:
    connectors: Any = Connectors()
    cache = PromptCache(connectors, 3 * 512)

    def ask(prompt: str) -> bool:
        """Whether the prompt was cached. The negative prompt is always the same."""
        with cache.inputs_for(small(prompt=prompt)) as text:
            connectors.forward(torch.ones(2, 1, 1))
            return "prompt" not in text

    assert [ask(word) for word in ("one", "two", "one", "three")] == [False, False, True, False]
    assert cache.size_bytes == 3 * 512
    with cache.inputs_for(small(prompt="four")) as text:
        assert "negative_prompt" not in text
    assert ask("one")
    assert not ask("two")


def test_a_text_that_is_larger_than_all_that_may_be_kept_takes_no_others_place() -> None:
    class Growing:
        """Returns one float per letter of a prompt."""

        def forward(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (torch.zeros(1, int(embeddings[0])),)

    connectors: Any = Growing()
    cache = PromptCache(connectors, 1024)
    for letters in (100, 300):
        with cache.inputs_for(small(prompt="x" * letters, **UNGUIDED)):
            connectors.forward(torch.full((1, 1, 1), letters))
    assert cache.size_bytes == 400
    with cache.inputs_for(small(prompt="x" * 100, **UNGUIDED)) as text:
        assert "prompt_embeds" in text


@pytest.mark.parametrize("place", ["text_encoder", "connectors"])
def test_a_text_whose_encoding_fails_or_is_left_is_not_remembered(
    tiny_folder: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    model = load(tiny_folder, cache_dir)

    def fail(*_: object, **__: object) -> None:
        raise TaskCanceled("left")

    inner = model.prompt_cache if place == "connectors" else model._text_to_video.text_encoder
    with monkeypatch.context() as patched:
        patched.setattr(inner, "_encode" if place == "connectors" else "forward", fail)
        with pytest.raises(TaskCanceled):
            latents(model)
    assert model.prompt_cache.size_bytes == 0
    with encodings(model) as read:
        latents(model)
    assert len(read) == 3


def test_a_text_in_another_normal_form_is_another_text() -> None:
    """The tokenizer gets its code points, and so does the cache key."""
    composed = "caf\u00e9"
    assert keys_of(small(prompt=composed)) != keys_of(small(prompt=unicodedata.normalize("NFD", composed)))


def test_connectors_that_are_called_for_no_request_work_as_they_did() -> None:
    connectors: Any = Connectors()
    cache = PromptCache(connectors, 2048)
    assert float(connectors.forward(torch.ones(3))[0][0, 0]) == 3.0
    assert cache.size_bytes == 0
