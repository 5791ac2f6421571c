"""Any table: typed columns of CSV or Parquet files, in memory, and one column that is to be answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from nnray.data.groups import GroupReader, Groups, numbered_groups
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.data.stratify import split_off
from nnray.data.stream_files import Place, by_split, files_below, locate
from nnray.data.table_columns import Encoder, encoder_from_json, fit_encoder
from nnray.data.table_files import Sheet, read_sheet, require_columns
from nnray.data.table_types import Answers, TargetType, Typing, answers_of, quantities_of
from nnray.errors import DataError
from nnray.fields import NonNegative, NonNegativeInt
from nnray.seeding import derive

_SUFFIXES = (".csv", ".parquet", ".pq")


def table(
    *,
    root: str | None = None,
    folder: str = "",
    label: str = "label",
    target: TargetType = "auto",
    columns: list[str] | None = None,
    drop: list[str] | None = None,
    numbers: list[str] | None = None,
    categories: list[str] | None = None,
    missing: list[str] | None = None,
    indicators: bool = False,
    group_by: str | None = None,
    delimiter: str = ",",
    test: NonNegative = 0.2,
    split_seed: NonNegativeInt = 0,
) -> DataSplits:
    """CSV or Parquet files of numbers and texts, empty cells among them, and a column of classes or numbers.

    Files of splits stand in folders or have names that begin with train, val and test. A column is a quantity
    where all its cells are numbers, else it names a category; `numbers` and `categories` say otherwise.

    Args:
        root: A folder, a file, or a URI such as ``s3://bucket/folder``.
        folder: Path below the root.
        label: Column that is to be answered.
        target: Whether answers are class or number; auto: classes if they are texts, or at most 20
            different whole numbers.
        columns: Columns of the inputs, in order; None: all but the label.
        drop: Columns to leave out, such as names and numbers of the rows.
        numbers: Columns that are quantities.
        categories: Columns that name a category, such as codes that are numbers.
        missing: Cells that hold nothing, beside empty ones, ?, NA, NaN, null and None.
        indicators: Whether a quantity that lacks values gets one more input, which tells where it does.
        group_by: Column that parts examples into natural clients; name it in `drop` if it is no input.
        delimiter: Between the cells of CSV files, one character.
        test: Share (below 1) or count of the examples to test on, stratified by class, 0 for none; not used
            if there are files of test.
        split_seed: Which of them; its own, so that experiments of any seed test on the same examples.
    """
    if len(delimiter) != 1:
        raise DataError(f"data.delimiter: got {delimiter!r}; allowed: one character, such as ',' or \"\\t\"")
    place = locate(root, name="table", below=folder)
    readers = _readers(place, delimiter=delimiter)
    sheets = {split: readers[split]() for split in ("train", "val") if split in readers}
    whole = sheets["train"]
    require_columns([group_by] if group_by else [], whole.names, where=whole.where)
    names = _inputs(whole, label, columns=columns, drop=drop or [])
    known = [cell.strip() for sheet in sheets.values() for cell in sheet.column(label)]
    typing = Typing(tuple(numbers or ()), tuple(categories or ()), tuple(missing or ()))
    answers = answers_of(known, target=target, where=f"{whole.where}: {label}", missing=typing.missing)
    read = _Reading(names, label, answers, typing, indicators)
    train, later = whole, readers.get("test")
    if later is None and test:
        train, later = _parted(read, whole, test=test, split_seed=split_seed)
    groups = partial(_groups, train, group_by) if group_by else None
    return _splits(read, train, val=sheets.get("val"), test=later, groups=groups)


def encoded_rows(root: str, info: DataInfo, *, label: str) -> DataSplits:
    """All rows of somebody's own table, encoded as those that a model learnt from: nothing is learnt of them.

    Args:
        root: A folder or a file.
        info: Of the model: its encoder and its classes.
        label: Column that is to be answered.

    Raises:
        DataError: A column is not there, or a row is no example for the model.
    """
    place = locate(root, name="table")
    paths = tuple(files_below(place, _SUFFIXES))
    if not paths:
        raise DataError(f"table: no {' or '.join(_SUFFIXES)} file at {place.shown}")
    encoder = encoder_from_json(info.encoder)
    sheet = read_sheet(place, paths, columns=(*encoder.names, label))
    read = _Reading(encoder.names, label, Answers(info.classes), Typing(), bool(encoder.indicators))
    return DataSplits(read.examples(sheet, encoder), None, None, info)


def _readers(place: Place, *, delimiter: str) -> dict[str, Callable[[], Sheet]]:
    """By split, what reads its files."""
    files = by_split(place, _SUFFIXES, name="table")
    return {split: partial(read_sheet, place, paths, delimiter=delimiter) for split, paths in files.items()}


@dataclass(frozen=True, slots=True)
class _Reading:
    """How sheets become examples."""

    names: tuple[str, ...]
    label: str
    answers: Answers
    typing: Typing
    indicators: bool

    def fitted(self, rows: list[list[str]], *, where: str) -> Encoder:
        """Learn from rows what their columns are and hold."""
        quantities = quantities_of(rows, self.names, typing=self.typing, where=where)
        return fit_encoder(
            rows,
            self.names,
            quantities=quantities,
            where=where,
            indicators=self.indicators,
            missing=self.typing.missing,
        )

    def targets(self, sheet: Sheet) -> Tensor:
        cells = [cell.strip() for cell in sheet.column(self.label)]
        return self.answers.encode(cells, where=f"{sheet.where}: {self.label}")

    def examples(self, sheet: Sheet, encoder: Encoder) -> Examples:
        return Examples(encoder.encode(sheet.cells(self.names), where=sheet.where), self.targets(sheet))


def _inputs(sheet: Sheet, label: str, *, columns: list[str] | None, drop: list[str]) -> tuple[str, ...]:
    """Names of the columns that are inputs."""
    require_columns([label, *(columns or ()), *drop], sheet.names, where=sheet.where)
    chosen = tuple(name for name in columns or sheet.names if name not in (label, *drop))
    if not chosen:
        raise DataError(f"{sheet.where}: no column is left beside {label}; name some in data.columns")
    if columns and (twice := sorted({name for name in columns if columns.count(name) > 1})):
        raise DataError(f"data.columns names {', '.join(twice)} twice; name each but once")
    require_columns(chosen, sheet.names, where=sheet.where)
    return chosen


def _parted(
    read: _Reading, whole: Sheet, *, test: float, split_seed: int
) -> tuple[Sheet, Callable[[], Sheet]]:
    """The rows to learn from, and those to test on."""
    targets = read.targets(whole)
    classes = targets if read.answers.classes else torch.zeros(len(targets), dtype=torch.int64)
    held, rest = split_off(classes, amount=test, seed=derive(split_seed, "table", "test"), key="data.test")
    return whole.take(rest.tolist()), lambda: whole.take(held.tolist())


def _splits(
    read: _Reading,
    train: Sheet,
    *,
    val: Sheet | None,
    test: Callable[[], Sheet] | None,
    groups: GroupReader | None,
) -> DataSplits:
    """Learn from the rows to learn from how cells are encoded, or from some of them."""
    rows = train.cells(read.names)

    def splits(known: Tensor) -> DataSplits:
        encoder = read.fitted([rows[at] for at in known.tolist()], where=train.where)
        examples = read.examples(train, encoder)
        later = None if test is None else (lambda: read.examples(test(), encoder))
        held = None if val is None else read.examples(val, encoder)
        return DataSplits(examples, held, later, _info(read, encoder), groups, refit=splits)

    return splits(torch.arange(len(rows)))


def _info(read: _Reading, encoder: Encoder) -> DataInfo:
    info = encoder.info("table", classes=read.answers.classes, train=torch.zeros(0, len(encoder.features)))
    # Whatever rows come later may lack a quantity, also where those that are learnt from have it.
    missing = None in encoder.categories
    return replace(info, missing=missing, targets="class" if read.answers.classes else "numbers")


def _groups(sheet: Sheet, column: str) -> Groups:
    return numbered_groups([cell.strip() or "unknown" for cell in sheet.column(column)], kind=column)
