"""How far a verb has come is said as it begins and now and then, to those who want it."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from nnray.cli.options import running
from nnray.runners import progress
from nnray.runners.progress import Progress, begun


@pytest.fixture(autouse=True)
def level() -> None:
    logging.getLogger("nnray.progress").setLevel(logging.NOTSET)


def test_it_is_said_now_and_then_and_items_go_through(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 6.0, 6.0, 8.0, 13.0, 13.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    caplog.set_level(logging.INFO, logger="nnray.progress")
    assert list(Progress("pgd linf", "examples").over([500] * 4, lambda size: size)) == [500] * 4
    assert caplog.messages == ["pgd linf ...", "pgd linf: 1,000 examples", "pgd linf: 2,000 examples"]


def test_the_command_line_shows_it_where_it_is_asked_to(capsys: pytest.CaptureFixture[str]) -> None:
    with running(progress=True):
        begun("shap")
    begun("nobody listens")
    with running():
        begun("quiet")
    assert capsys.readouterr() == ("", "shap ...\n")
