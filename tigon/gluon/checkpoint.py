"""Checkpoints from which training goes on as if it had never been interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import TigonError, check
from tigon.base.arguments import fits
from tigon.base.files import AnyPath, write_file
from tigon.export import params
from tigon.gluon.block import Block
from tigon.gluon.parameters_section import describe as _describe
from tigon.gluon.trainer import Trainer
from tigon.metric import EvalMetric
from tigon.runtime import keys

_NAME = re.compile(r"checkpoint-(\d{10})\.params")
_CONTENTS, _DIGEST = "contents", "digest"

Arrays = dict[str, np.ndarray]


class Checkpoint:
    """All that training depends on, in one file a step: `save` writes it, `resume` takes it up.

    `folder` holds the files, `checkpoint-0000000012.params` after step 12; the newest `keep` stay.
    `parts` are named as you like: networks (values, and gradients that add up), trainers (states,
    counts, rates, schedulers), modules (both), metrics, and whatever has `state_dict` and
    `load_state_dict`, such as a `DataLoader` or `NDArrayIter`, whose place in the epoch is kept.
    The streams of random numbers of `mx.random`, `numpy.random` and `random` always are.

    A file is complete or not there: a process may be killed at any moment, and the next one goes on
    from the last step that was saved, with the same numbers, bit for bit (on as many threads).
    A file that was damaged since is told by a warning, and the one before it is taken.

    >>> import tempfile
    >>> from tigon import gluon, nd
    >>> def training(folder):
    ...     net = gluon.nn.Dense(1, in_units=2)
    ...     net.initialize()
    ...     trainer = gluon.Trainer(net.collect_params(), "adam")
    ...     return net, Checkpoint(folder, net=net, trainer=trainer)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net, checkpoint = training(folder)
    ...     checkpoint.resume() is None
    ...     name = checkpoint.save(7, epoch=3)
    ...     other, checkpoint = training(folder)
    ...     checkpoint.resume()
    ...     bool((other.weight.data() == net.weight.data()).min())
    True
    {'step': 7, 'epoch': 3}
    True
    """

    def __init__(self, folder: AnyPath, keep: int = 3, **parts: Any) -> None:
        check(
            fits(int, keep) and keep >= 1,
            "Checkpoint",
            f"keep: expected how many files stay, at least 1; given {keep!r}",
        )
        check(
            isinstance(folder, (str, bytes, os.PathLike)),
            "Checkpoint",
            f"folder: expected the path of a folder; given {folder!r:.80}",
        )
        self._folder = os.fsdecode(folder)
        self._keep = int(keep)
        self._parts = {name: _Part.of(name, part) for name, part in parts.items()}
        check(bool(parts), "Checkpoint", "expected parts by name, such as net=net, trainer=trainer")

    def save(self, step: int, **progress: Any) -> str:
        """Write the state after `step`, a number that grows, and give the file's path. `progress`
        is handed back by `resume`: numbers, texts, lists and dictionaries of them."""
        check(
            fits(int, step) and 0 <= step < 10**10,
            "Checkpoint.save",
            f"step: expected a whole number from 0 on; given {step!r}",
        )
        arrays: Arrays = {}
        contents = {"version": 1, "step": int(step), "progress": _plain(progress), "parts": {}}
        for name, part in self._parts.items():
            contents["parts"][name] = part.kind
            part.write(f"{name}/", arrays)
        _write_random(arrays)
        arrays[_CONTENTS] = _as_bytes(contents)
        arrays[_DIGEST] = _digest(arrays)
        os.makedirs(self._folder, exist_ok=True)
        path = self._path(int(step))
        write_file(path, params.write(arrays))
        for old in self._steps()[: -self._keep]:
            if old != step:
                os.unlink(self._path(old))
        return path

    def resume(self) -> dict[str, Any] | None:
        """Put all parts where the newest file has them; gives its step and `progress`, or None
        where there is no file yet. A file that does not fit the parts changes nothing."""
        steps = self._steps()
        for step in reversed(steps):
            path = self._path(step)
            try:
                arrays = _read(path)
            except TigonError as error:
                if step == steps[0]:
                    raise
                warnings.warn(f"{error}; going on from the one before", stacklevel=2)
                continue
            contents = _as_json(arrays[_CONTENTS])
            self._check_parts(contents, path)
            before: Arrays = {}
            for name, part in self._parts.items():
                part.write(f"{name}/", before, incomplete=True)
            _write_random(before)
            try:
                self._take_over(arrays, path)
            except BaseException:
                self._take_over(before, "the state before")
                raise
            return {"step": contents["step"], **contents["progress"]}
        return None

    def _take_over(self, arrays: Arrays, source: str) -> None:
        for name, part in self._parts.items():
            prefix = f"{name}/"
            own = {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}
            part.read(own, f"{source}, part '{name}'")
        _read_random(arrays)

    def _check_parts(self, contents: Mapping[str, Any], path: str) -> None:
        mine = {name: part.kind for name, part in self._parts.items()}
        theirs = contents["parts"]
        check(
            mine == theirs,
            "Checkpoint.resume",
            f"{path} holds {_parts_text(theirs)}; here are {_parts_text(mine)}; make the "
            "Checkpoint of the same parts, or take an empty folder",
        )

    def _steps(self) -> list[int]:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        return sorted(int(found[1]) for found in map(_NAME.fullmatch, names) if found)

    def _path(self, step: int) -> str:
        return os.path.join(self._folder, f"checkpoint-{step:010d}.params")


# --------------------------------------------------------------------------------- the parts


class _Part:
    """How one kind of object is written to arrays, and read from them."""

    kind = ""

    def __init__(self, what: Any) -> None:
        self.what = what

    @staticmethod
    def of(name: str, what: Any) -> _Part:
        for known, kind in _KINDS:
            if isinstance(what, known):
                return kind(what)
        if hasattr(what, "init_optimizer") and hasattr(what, "get_params"):
            return _Module(what)  # which imports this package
        check(
            hasattr(what, "state_dict") and hasattr(what, "load_state_dict"),
            "Checkpoint",
            f"{name}: expected a block, a trainer, a module, a metric or an object with "
            f"state_dict and load_state_dict; given {type(what).__name__}",
        )
        return _WithState(what)

    def write(self, prefix: str, arrays: Arrays, incomplete: bool = False) -> None:
        """`incomplete`: what has no values yet is left out, not refused."""
        raise NotImplementedError

    def read(self, arrays: Arrays, source: str) -> None:
        raise NotImplementedError


class _Network(_Part):
    kind = "block"

    def write(self, prefix: str, arrays: Arrays, incomplete: bool = False) -> None:
        for name, param in self._params().items():
            if not param.is_initialized:
                check(
                    incomplete,
                    "Checkpoint.save",
                    f"parameter '{name}' has no values yet; run one batch first",
                )
                continue
            arrays[f"{prefix}value/{name}"] = param._whole().bits_to_numpy()
            if param.grad_req == "add":
                for place, grad in enumerate(param.list_grad()):
                    arrays[f"{prefix}grad/{name}/{place}"] = grad.bits_to_numpy()

    def read(self, arrays: Arrays, source: str) -> None:
        values = {k[6:]: _array(v) for k, v in arrays.items() if k.startswith("value/")}
        before = source == "the state before"
        self.what.load_dict(values, source=source, allow_missing=before)
        for name, param in self._params().items():
            if param.grad_req == "add" and param.is_initialized:
                for place, grad in enumerate(param.list_grad()):
                    found = arrays.get(f"grad/{name}/{place}")
                    grad[:] = 0 if found is None else _array(found).as_in_context(grad.context)

    def _params(self) -> dict[str, Any]:
        return dict(self.what._collect_params_with_prefix())


class _Training(_Part):
    kind = "trainer"

    def write(self, prefix: str, arrays: Arrays, incomplete: bool = False) -> None:
        trainer = self.what
        if incomplete and not all(one.is_initialized for one in trainer._params):
            return
        _check_holds_states(trainer)
        for name, array in trainer._states().items():
            arrays[f"{prefix}states/{name}"] = array.bits_to_numpy()
        schedule = trainer._optimizer.lr_scheduler
        numbers = {} if schedule is None else _numbers_of(schedule)
        arrays[f"{prefix}schedule"] = _as_bytes(numbers)

    def read(self, arrays: Arrays, source: str) -> None:
        trainer = self.what
        if not arrays:
            return  # there was none before
        _check_holds_states(trainer)
        states = {k[7:]: _array(v) for k, v in arrays.items() if k.startswith("states/")}
        trainer._take_states(states, source)
        schedule = trainer._optimizer.lr_scheduler
        if schedule is not None:
            vars(schedule).update(_as_json(arrays["schedule"]))


def _check_holds_states(trainer: Trainer) -> None:
    if not trainer._holds_states():
        raise TigonError(
            f"Checkpoint: the store '{trainer._kvstore.type}' keeps the trainer's states, in files "
            "of its own; use Trainer.save_states, or make the trainer with update_on_kvstore=False"
        )


class _Module(_Part):
    kind = "module"

    def write(self, prefix: str, arrays: Arrays, incomplete: bool = False) -> None:
        module = self.what
        if incomplete and not module.params_initialized:
            return
        for group, found in zip(("arg", "aux"), module.get_params(), strict=True):
            for name, array in found.items():
                arrays[f"{prefix}{group}:{name}"] = array.bits_to_numpy()
        if not module.optimizer_initialized:
            return
        for number, own in enumerate(module._optimizing()):
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "states")
                own.save_optimizer_states(path)
                with open(path, "rb") as file:
                    arrays[f"{prefix}states/{number}"] = np.frombuffer(file.read(), np.uint8)
            schedule = own._optimizer.lr_scheduler
            numbers = {} if schedule is None else _numbers_of(schedule)
            arrays[f"{prefix}schedule/{number}"] = _as_bytes(numbers)

    def read(self, arrays: Arrays, source: str) -> None:
        module = self.what
        found: dict[str, dict[str, Any]] = {"arg": {}, "aux": {}}
        for key, values in arrays.items():
            group, _, name = key.partition(":")
            if group in found:
                found[group][name] = _array(values)
        if not any(found.values()):
            return
        module.set_params(found["arg"], found["aux"])
        if "states/0" not in arrays:
            return
        check(
            module.optimizer_initialized,
            "Checkpoint.resume",
            f"{source} has states of an optimizer; call init_optimizer first",
        )
        for number, own in enumerate(module._optimizing()):
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "states")
                write_file(path, arrays[f"states/{number}"].tobytes(), durable=False)
                own.load_optimizer_states(path)
            schedule = own._optimizer.lr_scheduler
            if schedule is not None:
                vars(schedule).update(_as_json(arrays[f"schedule/{number}"]))


class _Metric(_Part):
    kind = "metric"

    def write(self, prefix: str, arrays: Arrays, incomplete: bool = False) -> None:
        for place, fields in self._fields():
            numbers = {}
            for name, value in fields.items():
                if isinstance(value, np.ndarray):
                    arrays[f"{prefix}{place}array/{name}"] = value
                elif _is_plain(value):
                    numbers[name] = value
            arrays[f"{prefix}{place}numbers"] = _as_bytes(numbers)

    def read(self, arrays: Arrays, source: str) -> None:
        self.what.reset()
        for place, fields in self._fields():
            fields.update(_as_json(arrays[f"{place}numbers"]))
            for name in fields:
                if f"{place}array/{name}" in arrays:
                    fields[name] = arrays[f"{place}array/{name}"].copy()

    def _fields(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The attributes of the metric, and of those that it is made of, by their place."""
        todo: list[tuple[str, EvalMetric]] = [("", self.what)]
        while todo:
            place, metric = todo.pop()
            metric.__getstate__()  # what is still on its way is added up
            yield place, vars(metric)
            for name, value in vars(metric).items():
                if isinstance(value, list):
                    for number, one in enumerate(value):
                        if isinstance(one, EvalMetric):
                            todo.append((f"{place}{name}/{number}/", one))


class _WithState(_Part):
    kind = "state"

    def write(self, prefix: str, arrays: Arrays, incomplete: bool = False) -> None:
        arrays[f"{prefix}state"] = _as_bytes(_plain(self.what.state_dict()))

    def read(self, arrays: Arrays, source: str) -> None:
        self.what.load_state_dict(_as_json(arrays["state"]))


_KINDS: tuple[tuple[type, Callable[[Any], _Part]], ...] = (
    (Block, _Network),
    (Trainer, _Training),
    (EvalMetric, _Metric),
)


# -------------------------------------------------------------------------------- the streams


def _write_random(arrays: Arrays) -> None:
    arrays["random/tigon"] = np.array(keys.state(), np.int64)
    kind, state, place, has_gauss, gauss = np.random.get_state(legacy=True)
    arrays["random/numpy"] = np.asarray(state)
    arrays["random/numpy_rest"] = _as_bytes([kind, int(place), int(has_gauss), float(gauss)])
    version, numbers, following = random.getstate()
    arrays["random/python"] = np.array(numbers, np.int64)
    arrays["random/python_rest"] = _as_bytes([version, following])


def _read_random(arrays: Arrays) -> None:
    seed, counter = map(int, arrays["random/tigon"])
    keys.seed(seed)
    keys.reserve(counter)
    kind, place, has_gauss, gauss = _as_json(arrays["random/numpy_rest"])
    state = arrays["random/numpy"].astype(np.uint32)
    np.random.set_state((kind, state, place, has_gauss, gauss))
    version, following = _as_json(arrays["random/python_rest"])
    random.setstate((version, tuple(arrays["random/python"].tolist()), following))


# ---------------------------------------------------------------------------------- the file


def _read(path: str) -> Arrays:
    with open(path, "rb") as file:
        content = file.read()
    told = f"Checkpoint.resume: {path} is damaged"
    try:
        arrays = params.read(content, path)
    except TigonError as error:
        raise TigonError(f"{told}: {error}") from error
    if not isinstance(arrays, dict) or not {_CONTENTS, _DIGEST} <= arrays.keys():
        raise TigonError(f"Checkpoint.resume: {path} holds arrays that are no checkpoint")
    digest = arrays.pop(_DIGEST)
    if not np.array_equal(digest, _digest(arrays)):
        raise TigonError(f"{told}: its content is not what was written")
    return arrays


def _digest(arrays: Arrays) -> np.ndarray:
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name}\n{array.dtype.str}{array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return np.frombuffer(found.digest(), np.uint8)


def _array(values: np.ndarray) -> Any:
    return _native.from_numpy(values, _native.FIRST_CPU)


def _as_bytes(what: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(what).encode(), np.uint8)


def _as_json(array: np.ndarray) -> Any:
    return json.loads(array.tobytes())


def _plain(what: Any) -> Any:
    try:
        return json.loads(json.dumps(what, default=_number))
    except (TypeError, ValueError) as error:
        raise TigonError(
            "Checkpoint.save: expected numbers, texts, lists and dictionaries of them; "
            f"given {what!r:.80}"
        ) from error


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError


def _is_plain(value: Any) -> bool:
    """Whether JSON gives it back as it is."""
    try:
        found = json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return False
    return bool(found == value) or found != found  # NaN, which JSON knows in Python


def _numbers_of(what: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(what).items() if _is_plain(value)}


def _parts_text(parts: Mapping[str, str]) -> str:
    return ", ".join(f"{kind} '{name}'" for name, kind in parts.items())


_describe(
    Checkpoint,
    folder="where the files are; it is made if need be",
    keep="how many files stay",
    parts="what is kept, by name: networks, trainers, metrics, objects with state_dict",
)
