"""Extents that are known only when a program runs: a batch size, the length of a sequence.

A graph whose types hold such extents is compiled like any other. They are numbers to the code that
works on shapes: sums and products of them are polynomials, and comparing them gives an answer. An
answer that is not certain for every value is that of an example, and becomes a condition of the
program, a guard: where all conditions hold for other values, the
compiler would have gone the same way, so the same program is right for them, with other numbers.

Nothing can be asked of such an extent that would make it a plain number unseen: `int()`, `range()`
and the like raise `UnknownExtent`, and the graph is then compiled for each shape.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import gcd, isinf
from typing import Any, Union

from tigon.base.errors import InternalError
from tigon.base.frozen import Frozen


class UnknownExtent(Exception):
    """The graph cannot be compiled without knowing an extent."""


class RuntimeExtents:
    """The unknown extents of one graph, and what was assumed about them.

    `likely`: typical values, one per extent. The examples that answers are taken from are primes a
    little above, so that no extent divides or equals another by chance.

    >>> extents = RuntimeExtents([64])
    >>> (batch,) = extents.unknown
    >>> batch * 3 + 1, batch * 12 // 4, batch * 3 > 2
    (3*n0 + 1, 3*n0, True)
    >>> batch < 1000, extents.allow((32,)), extents.allow((2000,))
    (True, True, False)
    """

    def __init__(self, likely: Sequence[int]) -> None:
        self.examples = _distinct_primes(likely)
        self.guards: dict[tuple[RuntimeExtent, _Test], bool] = {}
        self._values: Sequence[Any] | None = None
        self.unknown = tuple(
            RuntimeExtent(self, {(("n", number),): 1}) for number in range(len(likely))
        )

    def allow(self, values: Sequence[int]) -> bool:
        """Whether a program made from these extents is right for `values`."""
        if any(value < 1 for value in values):
            return False  # where nothing is computed, types and kernels differ in kind
        return all(
            _TESTS[test](difference.at(values), 0) is answer
            for (difference, test), answer in self.guards.items()
        )

    @contextmanager
    def known(self, values: Sequence[Any]) -> Iterator[None]:
        """Inside, the extents are plain numbers to whoever asks, and no condition is added."""
        before, self._values = self._values, values
        try:
            yield
        finally:
            self._values = before

    @contextmanager
    def supposed(self, values: Sequence[int]) -> Iterator[dict[tuple[RuntimeExtent, _Test], bool]]:
        """Inside, comparisons are answered by these values, and noted in what is given instead of
        among the guards.

        >>> extents = RuntimeExtents([64])
        >>> (batch,) = extents.unknown
        >>> with extents.supposed([3]) as conditions:
        ...     batch < 8
        True
        >>> conditions, extents.guards
        ({(n0 - 8, 'lt'): True}, {})
        """
        before = self.examples, self.guards
        self.examples, self.guards = tuple(values), {}
        try:
            yield self.guards
        finally:
            self.examples, self.guards = before

    @property
    def values(self) -> Sequence[Any] | None:
        return self._values


_Test = str
_TESTS: dict[_Test, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "lt": operator.lt,
    "le": operator.le,
}

_Atom = tuple[Any, ...]  # ("n", number), or (function, operand, operand) for divisions
_Monomial = tuple[_Atom, ...]
_Number = Union[int, "RuntimeExtent"]


class RuntimeNumber:
    """A number that is known when a program runs: `int()` or `float()` of it then."""

    __slots__ = ()

    def __float__(self) -> float:
        raise NotImplementedError


class RuntimeExtent(RuntimeNumber):
    """A polynomial in unknown extents with whole coefficients; immutable."""

    __slots__ = ("_example", "_hash", "extents", "terms")

    def __init__(self, extents: RuntimeExtents, terms: dict[_Monomial, int]) -> None:
        self.extents = extents
        self.terms = terms
        self._hash = hash(frozenset(terms.items()))
        self._example: tuple[Sequence[int], int] | None = None

    # -- values

    def at(self, values: Sequence[int]) -> int:
        total = 0
        for monomial, coefficient in self.terms.items():
            for atom in monomial:
                coefficient *= _atom_at(atom, values)
            total += coefficient
        return total

    @property
    def example(self) -> int:
        if self._example is None or self._example[0] is not self.extents.examples:
            self._example = self.extents.examples, self.at(self.extents.examples)
        return self._example[1]

    def __int__(self) -> int:
        values = self.extents.values
        if values is None:
            raise UnknownExtent(f"{self} would have to be a plain number")
        return self.at(values)

    __index__ = __int__

    def __float__(self) -> float:
        return float(int(self))

    # -- arithmetic

    def _with(self, terms: dict[_Monomial, int]) -> Any:
        """As a plain number where nothing unknown is left."""
        terms = {monomial: c for monomial, c in terms.items() if c}
        if not terms:
            return 0
        if len(terms) == 1 and () in terms:
            return terms[()]
        return RuntimeExtent(self.extents, terms)

    def _terms_of(self, other: Any) -> dict[_Monomial, int] | None:
        if isinstance(other, RuntimeExtent):
            if other.extents is not self.extents:
                raise InternalError("extents of two programs meet")
            return other.terms
        return {(): other} if isinstance(other, int) else None

    def __add__(self, other: Any) -> Any:
        added = self._terms_of(other)
        if added is None:
            return NotImplemented
        terms = dict(self.terms)
        for monomial, coefficient in added.items():
            terms[monomial] = terms.get(monomial, 0) + coefficient
        return self._with(terms)

    __radd__ = __add__

    def __neg__(self) -> Any:
        return self._with({monomial: -c for monomial, c in self.terms.items()})

    def __sub__(self, other: Any) -> Any:
        return NotImplemented if self._terms_of(other) is None else self + (-other)

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __mul__(self, other: Any) -> Any:
        factors = self._terms_of(other)
        if factors is None:
            return NotImplemented
        terms: dict[_Monomial, int] = {}
        for first, a in self.terms.items():
            for second, b in factors.items():
                monomial = tuple(sorted(first + second, key=repr))
                terms[monomial] = terms.get(monomial, 0) + a * b
        return self._with(terms)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        return self._divided("floordiv", self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._divided("floordiv", other, self)

    def __mod__(self, other: Any) -> Any:
        return self._divided("mod", self, other)

    def __rmod__(self, other: Any) -> Any:
        return self._divided("mod", other, self)

    def __divmod__(self, other: Any) -> tuple[Any, Any]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Any, Any]:
        return other // self, other % self

    def __abs__(self) -> Any:
        return self if self >= 0 else -self

    def __truediv__(self, other: Any) -> Any:
        if isinstance(other, (int, float, RuntimeExtent)):
            raise UnknownExtent(f"{self} is divided by {other}")
        return NotImplemented

    def __rtruediv__(self, other: Any) -> Any:
        return RuntimeRatio(float(other), self)

    def _divided(self, function: str, a: Any, b: Any) -> Any:
        dividend, divisor = self._terms_of(a), self._terms_of(b)
        if dividend is None or divisor is None:
            return NotImplemented
        if isinstance(b, int) and b == 0:
            raise ZeroDivisionError(f"{a} // 0")
        if _certain(a, 0, "lt") is False and _certain(a, b, "lt"):
            return 0 if function == "floordiv" else a
        exact = _exact_quotient(dividend, divisor)
        if exact is not None:
            return self._with(exact) if function == "floordiv" else 0
        return self._with({((function, a, b),): 1})

    # -- comparison: certain, or answered by the example and noted

    def _compare(self, other: Any, test: _Test, flipped: bool = False) -> Any:
        if isinstance(other, float):
            if not isinf(other):
                raise UnknownExtent(f"{self} is compared with {other}")
            return _TESTS[test](*((other, 0.0) if flipped else (0.0, other)))
        if self._terms_of(other) is None:
            return NotImplemented
        difference = other - self if flipped else self - other
        if isinstance(difference, int):
            return _TESTS[test](difference, 0)
        values = self.extents.values
        if values is not None:
            return _TESTS[test](difference.at(values), 0)
        certain = difference._certainly(test)
        if certain is not None:
            return certain
        answer = _TESTS[test](difference.example, 0)
        self.extents.guards[difference, test] = answer
        return answer

    def _certainly(self, test: _Test) -> bool | None:
        """What holds for all extents of 1 and more."""
        low, high = self._bounds()
        if test == "eq":
            return (
                False if (low is not None and low > 0) or (high is not None and high < 0) else None
            )
        edge = 1 if test == "le" else 0
        if low is not None and low >= edge:
            return False
        return True if high is not None and high < edge else None

    def _bounds(self) -> tuple[int | None, int | None]:
        least = self.terms.get((), 0)
        signs = set()
        for monomial, coefficient in self.terms.items():
            if monomial:
                if any(atom[0] != "n" for atom in monomial):
                    return None, None
                signs.add(coefficient > 0)
                least += coefficient
        if signs == {True}:
            return least, None
        return (None, least) if signs == {False} else (None, None)

    def __eq__(self, other: object) -> Any:
        if isinstance(other, RuntimeExtent) and other.extents is not self.extents:
            return False  # keys of caches meet so
        return self._compare(other, "eq")

    def __ne__(self, other: object) -> Any:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __lt__(self, other: Any) -> Any:
        return self._compare(other, "lt")

    def __le__(self, other: Any) -> Any:
        return self._compare(other, "le")

    def __gt__(self, other: Any) -> Any:
        return self._compare(other, "lt", flipped=True)

    def __ge__(self, other: Any) -> Any:
        return self._compare(other, "le", flipped=True)

    def __bool__(self) -> bool:
        return bool(self != 0)

    def __hash__(self) -> int:
        return self._hash

    # -- text

    def __repr__(self) -> str:
        parts = []
        for monomial, coefficient in sorted(self.terms.items(), key=lambda t: (not t[0], str(t))):
            factors = [_atom_text(atom) for atom in monomial]
            if coefficient != 1 or not factors:
                factors.insert(0, str(coefficient))
            parts.append("*".join(factors))
        return " + ".join(parts).replace("+ -", "- ")


class RuntimeRatio(Frozen, RuntimeNumber):
    """A number by an extent: the weight of each element in a mean."""

    numerator: float
    denominator: RuntimeExtent

    def __float__(self) -> float:
        return self.numerator / int(self.denominator)


class RuntimeScalar(RuntimeNumber):
    """A float that is known when a program runs. Nothing may be asked of it before."""

    __slots__ = ("_extents", "_number")

    def __init__(self, extents: RuntimeExtents, number: int) -> None:
        """The value of this number among those that are known then."""
        self._extents = extents
        self._number = number

    def __float__(self) -> float:
        values = self._extents.values
        if values is None:
            raise UnknownExtent(f"{self} would have to be a plain number")
        return float(values[self._number])

    def __eq__(self, other: object) -> Any:
        if self is other:
            return True
        if isinstance(other, RuntimeNumber):
            return False
        raise UnknownExtent(f"{self} is compared with {other}")

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"c{self._number}"


def is_one(extent: _Number) -> bool:
    """Whether an extent is 1 for certain. An axis of unknown extent is an axis, also where it
    happens to have one place: code that leaves out axes of one place must ask this."""
    return isinstance(extent, int) and extent == 1


def _certain(a: _Number, b: _Number, test: _Test) -> bool | None:
    difference = a - b
    if isinstance(difference, int):
        return _TESTS[test](difference, 0)
    return difference._certainly(test)


def is_negative(number: _Number) -> bool:
    """Whether a number is below 0 for certain, whatever the extents in it are."""
    return _certain(number, 0, "lt") is True


def same(a: _Number, b: _Number) -> bool:
    """Whether two extents are equal for certain: where this only permits something, a chance
    equality need not be a condition."""
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    difference = a - b
    return isinstance(difference, int) and difference == 0


def divides(divisor: _Number, number: _Number) -> bool:
    """Whether the rest is 0 for certain."""
    rest = number % divisor
    return isinstance(rest, int) and rest == 0


def same_shape(a: Sequence[_Number], b: Sequence[_Number]) -> bool:
    """The same of all extents of two shapes."""
    return len(a) == len(b) and all(map(same, a, b))


def is_known(*extents: _Number) -> bool:
    """Whether all of these are plain numbers."""
    return all(isinstance(extent, int) for extent in extents)


def estimate(extent: _Number) -> int:
    """A plain number of the likely size, for decisions that change speed or how long sums are
    rounded, and nothing else."""
    if isinstance(extent, int):
        return extent
    return extent.example if extent.extents.values is None else int(extent)


def as_known(number: Any) -> Any:
    """A plain number where it is known, else as it is: to reckon with in formulas."""
    if isinstance(number, RuntimeExtent) and number.extents.values is None:
        return number
    return int(number)


def common_divisor(*numbers: _Number) -> int:
    """A number that divides all of these: the greatest, as far as that is known."""
    found = 0
    for number in numbers:
        found = gcd(found, *([number] if isinstance(number, int) else number.terms.values()))
    return found


def value_of(extent: _Number, values: Sequence[int]) -> int:
    """The number that `extent` is for these values of the unknown ones."""
    return extent if isinstance(extent, int) else extent.at(values)


def _atom_at(atom: _Atom, values: Sequence[int]) -> int:
    if atom[0] == "n":
        return values[atom[1]]
    function, a, b = atom
    first, second = value_of(a, values), value_of(b, values)
    return first // second if function == "floordiv" else first % second


def as_plain(number: Any) -> Any:
    """An extent or a number as what JSON holds; `value_of_plain` says what it is for given values.

    >>> (n,) = RuntimeExtents([64]).unknown
    >>> as_plain(-1 * (-n // 16)), value_of_plain(as_plain(-1 * (-n // 16)), (33,))
    ([[-1, [['floordiv', [[-1, [['n', 0]]]], 16]]]], 3)
    """
    if not isinstance(number, RuntimeExtent):
        return number
    return [
        [coefficient, [[atom[0], *map(as_plain, atom[1:])] for atom in monomial]]
        for monomial, coefficient in number.terms.items()
    ]


def value_of_plain(plain: Any, values: Sequence[int]) -> Any:
    """The number that `as_plain` wrote down."""
    if not isinstance(plain, list):
        return plain
    total = 0
    for coefficient, monomial in plain:
        for function, *operands in monomial:
            if function == "n":
                coefficient *= values[operands[0]]
            else:
                a, b = (value_of_plain(operand, values) for operand in operands)
                coefficient *= a // b if function == "floordiv" else a % b
        total += coefficient
    return total


def _atom_text(atom: _Atom) -> str:
    if atom[0] == "n":
        return f"n{atom[1]}"
    function, a, b = atom
    sign = "//" if function == "floordiv" else "%"
    return f"({_operand_text(a)} {sign} {_operand_text(b)})"


def _operand_text(number: _Number) -> str:
    if isinstance(number, int) or (
        list(number.terms.values()) == [1] and all(len(monomial) == 1 for monomial in number.terms)
    ):
        return str(number)
    return f"({number})"


def _exact_quotient(
    dividend: dict[_Monomial, int], divisor: dict[_Monomial, int]
) -> dict[_Monomial, int] | None:
    """The quotient by a single term that divides every term."""
    if len(divisor) != 1:
        return None
    ((monomial, coefficient),) = divisor.items()
    quotient: dict[_Monomial, int] = {}
    for factors, number in dividend.items():
        rest = list(factors)
        for atom in monomial:
            if atom not in rest:
                return None
            rest.remove(atom)
        if number % coefficient:
            return None
        quotient[tuple(rest)] = number // coefficient
    return quotient


def _distinct_primes(likely: Sequence[int]) -> tuple[int, ...]:
    found: list[int] = []
    for value in likely:
        candidate = max(value, 11)
        while candidate in found or not _is_prime(candidate):
            candidate += 1
        found.append(candidate)
    return tuple(found)


_BASES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


def _is_prime(number: int) -> bool:
    """The test of Miller and Rabin: extents may be as large as a user's mistake. With these bases
    it is right below 3.1e23 (Sorenson and Webster, Strong pseudoprimes to twelve and thirteen prime
    bases, 2017)."""
    if number < 2 or any(number % base == 0 for base in _BASES):
        return number in _BASES
    halvings = ((number - 1) & (1 - number)).bit_length() - 1
    odd = (number - 1) >> halvings
    return all(_may_be_prime(number, base, odd, halvings) for base in _BASES)


def _may_be_prime(number: int, base: int, odd: int, halvings: int) -> bool:
    power = pow(base, odd, number)
    if power in (1, number - 1):
        return True
    for _ in range(halvings - 1):
        power = power * power % number
        if power == number - 1:
            return True
    return False
