"""A request's body in MLflow's forms, as examples and what is asked of them.

``{"inputs": [...]}`` and ``{"instances": [...]}`` hold examples; ``dataframe_split``, ``dataframe_records``
and CSV hold tables, whose columns are taken by name where the model knows their names, else in their order.
A model that was trained on a table with texts takes its cells as they stand in a file; lists of examples are
encoded already.
Source: MLflow's manual, "Serving Models".
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, get_args

from nnray.runners.serving.cells import Cells
from nnray.runners.serving.refusal import Refusal, bad_request, kind
from nnray.runners.serving.signature import Signature

Output = Literal["logits", "probabilities", "classes"]
JSON, CSV = "application/json", "text/csv"


@dataclass(frozen=True, slots=True)
class Payload:
    """What a request asks.

    Args:
        examples: As nested lists, or the cells of a table, unchecked.
        output: What is asked of them; None where the body doesn't say.
    """

    examples: Any
    output: Output | None = None


def read_payload(body: bytes, *, content_type: str, encoding: str, signature: Signature) -> Payload:
    """Read a request's body.

    Args:
        body: As it was sent.
        content_type: Its header; empty where there is none.
        encoding: The header ``Content-Encoding``; empty where there is none.
        signature: Of the model, for tables.

    Raises:
        Refusal: Another type, or not what it says it is.
    """
    if encoding not in ("", "identity"):
        raise _unsupported(f"Content-Encoding {encoding!r} is not taken; send the body as it is")
    media_type, charset = _media_type(content_type)
    if charset not in ("utf-8", "utf8", ""):
        raise _unsupported(f"charset {charset!r} is not taken; send UTF-8")
    if media_type not in (JSON, CSV):
        raise _unsupported(f"Content-Type {content_type!r} is not taken; allowed: {JSON}, {CSV}")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise bad_request(f"the body is not UTF-8 at byte {error.start}") from error
    return _of_json(text, signature) if media_type == JSON else _of_csv(text, signature)


def as_output(value: Any) -> Output:
    """Check what is asked for.

    Raises:
        Refusal: It is nothing that can be given.
    """
    if value not in get_args(Output):
        raise bad_request(f"output is {value!r}; allowed: {', '.join(get_args(Output))}")
    return value  # type: ignore[no-any-return]


def _media_type(header: str) -> tuple[str, str]:
    first, *parameters = (part.strip() for part in header.split(";"))
    pairs = dict(part.partition("=")[::2] for part in parameters)
    return first.lower(), pairs.get("charset", "").strip('"').lower()


def _unsupported(sentence: str) -> Refusal:
    return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, sentence)


def _of_json(text: str, signature: Signature) -> Payload:
    value = _parse(text)
    if not isinstance(value, dict):
        raise bad_request(f"expected an object with one of {', '.join(_FORMS)}, got {kind(value)}")
    if unknown := sorted(value.keys() - _FORMS.keys() - {"params"}):
        raise bad_request(f"unknown key {unknown[0]!r}; allowed: {', '.join(_FORMS)}, and params")
    forms = [form for form in _FORMS if form in value]
    if len(forms) != 1:
        raise bad_request(f"expected exactly one of {', '.join(_FORMS)}, got {' and '.join(forms) or 'none'}")
    examples = _FORMS[forms[0]](value[forms[0]], signature)
    if signature.encoder is not None and forms[0] in _TABLES:
        examples = Cells(examples)
    return Payload(examples, _output(value.get("params")))


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise bad_request("the JSON is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise bad_request(f"the body is not JSON: {error}") from error
    except ValueError as error:
        raise bad_request("the JSON holds a number with thousands of digits") from error


def _output(params: Any) -> Output | None:
    if params is None:
        return None
    if not isinstance(params, dict) or (params.keys() - {"output"}):
        raise bad_request('params may be {"output": ...} and nothing else')
    return as_output(params["output"]) if params else None


def _examples(value: Any, signature: Signature) -> Any:
    if isinstance(value, dict):
        raise bad_request("the model takes one tensor without a name; send a list of examples, not an object")
    return value


def _split(value: Any, signature: Signature) -> Any:
    _require_table("dataframe_split", signature)
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise bad_request('dataframe_split has to be {"columns": [...], "data": [[...], ...]}')
    columns = value.get("columns")
    width = len(signature.columns) or signature.shape[0]
    is_wrong = not isinstance(columns, list) or (not signature.columns and len(columns) != width)
    if columns is not None and is_wrong:
        got = f"{len(columns)} columns" if isinstance(columns, list) else kind(columns)
        raise bad_request(f"dataframe_split has {got}; expected {width}, in the order of training")
    return value["data"] if columns is None else _ordered(value["data"], columns, signature)


def _records(value: Any, signature: Signature) -> Any:
    _require_table("dataframe_records", signature)
    if not isinstance(value, list) or not all(isinstance(record, dict) for record in value):
        raise bad_request("dataframe_records has to be a list of objects, one for each example")
    if not value:
        return value
    names = list(value[0])
    for index, record in enumerate(value):
        if record.keys() != set(names):
            raise bad_request(f"record {index} has other columns than record 0; all need the same")
    return _ordered([[record[name] for name in names] for record in value], names, signature)


def _ordered(rows: list[Any], names: list[Any], signature: Signature) -> list[Any]:
    """Rows with their values in the model's order, where it knows the columns' names."""
    if not signature.columns or names == list(signature.columns):
        return rows
    if missing := [name for name in signature.columns if name not in names]:
        raise bad_request(
            f"there is no column {missing[0]!r}; the model takes {', '.join(signature.columns)[:500]}"
        )
    if twice := [name for name in signature.columns if names.count(name) > 1]:
        raise bad_request(f"there is more than one column {twice[0]!r}; name each but once")
    places = [names.index(name) for name in signature.columns]
    if any(not isinstance(row, list) or len(row) != len(names) for row in rows):
        raise bad_request(f"dataframe_split has {len(names)} columns; each row of data needs as many values")
    return [[row[place] for place in places] for row in rows]


_FORMS: Mapping[str, Callable[[Any, Signature], Any]] = {
    "inputs": _examples,
    "instances": _examples,
    "dataframe_split": _split,
    "dataframe_records": _records,
}
_TABLES = ("dataframe_split", "dataframe_records")


def _require_table(form: str, signature: Signature) -> None:
    if len(signature.shape) != 1:
        raise bad_request(f"{form} is for tables; this model takes images of shape {list(signature.shape)}")


def _of_csv(text: str, signature: Signature) -> Payload:
    if len(signature.shape) != 1:
        sentence = (
            f"{CSV} is for tables; this model takes images of shape {list(signature.shape)}: send {JSON}"
        )
        raise _unsupported(sentence)
    try:
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except csv.Error as error:
        raise bad_request(f"the body is not CSV: {error}") from error
    except ValueError as error:
        raise bad_request("the body is empty; expected a line of column names, then the examples") from error
    wrong = next((i for i, row in enumerate(rows) if len(row) != len(header)), None)
    if wrong is not None:
        raise bad_request(f"example {wrong} has {len(rows[wrong])} cells; the first line has {len(header)}")
    # Files are read without the spaces around names of columns.
    names = header if signature.encoder is None else [name.strip() for name in header]
    rows = _ordered(rows, names, signature)
    if signature.encoder is not None:
        return Payload(Cells(rows))
    return Payload([[_cell(cell, index) for cell in row] for index, row in enumerate(rows)])


def _cell(cell: str, example: int) -> float | None:
    if not cell.strip():
        return None
    try:
        return float(cell)
    except ValueError as error:
        raise bad_request(f"example {example} holds {cell[:40]!r}; expected a number") from error
