"""Which plug-ins there are, and what each takes: the catalog's, and functions of the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nnray import catalog
from nnray.errors import ConfigError, Problem, suggestion
from nnray.registry.signatures import Parameter, Signature, read_signature
from nnray.registry.source import Unreadable, read_module
from nnray.registry.wording import shown


def kinds() -> tuple[str, ...]:
    """The kinds of plug-ins."""
    return tuple(catalog.CATALOG)


def names(kind: str) -> tuple[str, ...]:
    """The names of a kind's plug-ins that ship with nnray, in the catalog's order."""
    if kind not in catalog.CATALOG:
        raise ConfigError("registry", [Problem("", f"no kind {kind!r}; {suggestion(kind, kinds())}")])
    return tuple(catalog.CATALOG[kind])


def is_user_code(name: str) -> bool:
    """Whether a name means a function of the user's own, ``module:function``."""
    return ":" in name


def target(kind: str, name: str) -> str:
    """The ``module:function`` that a name stands for.

    Raises:
        Unreadable: The name is neither in the catalog nor of that form.
    """
    listed = names(kind)
    if name in listed:
        return catalog.CATALOG[kind][name]
    module, colon, function = name.partition(":")
    if colon and function.isidentifier() and all(part.isidentifier() for part in module.split(".")):
        return name
    raise Unreadable(
        f"no {kind} {shown(name)}; {suggestion(name, listed)}; or a function of your own as 'module:function'"
    )


def signature(kind: str, name: str, *, search: Sequence[str] = ()) -> Signature:
    """What a plug-in takes, read from its source.

    Raises:
        ConfigError: There is no such plug-in; the message says what there is, or where it looked.
    """
    try:
        return read(kind, name, search=search)
    except Unreadable as error:
        raise ConfigError(f"{kind} {shown(name)}", [Problem("", str(error))]) from None


def read(kind: str, name: str, *, search: Sequence[str]) -> Signature:
    """As `signature`, for use within the registry.

    Raises:
        Unreadable: There is no such plug-in.
    """
    module, _, function = target(kind, name).partition(":")
    return read_signature(read_module(module, search=tuple(search)), function)


def parameters(kind: str, name: str, *, search: Sequence[str] = ()) -> Mapping[str, Parameter]:
    """The keys that a plug-in takes in an experiment file.

    Raises:
        ConfigError: There is no such plug-in.
    """
    return signature(kind, name, search=search).parameters


def summary(kind: str, name: str, *, search: Sequence[str] = ()) -> str:
    """The first line of a plug-in's docstring.

    Raises:
        ConfigError: There is no such plug-in.
    """
    return signature(kind, name, search=search).summary
