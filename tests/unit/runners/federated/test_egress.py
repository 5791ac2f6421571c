"""The gate of a site: all that is not declared is refused, and everything is logged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnray.errors import NnrayError
from nnray.runners.federated.egress import (
    Declared,
    Form,
    Gate,
    Payload,
    Refused,
    from_bytes,
    problems,
    shown,
    to_bytes,
)

SCHEMA = {
    "update": Declared(
        {"vector.delta": Form(torch.float32, (4,)), "count": Form(torch.int64)}, most_words=1, max_norm=10.0
    ),
    "shape": Declared({"input_shape": Form(torch.int64, (-1,))}),
}
GOOD = Payload("update", 1, 3, {"vector.delta": torch.ones(4), "count": torch.tensor(7)}, ("well",))
NAMES = st.text(min_size=1, max_size=12).filter(lambda name: name not in GOOD.tensors)
DTYPES = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64]


def with_tensors(**tensors: torch.Tensor) -> Payload:
    return replace(GOOD, tensors={**GOOD.tensors, **{k.replace("__", "."): v for k, v in tensors.items()}})


def gate(tmp_path: Path) -> Gate:
    return Gate(SCHEMA, log=tmp_path / "egress" / "run.jsonl", site="north")


def logged(tmp_path: Path) -> list[dict[str, Any]]:
    text = (tmp_path / "egress" / "run.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_what_is_declared_goes_out_and_comes_in_as_it_was(tmp_path: Path) -> None:
    sealed = gate(tmp_path).seal(GOOD)
    found = from_bytes(sealed, SCHEMA)
    assert (found.kind, found.client, found.round, found.words) == ("update", 1, 3, ("well",))
    assert found.tensors.keys() == GOOD.tensors.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in GOOD.tensors.items())
    (line,) = logged(tmp_path)
    assert line["sent"] is True
    assert line["sha256"] == hashlib.sha256(sealed).hexdigest()
    assert line["bytes"] == len(sealed)
    assert (line["round"], line["kind"], line["norm"]) == (3, "update", 2.0)
    assert dict(zip(line["names"], line["shapes"], strict=True)) == {"vector.delta": [4], "count": []}


@given(name=NAMES)
def test_no_name_that_is_not_declared(name: str) -> None:
    found = list(problems(replace(GOOD, tensors={**GOOD.tensors, name: torch.zeros(1)}), SCHEMA))
    assert found == [f"{shown(name)} is not declared"]


@given(kind=st.text(max_size=12).filter(lambda kind: kind not in SCHEMA))
def test_no_kind_that_is_not_declared(kind: str) -> None:
    assert list(problems(replace(GOOD, kind=kind), SCHEMA))


@given(shape=st.lists(st.integers(0, 5), max_size=3).filter(lambda shape: shape != [4]))
def test_no_other_shape(shape: list[int]) -> None:
    (found,) = problems(with_tensors(vector__delta=torch.zeros(shape)), SCHEMA)
    assert found == f"vector.delta is float32{shape}, declared as float32[4]"


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_other_type(dtype: torch.dtype) -> None:
    (found,) = problems(with_tensors(vector__delta=torch.ones(4).to(dtype)), SCHEMA)
    assert "declared as float32[4]" in found


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("place", range(4))
def test_nothing_that_is_not_finite(value: float, place: int) -> None:
    delta = torch.zeros(4)
    delta[place] = value
    found = list(problems(with_tensors(vector__delta=delta), SCHEMA))
    assert found[0] == "vector.delta has values that are not finite"


@pytest.mark.parametrize("name", sorted(GOOD.tensors))
def test_nothing_less_than_declared(name: str) -> None:
    left = {other: tensor for other, tensor in GOOD.tensors.items() if other != name}
    assert list(problems(replace(GOOD, tensors=left), SCHEMA)) == [f"{name} is missing"]


@pytest.mark.parametrize("words", [("a", "b"), ("x" * 501,)])
def test_no_more_words(words: tuple[str, ...]) -> None:
    assert list(problems(replace(GOOD, words=words), SCHEMA))


@pytest.mark.parametrize(("length", "fits"), [(5.0, True), (5.001, False)])
def test_no_longer_update_than_allowed(length: float, fits: bool) -> None:
    found = list(problems(with_tensors(vector__delta=torch.full((4,), length)), SCHEMA))
    assert found == ([] if fits else ["its vectors are longer than federated.max_update_norm, 10"])


@pytest.mark.parametrize(("lengths", "fits"), [(0, True), (8, True), (9, False)])
def test_an_open_length_is_short(lengths: int, fits: bool) -> None:
    payload = Payload("shape", 0, tensors={"input_shape": torch.zeros(lengths, dtype=torch.int64)})
    assert (list(problems(payload, SCHEMA)) == []) is fits


def test_what_is_refused_is_logged_and_named_without_a_value(tmp_path: Path) -> None:
    secret = torch.full((5,), 0.123456)
    with pytest.raises(
        Refused, match="gate of site north lets update not out: extra is not declared"
    ) as caught:
        gate(tmp_path).seal(with_tensors(extra=secret))
    assert "0.123" not in str(caught.value)
    (line,) = logged(tmp_path)
    assert (line["sent"], line["bytes"], line["sha256"]) == (False, 0, None)
    assert line["why"] == ["extra is not declared"]
    assert "extra" in line["names"]


def test_a_name_that_could_be_data_is_not_said(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        gate(tmp_path).seal(with_tensors(**{"Jane Doe, born 1970": torch.zeros(1)}))
    assert "Jane" not in str(caught.value)
    assert "Jane" not in (tmp_path / "egress" / "run.jsonl").read_text()


def raised(make: Callable[[], BaseException]) -> BaseException:
    try:
        raise make()
    except BaseException as error:  # noqa: BLE001 (any)
        return error


@pytest.mark.parametrize(
    "make",
    [lambda: ValueError("CANARY"), lambda: NnrayError("CANARY"), lambda: SystemExit("CANARY"),
     lambda: type("CANARY name", (Exception,), {})("x")],
)  # fmt: skip
def test_of_an_error_its_type_alone_goes_out(make: Callable[[], BaseException], tmp_path: Path) -> None:
    error = raised(make)
    sealed = gate(tmp_path).failure(error, client=1, number=2)
    assert b"CANARY" not in sealed
    kind, said = from_bytes(sealed, SCHEMA).words
    assert kind in (type(error).__name__, "Exception")
    assert said == ""
    assert "CANARY" in (tmp_path / "egress" / "run.errors.log").read_text()


def test_of_a_refusal_its_text_goes_out(tmp_path: Path) -> None:
    sealed = gate(tmp_path).failure(Refused("extra is not declared"), client=1, number=2)
    assert from_bytes(sealed, SCHEMA).words == ("Refused", "extra is not declared")


def test_nothing_goes_out_that_is_not_logged(tmp_path: Path) -> None:
    (tmp_path / "egress").write_text("a file, and no folder")
    with pytest.raises(Refused, match=r"site north can't write its log .*: nothing leaves it"):
        gate(tmp_path).seal(GOOD)


def test_a_view_brings_nothing_along_of_what_is_beside_it(tmp_path: Path) -> None:
    beside = torch.arange(400, dtype=torch.float32)
    sealed = gate(tmp_path).seal(with_tensors(vector__delta=torch.zeros(400)[:4]))
    assert len(sealed) < beside.nbytes
    assert sealed == to_bytes(with_tensors(vector__delta=torch.zeros(4)))


@pytest.mark.parametrize(
    "sealed", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"nonsense" * 10, to_bytes(GOOD)[:-1]]
)
def test_who_receives_takes_nothing_but_payloads(sealed: bytes) -> None:
    with pytest.raises(Refused, match="bytes that are no payload"):
        from_bytes(sealed, SCHEMA)


def test_who_receives_looks_once_more() -> None:
    extra = to_bytes(with_tensors(extra=torch.zeros(2)))
    with pytest.raises(Refused, match="site 1 sent what is not declared: extra is not declared"):
        from_bytes(extra, SCHEMA)
