"""What a run's task shows, and what later verbs have found out: their figures, and the pictures they drew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from nnray.errors import NnrayError
from nnray.runners.exhibits.make import is_of_epoch
from nnray.runners.folder import EXHIBITS
from nnray.runners.report.account import Account
from nnray.runners.report.markup import Html, code, fold, grid, join, notice, picture, table
from nnray.runners.report.page import Section

TITLES: Mapping[str, str] = {
    EXHIBITS: "Shown",
    "evaluate": "Evaluation",
    "explain": "Explanation",
    "attack": "Robustness",
    "compress": "Compression",
    "ensemble": "Ensemble",
}
"""What a task shows, then the verbs whose findings are, in their order."""
_TEXTS = ("mistakes.txt", f"{EXHIBITS}/*.txt")
"""Texts that stand in a page."""
_PICTURES = (".png", ".jpg", ".jpeg")
_MOST, _MOST_BYTES = 12, 4 * 2**20
"""Pictures of a verb, and bytes of all of a page's."""
_MOST_TEXT = 100_000


def findings(account: Account) -> Iterator[Section]:
    """A section for each verb that has found something out."""
    room = _MOST_BYTES
    for verb, title in TITLES.items():
        values = {n.partition(".")[2]: v for n, v in account.found.items() if n.startswith(f"{verb}.")}
        paths = [path for path in account.files if path.startswith(f"{verb}/") and path.endswith(_PICTURES)]
        texts = [path for path in account.files if path.startswith(f"{verb}/") and _is_told(path)]
        if not values and not paths and not texts:
            continue
        chosen = _chosen(paths)
        shown, left_out, room = _pictures(account, chosen, room)
        rows = [[name, value] for name, value in values.items()]
        figures = table(["measured", "value"], rows, caption=f"nnray {verb}", sortable=True) if rows else ""
        missing = len(paths) - len(chosen) + left_out
        more = notice(f"{missing} more pictures are with the run in the tracking store.") if missing else ""
        yield Section(title, join((grid(shown), *_folded(account, texts), more, figures)))


def _is_told(path: str) -> bool:
    return any(PurePosixPath(path).match(pattern) for pattern in _TEXTS) and not is_of_epoch(path)


def _chosen(paths: Sequence[str]) -> list[str]:
    """The pictures of the end, and as many as there is room for of epochs, evenly from first to last."""
    own = [path for path in paths if not is_of_epoch(path)][:_MOST]
    epochs = sorted(path for path in paths if is_of_epoch(path))
    room = min(_MOST - len(own), len(epochs))
    return own + [epochs[round(n * (len(epochs) - 1) / max(room - 1, 1))] for n in range(room)]


def _folded(account: Account, paths: Sequence[str]) -> Iterator[Html]:
    for path in paths:
        if (data := _read(account, path)) is not None:
            yield fold(PurePosixPath(path).stem, code(data[:_MOST_TEXT].decode("utf-8", "replace")))


def _read(account: Account, path: str) -> bytes | None:
    """A file; None where it can't be read any more."""
    try:
        return account.files[path]()
    except (NnrayError, OSError):
        return None


def _pictures(account: Account, paths: Sequence[str], room: int) -> tuple[list[Html], int, int]:
    """The pictures that can be read and that there is room for; how many not; and the room left."""
    shown: list[Html] = []
    for path in paths:
        data = _read(account, path)
        if data is not None and len(data) <= room:
            room -= len(data)
            name = PurePosixPath(path).stem.replace("_", " ")
            shown.append(picture(data, alt=name, caption=name))
    return shown, len(paths) - len(shown), room
