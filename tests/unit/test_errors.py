"""Every error pickles, says all that it knows, and names what is allowed."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray import errors
from nnray.errors import (
    ConfigError,
    DivergedError,
    IncompatibleModel,
    Interrupted,
    NnrayError,
    Problem,
    UserCodeError,
    in_a_sentence,
    suggestion,
)

EXAMPLES: dict[type[BaseException], BaseException] = {
    NnrayError: NnrayError("what"),
    ConfigError: ConfigError("a.yaml", [Problem("optimizer.lr", "got -1"), Problem("", "empty")]),
    errors.DataError: errors.DataError("no file"),
    IncompatibleModel: IncompatibleModel("muon", ["net.0 (Linear): why"], "use adam"),
    DivergedError: DivergedError(3, 41, "validation loss"),
    errors.ClientFailure: errors.ClientFailure("2 of 5"),
    errors.CheckpointError: errors.CheckpointError("a flipped bit"),
    errors.ClusterError: errors.ClusterError("no head"),
    errors.TrackingError: errors.TrackingError("locked"),
    errors.RunError: errors.RunError("no such run"),
    UserCodeError: UserCodeError("nets:tiny", "raised"),
    Interrupted: Interrupted("digits-train-1"),
}


def all_errors() -> set[type[BaseException]]:
    found = (value for value in vars(errors).values() if isinstance(value, type))
    return {kind for kind in found if issubclass(kind, BaseException)}


def test_every_error_has_an_example_here() -> None:
    assert set(EXAMPLES) == all_errors()


@pytest.mark.parametrize("error", EXAMPLES.values(), ids=lambda e: type(e).__name__)
def test_an_error_comes_back_from_another_process_as_itself(error: BaseException) -> None:
    back = pickle.loads(pickle.dumps(error))  # our own bytes
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


@pytest.mark.parametrize("error", EXAMPLES.values(), ids=lambda e: type(e).__name__)
def test_all_but_the_interrupt_are_caught_as_one(error: BaseException) -> None:
    assert isinstance(error, NnrayError) != isinstance(error, KeyboardInterrupt)


def test_a_config_error_has_a_line_for_each_problem() -> None:
    assert str(EXAMPLES[ConfigError]) == "a.yaml: optimizer.lr: got -1\na.yaml: empty"


def test_problems_may_be_given_as_an_iterator() -> None:
    error = ConfigError("f", (Problem("", text) for text in "ab"))
    assert [problem.message for problem in error.problems] == ["a", "b"]
    assert str(error) == str(error) == "f: a\nf: b"


def test_messages_say_what_to_do() -> None:
    assert str(DivergedError(3, 41)) == (
        "the training loss is not finite in epoch 3, by step 41: "
        "lower optimizer.lr, or set training.max_grad_norm"
    )
    assert (
        str(EXAMPLES[IncompatibleModel]) == "muon can't handle 1 module(s):\n  net.0 (Linear): why\nuse adam"
    )
    assert str(EXAMPLES[UserCodeError]) == "nets:tiny: raised"
    assert "nnray resume digits-train-1" in str(EXAMPLES[Interrupted])


NAMES = st.lists(
    st.text(st.characters(categories=["L", "Nd"]), min_size=1, max_size=8), unique=True, max_size=6
)


@given(word=st.text(max_size=8), names=NAMES)
def test_a_suggestion_names_all_that_is_allowed(word: str, names: list[str]) -> None:
    text = suggestion(word, names)
    if names:
        assert text.endswith(f"allowed: {', '.join(sorted(names))}")
    else:
        assert text == "nothing is allowed here"


@pytest.mark.parametrize(
    ("word", "guess"), [("adm", "did you mean 'adam'? "), ("ADAM", "did you mean 'adam'? "), ("xyz", "")]
)
def test_a_near_match_is_offered_and_a_far_one_isn_t(word: str, guess: str) -> None:
    assert suggestion(word, ["sgd", "adam"]) == f"{guess}allowed: adam, sgd"


def test_an_error_of_another_library_is_told_by_its_first_cause_in_a_sentence() -> None:
    cause = KeyError("gone\nand a long account of it")
    outer = RuntimeError("\x1b[96mStep 2/3\x1b[0m of many. See the docs.\nTraceback")
    assert in_a_sentence(outer) == "Step 2/3 of many"
    assert in_a_sentence(RuntimeError()) == "RuntimeError()"
    outer.__cause__ = ValueError("expected 1.5 of 2.\n  at line 3")
    assert in_a_sentence(outer) == "expected 1.5 of 2"
    outer.__cause__.__cause__ = cause
    assert "gone" in in_a_sentence(outer) and "\n" not in in_a_sentence(outer)
