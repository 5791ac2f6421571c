"""Commands as a user types them, in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from nnray import cli

Nnray = Callable[..., tuple[int, str, str]]


def caller(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nnray:
    """Runs a command; exit code, stdout and stderr come back."""

    def run(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nnray", *args])
        monkeypatch.setattr("nnray.cli.signal.signal", lambda *_: None)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, shown.out, shown.err

    return run
