"""The end of a federated run: models, tables and plots recorded, and the result."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from torch import nn

from nnray.assembly.described import about, model_files
from nnray.data.splits import DataSplits
from nnray.federated.strategy import has_common, traits
from nnray.runners.exhibits.show import show
from nnray.runners.federated import events
from nnray.runners.federated.course import Course
from nnray.runners.federated.curves import read_curve
from nnray.runners.federated.display import FederatedDisplay
from nnray.runners.federated.history import RoundRecord
from nnray.runners.federated.plots import draw_comparison, write_png
from nnray.runners.federated.result import FederatedResult
from nnray.runners.federated.setting import Setting, module_of
from nnray.runners.folder import RunFolder
from nnray.runners.recording import PATIENCE_S, input_example, log_model, settle
from nnray.tracking import Tracker
from nnray.training.storage import as_folder
from nnray.training.weights import weights_safetensors, weights_sha256

_NO_COMMON = {
    False: "note: each client has weights of its own; the model is what they began with",
    True: "note: each client has layers of its own; the model has what they share, and the rest as it began",
}
"""What is said of the recorded model, by whether clients share a part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What is known once the rounds are over.

    Args:
        setting: Of the run.
        splits: Its data.
        folder: Of the run.
        tracker: Where it is recorded.
        display: What a person sees.
        key: Of the run in the store.
        course: The rounds that it went through.
    """

    setting: Setting
    splits: DataSplits
    folder: RunFolder
    tracker: Tracker
    display: FederatedDisplay
    key: str
    course: Course

    def result(self) -> FederatedResult:
        """Record what is left to record, and end the run."""
        metrics = self._metrics()
        self._log_clients()
        self._log_curve()
        module = module_of(self.setting, self.course.state.weights)
        sha256, experiment = weights_sha256(module), self.setting.experiment
        if not has_common(self.course.strategy):
            self.display.note(_NO_COMMON[traits(self.course.strategy).is_partial])
        uri = log_model(
            self.tracker,
            self.display,
            run=self.key,
            module=module,
            example=input_example(self.splits),
            step=self.course.state.round,
            sha256=sha256,
            metrics=metrics,
            register=experiment.registered_name,
            described=about(experiment, self.splits.info),
        )
        self._log_best()
        self._show(module)
        federated, faults = self.setting.federated, self._faults()
        target = federated.target
        result = FederatedResult(
            run_id=self.tracker.run_id(self.key, PATIENCE_S) or "",
            verb="federate",
            seconds=round(self.course.seconds, 3),
            metrics=metrics,
            model_uri=uri,
            model_sha256=sha256,
            tracking_uri=self.tracker.uri,
            folder=self.folder.path,
            rounds=self.course.state.round,
            clients=len(self.setting.partition),
            cohort=federated.cohort_of(len(self.setting.partition)),
            strategy=federated.strategy.name,
            target="" if target is None else f"{target.metric} {target.value:g}",
            faults=faults,
        )
        settle(self.tracker, self.display, run=self.key)
        self.folder.finish(result.to_dict())
        return result

    def _metrics(self) -> dict[str, float]:
        """Of the last round, and in which one the target was reached."""
        metrics = dict(self.course.past()[-1].metrics) if self.course.past() else {}
        if self._target_round is not None:
            metrics["rounds_to_target"] = float(self._target_round)
            last = self.course.past()[-1]
            self.tracker.log_metrics(
                self.key,
                RoundRecord(last.round, last.time_ms, {"rounds_to_target": self._target_round}).rows(),
            )
        return metrics

    @property
    def _target_round(self) -> int | None:
        return self.course.target_round(self.course.state.round)

    def _log_clients(self) -> None:
        """What each client has contributed, unless that is to stay with it; and events of virtual time."""
        privacy = self.setting.experiment.privacy
        if privacy is None or privacy.metrics != "withheld":
            self.tracker.log_text(self.key, self.course.participants.csv(), "clients.csv")
        if found := events.told(self.folder.path):
            self.tracker.log_text(self.key, "\n".join(found) + "\n", "events.txt")
        if self.course.affordable < self.setting.federated.rounds:
            self.display.note(
                f"note: the privacy budget is spent after {self.course.affordable} of "
                f"{self.setting.federated.rounds} rounds"
            )

    def _log_curve(self) -> None:
        """The first of these that was measured, over rounds, bytes and steps."""
        for metric in ("test_accuracy", "val_accuracy", "test_loss", "val_loss", "train_loss"):
            if any(metric in record.metrics for record in self.course.past()):
                curve = read_curve(self.folder, metric=metric)
                figure = draw_comparison([curve], title=self.folder.name)
                path = write_png(figure, self.folder.path / "plots" / f"{metric}.png")
                self.tracker.log_artifact(self.key, path, "plots")
                return

    def _log_best(self) -> None:
        """The best round's model beside the last one's, where validation says which it is."""
        if self.course.best_weights is None or self.course.best_weights[0] == self.course.state.round:
            return
        number, weights = self.course.best_weights
        module = module_of(self.setting, weights)
        data = weights_safetensors(module)
        self.tracker.log_model(
            self.key,
            module=module,
            example=input_example(self.splits),
            name="best",
            step=number,
            sha256=hashlib.sha256(data).hexdigest(),
            metrics=next(dict(r.metrics) for r in self.course.past() if r.round == number),
            files=model_files(data, about(self.setting.experiment, self.splits.info)),
            needs_graph=False,  # as of the last round's model
        )

    def _show(self, module: nn.Module) -> None:
        """What the model does with validation examples that the server has; clients' own it never sees."""
        if has_common(self.course.strategy):
            show(
                self.setting.experiment,
                module,
                splits=self.splits,
                storage=as_folder(self.folder.path),
                folder=self.folder,
                tracker=self.tracker,
                run=self.key,
            )

    def _faults(self) -> list[str]:
        faults = [*self.folder.record.get("faults", []), *(f for r in self.course.past() for f in r.faults())]
        if faults:
            self.tracker.set_tags(self.key, {"nnray.faults": "\n".join(faults)})
        return faults
