"""The gate at a site: what is declared may leave, all else is refused, and both are written down there.

A payload is named tensors and a few words, as the bytes of a safetensors file: reading one runs no code.
What a kind of payload may hold is declared beforehand, from the model, the strategy and the task. The log
stands at the site; what can't be logged isn't sent.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from nnray.clock import now_ms
from nnray.errors import DataError

FAILURE = "failure"
"""The kind of payload that tells of an error: its type, and a message only if it is ours."""
VECTOR = "vector."
"""How the names of tensors begin whose norm is bounded."""
_MOST_CHARS = 500
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,63}")


@dataclass(frozen=True, slots=True)
class Form:
    """What a tensor must be.

    Args:
        dtype: Its type.
        shape: Its shape; -1 for a length from 0 to 8.
    """

    dtype: torch.dtype
    shape: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')}{list(self.shape)}"

    def fits(self, tensor: Tensor) -> bool:
        """Whether a tensor is of this form."""
        pairs = zip(self.shape, tensor.shape, strict=False)
        return (
            tensor.dtype == self.dtype
            and len(tensor.shape) == len(self.shape)
            and all(have == want or (want == -1 and have <= 8) for want, have in pairs)
        )


@dataclass(frozen=True, slots=True)
class Declared:
    """What a payload of one kind holds: exactly these tensors, and so many words at most.

    Args:
        tensors: Their forms, by name.
        most_words: Words, each of at most 500 characters.
        max_norm: Longest L2 norm of all vectors together; None for any.
    """

    tensors: Mapping[str, Form] = field(default_factory=dict)
    most_words: int = 0
    max_norm: float | None = None


Schema = Mapping[str, Declared]
"""What may leave, by kind."""
FAILURES: Schema = {FAILURE: Declared(most_words=2)}


@dataclass(frozen=True, slots=True)
class Payload:
    """What is to leave a site.

    Args:
        kind: Names its declaration.
        client: Number of the site.
        round: In which; 0 before the first.
        tensors: On the CPU, by name.
        words: Texts.
    """

    kind: str
    client: int
    round: int = 0
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    @property
    def norm(self) -> float:
        """L2 norm of its vectors together."""
        bounded = [tensor for name, tensor in self.tensors.items() if name.startswith(VECTOR)]
        lengths = [tensor.abs() if tensor.is_complex() else tensor for tensor in bounded]
        parts = [float(length.double().square().sum()) for length in lengths]
        return math.sqrt(math.fsum(parts)) if all(map(math.isfinite, parts)) else math.inf


class Refused(DataError):
    """A payload that was not let out; the message holds names and shapes, and nothing of the data."""


class Gate:
    """The one way out of a site.

    Args:
        schema: What may leave.
        log: A file of JSON lines; what is refused stands in it too.
        site: Its name.
    """

    def __init__(self, schema: Schema, *, log: Path, site: str) -> None:
        self.schema: Schema = {**schema, **FAILURES}
        self._log, self._site = log, site

    def seal(self, payload: Payload) -> bytes:
        """The bytes that may be sent.

        Raises:
            Refused: Something in it is not declared, or it can't be logged.
        """
        wrong = list(problems(payload, self.schema))
        sealed = b"" if wrong else to_bytes(payload)
        self._note(payload, sealed, wrong)
        if wrong:
            raise Refused(
                f"the gate of site {self._site} lets {shown(payload.kind)} not out: {'; '.join(wrong)}"
            )
        return sealed

    def failure(self, error: BaseException, *, client: int, number: int) -> bytes:
        """What is told of an error: the rest of it stays here, beside the log.

        Args:
            error: What went wrong.
            client: Number of the site.
            number: Of the round.

        Raises:
            Refused: It can't be logged.
        """
        text = f"{now_ms()} round {number}\n{''.join(traceback.format_exception(error))}\n"
        self._append(self._log.with_suffix(".errors.log"), text)
        ours = str(error) if isinstance(error, Refused) else ""
        name = type(error).__name__
        words = (name if _NAME.fullmatch(name) else "Exception", ours[:_MOST_CHARS])
        return self.seal(Payload(FAILURE, client, number, words=words))

    def _note(self, payload: Payload, sealed: bytes, wrong: list[str]) -> None:
        line = {
            "time_ms": now_ms(),
            "site": self._site,
            "round": payload.round,
            "kind": shown(payload.kind),
            "sent": not wrong,
            "names": [shown(name) for name in payload.tensors],
            "shapes": [list(tensor.shape) for tensor in payload.tensors.values()],
            "dtypes": [str(tensor.dtype).removeprefix("torch.") for tensor in payload.tensors.values()],
            "words": list(payload.words) if not wrong else [],
            "bytes": len(sealed),
            "norm": payload.norm if math.isfinite(payload.norm) else None,
            "sha256": hashlib.sha256(sealed).hexdigest() if sealed else None,
            "why": wrong,
        }
        self._append(self._log, json.dumps(line) + "\n")

    def _append(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            why = f"site {self._site} can't write its log ({type(error).__name__}): nothing leaves it"
            raise Refused(why) from None


def problems(payload: Payload, schema: Schema) -> Iterator[str]:
    """All that keeps a payload from leaving, without a value of it."""
    declared = schema.get(payload.kind)
    if declared is None:
        yield f"no payload of this kind is declared; declared are {', '.join(sorted(schema))}"
        return
    for name, tensor in payload.tensors.items():
        form = declared.tensors.get(name)
        if form is None:
            yield f"{shown(name)} is not declared"
        elif not form.fits(tensor):
            has = Form(tensor.dtype, tuple(tensor.shape))
            yield f"{shown(name)} is {has}, declared as {form}"
        elif tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            yield f"{shown(name)} has values that are not finite"
    yield from (f"{name} is missing" for name in declared.tensors if name not in payload.tensors)
    if len(payload.words) > declared.most_words:
        yield f"{len(payload.words)} words, {declared.most_words} are declared"
    if any(len(word) > _MOST_CHARS for word in payload.words):
        yield f"a word is longer than {_MOST_CHARS} characters"
    if declared.max_norm is not None and payload.norm > declared.max_norm:
        yield f"its vectors are longer than federated.max_update_norm, {declared.max_norm:g}"


def to_bytes(payload: Payload) -> bytes:
    """A payload as a safetensors file, the same bytes for the same payload."""
    from safetensors.torch import save

    head = {"kind": payload.kind, "client": payload.client, "round": payload.round, "words": payload.words}
    # Copied: tensors that share memory, or views of larger ones, must not bring along what is beside them.
    tensors = {
        name: payload.tensors[name].detach().cpu().clone().contiguous() for name in sorted(payload.tensors)
    }
    return bytes(save(tensors, metadata={"payload": json.dumps(head)}))


def from_bytes(sealed: bytes, schema: Schema) -> Payload:
    """What a site sent, checked once more by who receives it.

    Raises:
        Refused: It is not what is declared.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(sealed)
        length = int.from_bytes(sealed[:8], "little")
        head = json.loads(json.loads(sealed[8 : 8 + length])["__metadata__"]["payload"])
        words = tuple(str(word) for word in head["words"])
        payload = Payload(str(head["kind"]), int(head["client"]), int(head["round"]), tensors, words)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"a site sent {len(sealed)} bytes that are no payload") from error
    if wrong := list(problems(payload, {**schema, **FAILURES})):
        raise Refused(f"site {payload.client} sent what is not declared: {'; '.join(wrong)}")
    return payload


def shown(name: str) -> str:
    """A name, if it is one: anything else could be data."""
    return name if _NAME.fullmatch(name) else "(a name that is none)"
