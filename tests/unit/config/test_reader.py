from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nnray.config.dump import float_text
from nnray.config.reader import MAX_BYTES, MAX_DEPTH, is_text, read_yaml
from nnray.errors import ConfigError


def value_of(text: str) -> object:
    value, problems = read_yaml(text, source="file.yaml")
    assert problems == []
    return value


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_yaml(text, source="file.yaml")
    message = str(caught.value)
    assert message.startswith("file.yaml: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("1.e3", 1e3),
        (".5", 0.5),
        ("-2.5e+3", -2500.0),
        ("12", 12),
        ("-7", -7),
        ("+3", 3),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("'1e-3'", "1e-3"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("!!float 12", 12.0),
        ("!!int '12'", 12),
        ("! 12", "12"),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("größe 🎉", "größe 🎉"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, expected: object) -> None:
    value = value_of(text)
    assert value == expected
    assert type(value) is type(expected)


def test_nan_is_a_number() -> None:
    value = value_of(".nan")
    assert isinstance(value, float)
    assert math.isnan(value)


def test_lists_mappings_and_aliases_are_plain_values() -> None:
    assert value_of("a: [1, {b: c}]\nd: &x [2, 3]\ne: *x\nf: {}\ng: []\n") == {
        "a": [1, {"b": "c"}],
        "d": [2, 3],
        "e": [2, 3],
        "f": {},
        "g": [],
    }


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert value_of("\ufeffname: x") == {"name": "x"}


def test_every_doubled_key_is_told_with_its_lines_and_the_first_value_stands() -> None:
    text = "name: x\noptimizer:\n  lr: 1\n  eps: 2\n  lr: 3\nname: y\n"
    value, problems = read_yaml(text, source="s")
    assert value == {"name": "x", "optimizer": {"lr": 1, "eps": 2}}
    assert [str(problem) for problem in problems] == [
        "optimizer.lr: the key 'lr' stands twice, in lines 3 and 5",
        "name: the key 'name' stands twice, in lines 1 and 6",
    ]


def test_the_value_of_a_doubled_key_may_be_nested() -> None:
    value, problems = read_yaml("a: 1\na: {b: [1, 2], c: {d: 1}}\ne: 2\n", source="s")
    assert value == {"a": 1, "e": 2}
    assert [problem.path for problem in problems] == ["a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: !!python/object:os.system ls", "tag '!!python/object:os.system' in line 1"),
        ("a:\n  - !!python/object/apply:os.system ['true']", "in line 2 is refused"),
        ("!!python/name:os.system", "is refused"),
        ("a: !mine {b: 1}", "tag '!mine'"),
        ("!!set {a, b}", "tag '!!set'"),
        ("!!int x", "is tagged !!int, which it is not"),
        ("a: 1e400", "1e400' is too large"),
        ("a:\n  b: -1e999", "line 2"),
        ("a: 1e-400", "too small"),
        ("a: " + "9" * 5000, "too many digits"),
        ("1: a", "a key must be text (got 1 in line 1): put it in quotes"),
        ("true: a", "a key must be text (got true"),
        ("? [a, b]\n: c", "a key must be text, not a list"),
        ("{{a: b}: c}", "a key must be text, not a mapping"),
        ("<<: {a: 1}", "merge key"),
        ("a: *b", "alias *'b' in line 1"),
        ("&a [*a]", "nothing complete before it"),
        ("a: 1\n---\nb: 2", "a second document starts in line 2"),
        ("a: [1, 2", "is not YAML"),
        ("a: b: c", "line 1, column 5"),
        ("a: 'x", "is not YAML"),
        ("a: \x00", "'\\x00' at offset 3 is not allowed"),
        ("\ta: 1", "is not YAML"),
        ("a: " + "[" * (MAX_DEPTH + 1), f"more than {MAX_DEPTH} levels"),
        ("x" * (MAX_BYTES + 1), "too large"),
    ],
)
def test_what_is_no_plain_yaml_is_one_clear_message(text: str, expected: str) -> None:
    assert expected in refusal(text)


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "aliases written out" in refusal("\n".join(lines))


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_no_depth_exhausts_the_stack(opening: str) -> None:
    refusal(opening * (MAX_BYTES // len(opening)))


@pytest.mark.parametrize("name", ["a: 1e-3", "a: [x, 'y']", "{a: {b: null}}"])
def test_a_tree_agrees_with_the_plain_safe_loader(name: str) -> None:
    expected = yaml.safe_load(name.replace("1e-3", "1.0e-3"))
    assert value_of(name) == expected


@given(st.floats(allow_nan=False))
def test_a_written_float_is_the_same_number_for_us_and_for_yaml_1_1(number: float) -> None:
    if abs(number) < 1e-307 and number != 0:
        return
    text = float_text(number)
    assert value_of(text) == number
    assert yaml.safe_load(text) == number
    assert isinstance(yaml.safe_load(text), float)


@given(st.text(max_size=20))
def test_reading_any_text_gives_a_value_or_a_config_error(text: str) -> None:
    try:
        value, _ = read_yaml(text, source="s")
    except ConfigError:
        return
    assert isinstance(value, str | int | float | bool | list | dict | None)


@given(st.text(alphabet="0123456789.eE+-_xo:tru", min_size=1, max_size=8))
def test_a_scalar_is_text_exactly_when_it_is_read_as_text(text: str) -> None:
    try:
        value, _ = read_yaml(f"a: {text}", source="s")
    except ConfigError:
        return
    if isinstance(value, dict) and list(value) == ["a"]:
        assert isinstance(value["a"], str) == is_text(text) or isinstance(value["a"], list | dict)
