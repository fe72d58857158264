"""Random programs with loops and branches in each other, for arrays and for symbols alike.

A program is drawn once, as plain tuples; `run` performs it with `nd` or `sym`. All arrays but
weights are (2, 3), or stacks of such; values stay moderate, and derivatives exist.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.fuzz.graphs import Chooser
from tigon.base.frozen import Frozen

NAMES = ("x", "y", "a", "b", "c", "w", "v")

Step = tuple[Any, ...]


class Program(Frozen):
    length: int
    loop: Step

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        stacks, weights = (self.length, 2, 3), (3, 3)
        return dict(zip(NAMES, (stacks, stacks, *[(2, 3)] * 3, weights, weights), strict=True))

    def inputs(self, seed: int = 0) -> dict[str, np.ndarray]:
        draw = np.random.default_rng(seed)
        return {name: draw.uniform(-1, 1, shape) for name, shape in self.shapes.items()}

    def run(self, F: Any, given: dict[str, Any]) -> list[Any]:
        """Stacked results, of which there are none without iterations where arrays compute, and
        last states."""
        around = _Around(F, [given["w"], given["v"]])
        pool = [given["a"], given["b"], given["c"]]
        kind, *rest = self.loop
        if kind == "while":
            outs, states = around.while_loop(pool, *rest)
        else:
            outs, states = around.foreach([given["x"], given["y"]], pool, *rest)
        return [*(outs if self.length or kind == "while" else []), *states]


def random_program(choose: Chooser) -> Program:
    make = choose.among((_foreach, _foreach, _while))
    return Program(choose.integer(0, 4), make(choose, 2))


# ------------------------------------------------------------------------------ drawing

_PLAIN = ("tanh", "sin", "half", "mean", "add", "add", "times", "dot", "dot", "turned", "same")
_DEEP = ("rows", "while", "cond")


def _steps(choose: Chooser, depth: int) -> tuple[Step, ...]:
    steps = []
    for _ in range(choose.integer(1, 5)):
        kind = choose.among((*_PLAIN, *(_DEEP if depth else ())))
        one, other = choose.integer(0, 9), choose.integer(0, 9)
        if kind == "rows":
            steps.append((kind, one, other, _steps(choose, 0), choose.integer(0, 9)))
        elif kind == "while":
            steps.append((kind, one, _while(choose, depth - 1)[1:]))
        elif kind == "cond":
            steps.append((kind, one, other, _steps(choose, depth - 1), _steps(choose, depth - 1)))
        else:
            steps.append((kind, one, other))
    return tuple(steps)


def _foreach(choose: Chooser, depth: int) -> Step:
    return ("foreach", choose.integer(1, 2), *_body(choose, depth, 1), choose.integer(0, 3) == 0)


def _while(choose: Chooser, depth: int) -> Step:
    return ("while", choose.integer(0, 4), *_body(choose, depth, 1), choose.integer(0, 3) == 0)


def _body(choose: Chooser, depth: int, least: int) -> tuple[Any, ...]:
    """States, steps, which values are results and which the next states."""
    states = choose.integer(least, 2)
    outs = tuple(choose.integer(0, 9) for _ in range(choose.integer(0, 2)))
    return states, _steps(choose, depth), outs, tuple(choose.integer(0, 9) for _ in range(states))


# --------------------------------------------------------------------------- performing


class _Around:
    def __init__(self, F: Any, weights: list[Any]) -> None:
        self._F = F
        self._weights = weights

    def foreach(
        self,
        stacks: list[Any],
        pool: list[Any],
        data: int,
        states: int,
        steps: tuple[Step, ...],
        outs: tuple[int, ...],
        nexts: tuple[int, ...],
        recompute: bool,
    ) -> tuple[list[Any], list[Any]]:
        def body(rows: list[Any], own: list[Any]) -> tuple[list[Any], list[Any]]:
            values = self.steps(steps, [*rows, *own, *pool])
            return [values[-1 - i % len(values)] for i in outs], [
                values[-1 - i % len(values)] for i in nexts
            ]

        return self._F.contrib.foreach(body, stacks[:data], pool[:states], recompute=recompute)

    def while_loop(
        self,
        pool: list[Any],
        limit: int,
        states: int,
        steps: tuple[Step, ...],
        outs: tuple[int, ...],
        nexts: tuple[int, ...],
        recompute: bool,
    ) -> tuple[list[Any], list[Any]]:
        F = self._F

        def body(i: Any, *own: Any) -> tuple[list[Any], list[Any]]:
            values = self.steps(steps, [*own, *pool])
            made = [values[-1 - number % len(values)] for number in (*outs, *nexts)]
            return made[: len(outs)], [i + 1, *made[len(outs) :]]

        begin = [F.sum(pool[0]) * 0, *pool[:states]]
        made, last = F.contrib.while_loop(
            lambda i, *own: i < limit, body, begin, max_iterations=3, recompute=recompute
        )
        return (made if limit else []), last[1:]

    def steps(self, steps: tuple[Step, ...], pool: list[Any]) -> list[Any]:
        """The pool and what the steps add to it."""
        values = list(pool)
        for kind, *rest in steps:
            values.append(getattr(self, f"_{kind}")(values, *rest))
        return values

    def _tanh(self, pool: list[Any], one: int, other: int) -> Any:
        return self._F.tanh(pool[one % len(pool)])

    def _sin(self, pool: list[Any], one: int, other: int) -> Any:
        return self._F.sin(pool[one % len(pool)])

    def _half(self, pool: list[Any], one: int, other: int) -> Any:
        return pool[one % len(pool)] * 0.5

    def _mean(self, pool: list[Any], one: int, other: int) -> Any:
        F = self._F
        mean = F.mean(pool[one % len(pool)], axis=0, keepdims=True)
        return F.broadcast_add(pool[other % len(pool)], mean)

    def _add(self, pool: list[Any], one: int, other: int) -> Any:
        return pool[one % len(pool)] * 0.7 + pool[other % len(pool)]

    def _times(self, pool: list[Any], one: int, other: int) -> Any:
        return self._F.tanh(pool[one % len(pool)]) * pool[other % len(pool)]

    def _dot(self, pool: list[Any], one: int, other: int) -> Any:
        return self._F.dot(pool[one % len(pool)], self._weights[other % 2]) * 0.5

    def _turned(self, pool: list[Any], one: int, other: int) -> Any:
        F, weight = self._F, self._weights[other % 2]
        return F.transpose(F.dot(weight, F.transpose(pool[one % len(pool)]))) * 0.5

    def _same(self, pool: list[Any], one: int, other: int) -> Any:
        """What may be the same in each iteration."""
        F = self._F
        return F.broadcast_mul(pool[-1], F.sin(F.sum(self._weights[other % 2])))

    def _rows(
        self, pool: list[Any], one: int, other: int, steps: tuple[Step, ...], state: int
    ) -> Any:
        """A loop over the two rows of an array; what it reads around keeps its shape."""
        F = self._F
        within = _Around(F, self._weights)

        def body(row: Any, own: Any) -> tuple[Any, Any]:
            values = [F.broadcast_add(pool[other % len(pool)] * 0.3, F.expand_dims(row, axis=0))]
            last = within.steps(steps, [*values, own])[-1]
            return F.mean(last, axis=0), last

        return F.contrib.foreach(body, pool[one % len(pool)], pool[state % len(pool)])[0]

    def _while(self, pool: list[Any], one: int, plan: tuple[Any, ...]) -> Any:
        first = one % len(pool)
        return self.while_loop([pool[first], *pool[-2:]], *plan)[1][0]

    def _cond(
        self,
        pool: list[Any],
        one: int,
        other: int,
        then: tuple[Step, ...],
        otherwise: tuple[Step, ...],
    ) -> Any:
        F = self._F
        decides = F.sum(pool[one % len(pool)]) > F.sum(pool[other % len(pool)])
        return F.contrib.cond(
            decides,
            lambda: self.steps(then, pool)[-1],
            lambda: self.steps(otherwise, pool)[-1],
        )
