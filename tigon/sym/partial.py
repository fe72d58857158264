"""Shapes of which some extents are not known.

Each unknown extent goes through the type rules as a number that is known later. Where a rule
refuses its operands, because two extents that must be equal are not, the equation is what there was
to learn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tigon.base import TensorType, TigonError
from tigon.base.extents import RuntimeExtent, RuntimeExtents, UnknownExtent, is_known
from tigon.ir.graph import VARIABLE, Value, topological_order
from tigon.sym.inference import Hint, hint_of, infer, merged

OpenShape = tuple[int | None, ...]

_Place = tuple[str, int]  # a variable and an axis
_Solution = dict[_Place, "int | _Place"]  # what some unknown extents are, or are equal to

MOST_TRIES = 100
SAMPLES = (2, 3, 211)
"""What holds for the example alone, such as that ten rows can be cut off, fails for these."""


def infer_open(outputs: Sequence[Value], given: Mapping[str, Hint]) -> dict[Value, OpenShape]:
    """The shapes that follow; None stands for extents that do not. Values of which nothing is known
    are missing. Raises where no extents fit."""
    problem = _Problem(outputs, given)
    types = infer(outputs, given, match=False)
    if problem.first_open(types) is None:
        types = infer(outputs, given)
    found: dict[Value, OpenShape] = {value: type_.shape for value, type_ in types.items()}
    if problem.first_open(types) is None:
        return found
    solutions = list(problem.solutions())
    if not solutions and problem.unsolved:  # perhaps there are extents that fit
        return found | problem.declared()
    if not solutions:
        assert problem.refusal is not None
        raise problem.refusal
    claims = [problem.shapes(*one) for one in solutions]
    claims += [sample for number in SAMPLES for sample in problem.sample(solutions[0][0], number)]
    first, *others = claims
    for value, shape in first.items():
        if all(value in other and len(other[value]) == len(shape) for other in others):
            extents = [{other[value][axis] for other in claims} for axis in range(len(shape))]
            found[value] = tuple(one.pop() if len(one) == 1 else None for one in extents)
    return found


class _Problem:
    def __init__(self, outputs: Sequence[Value], given: Mapping[str, Hint]) -> None:
        self.outputs = outputs
        self.given = given
        self.partial: dict[Value, tuple[str, tuple[int, ...]]] = {}
        for node in topological_order(outputs):
            if node.op is not VARIABLE:
                continue
            hint = merged(node, hint_of(node), given.get(node.name))
            if hint.shape is not None and not hint.known_shape:
                self.partial[node.outputs[0]] = node.name, hint.shape
        self.places = [
            (name, axis)
            for name, shape in self.partial.values()
            for axis, extent in enumerate(shape)
            if extent == 0
        ]
        self.refusal: TigonError | None = None
        self.unsolved = False
        """Whether a rule refused operands for an equation that is not solved here."""

    def declared(self) -> dict[Value, OpenShape]:
        """What is said of the variables of which only some extents are known."""
        return {
            value: tuple(extent or None for extent in shape)
            for value, (_, shape) in self.partial.items()
        }

    def first_open(self, types: Mapping[Value, TensorType]) -> Value | None:
        """The first variable of which only some extents are known."""
        return next((value for value in self.partial if value not in types), None)

    def solutions(self) -> Iterator[tuple[_Solution, dict[Value, TensorType]]]:
        """What must be said of unknown extents for the rules to accept all operands: nothing, or in
        more and more equations."""
        todo: list[_Solution] = [{}]
        seen: list[_Solution] = []
        while todo and len(seen) < MOST_TRIES:
            solution = todo.pop(0)
            if solution in seen:
                continue
            seen.append(solution)
            free = [place for place in self.places if place not in solution]
            extents = RuntimeExtents([1] * len(free))
            try:
                yield solution, self._infer(solution, dict(zip(free, extents.unknown, strict=True)))
            except UnknownExtent:  # only samples will tell
                for types in self._sampled(solution, 211):
                    yield solution, types
            except TigonError as error:
                self.refusal = self.refusal or error
                self.unsolved = self.unsolved or _is_unsolved(extents, free)
                for place, equal in _equations(extents, free):
                    todo.append({**solution, place: equal})

    def _infer(self, solution: _Solution, values: Mapping[_Place, int]) -> dict[Value, TensorType]:
        """The types, where variables have extents from `values` of which operators do not tell."""
        hints = dict(self.given)
        while True:
            types = infer(self.outputs, hints, match=False)
            value = self.first_open(types)
            if value is None:
                return infer(self.outputs, hints)
            name, shape = self.partial[value]
            extents = [
                extent or _looked_up((name, axis), solution, values)
                for axis, extent in enumerate(shape)
            ]
            dtype = hints[name].dtype if name in hints else None
            hints[name] = Hint(tuple(extents), dtype, exact=True)

    def _sampled(self, solution: _Solution, number: int) -> Iterator[dict[Value, TensorType]]:
        try:
            yield self._infer(solution, dict.fromkeys(self.places, number))
        except TigonError:
            return  # tells nothing: a picture smaller than its window, say

    def sample(self, solution: _Solution, number: int) -> Iterator[dict[Value, OpenShape]]:
        """The shapes if every extent that is still unknown were this number."""
        for types in self._sampled(solution, number):
            yield {value: type_.shape for value, type_ in types.items()}

    def shapes(
        self, solution: _Solution, types: Mapping[Value, TensorType]
    ) -> dict[Value, OpenShape]:
        return {
            value: tuple(extent if is_known(extent) else None for extent in type_.shape)
            for value, type_ in types.items()
        }


def _looked_up(place: _Place, solution: _Solution, values: Mapping[_Place, int]) -> int:
    while place in solution:
        found = solution[place]
        if isinstance(found, int):
            return found
        place = found
    return values[place]


def _equations(
    extents: RuntimeExtents, free: Sequence[_Place]
) -> Iterator[tuple[_Place, int | _Place]]:
    """What would have made comparisons true that were asked for and were not."""
    for (difference, test), answer in extents.guards.items():
        if test == "eq" and not answer:
            yield from _solved(difference, free) or ()


def _is_unsolved(extents: RuntimeExtents, free: Sequence[_Place]) -> bool:
    """Whether what was asked last, and refused, is an equation of which nobody knows here whether
    extents solve it."""
    if not extents.guards:
        return False
    (difference, test), answer = next(reversed(extents.guards.items()))
    return test == "eq" and not answer and _solved(difference, free) is None


def _solved(
    difference: RuntimeExtent, free: Sequence[_Place]
) -> list[tuple[_Place, int | _Place]] | None:
    """What an unknown extent is, if this is 0: nothing where it cannot be, None where there are
    many answers, or products and quotients."""
    terms = dict(difference.terms)
    constant = terms.pop((), 0)
    if any(len(monomial) != 1 or monomial[0][0] != "n" for monomial in terms):
        return None
    numbers = [(free[monomial[0][1]], factor) for monomial, factor in terms.items()]
    if len(numbers) == 1:
        extent, rest = divmod(-constant, numbers[0][1])
        return [(numbers[0][0], extent)] if extent > 0 and not rest else []
    if len(numbers) == 2 and constant == 0 and numbers[0][1] == -numbers[1][1]:
        return [(numbers[1][0], numbers[0][0])]
    return None
