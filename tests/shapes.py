"""Checks the array shapes that annotations promise, while the tests run.

pytest is told in pyproject.toml to instrument the package with jaxtyping and `checked`. Only arrays
are checked: their dtype, their dimensions, and that a dimension named twice in one call has one
size. A general type checker would stumble over names that are imported for annotations only.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import jaxtyping


def array_types(annotation: Any) -> tuple[type, ...] | None:
    """The array types an annotation allows; None when it allows anything else as well."""
    if isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray):
        return (annotation,)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        arrays: list[type] = []
        for part in typing.get_args(annotation):
            if part is types.NoneType:
                arrays.append(part)
                continue
            found = array_types(part)
            if found is None:
                return None
            arrays += found
        return tuple(arrays)
    return None


def resolve(annotation: Any, function: Callable[..., Any]) -> tuple[type, ...] | None:
    """Array types of an annotation that may be text and may name what is not imported."""
    if isinstance(annotation, str):
        if "[" not in annotation:
            return None
        try:
            annotation = eval(annotation, getattr(function, "__globals__", {}))
        except (NameError, AttributeError, TypeError):
            return None
    return array_types(annotation)


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function so that its array arguments and result are checked."""
    if isinstance(function, type):
        return function
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return function
    written = {name: p.annotation for name, p in signature.parameters.items()}
    written["return"] = signature.return_annotation
    if not any(
        (isinstance(a, str) and "[" in a) or not isinstance(a, str) for a in written.values()
    ):
        return function

    @functools.cache
    def expected() -> dict[str, tuple[type, ...]]:
        # Looked up on the first call, when the names of the module are all there.
        found = {name: resolve(annotation, function) for name, annotation in written.items()}
        return {name: kinds for name, kinds in found.items() if kinds}

    def require(name: str, value: Any) -> None:
        kinds = expected().get(name)
        if kinds and not isinstance(value, kinds):
            shape = tuple(getattr(value, "shape", ()))
            got = f"{type(value).__name__} {getattr(value, 'dtype', '')} {shape}"
            raise TypeError(
                f"{function.__module__}.{function.__qualname__}, {name}: got {got}, expected "
                f"{written[name]}"
            )

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not expected():
            return function(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            require(name, value)
        result = function(*args, **kwargs)
        require("return", result)
        return result

    return wrapper
