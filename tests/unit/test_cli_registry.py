"""``nnray promote``, ``models`` and ``describe`` as they are typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nnray import api
from nnray.catalog import CATALOG
from nnray.errors import ConfigError, RunError
from nnray.registry import parameters, plural, shown
from nnray.registry.manual import describe
from nnray.runners.registry.listing import Models
from nnray.runners.registry.promotion import Promoted
from nnray.tracking.registry import Version
from tests.unit.cli_calls import Nnray, caller

ENTRIES = [(kind, name) for kind, listed in CATALOG.items() for name in listed]


@pytest.fixture
def nnray(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nnray:
    return caller(monkeypatch, capsys)


def version(number: int = 1, **fields: Any) -> Version:
    known: dict[str, Any] = {
        "name": "net",
        "version": number,
        "aliases": (),
        "made_ms": 1_790_000_000_000,
        "model_id": "m-1",
        "run_id": "f" * 32,
        "run": "net-train-1",
        "sha256": "0123456789abcdef",
        "num_weights": 2412,
        "metrics": {"val_accuracy": 0.9, "test_accuracy": 0.875},
    }
    return Version(**known | fields)


def test_options_of_promote_reach_the_verb(nnray: Nnray, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []

    def promote(model: str, **options: Any) -> Promoted:
        seen.append((model, options))
        return Promoted(verb="promote", seconds=0.1, alias=options["alias"], model="net/2", replaced="net/1")

    monkeypatch.setattr(api, "promote", promote)
    code, out, _ = nnray(
        *("promote", "RUN", "--as", "staging", "--name", "net", "--metric", "test_loss", "--force"),
        *("--dir", "d", "--tracking", "sqlite:///x", "--trust"),
    )
    assert code == 0 and out == "net/2 is now staging, in place of net/1\n"
    assert seen == [
        (
            "RUN",
            {
                "alias": "staging",
                "name": "net",
                "metric": "test_loss",
                "force": True,
                "root": Path("d"),
                "tracking": "sqlite:///x",
                "trust": True,
                "experiment": None,
            },
        )
    ]
    code, out, _ = nnray("promote", "RUN", "--json")
    told = json.loads(out.splitlines()[-1])
    assert (told["alias"], told["model"], told["replaced"]) == ("champion", "net/2", "net/1")
    assert seen[-1][1]["force"] is False and seen[-1][1]["alias"] == "champion"


def test_a_refusal_is_one_message_and_exit_code_2(nnray: Nnray, monkeypatch: pytest.MonkeyPatch) -> None:
    def promote(model: str, **_: Any) -> Promoted:
        raise RunError(f"{model} is worse")

    monkeypatch.setattr(api, "promote", promote)
    assert nnray("promote", "net/2") == (2, "", "error: net/2 is worse\n")


@pytest.mark.parametrize("arguments", [(), ("net",)])
def test_models_are_listed(nnray: Nnray, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    seen: list[Any] = []

    def list_models(name: str | None, *, tracking: str | None) -> Models:
        seen.append((name, tracking))
        return Models(tracking_uri="sqlite:///x", models=[version(2, aliases=("champion",)), version()])

    monkeypatch.setattr(api, "list_models", list_models)
    code, out, _ = nnray("models", *arguments, "--tracking", "sqlite:///x")
    assert code == 0 and seen == [(arguments[0] if arguments else None, "sqlite:///x")]
    title, first, run, second, _ = out.splitlines()
    assert title.split() == ["model", "alias", "val", "test", "weights", "sha256", "registered"]
    assert first.split()[:6] == ["net/2", "champion", "0.9000", "0.8750", "2,412", "01234567"]
    assert run.split() == ["run", "net-train-1"] and second.split()[:2] == ["net/1", "-"]
    told = json.loads(nnray("models", "--json", "--quiet")[1])
    assert [model["model"] for model in told["models"]] == ["net/2", "net/1"]
    assert told["models"][0]["sha256"] == "0123456789abcdef"


def test_an_empty_store_says_what_to_do(
    nnray: Nnray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code, out, _ = nnray("models")
    assert code == 0 and "no model is registered" in out and "nnray train" in out
    assert list(tmp_path.iterdir()) == []
    code, _, err = nnray("models", "net")
    assert code == 2 and "no model is registered as 'net'" in err


LONG = [
    version(12, name="a-name-that-is-much-longer-than-a-window-of-eighty-columns-has-room-for-in-it"),
    version(7, aliases=tuple(f"alias-number-{k}" for k in range(9)), num_weights=1_234_567_890),
    version(1, metrics={"val_loss": 123456.5, "test_loss": float("nan")}, run="r" * 90, num_weights=None),
    version(3, metrics={}, sha256="", run="", run_id=""),
    version(4, metrics={"test_accuracy": 1.0, "evaluate.test.accuracy": 1.0}, num_weights=999_999),
]


def test_the_table_fits_eighty_columns_and_keeps_its_columns() -> None:
    lines = Models(tracking_uri="u", models=LONG).summary().splitlines()
    table = [line for line in lines if not line.startswith("    ")]
    assert max(map(len, table)) <= 80 and len(table) == 1 + len(LONG)
    assert len({len(line) for line in table[1:]}) == 1
    assert table[1].split()[0].startswith("a-name") and table[1].split()[0].endswith("/12")
    assert "1.2 G" in table[2] and "999,999" in table[5]
    assert "val and test: loss" in "\n".join(lines) and "evaluate.test.accuracy 1.0000" in "\n".join(lines)


def test_json_has_whole_names_and_no_nan() -> None:
    told = Models(tracking_uri="u", models=LONG).to_dict()
    parsed = json.loads(json.dumps(told, allow_nan=False))
    assert parsed["models"][0]["model"] == LONG[0].reference
    assert parsed["models"][2]["metrics"] == {"test_loss": None, "val_loss": 123456.5}


def test_a_notebook_shows_a_table_with_names_escaped() -> None:
    shown_html = Models(tracking_uri="u", models=[version(aliases=("<b>",))])._repr_html_()
    assert "&lt;b&gt;" in shown_html and "<b>" not in shown_html


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_entry_is_described_with_all_that_it_takes(kind: str, name: str) -> None:
    manual = describe(plural(kind), name)
    assert manual == describe(kind, name)
    assert manual.function == CATALOG[kind][name] and manual.text
    known = parameters(kind, name)
    assert [key.name for key in manual.keys] == list(known)
    for key in manual.keys:
        parameter = known[key.name]
        assert key.type and key.help, key
        kept = parameter.required or parameter.computed
        assert kept or key.default == shown(parameter.default)
    page = manual.summary()
    assert all(f"  {key.name}: " in page for key in manual.keys)
    assert max(len(line) for line in page.splitlines()) <= 80 or any(len(w) > 60 for w in page.split())
    json.dumps(manual.to_dict(), allow_nan=False)


def test_a_description_has_types_defaults_helps_and_the_source(nnray: Nnray) -> None:
    code, out, _ = nnray("describe", "models", "lenet")
    assert code == 0
    for words in (
        "lenet (model)",
        "nnray.models.cnn:lenet",
        "LeCun et al. 1998",
        "dropout: a number at least 0 and below 1; default 0.0",
        "Share of units dropped",
        "one of max, average; default 'max'",
    ):
        assert words in " ".join(out.split())
    told = json.loads(nnray("describe", "model", "lenet", "--json", "--quiet")[1])
    assert told["keys"][0]["name"] == "dropout" and told["source"].startswith("LeCun")
    assert "Source:" not in out and "Raises:" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("modles", "mlp"), "did you mean 'models'"),
        (("models", "lenett"), "did you mean 'lenet'"),
        (("models", "adam"), "it is among the optimizers"),
        (("models", "no_such:net"), "no module 'no_such'"),
        (("models", "json:no_such"), "defines no 'no_such'"),
    ],
)
def test_a_wrong_name_is_told_with_near_ones(nnray: Nnray, arguments: tuple[str, str], message: str) -> None:
    code, out, err = nnray("describe", *arguments)
    assert code == 2 and out == "" and message in err and len(err.splitlines()) == 1


OWN = '''
raise RuntimeError("imported")


def tiny(info, *, width: int, gain: float = compute(), **rest):
    """A tiny one.

    Two paragraphs.

    Args:
        width: Units.
        gain: Of them.

    Source:
        Me,
        2020.
    """


def bare(info):
    return None
'''


def test_functions_of_ones_own_are_described(
    nnray: Nnray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_nets.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    code, out, _ = nnray("describe", "models", "own_nets:tiny")
    assert code == 0
    for words in (
        "A tiny one. Two paragraphs.",
        "source Me, 2020.",
        "width: an integer; required",
        "gain: a number; computed",
        "and any other",
    ):
        assert words in " ".join(out.split())
    code, out, _ = nnray("describe", "models", "own_nets:bare")
    assert code == 0 and out.splitlines()[-1] == "takes no parameters"


def test_an_unknown_kind_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="no such kind 'nothing'"):
        describe("nothing", "mlp")


def test_describing_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom nnray.cli import main\nsys.argv = ['nnray', 'describe', 'models', 'mlp']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'mlflow', 'ray'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
