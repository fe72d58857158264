"""Images lie in memory with their channels last where convolutions compute with them.

A tile of a convolution holds sums of many filters for a few places. With channels last, what it
reads of an image are steps of a table, weights are panels that it reads in one go, and no place is
computed that is not wanted. The graph keeps its meaning and its shapes: a value that is held in
another order is a transposition of what is in memory, and whatever reads it looks through that
view. Outputs of the graph are in their own order again."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from string import ascii_letters

from tigon.analysis.memory_order import (
    VIEWS,
    Order,
    is_row_major,
    is_same_array,
    memory_order,
    with_ones,
)
from tigon.analysis.views import is_computed
from tigon.base.extents import estimate, is_known, is_one
from tigon.base.frozen import Frozen, replace
from tigon.base.tiles import Registers, panel_width
from tigon.ir import CONSTANT, VARIABLE, Graph, Node, Value, rewrite
from tigon.loop.combine import COMBINES
from tigon.ops.record import Family
from tigon.passes.primitives import (
    broadcast,
    contract,
    join,
    pad,
    reshape,
    slice_region,
    stored,
    transpose,
    unwindow,
    window,
)

Border = tuple[int, ...]
"""Zeros along each axis."""

FEW_PLACES = 64
"""Places for which weights are not put into panels at each call: that takes as long as the places
would gain."""

LONG_LINE = 24
"""Places that fill vectors well enough for an image to stay in its order."""

FEW_CHANNELS = 4
"""Lines of an image that has its channels first, which are read together: more of them lie in too
many pages of memory."""

PHASES = 4
"""Results side by side that a channel seen by itself may have: those of a stride of two along both
axes, in the gradient of the data."""


def lay_out_images(graph: Graph, registers: Registers) -> Graph:
    """Convolutions over images with channels last, and what is computed element by element from
    their results, or reduced, in the order of these."""
    layout = _Layout(registers)
    graph = rewrite(graph, layout.rule)
    return _written_once(graph, layout.in_place)


def _written_once(graph: Graph, in_place: dict[tuple[Value, Border, Border], Value]) -> Graph:
    """Whoever reads what is written down for a convolution reads it there, within its border: an
    image is not kept twice."""
    chosen: dict[Value, tuple[Border, Border, Value]] = {}
    plain: set[Value] = set()
    for (value, before, after), made in in_place.items():
        if made is value or not is_computed(value.node) or value.node.op.has_memory:
            continue
        if not before:
            plain.add(made)
            chosen.setdefault(value, (before, after, made))
        else:
            chosen[value] = (before, after, made)
    if not chosen:
        return graph
    places: dict[Value, Value] = {}  # what is written for a value now

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        (output, *_) = node.outputs
        if output in places:
            return (places[output],)
        if output in plain:
            return inputs  # what lies within the border
        if output not in chosen:
            return None
        same = all(new is old for new, old in zip(inputs, node.inputs, strict=True))
        value = (node if same else node.replace(inputs)).outputs[0]
        before, after, made = chosen[output]
        if not before:
            places[made] = stored(value)
            return (places[made],)
        places[made] = stored(pad(value, before=before, after=after, value=0.0))
        step = (1,) * value.ndim
        return (slice_region(places[made], start=before, step=step, extents=value.shape),)

    return rewrite(graph, rule)


class _Layout:
    def __init__(self, registers: Registers) -> None:
        self.registers = registers
        self.laid_out: set[Value] = set()
        """What is computed here in an order that is not its own, row-major in that order."""
        self.pooled: set[Value] = set()
        """The same, and images of which windows are seen across the order that is given."""
        self.known: dict[Value, Order | None] = {}
        self.moved: dict[tuple[Value, Order], Value] = {}
        self.in_place: dict[tuple[Value, Border, Border], Value] = {}
        """What is written down for a value, within which border, if any."""

    def rule(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not is_computed(node):
            return None
        family = node.op.family
        if family is Family.CONTRACTION:
            return self.contraction(node, inputs)
        if family in (Family.ELEMENTWISE, Family.REDUCTION) and not node.op.has_memory:
            for value in inputs:
                self.note_windows(value)
        if family is Family.ELEMENTWISE:
            return self.elementwise(node, inputs)
        if family is Family.REDUCTION:
            return self.reduction(node, inputs)
        if node.op is join:
            return self.join(node, inputs)
        return None

    def order(self, value: Value) -> Order:
        return memory_order(value, self.pooled, self.known)

    def given_order(self, value: Value) -> Order:
        """The order in which a value that is seen through views lies, whoever has made it."""
        return memory_order(value, {self.root(value)}, {})

    def note_windows(self, value: Value) -> None:
        """Pooling sees its axes as if channels came first: where they are last, it is computed as
        the image is given. Windows are those of the transposed image, or its lines cut in parts."""
        root, has_windows, is_across = value, False, False
        while root not in self.pooled and root.node.op in VIEWS:
            node, (below,) = root.node, root.node.inputs
            if node.op in (window, unwindow):
                has_windows = True
            elif node.op is reshape:
                has_windows = has_windows or root.ndim > below.ndim
            elif node.op is transpose:
                is_across = is_across or has_windows
            root = below
        if root in self.pooled or not is_across:
            return
        if not is_row_major(with_ones(memory_order(value, {root}, {}), value.shape)):
            self.pooled.add(root)
            self.known.clear()

    def again(self, node: Node, inputs: Sequence[Value], **attrs: object) -> Value:
        """The node over operands whose axes are in another order."""
        made = node.replace(tuple(inputs), replace(node.attrs, **attrs) if attrs else None)
        (result,) = made.outputs
        self.note(result)
        return result

    def note(self, value: Value) -> None:
        self.laid_out.add(value)
        self.pooled.add(value)

    def leading(self, inputs: Sequence[Value], ndim: int) -> Order | None:
        """The order of the largest operand that is not in its own."""
        moved = [
            value
            for value in inputs
            if value.ndim == ndim and not is_row_major(with_ones(self.order(value), value.shape))
        ]
        if not moved:
            return None
        largest = max(moved, key=lambda value: estimate(value.type.size))
        return with_ones(self.order(largest), largest.shape)

    # -------------------------------------------------------------------- followers

    def elementwise(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        order = self.leading(inputs, node.outputs[0].ndim)
        if order is None:
            return None
        moved = [_moved(value, order) for value in inputs]
        return (_back(self.again(node, moved), order),)

    def reduction(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        (data,) = inputs
        order, axes = self.order(data), node.attrs.axes
        places = tuple(order.index(axis) for axis in axes)
        # A position counts along the reduced axes in their order.
        turned = list(places) != sorted(places)
        if is_row_major(order) or (turned and COMBINES[node.op.combine].positional):
            return None
        places = tuple(sorted(places))
        result = self.again(node, [_moved(data, order)], axes=places)
        kept = [axis for axis in order if axis not in axes]
        return (_back(result, tuple(sorted(kept).index(axis) for axis in kept)),)

    def join(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        order = self.leading(inputs, node.outputs[0].ndim)
        if order is None:
            return None
        moved = [_moved(value, order) for value in inputs]
        return (_back(self.again(node, moved, axis=order.index(node.attrs.axis)), order),)

    # ----------------------------------------------------------------- convolutions

    def contraction(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        form = _Form.of(node, inputs)
        if form is None or not node.outputs[0].dtype.is_float:
            return self.other(node, inputs)
        if set(form.places) <= set(form.summed):
            return self.weight_gradient(node, form)
        if form.window is None and not self.is_laid_out(form.image):
            return self.other(node, inputs)  # a product along lines, which reads no place twice
        return self.convolution(node, form)

    def other(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        """A product of something else: what it reads of images is put into the order it has there,
        once, since a product reads again and again."""
        ready = tuple(map(self.straight, inputs))
        return node.replace(ready).outputs if ready != inputs else None

    def straight(self, value: Value) -> Value:
        """A value read from memory in its own order; a window reads an image that is."""
        views: list[Node] = []
        while value not in self.laid_out and value.node.op in VIEWS:
            if value.node.op in (transpose, reshape):
                break
            views.append(value.node)
            value = value.node.inputs[0]
        if not self.is_turned(value):
            return views[0].outputs[0] if views else value
        value = self.in_memory(value)
        for node in reversed(views):
            value = node.replace((value,)).outputs[0]
        return value

    def root(self, value: Value) -> Value:
        """What a value is a view of."""
        while value.node.op in VIEWS and value not in self.laid_out:
            value = value.node.inputs[0]
        return value

    def is_laid_out(self, value: Value) -> bool:
        return self.root(value) in self.laid_out

    def is_turned(self, value: Value) -> bool:
        """Whether a value is seen through a view of an image that lies in another order."""
        root = self.root(value)
        real = [[n for n in shape if not is_one(n)] for shape in (root.shape, value.shape)]
        same = real[0] == real[1] and is_row_major(with_ones(self.order(value), value.shape))
        return root in self.laid_out and not same

    def convolution(self, node: Node, form: _Form) -> Sequence[Value] | None:
        extents = form.extents
        if form.in_panels:
            return self.over(node, form, form.weights, form.right)
        # A vector holds filters: of the columns, those that there are most of.
        filters = max(form.columns, key=lambda label: estimate(extents[label]))
        count, groups = extents[filters], extents.get(form.group, 1)
        if not is_known(count, groups):
            return None
        lanes = self.registers.lanes(node.outputs[0].dtype.itemsize)
        alone = all(extents[x] == 1 for x in form.channels)
        if groups >= lanes and alone and prod(extents[x] for x in form.columns) <= PHASES:
            return self.depthwise(node, form)
        line = estimate(extents[form.places[-1]])
        laid_out = self.is_laid_out(form.image)
        width = panel_width(line, count, lanes, self.registers, laid_out) if line > 1 else None
        if width is None or prod(estimate(extents[x]) for x in form.rows) < FEW_PLACES:
            return None
        panels, right = self.panels(form, filters, width)
        return self.over(node, form, panels, right)

    def over(self, node: Node, form: _Form, weights: Value, right: str) -> Sequence[Value] | None:
        """The same sums, in the order of places and then filters."""
        columns = [label for label in right if label in form.columns or label not in form.extents]
        panel, filters = columns[-2:]
        last = form.group + panel + filters
        out = "".join(label for label in form.out if label not in last) + last
        if out == form.out and not form.has_border:
            return None  # it was done before
        few = not form.group and all(form.extents[x] <= FEW_CHANNELS for x in form.channels)
        is_own = few and not self.is_laid_out(form.image)
        order = tuple(range(form.image.ndim)) if is_own else form.order
        y = self.contract(node, self.image(form, order), weights, form.left, right, out)
        if panel not in form.out:
            y = reshape(y, shape=(*y.shape[:-2], y.shape[-2] * y.shape[-1]))
            out = out[:-2] + filters
        return (_transposed(y, tuple(out.index(label) for label in form.out)),)

    def depthwise(self, node: Node, form: _Form) -> Sequence[Value] | None:
        """Each channel by itself: vectors hold channels, of the image and of the weights; or places
        along a line of an image that lies in no other order."""
        if self.has_long_lines(form):
            return self.along_lines(node, form)
        last = form.group + "".join(x for x in form.out if form.extents[x] == 1 and x in form.right)
        out = "".join(label for label in form.out if label not in last) + last
        right = "".join(label for label in form.right if label != form.group) + form.group
        if (out, right) == (form.out, form.right) and not form.has_border:
            return None  # it was done before
        weights = self.in_memory(_moved(form.weights, tuple(map(form.right.index, right))))
        y = self.contract(node, self.image(form, form.order), weights, form.left, right, out)
        return (_transposed(y, tuple(out.index(label) for label in form.out)),)

    def has_long_lines(self, form: _Form) -> bool:
        line, after = form.places[-1], form.out[-1]
        image = form.image
        return (
            not self.is_laid_out(image)
            and is_row_major(with_ones(self.given_order(image), image.shape))
            and line == after
            and estimate(form.extents[line]) >= LONG_LINE
            and form.window is not None
            and form.window.attrs.stride[-1] == 1
        )

    def along_lines(self, node: Node, form: _Form) -> Sequence[Value] | None:
        order = tuple(range(form.image.ndim))
        before, after = form.border(order)
        if not any(before) and not any(after):
            return None
        image = form.windows(self.in_memory(form.image, before, after))
        made = node.replace((image, form.weights))
        return made.outputs

    def contract(
        self, node: Node, image: Value, weights: Value, left: str, right: str, out: str
    ) -> Value:
        made = contract(image, weights, left=left, right=right, out=out)
        made.node.name = node.name
        self.note(made)
        return made

    def image(self, form: _Form, order: Order) -> Value:
        """The windows of the same image, which lies in this order with its border around it."""
        image = form.image
        moved = _moved(image, order)
        before, after = form.border(order)
        return form.windows(_back(self.in_memory(moved, before, after), order))

    def in_memory(self, value: Value, before: Border = (), after: Border = ()) -> Value:
        """An array of the elements of `value` in its order, within a border of zeros."""
        found = self.within(value, before, after)
        if found is not None:
            return found
        if value.node.op is transpose:  # one for all who ask
            value = self.moved.setdefault((value.node.inputs[0], value.node.attrs.axes), value)
        bordered = any(before) or any(after)
        key = (value, before, after) if bordered else (value, (), ())
        if key not in self.in_place:
            if bordered:
                made = stored(pad(value, before=before, after=after, value=0.0))
            else:
                made = value if _is_there(value) else stored(value)
            self.in_place[key] = made
        return self.in_place[key]

    def within(self, value: Value, before: Border, after: Border) -> Value | None:
        """The same of a value that differs from what lies there in axes of extent 1 alone: that is
        written within the border, and seen through a reshape."""
        root = self.root(value)
        if root is value or root not in self.laid_out or not is_same_array(value, root):
            return None
        wide = [not is_one(extent) for extent in value.shape]
        sides = list(zip(before, after, strict=True)) or [(0, 0)] * value.ndim
        if any(any(side) for side, is_wide in zip(sides, wide, strict=True) if not is_wide):
            return None
        real = iter([side for side, is_wide in zip(sides, wide, strict=True) if is_wide])
        own = [(0, 0) if is_one(extent) else next(real) for extent in root.shape]
        made = self.in_memory(root, *(tuple(side) for side in zip(*own, strict=True)))
        extents = zip(value.shape, sides, strict=True)
        return reshape(made, shape=tuple(extent + sum(side) for extent, side in extents))

    def panels(self, form: _Form, filters: str, width: int) -> tuple[Value, str]:
        """The weights as (group, other columns..., panels, summed..., filters of one panel), and
        labels: the order of the sum is that of the windows."""
        panel = next(letter for letter in ascii_letters if letter not in form.extents)
        others = "".join(label for label in form.columns if label != filters)
        wanted = form.group + others + panel + "".join(form.summed) + filters
        weights, axis = form.weights, form.right.index(filters)
        cut = (weights.shape[axis] // width, width)
        value = reshape(weights, shape=(*weights.shape[:axis], *cut, *weights.shape[axis + 1 :]))
        labels = form.right.replace(filters, panel + filters)
        value = _moved(value, tuple(labels.index(label) for label in wanted))
        return self.in_memory(value), wanted

    def weight_gradient(self, node: Node, form: _Form) -> Sequence[Value] | None:
        """Both operands in memory, channels last. What is made is an image no longer."""
        extents = form.extents
        filters = form.columns
        sizes = [extents[label] for label in (*filters, *form.channels, *form.group)]
        lanes = self.registers.lanes(node.outputs[0].dtype.itemsize)
        if len(filters) != 1 or not is_known(*sizes) or max(sizes) < lanes:
            return None
        depthwise = all(n == 1 for n in sizes[:2])
        order = tuple(map(form.right.index, (*form.summed, *form.group, *filters)))
        cotangent, image = _moved(form.weights, order), _moved(form.image, form.order)
        laid_out = self.is_laid_out(form.image) or self.is_laid_out(form.weights)
        given_so = all(is_same_array(value, self.root(value)) for value in (cotangent, image))
        if not laid_out and not given_so and not depthwise:
            return None  # two copies would take as long as they save
        is_there = _is_there(cotangent) and _is_there(image)
        if is_there and not form.has_border:
            return None
        out = "".join((*filters, *form.kernel, *form.channels))
        # Of depthwise convolutions the groups are the channels.
        out = out + form.group if depthwise else form.group + out
        if depthwise and out == form.out and not form.has_border:
            return None  # it was done before
        value = contract(
            self.image(form, form.order),
            _back(self.in_memory(cotangent), order),
            left=form.left,
            right=form.right,
            out=out,
        )
        value.node.name = node.name
        return (_transposed(value, tuple(map(out.index, form.out))),)


class _Form(Frozen):
    """A contraction of windows (or of single places) of an image: `image` with the labels
    `left[: image.ndim]`, of which `places` are spatial, and `kernel` labels after them."""

    image: Value
    weights: Value
    left: str
    right: str
    out: str
    group: str
    """The label of groups that do not see each other, if there are any."""
    places: str
    kernel: str
    extents: dict[str, int]
    window: Node | None
    drops: bool

    @staticmethod
    def of(node: Node, inputs: tuple[Value, ...]) -> _Form | None:
        lhs, rhs = inputs
        left, right, out = node.attrs.left, node.attrs.right, node.attrs.out
        extents = dict(zip(left, lhs.shape, strict=True)) | dict(zip(right, rhs.shape, strict=True))
        both = "".join(label for label in left if label in right and label in out)
        if len(both) > 1 or both not in left[1:2]:
            return None
        found = _find_window(lhs)
        if found is None:  # a kernel of one element
            if len(left) < 3 or both:
                return None
            summed = {label for label in left if label not in out}
            forward = summed == {left[1]} and len(right) in (2, 3)  # filters, or panels of them
            gradient = summed == {left[0], *left[2:]} and len(out) == 2
            if not forward and not gradient:
                return None
            return _Form(lhs, rhs, left, right, out, "", left[2:], "", extents, None, False)
        node_window, drops = found
        n = len(node_window.attrs.extents)
        kernel = "" if drops else left[-n:]
        places = left[-n:] if drops else left[-2 * n : -n]
        spread = node_window.inputs[0].node.inputs[0]
        shape = spread.shape[:-n]
        image = spread.node.inputs[0] if spread.node.op is reshape else spread
        if image.shape != shape:
            image = reshape(spread, shape=shape)
        if image.ndim != len(left) - len(kernel):
            return None
        summed_places = set(places) & (set(right) - set(out))
        if summed_places and summed_places != set(places):
            return None
        if set(places) <= set(out) and not set(kernel) <= set(right):
            return None
        return _Form(
            image, rhs, left, right, out, both, places, kernel, extents, node_window, drops
        )

    @property
    def summed(self) -> list[str]:
        return [label for label in self.left if label not in self.out]

    @property
    def rows(self) -> list[str]:
        return [label for label in self.left if label in self.out and label != self.group]

    @property
    def columns(self) -> list[str]:
        return [label for label in self.right if label in self.out and label != self.group]

    @property
    def channels(self) -> list[str]:
        """Of the image, within a group."""
        labels = self.left[: self.image.ndim]
        return [x for x in labels[1:] if x not in self.places and x != self.group]

    @property
    def in_panels(self) -> bool:
        """Whether the weights are (panels, summed..., filters of one panel) already."""
        *panels, filters = self.columns
        return bool(panels) and self.right == "".join([self.group, *panels, *self.summed, filters])

    @property
    def has_border(self) -> bool:
        """Whether windows see what is not in the image."""
        return any(map(any, self.border(self.order)))

    @property
    def order(self) -> Order:
        """Channels behind places."""
        labels = self.left[: self.image.ndim]
        places = [labels.index(place) for place in self.places]
        lead = range(places[0])
        return (*lead[:1], *places, *lead[1:])

    def border(self, order: Order) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What lies before and after the image along each axis, in `order`."""
        before, after = [0] * self.image.ndim, [0] * self.image.ndim
        if self.window is not None:
            a = self.window.attrs
            n = len(self.places)
            kernel = self.window.outputs[0].shape[-n:]
            for i in range(n):
                axis = self.image.ndim - n + i
                reach = (a.extents[i] - 1) * a.stride[i] + (kernel[i] - 1) * a.dilate[i] + 1
                before[axis] = max(0, a.pad[i])  # of a gradient it may be less: part is not seen
                after[axis] = max(0, reach - a.pad[i] - self.image.shape[axis])
        return tuple(before[axis] for axis in order), tuple(after[axis] for axis in order)

    def windows(self, image: Value) -> Value:
        """The same view of an image that has its border."""
        if self.window is None:
            return image
        a = self.window.attrs
        n = len(self.places)
        kernel = self.window.outputs[0].shape[-n:]
        spread = reshape(image, shape=image.shape + (1,) * n)
        made = window(
            broadcast(spread, shape=image.shape + kernel),
            stride=a.stride,
            dilate=a.dilate,
            pad=tuple(min(0, each) for each in a.pad),
            extents=a.extents,
            fill=a.fill,
        )
        return reshape(made, shape=made.shape[:-n]) if self.drops else made


def _find_window(value: Value) -> tuple[Node, bool] | None:
    """The windows that a value is, and whether their kernel axes, of one element, are dropped."""
    node, drops = value.node, False
    if node.op is reshape and node.inputs[0].node.op is window:
        n = len(node.inputs[0].node.attrs.extents)
        if node.inputs[0].shape != (*value.shape, *(1,) * n):
            return None
        node, drops = node.inputs[0].node, True
    if node.op is not window or node.attrs.fill != 0.0:
        return None
    if node.inputs[0].node.op is not broadcast:
        return None
    spread = node.inputs[0].node.inputs[0]
    n = len(node.attrs.extents)
    whole = node.inputs[0].shape
    if spread.ndim != len(whole) or not all(map(is_one, spread.shape[-n:])):
        return None
    return (node, drops) if spread.shape[:-n] == whole[:-n] else None


# ------------------------------------------------------------------------------ helpers


def _moved(value: Value, order: Order) -> Value:
    """An operand of an elementwise node with its axes in `order`; shorter shapes broadcast."""
    if value.ndim == 0 or (value.ndim < len(order) and all(map(is_one, value.shape))):
        return value
    if value.ndim < len(order):
        value = reshape(value, shape=(1,) * (len(order) - value.ndim) + value.shape)
    return _transposed(value, order)


def _back(value: Value, order: Order) -> Value:
    """What `_moved` has moved, seen in its own order again."""
    return _transposed(value, tuple(order.index(axis) for axis in range(len(order))))


def _transposed(value: Value, order: Order) -> Value:
    if value.node.op is transpose:
        inner = value.node.attrs.axes or tuple(reversed(range(value.ndim)))
        value, order = value.node.inputs[0], tuple(inner[axis] for axis in order)
    return value if is_row_major(order) else transpose(value, axes=order)


def _is_there(value: Value) -> bool:
    """Whether a value is an array in memory, in its own order, without being computed for it, but
    for axes of extent 1."""
    root = value
    while root.node.op in (transpose, reshape):
        root = root.node.inputs[0]
    node = root.node
    if node.op is CONSTANT:
        return bool(node.attrs.shape) and root is value
    return (node.op is VARIABLE or node.op.has_memory) and is_same_array(value, root)
