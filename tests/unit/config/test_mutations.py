"""Whatever becomes of a job file, the answer is an experiment or a ConfigError: soon, with no code run."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnray import registry
from nnray.config import Experiment, dump, load
from nnray.errors import ConfigError
from tests.conftest import ROOT

CASES = 2000 if os.environ.get("CI") else 200
SLOWEST_S = 5.0
SAMPLES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "jobs").glob("*.yaml"))}
CANARY = "open({path!r}, 'w').close()\n\n\ndef net(info, *, width: int = 3):\n    return info\n"
TOKENS = (
    "canary:net",
    "canary.net:net",
    "canary:nothing",
    "cages.canary:net",
    "os:system",
    "!!python/object/apply:os.system ['touch ran']",
    "!!python/name:canary.net",
    "!!python/module:canary",
    "&a [*a, *a]",
    "*a",
    "<<: *a",
    "1e400",
    "-1e-400",
    ".nan",
    "-.inf",
    "9" * 400,
    "0x",
    "null",
    "true",
    "[]",
    "{}",
    "''",
    "{name: canary:net, width: 1}",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "{a: " * 40,
    "\x00",
    "\ufeff",
    "\x85",
    "\u2028",
    "😀",
    "é\u0301",
    "? ",
    "---\n",
    "%YAML 9.9\n",
    "\t",
    "|\n  x\n",
    "name: name",
    "sweep.space.sweep",
    "seed: 1\nseed: 2\n",
    "../../etc/passwd:x",
    "x" * 5000,
)


@pytest.fixture(scope="module")
def cage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on the path with modules that leave a mark if they are ever imported."""
    folder = tmp_path_factory.mktemp("cage")
    mark = folder / "ran"
    (folder / "cages").mkdir()
    for name in ("canary.py", "cages/__init__.py", "cages/canary.py"):
        (folder / name).write_text(CANARY.format(path=str(mark)))
    sys.path.append(str(folder))
    yield mark
    sys.path.remove(str(folder))


def cut(text: str, draw: random.Random) -> str:
    start, end = sorted(draw.choices(range(len(text) + 1), k=2))
    return text[:start] + text[min(end, start + 40) :]


def insert(text: str, draw: random.Random) -> str:
    place = draw.randrange(len(text) + 1)
    return text[:place] + draw.choice(TOKENS) + text[place:]


def replace_value(text: str, draw: random.Random) -> str:
    lines = text.splitlines()
    place = draw.randrange(len(lines)) if lines else 0
    if lines and ":" in lines[place]:
        lines[place] = f"{lines[place].partition(':')[0]}: {draw.choice(TOKENS)}"
    return "\n".join(lines)


def swap_lines(text: str, draw: random.Random) -> str:
    lines = text.splitlines()
    if len(lines) > 1:
        one, other = draw.sample(range(len(lines)), 2)
        lines[one], lines[other] = lines[other], lines[one]
    return "\n".join(lines)


def double_line(text: str, draw: random.Random) -> str:
    lines = text.splitlines() or [""]
    place = draw.randrange(len(lines))
    return "\n".join([*lines[:place], lines[place], *lines[place:]])


def flip_character(text: str, draw: random.Random) -> str:
    place = draw.randrange(len(text)) if text else 0
    return text[:place] + chr(draw.choice((draw.randrange(128), draw.randrange(0xD7FF)))) + text[place + 1 :]


MUTATIONS = (cut, insert, replace_value, swap_lines, double_line, flip_character)


@settings(max_examples=CASES)
@given(
    name=st.sampled_from(sorted(SAMPLES)),
    times=st.integers(1, 6),
    seed=st.integers(0, 2**32),
)
def test_a_mutated_job_file_loads_or_is_a_config_error(cage: Path, name: str, times: int, seed: int) -> None:
    draw = random.Random(seed)
    text = SAMPLES[name]
    for _ in range(times):
        text = draw.choice(MUTATIONS)(text, draw)
    answer = answered(text.encode())
    if answer is not None:
        assert answered(dump(answer).encode()) == answer
    assert not cage.exists(), "user code was run"
    assert not {"canary", "cages"} & sys.modules.keys()


@settings(max_examples=CASES // 10)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_experiment_or_a_config_error(data: bytes) -> None:
    answered(data)


def answered(data: bytes) -> Experiment | None:
    """The experiment in a file of these bytes; None where a ConfigError says what is wrong.

    The limit is on this process's own time, so a loaded machine doesn't break it.
    """
    path = Path("job.yaml")
    path.write_bytes(data)
    start = time.process_time()
    try:
        experiment, problems = load(path), ()
    except ConfigError as error:
        experiment, problems = None, error.problems
    assert time.process_time() - start < SLOWEST_S
    assert (experiment is None) == bool(problems)
    return experiment


def test_the_canary_would_tell(cage: Path) -> None:
    assert registry.parameters("model", "canary:net")["width"].default == 3
    assert not cage.exists()
    registry.resolve("model", "canary:net")
    assert cage.exists()
    cage.unlink()
    del sys.modules["canary"]
