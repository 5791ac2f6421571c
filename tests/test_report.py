"""What a person sees: the page of a run in headless Chromium, with what it fetched and complained of."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

import nnray
from nnray.config import Experiment
from nnray.runners.evaluation.card import Part
from nnray.runners.evaluation.card_text import to_html
from nnray.runners.folder import RunFolder, create
from nnray.runners.report.account import Account
from nnray.runners.report.local import of_folder
from nnray.runners.report.markup import table
from nnray.runners.report.script import SCRIPT
from nnray.runners.report.write import render
from tests.test_ui import CHROMIUM, LONG_S, QUIET
from tests.unit.sweep.bench import Bench, make_experiment

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: chromium)"),
]
OWNED = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
PLAIN = (
    "name: plain\ndata: {name: digits, limit: 200}\nmodel: {name: mlp, hidden: [8]}\ntraining: {epochs: 3}\n"
)
SHARED = PLAIN + "federated: {workers: 0, clients: 4, rounds: 2}\n"


@dataclass(frozen=True)
class Seen:
    """What became of a page."""

    dom: str
    complaints: list[str]
    asked_for: list[str]

    @property
    def title(self) -> str:
        return re.findall(r"<title>(.*?)</title>", self.dom, re.DOTALL)[0]


def look(page: Path, *, folder: Path) -> Seen:
    """Open a file in Chromium, and read its log and the log of its network."""
    assert CHROMIUM is not None
    net = folder / "net.json"
    flags = [
        f"--{flag}" for flag in ("headless", "no-sandbox", "disable-gpu", "enable-logging=stderr", *QUIET)
    ]
    own = [f"--user-data-dir={folder / 'chromium'}", f"--log-net-log={net}", "--virtual-time-budget=5000"]
    done = subprocess.run(
        [CHROMIUM, *flags, *own, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=LONG_S,
    )
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Seen(done.stdout, complaints, _asked_for(net))


def _asked_for(net: Path) -> list[str]:
    """Addresses beyond files and data that the page asked for; the browser's own errands aside."""
    urls = re.findall(r'"url":"([^"]+)"', net.read_text(encoding="utf-8", errors="replace"))
    own = ("file:", "data:", "chrome", "devtools:", "about:")
    return [url for url in urls if not url.startswith(own) and "google" not in url and "gvt1" not in url]


def write(tmp_path: Path, account: Account) -> Path:
    page = tmp_path / "page.html"
    page.write_text(render(account), encoding="utf-8")
    return page


def changed(account: Account, values: Mapping[str, Any]) -> Account:
    return Account(**{f.name: getattr(account, f.name) for f in fields(account)} | dict(values))


def run_of(tmp_path: Path, verb: str) -> Account:
    """The account of a small run."""
    places = [f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", f"tracking.dir={tmp_path}/runs"]
    (tmp_path / "e.yaml").write_text(SHARED if verb == "federate" else PLAIN)
    if verb == "sweep":
        return of_folder(swept(make_experiment(trials=12, scheduler="asha", search="tpe")))
    result = (nnray.federate if verb == "federate" else nnray.train)("e.yaml", places, quiet=True)
    return of_folder(RunFolder(result.folder))


def swept(experiment: Experiment) -> RunFolder:
    """The folder of a sweep with finished, pruned and failed trials; nothing was trained."""
    run = create(experiment, "sweep")
    live = Bench(experiment, run.path)
    live.begin()
    live.run(concurrency=2)
    return run


@pytest.mark.parametrize("verb", ["train", "sweep", "federate"])
def test_a_page_opens_without_a_complaint_and_asks_for_nothing(verb: str, tmp_path: Path) -> None:
    account = run_of(tmp_path, verb)
    seen = look(write(tmp_path, account), folder=tmp_path)
    assert seen.complaints == []
    assert seen.asked_for == []
    assert seen.title == account.name
    assert seen.dom.count("<svg") > 3


def test_hostile_names_run_nothing(tmp_path: Path) -> None:
    account = run_of(tmp_path, "train")
    data = {"name": OWNED, "classes": [OWNED] * 10}
    hostile = {"name": OWNED, "data": data, "tags": {f"version.{OWNED}": OWNED}, "faults": [OWNED]}
    history = {**account.history, f"val_{OWNED}": [(1, 1.0), (2, 2.0)]}
    files = {f"evaluate/{OWNED.replace('/', '')}.png": lambda: b"\x89PNG"}
    seen = look(
        write(tmp_path, changed(account, {**hostile, "history": history, "files": files, "config": OWNED})),
        folder=tmp_path,
    )
    assert seen.complaints == []
    assert "owned" in seen.title  # as text, in full
    assert seen.title != "owned"
    assert seen.asked_for == []


def test_markup_that_slipped_through_would_not_run(tmp_path: Path) -> None:
    """The policy is the second wall; here the first one is taken down."""
    page = write(tmp_path, run_of(tmp_path, "train"))
    bad = (
        f'{OWNED}<img src="http://127.0.0.1:9/x.png"><link rel="stylesheet" href="http://127.0.0.1:9/x.css">'
    )
    page.write_text(page.read_text().replace("<h1>", f"{bad}<h1>"))
    seen = look(page, folder=tmp_path)
    assert seen.title != "owned"
    assert len(seen.complaints) >= 3
    assert seen.asked_for == []


def test_the_network_log_would_tell_of_a_request(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        '<title>x</title><img src="http://127.0.0.1:9/x.png"><script>console.error("seen")</script>'
    )
    seen = look(page, folder=tmp_path)
    assert any("127.0.0.1:9" in url for url in seen.asked_for)
    assert any("seen" in line for line in seen.complaints)


def test_a_model_card_opens_without_a_complaint_and_asks_for_nothing(tmp_path: Path) -> None:
    places = [f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", f"tracking.dir={tmp_path}/runs"]
    (tmp_path / "e.yaml").write_text(PLAIN)
    result = nnray.train("e.yaml", places, quiet=True)
    found = nnray.evaluate(result, temperature=True, bootstrap=20, out=tmp_path / "card")
    seen = look(Path(found.folder) / "card.html", folder=tmp_path)
    assert (seen.complaints, seen.asked_for) == ([], [])
    assert seen.title == "plain: model card"
    assert seen.dom.count("<img ") == 5
    assert f"{found.metrics['accuracy']:.4f}" in seen.dom


def test_hostile_classes_of_a_model_card_run_nothing(tmp_path: Path) -> None:
    parts = [Part(title=OWNED, text=OWNED, facts={OWNED: OWNED}, head=[OWNED], rows=[[OWNED]], code=OWNED)]
    page = tmp_path / "card.html"
    page.write_text(to_html(OWNED, [*parts, Part(title="Limits", points=[OWNED])]), encoding="utf-8")
    seen = look(page, folder=tmp_path)
    assert (seen.complaints, seen.asked_for) == ([], [])
    assert seen.title != "owned" and "owned" in seen.title


SORTING = """
const [first, second] = document.querySelectorAll("th button");
const rows = () => [...document.querySelectorAll("tbody tr")].map((row) => row.cells[0].textContent);
const said = [];
first.click(); said.push(rows());
first.click(); said.push(rows());
second.click(); said.push(rows());
said.push([...document.querySelectorAll("th")].map((name) => name.getAttribute("aria-sort")));
document.title = JSON.stringify(said);
"""


def test_columns_are_sorted_by_number_and_by_name_with_gaps_last(tmp_path: Path) -> None:
    made = table(["n", "name"], [[10, "b"], [9.5, "a10"], [None, "a9"], [-1, None]], sortable=True)
    page = tmp_path / "sort.html"
    page.write_text(f"<title>x</title>{made}<script>{SCRIPT}</script><script>{SORTING}</script>")
    said = json.loads(look(page, folder=tmp_path).title)
    assert said == [
        ["-1", "9.5000", "10", "-"],
        ["10", "9.5000", "-1", "-"],
        ["-", "9.5000", "10", "-1"],
        [None, "ascending"],
    ]
