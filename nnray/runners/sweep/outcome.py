"""Looks back on a sweep whose trials have ended, and crowns its champion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnray.config import Experiment, SweepConfig, dump, with_overrides
from nnray.durable import write_bytes
from nnray.errors import RunError
from nnray.runners.folder import RunFolder
from nnray.runners.recording import PATIENCE_S, Notes
from nnray.runners.sweep.champion import Candidate, Champion
from nnray.runners.sweep.findings import failures
from nnray.runners.sweep.goal import Goal
from nnray.runners.sweep.ledger import Ledger, Trial
from nnray.runners.sweep.page import write_page
from nnray.runners.sweep.plots import Picture, write_plots
from nnray.runners.sweep.privacy import told, total_epsilon
from nnray.runners.sweep.result import SweepResult
from nnray.runners.sweep.study import Study
from nnray.runners.sweep.summary import Summary, summarize
from nnray.runners.training import prepare_process
from nnray.tracking import MetricRow, Tracker


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a sweep's end is made from.

    Args:
        experiment: The sweep's.
        folder: Of the run.
        tracker: Where it is recorded.
        run: Key of the sweep's run.
        ledger: The trials, all ended.
        study: The trials as Optuna has them.
        example: Inputs as a model takes them.
        num_examples: Of the training split.
        notes: Where a person is told what the store has not taken.
    """

    experiment: Experiment
    folder: RunFolder
    tracker: Tracker
    run: str
    ledger: Ledger
    study: Study
    example: NDArray[np.float32]
    num_examples: int
    notes: Notes

    def look_back(self) -> Summary:
        """Write the best experiment, and draw; the trials' models may still be on their way.

        Raises:
            RunError: Too many trials failed, or none came to a model.
        """
        best = self._best()
        self._write_best(with_overrides(self.experiment, best.params))
        summary = summarize(self.experiment, self.ledger, study=self.study, best=best)
        self._draw(summary)
        return self._with_privacy(summary)

    def _with_privacy(self, summary: Summary) -> Summary:
        trials = list(self.ledger.trials.values())
        total = total_epsilon(self.experiment, trials, num_examples=self.num_examples)
        if self.experiment.privacy is None:
            return summary
        said = told(self.experiment, total, num_trials=len(trials))
        self.tracker.set_tags(self.run, {"nnray.privacy": said})
        return replace(summary, privacy=said, epsilon=total)

    def result(self, summary: Summary, *, seconds: float) -> SweepResult:
        """Test and register the champion.

        Args:
            summary: From looking back.
            seconds: How long the sweep took, all its processes added up.
        """
        best = summary.best
        experiment = with_overrides(self.experiment, best.params)
        champion = self._crown(experiment, summary)
        return SweepResult(
            run_id=self.tracker.run_id(self.run, PATIENCE_S) or "",
            verb="sweep",
            seconds=round(seconds, 3),
            metrics=champion.metrics if summary.epsilon is None else self._spent(champion, summary.epsilon),
            model_uri=champion.uri,
            model_sha256=champion.sha256,
            tracking_uri=self.tracker.uri,
            best=experiment,
            params=best.params,
            best_value=best.value,
            trials=summary.counts,
            epochs=sum(trial.epoch for trial in self.ledger.trials.values()),
            best_file=self._best_file,
            champion=champion.text,
            text="\n".join(summary.lines()),
            front=self._front(),
            folder=self.folder.path,
        )

    def _spent(self, champion: Champion, total: float) -> dict[str, float]:
        """The champion's metrics, with what all trials have spent for it."""
        ended_ms = max(trial.ended_ms for trial in self.ledger.trials.values())  # the same if done again
        self.tracker.log_metrics(self.run, [MetricRow("epsilon_total", total, 0, ended_ms)])
        return dict(champion.metrics) | {"epsilon_total": total}

    def _front(self) -> list[dict[str, Any]]:
        metric = self._config.metric
        return [
            {"trial": t.number, "params": dict(t.params), "values": {metric: t.value, **t.objectives}}
            for t in self.ledger.front
        ]

    @property
    def _config(self) -> SweepConfig:
        assert self.experiment.sweep is not None
        return self.experiment.sweep

    def _best(self) -> Trial:
        limit, failed = self._config.max_failures, self.ledger.counts.get("failed", 0)
        reasons = "; ".join(f"{count} x {reason}" for reason, count in failures(self.ledger).items())
        if limit is not None and failed > limit:
            raise RunError(f"{failed} trials failed, sweep.max_failures is {limit}: {reasons}")
        best = self.ledger.best
        if best is not None:
            return best
        if any(trial.chosen and trial.state != "failed" for trial in self.ledger.trials.values()):
            rules = ", ".join(self._config.constraints)
            raise RunError(f"no trial meets the constraints {rules}: loosen them, or widen sweep.space")
        raise RunError(f"no trial came to a model: {reasons or 'there was no time for any'}")

    @property
    def _best_file(self) -> Path:
        return self.folder.path / "best.yaml"

    def _write_best(self, experiment: Experiment) -> None:
        write_bytes(self._best_file, dump(experiment).encode())
        self.tracker.log_artifact(self.run, self._best_file)

    def _draw(self, summary: Summary) -> None:
        folder, picture = self.folder.path / "plots", self._picture(summary)
        paths: list[Path | None] = [*write_plots(folder, picture)]
        paths.append(write_page(folder / "plots.html", picture, study=self.study))
        for path in paths:
            if path is not None:
                self.tracker.log_artifact(self.run, path, "plots")

    def _picture(self, summary: Summary) -> Picture:
        return Picture(self._config.space, Goal.of(self._config), self.ledger, summary.importance)

    def _crown(self, experiment: Experiment, summary: Summary) -> Champion:
        prepare_process(experiment)
        candidate = Candidate(
            experiment, summary.best, self.folder, self.tracker, self.run, self.example, self.notes
        )
        champion = candidate.take() if self._config.champion == "take" else candidate.retrain()
        tags = {"nnray.champion": champion.text, "nnray.best_trial": str(summary.best.number)}
        best = {f"best.{path}": str(value) for path, value in summary.best.params.items()}
        self.tracker.set_tags(self.run, {**tags, **best})
        text = "\n".join([*summary.lines(), f"champion    {champion.text}", ""])
        self.tracker.log_text(self.run, text, "summary.txt")
        return champion
