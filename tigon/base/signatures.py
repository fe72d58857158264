"""What classes take, where `__init__` hands on what it does not know: for `help` and completion."""

from __future__ import annotations

import inspect
from typing import Any


class whole_signature:
    """As `__signature__` of a class: what `__init__` takes, and what those of its bases take in the
    place of `**keywords`. `own` names a mapping of the class with further names and defaults.

    >>> class Layer:
    ...     __signature__ = whole_signature()
    ...     def __init__(self, prefix=None):
    ...         pass
    >>> class Dense(Layer):
    ...     def __init__(self, units, **keywords):
    ...         pass
    >>> inspect.signature(Dense)
    <Signature (units, *, prefix=None)>
    """

    def __init__(self, own: str = "") -> None:
        self._own = own

    def __get__(self, instance: Any, owner: type | None = None) -> inspect.Signature:
        if owner is None:
            raise AttributeError("__signature__")
        found: dict[str, inspect.Parameter] = {}
        kinds = inspect.Parameter
        hands_on = True
        for kind in owner.__mro__:
            if not hands_on or kind is object:
                break
            init = vars(kind).get("__init__")
            if init is None:
                continue
            hands_on = False
            first = not found
            for parameter in list(inspect.signature(init).parameters.values())[1:]:
                if parameter.kind is kinds.VAR_KEYWORD:
                    hands_on = True
                elif parameter.name not in found:
                    by_name = not first and parameter.kind is not kinds.VAR_POSITIONAL
                    change = {"kind": kinds.KEYWORD_ONLY} if by_name else {}
                    found[parameter.name] = parameter.replace(**change)  # type: ignore[arg-type]
        own = getattr(owner, self._own, {}) if self._own else {}
        for name, default in own.items():
            found.setdefault(name, kinds(name, kinds.KEYWORD_ONLY, default=default))
        order = sorted(found.values(), key=lambda parameter: parameter.kind)
        return inspect.Signature(order)
