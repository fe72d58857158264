"""An updater: an optimizer together with the states of its parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tigon import _native, nd
from tigon.base import check
from tigon.base.errors import add_place
from tigon.export import params
from tigon.optimizer.optimizer import Optimizer, as_list


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
            self.optimizer.update(list(index), list(weight), list(grad), own)
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
            self.states[index] = self.optimizer.create_state_multi_precision(index, weight)
        return self.states[index]

    def get_states(self, dump_optimizer: bool = False) -> bytes:
        """States and counts as bytes: those of a file of `Trainer.save_states`."""
        check(
            not dump_optimizer,
            "get_states",
            "the optimizer is no part of the states; pickle it beside them, and leave "
            "dump_optimizer at False",
        )
        arrays = {name: array.bits_to_numpy() for name, array in self.to_arrays().items()}
        return params.write(arrays)

    def set_states(self, states: bytes) -> None:
        """Take over what `get_states` gave. What does not fit changes nothing."""
        check(
            isinstance(states, (bytes, bytearray, memoryview)) and bytes(states[:1]) != b"\x80",
            "set_states",
            "expected what get_states gives; pickles of MXNet are not read",
        )
        arrays = nd.load_frombuffer(states, "set_states")
        check(
            isinstance(arrays, dict) and "num_update" in arrays,
            "set_states",
            "expected what get_states gives; given arrays that are no optimizer's states",
        )
        found: dict[Any, list[Any]] = {}
        counts: dict[Any, int] = {}
        for name, array in arrays.items():
            kind, _, rest = name.partition(":")
            if kind == "state":
                found.setdefault(_index(rest.rpartition(":")[0]), []).append(array)
            elif kind == "count":
                counts[_index(rest)] = _count(arrays, name, "set_states")
        num_update = _count(arrays, "num_update", "set_states")
        _set(self.optimizer, self._settings_in(arrays, "set_states"))
        self.states = {
            index: own[0] if len(own) == 1 else tuple(own) for index, own in found.items()
        }
        self.optimizer._counts = counts
        self.optimizer.num_update = num_update

    def to_arrays(self) -> dict[str, Any]:
        """States, counts and the optimizer's settings as named arrays, for a file. A rate that a
        scheduler decides follows from the count of updates."""
        arrays = {
            f"state:{index}:{position}": array
            for index, state in self.states.items()
            for position, array in enumerate(as_list(state))
        }
        for index, count in self.optimizer._counts.items():
            arrays[f"count:{index}"] = nd.array(np.array([count]), dtype="int64")
        optimizer = self.optimizer
        arrays[f"optimizer:{type(optimizer).__name__.lower()}"] = nd.zeros((1,))
        for name, value in _settings(optimizer).items():
            number = math.inf if value is None else value
            arrays[f"setting:{name}"] = nd.array(np.array([number]), dtype="float64")
        arrays["num_update"] = nd.array(np.array([self.optimizer.num_update]), dtype="int64")
        return arrays

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
            expected = as_list(self.optimizer.create_state_multi_precision(index, weight))
            found = []
            for position, state in enumerate(expected):
                name = f"state:{index}:{position}"
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
                found.append(arrays[name].astype(state.dtype).as_in_context(state.context))
            states[index] = None if not found else found[0] if len(found) == 1 else tuple(found)
            if f"count:{index}" in arrays:
                counts[index] = _count(arrays, f"count:{index}", source)
        self.states = states
        self.optimizer._counts = counts
        self.optimizer.num_update = num_update


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
