"""What is answered, and what is refused: a 4xx with one sentence, whatever a client sends."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from nnray.runners.serving.app import Application, Limits
from nnray.runners.serving.engine import Engine
from tests.unit.runners.serving.asgi import GAPPY, IMAGES, JSON, TABLE, application, ask, call, logits

ROWS = [[1.0, 2.0, 3.0], [0.5, -1.0, 4.0]]
PIXELS = [[[[0.0, 0.25], [0.5, 1.0]]]]
CSV = {"content-type": "text/csv"}


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": ROWS},
        {"instances": ROWS},
        {"dataframe_split": {"columns": ["a", "b", "c"], "data": ROWS}},
        {"dataframe_split": {"columns": ["a", "b", "c"], "index": [0, 1], "data": ROWS}},
        {"dataframe_records": [dict(zip("abc", row, strict=True)) for row in ROWS]},
        {"dataframe_records": [dict(zip("abc", ROWS[0], strict=True)), {"c": 4.0, "b": -1.0, "a": 0.5}]},
        {"inputs": ROWS, "params": None},
        {"inputs": ROWS, "params": {}},
        {"inputs": ROWS, "params": {"output": "logits"}},
    ],
)
def test_every_form_gives_the_same(body: Any) -> None:
    status, answered = ask(application(), body)
    assert status == 200
    assert answered == {"predictions": [pytest.approx(row) for row in logits(TABLE, ROWS)]}


def test_a_table_in_csv_gives_the_same() -> None:
    status, answered = ask(application(), b"a,b,c\r\n1,2,3\n0.5,-1,4.0\n", headers=CSV)
    assert (status, answered) == (200, {"predictions": logits(TABLE, ROWS)})


NAMED = replace(TABLE, columns=("a", "b", "c"))


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"dataframe_split": {"columns": ["c", "a", "b"], "data": [[3, 1, 2], [4, 0.5, -1]]}}, JSON),
        ({"dataframe_records": [{"c": 3, "b": 2, "a": 1}, {"a": 0.5, "b": -1, "c": 4}]}, JSON),
        (b"c,b,a\n3,2,1\n4,-1,0.5\n", CSV),
        (b"c,name,b,a\n3,ann,2,1\n4,joe,-1,0.5\n", CSV),
        (
            {"dataframe_split": {"columns": ["x", "c", "a", "b"], "data": [[9, 3, 1, 2], [9, 4, 0.5, -1]]}},
            JSON,
        ),
        ({"dataframe_split": {"data": ROWS}}, JSON),
        ({"inputs": ROWS}, JSON),
    ],
)
def test_columns_are_taken_by_name_where_the_names_are_known(body: Any, headers: dict[str, str]) -> None:
    assert ask(application(NAMED), body, headers=headers) == (200, {"predictions": logits(TABLE, ROWS)})


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (b"a,b,d\n1,2,3\n", CSV, "there is no column 'c'; the model takes a, b, c"),
        ({"dataframe_split": {"columns": ["a", ["b"], "c"], "data": ROWS}}, JSON, "there is no column 'b'"),
        ({"dataframe_split": {"columns": ["b", "a", "c"], "data": [[1, 2]]}}, JSON, "needs as many values"),
        ({"dataframe_records": [{"a": 1, "b": 2, "x": 3}]}, JSON, "there is no column 'c'"),
    ],
)
def test_a_column_that_is_not_there_is_said(body: Any, headers: dict[str, str], said: str) -> None:
    status, answered = ask(application(NAMED), body, headers=headers)
    assert status == 400 and said in answered["error"]


def test_images_are_taken() -> None:
    status, answered = ask(application(IMAGES), {"inputs": PIXELS})
    assert (status, answered) == (200, {"predictions": logits(IMAGES, PIXELS)})


def test_what_is_missing_is_null_or_nan_where_it_may_be() -> None:
    expected = {"predictions": logits(GAPPY, [[1.0, 0.0, 3.0]])}
    for body in (b'{"inputs": [[1, null, 3]]}', b'{"inputs": [[1, NaN, 3]]}'):
        assert ask(application(GAPPY), body) == (200, expected)
    assert ask(application(GAPPY), b"a,b,c\n1,,3\n", headers=CSV) == (200, expected)


@pytest.mark.parametrize("where", ["params", "query"])
def test_probabilities_are_the_softmax_and_classes_their_largest(where: str) -> None:
    def asked(output: str) -> Any:
        body: dict[str, Any] = {"inputs": ROWS}
        if where == "params":
            return ask(application(), body | {"params": {"output": output}})[1]["predictions"]
        return ask(application(), body, query=f"output={output}")[1]["predictions"]

    exact = torch.softmax(torch.tensor(logits(TABLE, ROWS), dtype=torch.float64), 1).tolist()
    assert asked("probabilities") == [pytest.approx(row, abs=1e-12) for row in exact]
    for row, named in zip(exact, asked("classes"), strict=True):
        label = row.index(max(row))
        assert named == {
            "label": label,
            "class": TABLE.classes[label],
            "confidence": pytest.approx(max(row), abs=1e-12),
        }


BAD: list[tuple[Any, str]] = [
    (b"", "the body is not JSON"),
    (b"{", "the body is not JSON"),
    (b"\xff\xfe", "not UTF-8 at byte 0"),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"inputs": [[' + b"9" * 5000 + b", 1, 1]]}", "thousands of digits"),
    (b'{"inputs": [[1e400, 1, 1]]}', "example 0 holds inf"),
    (b'{"inputs": [[1, 1, 1], [1, 1e39, 1]]}', "example 1 holds inf"),
    (b'{"inputs": [[' + b"9" * 400 + b", 1, 1]]}", "example 0 holds inf"),
    (b'{"inputs": [[-' + b"9" * 400 + b", 1, 1]]}", "example 0 holds -inf"),
    (b'{"inputs": [[1, 1, 1], [NaN, 1, 1]]}', "example 1 holds nan"),
    (b'{"inputs": [[-Infinity, 1, 1]]}', "example 0 holds -inf"),
    ([1], "expected an object with one of inputs"),
    ({}, "expected exactly one of inputs"),
    ({"inputs": ROWS, "instances": ROWS}, "got inputs and instances"),
    ({"inputs": ROWS, "paramz": 1}, "unknown key 'paramz'"),
    ({"inputs": ROWS, "params": {"outputs": 1}}, "params may be"),
    ({"inputs": ROWS, "params": [1]}, "params may be"),
    ({"inputs": ROWS, "params": {"output": "class"}}, "allowed: logits, probabilities, classes"),
    ({"inputs": ROWS, "params": {"output": ["logits"]}}, "allowed: logits, probabilities, classes"),
    ({"inputs": None}, "expected a list of examples of shape [3], got null"),
    ({"inputs": 3}, "got a number"),
    ({"inputs": {"x": ROWS}}, "not an object"),
    ({"instances": "abc"}, "got a string"),
    ({"inputs": []}, "no example"),
    ({"inputs": [1, 2, 3]}, "example 0 has shape []; expected [3]"),
    ({"inputs": [[1, 2, 3], [1, 2]]}, "example 1 has shape [2]; expected [3]"),
    ({"inputs": [[1, 2, 3, 4]]}, "example 0 has shape [4]"),
    ({"inputs": [[[1, 2, 3]]]}, "example 0 has shape [1, 3]"),
    ({"inputs": [[1, 2, [3]]]}, "example 0 holds a list"),
    ({"inputs": [[1, 2, 3], [1, "2", 3]]}, "example 1 holds a string; expected numbers"),
    ({"inputs": [[1, True, 3]]}, "example 0 holds true or false"),
    ({"inputs": [[1, None, 3]]}, "example 0 holds null; expected numbers"),
    ({"inputs": [[1, {}, 3]]}, "example 0 holds an object"),
    ({"dataframe_split": ROWS}, "dataframe_split has to be"),
    ({"dataframe_split": {"data": 3}}, "dataframe_split has to be"),
    ({"dataframe_split": {"columns": ["a"], "data": ROWS}}, "has 1 columns; expected 3"),
    ({"dataframe_split": {"columns": 7, "data": ROWS}}, "has a number; expected 3"),
    ({"dataframe_records": {"a": 1}}, "dataframe_records has to be a list"),
    ({"dataframe_records": [1]}, "dataframe_records has to be a list"),
    ({"dataframe_records": [{"a": 1, "b": 2, "c": 3}, {"a": 1}]}, "record 1 has other columns"),
    ({"dataframe_records": []}, "no example"),
]


@pytest.mark.parametrize(("body", "sentence"), BAD)
def test_a_bad_body_is_refused_in_a_sentence(body: Any, sentence: str) -> None:
    status, answered = ask(application(), body)
    assert status == 400
    assert list(answered) == ["error"]
    assert sentence in answered["error"]
    assert "Traceback" not in answered["error"] and "\n" not in answered["error"]
    assert len(answered["error"]) < 300


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the body is empty"),
        (b"a,b,c\n", "no example"),
        (b"a,b,c\n1,2\n", "example 0 has 2 cells; the first line has 3"),
        (b"a,b\n1,2\n", "example 0 has shape [2]"),
        (b"a,b,c\n1,2,3\n1,x,3\n", "example 1 holds 'x'"),
        (b"a,b,c\n1,,3\n", "example 0 holds null"),
        (b'a,b,c\n1,2,"3\n', "not CSV"),
        (b"a,b,c\n1,2,inf\n", "example 0 holds inf"),
    ],
)
def test_bad_csv_is_refused(body: bytes, sentence: str) -> None:
    status, answered = ask(application(), body, headers=CSV)
    assert status == 400
    assert sentence in answered["error"]


@pytest.mark.parametrize(
    ("signature", "body", "sentence"),
    [
        (IMAGES, {"inputs": [[[0.0, 0.0], [0.0, 0.0]]]}, "example 0 has shape [2, 2]; expected [1, 2, 2]"),
        (IMAGES, {"inputs": [PIXELS[0], [[[0, 0], [0]]]]}, "example 1 has shape [1, 2, 2]"),
        (IMAGES, {"inputs": [[[[0, 128], [255, 0]]]]}, "the pixel 128; pixels go from 0 to 1: divide by 255"),
        (IMAGES, {"inputs": [[[[0, -0.5], [0, 0]]]]}, "the pixel -0.5"),
        (IMAGES, {"dataframe_split": {"data": [[1, 2, 3, 4]]}}, "dataframe_split is for tables"),
        (IMAGES, {"dataframe_records": [{"a": 1}]}, "dataframe_records is for tables"),
        (GAPPY, b'{"inputs": [[1, Infinity, null]]}', "example 0 holds inf"),
        (GAPPY, {"inputs": [[1, "", None]]}, "holds a string; expected numbers, or null where missing"),
    ],
)
def test_what_the_signature_does_not_allow_is_refused(signature: Any, body: Any, sentence: str) -> None:
    status, answered = ask(application(signature), body)
    assert status == 400
    assert sentence in answered["error"]


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        ({}, "Content-Type '' is not taken; allowed: application/json, text/csv"),
        ({"content-type": "text/plain"}, "'text/plain' is not taken"),
        ({"content-type": "application/json; charset=latin-1"}, "charset 'latin-1'"),
        (JSON | {"content-encoding": "gzip"}, "Content-Encoding 'gzip'"),
    ],
)
def test_another_content_type_is_415(headers: dict[str, str], sentence: str) -> None:
    status, answered = ask(application(), {"inputs": ROWS}, headers=headers)
    assert status == 415
    assert sentence in answered["error"]


def test_csv_is_for_tables() -> None:
    status, answered = ask(application(IMAGES), b"a\n1\n", headers=CSV)
    assert status == 415
    assert "this model takes images" in answered["error"]


@pytest.mark.parametrize("header", ["application/json;charset=UTF-8", 'Application/JSON; charset="utf-8"'])
def test_a_charset_that_is_utf_8_is_taken(header: str) -> None:
    assert ask(application(), {"inputs": ROWS}, headers={"content-type": header})[0] == 200


def test_a_large_body_is_413_and_read_to_its_end() -> None:
    app = application(limits=Limits(body_bytes=1000))
    chunks = iter([b"x" * 400] * 10)
    status, answered, _ = asyncio.run(call(app, chunks))
    assert status == 413
    assert answered == {
        "error": "the body has 4000 bytes; at most 1000 are taken: send fewer examples at once"
    }
    exact = json.dumps({"inputs": ROWS}).encode().ljust(1000)
    assert ask(app, exact)[0] == 200
    assert ask(app, exact + b" ")[0] == 413


def test_too_many_examples_are_413() -> None:
    app = Application(Engine(nn.Identity()), type(TABLE)((3,), ("no", "yes"), most=2))
    assert ask(app, {"inputs": ROWS})[0] == 200
    status, answered = ask(app, {"inputs": [*ROWS, ROWS[0]]})
    assert (status, answered) == (
        413,
        {"error": "3 examples in one request; at most 2 are taken: send several"},
    )


def test_a_body_that_does_not_come_is_408() -> None:
    async def waits(app: Application) -> list[Any]:
        sent: list[Any] = []

        async def never() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": []}
        await app(scope, never, send)
        return sent

    start, end = asyncio.run(waits(application(limits=Limits(read_s=0.01))))
    assert start["status"] == 408
    assert json.loads(end["body"]) == {"error": "the body did not come within 0.01 s"}


def test_a_client_that_hangs_up_is_not_answered() -> None:
    async def hangs_up() -> list[Any]:
        sent: list[Any] = []

        async def gone() -> Any:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": []}
        await application()(scope, gone, send)
        return sent

    assert asyncio.run(hangs_up()) == []


@pytest.mark.parametrize("path", ["/ping", "/health"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_it_says_that_it_is_well(path: str, method: str) -> None:
    assert ask(application(), b"", path=path, method=method) == (200, "\n")


def test_version_is_mlflows_as_its_clients_expect() -> None:
    assert ask(application(), b"", path="/version", method="GET") == (200, version("mlflow"))


def test_the_root_says_what_the_model_is() -> None:
    expected = {"model": "linear", "shape": [3], "classes": ["no", "yes"], "missing": False}
    assert ask(application(), b"", path="/", method="GET") == (200, expected)


def test_an_unknown_path_is_404_and_names_those_that_are() -> None:
    status, answered = ask(application(), {"inputs": ROWS}, path="/predict")
    assert status == 404
    assert answered["error"] == "there is no '/predict'; there are /, /ping, /health, /version, /invocations"


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("GET", "/invocations", "POST"), ("POST", "/ping", "GET")]
)
def test_another_method_is_405(method: str, path: str, allowed: str) -> None:
    status, answered, headers = asyncio.run(call(application(), method=method, path=path))
    assert status == 405
    assert answered == {"error": f"{path} takes {allowed}, not {method}"}
    assert headers["allow"] == allowed


@pytest.mark.parametrize(
    ("query", "sentence"), [("output=x", "output is 'x'"), ("probabilities", "unknown parameter")]
)
def test_the_address_is_checked_too(query: str, sentence: str) -> None:
    status, answered = ask(application(), {"inputs": ROWS}, query=query)
    assert status == 400
    assert sentence in answered["error"]


def test_two_wishes_that_differ_are_refused() -> None:
    body = {"inputs": ROWS, "params": {"output": "logits"}}
    status, answered = ask(application(), body, query="output=classes")
    assert status == 400
    assert "'classes' in the address, but 'logits' in params" in answered["error"]
    assert ask(application(), body, query="output=logits")[0] == 200


class _Gives(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.where(inputs[:, :2] > 3, self.value, 0.0)


def test_a_model_that_gives_no_number_is_a_500_in_words() -> None:
    app = Application(Engine(_Gives(math.nan)), TABLE)
    assert ask(app, {"inputs": ROWS})[0] == 200
    status, answered = ask(app, {"inputs": [*ROWS, [9, 0, 0]]})
    assert status == 500
    assert answered == {"error": "the model gave logits for example 2 that are not finite numbers"}
    # A class that a vote rules out has the logit -inf, and the probability 0.
    ruled_out = Application(Engine(_Gives(-math.inf)), TABLE)
    assert ask(ruled_out, {"inputs": [[9, 0, 0]]}, query="output=probabilities") == (
        200,
        {"predictions": [[0.0, 1.0]]},
    )


class _Breaks(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        raise RuntimeError("secret of the server")


def test_a_fault_is_a_500_without_its_details(caplog: pytest.LogCaptureFixture) -> None:
    status, answered = ask(Application(Engine(_Breaks()), TABLE), {"inputs": ROWS})
    assert (status, answered) == (500, {"error": "the server failed; its log says why"})
    assert "secret of the server" in caplog.text


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)
_FORMS = st.sampled_from(["inputs", "instances", "dataframe_split", "dataframe_records", "x"])


@given(
    st.binary(max_size=60) | _ANY | st.dictionaries(_FORMS, _ANY, max_size=2), st.sampled_from([JSON, CSV])
)
def test_no_body_breaks_it(body: Any, headers: dict[str, str]) -> None:
    for signature in (TABLE, GAPPY, IMAGES):
        status, answered = ask(application(signature), body, headers=headers)
        assert status in (200, 400, 415)
        assert ("error" in answered) == (status != 200)


@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), min_size=1, max_size=9))
def test_values_arrive_bit_for_bit(rows: list[list[float]]) -> None:
    assert torch.equal(TABLE.tensor(rows), torch.tensor(rows, dtype=torch.float32))
