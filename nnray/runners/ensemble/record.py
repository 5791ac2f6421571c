"""An ensemble that has been made and measured goes into the record, with its members."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnray.assembly import build_task
from nnray.data.splits import DataSplits
from nnray.runners.ensemble.combining import Made
from nnray.runners.ensemble.outcome import EnsembleOutcome
from nnray.runners.findings import Findings, findings
from nnray.runners.recording import input_example
from nnray.runners.subject import Subject
from nnray.training.weights import weights_sha256


@dataclass(frozen=True, slots=True)
class Finished:
    """An ensemble that has been made and measured.

    Args:
        references: What it was asked to be made of.
        combine: The rule, as it was asked for.
        made: It.
        rows: Its members, as they are recorded.
        metrics: Its own.
        notes: What is to be known of them.
        splits: The data that it was measured on.
    """

    references: Sequence[str]
    combine: str
    made: Made
    rows: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, float]
    notes: Sequence[str]
    splits: DataSplits

    def record(self, root: Path, *, register: str, alias: str, began: float) -> EnsembleOutcome:
        """Record it with its members, in a run nested in that of the sweep, or of the first member."""
        made, first = self.made, self.made.members[0]
        module, sha256 = made.module.cpu(), weights_sha256(made.module)
        subject = Subject(
            reference=", ".join(self.references),
            module=module,
            experiment=first.experiment,
            info=first.info,
            task=build_task(first.experiment, first.info),
            sha256=sha256,
            origin=first.origin,
            about=made.described,
        )
        with findings(subject, "ensemble", root=root) as found:
            if all(member.origin.run == first.origin.run for member in made.members):
                found.metrics(self.metrics)
            uri = self._model(found, register=register, alias=alias)
            outcome = EnsembleOutcome(
                verb="ensemble",
                seconds=round(time.perf_counter() - began, 3),
                run_id=first.origin.run_id,
                model_uri=uri,
                model_sha256=sha256,
                tracking_uri=first.origin.tracking_uri,
                metrics=self.metrics,
                combine=self.combine,
                text=made.text,
                members=self.rows,
                notes=[*self.notes],
                registered=f"{register}@{alias}" if uri else "",
            )
            found.text(json.dumps(self._details(), indent=1) + "\n", "ensemble.json")
            found.text(f"{made.text}\n\n{outcome.table()}\n", "ensemble.txt")
            outcome.files.extend(found.files)
        return outcome

    def _model(self, found: Findings, *, register: str, alias: str) -> str:
        names = ", ".join(str(row["name"]) for row in self.rows)
        params = {
            "ensemble.combine": self.combine,
            "ensemble.members": names,
            "ensemble.rule": self.made.text,
        }
        return found.model(
            self.made.module,
            about=self.made.described,
            params=params,
            metrics=self.metrics,
            register=register,
            alias=alias,
            example=input_example(self.splits),
        ).uri

    def _details(self) -> dict[str, Any]:
        return {
            "combine": self.combine,
            "rule": self.made.text,
            "metrics": dict(self.metrics),
            "members": [dict(row) for row in self.rows],
            "notes": list(self.notes),
            **({"found": dict(self.made.details)} if self.made.details else {}),
        }
