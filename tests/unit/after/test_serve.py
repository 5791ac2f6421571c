"""A trained model over HTTP: the numbers are those of every other way to ask it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnray.api import predict, serve
from nnray.errors import ConfigError, RunError
from nnray.runners.serving.serve import application
from nnray.runners.serving.server import listen
from nnray.runners.subject import Subject, open_subject
from tests.unit.after.conftest import Trained
from tests.unit.runners.serving.asgi import ask


@pytest.fixture(scope="module")
def subject(conv: Trained) -> Subject:
    return open_subject(conv.result.model_uri, root=conv.root, tracking=conv.tracking)


@pytest.fixture(scope="module")
def pixels(subject: Subject) -> torch.Tensor:
    inputs, _ = next(iter(subject.batches("test", batch_size=50).epoch(0)))
    return inputs


def test_the_answer_is_the_models(subject: Subject, pixels: torch.Tensor) -> None:
    with torch.no_grad():
        expected = subject.module(pixels)
    status, answered = ask(application(subject, batch_size=7), {"inputs": pixels.tolist()})
    assert status == 200
    torch.testing.assert_close(torch.tensor(answered["predictions"]), expected, rtol=0, atol=1e-5)
    _, named = ask(application(subject), {"inputs": pixels.tolist()}, query="output=classes")
    labels = [each["label"] for each in named["predictions"]]
    assert labels == expected.argmax(1).tolist()
    assert [each["class"] for each in named["predictions"]] == [subject.info.classes[i] for i in labels]


def test_mlflows_own_server_gives_the_same(
    conv: Trained, subject: Subject, pixels: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from mlflow.pyfunc import scoring_server

    monkeypatch.setenv("MLFLOW_TRACKING_URI", conv.tracking)
    model = mlflow.pyfunc.load_model(conv.result.model_uri)
    body = json.dumps({"inputs": pixels.tolist()}).encode()
    theirs = scoring_server.invocations(body, "application/json", model, model.metadata.get_input_schema())
    assert theirs.status == 200
    _, ours = ask(application(subject), body)
    expected = json.loads(theirs.response)
    assert expected.keys() == ours.keys()
    assert np.allclose(ours["predictions"], expected["predictions"], rtol=0, atol=1e-5)


def test_predict_gives_the_same(
    conv: Trained, subject: Subject, pixels: torch.Tensor, tmp_path: Path
) -> None:
    np.savez(tmp_path / "pixels.npz", x=pixels.numpy())
    found = predict(conv.result, tmp_path / "pixels.npz", probabilities=True, root=conv.root)
    body = {"inputs": pixels.tolist()}
    _, ours = ask(application(subject), body, query="output=probabilities")
    _, named = ask(application(subject), body, query="output=classes")
    assert len(found.answers) == len(ours["predictions"]) == 50
    for theirs, row, each in zip(found.answers, ours["predictions"], named["predictions"], strict=True):
        assert row == pytest.approx(list(theirs["probabilities"].values()), abs=1e-6)
        assert (each["label"], each["class"]) == (theirs["label"], theirs["class"])
        assert each["confidence"] == pytest.approx(theirs["confidence"], abs=1e-6)


def test_the_root_names_the_model(conv: Trained, subject: Subject) -> None:
    _, facts = ask(application(subject), b"", method="GET", path="/")
    assert facts["model"] == conv.result.model_uri
    assert facts["model_sha256"] == conv.result.model_sha256
    assert facts["shape"] == [1, 8, 8] and len(facts["classes"]) == 10


def get(url: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answered:
        return json.loads(answered.read() or b"null")


def test_the_verb_serves_until_it_is_told_to_end(conv: Trained, pixels: torch.Tensor, root: Path) -> None:
    command = [sys.executable, "-m", "nnray", "serve", "conv", "--port", "0", "--threads", "1"]
    command += ["--dir", str(conv.root), "--tracking", conv.tracking]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        try:
            said = next(line for line in process.stderr if "answers at" in line)
            url = re.findall(r"http://\S+/invocations", said)[0]
            assert said.startswith("conv answers at http://127.0.0.1:")
            assert len(get(url, json.dumps({"inputs": pixels.tolist()}).encode())["predictions"]) == 50
            assert get(url.replace("invocations", ""))["shape"] == [1, 8, 8]
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
        finally:
            process.kill()
    assert process.returncode == 0, rest
    assert "the server has ended" in rest
    assert "Traceback" not in rest


def test_a_taken_port_is_known_before_the_model_is_opened() -> None:
    with (
        contextlib.closing(listen("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match="can't be used"),
    ):
        serve("no-such-model", port=taken.getsockname()[1])
    with pytest.raises(RunError, match="no-such-model"):
        serve("no-such-model", port=0)


@pytest.mark.parametrize("name", ["batch_size", "threads", "max_body_mib", "max_examples"])
def test_a_limit_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"serve: {name}: must be above 0 \(got 0\)"):
        serve("no-such-model", **{name: 0})  # type: ignore[arg-type]
