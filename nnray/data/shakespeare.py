"""Plays of Shakespeare, character by character, by speaker: the next character is to be told.

Speeches alone, without the names above them. Of each speaker the last part is held back to test on, as in
time; what is learnt is cut into windows that don't overlap, and none holds the words of two speakers. The
file names 309 speakers; ten of them, ghosts, have nothing below their names, and 299 say something.

Characters are those of ASCII that can be seen, the space and the line break, whoever says which: nothing is
learnt from the text to encode it, so neither what is held back nor another client has a part in it.

Source:
    McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", 2017,
    section 3; the file is that of Karpathy's char-rnn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from nnray.data.groups import Groups
from nnray.data.root import data_root
from nnray.data.splits import NO_CLASS, DataInfo, DataSplits, Examples
from nnray.data.tokens import Tokenizer, fit_tokenizer
from nnray.errors import DataError
from nnray.fields import NonNegativeInt

ALPHABET = "\n" + "".join(map(chr, range(ord(" "), ord("~") + 1)))
"""What is told apart; any other character is the unknown one."""
Speeches = dict[str, str]
"""By speaker, all that is said, in order, a line break between speeches."""


def shakespeare(
    *,
    root: str | None = None,
    length: Annotated[int, Field(ge=2)] = 80,
    lowercase: bool = False,
    test: Annotated[float, Field(gt=0, lt=1)] = 0.1,
    least: NonNegativeInt = 0,
) -> DataSplits:
    """Tiny Shakespeare: the next character of a million; 299 speakers are natural clients, of 309 named.

    Args:
        root: Folder that has the file ``input.txt``, or a folder ``shakespeare`` with it; None means
            ``$NNRAY_DATA``, else the user's cache folder.
        length: Characters of each example.
        lowercase: Whether large letters become small ones.
        test: Share of what each speaker says to test on, the last of it.
        least: Leave speakers out who say fewer characters.
    """
    spoken = {name: text for name, text in _read(_find(data_root(root))).items() if len(text) >= least}
    if not spoken:
        raise DataError(f"data.least: no speaker says {least} characters; allowed: fewer")
    learnt = {name: text[: round((1 - test) * len(text))] for name, text in spoken.items()}
    tokenizer = fit_tokenizer([ALPHABET], kind="char", length=length, lowercase=lowercase)
    pieces = [_windows(text, tokenizer) for text in learnt.values()]
    names = tuple(learnt)
    groups = Groups(np.repeat(np.arange(len(names)), [len(piece) for piece in pieces]), names, "speaker")

    def rest() -> Examples:
        return _joined([_windows(text[len(learnt[name]) :], tokenizer) for name, text in spoken.items()])

    vocabulary = tokenizer.vocabulary
    info = DataInfo(
        "shakespeare",
        (length,),
        vocabulary,
        vocabulary=len(vocabulary),
        targets="classes",
        target_shape=(length,),
        encoder=tokenizer.to_json(),
    )
    return DataSplits(_joined(pieces), None, rest, info, lambda: groups)


def _windows(text: str, tokenizer: Tokenizer) -> Examples:
    """Characters, and at each place the next one; the last window is filled up."""
    ids = np.array(tokenizer.ids(text), dtype=np.int64)
    count = -(-max(len(ids) - 1, 0) // tokenizer.length)
    inputs = np.zeros(count * tokenizer.length, dtype=np.int64)
    targets = np.full(count * tokenizer.length, NO_CLASS, dtype=np.int64)
    if count:
        inputs[: len(ids) - 1], targets[: len(ids) - 1] = ids[:-1], ids[1:]
    shape = (count, tokenizer.length)
    return Examples(torch.from_numpy(inputs.reshape(shape)), torch.from_numpy(targets.reshape(shape)))


def _joined(parts: list[Examples]) -> Examples:
    return Examples(torch.cat([part.inputs for part in parts]), torch.cat([part.targets for part in parts]))


def _read(path: Path) -> Speeches:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: unreadable ({error}); replace it by the published file") from error
    spoken: dict[str, list[str]] = {}
    for block in text.split("\n\n"):
        name, _, speech = block.strip("\n").partition("\n")
        if speech and name.endswith(":"):
            spoken.setdefault(name.rstrip(":"), []).append(speech)
    if not spoken:
        raise DataError(f"{path}: has no speeches; expected names with a colon, and under each what is said")
    return {name: "\n".join(speeches) for name, speeches in spoken.items()}


def _find(root: Path) -> Path:
    places = [root / "shakespeare" / "input.txt", root / "input.txt"]
    for place in places:
        if place.is_file():
            return place
    raise DataError(
        f"shakespeare: there is no {places[0]} or {places[1]}; set data.root or $NNRAY_DATA to the folder "
        "that has the file input.txt of Tiny Shakespeare"
    )
