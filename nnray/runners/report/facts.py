"""What a page says of any run: how it stands, what it came to, how to do it again, and what made it."""

from __future__ import annotations

import math
import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence

from nnray.config import flatten
from nnray.runners.report.account import Account
from nnray.runners.report.markup import Html, code, facts, fold, join, notice, number, plain, table, tag
from nnray.runners.report.page import Section

_BIG = (
    ("test_accuracy", "accuracy on test data"),
    ("test_loss", "loss on test data"),
    ("val_accuracy", "accuracy on validation data"),
    ("val_loss", "loss on validation data"),
    ("client_accuracy", "accuracy on clients' own data"),
    ("epsilon", "epsilon spent"),
)
_CLASS = re.compile(r"(?P<split>val|test|client)_(?P<name>[a-z0-9]+)_class_(?P<place>\d+)")
_MOST_BIG = 5
_DONE = {"train": "Trained", "sweep": "Searched", "federate": "Trained across clients"}


def lead(account: Account) -> Html:
    """How the run stands and what it came to, in a few figures and a sentence."""
    figures = [(name, says) for name, says in _BIG if math.isfinite(account.metrics.get(name, math.nan))]
    cards = (
        tag("li", tag("b", number(account.metrics[name])), tag("span", f"{says}{_terms(account, name)}"))
        for name, says in figures[:_MOST_BIG]
    )
    return join(
        (
            *(notice(text, bad=bad) for text, bad in _standing(account)),
            tag("ul", *cards, class_="big") if figures else "",
            tag("p", _sentence(account)),
            *(notice(note) for note in account.notes),
        )
    )


def _terms(account: Account, name: str) -> str:
    """What a figure means nothing without: epsilon goes with delta, and with who is protected."""
    privacy = account.experiment.privacy if account.experiment and name == "epsilon" else None
    if privacy is None or privacy.delta is None:
        return ""
    return f", at delta {privacy.delta:g}, for each {privacy.unit}"


def results(account: Account) -> Iterator[Section]:
    """All that was measured of the model, class by class where that was done."""
    whole = {n: v for n, v in account.metrics.items() if not _CLASS.fullmatch(n)}
    scored = {n: v for n, v in whole.items() if n.startswith(("test_", "val_", "train_", "client_"))}
    if not scored:
        return
    parts = [_by_split(scored)]
    if classes := _by_class(account):
        parts.append(classes)
    yield Section("Results", tag("div", *parts, class_="side"))


def reproduce(account: Account) -> Iterator[Section]:
    """The command that does it again, the experiment, and what it was run with."""
    if account.config:
        yield Section("Settings", join(_settings(account)))
    yield Section("Provenance", join(_provenance(account)))


def _standing(account: Account) -> Iterator[tuple[str, bool]]:
    name = shlex.quote(account.name)
    again = f"`nnray resume {name}` goes on with it." if account.folder else ""
    match account.state:
        case "running":
            yield "This run has not ended: what is shown is as far as it has come.", False
        case "lost":
            yield f"The process of this run is gone without a word, killed or out of reach. {again}", True
        case "interrupted":
            yield f"This run was interrupted before its end. {again}", True
        case "failed":
            yield f"This run failed: {account.error or 'nobody wrote down why'}. {again}", True
        case "ended":
            pass
    if account.faults and account.verb != "federate":
        yield "On the way: " + "; ".join(account.faults), False


def _sentence(account: Account) -> str:
    experiment, result = account.experiment, account.result
    did = _DONE.get(account.verb, account.verb)
    what = f": {experiment.model.name} on {experiment.data.name}" if experiment else ""
    began = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(account.began_s)) if account.began_s else ""
    took = f"in {_duration(account.seconds)}" if account.seconds else ""
    parts = [f"{did}{what}", f"begun {began}" if began else "", took]
    if account.verb != "federate" and result.get("epoch"):
        of = f" of {result['epochs']}" if result.get("epochs") else ""
        parts.append(f"the model is that of epoch {result['epoch']}{of}")
    if champion := result.get("champion"):
        parts.append(f"the champion is {champion}")
    return ", ".join(part for part in parts if part) + "."


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _by_split(scored: Mapping[str, float]) -> Html:
    splits = [
        split
        for split in ("train", "val", "test", "client")
        if any(n.startswith(f"{split}_") for n in scored)
    ]
    names = dict.fromkeys(name.partition("_")[2] for name in scored)
    rows = [[name, *(scored.get(f"{split}_{name}") for split in splits)] for name in names]
    return table(["metric", *splits], rows, caption="Of the model that was kept", sortable=True)


def _by_class(account: Account) -> Html | None:
    values: dict[int, dict[str, float]] = {}
    for name, value in account.metrics.items():
        if found := _CLASS.fullmatch(name):
            values.setdefault(int(found["place"]), {})[f"{found['split']} {found['name']}"] = value
    columns = list(dict.fromkeys(column for row in values.values() for column in row))
    classes = account.classes
    rows = [
        [classes[place] if place < len(classes) else str(place), *(row.get(column) for column in columns)]
        for place, row in sorted(values.items())
    ]
    return table(["class", *columns], rows, caption="Class by class", sortable=True) if rows else None


def _settings(account: Account) -> Iterator[Html]:
    if account.verb in _DONE:
        yield tag("p", "Save the experiment below as config.yaml, then:")
        yield code(f"nnray {account.verb} config.yaml")
    if account.experiment is not None:
        flat = flatten(account.experiment)
        rows = [[path, plain(value)] for path, value in flat.items() if not path.startswith("tracking.")]
        yield fold("Every setting, defaults included", table(["setting", "value"], rows, caption="Settings"))
    yield fold("config.yaml", code(account.config))


def _provenance(account: Account) -> Iterator[Html]:
    tags, data = account.tags, account.data
    commit = tags.get("mlflow.source.git.commit", "")
    dirty = ", with changes that were not committed" if tags.get("mlflow.source.git.dirty") == "true" else ""
    known = {
        "Run": account.name,
        "MLflow run": account.run_id,
        "Tracking store": _without_password(account.tracking_uri),
        "Model": account.result.get("model_uri", ""),
        "Weights (SHA-256)": account.result.get("model_sha256", ""),
        "Seed": tags.get("nnray.seed", ""),
        "Git commit": f"{commit}{dirty}" if commit else "",
        "Data": data.get("name", ""),
        "Training examples": data.get("num_examples", ""),
        "Data (SHA-256)": data.get("digest", ""),
        "Classes": _few(account.classes),
        "Begun by": tags.get("mlflow.user", ""),
    }
    yield facts({name: value for name, value in known.items() if value not in ("", None)})
    for title, start in (("Versions", "version."), ("Machine", "machine.")):
        if told := {key.removeprefix(start): value for key, value in tags.items() if key.startswith(start)}:
            yield tag("h3", title)
            yield facts(told)


def _few(classes: Sequence[str], most: int = 20) -> str:
    more = f" and {len(classes) - most} more" if len(classes) > most else ""
    return ", ".join(classes[:most]) + more


def _without_password(uri: str) -> str:
    """Pages are passed on."""
    return re.sub(r"//([^/@:]*):[^/@]*@", r"//\1:***@", uri)
