"""Tokenizers: what each kind cuts a text into, and that they learn from nothing but what they are given."""

from __future__ import annotations

import pytest
import torch

from nnray.data.tokens import PADDING, SPECIAL, UNKNOWN, Tokenizer, TokenizerKind, fit_tokenizer, from_json
from nnray.errors import DataError

TEXTS = ["Hello, world 12!\nBye", "free entry 2021 a hello", "naïve café £100"]
KINDS: list[TokenizerKind] = ["word", "char", "bpe"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def fitted(kind: TokenizerKind, **options: object) -> Tokenizer:
    return fit_tokenizer(TEXTS, **{"kind": kind, "size": 300, "length": 12, **options})  # type: ignore[arg-type]


@every_kind
def test_ids_are_of_one_length_and_below_the_vocabulary(kind: TokenizerKind) -> None:
    tokenizer = fitted(kind)
    ids = tokenizer.encode(["hello", "a " * 50, "", "zzz ∞", "[PAD] [UNK]"])
    assert ids.shape == (5, 12)
    assert ids.dtype == torch.int64
    assert 0 <= ids.min() <= ids.max() < len(tokenizer.vocabulary) <= 300


@every_kind
def test_0_fills_up_and_nothing_else(kind: TokenizerKind) -> None:
    """A text may have the name of the filling token in it, and an empty one still has a token."""
    for row in fitted(kind).encode(["hello", "[PAD]", "", "a"]).tolist():
        count = row.index(PADDING)
        assert count > 0
        assert row[count:] == [PADDING] * (12 - count)


@every_kind
def test_the_special_tokens_come_first(kind: TokenizerKind) -> None:
    vocabulary = fitted(kind).vocabulary
    assert vocabulary[:2] == SPECIAL
    assert len(set(vocabulary)) == len(vocabulary)


@every_kind
def test_json_makes_the_same_tokenizer(kind: TokenizerKind) -> None:
    tokenizer = fitted(kind, alike_digits=True)
    again = from_json(tokenizer.to_json())
    unseen = ["Hello £99", "[PAD] what", "", "\n\t x"]
    assert torch.equal(again.encode(unseen), tokenizer.encode(unseen))
    assert again.vocabulary == tokenizer.vocabulary


@every_kind
def test_the_same_texts_give_the_same_tokenizer(kind: TokenizerKind) -> None:
    assert fitted(kind).to_json() == fitted(kind).to_json()


def test_words_are_parted_from_punctuation_and_white_space_is_none() -> None:
    tokenizer = fitted("word")
    names = [tokenizer.vocabulary[i] for i in tokenizer.ids("Hello,  world!\n\tunheard")]
    assert names == ["hello", ",", "world", "!", "[UNK]"]


def test_frequent_words_are_kept_when_there_is_room_for_few() -> None:
    assert fitted("word", size=3).vocabulary == (*SPECIAL, "hello")


def test_characters_keep_every_one_of_a_text() -> None:
    tokenizer = fitted("char", lowercase=False)
    text = "Hello,\nBye  a"
    assert len(tokenizer.ids(text)) == len(text)
    assert tokenizer.decode(tokenizer.ids(text)) == text
    assert tokenizer.ids("Ω") == [UNKNOWN]


def test_byte_pairs_know_every_text() -> None:
    tokenizer = fitted("bpe", lowercase=False)
    text = "Ωmega ∞ 你好 hello"
    assert UNKNOWN not in tokenizer.ids(text)
    assert tokenizer.decode(tokenizer.ids(text)) == text
    assert len(tokenizer.ids("hello")) < 5, "pairs that come often are one token"


def test_large_letters_and_digits_are_alike_only_where_asked() -> None:
    plain = fitted("word", lowercase=False)
    assert plain.ids("Hello") != plain.ids("hello")
    assert fitted("word").ids("Hello") == fitted("word").ids("hello")
    alike = fitted("word", alike_digits=True)
    assert alike.ids("9999") == alike.ids("2021") != [UNKNOWN]
    assert plain.ids("9999") == [UNKNOWN]


@pytest.mark.parametrize("text", ["", "{}", '{"length": 3, "tokenizer": {}}', "[1]"])
def test_what_is_no_tokenizer_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"is no tokenizer.*expected that of a text"):
        from_json(text)
