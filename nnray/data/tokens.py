"""Texts as ids of tokens: words, characters or byte pairs, learnt from the texts to learn from.

Id 0 fills up texts that are short, and 1 stands for what the vocabulary lacks. All three kinds are made by
the `tokenizers` library, whose JSON is kept with the model: what is asked later is cut as it was in training.

Source:
    Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", 2016
    (byte pairs; here over bytes, so that no text has an unknown one).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nnray.errors import DataError

TokenizerKind = Literal["word", "char", "bpe"]
PADDING, UNKNOWN = 0, 1
SPECIAL = ("[PAD]", "[UNK]")
_PIECES = {"word": r"\w+|[^\w\s]", "char": r"[\s\S]"}


@dataclass(frozen=True, slots=True, eq=False)
class Tokenizer:
    """Cuts texts into tokens of a fixed vocabulary.

    Args:
        inner: The library's tokenizer.
        length: Tokens of each text: the rest is cut off, and what is short filled up with 0.
    """

    inner: Any
    length: int

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens, by id."""
        ids = self.inner.get_vocab()
        return tuple(sorted(ids, key=ids.__getitem__))

    def ids(self, text: str) -> list[int]:
        """Ids of a whole text, neither cut nor filled up."""
        found: list[int] = self.inner.encode(text).ids
        return found

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Ids of texts, one a row.

        Shape:
            ``[N, length] int64``; a text without any token has the unknown one.
        """
        rows = np.full((len(texts), self.length), PADDING, dtype=np.int64)
        for row, found in zip(rows, self.inner.encode_batch(list(texts)), strict=True):
            ids = found.ids[: self.length] or [UNKNOWN]
            row[: len(ids)] = ids
        return torch.from_numpy(rows)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, without what fills up; words are parted by a space."""
        text: str = self.inner.decode([number for number in ids if number != PADDING], False)
        return text

    def to_json(self) -> str:
        """All that it takes to make it again."""
        return json.dumps({"length": self.length, "tokenizer": json.loads(self.inner.to_str())})


def from_json(text: str) -> Tokenizer:
    """The tokenizer that ``to_json`` wrote, such as ``DataInfo.encoder``.

    Raises:
        DataError: It is no tokenizer.
    """
    from tokenizers import Tokenizer as Inner

    try:
        kept = json.loads(text)
        return _made(Inner.from_str(json.dumps(kept["tokenizer"])), int(kept["length"]))
    except Exception as error:  # the library raises Exception itself
        raise DataError(
            f"encoder: {text[:40]!r} is no tokenizer ({error}); expected that of a text"
        ) from error


def fit_tokenizer(
    texts: Sequence[str],
    *,
    kind: TokenizerKind = "word",
    size: int = 5000,
    length: int = 64,
    lowercase: bool = True,
    alike_digits: bool = False,
) -> Tokenizer:
    """Learn a vocabulary from texts.

    Args:
        texts: Of the training split alone.
        kind: Words and punctuation marks, characters, or byte pairs.
        size: Most tokens of the vocabulary, with the two special ones.
        length: Tokens of each text.
        lowercase: Whether large letters become small ones.
        alike_digits: Whether every digit becomes 0, so that unseen numbers are known by their length.
    """
    from tokenizers import AddedToken

    inner, trainer = _bytes(size) if kind == "bpe" else _pieces(kind, size)
    inner.normalizer = _normalizer(lowercase=lowercase, alike_digits=alike_digits)
    trainer.special_tokens = [AddedToken(token, special=True) for token in SPECIAL]
    inner.train_from_iterator(iter(texts), trainer, length=len(texts))
    return _made(inner, length)


def _made(inner: Any, length: int) -> Tokenizer:
    # A message that has "[PAD]" in it is a text like any other; the library doesn't keep this in its JSON.
    inner.encode_special_tokens = True
    return Tokenizer(inner, length)


def _pieces(kind: str, size: int) -> tuple[Any, Any]:
    """Every word, or every character, a token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    inner = Tokenizer(models.WordLevel(unk_token=SPECIAL[UNKNOWN]))
    # Whatever is between words is no token; between characters there is nothing.
    behaviour = "removed" if kind == "word" else "isolated"
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES[kind]), behaviour, invert=kind == "word")
    if kind == "char":
        inner.decoder = decoders.Fuse()
    return inner, trainers.WordLevelTrainer(vocab_size=size, show_progress=False)


def _bytes(size: int) -> tuple[Any, Any]:
    """Bytes, and the most frequent pairs of them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE(unk_token=SPECIAL[UNKNOWN]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return inner, trainers.BpeTrainer(vocab_size=size, show_progress=False, initial_alphabet=alphabet)


def _normalizer(*, lowercase: bool, alike_digits: bool) -> Any:
    from tokenizers import Regex, normalizers

    steps: list[Any] = [normalizers.NFC()]
    steps += [normalizers.Lowercase()] if lowercase else []
    steps += [normalizers.Replace(Regex(r"\d"), "0")] if alike_digits else []
    return normalizers.Sequence(steps)
