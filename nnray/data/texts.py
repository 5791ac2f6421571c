"""Texts with a label each, from SMS Spam or any CSV file, as ids of tokens.

The vocabulary is learnt from what models learn from, never from what is held back. A text that
comes again counts once, unless asked otherwise: in SMS Spam every fourteenth message is a copy, and copies of
what was learnt are no test.

Source:
    Almeida, Gomez Hidalgo and Yamakami, "Contributions to the Study of SMS Spam Filtering", 2011; set
    228 of the UCI Machine Learning Repository.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from nnray.data.root import data_root
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.data.stratify import split_off
from nnray.data.text_files import SMS_CLASSES, Labelled, find_csv, find_sms, read_sms, read_table
from nnray.data.tokens import Tokenizer, TokenizerKind, fit_tokenizer
from nnray.errors import DataError
from nnray.fields import NonNegative, NonNegativeInt, PositiveInt
from nnray.seeding import derive

_MOST_CLASSES = 1000
Fit = Callable[[Sequence[str]], Tokenizer]
"""Learns a tokenizer from texts."""


def sms_spam(
    *,
    root: str | None = None,
    tokenizer: TokenizerKind = "word",
    vocabulary_size: PositiveInt = 5000,
    length: PositiveInt = 64,
    lowercase: bool = True,
    alike_digits: bool = True,
    repeated: bool = False,
    test: NonNegative = 0.2,
    split_seed: NonNegativeInt = 0,
) -> DataSplits:
    """English text messages, wanted (ham) or not (spam); 5,574, of which 5,169 are different, 13 % spam.

    Args:
        root: Folder that has the file ``SMSSpamCollection``, or a folder ``sms_spam`` with it; None means
            ``$NNRAY_DATA``, else the user's cache folder.
        tokenizer: Cut into words and punctuation marks, characters, or byte pairs.
        vocabulary_size: Most tokens to tell apart; the rest are one, unknown.
        length: Tokens of each message; the rest is cut off.
        lowercase: Whether large letters become small ones.
        alike_digits: Whether every digit becomes 0, so that a telephone number is known as one.
        repeated: Whether copies of a message are kept, which may fall into several splits.
        test: Share (below 1) or count (from 1 on) of messages to test on, stratified, 0 for none.
        split_seed: Which of them; its own, so that experiments of any seed test on the same messages.
    """
    rows = read_sms(find_sms(data_root(root)))
    fit = partial(
        fit_tokenizer,
        kind=tokenizer,
        size=vocabulary_size,
        length=length,
        lowercase=lowercase,
        alike_digits=alike_digits,
    )
    rows = rows if repeated else _once(rows)
    return _split(rows, "sms_spam", classes=SMS_CLASSES, fit=fit, test=test, split_seed=split_seed)


def text_csv(
    *,
    root: str | None = None,
    file: str | None = None,
    text: str = "text",
    label: str = "label",
    delimiter: str = ",",
    tokenizer: TokenizerKind = "word",
    vocabulary_size: PositiveInt = 10000,
    length: PositiveInt = 128,
    lowercase: bool = True,
    alike_digits: bool = False,
    repeated: bool = False,
    test: NonNegative = 0.2,
    split_seed: NonNegativeInt = 0,
) -> DataSplits:
    """A column of texts and a column of their labels in a CSV file, with a line of headings.

    Args:
        root: The file, or the folder that has it; None means ``$NNRAY_DATA``, else the user's cache folder.
        file: Name of the file below the root.
        text: Heading of the column of texts.
        label: Heading of the column of labels, whatever they are.
        delimiter: Between columns, one character.
        tokenizer: Cut into words and punctuation marks, characters, or byte pairs.
        vocabulary_size: Most tokens to tell apart; the rest are one, unknown.
        length: Tokens of each text; the rest is cut off.
        lowercase: Whether large letters become small ones.
        alike_digits: Whether every digit becomes 0.
        repeated: Whether copies of a text are kept, which may fall into several splits.
        test: Share (below 1) or count (from 1 on) of texts to test on, stratified, 0 for none.
        split_seed: Which of them; its own, so that experiments of any seed test on the same texts.
    """
    path = find_csv(root, file)
    if len(delimiter) != 1:
        raise DataError(f"data.delimiter: got {delimiter!r}; allowed: one character, such as ',' or \"\\t\"")
    rows = read_table(path, text=text, label=label, delimiter=delimiter)
    classes = tuple(sorted({name for _, name in rows}))
    if not 2 <= len(classes) <= _MOST_CLASSES:
        raise DataError(
            f"{path}: column {label!r} has {len(classes)} different labels; allowed: 2 to {_MOST_CLASSES}"
        )
    fit = partial(
        fit_tokenizer,
        kind=tokenizer,
        size=vocabulary_size,
        length=length,
        lowercase=lowercase,
        alike_digits=alike_digits,
    )
    rows = rows if repeated else _once(rows)
    return _split(rows, "text_csv", classes=classes, fit=fit, test=test, split_seed=split_seed)


def _split(
    rows: Labelled, name: str, *, classes: tuple[str, ...], fit: Fit, test: float, split_seed: int
) -> DataSplits:
    """Hold texts back first, then learn the vocabulary from the rest."""
    number = {each: label for label, each in enumerate(classes)}
    targets = torch.tensor([number[label] for _, label in rows])
    held, rest = torch.zeros(0, dtype=torch.int64), torch.arange(len(rows))
    if test:
        seed = derive(split_seed, name, "test")
        held, rest = split_off(targets, amount=test, seed=seed, key="data.test")
    texts = np.array([text for text, _ in rows], dtype=object)

    def encoded(learnt: torch.Tensor) -> DataSplits:
        tokenizer = fit(texts[learnt.numpy()].tolist())

        def examples(index: torch.Tensor) -> Examples:
            return Examples(tokenizer.encode(texts[index.numpy()].tolist()), targets[index])

        info = DataInfo(
            name,
            (tokenizer.length,),
            classes,
            vocabulary=len(tokenizer.vocabulary),
            encoder=tokenizer.to_json(),
        )
        asked = (lambda: examples(held)) if test else None
        return DataSplits(examples(rest), None, asked, info, refit=lambda index: encoded(rest[index]))

    return encoded(rest)


def _once(rows: Labelled) -> Labelled:
    """The first of each text."""
    seen: dict[str, str] = {}
    for text, label in rows:
        seen.setdefault(text, label)
    return list(seen.items())
