"""Small copies of the tables: made up people, with the published files' quirks."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from nnray.data.adult import CLASSES

JOBS = ("Sales", "Tech-support", "Craft-repair")


def person(rng: np.random.Generator, number: int) -> list[str]:
    """A row of Adult; an eighth of the jobs are missing, with the kind of employer."""
    gone = rng.random() < 0.125
    return [
        f"{rng.integers(17, 90)}",
        "?" if gone else str(rng.choice(["Private", "State-gov"])),
        f"{rng.integers(12_000, 900_000)}",
        str(rng.choice(["HS-grad", "Bachelors", "Masters"])),
        f"{rng.integers(1, 17)}",
        str(rng.choice(["Divorced", "Never-married"])),
        "?" if gone else str(rng.choice(JOBS)),
        str(rng.choice(["Husband", "Wife", "Unmarried"])),
        str(rng.choice(["White", "Black"])),
        str(rng.choice(["Female", "Male"])),
        f"{rng.integers(0, 2) * rng.integers(0, 99_999)}",
        f"{rng.integers(0, 2) * rng.integers(0, 4_000)}",
        f"{rng.integers(1, 100)}",
        str(rng.choice(["United-States", "Cuba", "?"])),
        CLASSES[number % 3 == 0],
    ]


def write_adult(folder: Path, *, count: int = 60) -> None:
    """Write both files, the test file with its note, a third as long, and with full stops."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = [", ".join(person(rng, number)) for number in range(count + count // 3)]
    with gzip.open(folder / "adult.data.gz", "wt", encoding="ascii") as file:
        file.write("\n".join(rows[:count]) + "\n\n")
    note = "|1x3 Cross validator\n"
    (folder / "adult.test").write_text(note + "\n".join(f"{row}." for row in rows[count:]) + "\n\n")


def applicant(rng: np.random.Generator, number: int) -> str:
    """A row of German credit."""
    cells = [
        f"A1{rng.integers(1, 5)}", f"{rng.integers(4, 73)}", f"A3{rng.integers(5)}", f"A4{rng.integers(11)}",
        f"{rng.integers(250, 18_000)}", f"A6{rng.integers(1, 6)}", f"A7{rng.integers(1, 6)}",
        f"{rng.integers(1, 5)}", f"A9{rng.integers(1, 5)}", f"A10{rng.integers(1, 4)}",
        f"{rng.integers(1, 5)}", f"A12{rng.integers(1, 5)}", f"{rng.integers(19, 76)}",
        f"A14{rng.integers(1, 4)}", f"A15{rng.integers(1, 4)}", f"{rng.integers(1, 5)}",
        f"A17{rng.integers(1, 5)}", f"{rng.integers(1, 3)}", f"A19{rng.integers(1, 3)}",
        f"A20{rng.integers(1, 3)}",
    ]  # fmt: skip
    return " ".join([*cells, str(1 + (number % 3 == 0))])


def write_german(folder: Path, *, count: int = 60) -> None:
    """Write the file, with ``count`` applicants, every third of them a bad risk."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    lines = [applicant(rng, number) for number in range(count)]
    (folder / "german.data").write_text("\n".join(lines) + "\n")


def write_ratings(folder: Path, *, users: int = 12, each: int = 8) -> None:
    """Write ratings of 20 films by so many users, not in the order of time."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(2)
    lines = ["userId,movieId,rating,timestamp"]
    for user in range(1, users + 1):
        films = rng.choice(np.arange(100, 120), each, replace=False)
        times = 964_000_000 + rng.permutation(each)
        lines += [
            f"{user},{film},{rng.integers(1, 11) / 2},{time}" for film, time in zip(films, times, strict=True)
        ]
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n")


def customer(rng: np.random.Generator, number: int) -> list[str]:
    """A customer: a number of its own, two quantities, a city, a code that is a number, and two answers."""
    age, income = int(rng.integers(18, 80)), float(rng.normal(30, 8))
    city, gone = str(rng.choice(["Bonn", "Graz", "Lyon"])), rng.random()
    spent = 2 * income + (20 if city == "Lyon" else 0) + rng.normal()
    return [
        f"K{number:04}",
        "" if gone < 0.2 else str(age),
        "n.k." if gone > 0.9 else f"{income:.2f}",
        "" if rng.random() < 0.1 else city,
        str(rng.choice([10, 20, 30])),
        f"{spent:.3f}",
        "yes" if spent > 66 else "no",
    ]


CUSTOMER = ("id", "age", "income", "city", "shop", "spent", "buys")


def write_customers(path: Path, *, count: int = 60, seed: int = 3) -> None:
    """Write a table of customers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    lines = [",".join(customer(rng, number)) for number in range(count)]
    path.write_text("\n".join([",".join(CUSTOMER), *lines]) + "\n")
