"""A trained model of texts is asked in texts: from files and over HTTP, with the answers of its module."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
import torch

import nnray
from nnray.data.tokens import from_json
from nnray.runners.serving.serve import application
from nnray.runners.subject import Subject, open_subject
from tests.unit.after.conftest import Trained, train_below
from tests.unit.data.text_files import messages
from tests.unit.runners.serving.asgi import ask

ASKED = ["see you at home", "WIN a FREE prize ! call 09061701461", "nothing known", ""]


@pytest.fixture(scope="module")
def trained_texts(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A bag of words on a CSV file with headings and a delimiter of its own."""
    folder = tmp_path_factory.mktemp("texts")
    with (folder / "mail.tsv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([("kind", "mail"), *messages(90)])
    data = {"root": str(folder), "file": "mail.tsv", "text": "mail", "label": "kind", "delimiter": "\t"}
    experiment = {"name": "texts", "data": {"name": "text_csv", **data}, "model": {"name": "embedding_bag"}}
    (folder / "texts.yaml").write_text(json.dumps(experiment), encoding="utf-8")
    return train_below(folder, folder / "texts.yaml", ["training.epochs=8", "optimizer.lr=2e-2"])


@pytest.fixture(scope="module")
def subject(trained_texts: Trained) -> Subject:
    return open_subject(
        trained_texts.result.model_uri, root=trained_texts.root, tracking=trained_texts.tracking
    )


@pytest.fixture(scope="module")
def expected(subject: Subject) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = subject.module(from_json(subject.info.encoder).encode(ASKED))
    return logits


@pytest.mark.parametrize("form", ["txt", "tsv"])
def test_files_of_texts_get_the_answers_of_the_module(
    trained_texts: Trained, expected: torch.Tensor, tmp_path: Path, form: str
) -> None:
    path = tmp_path / ("a.txt" if form == "txt" else "a.csv")
    if form == "txt":
        path.write_text("\n".join(ASKED[:3]) + "\n\n", encoding="utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter="\t").writerows([("mail",), *([text] for text in ASKED[:3]), [""]])
    found = nnray.predict(
        trained_texts.result.model_uri,
        path,
        probabilities=True,
        root=trained_texts.root,
        tracking=trained_texts.tracking,
    ).answers
    assert [row["name"] for row in found] == [f"{path}:{row}" for row in range(4)]
    assert [row["class"] for row in found[:2]] == ["ham", "spam"]
    told = torch.tensor([list(row["probabilities"].values()) for row in found], dtype=torch.float64)
    torch.testing.assert_close(told, expected.double().softmax(1), rtol=0, atol=1e-6)


def test_a_service_takes_texts_and_ids_of_tokens(subject: Subject, expected: torch.Tensor) -> None:
    app = application(subject)
    ids = from_json(subject.info.encoder).encode(ASKED).tolist()
    for inputs in (ASKED, ids):
        status, answered = ask(app, {"inputs": inputs})
        assert status == 200, answered
        torch.testing.assert_close(torch.tensor(answered["predictions"]), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ("a text", "expected a list of texts, got a string"),
        (["a text", 3], "example 1 is a number; expected a text, as others are"),
        ([[1.5] + 127 * [0]], "example 0 holds the token 1.5; ids go from 0 to"),
        ([[999999] + 127 * [0]], "example 0 holds the token 999999; ids go from 0 to .*: send texts"),
        ([[1, 2]], r"example 0 has shape \[2\]; expected \[128\]"),
    ],
)
def test_a_service_tells_what_is_no_text(subject: Subject, inputs: object, words: str) -> None:
    status, answered = ask(application(subject), {"inputs": inputs})
    assert status == 400
    assert re.search(words, answered["error"]), answered
