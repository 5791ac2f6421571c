"""Names to plug-ins: read from source to check a file, imported only to run it."""

from __future__ import annotations

from nnray.registry.calls import bind, build, resolve
from nnray.registry.checks import (
    POSITIONAL,
    check,
    plain,
    problems,
    renamed,
    value_problem,
    value_schema,
)
from nnray.registry.lookup import is_user_code, kinds, names, parameters, signature, summary
from nnray.registry.signatures import RUNTIME, Parameter, Signature, read_help
from nnray.registry.wording import a, describe, must_be, plural, shown

__all__ = [
    "POSITIONAL",
    "RUNTIME",
    "Parameter",
    "Signature",
    "a",
    "bind",
    "build",
    "check",
    "describe",
    "is_user_code",
    "kinds",
    "must_be",
    "names",
    "parameters",
    "plain",
    "plural",
    "problems",
    "read_help",
    "renamed",
    "resolve",
    "shown",
    "signature",
    "summary",
    "value_problem",
    "value_schema",
]
