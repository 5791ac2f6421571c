"""Plays: each place's target is the next character, by speaker, and what is tested on teaches nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nnray.data.shakespeare import ALPHABET, shakespeare
from nnray.data.splits import NO_CLASS, Examples
from nnray.data.tokens import UNKNOWN, from_json
from nnray.errors import DataError
from tests.unit.data.text_files import write_plays


def test_targets_are_the_next_characters_of_one_speaker(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("A:\nabcdefghij\n\nB:\nxyxy\n\nA:\nklm\n\nC:\n", encoding="utf-8")
    splits = shakespeare(root=str(tmp_path), length=4, test=0.3)
    assert isinstance(splits.train, Examples)
    decode = from_json(splits.info.encoder).decode
    inputs = [decode(row) for row in splits.train.inputs.tolist()]
    assert inputs == ["abcd", "efgh", "i", "xy"]  # 10 of 14 characters, of which 9 have a next one; 3 of 4
    counted = [decode([t for t in row if t != NO_CLASS]) for row in splits.train.targets.tolist()]
    assert counted == ["bcde", "fghi", "j", "yx"]
    assert splits.groups is not None
    assert splits.groups().of.tolist() == [0, 0, 0, 1]
    assert splits.groups().names == ("A", "B")


def test_what_others_say_does_not_influence_a_speaker_s_characters(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("A:\n" + 90 * "a" + 10 * "b" + "\n", encoding="utf-8")
    before = shakespeare(root=str(tmp_path))
    text = "A:\n" + 90 * "a" + 10 * "c" + "\n\nB:\n" + 30 * "$&\n3"
    (tmp_path / "input.txt").write_text(text, encoding="utf-8")
    after = shakespeare(root=str(tmp_path))
    assert after.info == before.info
    assert torch.equal(after.train.inputs[:2], before.train.inputs)  # type: ignore[union-attr]


def test_every_character_that_can_be_seen_has_a_number_and_all_others_share_one(tmp_path: Path) -> None:
    text = f"A:\n\u00e9\u4e2d{ALPHABET.strip()}" + 50 * " a"
    (tmp_path / "input.txt").write_text(text, encoding="utf-8")
    splits = shakespeare(root=str(tmp_path), length=300)
    ids = splits.train.inputs[0].tolist()  # type: ignore[union-attr]
    assert splits.info.vocabulary == len(splits.info.classes) == len(ALPHABET) + 2 == 98
    assert ids[:2] == [UNKNOWN, UNKNOWN]
    assert {*ids} == {*range(98)} - {from_json(splits.info.encoder).ids("\n")[0]}
    small = shakespeare(root=str(tmp_path), lowercase=True).info
    assert small.vocabulary == 98 - 26


def test_speakers_who_say_nothing_are_no_clients(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("Ghost of GREY:\n\nA:\nabcdefghij\n\nGhost of VAUGHAN:\n", "utf-8")
    splits = shakespeare(root=str(tmp_path))
    assert splits.groups is not None
    assert splits.groups().names == ("A",)


def test_speakers_of_few_words_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("A:\nabcdefghij\n\nB:\nxy\n", encoding="utf-8")
    splits = shakespeare(root=str(tmp_path), least=5)
    assert splits.groups is not None
    assert splits.groups().names == ("A",)
    with pytest.raises(DataError, match="no speaker says 50 characters"):
        shakespeare(root=str(tmp_path), least=50)


def test_a_file_without_speeches_is_told(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("nothing of the kind\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no speeches"):
        shakespeare(root=str(tmp_path))


def test_all_that_is_said_is_learnt_or_tested_on(tmp_path: Path) -> None:
    write_plays(tmp_path)
    splits = shakespeare(root=str(tmp_path), length=16)
    assert splits.test is not None
    held = splits.test()
    counts = [int((part.targets != NO_CLASS).sum()) for part in (splits.train, held)]  # type: ignore[union-attr]
    assert counts[1] / sum(counts) == pytest.approx(0.1, abs=0.01)
