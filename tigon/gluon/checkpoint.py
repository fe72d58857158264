"""Checkpoints from which training goes on as if it had never been interrupted."""

from __future__ import annotations

import json
import os
import random
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import TigonError, check, config
from tigon.base.arguments import fits
from tigon.base.files import AnyPath, write_file
from tigon.distributed.agreement import Signature
from tigon.distributed.world import world
from tigon.export import params
from tigon.gluon import shards
from tigon.gluon.block import Block
from tigon.gluon.parameters_section import describe as _describe
from tigon.gluon.trainer import Trainer
from tigon.kvstore.distributed import DistributedKVStore, OwnersUpdater
from tigon.metric import EvalMetric
from tigon.runtime import keys

_CONTENTS, _DIGEST = shards.CONTENTS, shards.DIGEST
_as_bytes, _as_json = shards.as_bytes, shards.as_json
_UNTIL_WRITTEN = 10.0
"""Seconds that the ranks have for what they write before they are ended."""

Arrays = dict[str, np.ndarray]
OnAll = Callable[[str, Callable[[], Any]], list[Any]]
"""(name, function): what it gives on every rank; errors of one are those of all."""


class Checkpoint:
    """All that training depends on, in one file a step: `save` writes it, `resume` takes it up.

    `folder` holds the files, `checkpoint-0000000012.params` after step 12; the newest `keep` stay.
    `parts` are named as you like: networks (values, and gradients that add up), trainers (states,
    counts, rates, schedulers), modules (both), metrics, and whatever has `state_dict` and
    `load_state_dict`, such as a `DataLoader` or `NDArrayIter`, whose place in the epoch is kept.
    The streams of random numbers of `mx.random`, `numpy.random` and `random` always are.

    Of several ranks each writes its share, and all that it alone has, to a file beside that one
    (`checkpoint-0000000012.shard-0-of-4-....params`), which is written when all of these are there;
    any number of ranks can go on from it. All ranks have to see the folder.

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
        self._saved = -1  # the last step that is in a file
        self._memory: dict[shards.Key, shards.Snapshot] = {}
        self._parts = {name: _Part.of(name, part) for name, part in parts.items()}
        check(bool(parts), "Checkpoint", "expected parts by name, such as net=net, trainer=trainer")

    def save(self, step: int, **progress: Any) -> str:
        """Write the state after `step`, a number that grows, and give the file's path. `progress`
        is handed back by `resume`: numbers, texts, lists and dictionaries of them. All ranks make
        the call, and return when all of it is there."""
        snapshot = self._snapshot("Checkpoint.save", step, progress)
        if snapshot.ranks > 1:
            path = shards.save(self._folder, snapshot, self._keep)
        else:
            arrays = snapshot.whole | snapshot.part | snapshot.own
            arrays[_CONTENTS] = _as_bytes(snapshot.contents)
            arrays[_DIGEST] = shards.digest_of(arrays)
            os.makedirs(self._folder, exist_ok=True)
            path = shards.head_path(self._folder, snapshot.step)
            write_file(path, params.write(arrays))
            shards.tidy(self._folder, self._keep, snapshot.step, set())
        self._saved = snapshot.step
        world().saved = path
        return path

    def remember(self, step: int, **progress: Any) -> None:
        """Keep the state after `step` in memory, in place of the one before, as `save` writes it to
        files; what other ranks do not have is kept by the one before each, too. `distributed.run`
        goes on from it where ranks are lost; where others do not come in time, it is written."""
        snapshot = self._snapshot("Checkpoint.remember", step, progress)
        world().keeper = weakref.ref(self)

        def take(held: shards.Snapshot) -> None:
            self._memory[shards.key_of(held.held())] = held

        def drop() -> None:
            key = shards.key_of(snapshot.held())
            self._memory = {key: self._memory[key]}

        shards.remember(snapshot, take, drop)

    def _snapshot(self, where: str, step: int, progress: Mapping[str, Any]) -> shards.Snapshot:
        check(
            fits(int, step) and 0 <= step < 10**10,
            where,
            f"step: expected a whole number from 0 on; given {step!r}",
        )
        contents: dict[str, Any] = {"version": 1, "step": int(step), "parts": {}}
        contents |= {"progress": _plain(progress)}
        arrays: Arrays = {}
        for name, part in self._parts.items():
            contents["parts"][name] = part.kind
            part.write(f"{name}/", arrays)
        _write_random(arrays)
        launch = config.launched()
        cut = {key: axis for key in arrays if (axis := self._part(key, "axis", None)) is not None}
        if launch.size > 1:
            contents |= {"version": 2, "ranks": launch.size}
        if cut:
            contents["cut"] = cut
        whole, part_, own = shards.sorted_out(arrays, lambda key: self._part(key, "share", "own"))
        return shards.Snapshot(contents, launch.rank, whole, part_, own, b"")

    def _part(self, key: str, what: str, other: Any) -> Any:
        """Something of the part that an array belongs to."""
        name, _, rest = key.partition("/")
        return getattr(self._parts[name], what)(rest) if name in self._parts else other

    def _kind(self, key: str) -> str:
        name = key.partition("/")[0]
        return self._parts[name].kind if name in self._parts else name

    def resume(self) -> dict[str, Any] | None:
        """Put all parts where the newest file has them; gives its step and `progress`, or None
        where there is no file yet. A file that does not fit the parts changes nothing. All ranks
        make the call; there may be more or fewer than wrote it."""
        return self._resume(is_intact=True)

    def _resume(self, is_intact: bool) -> dict[str, Any] | None:
        """`is_intact`: the present state has values, and stays where a file does not fit."""
        if config.launched().size == 1:
            return self._resume_by(lambda name, function: [function()], is_intact)

        def on_all(name: str, function: Callable[[], Any]) -> list[Any]:
            return shards.agreed(Signature(name, ()), function)

        return self._resume_by(on_all, is_intact)

    def _resume_by(self, on_all: OnAll, is_intact: bool) -> dict[str, Any] | None:
        every = on_all("Checkpoint.resume", lambda: shards.steps_in(self._folder))
        steps = every[0]
        for rank, others in enumerate(every):
            check(
                others == steps,
                "Checkpoint.resume",
                f"{self._folder}: rank 0 sees the steps {steps}, rank {rank} {others}; give a "
                "folder that all ranks see",
            )
        for step in reversed(steps):
            path = shards.head_path(self._folder, step)
            read: list[Any] = []
            try:
                # Kept apart from what is told: that is small.
                on_all(
                    f"Checkpoint.resume of {path}",
                    lambda step=step, read=read: read.extend(shards.read(self._folder, step)),
                )
            except TigonError as error:
                if step == steps[0] or world().lost:
                    raise
                warnings.warn(f"{error}; going on from the one before", stacklevel=4)
                continue
            contents, arrays = read
            on_all(
                "Checkpoint.resume, the parts", lambda c=contents, p=path: self._check_parts(c, p)
            )
            launch = config.launched()
            own = shards.of_rank(arrays, contents, launch.rank, launch.size, self._kind)
            self._exchange(own, path, on_all, is_intact)
            self._saved = contents["step"]
            self._say_where(contents, path)
            return {"step": contents["step"], **contents["progress"]}
        return None

    def _exchange(self, arrays: Arrays, source: str, on_all: OnAll, is_intact: bool) -> None:
        """Take arrays over, on all ranks or on none."""
        before: Arrays = {}
        if is_intact:
            for name, part in self._parts.items():
                part.write(f"{name}/", before, incomplete=True)
            _write_random(before)
        try:
            on_all("Checkpoint.resume, their values", lambda: self._take_over(arrays, source))
        except BaseException:
            if is_intact:
                self._take_over(before, "the state before")
            raise

    def _take_over(self, arrays: Arrays, source: str) -> None:
        for name, part in self._parts.items():
            prefix = f"{name}/"
            own = {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}
            part.read(own, f"{source}, part '{name}'")
        _read_random(arrays)

    def _say_where(self, contents: Mapping[str, Any], source: str) -> None:
        """Where several ranks go on, once for all of them."""
        then, now = contents.get("ranks", 1), config.launched().size
        if max(then, now) == 1 or config.launched().rank > 0:
            return
        others = "" if then == now else f", which {then} rank{'s' * (then > 1)} left"
        anew = then != now and "metric" in contents["parts"].values()
        world().say(
            f"goes on after step {contents['step']} with {now} rank{'s' * (now > 1)}, from "
            f"{source}{others}{'; metrics begin anew' if anew else ''}"
        )

    # -- what is held in memory

    def held(self) -> Any:
        """Of which steps this rank holds what (for other ranks)."""
        return [snapshot.held() for snapshot in self._memory.values()]

    def restore(self) -> dict[str, Any] | None:
        """After ranks were lost: put all parts where those that are left have them in memory, or
        where the newest file has them, if that is newer or memory is not enough; as `resume`."""
        ranks = world()
        told = shards.agreed(
            Signature("Checkpoint.restore", ()),
            lambda: [self.held(), shards.steps_in(self._folder)],
        )
        found = shards.newest({rank: one[0] for rank, one in enumerate(told)})
        on_disk = max(told[0][1], default=-1)
        if found is None or found[0]["step"] < on_disk:
            state = self._resume(is_intact=False)
            if state is None:
                raise TigonError(
                    "Checkpoint.restore: ranks were lost, and those that are left neither hold a "
                    f"state together nor find one in {self._folder}; call remember or save after "
                    "steps"
                )
            return state
        check(
            not found[0]["is_cut"],
            "Checkpoint.restore",
            "parameters are divided among the ranks, and their shapes follow from how many there "
            "are; start again, with any number: resume puts the parts together",
        )
        snapshot = self._memory[shards.key_of(found[0])]
        here = [one["rank"] for one in found.values()]
        divided = shards.together(snapshot, here, "Checkpoint.restore, what is divided")
        self._take_over(snapshot.whole | divided | snapshot.own, "memory")
        # It is what all hold from now on: by the new numbers, with what is divided anew. What was
        # held stays until then: others may be lost meanwhile.
        self.remember(snapshot.step, **snapshot.contents["progress"])
        if ranks.rank == 0:
            ranks.say(f"goes on after step {snapshot.step} with {ranks.size} ranks, from memory")
        return {"step": snapshot.step, **snapshot.contents["progress"]}

    def rescue(self, ranks: Any, missing: Sequence[int], watch: Any) -> str:
        """Before all ranks are ended: write what those that are here hold of those that are not."""
        here = [rank for rank in range(ranks.size) if rank not in missing]
        held = {rank: watch.said(rank, "held") for rank in here if rank != ranks.rank}
        found = shards.newest({**held, ranks.rank: self.held()})
        if found is None or found[ranks.rank]["step"] <= self._saved:
            return ""
        snapshot = self._memory[shards.key_of(found[ranks.rank])]
        try:
            own = shards.write_shard(self._folder, snapshot, here)
            if ranks.rank != here[0]:
                watch.tell({"wrote": own}, to=here[0])
                return ""
            if not watch.wait_for(here[1:], "wrote", _UNTIL_WRITTEN):
                return "the others have not written what they hold; "
            written = [own, *[watch.said(rank, "wrote") for rank in here[1:]]]
            path = shards.write_head(self._folder, snapshot.contents, written, self._keep)
        except OSError as error:
            return f"what is held could not be written ({error}); "
        return f"{path} was written; "

    def _check_parts(self, contents: Mapping[str, Any], path: str) -> None:
        mine = {name: part.kind for name, part in self._parts.items()}
        theirs = contents["parts"]
        check(
            mine == theirs,
            "Checkpoint.resume",
            f"{path} holds {_parts_text(theirs)}; here are {_parts_text(mine)}; make the "
            "Checkpoint of the same parts, or take an empty folder",
        )


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

    def share(self, key: str) -> str:
        """Of an array that was written: whether all ranks have it (`whole`), or others have others
        (`part`), or each has it for itself (`own`)."""
        return "own"

    def axis(self, key: str) -> int | None:
        """Along which ranks have cut it among themselves; None: they have not."""
        return None

    def read(self, arrays: Arrays, source: str) -> None:
        raise NotImplementedError


class _Network(_Part):
    kind = "block"

    def write(self, prefix: str, arrays: Arrays, incomplete: bool = False) -> None:
        self._written = self._params()  # collected once, not for each array
        for name, param in self._written.items():
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

    def share(self, key: str) -> str:
        kind, _, name = key.partition("/")
        same = kind == "value" and self._written[name]._differentiable
        return "whole" if same and self.axis(key) is None else "own"

    def axis(self, key: str) -> int | None:
        kind, _, name = key.partition("/")
        own = name if kind == "value" else name.rpartition("/")[0]  # one gradient per context
        return self._written[own].split_axis

    def _params(self) -> dict[str, Any]:
        return dict(self.what._collect_params_with_prefix())


class _Training(_Part):
    kind = "trainer"

    def write(self, prefix: str, arrays: Arrays, incomplete: bool = False) -> None:
        trainer = self.what
        if incomplete and not all(one.is_initialized for one in trainer._params):
            return
        _check_holds_states(trainer)
        for name, array in trainer._own_states().items():
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

    def share(self, key: str) -> str:
        if not key.startswith("states/state:"):
            return "whole"
        if self.axis(key) is not None:
            return "own"
        return "part" if isinstance(self.what._updater, OwnersUpdater) else "whole"

    def axis(self, key: str) -> int | None:
        kind, _, number = key.removesuffix("/").partition(":")
        if kind != "states/state":
            return None
        return self.what._params[int(number.partition(":")[0])].split_axis


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
                if os.path.exists(path):  # of ranks, the first writes those of all
                    with open(path, "rb") as file:
                        arrays[f"{prefix}states/{number}"] = np.frombuffer(file.read(), np.uint8)
                elif incomplete:  # to be put back: all ranks make the call that reads the first's
                    arrays[f"{prefix}states/{number}"] = np.zeros(0, np.uint8)
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

    def share(self, key: str) -> str:
        if key.startswith("states/"):
            own = self.what._optimizing()[int(key.removeprefix("states/"))]
            divided = own._update_on_kvstore and isinstance(own._kvstore, DistributedKVStore)
            return "part" if divided else "whole"
        return "own" if key.startswith("aux:") else "whole"


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
        for place, fields in self._fields() if arrays else ():
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
    arrays["random/tigon"] = np.array([*keys.state(), keys.seed_of_all()], np.int64)
    kind, state, place, has_gauss, gauss = np.random.get_state(legacy=True)
    arrays["random/numpy"] = np.asarray(state)
    arrays["random/numpy_rest"] = _as_bytes([kind, int(place), int(has_gauss), float(gauss)])
    version, numbers, following = random.getstate()
    arrays["random/python"] = np.array(numbers, np.int64)
    arrays["random/python_rest"] = _as_bytes([version, following])


def _read_random(arrays: Arrays) -> None:
    if "random/tigon" not in arrays:
        return  # of a rank that was not there: it has its own
    seed, counter, *of_all = map(int, arrays["random/tigon"])
    keys.restore(seed, counter, of_all[0] if of_all else seed)
    kind, place, has_gauss, gauss = _as_json(arrays["random/numpy_rest"])
    state = arrays["random/numpy"].astype(np.uint32)
    np.random.set_state((kind, state, place, has_gauss, gauss))
    version, following = _as_json(arrays["random/python_rest"])
    random.setstate((version, tuple(arrays["random/python"].tolist()), following))


def _array(values: np.ndarray) -> Any:
    return _native.from_numpy(values, _native.FIRST_CPU)


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
