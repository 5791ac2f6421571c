"""Writes an experiment as a file that a person likes to read and that loads to the same again."""

from __future__ import annotations

import math
from typing import Any

import yaml

from nnray.config.experiment import Experiment
from nnray.config.reader import is_text
from nnray.config.tree import to_tree

_WIDTH = 100


class _Dumper(yaml.SafeDumper):
    """Quotes every text that YAML 1.1 or 1.2 would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def dump(experiment: Experiment) -> str:
    """The experiment as YAML, every default written out."""
    tree = _node(to_tree(experiment), depth=0)
    text: str = yaml.serialize(tree, Dumper=_Dumper, width=_WIDTH, allow_unicode=True)
    return text


def _node(value: Any, *, depth: int) -> yaml.Node:
    if isinstance(value, dict):
        pairs = [(_scalar(key), _node(item, depth=depth + 1)) for key, item in value.items()]
        is_flow = depth > 0 and _fits(value, depth)
        return yaml.MappingNode("tag:yaml.org,2002:map", pairs, flow_style=is_flow)
    if isinstance(value, list):
        items = [_node(item, depth=depth + 1) for item in value]
        return yaml.SequenceNode("tag:yaml.org,2002:seq", items, flow_style=_fits(value, depth))
    return _scalar(value)


def _fits(value: Any, depth: int) -> bool:
    """Whether a list or mapping goes on one line: a component, a range, a list of numbers."""
    if not value:
        return True
    items = list(value.values()) if isinstance(value, dict) else value
    if isinstance(value, dict) and depth == 1 and "name" not in value:
        return False
    if any(isinstance(item, dict) for item in items) and isinstance(value, dict):
        return False
    return len(str(value)) + 2 * depth < _WIDTH - 10


def _scalar(value: Any) -> yaml.ScalarNode:
    if value is None:
        return yaml.ScalarNode("tag:yaml.org,2002:null", "null")
    if isinstance(value, bool):
        return yaml.ScalarNode("tag:yaml.org,2002:bool", "true" if value else "false")
    if isinstance(value, int):
        return yaml.ScalarNode("tag:yaml.org,2002:int", str(value))
    if isinstance(value, float):
        return yaml.ScalarNode("tag:yaml.org,2002:float", float_text(value))
    is_plain = value.isprintable() and is_text(value)
    return yaml.ScalarNode("tag:yaml.org,2002:str", value, style=None if is_plain else '"')


def float_text(value: float) -> str:
    """The shortest text that is the same number in YAML 1.1 and 1.2."""
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    if not e:
        return text
    digits = mantissa if "." in mantissa else f"{mantissa}.0"
    sign = "-" if exponent.startswith("-") else "+"
    return f"{digits}e{sign}{exponent.lstrip('+-0')}"
