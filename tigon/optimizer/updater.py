"""An updater: an optimizer together with the states of its parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from tigon import _native, nd
from tigon.base import check
from tigon.base.errors import add_place
from tigon.export import params, pickled_states
from tigon.optimizer.optimizer import Optimizer
from tigon.optimizer.states import leaves, nested, rebuilt
from tigon.runtime.tracing import is_sparse


def key_in(name: str) -> str:
    """Of the parameter that a state belongs to.

    >>> key_in("state:0:1"), key_in("state:0:1@512")
    ('0', '0')
    """
    return name.removeprefix("state:").rpartition(":")[0]


def joined(
    arrays: Mapping[str, Any],
    weights: Mapping[Any, Any],
    own: Callable[[Any], Any] = lambda key: None,
    source: str = "the file",
) -> Mapping[str, Any]:
    """States of which several ranks had parts (`state:0:0@512`, by their first element), as whole
    ones. `own`: of a key the piece that is enough, where it is there as such."""
    parts: dict[str, dict[int, Any]] = {}
    whole = {}
    for name, array in arrays.items():
        state, at, begin = name.partition("@")
        if at:
            check(
                begin.isascii() and begin.isdecimal() and len(begin) < 20,
                "load_states",
                f"{source} has {name!r}; expected the part's first element behind the @, as in "
                "'state:0:0@512'; is it damaged?",
            )
            parts.setdefault(state, {})[int(begin)] = array
        else:
            whole[name] = array
    if not parts:
        return arrays
    keys = {str(key): key for key in weights}
    for name, found in parts.items():
        key = keys.get(key_in(name))
        if key is None:
            continue
        piece, shape = own(key), tuple(weights[key].shape)
        mine = None if piece is None else found.get(piece.begin)
        if mine is not None and mine.size == piece.end - piece.begin:
            whole[name] = mine
        else:
            whole[name] = _put_together(name, found, shape, source)
    return whole


def _put_together(name: str, parts: Mapping[int, Any], shape: tuple[int, ...], source: str) -> Any:
    begins = sorted(parts)
    ends = [begin + parts[begin].size for begin in begins]
    check(
        [*begins, math.prod(shape)] == [0, *ends]
        and len({(part.ndim, part.dtype) for part in parts.values()}) == 1
        and parts[0].ndim == 1,
        "load_states",
        f"{source} has parts of {name!r} from {begins} to {ends}; expected parts of one axis and "
        f"one dtype that make up the shape {shape}; is a shard missing, or damaged?",
    )
    return nd.concat(*[parts[begin] for begin in begins], dim=0).reshape(shape)


class Updater:
    """Creates states when a parameter is first seen, and updates.

    >>> from tigon import nd, optimizer
    >>> update = Updater(optimizer.create("sgd", learning_rate=0.5))
    >>> weight = nd.ones((2,))
    >>> update(0, nd.ones((2,)), weight)
    >>> weight.asnumpy().tolist()
    [0.5, 0.5]
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.states: dict[Any, Any] = {}

    def __call__(self, index: Any, grad: Any, weight: Any) -> None:
        """Update one parameter, or lists of them."""
        several = isinstance(index, (list, tuple, range))
        self._raise_undone(weight if several else [weight])
        if not several:
            self.optimizer.update_multi_precision(index, weight, grad, self.state(index, weight))
            return
        states = self.states
        own = [
            states[one] if one in states else self.state(one, w)
            for one, w in zip(index, weight, strict=True)
        ]
        if self.optimizer.updates_by_formula:
            self.optimizer.update_multi_precision(list(index), list(weight), list(grad), own)
        elif not self.optimizer.aggregate_num:
            for one in zip(index, weight, grad, own, strict=True):
                self.optimizer.update_multi_precision(*one)
        else:
            each = self.optimizer.aggregate_num
            for start in range(0, len(index), each):
                lists = [list(part[start : start + each]) for part in (index, weight, grad, own)]
                self.optimizer.update_multi_precision(*lists)

    def update_all(self, indices: Any, grads: Any, weights: Any, copies: Any) -> None:
        """Update lists of parameters that live on several contexts: see `Optimizer.update_all`."""
        self._raise_undone(weights)
        states = [self.state(index, w) for index, w in zip(indices, weights, strict=True)]
        self.optimizer.update_all(indices, weights, grads, states, copies)

    def _raise_undone(self, weights: Any) -> None:
        """Updates run later. That one was not done, for want of its gradient, is known at another,
        and told there unless somebody has seen it: weights can be read, and losses."""
        try:
            _native.raise_undone(weights)
        except Exception as error:
            add_place(
                error,
                f"{type(self.optimizer).__name__}: an earlier update has left weights as they were",
            )
            raise

    def state(self, index: Any, weight: Any) -> Any:
        """The state of a parameter, created if need be."""
        if index not in self.states:
            if is_sparse(weight):
                weight = import_module("tigon.optimizer.rows").table_of(weight)
            self.states[index] = self.optimizer.create_state_multi_precision(index, weight)
        return self.states[index]

    def get_states(self, dump_optimizer: bool = False) -> bytes:
        """States, counts and settings as bytes: those of a file of `Trainer.save_states`. The
        settings say all of an optimizer but its schedule, so that `dump_optimizer` adds nothing."""
        arrays = {name: array.bits_to_numpy() for name, array in self.to_arrays().items()}
        return params.write(arrays)

    def set_states(self, states: bytes) -> None:
        """Take over what `get_states` gave. What does not fit changes nothing."""
        check(
            isinstance(states, (bytes, bytearray, memoryview)),
            "set_states",
            f"expected the bytes that get_states gives; given {type(states).__name__}",
        )
        arrays = self.arrays_in(states, "set_states")
        check(
            "num_update" in arrays,
            "set_states",
            "expected what get_states gives; given arrays that are no optimizer's states",
        )
        found: dict[Any, dict[str, Any]] = {}
        counts: dict[Any, int] = {}
        for name, array in arrays.items():
            kind, _, rest = name.partition(":")
            if kind == "state":
                index, _, place = rest.rpartition(":")
                check(
                    _PLACE.fullmatch(place),
                    "set_states",
                    f"expected states such as 'state:0:1'; given '{name:.80}'",
                )
                found.setdefault(_index(index), {})[place] = array
            elif kind == "count":
                counts[_index(rest)] = _count(arrays, name, "set_states")
        num_update = _count(arrays, "num_update", "set_states")
        _set(self.optimizer, self._settings_in(arrays, "set_states"))
        self.states = {index: nested(own) for index, own in found.items()}
        self.optimizer._counts = counts
        self.optimizer.num_update = num_update

    def to_arrays(self) -> dict[str, Any]:
        """States, counts and the optimizer's settings as named arrays, for a file. A rate that a
        scheduler decides follows from the count of updates."""
        arrays = {
            f"state:{index}:{place}": array
            for index, state in self.states.items()
            for place, array in leaves(state).items()
        }
        return arrays | _head(self.optimizer)

    own_arrays = to_arrays
    """Of an updater that ranks share: those of this one."""

    def arrays_in(
        self, content: bytes | memoryview, source: str, numbers: Mapping[Any, int] | None = None
    ) -> Mapping[str, Any]:
        """What `to_arrays` gives, of the bytes of a file, written here or by MXNet, whose
        parameters have these `numbers` here."""
        if pickled_states.is_pickle(content):
            return self._old_arrays(content, source, numbers or {})
        arrays = nd.load_frombuffer(content, source)
        return arrays if isinstance(arrays, dict) else {}  # without names there are no states

    def _old_arrays(
        self, content: bytes | memoryview, source: str, known: Mapping[Any, int]
    ) -> dict[str, Any]:
        """Where MXNet wrote states without their optimizer, counts and settings are the present
        ones."""
        old = pickled_states.read(content, source)
        arrays = {
            f"state:{known.get(index, index)}:{place}": nd.array(array, dtype=array.dtype)
            for index, state in old.states.items()
            for place, array in leaves(state).items()
        }
        own = _head(self.optimizer)
        if old.optimizer is None:
            return own | arrays
        fields = old.optimizer.fields
        check(
            fields.get("lr_scheduler") is None or self.optimizer.lr_scheduler is not None,
            "load_states",
            f"{source} was saved under a {type(fields.get('lr_scheduler')).__name__}; make this "
            "optimizer with an lr_scheduler",
        )
        own = {name: array for name, array in own.items() if name.startswith("setting:")}
        for name in _settings(self.optimizer):
            for said in (_OLD_NAMES.get(name, name), name):
                value = fields.get(said)
                if said in fields and (value is None or isinstance(value, (bool, int, float))):
                    own[f"setting:{name}"] = _number(value)
        counts = fields.get("_index_update_count", {})
        own[f"optimizer:{old.optimizer.name.lower()}"] = nd.zeros((1,))
        own["num_update"] = _whole(fields.get("num_update", 0), source)
        for index, count in (counts if isinstance(counts, dict) else {}).items():
            own[f"count:{known.get(index, index)}"] = _whole(count, source)
        return own | arrays

    def from_arrays(
        self, arrays: Mapping[str, Any], weights: Mapping[int, Any], source: str = "the file"
    ) -> None:
        """Take over what `to_arrays` gave. Everything is checked before anything changes. Files
        of earlier versions have no settings: those of the optimizer stay."""
        check(
            "num_update" in arrays,
            "load_states",
            f"{source} holds no optimizer states; expected what save_states wrote",
        )
        arrays = joined(arrays, weights, source=source)
        before = _settings(self.optimizer)
        _set(self.optimizer, self._settings_in(arrays, source))
        try:
            self._take_over(arrays, weights, source)
        except BaseException:
            _set(self.optimizer, before)
            raise

    def _settings_in(self, arrays: Mapping[str, Any], source: str) -> dict[str, Any]:
        """The settings among such arrays; the present ones where there are none."""
        own = f"optimizer:{type(self.optimizer).__name__.lower()}"
        written = [key for key in arrays if key.startswith("optimizer:")]
        has_settings = bool(written) or any(key.startswith("setting:") for key in arrays)
        check(
            not has_settings or written == [own],
            "load_states",
            f"{source} was saved by the optimizer "
            f"{', '.join(written).replace('optimizer:', '') or 'of no name'}; "
            f"this one is {own.replace('optimizer:', '')}",
        )
        present = _settings(self.optimizer)
        return _read_settings(arrays, present, source) if has_settings else present

    def _take_over(
        self, arrays: Mapping[str, Any], weights: Mapping[int, Any], source: str
    ) -> None:
        num_update = _count(arrays, "num_update", source)
        before_any_step = num_update == 0 and not any(key.startswith("state:") for key in arrays)
        states: dict[int, Any] = {}
        counts: dict[Any, int] = {}
        for index, weight in () if before_any_step else weights.items():
            expected = self.optimizer.create_state_multi_precision(index, weight)
            found = {}
            for place, state in leaves(expected).items():
                name = f"state:{index}:{place}"
                check(
                    name in arrays,
                    "load_states",
                    f"{source} has no '{name}'; was it saved by another optimizer?",
                )
                check(
                    tuple(arrays[name].shape) == tuple(state.shape),
                    "load_states",
                    f"'{name}' expects shape {tuple(state.shape)}; {source} has "
                    f"{tuple(arrays[name].shape)}; was it saved for another network?",
                )
                found[place] = arrays[name].astype(state.dtype).as_in_context(state.context)
            states[index] = rebuilt(expected, found)
            if f"count:{index}" in arrays:
                counts[index] = _count(arrays, f"count:{index}", source)
        self.states = states
        self.optimizer._counts = counts
        self.optimizer.num_update = num_update


_PLACE = re.compile(r"\d{1,2}(\.\d{1,2})?")
_OLD_NAMES = {"learning_rate": "lr", "eps": "float_stable_eps"}
"""What MXNet's optimizers call some of their settings, where that is not what ours call them."""


def _head(optimizer: Optimizer) -> dict[str, Any]:
    """Counts and settings as named arrays."""
    arrays = {
        f"count:{index}": _whole(count, "the optimizer")
        for index, count in optimizer._counts.items()
    }
    arrays[f"optimizer:{type(optimizer).__name__.lower()}"] = nd.zeros((1,))
    for name, value in _settings(optimizer).items():
        arrays[f"setting:{name}"] = _number(value)
    return arrays | {"num_update": _whole(optimizer.num_update, "the optimizer")}


def _number(value: float | None) -> Any:
    return nd.array(np.array([math.inf if value is None else value]), dtype="float64")


def _whole(count: Any, source: str) -> Any:
    check(
        isinstance(count, int),
        "load_states",
        f"{source}: expected whole numbers of updates; given {count!r:.80}",
    )
    return nd.array(np.array([count]), dtype="int64")


def _index(text: str) -> Any:
    """What numbers a parameter, or names it."""
    return int(text) if text.isdecimal() else text


def _settings(optimizer: Optimizer) -> dict[str, Any]:
    """What an optimizer was made with, as numbers; None where it is off."""
    own = {
        "learning_rate": optimizer.lr,
        "wd": optimizer.wd,
        "clip_gradient": optimizer.clip_gradient,
    }
    numbers = {
        name: value
        for name, value in optimizer.constants.items()
        if value is None or isinstance(value, (bool, int, float))
    }
    return {**numbers, **own}


def _read_settings(
    arrays: Mapping[str, Any], present: Mapping[str, Any], source: str
) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, value in present.items():
        key = f"setting:{name}"
        check(key in arrays, "load_states", f"{source} has no '{key}'; is it damaged?")
        array = arrays[key].asnumpy()
        check(
            array.dtype == np.float64 and array.shape == (1,) and not np.isnan(array[0]),
            "load_states",
            f"'{key}' expects one number; {source} has {array.dtype} of shape {array.shape}",
        )
        number = float(array[0])
        settings[name] = None if math.isinf(number) else _type_of_setting(value)(number)
    return settings


def _type_of_setting(value: Any) -> Any:
    """What a number of a file is brought into: flags are flags."""
    return bool if isinstance(value, bool) else float


def _set(optimizer: Optimizer, settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        if name == "learning_rate":
            optimizer.lr = value
        elif name in ("wd", "clip_gradient"):
            setattr(optimizer, name, value)
        else:
            optimizer.constants[name] = value


def _count(arrays: Mapping[str, Any], name: str, source: str) -> int:
    array = arrays[name].asnumpy()
    check(
        array.dtype == np.int64 and array.shape == (1,) and array[0] >= 0,
        "load_states",
        f"'{name}' expects one whole number that is not negative; {source} has {array.dtype} of "
        f"shape {array.shape}: {array.ravel()[:3].tolist()}",
    )
    return int(array[0])


def get_updater(optimizer: Optimizer) -> Updater:
    """An updater for this optimizer."""
    return Updater(optimizer)
