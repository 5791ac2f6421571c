"""Texts with labels: files and their faults, copies, and that what is tested on teaches nothing."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from nnray.data.prepare import prepare
from nnray.data.texts import sms_spam, text_csv
from nnray.data.tokens import from_json
from nnray.errors import DataError
from tests.unit.data.text_files import messages, write_sms, write_texts


def held(root: Path) -> list[str]:
    """The texts that are tested on, each with a word of its own in front."""
    splits = sms_spam(root=str(root), vocabulary_size=10_000)
    assert splits.test is not None
    train = {tuple(row) for row in splits.train.inputs.tolist()}  # type: ignore[union-attr]
    tokenizer = from_json(splits.info.encoder)
    encoded = {text: tuple(tokenizer.encode([text])[0].tolist()) for _, text in messages(60)}
    return [text for text, ids in encoded.items() if ids not in train]


def test_held_back_texts_do_not_influence_the_tokenizer(tmp_path: Path) -> None:
    """Their words are changed for others: vocabulary, ids and training examples stay as they were."""
    write_sms(tmp_path, count=60)
    before = sms_spam(root=str(tmp_path))
    path = tmp_path / "SMSSpamCollection"
    content = path.read_text(encoding="utf-8")
    out = held(tmp_path)
    assert len(out) == 12
    for text in out:
        content = content.replace(f"\t{text}\n", f"\t{text.split()[0]} quite other words 777 than these\n")
    path.write_text(content, encoding="utf-8")
    after = sms_spam(root=str(tmp_path))
    assert after.info.encoder == before.info.encoder
    assert torch.equal(after.train.inputs, before.train.inputs)  # type: ignore[union-attr]
    assert before.test is not None
    assert after.test is not None
    assert not torch.equal(after.test().inputs, before.test().inputs)  # type: ignore[union-attr]


def test_training_texts_do_influence_the_tokenizer(tmp_path: Path) -> None:
    """The other half of the law above: it would hold of a tokenizer that learns nothing."""
    write_sms(tmp_path, count=60)
    before = sms_spam(root=str(tmp_path)).info.encoder
    path = tmp_path / "SMSSpamCollection"
    kept = next(text for _, text in messages(60) if text not in held(tmp_path))
    content = path.read_text(encoding="utf-8")
    path.write_text(content.replace(f"\t{kept}\n", f"\t{kept} unheardof\n"), encoding="utf-8")
    assert sms_spam(root=str(tmp_path)).info.encoder != before


def test_texts_held_for_validation_do_not_influence_the_tokenizer(tmp_path: Path) -> None:
    """Their words are changed for others: what is learnt from is encoded as before."""
    write_texts(tmp_path / "a.csv", count=60)
    before = prepare(text_csv(root=str(tmp_path)), name="text_csv", seed=0, validation=0.25)
    assert before.val is not None
    assert before.test is not None
    tokenizer = from_json(before.info.encoder)
    learnt = {tuple(row) for part in (before.train, before.test()) for row in part.inputs.tolist()}  # type: ignore[union-attr]
    rows = [
        (label, text if tuple(tokenizer.encode([text])[0].tolist()) in learnt else f"{number} other words")
        for number, (label, text) in enumerate(messages(60))
    ]
    assert sum(text.endswith("other words") for _, text in rows) == len(before.val) == 12
    write_texts(tmp_path / "a.csv", rows=rows)
    after = prepare(text_csv(root=str(tmp_path)), name="text_csv", seed=0, validation=0.25)
    assert after.val is not None
    assert after.info.encoder == before.info.encoder
    assert torch.equal(after.train.inputs, before.train.inputs)  # type: ignore[union-attr]
    assert not torch.equal(after.val.inputs, before.val.inputs)  # type: ignore[union-attr]


@pytest.mark.parametrize("options", [{"validation": 0.25}, {"validation": 0, "limit": 20}])
def test_words_that_only_held_back_texts_have_are_unknown(tmp_path: Path, options: dict[str, float]) -> None:
    write_texts(tmp_path / "a.csv", count=60)
    splits = prepare(text_csv(root=str(tmp_path), test=0), name="text_csv", seed=0, **options)  # type: ignore[arg-type]
    ids = splits.train.inputs.unique()  # type: ignore[union-attr]
    assert splits.info.vocabulary == len(set(ids.tolist()) | {0, 1}), (
        "each token stands in a text to learn from"
    )


def test_copies_count_once_unless_asked(tmp_path: Path) -> None:
    write_sms(tmp_path, count=30)
    path = tmp_path / "SMSSpamCollection"
    path.write_text(2 * path.read_text(encoding="utf-8"), encoding="utf-8")

    def size(repeated: bool) -> int:
        splits = sms_spam(root=str(tmp_path), repeated=repeated)
        assert splits.test is not None
        return len(splits.train) + len(splits.test())

    assert (size(False), size(True)) == (30, 60)


def test_quotation_marks_of_messages_quote_nothing(tmp_path: Path) -> None:
    lines = ['ham\t"open and not closed', 'spam\tother "words" here', "ham\tfine", "spam\tWIN"]
    (tmp_path / "SMSSpamCollection").write_text("\n".join(lines), encoding="utf-8")
    splits = sms_spam(root=str(tmp_path), test=0)
    assert len(splits.train) == 4
    assert splits.test is None
    assert splits.info.classes == ("ham", "spam")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("ham\tfine\nwhat is this\n", "line 2: 'what is this'; expected ham or spam, a tab"),
        ("HAM\tfine\n", "expected ham or spam"),
        ("", "is empty"),
    ],
)
def test_lines_that_are_no_message_are_told(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "SMSSpamCollection").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        sms_spam(root=str(tmp_path))


def test_a_csv_may_have_line_breaks_in_a_text_and_labels_of_any_name(tmp_path: Path) -> None:
    rows = [("good", "fine\nvery, fine"), ("bad", 'so "so"'), ("good", "well"), ("fair", "hm"), ("bad", "no")]
    write_texts(tmp_path / "a.csv", rows=[*rows, ("fair", "maybe")])
    splits = text_csv(root=str(tmp_path), test=0, tokenizer="char", lowercase=False)
    assert splits.info.classes == ("bad", "fair", "good")
    assert splits.train.targets.tolist() == [2, 0, 2, 1, 0, 1]  # type: ignore[union-attr]
    tokenizer = from_json(splits.info.encoder)
    assert tokenizer.decode(splits.train.inputs[0].tolist()) == "fine\nvery, fine"  # type: ignore[union-attr]


def test_headings_delimiter_and_file_can_be_said(tmp_path: Path) -> None:
    with (tmp_path / "b.tsv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter="\t").writerows(
            [("review", "stars"), *((f"w{n}", n % 2) for n in range(9))]
        )
    splits = text_csv(root=str(tmp_path), file="b.tsv", text="review", label="stars", delimiter="\t", test=0)
    assert splits.info.classes == ("0", "1")
    assert len(splits.train) == 9


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,words,label\n1,a,b\n", "has no column text; it has id, words, label; set data.text"),
        ("text,label\na,x\nb\n", "line 3: .*expected a text and a label"),
        ("text,label\na,x\nb,\n", "line 3: .*expected a text and a label that is not empty"),
        ("text,label\na,x\nb,x\n", "has 1 different labels; allowed: 2 to 1000"),
        ('text,label\n"a,x\n', "expected a CSV file"),
        ("text,label\na,x\nb, or c,y\n", "line 3: has 3 cells; expected 2"),
        ("text,label,label\na,x,y\nb,y,x\n", "has more than one column label"),
        ("text,label\n", "is empty"),
    ],
)
def test_a_csv_that_can_t_be_learnt_from_is_told(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        text_csv(root=str(tmp_path))


def test_of_several_csv_files_one_must_be_named(tmp_path: Path) -> None:
    for name in "ab":
        write_texts(tmp_path / f"{name}.csv")
    with pytest.raises(DataError, match=r"2 CSV files are at .*set data.root or data.file"):
        text_csv(root=str(tmp_path))
    assert len(text_csv(root=str(tmp_path), file="a.csv", test=0).train) == 30


def test_a_delimiter_is_one_character(tmp_path: Path) -> None:
    write_texts(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"data.delimiter: got '::'; allowed: one character"):
        text_csv(root=str(tmp_path), delimiter="::")


def test_what_is_not_in_utf_8_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,label\n\xff\xfe,a\n")
    with pytest.raises(DataError, match="expected a text file in UTF-8"):
        text_csv(root=str(tmp_path))


def test_the_encoder_stays_with_the_data_s_info(tmp_path: Path) -> None:
    write_sms(tmp_path)
    splits = prepare(sms_spam(root=str(tmp_path)), name="sms_spam", seed=0, validation=0.2)
    assert len(from_json(splits.info.encoder).vocabulary) == splits.info.vocabulary
    assert splits.info.mean == ()
