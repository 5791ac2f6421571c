"""What torch says of a model that it can't trace stays off the terminal; what others say does not."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nnray.errors import IncompatibleModel
from nnray.runners.export.onnx_file import write_onnx
from nnray.runners.export.order import Order, Writer
from nnray.runners.export.torch_files import write_graph
from nnray.tracking.model_files import save_model
from nnray.tracking.quiet import traced_quietly

EXAMPLE = np.zeros((2, 1, 8, 8), np.float32)


class Branching(nn.Module):
    """Torch prints the graph of such a module to stderr, up to the branch."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        flat = inputs.flatten(1)
        return flat if flat.sum() > 0 else flat[:, :3]


@pytest.mark.parametrize("needs_graph", [False, True])
def test_recording_what_can_not_be_traced_leaves_the_terminal_clean(
    needs_graph: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        save_model(Branching(), EXAMPLE, folder=tmp_path / "model", needs_graph=needs_graph)
    except IncompatibleModel:
        assert needs_graph
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("write", [write_graph, write_onnx])
def test_so_does_exporting_it(write: Writer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(IncompatibleModel):
        write(Order(Branching(), torch.from_numpy(EXAMPLE), {}, {}), tmp_path)
    assert capfd.readouterr() == ("", "")


def test_what_torch_said_is_in_the_log_for_whoever_wants_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="nnray.tracking"):
        save_model(Branching(), EXAMPLE, folder=tmp_path / "model", needs_graph=False)
    assert "aten.flatten" in caplog.text


def test_a_loggers_line_is_kept_back_and_its_handlers_stay(capfd: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("torch.export")
    before = (list(log.handlers), log.level, log.disabled, log.propagate)
    with traced_quietly():
        log.error("a whole graph")
    assert capfd.readouterr().err == ""
    assert (log.handlers, log.level, log.disabled, log.propagate) == before
    log.error("again")
    assert "again" in capfd.readouterr().err


def test_what_another_thread_writes_meanwhile_comes_through(capfd: pytest.CaptureFixture[str]) -> None:
    with traced_quietly():
        other = threading.Thread(target=lambda: print("epoch 2/12", file=sys.stderr))
        print("a whole graph", file=sys.stderr)
        other.start()
        other.join()
        sys.stderr.flush()
    assert capfd.readouterr().err == "epoch 2/12\n"


def test_stderr_is_put_back_and_errors_come_through() -> None:
    before = sys.stderr

    def fails() -> None:
        with traced_quietly(), traced_quietly():
            assert sys.stderr is not before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert sys.stderr is before


def test_two_threads_take_turns_and_leave_stderr_as_it_was() -> None:
    before, entered, may_end, order = sys.stderr, threading.Event(), threading.Event(), list[str]()

    def first() -> None:
        with traced_quietly():
            entered.set()
            assert may_end.wait(30)
            order.append("first")

    def second() -> None:
        with traced_quietly():
            order.append("second")

    threads = [threading.Thread(target=each) for each in (first, second)]
    threads[0].start()
    assert entered.wait(30)
    threads[1].start()
    may_end.set()
    for thread in threads:
        thread.join()
    assert order == ["first", "second"]
    assert sys.stderr is before
