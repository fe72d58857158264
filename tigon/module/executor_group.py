"""A symbol on one context or on several, each of which computes a part of every batch."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tigon import nd
from tigon.base import TigonError, check
from tigon.context import Context, context_of
from tigon.io import DataDesc
from tigon.module.base_module import joined
from tigon.module.shapes import described, of_samples
from tigon.sym.executor import Executor

Arrays = list[Any]


class DataParallelExecutorGroup:
    """Executors of one symbol, one for each context.

    `execs` are the executors; `param_arrays`, `grad_arrays`, `aux_arrays` and `data_arrays` hold
    for each name a list of arrays, one per context; `slices` are the samples that each context
    computes.
    """

    def __init__(
        self,
        symbol: Any,
        contexts: Sequence[Context],
        workload: Sequence[float],
        data_shapes: Sequence[DataDesc],
        label_shapes: Sequence[DataDesc] | None,
        param_names: Sequence[str],
        for_training: bool,
        inputs_need_grad: bool,
        shared_group: DataParallelExecutorGroup | None = None,
        logger: Any = logging,
        fixed_param_names: Sequence[str] | None = None,
        grad_req: Any = "write",
        state_names: Sequence[str] | None = None,
        group2ctxs: Any = None,
    ) -> None:
        self.symbol = symbol
        self.contexts = list(contexts)
        self.workload = list(workload)
        self.arg_names = symbol.list_arguments()
        self.aux_names = symbol.list_auxiliary_states()
        self.param_names = list(param_names)
        self.fixed_param_names = list(fixed_param_names or ())
        self.state_names = list(state_names or ())
        self.for_training = for_training
        self.inputs_need_grad = inputs_need_grad
        self.logger = logger
        self.group2ctxs = _groups(group2ctxs, len(self.contexts))
        self.grad_req = self._requests(grad_req, [one[0] for one in data_shapes])
        self._shared_group = shared_group
        self.shared_data_arrays: list[dict[str, Any]] = (
            [{} for _ in self.contexts] if shared_group is None else shared_group.shared_data_arrays
        )
        attributes = symbol.attr_dict()
        self.output_names = symbol.list_outputs()
        self.output_layouts = [
            DataDesc.get_batch_axis(attributes.get(_node_of(name), {}).get("__layout__"))
            for name in self.output_names
        ]
        self.gradients_read = False
        self._monitors: list[Any] = []
        self.execs: list[Executor] = []
        self.bind_exec(data_shapes, label_shapes)

    def _requests(self, given: Any, data_names: Sequence[str]) -> dict[str, str]:
        """What is done with the gradient of each argument."""
        trained = [name for name in self.param_names if name not in self.fixed_param_names]
        wanted = {*trained, *(data_names if self.inputs_need_grad else ())}
        if not self.for_training:
            return dict.fromkeys(self.arg_names, "null")
        if isinstance(given, str):
            own = dict.fromkeys(self.arg_names, given)
        elif isinstance(given, Mapping):
            own = {**dict.fromkeys(wanted, "write"), **given}
        else:
            listed = list(given)
            check(
                len(listed) == len(self.arg_names),
                "Module.bind",
                f"grad_req: expected {len(self.arg_names)} entries ({', '.join(self.arg_names)}); "
                f"given {len(listed)}",
            )
            own = dict(zip(self.arg_names, listed, strict=True))
        # Gradients of data are asked for by inputs_need_grad, and not added up over batches.
        own |= {name: "write" for name in data_names if own.get(name) == "add"}
        return {
            name: own.get(name, "null") if name in wanted else "null" for name in self.arg_names
        }

    # -- binding

    def decide_slices(self, data_shapes: Sequence[DataDesc]) -> list[int]:
        """Cut the batch into a part for each context; the axes of the samples."""
        axes = [DataDesc.get_batch_axis(one.layout) for one in data_shapes]
        sizes = {
            one.name: one.shape[axis]
            for one, axis in zip(data_shapes, axes, strict=True)
            if 0 <= axis < len(one.shape)
        }
        check(
            len(set(sizes.values())) <= 1,
            "Module.bind",
            f"expected the same number of samples in all data; given {sizes}",
        )
        self.batch_size = next(iter(sizes.values()), 0)
        self.slices = split(self.batch_size, self.workload)
        return axes

    def bind_exec(
        self,
        data_shapes: Sequence[DataDesc],
        label_shapes: Sequence[DataDesc] | None,
        shared_group: DataParallelExecutorGroup | None = None,
        reshape: bool = False,
    ) -> None:
        """Make the executors for these shapes, or make them anew with the same parameters."""
        data_shapes = described("Module.bind", "data_shapes", data_shapes)
        if label_shapes is not None:
            label_shapes = described("Module.bind", "label_shapes", label_shapes)
        self.data_layouts = self.decide_slices(data_shapes)
        if label_shapes is not None:
            self.label_layouts = [DataDesc.get_batch_axis(one.layout) for one in label_shapes]
        self.data_names = [one.name for one in data_shapes]
        self.label_names = [one.name for one in label_shapes or ()]
        given = {one.name: one for one in (*data_shapes, *(label_shapes or ()))}
        inputs = {name: one for name, one in given.items() if name in self.arg_names}
        previous = self.execs
        self.execs = [
            self._executor(number, inputs, previous[number] if reshape else None)
            for number in range(len(self.contexts))
        ]
        self.data_shapes = list(data_shapes)
        self.label_shapes = None if label_shapes is None else list(label_shapes)
        self._outputs: list[Arrays] | None = None

    def _executor(
        self, number: int, inputs: Mapping[str, DataDesc], previous: Executor | None
    ) -> Executor:
        part = self.slices[number]
        count = part.stop - part.start
        shapes = {name: of_samples(one, count).shape for name, one in inputs.items()}
        if previous is not None:
            made = previous.reshape(partial_shaping=True, allow_up_sizing=True, **shapes)
            kept = {**previous.arg_dict, **previous.aux_dict}
            for name in (*self._own(self.param_names), *self.aux_names):
                array = made.arg_dict[name] if name in made.arg_dict else made.aux_dict[name]
                check(
                    array is kept[name],
                    "Module.reshape",
                    f"parameter '{name}' would have shape {array.shape}, and has "
                    f"{kept[name].shape}",
                )
            return made
        group = self._shared_group
        return self.symbol.simple_bind(
            ctx=self.contexts[number],
            grad_req=self.grad_req,
            type_dict={name: one.dtype for name, one in inputs.items()},
            shared_arg_names=self.param_names,
            shared_exec=None if group is None else group.execs[number],
            shared_buffer=self.shared_data_arrays[number],
            group2ctx=self.group2ctxs[number],
            **shapes,
        )

    def reshape(
        self, data_shapes: Sequence[DataDesc], label_shapes: Sequence[DataDesc] | None
    ) -> None:
        """Bind to other shapes; parameters, their gradients, and monitors stay."""
        before = dict(vars(self))
        try:
            self.bind_exec(data_shapes, label_shapes, reshape=True)
        except BaseException:
            vars(self).update(before)
            raise
        for old, made in zip(before["execs"], self.execs, strict=True):
            made._monitor = old._monitor
            for mon in self._monitors:
                mon.exes = [made if one is old else one for one in mon.exes]

    # -- arrays

    def _by_name(self, names: Sequence[str], kind: str) -> list[Arrays]:
        return [[getattr(one, kind)[name] for one in self.execs] for name in names]

    def _own(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name in self.arg_names]

    @property
    def param_arrays(self) -> list[Arrays]:
        return self._by_name(self._own(self.param_names), "arg_dict")

    @property
    def grad_arrays(self) -> list[Arrays]:
        """Gradients of the parameters. From the first time that they are asked for, steps of `fit`
        put them there."""
        if not self.gradients_read and any(one._gone is not None for one in self.execs):
            self.logger.warning(
                "Module: gradients of the last step, which was one program, were not kept; those "
                "of the next ones will be"
            )
        self.gradients_read = True
        return self.gradients()

    def gradients(self) -> list[Arrays]:
        return self._by_name(self._own(self.param_names), "grad_dict")

    def release(self) -> None:
        """Give up what backward would need; outputs stay."""
        for executor in self.execs:
            executor.release()
        self._outputs = None

    def forget_outputs(self) -> None:
        """The executors have others."""
        self._outputs = None

    @property
    def aux_arrays(self) -> list[Arrays]:
        return self._by_name(self.aux_names, "aux_dict")

    @property
    def state_arrays(self) -> list[Arrays]:
        return self._by_name(self.state_names, "arg_dict")

    @property
    def data_arrays(self) -> list[list[tuple[slice, Any]]]:
        return self._sliced(self.data_names)

    @property
    def label_arrays(self) -> list[list[tuple[slice, Any]]] | None:
        return None if self.label_shapes is None else self._sliced(self._own(self.label_names))

    def _sliced(self, names: Sequence[str]) -> list[list[tuple[slice, Any]]]:
        return [
            list(zip(self.slices, arrays, strict=True))
            for arrays in self._by_name(names, "arg_dict")
        ]

    @property
    def input_grad_arrays(self) -> list[Arrays]:
        return self._by_name(self.data_names, "grad_dict") if self.inputs_need_grad else []

    # -- parameters

    def set_params(
        self,
        arg_params: Mapping[str, Any],
        aux_params: Mapping[str, Any],
        allow_extra: bool = False,
    ) -> None:
        """Copy values by name to all contexts."""
        for executor in self.execs:
            executor.copy_params_from(arg_params, aux_params, allow_extra_params=allow_extra)

    def get_params(self, arg_params: dict[str, Any], aux_params: dict[str, Any]) -> None:
        """Put the means over the contexts into arrays by name."""
        for names, arrays, found in (
            (self._own(self.param_names), self.param_arrays, arg_params),
            (self.aux_names, self.aux_arrays, aux_params),
        ):
            for name, own in zip(names, arrays, strict=True):
                mean = _mean(own)
                if name in found:
                    mean.astype(found[name].dtype, copy=False).copyto(found[name])
                else:
                    found[name] = mean.copy()

    # -- running

    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        """Put a batch where the executors have it, and compute."""
        training = self.for_training if is_train is None else bool(is_train)
        for executor, arrays in zip(self.execs, self._parts(data_batch, training), strict=True):
            executor.forward(is_train=training, **arrays)
        self._outputs = None

    def _parts(self, batch: Any, training: bool) -> list[dict[str, Any]]:
        """What each context is given, by name."""
        if isinstance(batch, list):  # cut already, a batch for each context
            check(
                len(batch) == len(self.contexts),
                "Module.forward",
                f"expected {len(self.contexts)} batches, one per context; given {len(batch)}",
            )
            return [self.named(one, training) for one in batch]
        whole = self.named(batch, training)
        if len(self.contexts) == 1:
            return [whole]
        axes = dict(zip(self.data_names, self.data_layouts, strict=True))
        if self.label_shapes is not None:
            axes |= zip(self.label_names, self.label_layouts, strict=True)
        return [
            {
                name: _on(_part(array, axes.get(name, 0), part), context)
                for name, array in whole.items()
            }
            for part, context in zip(self.slices, self.contexts, strict=True)
        ]

    def named(self, batch: Any, training: bool) -> dict[str, Any]:
        """The arrays of a batch that the symbol takes, by name."""
        found = dict(
            zip(self.data_names, _checked(batch.data, self.data_names, "data"), strict=True)
        )
        labels = getattr(batch, "label", None)
        if self.label_shapes is not None and labels:
            given = _checked(labels, self.label_names, "labels")
            found |= zip(self.label_names, given, strict=True)
        elif training and self._own(self.label_names):
            raise TigonError(
                f"Module.forward: the batch has no labels; expected {', '.join(self.label_names)}, "
                "as bound; give them, or pass is_train=False"
            )
        return {name: array for name, array in found.items() if name in self.arg_names}

    def get_outputs(
        self, merge_multi_context: bool = True, begin: int = 0, end: int | None = None
    ) -> list[Any]:
        """The outputs, joined over the contexts, or a list of those of each context for each."""
        if self._outputs is None:
            each = [one.outputs for one in self.execs]
            self._outputs = [list(own) for own in zip(*each, strict=True)]
        parts = self._outputs[begin:end]
        return self._merged(parts, self.output_layouts[begin:end]) if merge_multi_context else parts

    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        """The gradients by the data."""
        check(
            self.inputs_need_grad,
            "Module.get_input_grads",
            "the module is bound without them; bind with inputs_need_grad=True",
        )
        grads = self.input_grad_arrays
        return self._merged(grads, self.data_layouts) if merge_multi_context else grads

    def _merged(self, parts: list[Arrays], axes: Sequence[int]) -> list[Any]:
        return [joined(own, axis) for own, axis in zip(parts, axes, strict=True)]

    def get_states(self, merge_multi_context: bool = True) -> list[Any]:
        """The states."""
        states = self.state_arrays
        return self._merged(states, [0] * len(states)) if merge_multi_context else states

    def set_states(self, states: Any = None, value: Any = None) -> None:
        """Give the states these arrays' values, or all of them one number."""
        check(
            states is None or value is None,
            "Module.set_states",
            "give states or value; both were given",
        )
        if states is not None:
            own = self.state_arrays
            check(
                len(states) == len(own),
                "Module.set_states",
                f"expected {len(own)} states ({', '.join(self.state_names)}); given {len(states)}",
            )
            for given, arrays in zip(states, own, strict=True):
                parts = given if isinstance(given, (list, tuple)) else [given]
                for source, target in zip(parts, arrays, strict=True):
                    source.copyto(target)
            return
        check(value is not None, "Module.set_states", "give states, or a value for all of them")
        for arrays in self.state_arrays:
            for array in arrays:
                array[:] = value

    def backward(self, out_grads: Any = None) -> None:
        """Gradients of what was computed; `out_grads` are those of the outputs, unless all are
        losses."""
        check(
            self.for_training,
            "Module.backward",
            "the module is bound for prediction; bind it again with for_training=True",
        )
        if out_grads is not None and not isinstance(out_grads, (list, tuple)):
            out_grads = [out_grads]
        for number, executor in enumerate(self.execs):
            if out_grads is None:
                executor.backward()
                continue
            own = [
                _on(
                    grad if len(self.execs) == 1 else _part(grad, axis, self.slices[number]),
                    self.contexts[number],
                )
                for grad, axis in zip(out_grads, self.output_layouts, strict=False)
            ]
            executor.backward(out_grads=own + list(out_grads[len(own) :]))

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        """Add outputs and labels to a metric, context by context."""
        for number, executor in enumerate(self.execs):
            if pre_sliced:
                own = labels[number]
            elif len(self.execs) == 1 or not labels:
                own = labels or []
            else:
                axes = self.label_layouts if self.label_shapes is not None else [0] * len(labels)
                own = [
                    _part(label, axis, self.slices[number])
                    for label, axis in zip(labels, axes, strict=True)
                ]
            names = self.label_names
            if len(names) != len(own):
                names = [f"label{i}" for i in range(len(own))]
            eval_metric.update_dict(dict(zip(names, own, strict=True)), executor.output_dict)

    def install_monitor(self, mon: Any) -> None:
        """Let a monitor see what every executor computes."""
        if hasattr(mon, "exes"):  # one that says what it looks at, as `Monitor` does
            self._monitors.append(mon)
        for executor in self.execs:
            mon.install(executor)


def split(size: int, workload: Sequence[float]) -> list[slice]:
    """Which of `size` samples are whose, in proportion to the loads.

    >>> split(8, [1, 3])
    [slice(0, 2, None), slice(2, 8, None)]
    """
    total, ends, seen = sum(workload), [0], 0.0
    for load in workload:
        seen += load
        ends.append(round(size * seen / total))
    parts = [slice(begin, end) for begin, end in pairwise(ends)]
    if len(workload) > 1 and any(part.start == part.stop for part in parts):
        raise ValueError(
            f"Module.bind: {size} samples cannot be cut into {len(parts)} parts, one per context, "
            "of at least one sample; use a larger batch, or fewer contexts"
        )
    return parts


def _groups(given: Any, count: int) -> list[Any]:
    """Contexts of groups of nodes, for each context of the module."""
    if given is None or isinstance(given, Mapping):
        return [given] * count
    check(
        len(given) == count,
        "Module",
        f"group2ctxs: expected {count} dictionaries, one per context; given {len(given)}",
    )
    return list(given)


def _node_of(output: str) -> str:
    return output.removesuffix("_output")


def _part(array: Any, axis: int, part: slice) -> Any:
    if axis < 0:
        return array
    return array.slice_axis(axis=axis, begin=part.start, end=part.stop)


def _on(array: Any, context: Context) -> Any:
    return array if not isinstance(array, nd.NDArray) else array.as_in_context(context)


def _mean(arrays: Arrays) -> Any:
    """Over contexts, on the first one's."""
    total = arrays[0]
    if len(arrays) == 1:
        return total
    for array in arrays[1:]:
        total = total + array.as_in_context(context_of(total))
    return total / len(arrays)


def _checked(arrays: Any, names: Sequence[str], what: str) -> list[Any]:
    listed = isinstance(arrays, (list, tuple))
    if listed and len(arrays) == len(names):
        return list(arrays)
    raise TigonError(
        f"Module.forward: the batch has {len(arrays) if listed else repr(arrays)} arrays of "
        f"{what}; expected {len(names)}: {', '.join(names)}"
    )
