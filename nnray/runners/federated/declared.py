"""What may leave a site, derived from what a run is: its model, its strategy and its task.

Nothing of it is read off the data of a site. The strategy is asked what it sends of an update of zeros, and
the task what it measures of blank examples; whatever is not of that form later is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import torch
from torch import Tensor

from nnray.assembly import build_task
from nnray.data.splits import DataInfo, Examples, TargetKind
from nnray.errors import DataError
from nnray.evaluation.evaluate import evaluate
from nnray.federated.exact import to_sums
from nnray.federated.outcome import ClientReport, Outcome, RoundStart, size_of, with_buffers
from nnray.federated.statistics import Sums
from nnray.federated.strategy import ClientUpdate, Message, Strategy, Weighted, traits
from nnray.metrics import MetricSums
from nnray.runners.federated.egress import VECTOR, Declared, Form, Payload, Schema
from nnray.runners.federated.setting import Setting, build_flat, make_strategy

ABOUT, SUMS, READY, UPDATE, MEASURES = "about", "sums", "ready", "update", "measures"
TARGET_SUMS = "target_sums"
_KINDS: tuple[TargetKind, ...] = get_args(TargetKind)
_WEIGHT, _NUMBER, _NUMBER_WEIGHT, _KEPT, _INTS = (
    "weight.",
    "number.",
    "number_weight.",
    "kept.",
    "buffers.int",
)
_MOST_CLASSES = 10_000
_COUNTS, _SPANS = ("num_examples", "num_steps"), ("loss", "seconds")


def about_schema() -> Schema:
    """What a site tells of its data before all else: the form of an example, how many, names of classes."""
    count = Form(torch.int64)
    shape = Form(torch.int64, (-1,))
    tensors = {"input_shape": shape, "num_examples": count, "missing": Form(torch.bool)}
    tensors |= {"targets": count, "target_shape": shape, "vocabulary": count, "categories": shape}
    tensors |= {"overlap": count}
    return {ABOUT: Declared(tensors, most_words=_MOST_CLASSES)}


def about(info: DataInfo, *, num_examples: int, client: int) -> Payload:
    """That payload."""
    tensors = {
        "input_shape": torch.tensor(info.input_shape),
        "num_examples": torch.tensor(num_examples),
        "missing": torch.tensor(info.missing),
        "targets": torch.tensor(_KINDS.index(info.targets)),
        "target_shape": torch.tensor(info.target_shape, dtype=torch.int64),
        "vocabulary": torch.tensor(info.vocabulary),
        "categories": torch.tensor(info.categories, dtype=torch.int64),
        "overlap": torch.tensor(info.overlap),
    }
    return Payload(ABOUT, client, tensors=tensors, words=info.classes)


def read_about(payload: Payload, *, name: str) -> tuple[DataInfo, int]:
    """What a data set is like, by what a site told, and how many examples it has."""
    tensors = payload.tensors
    shape, target_shape = (tuple(map(int, tensors[key])) for key in ("input_shape", "target_shape"))
    kind = int(tensors["targets"])
    if not 0 <= kind < len(_KINDS):
        raise DataError(f"{name}: a site tells of targets of kind {kind}; allowed: 0 to {len(_KINDS) - 1}")
    info = DataInfo(
        name,
        shape,
        payload.words,
        missing=bool(tensors["missing"]),
        targets=_KINDS[kind],
        target_shape=target_shape,
        vocabulary=int(tensors["vocabulary"]),
        categories=tuple(map(int, tensors["categories"])),
        overlap=int(tensors["overlap"]),
    )
    return info, int(tensors["num_examples"])


def sums_schema(info: DataInfo) -> Schema:
    """What a site tells of each channel or feature: a count and a sum; of targets that are numbers, too."""
    shapes = {SUMS: info.input_shape[:1]}
    if info.targets == "numbers":
        shapes[TARGET_SUMS] = info.target_shape[:1] or (1,)
    return {
        kind: Declared({"count": Form(torch.int64, shape), "total": Form(torch.float64, shape)})
        for kind, shape in shapes.items()
    }


def told_sums(sums: Sums, *, client: int, kind: str = SUMS) -> Payload:
    """That payload."""
    return Payload(kind, client, tensors={"count": sums.count, "total": sums.total})


def read_sums(payload: Payload) -> Sums:
    """The inverse of ``told_sums``."""
    return Sums(payload.tensors["count"], payload.tensors["total"])


def run_schema(setting: Setting) -> Schema:
    """What a site sends in rounds."""
    tensors = update_tensors(
        _blank_message(setting), ints=build_flat(setting).weights().ints, report=_NO_REPORT
    )
    forms = {name: Form(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    measured = {
        name: Form(t.dtype, tuple(t.shape)) for name, t in _measures(_blank_measures(setting)).items()
    }
    return {
        READY: Declared(),
        UPDATE: Declared(forms, max_norm=setting.federated.max_update_norm),
        MEASURES: Declared(measured),
    }


def update_tensors(message: Message, *, ints: Tensor, report: ClientReport) -> dict[str, Tensor]:
    """All that a client sends after it has trained, as tensors."""
    tensors = {f"{VECTOR}{name}": sent.value for name, sent in message.vectors.items()}
    tensors |= {f"{_WEIGHT}{name}": _double(sent.weight) for name, sent in message.vectors.items()}
    tensors |= {f"{_NUMBER}{name}": _double(sent.value) for name, sent in message.numbers.items()}
    tensors |= {f"{_NUMBER_WEIGHT}{name}": _double(sent.weight) for name, sent in message.numbers.items()}
    tensors |= {f"{_KEPT}{name}": value for name, value in message.kept.items()}
    tensors |= {name: torch.tensor(int(getattr(report, name))) for name in _COUNTS}
    tensors |= {name: _double(getattr(report, name)) for name in _SPANS}
    return {name: tensor.cpu() for name, tensor in {**tensors, _INTS: ints}.items()}


def read_update(payload: Payload, start: RoundStart, *, strategy: Strategy) -> Outcome:
    """What a client came to, summed as one that trains here."""
    tensors, client = payload.tensors, payload.client
    weights, numbers = _under(_WEIGHT, tensors), _under(_NUMBER_WEIGHT, tensors)
    message = Message(
        {name: Weighted(value, float(weights[name])) for name, value in _under(VECTOR, tensors).items()},
        {n: Weighted(float(value), float(numbers[n])) for n, value in _under(_NUMBER, tensors).items()},
        _under(_KEPT, tensors),
    )
    ints = tensors[_INTS]
    counts, spans = [int(tensors[name]) for name in _COUNTS], [float(tensors[name]) for name in _SPANS]
    return Outcome(
        to_sums(message, start.bits, room=start.room),
        ints,
        (ClientReport(client, counts[0], counts[1], spans[0], spans[1]),),
        kept={client: message.kept} if strategy.has_client_state else {},
        bytes_up=size_of(message) + ints.nbytes,
        messages={client: message} if traits(strategy).collects else {},
    )


def told_measures(sums: MetricSums, *, client: int) -> Payload:
    """What a site measured on what it holds out."""
    return Payload(MEASURES, client, tensors=_measures(sums))


def read_measures(payload: Payload) -> MetricSums:
    """The inverse of ``told_measures``."""
    sums = {name: value.numpy() for name, value in _under(VECTOR, payload.tensors).items()}
    return MetricSums(sums, int(payload.tensors["num_examples"]))


_NO_REPORT = ClientReport(0, 1, 1, 0.0, 0.0)


def blank(info: DataInfo, count: int) -> Examples:
    """Examples of a data set's form without anything in them; they take no memory."""
    dtype = torch.int64 if info.targets in ("class", "classes") else torch.float32
    targets = torch.zeros((), dtype=dtype).expand(count, *info.target_shape)
    inputs = torch.zeros((), dtype=torch.int64 if info.vocabulary else torch.float32)
    return Examples(inputs.expand(count, *info.input_shape), targets)


def _measures(sums: MetricSums) -> dict[str, Tensor]:
    tensors = {f"{VECTOR}{name}": torch.as_tensor(value) for name, value in sums.sums.items()}
    return {**tensors, "num_examples": torch.tensor(sums.count)}


def _blank_message(setting: Setting) -> Message:
    strategy, experiment = make_strategy(setting.experiment), setting.experiment
    weights = build_flat(setting).weights()
    momentum = float(experiment.optimizer.kwargs.get("momentum", 0.0))
    update = ClientUpdate(0, 1, 1, 1.0, momentum, torch.zeros_like(weights.params), 1.0, 1.0)
    message = strategy.message(update, server=strategy.server_state(weights.params), client={})
    return with_buffers(message, torch.zeros_like(weights.floats), num_examples=1)


def _blank_measures(setting: Setting) -> MetricSums:
    examples, task = blank(setting.info, 2), build_task(setting.experiment, setting.info)
    return evaluate(build_flat(setting).module, [(examples.inputs, examples.targets)], task)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _double(value: float) -> Tensor:
    return torch.tensor(float(value), dtype=torch.float64)
