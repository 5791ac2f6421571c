"""What is learnt to encode inputs is learnt from the training examples: for every data set with an encoder.

One line of a file after the other is changed to what no other line says: as many of them change the encoder
as there are training examples, and what validation and test get changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from nnray.data.check import as_splits
from nnray.data.splits import DataInfo, Examples
from tests.contract.test_datasets import DATASETS, FIXED_ENCODERS, called, made, ready, write_files

WORD, NUMBER = "zzqx", "987654"


def cell(separator: str, **cells: str) -> Callable[[str], str]:
    """Changes cells of a line, by their places."""

    def change(line: str) -> str:
        parts = line.split(separator)
        return separator.join(cells.get(f"c{place}", part) for place, part in enumerate(parts))

    return change


LINES: Mapping[str, tuple[tuple[str, ...], Callable[[str], str]]] = {
    "adult": (("adult/adult.data", "adult/adult.test"), cell(", ", c0=NUMBER, c3=WORD)),
    "german_credit": (("german_credit/german.data",), cell(" ", c1=NUMBER, c4=NUMBER)),
    "table": (("customers.csv",), cell(",", c1=NUMBER, c2=NUMBER, c3=WORD)),
    "sms_spam": (("sms_spam/SMSSpamCollection",), cell("\t", c1=" ".join([WORD] * 9))),
    "text_csv": (("texts.csv",), lambda line: ",".join([line.split(",")[0], WORD, line.rpartition(",")[2]])),
}
"""Files, and what changes what a line says, but not its label."""


def learnt(info: DataInfo) -> DataInfo:
    """All that is known but the hash of the examples, which is of validation, too."""
    return replace(info, digest="")


def unpacked(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, int]]:
    """Plain files of a data set, and the places of their lines with examples."""
    write_files(name, folder, monkeypatch)
    places = []
    for file in LINES[name][0]:
        path = folder / file
        if not path.exists():
            packed = path.with_name(f"{path.name}.gz")
            import gzip

            path.write_bytes(gzip.decompress(packed.read_bytes()))
            packed.unlink()
        is_example = [bool(line.strip()) and not line.startswith("|") for line in lines_of(path)]
        is_example[0] &= path.suffix != ".csv"
        places += [(path, place) for place, holds in enumerate(is_example) if holds]
    return places


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")


def changed(name: str, folder: Path, place: tuple[Path, int]) -> DataInfo:
    """What is learnt where one line says something else."""
    path, number = place
    before = path.read_text(encoding="utf-8")
    lines = before.split("\n")
    lines[number] = LINES[name][1](lines[number])
    path.write_text("\n".join(lines), encoding="utf-8")
    try:
        return learnt(ready(name, folder).info)
    finally:
        path.write_text(before, encoding="utf-8")


@pytest.mark.parametrize("name", LINES)
def test_only_training_examples_change_what_is_learnt_of_the_data(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = unpacked(name, tmp_path, monkeypatch)
    splits = ready(name, tmp_path)
    assert isinstance(splits.train, Examples) and splits.val is not None
    assert len(places) == len(splits.train) + len(splits.val) + len(called(splits))
    before = learnt(splits.info)
    assert before.encoder
    seen = sum(changed(name, tmp_path, place) != before for place in places)
    assert seen == len(splits.train)


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_with_an_encoder_is_covered(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(name, tmp_path, monkeypatch)
    has_encoder = bool(as_splits(made(name, tmp_path), name=name).info.encoder)
    assert has_encoder == (name in {*LINES, *FIXED_ENCODERS})
