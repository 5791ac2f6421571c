"""Files of texts with a label each: read whole, every line checked."""

from __future__ import annotations

import csv
from pathlib import Path

from nnray.data.root import data_root
from nnray.errors import DataError

SMS_CLASSES = ("ham", "spam")
Labelled = list[tuple[str, str]]
"""Texts and what they are called."""


def read_sms(path: Path) -> Labelled:
    """Messages of the file ``SMSSpamCollection``, which quotes nothing.

    Raises:
        DataError: It is unreadable or empty, or a line is not a class, a tab and a text.
    """
    rows = []
    for number, line in enumerate(_text_of(path).split("\n"), 1):
        label, tab, text = line.rstrip("\r").partition("\t")
        if not line.strip():
            continue
        if not tab or label not in SMS_CLASSES:
            raise DataError(
                f"{path}, line {number}: {line[:80]!r}; expected ham or spam, a tab, and the message"
            )
        rows.append((text, label))
    return _some(rows, path)


def read_table(path: Path, *, text: str, label: str, delimiter: str = ",") -> Labelled:
    """Two columns of a CSV file.

    Args:
        path: The file, in UTF-8.
        text: Heading of the column of texts.
        label: Heading of the column of labels.
        delimiter: Between columns.

    Raises:
        DataError: It is unreadable or empty, lacks a column or has it twice, or a row lacks its label or is
            of another length.
    """
    lines = csv.reader(_text_of(path).splitlines(keepends=True), delimiter=delimiter, strict=True)
    try:
        heading = next(lines, [])
        if missing := [name for name in (text, label) if name not in heading]:
            raise DataError(
                f"{path}: has no column {', '.join(missing)}; it has {', '.join(heading)[:200] or 'none'}; "
                "set data.text and data.label to the headings of the texts and of their labels"
            )
        if twice := [name for name in (text, label) if heading.count(name) > 1]:
            raise DataError(f"{path}: has more than one column {', '.join(twice)}; name each but once")
        places = heading.index(text), heading.index(label)
        found = [
            _row(cells, places, f"{path}, line {lines.line_num}", count=len(heading))
            for cells in lines
            if cells
        ]
        return _some(found, path)
    except csv.Error as error:
        raise DataError(f"{path}, line {lines.line_num}: {error}; expected a CSV file") from error


def _row(cells: list[str], places: tuple[int, int], where: str, *, count: int) -> tuple[str, str]:
    if len(cells) <= max(places) or not cells[places[1]].strip():
        raise DataError(f"{where}: {cells!r:.80}; expected a text and a label that is not empty")
    if len(cells) != count:
        raise DataError(
            f"{where}: has {len(cells)} cells; expected {count}, as the first line has headings: set what "
            "holds a delimiter in quotation marks"
        )
    return cells[places[0]], cells[places[1]].strip()


def _text_of(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: unreadable ({error}); expected a text file in UTF-8") from error


def _some(rows: Labelled, path: Path) -> Labelled:
    if not rows:
        raise DataError(f"{path}: is empty; expected texts with a label each")
    return rows


def find_sms(root: Path) -> Path:
    """Where the file ``SMSSpamCollection`` stands.

    Raises:
        DataError: It isn't there.
    """
    places = [root / "sms_spam" / "SMSSpamCollection", root / "SMSSpamCollection"]
    for place in places:
        if place.is_file():
            return place
    raise DataError(
        f"sms_spam: there is no {places[0]} or {places[1]}; set data.root or $NNRAY_DATA to the folder "
        "that has the file SMSSpamCollection of UCI's set 228"
    )


def find_csv(root: str | None, file: str | None) -> Path:
    """The CSV file that is named, or the only one there is.

    Args:
        root: ``data.root`` of the experiment.
        file: Its name below the root.

    Raises:
        DataError: It isn't there, or there are several.
    """
    base = data_root(root)
    path = base / file if file else base
    if path.is_file():
        return path
    found = sorted(base.glob("*.csv")) if base.is_dir() and not file else []
    if len(found) == 1:
        return found[0]
    problem = f"{len(found)} CSV files are at {path}" if found else f"there is no file {path}"
    raise DataError(f"text_csv: {problem}; set data.root or data.file to the CSV file that has the texts")
