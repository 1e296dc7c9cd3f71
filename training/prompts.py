"""Writes prompts for scenes in several wordings, and the tokenizer that knows their words."""

import random
import string
from collections.abc import Mapping, Sequence
from typing import Any

from models.checkpoint.tiny import SPECIAL_TOKENS, TOKEN_ROLES
from models.request.negative_prompt import DEFAULT_NEGATIVE_PROMPT, TERMS
from training.architecture import TEXT_TOKENS
from training.world import COLORS, Motion, Scene, Shape, Tone

OMITTED = 0.06
"""Share of prompts that do not mention an attribute, for each attribute."""
WITH_UNKNOWN_WORDS = 0.15
"""Share of prompts with words that mean nothing to the model. They must do no harm."""
REVERSED = 0.25
"""Share of prompts that mention the background before the motion."""
BEGINNINGS = ("", "", "", "a video of ", "please draw ", "we see ", "in this scene ")
ENDS = ("", "", ".", ", simple flat style", ", high quality")
ARTICLES = ("a ", "a ", "one ", "the ", "")
THINGS = ("shape", "thing", "object")
MOTION_WORDS: Mapping[Motion, Sequence[str]] = {
    Motion.STILL: ("stays still", "is still", "does not move", "stands still"),
    Motion.LEFT: ("moves left", "moves to the left", "goes left", "slides left", "moving left"),
    Motion.RIGHT: ("moves right", "moves to the right", "goes right", "slides right", "moving right"),
    Motion.UP: ("moves up", "goes up", "rises up", "slides upwards", "moving up"),
    Motion.DOWN: ("moves down", "goes down", "sinks down", "slides downwards", "moving down"),
    Motion.GROW: ("grows", "is growing", "growing", "gets bigger"),
    Motion.SHRINK: ("shrinks", "is shrinking", "shrinking", "gets smaller"),
}
BACKGROUND_WORDS = ("on a {} background", "on a {} background", "on {}", "over a {} background", "with a {} background")
TONE_WORDS: Mapping[Tone, Sequence[str]] = {
    Tone.LOW: ("a low tone", "a low sound", "a deep tone"),
    Tone.HIGH: ("a high tone", "a high sound"),
    Tone.RISING: ("a rising tone", "a rising sound"),
    Tone.BEEPS: ("beeps", "short beeps", "beeping"),
    Tone.SILENCE: ("silence", "no sound", "silent"),
}
TONE_JOINTS = (", ", ", with ", " and ", ". ")
EMPTY, DEFAULT_NEGATIVE = 0.3, 0.4
"""Shares of empty prompts and of the server's default negative prompt among those that describe nothing. The rest are
some terms of the latter, or unknown words."""


def write_prompt(scene: Scene, rng: random.Random) -> str:
    """A prompt for `scene`. An attribute may be left out, and unknown words may stand in it."""

    def said() -> bool:
        return rng.random() >= OMITTED

    noun = " ".join([*([scene.color] if said() else []), scene.shape if said() else rng.choice(THINGS)])
    parts = [rng.choice(MOTION_WORDS[scene.motion])] if said() else []
    if said():
        parts.append(rng.choice(BACKGROUND_WORDS).format(scene.background))
    if rng.random() < REVERSED:
        parts.reverse()
    text = rng.choice(ARTICLES) + " ".join([noun, *parts])
    if said():
        text += rng.choice(TONE_JOINTS) + rng.choice(TONE_WORDS[scene.tone])
    text = rng.choice(BEGINNINGS) + text + rng.choice(ENDS)
    return _insert_unknown_words(text, rng) if rng.random() < WITH_UNKNOWN_WORDS else text


def describe(scene: Scene) -> str:
    """The plain prompt for `scene`, with every attribute."""
    motion, tone = MOTION_WORDS[scene.motion][0], TONE_WORDS[scene.tone][0]
    return f"a {scene.color} {scene.shape} {motion} on a {scene.background} background, {tone}"


def write_empty_prompt(rng: random.Random) -> str:
    """A prompt that describes nothing. Guidance compares with what the model makes of it.

    The words of a negative prompt mean nothing in it, even those that mean something in a prompt: "black", "silent".
    """
    kind = rng.random()
    if kind < EMPTY:
        return ""
    if kind < EMPTY + DEFAULT_NEGATIVE:
        return DEFAULT_NEGATIVE_PROMPT
    if rng.random() < 1 / 2:
        return ", ".join(rng.sample(TERMS, rng.randint(1, len(TERMS) // 2)))
    return " ".join(_unknown_word(rng) for _ in range(rng.randint(1, 12)))


def _insert_unknown_words(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    for _ in range(rng.randint(1, 6)):
        words.insert(rng.choice((0, len(words), rng.randint(0, len(words)))), _unknown_word(rng))
    return " ".join(words)


def _unknown_word(rng: random.Random) -> str:
    return "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(2, 9)))


def vocabulary() -> list[str]:
    """Every token: the special ones, one for each byte, and the words of all prompts and of the negative prompt."""
    texts = [*COLORS, *Shape, *THINGS, *ARTICLES, *BEGINNINGS, *ENDS, *BACKGROUND_WORDS, *TONE_JOINTS]
    texts += [text for texts in (*MOTION_WORDS.values(), *TONE_WORDS.values()) for text in texts]
    texts.append(DEFAULT_NEGATIVE_PROMPT.lower())
    splitter = _pre_tokenizer()
    words = {word for text in texts for word, _ in splitter.pre_tokenize_str(text.replace("{}", "").strip(" ,."))}
    alphabet = sorted(splitter.alphabet())
    return [*SPECIAL_TOKENS, *alphabet, *sorted(words - {*alphabet})]


def _pre_tokenizer() -> Any:
    from tokenizers import pre_tokenizers

    return pre_tokenizers.ByteLevel(add_prefix_space=True)


def build_tokenizer() -> Any:
    """A tokenizer with one token for each word of the vocabulary, and one for each byte of any other word."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens = {token: i for i, token in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.BPE(vocab=tokens, merges=[], ignore_merges=True))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokens["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=TEXT_TOKENS, padding_side="left", **TOKEN_ROLES
    )
