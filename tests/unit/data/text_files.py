"""Small files of texts with a label each: made up messages, all different."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

_WORDS = {
    "ham": ["see", "you", "at", "home", "tonight", "ok", "lar", "how", "are", "friends", ",", "going", "now"],
    "spam": ["WIN", "a", "FREE", "prize", "!", "call", "09061701461", "to", "claim", "£1000", "cash", "STOP"],
}


def messages(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Labels and texts, every third one spam; no two texts alike, not even in their first words."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        label = "spam" if number % 3 == 2 else "ham"
        words = rng.choice(_WORDS[label], rng.integers(4, 20)).tolist()
        rows.append((label, " ".join([f"{_letters(number)} {_letters(number + count)}", *words])))
    return rows


def write_sms(folder: Path, *, count: int = 30) -> None:
    """Write the file SMSSpamCollection."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{label}\t{text}\n" for label, text in messages(count)]
    (folder / "SMSSpamCollection").write_text("".join(lines), encoding="utf-8")


def write_texts(path: Path, *, count: int = 30, rows: list[tuple[str, str]] | None = None) -> None:
    """Write a CSV file with the columns id, text and label."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "text", "label"])
        table.writerows((n, text, label) for n, (label, text) in enumerate(rows or messages(count)))


def _letters(number: int) -> str:
    """A word that no other number has, of letters alone."""
    return "".join("abcdefghij"[int(digit)] for digit in f"{number:04d}")


def write_plays(folder: Path, *, speeches: int = 40) -> None:
    """Write input.txt: three speakers, whose speeches are all different."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    blocks = []
    for number in range(speeches):
        words = rng.choice([*_WORDS["ham"], "\n"], 60).tolist()
        blocks.append(
            f"{['KING', 'First Citizen', 'JULIET'][number % 3]}:\n{_letters(number)} {' '.join(words)}"
        )
    (folder / "input.txt").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
