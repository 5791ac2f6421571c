"""Members and the data that they are measured on: validation to choose by, test once at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from nnray.assembly import build_task, evaluation_batches
from nnray.data.splits import DataSplits, Split
from nnray.errors import DataError
from nnray.evaluation.evaluate import evaluate
from nnray.metrics import mode_of
from nnray.runners.ensemble.combining import OF_WEIGHTS, Made, Table, require_usable
from nnray.runners.ensemble.measuring import Metrics, Pairs, answers_of, ask, measure, metrics_of
from nnray.runners.ensemble.members import Data, Member
from nnray.runners.ensemble.unseen import leaks
from nnray.runners.kinds import require_classes, tells_classes
from nnray.training.device import find_device


class Kitchen:
    """Members and the data that they are measured on."""

    def __init__(self, members: Sequence[Member], data: Data, splits: DataSplits) -> None:
        self._members, self._data, self.splits = members, data, splits
        self._experiment = members[0].experiment
        self._device = find_device(self._experiment.training.device)
        self._task = build_task(self._experiment, splits.info)
        self._tells_classes = tells_classes(splits.info, self._task)
        self._alone: dict[str, Metrics] = {}
        self.notes = list(_notes(members))

    def table(self, combine: str) -> Table:
        """What a rule works with; validation examples only where no member has learnt from them."""
        if combine not in OF_WEIGHTS:
            info, instead = self.splits.info, "soup and uniform_soup take the mean of any models' weights"
            require_classes(info, self._task, verb=f"--combine {combine}", instead=instead)
        val = self.splits.val
        problems = (
            ["there is no validation split: set data.validation"]
            if val is None or not len(val)
            else leaks("val", val, members=self._members, data=self._data)
        )
        require_usable(combine, problems)
        self.notes += [f"validation: not measured, {problem}" for problem in problems]
        answers = None
        if not problems and val is not None:
            modules, names = [m.module for m in self._members], [m.name for m in self._members]
            if self._tells_classes:
                answers = ask(modules, self._batches(val), names=names, device=self._device)
                self._alone = {
                    name: metrics_of(logp, answers.targets, task=self._task)
                    for name, logp in zip(names, answers.logp, strict=True)
                }
            else:
                measured = map(self._measured, modules)
                self._alone = dict(zip(names, measured, strict=True))
        metric, is_max = self._metric()
        return Table(
            members=self._members,
            answers=answers,
            alone=self._alone,
            task=self._task,
            metric=metric,
            is_max=is_max,
            seed=self._experiment.seed,
            batches=lambda: self._batches(self.splits.train),
            measured=self._measured,
        )

    def alone(self, member: Member) -> Metrics:
        """A member's metrics on the validation split; empty where it isn't measured."""
        return self._alone.get(member.name, {})

    def test(self, made: Made) -> tuple[list[dict[str, float]], list[str]]:
        """Measure members and ensemble on the test split, where no member has learnt from it."""
        nothing = [dict[str, float]() for _ in (*made.members, made)]
        if self.splits.test is None:
            return nothing, ["test: the data have no test split"]
        split = self.splits.test()
        if not len(split):
            raise DataError(f"{self.splits.info.name}: the test split is empty")
        if problems := leaks("test", split, members=[self._members[0], *made.members], data=self._data):
            return nothing, [f"test: not measured, {problem}" for problem in problems]
        modules = [member.module.to(self._device) for member in made.members]
        answers = answers_of(made.module.to(self._device), modules)
        return measure(answers, self._batches(split), task=self._task), []

    def _measured(self, module: nn.Module) -> Metrics:
        assert self.splits.val is not None
        sums = evaluate(module.to(self._device), self._batches(self.splits.val), self._task)
        return self._task.summarize(sums)

    def _batches(self, split: Split) -> Pairs:
        return evaluation_batches(self._experiment, split, device=self._device).epoch(0)

    def _metric(self) -> tuple[str, bool]:
        """What the experiment judges by, where the task measures it; else the loss."""
        name, mode = self._experiment.metric
        own = name.removeprefix("val_")
        if not name.startswith("val_") or (self._alone and own not in next(iter(self._alone.values()))):
            return "loss", False
        return own, (mode or mode_of(name)) == "max"


def _notes(members: Sequence[Member]) -> Iterator[str]:
    """What a person should know of the members."""
    first = members[0]
    other = [member.name for member in members if member.info.digest != first.info.digest]
    if other:
        yield f"trained on other examples than {first.name}: {', '.join(other)}"
    if any(member.experiment.privacy is not None for member in members):
        yield "privacy: members' guarantees add up, for all of them have learnt from the same people"
