"""What is found out about a model goes to the run that made it; what is made of one, to a run of its own.

Findings are written when all of them are there: a verb that fails or is stopped leaves nothing behind but
its files. The same finding again is recorded once, and another one at the next step.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import nn

from nnray.assembly.described import About, model_files
from nnray.clock import now_ms
from nnray.errors import NnrayError
from nnray.runners.recording import PATIENCE_S
from nnray.runners.store import say
from nnray.runners.subject import Subject
from nnray.seeding import torch_rng
from nnray.tracking import MetricRow, MlflowTracker, ModelRecord, Tracker
from nnray.tracking.recorded import newest
from nnray.tracking.tags import run_tags
from nnray.tracking.tracker import clean_name
from nnray.training.weights import weights_safetensors


@dataclass(slots=True)
class Findings:
    """Where a verb writes what it has found out.

    Args:
        subject: The model that it is about.
        verb: Such as ``evaluate``.
        folder: For files.
    """

    subject: Subject
    verb: str
    folder: Path
    _metrics: dict[str, float] = field(default_factory=dict)
    _files: list[tuple[Path, str]] = field(default_factory=list)
    _texts: list[tuple[str, str]] = field(default_factory=list)

    @property
    def files(self) -> list[str]:
        """What has been written, for a verb's outcome."""
        return [str(path) for path, _ in self._files]

    def metrics(self, values: Mapping[str, float]) -> None:
        """Record values in the model's run, under the verb's name and their own."""
        self._metrics |= {f"{self.verb}.{name}": float(value) for name, value in values.items()}

    def file(self, path: Path, folder: str = "") -> None:
        """Record a file of ``folder`` below the verb's artifacts."""
        self._files.append((path, "/".join(filter(None, (self.verb, folder)))))

    def text(self, text: str, name: str) -> Path:
        """Write a text file, and record it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self.file(path)
        return path

    def note(self, text: str) -> None:
        """Something that a person should know."""
        say(text)

    def model(
        self,
        module: nn.Module,
        *,
        about: About,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        register: str | None = None,
        alias: str = "candidate",
        example: NDArray[Any] | None = None,
    ) -> ModelRecord:
        """Record a model that was made of this one, in a run nested in this one's.

        Args:
            module: The new model.
            about: What it takes to build it again.
            params: How it was made.
            metrics: Of the new model.
            register: Name to register it under; None for none.
            alias: Points to it there.
            example: Two inputs or more; None for random ones.

        Returns:
            Where it is; empty fields where the store has not taken it, which is said.
        """
        data = weights_safetensors(module)
        sha256 = hashlib.sha256(data).hexdigest()
        with self._tracker() as tracker:
            run = self._start(tracker, params or {}, metrics or {})
            logged = tracker.log_model(
                run,
                module=module,
                example=_example(self.subject) if example is None else example,
                sha256=sha256,
                metrics=metrics,
                params=params,
                files=model_files(data, about),
                needs_graph=False,
            )
            if register is not None:
                tracker.register(run, register, alias=alias)
            try:
                return tracker.wait(logged, PATIENCE_S)
            except NnrayError as error:
                self.note(f"warning: the model is not in the tracking store: {error}")
                return ModelRecord("", "", sha256)
            finally:
                tracker.end_run(run)

    def _start(self, tracker: Tracker, params: Mapping[str, Any], metrics: Mapping[str, float]) -> str:
        """Begin the run of a model that was made of this one."""
        subject = self.subject
        run = tracker.start_run(
            name=self.folder.name,
            verb=self.verb,
            parent=subject.origin.run or None,
            params=params,
            tags=run_tags(subject.experiment.seed, folder=Path.cwd()),
        )
        tracker.set_tags(run, {"nnray.made_from": subject.origin.model_uri or subject.reference})
        tracker.log_dataset(run, subject.info, "training")
        tracker.log_metrics(run, [MetricRow(name, value, 0, now_ms()) for name, value in metrics.items()])
        return run

    @contextmanager
    def _tracker(self) -> Iterator[MlflowTracker]:
        origin, settings = self.subject.origin, self.subject.experiment.tracking
        name = origin.mlflow_experiment or settings.experiment or self.subject.experiment.name
        tracker = MlflowTracker(origin.tracking_uri, experiment=name)
        try:
            yield tracker
        finally:
            unsent = tracker.close(PATIENCE_S)
            problems = [*tracker.problems()] if unsent or tracker.problems() else []
            for problem in problems:
                self.note(f"warning: the tracking store has not all of it: {problem}")

    def _record(self) -> None:
        """Send all that was found to the run of the model."""
        origin = self.subject.origin
        if not origin.run_id:
            self.note("note: the model is of no run, so what was found is recorded nowhere but in its files")
            return
        with self._tracker() as tracker:
            tracker.log_metrics(origin.run, list(self._rows(origin.tracking_uri, origin.run_id)))
            for path, folder in self._files:
                tracker.log_artifact(origin.run, path, folder)

    def _rows(self, uri: str, run_id: str) -> Iterator[MetricRow]:
        """A row for each value that is not the newest one already."""
        named = {clean_name(name): value for name, value in self._metrics.items()}
        known, time_ms = newest(uri, run_id, names=named), now_ms()
        for name, value in named.items():
            step, before = known.get(name, (-1, float("nan")))
            if before != value:
                yield MetricRow(name, value, step + 1, time_ms)


@contextmanager
def findings(
    subject: Subject, verb: str, *, root: Path = Path("runs"), out: Path | None = None
) -> Iterator[Findings]:
    """Collect what a verb finds out, and record it once the block has ended well.

    Args:
        subject: The model that it is about.
        verb: Such as ``evaluate``.
        root: The folder of the runs' folders.
        out: Folder for files; None for a new one below the run's, or below ``root``.
    """
    found = Findings(subject, verb, _folder(subject, verb, root=root, out=out))
    try:
        yield found
    except BaseException:
        if out is None:
            with suppress(OSError):  # it holds files, which stay
                found.folder.rmdir()
        raise
    found._record()


def _folder(subject: Subject, verb: str, *, root: Path, out: Path | None) -> Path:
    """A fresh folder for files, or the one that was asked for."""
    if out is None:
        base = subject.origin.folder or root / (subject.origin.name or subject.experiment.name)
        out = base / f"{verb}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    out.mkdir(parents=True, exist_ok=True)
    return out.absolute()


def _example(subject: Subject) -> NDArray[Any]:
    import torch

    info, rng = subject.info, torch_rng(0, "example")
    if info.vocabulary:
        return torch.randint(info.vocabulary, (2, *info.input_shape), generator=rng).numpy()
    drawn = torch.rand((2, *info.input_shape), generator=rng)
    if info.categories:
        drawn[:, torch.tensor([count > 0 for count in info.categories])] = 0.0
    return drawn.numpy()
