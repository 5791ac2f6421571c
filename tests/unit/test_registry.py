"""What a plug-in takes is read from its source; nothing is imported until it is built."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from nnray import catalog, registry
from nnray.errors import ConfigError, DataError, UserCodeError
from nnray.fields import Fraction, Positive, PositiveInt, Probability
from nnray.registry import Parameter, listing, problems

NETS = '''
from __future__ import annotations
from typing import Annotated, Any, Literal, Optional, Sequence
from pydantic import Field
from nnray import fields
from nnray.fields import Positive, PositiveInt, Probability
from annotated_types import Gt, Le

raise SystemExit("imported")

Norm = Literal["batch", "group"]
Share = Probability
LR = 0.25

def net(
    info,
    *,
    width: PositiveInt = 32,
    depth: "int",
    dropout: Share = 0.5,
    norm: Norm = "batch",
    lr: fields.Positive = LR,
    sizes: tuple[int, ...] = (3, 4),
    pair: tuple[int, float] = (1, 2.5),
    names: Sequence[str] = ("a",),
    maybe: Optional[float] = None,
    either: int | str = 1,
    bounded: Annotated[int, Field(ge=2, lt=9)] = 2,
    tested: Annotated[float, Gt(0), Le(1)] = 0.5,
    table: dict[str, float] = {},
    anything: Any = None,
    strange: Mine | None = None,
    computed: int = max(1, 2),
    bare=7,
    num_steps: int,
    seed: int = 0,
):
    """A net.

    Further words.

    Args:
        width: Units
            of a layer.
        depth (int): How deep: very.

    Returns:
        A net.
    """
'''


@pytest.fixture(autouse=True)
def clean_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and name.partition(".")[0] in {
            "mine",
            "pkg",
            "other",
        }:
            del sys.modules[name]


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def messages(component: dict[str, Any], kind: str = "model", **more: Any) -> list[str]:
    return [str(problem) for problem in problems(kind, component, path="model", **more)]


def parameters(name: str, **more: Any) -> dict[str, Parameter]:
    return dict(registry.parameters("model", name, **more))


def accepts(parameter: Parameter, value: Any) -> bool:
    return registry.value_problem(parameter, value) is None


def test_keyword_only_arguments_are_the_keys_without_those_of_the_run_time() -> None:
    write("mine.py", NETS)
    found = parameters("mine:net")
    assert "info" not in found
    assert not {"num_steps", "seed"} & found.keys()
    assert found["width"].default == 32
    assert found["depth"].required
    assert [name for name, key in found.items() if key.required] == ["depth"]
    assert (found["bare"].default, found["lr"].default, found["sizes"].default) == (7, 0.25, (3, 4))
    assert (found["computed"].computed, found["computed"].default) == (True, None)


def test_help_comes_from_the_docstring() -> None:
    write("mine.py", NETS)
    found = parameters("mine:net")
    assert found["width"].help == "Units of a layer."
    assert found["depth"].help == "How deep: very."
    assert found["dropout"].help == ""
    assert registry.summary("model", "mine:net") == "A net."


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("width", [1, 10**6], [0, 1.0, "1", True, None]),
        ("depth", [-1, 0], [0.5, "0", False]),
        ("dropout", [0, 0.0, 0.99], [1, -0.1, "0.1", True, float("nan")]),
        ("norm", ["batch", "group"], ["layer", None, 1]),
        ("lr", [1, 0.1], [0, float("inf"), True]),
        ("sizes", [[], [1, 2, 3]], [[1.5], 3, "12", [True]]),
        ("pair", [[1, 2.5], [1, 2]], [[1], [1, 2, 3], [1.5, 2]]),
        ("names", [["a", "b"]], ["a", [1]]),
        ("maybe", [None, 1, 0.5], ["x", True]),
        ("either", [1, "x"], [1.5, None]),
        ("bounded", [2, 8], [1, 9]),
        ("tested", [0.1, 1], [0, 1.1]),
        ("table", [{}, {"a": 1.5}], [{"a": "x"}, []]),
        ("anything", [None, 1, [{}], "x"], []),
        ("strange", [None, 1, "x"], []),
        ("bare", [1, "x"], []),
    ],
)
def test_annotations_are_checked_strictly(key: str, good: list[Any], bad: list[Any]) -> None:
    write("mine.py", NETS)
    parameter = parameters("mine:net")[key]
    assert [value for value in good if not accepts(parameter, value)] == []
    assert [value for value in bad if accepts(parameter, value)] == []


def test_reexports_and_aliases_are_followed_without_importing_a_parent() -> None:
    boom = "raise SystemExit('imported')\n"
    write("pkg/__init__.py", boom + "from .nets import *\nfrom pkg.deep.more import inner as renamed\n")
    write("pkg/nets.py", boom + "def tiny(info, *, width: int = 3): ...\n")
    write("pkg/deep/more.py", boom + "from ..types import Size\ndef inner(info, *, size: Size = 2): ...\n")
    write("pkg/types.py", boom + "from nnray.fields import PositiveInt as Size\n")
    assert parameters("pkg:tiny")["width"].default == 3
    assert parameters("pkg.nets:tiny")["width"].default == 3
    assert not accepts(parameters("pkg:renamed")["size"], 0)
    assert "pkg" not in sys.modules


def test_definitions_inside_if_and_try_are_found() -> None:
    write("mine.py", "try:\n    import x\nexcept ImportError:\n    def net(info, *, width: int = 3): ...\n")
    assert parameters("mine:net")["width"].default == 3


def test_a_class_is_called_by_its_init_or_that_of_a_base() -> None:
    base = "class Base:\n    def __init__(self, info, *, width: int = 3): ...\n"
    write("mine.py", base + "class Net(Base):\n    '''A class.'''\n")
    assert parameters("mine:Net")["width"].default == 3
    assert registry.summary("model", "mine:Net") == "A class."


@pytest.mark.parametrize(
    "source",
    [
        "def net(info, **kwargs): ...\n",
        "from functools import partial\nnet = partial(print)\n",
        "from unknown import Base\nclass net(Base): ...\n",
        "from dataclasses import dataclass\n@dataclass\nclass net:\n    info: int\n    width: int = 3\n",
    ],
)
def test_where_the_source_doesn_t_tell_any_key_is_taken(source: str) -> None:
    write("mine.py", source)
    write("unknown.py", "Base = object\n")
    assert messages({"name": "mine:net", "width": 3}) == []
    assert len(messages({"name": "mine:net", "seed": 3})) == 1


def test_endless_chains_end() -> None:
    write("mine.py", "from other import net\nA = A\ndef f(info, *, a: A = A): ...\n")
    write("other.py", "from mine import net\n")
    assert messages({"name": "mine:net"}) in ([], messages({"name": "mine:net"}))
    assert parameters("mine:f")["a"].computed


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nowhere.at.all:net", "no module 'nowhere.at.all' was found in "),
        ("mine:nett", "mine.py defines no 'nett'; did you mean 'net'? allowed: later, net"),
        ("mine:later", "'later' is async; a plain def is needed"),
        ("broken:net", "broken.py, line 1 is not valid Python"),
        ("zero:net", "is not valid Python"),
        ("deep:net", "is not valid Python"),
        ("mine:", "or a function of your own as 'module:function'"),
        ("mine:net.x", "as 'module:function'"),
        ("../mine:net", "as 'module:function'"),
        ("mine.:net", "as 'module:function'"),
        (":net", "as 'module:function'"),
        ("x" * 5000 + ":net", "no module 'xxx"),
    ],
)
def test_a_name_that_leads_nowhere_says_where_it_looked(name: str, expected: str) -> None:
    write("mine.py", "def net(info): ...\nasync def later(info): ...\n")
    write("broken.py", "def net(:\n")
    write("zero.py", "x = '\0'\n")
    write("deep.py", "x = " + "(" * 5000 + ")" * 5000)
    (found,) = messages({"name": name})
    assert found.startswith("model.name: ")
    assert expected in found
    with pytest.raises(ConfigError):
        registry.parameters("model", name)


@pytest.mark.parametrize(
    ("source", "kind", "expected"),
    [
        ("def f(*, width=1): ...", "model", "it must be def f(info, *, ...), not f(, ...)"),
        ("def f(a, b, *, width=1): ...", "model", "it must be def f(info, *, ...), not f(a, b, ...)"),
        ("def f(info): ...", "dataset", "can't be called as a dataset: it must be def f(*, ...)"),
        ("def f(metric): ...", "searcher", "must be def f(metric, mode, seed, *, ...)"),
        ("def f(a): ...", "optimizer", None),
        ("def f(a, b=1): ...", "optimizer", None),
        ("def f(*a): ...", "model", None),
    ],
)
def test_a_function_must_take_what_nnray_gives_by_position(
    source: str, kind: str, expected: str | None
) -> None:
    write("mine.py", source)
    found = messages({"name": "mine:f"}, kind=kind)
    assert len(found) == (expected is not None)
    assert (expected or "") in "".join(found)


def test_an_argument_that_may_be_given_by_position_is_no_key() -> None:
    write("mine.py", "def f(info, width=1): ...")
    (found,) = messages({"name": "mine:f", "width": 2})
    assert (
        found
        == "model.width: is no key, because it may be given by position: write mine:f(info, *, width, ...)"
    )


def test_problems_come_in_the_order_of_the_component() -> None:
    write("mine.py", "def f(info, *, a: int = 1, b: int = 1, c: int): ...")
    found = problems("model", {"name": "mine:f", "z": 1, "b": "x", "a": "y"}, path="model")
    assert [problem.path for problem in found] == ["model.z", "model.b", "model.a", "model.c"]


def test_a_changed_file_is_read_again() -> None:
    write("mine.py", "def f(info, *, a: int = 1): ...")
    assert list(parameters("mine:f")) == ["a"]
    write("mine.py", "def f(info, *, bb: int = 1): ...")
    assert list(parameters("mine:f")) == ["bb"]


def test_folders_of_the_caller_are_searched_after_those_of_python() -> None:
    write("far/mine.py", "def f(info, *, far: int = 1):\n    return far\n")
    assert list(parameters("mine:f", search=["far"])) == ["far"]
    assert registry.resolve("model", "mine:f", search=["far"])(None, far=5) == 5
    write("mine.py", "def f(info, *, near: int = 1): ...")
    sys.path.insert(0, str(Path.cwd()))
    assert list(parameters("mine:f", search=["far"])) == ["near"]


def test_every_folder_that_was_searched_is_named() -> None:
    Path("far").mkdir()
    (found,) = messages({"name": "nowhere:f"}, search=["far"])
    assert str(Path("far").absolute()) in found
    assert str(Path.cwd()) in found


def test_the_kinds_and_names_are_those_of_the_catalog() -> None:
    assert registry.kinds() == tuple(catalog.CATALOG)
    assert registry.names("optimizer") == tuple(catalog.CATALOG["optimizer"])
    with pytest.raises(ConfigError, match="no kind 'modle'; did you mean 'model'"):
        registry.names("modle")


def test_kinds_are_listed_in_the_plural() -> None:
    assert [registry.plural(kind) for kind in ("model", "strategy")] == ["models", "strategies"]
    assert {"models", "strategies", "partitions", "samplers"} <= set(listing.kinds())
    assert listing.entries("strategies") == listing.entries("strategy")
    with pytest.raises(ConfigError, match="no such kind 'strategys'; did you mean 'strategies'"):
        listing.entries("strategys")


def test_a_signature_tells_what_it_takes_of_the_run() -> None:
    write("mine.py", "def f(*, groups, a=1): ...\ndef g(**k): ...\ndef h(*, server_optimizer=None): ...\n")
    taken = {name: registry.signature("strategy", f"mine:{name}") for name in "fgh"}
    assert [name for name in taken if taken[name].takes("groups")] == ["f", "g"]
    assert [name for name in taken if taken[name].takes("server_optimizer")] == ["g", "h"]
    assert list(taken["f"].parameters) == ["a"]


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog whose one model and one schedule stand in mine.py."""
    write("mine.py", "def net(info, *, sizes: tuple[int, ...] = (3,)):\n    return info, sizes\n")
    table = {"model": {"net": "mine:net", "gone": "gone_package:net"}}
    monkeypatch.setattr(catalog, "CATALOG", table)
    sys.path.insert(0, str(Path.cwd()))


@pytest.mark.usefixtures("listed")
def test_a_plug_in_is_called_with_its_keys_as_declared() -> None:
    assert registry.build("model", {"name": "net", "sizes": [1, 2]}, "info") == ("info", (1, 2))
    assert registry.build("model", {"name": "net"}, "info") == ("info", (3,))


@pytest.mark.usefixtures("listed")
def test_a_missing_package_is_told_with_what_to_do() -> None:
    with pytest.raises(
        ConfigError, match="needs the package 'gone_package', which is not installed: pip install"
    ):
        registry.resolve("model", "gone")


def test_what_only_the_run_knows_is_given_where_it_is_taken() -> None:
    write(
        "mine.py",
        "def f(o, *, num_steps=None, a=0):\n    return o, num_steps, a\ndef g(o, **k):\n    return k\n",
    )
    assert registry.build("schedule", {"name": "mine:f", "a": 1}, "o", num_steps=5, steps_per_epoch=2) == (
        "o",
        5,
        1,
    )
    assert registry.build("schedule", {"name": "mine:g"}, "o", num_steps=5) == {"num_steps": 5}


def test_a_component_object_is_as_good_as_a_mapping() -> None:
    from nnray.config import Component

    write("mine.py", "def f(info, *, a=0):\n    return info, a\n")
    assert registry.build("model", Component(name="mine:f", a=3), "i") == ("i", 3)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(info, *, a=0):\n    raise ValueError('no')\n", "raised ValueError: no at .*mine.py:2 for"),
        ("import not_there_at_all\ndef f(info): ...\n", "importing mine raised ModuleNotFoundError"),
        ("raise RuntimeError('early')\ndef f(info): ...\n", "importing mine raised RuntimeError: early"),
        ("def f(info): ...\nf = 3\n", "mine has a int there; a function is needed"),
        ("def f(info): ...\ndel f\n", "mine defines no such name; a function is needed"),
    ],
)
def test_what_goes_wrong_in_user_code_is_told_as_such(source: str, expected: str) -> None:
    write("mine.py", source)
    with pytest.raises(UserCodeError, match=expected) as caught:
        registry.build("model", {"name": "mine:f"}, "info")
    assert caught.value.function == "mine:f"


def test_a_user_s_own_nnray_error_stays_as_it_is() -> None:
    write("mine.py", "from nnray.errors import DataError\ndef f(*, root):\n    raise DataError('torn')\n")
    with pytest.raises(DataError, match="torn"):
        registry.build("dataset", {"name": "mine:f"}, root=None)


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "an integer"),
        (bool | None, "true or false or null"),
        (Literal["a", "b"], "one of a, b"),
        (list[float], "a list of numbers"),
        (list[Literal["a", "b"]], "a list of values, each one of a, b"),
        (list[str], "a list of values, each text"),
        (tuple[float, float], "a list of 2 numbers"),
        (tuple[int, float], "a list of 2: an integer, a number"),
        (tuple[PositiveInt, ...], "a list of integers above 0"),
        (list[Positive] | None, "a list of finite numbers above 0, or null"),
        (int | str | None, "an integer or text or null"),
        (Probability, "a number at least 0 and below 1"),
        (Fraction, "a number from 0 to 1"),
        (Annotated[int, Field(gt=1, multiple_of=2)], "an integer above 1 and a multiple of 2"),
        (dict[str, int], "keys with values"),
        (list[Any], "a list"),
        (Any, "any value"),
    ],
)
def test_a_type_is_described_in_plain_words(hint: Any, words: str) -> None:
    assert registry.describe(hint) == words


def test_long_values_are_cut_in_messages() -> None:
    assert len(registry.shown("x" * 5000)) <= 60
    assert (registry.shown(None), registry.shown(True), registry.shown([1])) == ("null", "true", "[1]")
