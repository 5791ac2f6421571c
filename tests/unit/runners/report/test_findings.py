"""What a task shows and what later verbs drew: on the page, as far as there is room."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image

from nnray.runners.folder import RunFolder
from nnray.runners.report.account import Account
from nnray.runners.report.findings import findings
from nnray.runners.report.local import of_folder
from nnray.runners.report.page import Section


def png(shade: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("L", (2, 2), shade).save(file, "PNG")
    return file.getvalue()


def page(files: dict[str, Callable[[], bytes]]) -> dict[str, str]:
    """The sections by title."""
    account = Account(name="run", verb="train", state="ended", files=files)
    sections: list[Section] = list(findings(account))
    return {section.title: str(section.body) for section in sections}


def test_pictures_of_the_end_come_first_and_texts_are_folded() -> None:
    files = {
        "exhibits/epoch-000001-samples.png": png,
        "exhibits/epoch-000001-sample.txt": lambda: b"early words",
        "exhibits/samples.png": png,
        "exhibits/sample.txt": lambda: b"<late words>",
        "other/samples.png": png,
    }
    (title, shown), *others = page(files).items()
    assert (title, others) == ("Shown", [])
    assert shown.index('alt="samples"') < shown.index('alt="epoch-000001-samples"')
    assert "&lt;late words&gt;" in shown and "early words" not in shown
    assert shown.count("<img") == 2


@pytest.mark.parametrize("epochs", [1, 11, 12, 100])
def test_of_many_epochs_some_are_shown_from_the_first_to_the_last(epochs: int) -> None:
    files = {f"exhibits/epoch-{epoch:06d}-grid.png": png for epoch in range(1, epochs + 1)}
    shown = page({**files, "exhibits/grid.png": png})["Shown"]
    assert shown.count("<img") == min(epochs + 1, 12)
    assert 'alt="epoch-000001-grid"' in shown
    assert f'alt="epoch-{epochs:06d}-grid"' in shown
    told = "more pictures are with the run" in shown
    assert told == (epochs > 11)


def test_a_file_that_is_gone_is_passed_over() -> None:
    def gone() -> bytes:
        raise OSError("gone")

    shown = page({"exhibits/a.png": gone, "exhibits/b.png": png, "exhibits/c.txt": gone})["Shown"]
    assert shown.count("<img") == 1


def test_what_lies_in_the_run_s_folder_is_shown(make_run: Callable[..., RunFolder]) -> None:
    run = make_run()
    (run.path / "exhibits").mkdir()
    (run.path / "exhibits" / "map.png").write_bytes(png(7))
    account = of_folder(run)
    assert account.files["exhibits/map.png"]() == png(7)
    assert [section.title for section in findings(account)] == ["Shown"]
