"""Small copies of the heart disease files: made up patients, with the published files' gaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")


def patient(rng: np.random.Generator, number: int) -> str:
    """A line; half of slope, ca and thal, and a tenth of the rest, are missing."""
    row = [
        f"{rng.integers(30, 75)}",
        f"{rng.integers(2)}",
        f"{rng.integers(1, 5)}",
        f"{rng.integers(90, 180)}",
        f"{rng.choice([0, rng.integers(120, 400)])}",
        f"{rng.integers(2)}",
        f"{rng.integers(3)}",
        f"{rng.integers(80, 190)}",
        f"{rng.integers(2)}",
        f"{rng.random() * 4:.1f}",
        f"{rng.integers(1, 4)}",
        f"{rng.integers(4)}",
        f"{rng.choice([3, 6, 7])}",
    ]
    gone = rng.random(13) < np.array([0.0] + 9 * [0.1] + 3 * [0.5])
    return ",".join([*np.where(gone, "?", row), str(number % 3)])


def write_heart(folder: Path, *, count: int = 30) -> None:
    """Write the four files, with ``count`` patients each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(HOSPITALS):
        rng = np.random.default_rng(number)
        lines = [patient(rng, line) for line in range(count)]
        (folder / f"processed.{name}.data").write_text("\n".join(lines) + "\n")
