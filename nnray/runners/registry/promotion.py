"""Point an alias to a model, unless the one that it points to is better on the same test data.

Both models are measured now, on this machine: figures that were recorded elsewhere or long ago may be of
other data. What is found is recorded before the alias moves, so that whoever is stopped in between gives
the command once more, and it ends as if nothing had been.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nnray.errors import ConfigError, DataError, NnrayError, Problem, RunError, TrackingError, suggestion
from nnray.metrics import better, mode_of
from nnray.runners.findings import findings
from nnray.runners.outcome import Outcome, plain
from nnray.runners.registry.tested import Figures, run_test
from nnray.runners.subject import Subject, open_subject
from nnray.tracking.registry import Version, holder_of, register_model, set_alias, tag_run, versions_of
from nnray.tracking.tracker import clean_name

_DEFAULTS = ("test_accuracy", "test_loss")
_FORCE = "nothing was changed; --force promotes it all the same"
# MLflow takes `latest` and `v3` for something else.
_ALIAS = re.compile(r"(?!latest$|[vV]\d+$)[\w-]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for.

    Args:
        alias: To point to the model.
        name: To register it under; None for the one that it has, else its experiment's.
        metric: What decides; None for ``test_accuracy``, or ``test_loss`` where a task has no accuracy.
        force: Whether it may be worse, or beyond comparison.
        trust: Open also a present holder that runs code of whoever made it.
    """

    alias: str = "champion"
    name: str | None = None
    metric: str | None = None
    force: bool = False
    trust: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted(Outcome):
    """What `nnray promote` did.

    Args:
        alias: That points to the model.
        model: Name and version.
        replaced: What the alias pointed to before; empty where nothing.
        changed: Whether it pointed elsewhere.
        registered: Whether the version was made for this.
        metric: What decided; empty where nothing was measured.
        before: Its value of the model that was replaced.
        num_examples: That were tested on.
        warning: What speaks against it, and was overruled; empty if nothing.
    """

    alias: str
    model: str
    replaced: str = ""
    changed: bool = True
    registered: bool = False
    metric: str = ""
    before: float | None = None
    num_examples: int = 0
    warning: str = field(default="")

    def summary(self) -> str:
        """What was changed, and by which figures."""
        if not self.changed:
            return f"{self.model} is {self.alias} already; nothing was changed"
        place = f", in place of {self.replaced}" if self.replaced else "; nothing was before"
        lines = [f"{self.model} is now {self.alias}{place}"]
        if self.warning:
            lines.append(f"forced: {self.warning}")
        elif self.metric:
            value, before = self.metrics[self.metric], self.before
            shown = f"{value:.4f}" if before is None else " against ".join(_figures(value, before))
            lines.append(f"{self.metric} {shown} on {self.num_examples:,} examples")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Judged:
    """What was measured, and what speaks against the promotion."""

    metric: str = ""
    new: Figures | None = None
    old: Figures | None = None
    objection: str = ""

    @property
    def metrics(self) -> dict[str, float]:
        values = {} if self.new is None else {self.metric: self.new.metrics[self.metric]}
        return values | ({} if self.before is None else {f"{self.metric}_before": self.before})

    @property
    def before(self) -> float | None:
        return None if self.old is None else self.old.metrics.get(self.metric)


def promote_model(subject: Subject, request: Request, *, root: Path = Path("runs")) -> Promoted:
    """Point an alias to a model.

    Args:
        subject: The model.
        request: What is asked for.
        root: The folder of the runs' folders.

    Raises:
        RunError: It is worse than the present one, can't be compared with it, or is in no store.
        ConfigError: No such metric, or a name or an alias that MLflow doesn't take.
        TrackingError: The store can't be asked, or refuses.
    """
    began = time.perf_counter()
    _require_possible(subject, request)
    uri, model_id = subject.origin.tracking_uri, subject.origin.model_id
    known = versions_of(uri, model_id)
    name = _name(subject, request, known=known)
    own = _own(subject, known, name=name)
    present = holder_of(uri, name, alias=request.alias)
    if own is not None and present is not None and own.version == present.version:
        return _outcome(subject, request, own=own, changed=False, began=began)
    judged = _judge(subject, request, present=present, root=root)
    if judged.objection and not request.force:
        raise RunError(f"{judged.objection}; {_FORCE}")
    registered = own is None
    own = own or register_model(uri, name, model_id=model_id)
    done = _outcome(
        subject, request, own=own, present=present, judged=judged, registered=registered, began=began
    )
    _record(subject, done, judged=judged, present=present, root=root)
    _move(own, request.alias, uri=uri, expected=present)
    return done


def _require_possible(subject: Subject, request: Request) -> None:
    if not _ALIAS.fullmatch(request.alias):
        allowed = "letters, digits, - and _, but not 'latest' and not 'v' with a number"
        raise ConfigError("promote", [Problem("as", f"got {request.alias!r}; allowed: {allowed}")])
    if request.name is not None and registry_name(request.name) != request.name:
        advice = f"{registry_name(request.name)!r} would be right"
        raise ConfigError("promote", [Problem("name", f"no registered model's: {request.name!r}; {advice}")])
    if not subject.origin.model_id:
        raise RunError(
            f"{subject.reference} is in no store, so nothing can point to it: name a run or its MLflow id"
        )


def registry_name(name: str) -> str:
    """A name as registered models can have it."""
    return clean_name(name).replace("/", "_").replace(":", "_")


def _name(subject: Subject, request: Request, *, known: list[Version]) -> str:
    """The registered model that a version is of, or shall be."""
    default = registry_name(subject.experiment.registered_name)
    names = [version.name for version in known]
    present = default if default in names else next(iter(names), default)
    return request.name or subject.origin.name or present


def _own(subject: Subject, known: list[Version], *, name: str) -> Version | None:
    """The model's version of that name: the one that was asked for, else the first."""
    mine = sorted((v for v in known if v.name == name), key=lambda v: v.version)
    asked = subject.origin.version if subject.origin.name == name else ""
    return next((v for v in mine if str(v.version) == asked), mine[0] if mine else None)


def _judge(subject: Subject, request: Request, *, present: Version | None, root: Path) -> _Judged:
    """Measure both, and compare."""
    try:
        new = run_test(subject)
    except DataError as error:
        if present is None:
            return _Judged()
        return _Judged(objection=f"{subject.reference} can't be compared with {present.reference}: {error}")
    metric = _metric(request.metric, new.metrics)
    if present is None:
        return _Judged(metric, new)
    try:
        uri = subject.origin.tracking_uri
        old = run_test(open_subject(present.reference, root=root, tracking=uri, trust=request.trust))
    except TrackingError:
        raise
    except NnrayError as error:
        return _Judged(
            metric,
            new,
            objection=f"{present.reference}, which is {request.alias}, can't be measured: {error}",
        )
    if difference := new.difference(old):
        where = f"{subject.reference} can't be compared with {present.reference}, which is {request.alias}"
        return _Judged(metric, new, objection=f"{where}: {difference}")
    return _Judged(
        metric, new, old, _worse(subject, request, judged=_Judged(metric, new, old), present=present)
    )


def _worse(subject: Subject, request: Request, *, judged: _Judged, present: Version) -> str:
    """That a model is worse than the present one, in words; empty if it isn't."""
    assert judged.new is not None
    value, before = judged.new.metrics[judged.metric], judged.before
    if before is None:
        return (
            f"{present.reference}, which is {request.alias}, has no {judged.metric}: its task is another one"
        )
    if not math.isnan(value) and not better(mode_of(judged.metric), before, than=value):
        return ""
    figures = " against ".join(_figures(value, before))
    return (
        f"{subject.reference} is worse than {present.reference}, which is {request.alias}: "
        f"{judged.metric} {figures} on the same {judged.new.num_examples:,} examples"
    )


def _metric(asked: str | None, measured: Mapping[str, float]) -> str:
    names = (asked, f"test_{asked}") if asked else (*_DEFAULTS, next(iter(measured)))
    found = next((name for name in names if name in measured), None)
    if found is None:
        raise ConfigError("promote", [Problem("metric", f"no {asked!r}; {suggestion(str(asked), measured)}")])
    return found


def _figures(value: float, before: float) -> tuple[str, str]:
    """Two values with as many digits as tell them apart."""
    short = f"{value:.4f}", f"{before:.4f}"
    return short if short[0] != short[1] or value == before else (f"{value:.9g}", f"{before:.9g}")


def _outcome(
    subject: Subject,
    request: Request,
    *,
    own: Version,
    began: float,
    present: Version | None = None,
    judged: _Judged | None = None,
    changed: bool = True,
    registered: bool = False,
) -> Promoted:
    judged = judged or _Judged()
    return Promoted(
        verb="promote",
        seconds=round(time.perf_counter() - began, 3),
        run_id=subject.origin.run_id,
        model_uri=subject.origin.model_uri,
        model_sha256=subject.sha256,
        tracking_uri=subject.origin.tracking_uri,
        metrics=judged.metrics,
        alias=request.alias,
        model=own.reference,
        replaced=present.reference if present is not None else "",
        changed=changed,
        registered=registered,
        metric=judged.metric,
        before=judged.before,
        num_examples=judged.new.num_examples if judged.new is not None else 0,
        warning=judged.objection,
    )


def _record(
    subject: Subject, done: Promoted, *, judged: _Judged, present: Version | None, root: Path
) -> None:
    """Tags on both runs, and the figures of both models with the new one's."""
    uri, text = done.tracking_uri, "; ".join(done.summary().split("\n"))
    facts = done.to_dict() | {
        "test": {} if judged.new is None else plain(judged.new.metrics),
        "test_before": {} if judged.old is None else plain(judged.old.metrics),
        "examples_sha256": "" if judged.new is None else judged.new.digest,
    }
    with findings(subject, "promote", root=root) as found:
        found.metrics(done.metrics)
        found.text(json.dumps(facts, indent=1, sort_keys=True), f"{done.alias}.json")
    if subject.origin.run_id:
        tag_run(uri, subject.origin.run_id, tags={f"nnray.promoted.{done.alias}": text})
    if present is not None and present.run_id:
        tag_run(uri, present.run_id, tags={f"nnray.replaced.{done.alias}": text})


def _move(own: Version, alias: str, *, uri: str, expected: Version | None) -> None:
    """Point the alias, unless somebody else has pointed it elsewhere meanwhile."""
    now = holder_of(uri, own.name, alias=alias)
    if now is not None and now.version not in (own.version, expected.version if expected else None):
        raise RunError(f"{alias} of {own.name} has moved to {now.reference} meanwhile: promote once more")
    set_alias(own, alias, uri=uri)
