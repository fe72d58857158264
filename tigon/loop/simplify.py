"""Index arithmetic with ranges. Index maps are composed of reshapes, slices, pads and windows;
this puts them into affine normal form and removes the divisions that ranges make superfluous.

Floating-point values are rebuilt with the constructors' bit-exact rules only. Divisions and
comparisons of int64 are rewritten only where every term has a known range: arithmetic on data
wraps, arithmetic on indices does not.
"""

from __future__ import annotations

from functools import lru_cache

from tigon.base.dtypes import bool_, int64
from tigon.base.extents import common_divisor, divides, is_one, same
from tigon.base.recursion import descend
from tigon.loop import build as L
from tigon.loop.grammar import Apply, Axis, Const, Expr, Load, Local, Slot, walk
from tigon.loop.rewrite import rebuild

Range = tuple[int, int]
Ranges = dict[str, Range]
Bounds = tuple[int, int] | None  # both ends included; None: unknown
Terms = dict[Expr, int]  # sum of coefficient * term

_LIMIT = 1 << 62
_EXACT = 1 << 48
"""Below it lies whatever stands for a remainder: vectors are divided in float64, which is exact for
sums of some such numbers."""


def simplify(expr: Expr, ranges: Ranges) -> Expr:
    """`expr` in normal form, where `ranges` gives for axes the half-open (start, stop). List the
    axes outermost first: sums are ordered so that outer parts come first and can be hoisted.

    >>> i, j = L.axis("i"), L.axis("j")
    >>> flat = L.add(L.mul(i, 12), j)                  # a (2, 12) array seen as (4, 6)
    >>> row, column = L.floordiv(flat, 6), L.mod(flat, 6)
    >>> simplify(L.add(L.mul(row, 6), column), {"i": (0, 2), "j": (0, 12)})
    add(mul(i, 12), j)
    >>> simplify(L.and_(L.ge(i, 0), L.lt(L.add(i, 3), 7)), {"i": (0, 9)})
    lt(i, 4)
    """
    return _simplifier(tuple(ranges.items()))(expr)


RESULTS_KEPT = 20_000
"""Expressions of which each of the tables here remembers a fact."""


@lru_cache(maxsize=128)
def _simplifier(ranges: tuple[tuple[str, Range], ...]) -> Simplifier:
    return Simplifier(dict(ranges))


def bounds(expr: Expr, ranges: Ranges) -> Bounds:
    """Least and greatest value an int64 expression may take, both included; None if unknown.

    >>> bounds(L.add(L.mul(L.axis("i"), -2), 1), {"i": (0, 4)})
    (-5, 1)
    """
    simplifier = _simplifier(tuple(ranges.items()))
    return simplifier.bounds(simplifier(expr))


class Simplifier:
    """`simplify` for one set of ranges; remembers what it has done."""

    def __init__(self, ranges: Ranges) -> None:
        self._ranges = ranges
        self._rank = {name: position for position, name in enumerate(ranges)}
        self._done: dict[Expr, Expr] = {}
        self._bounds: dict[Expr, Bounds] = {}
        self._linear: dict[Expr, tuple[Terms, int]] = {}
        self._order: dict[Expr, tuple[int, str, str]] = {}
        self._quotients: dict[tuple[Expr, int], Expr] = {}
        self._remainders: dict[tuple[Expr, int], Expr] = {}

    def __call__(self, expr: Expr) -> Expr:
        if len(self._done) > RESULTS_KEPT:  # replaced, since another thread may be at work in them
            self._done, self._bounds, self._linear, self._order = {}, {}, {}, {}
            self._quotients, self._remainders = {}, {}
        return rebuild(expr, self._done, self._make)

    def _make(self, node: Expr, operands: tuple[Expr, ...]) -> Expr:
        result = self._rebuild(node, operands)
        self._done.setdefault(result, result)
        return result

    def _rebuild(self, node: Expr, operands: tuple[Expr, ...]) -> Expr:
        if isinstance(node, Load):
            return L.load(node.buffer, operands[0], node.dtype)
        if not isinstance(node, Apply):
            if isinstance(node, Axis):
                start, stop = self._ranges.get(node.name, (0, 2))
                return L.const(start) if is_one(stop - start) else node
            return node
        function = node.function
        if node.dtype is int64 and function in ("add", "sub", "mul", "neg"):
            return self._render(*self._arithmetic(function, operands))
        if operands[0].dtype is int64 or (node.dtype is int64 and function == "select"):
            handler = getattr(self, f"_{function}", None)
            if handler is not None:
                found: Expr | None = handler(*operands)
                if found is not None:
                    return found
            if function in _COMPARISONS:
                return self._compare(function, *operands)
        given = node.dtype if L.result_given(function) else None
        return L.apply(function, *operands, dtype=given)

    # ----------------------------------------------------------------------- linear forms

    def linear(self, expr: Expr) -> tuple[Terms, int]:
        """A simplified int64 expression as a sum; the terms are not sums themselves."""
        if isinstance(expr, Const):
            return {}, expr.value
        found = self._linear.get(expr)
        return descend(self._linear, expr, self._find_linear) if found is None else found

    def _find_linear(self, expr: Expr) -> tuple[Terms, int]:
        if isinstance(expr, Apply) and expr.function in ("add", "mul"):
            return self._arithmetic(expr.function, expr.operands)
        return {expr: 1}, 0

    def _arithmetic(self, function: str, operands: tuple[Expr, ...]) -> tuple[Terms, int]:
        first, constant = self.linear(operands[0])
        if function == "neg":
            return _scaled(first, -1), -constant
        second, other = self.linear(operands[1])
        if function == "mul":
            if not first:
                return _scaled(second, constant), constant * other
            if not second:
                return _scaled(first, other), constant * other
            return {L.mul(*operands): 1}, 0
        sign = -1 if function == "sub" else 1
        terms = dict(first)
        for term, coefficient in second.items():
            total = terms.get(term, 0) + sign * coefficient
            if total:
                terms[term] = total
            else:
                terms.pop(term, None)
        return self._recombine(terms), constant + sign * other

    def _recombine(self, terms: Terms) -> Terms:
        """c*n*(x // n) + c*(x % n) -> c*x, and c*n*((x // n) % m) + c*(x % n) -> c*(x % (n*m))."""
        joined: Terms | None = terms
        while joined is not None:
            terms, joined = joined, self._recombined_once(joined)
        return terms

    def _recombined_once(self, terms: Terms) -> Terms | None:
        for term, coefficient in terms.items():
            if not (isinstance(term, Apply) and term.function == "mod"):
                continue
            inner, size = term.operands
            if not isinstance(size, Const) or size.value <= 0:
                continue
            quotient = self._quotient(inner, size.value)
            whole, _ = self.linear(quotient)
            scale = coefficient * size.value
            if whole and all(
                same(terms.get(part, 0), scale * count) for part, count in whole.items()
            ):
                rest = {t: c for t, c in terms.items() if t is not term and t not in whole}
                # The constant of `whole` is 0: _quotient of a mod's operand leaves none.
                if self.linear(quotient)[1] == 0:
                    return self._joined(rest, inner, coefficient)
            for other, count in terms.items():
                if (
                    same(count, scale)
                    and isinstance(other, Apply)
                    and other.function == "mod"
                    and other.operands[0] is quotient
                    and isinstance(other.operands[1], Const)
                ):
                    rest = {t: c for t, c in terms.items() if t is not term and t is not other}
                    joined = self._remainder(inner, size.value * other.operands[1].value)
                    return self._joined(rest, joined, coefficient)
        return None

    def _joined(self, rest: Terms, expr: Expr, coefficient: int) -> Terms:
        added, constant = self.linear(expr)
        if constant:  # cannot be carried here: keep the expression as one term
            added = {expr: 1}
        terms = dict(rest)
        for term, count in added.items():
            total = terms.get(term, 0) + coefficient * count
            if total:
                terms[term] = total
            else:
                terms.pop(term, None)
        return terms

    def _render(self, terms: Terms, constant: int) -> Expr:
        result: Expr | None = None
        for term in sorted(terms, key=self._key):
            scaled = L.mul(term, terms[term])
            result = scaled if result is None else L.add(result, scaled)
        if result is None:
            return L.const(constant)
        result = L.add(result, constant)
        if -_LIMIT < constant < _LIMIT and all(abs(c) < _LIMIT for c in terms.values()):
            self._linear[result] = terms, constant
        return result

    def _key(self, term: Expr) -> tuple[int, str, str]:
        """Outer axes first; numbers decide last, so that structures are equal across shapes."""
        found = self._order.get(term)
        if found is None:
            last = -1
            for node in walk(term):
                if isinstance(node, Axis):
                    last = max(last, self._rank.get(node.name, len(self._rank)))
            text = repr(term)
            blank = "".join("#" if character.isdigit() else character for character in text)
            found = self._order[term] = (last, blank.replace("##", "#"), text)
        return found

    # ----------------------------------------------------------------------------- bounds

    def bounds(self, expr: Expr) -> Bounds:
        """Of a simplified expression."""
        if isinstance(expr, Const):
            return (expr.value, expr.value) if expr.dtype is int64 else None
        memory = self._bounds
        return memory[expr] if expr in memory else descend(memory, expr, self._find_bounds)

    def _find_bounds(self, expr: Expr) -> Bounds:
        found = self._bounds_by_rule(expr)
        inside = found is None or (-_LIMIT < found[0] and found[1] < _LIMIT)
        return found if inside else None

    def _bounds_by_rule(self, expr: Expr) -> Bounds:
        if isinstance(expr, Axis):
            span = self._ranges.get(expr.name)
            return None if span is None else (span[0], max(span[0], span[1] - 1))
        if not isinstance(expr, Apply):
            return None
        function, operands = expr.function, expr.operands
        if function in ("add", "mul"):
            terms, constant = self.linear(expr)
            if terms != {expr: 1}:
                return self._sum_bounds(terms, constant)
            a, b = self.bounds(operands[0]), self.bounds(operands[1])
            if a is None or b is None:
                return None
            products = [x * y for x in a for y in b]
            return min(products), max(products)
        if function == "cast" and operands[0].dtype.kind in "bu" and operands[0].dtype.itemsize < 8:
            return 0, 1 if operands[0].dtype is bool_ else 2 ** (8 * operands[0].dtype.itemsize) - 1
        if expr.dtype is not int64:
            return None
        if function in ("mod", "floordiv"):
            return self._division_bounds(function, *operands)
        if function in ("select", "maximum", "minimum"):
            a, b = self.bounds(operands[-2]), self.bounds(operands[-1])
            if a is None or b is None:
                return None
            if function == "select":
                return min(a[0], b[0]), max(a[1], b[1])
            pick = max if function == "maximum" else min
            return pick(a[0], b[0]), pick(a[1], b[1])
        return None

    def _division_bounds(self, function: str, a: Expr, size: Expr) -> Bounds:
        if not isinstance(size, Const) or size.value <= 0:
            return None
        if function == "mod":
            return 0, size.value - 1
        span = self.bounds(a)
        return None if span is None else (span[0] // size.value, span[1] // size.value)

    def _sum_bounds(self, terms: Terms, constant: int) -> Bounds:
        low = high = constant
        for term, coefficient in terms.items():
            span = self.bounds(term)
            if span is None:
                return None
            low += coefficient * span[coefficient < 0]
            high += coefficient * span[coefficient >= 0]
        return low, high

    # --------------------------------------------------------------------------- divisions

    def _floordiv(self, a: Expr, b: Expr) -> Expr | None:
        return self._quotient(a, b.value) if isinstance(b, Const) and b.value > 0 else None

    def _mod(self, a: Expr, b: Expr) -> Expr | None:
        return self._remainder(a, b.value) if isinstance(b, Const) and b.value > 0 else None

    def _split(self, terms: Terms, constant: int, size: int) -> tuple[Terms, Terms, int] | None:
        """terms + constant = step * first + second + constant, where 0 <= second + constant' < step
        and step divides `size`; returned are first's terms (divided), second's and the step."""
        steps = {common_divisor(coefficient, size) for coefficient in terms.values()}
        for step in sorted(steps, reverse=True):
            if step == 1:
                break
            inner = {term: c for term, c in terms.items() if not divides(step, c)}
            span = self._sum_bounds(inner, constant % step)
            if span is not None and span[0] >= 0 and span[1] < step:
                outer = {term: c // step for term, c in terms.items() if divides(step, c)}
                return outer, inner, step
        return None

    def _quotient(self, a: Expr, size: int) -> Expr:
        found = self._quotients.get((a, size))
        return descend(self._quotients, (a, size), self._find_quotient) if found is None else found

    def _find_quotient(self, key: tuple[Expr, int]) -> Expr:
        a, size = key
        terms, constant = self.linear(a)
        span = self._sum_bounds(terms, constant)
        if span is None or size == 1:
            return L.floordiv(a, size)
        if same(span[0] // size, span[1] // size):
            return L.const(span[0] // size)
        # (size*q + r) // size = q + r // size, always.
        whole = {term: c // size for term, c in terms.items() if divides(size, c)}
        rest = {term: c for term, c in terms.items() if not divides(size, c)}
        if whole or not 0 <= constant < size:
            whole_constant, constant = divmod(constant, size)
            inner = self._quotient(self._render(rest, constant), size)
            more, extra = self.linear(inner)
            return self._render(self._merged(whole, more), whole_constant + extra)
        split = self._split(terms, constant, size)
        if split is not None:
            outer, _, step = split
            return self._quotient(self._render(outer, constant // step), size // step)
        if len(terms) == 1:
            ((term, coefficient),) = terms.items()
            if coefficient == 1 and isinstance(term, Apply) and term.function == "floordiv":
                inner_size = term.operands[1]
                if isinstance(inner_size, Const) and inner_size.value > 0:
                    step = inner_size.value
                    shifted, more_constant = self.linear(term.operands[0])
                    numerator = self._render(shifted, more_constant + constant * step)
                    return self._quotient(numerator, step * size)
        return L.floordiv(self._render(terms, constant), size)

    def _remainder(self, a: Expr, size: int) -> Expr:
        found = self._remainders.get((a, size))
        if found is None:
            found = descend(self._remainders, (a, size), self._find_remainder)
        return found

    def _find_remainder(self, key: tuple[Expr, int]) -> Expr:
        a, size = key
        terms, constant = self.linear(a)
        span = self._sum_bounds(terms, constant)
        if span is None or size == 1:
            return L.mod(a, size)
        if same(span[0] // size, span[1] // size):
            return self._render(terms, constant - span[0] // size * size)
        reduced: Terms = {}
        shift = constant
        for term, coefficient in terms.items():
            if divides(size, coefficient):
                continue
            if isinstance(term, Apply) and term.function == "mod":
                source, inner_size = term.operands
                if isinstance(inner_size, Const) and divides(size, coefficient * inner_size.value):
                    more, extra = self.linear(source)
                    more = _scaled(more, coefficient)
                    span = self._sum_bounds(more, 0)
                    # Each such step makes numbers larger by a factor, a chain of them without end.
                    if span is not None and -_EXACT < span[0] and span[1] < _EXACT:
                        shift += coefficient * extra
                        reduced = self._merged(reduced, more)
                        continue
            reduced = self._merged(reduced, {term: coefficient})
        reduced = {term: c for term, c in reduced.items() if not divides(size, c)}
        shift %= size
        if (reduced, shift) != (terms, constant):
            return self._remainder(self._render(reduced, shift), size)
        split = self._split(terms, constant, size)
        if split is not None:
            outer, inner, step = split
            high = self._remainder(self._render(outer, constant // step), size // step)
            more, extra = self.linear(high)
            return self._render(
                self._merged(_scaled(more, step), inner), extra * step + constant % step
            )
        return L.mod(a, size)

    def _merged(self, a: Terms, b: Terms) -> Terms:
        terms = dict(a)
        for term, coefficient in b.items():
            total = terms.get(term, 0) + coefficient
            if total:
                terms[term] = total
            else:
                terms.pop(term, None)
        return self._recombine(terms)

    # --------------------------------------------------------------- comparison and choice

    def _maximum(self, a: Expr, b: Expr) -> Expr | None:
        first, second = self.bounds(a), self.bounds(b)
        if first is None or second is None:
            return None
        return a if first[0] >= second[1] else b if second[0] >= first[1] else None

    def _minimum(self, a: Expr, b: Expr) -> Expr | None:
        first, second = self.bounds(a), self.bounds(b)
        if first is None or second is None:
            return None
        return a if first[1] <= second[0] else b if second[1] <= first[0] else None

    def _compare(self, function: str, a: Expr, b: Expr) -> Expr:
        """As `terms < constant`, `>=`, `==` or `!=`, coefficients without common divisor."""
        terms, constant = self._arithmetic("sub", (a, b))
        span = self._sum_bounds(terms, constant)
        if span is None:
            return L.apply(function, a, b)
        low, high = span
        certain = {
            "lt": (high < 0, low >= 0),
            "le": (high <= 0, low > 0),
            "gt": (low > 0, high <= 0),
            "ge": (low >= 0, high < 0),
            "eq": (low == high == 0, low > 0 or high < 0),
            "ne": (low > 0 or high < 0, low == high == 0),
        }[function]
        if certain[0] or certain[1]:
            return L.const(certain[0], bool_)
        if all(coefficient < 0 for coefficient in terms.values()):
            terms, constant, function = _scaled(terms, -1), -constant, _FLIPPED[function]
        limit = -constant
        if function in ("le", "gt"):
            limit, function = limit + 1, "lt" if function == "le" else "ge"
        divisor = common_divisor(*terms.values())
        if function in ("eq", "ne") and limit % divisor:
            return L.const(function == "ne", bool_)
        limit = -(-limit // divisor)
        left = {term: c // divisor for term, c in terms.items() if c > 0}
        right = {term: -c // divisor for term, c in terms.items() if c < 0}
        return L.apply(function, self._render(left, 0), self._render(right, limit))


_COMPARISONS = frozenset(("eq", "ne", "lt", "le", "gt", "ge"))
_FLIPPED = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le", "eq": "eq", "ne": "ne"}


def _scaled(terms: Terms, factor: int) -> Terms:
    if factor == 0:
        return {}
    return {term: coefficient * factor for term, coefficient in terms.items()}


# -------------------------------------------------------------------------------- affine view


def affine(expr: Expr, axes: frozenset[str] | set[str]) -> Affine:
    """`expr` as sum over `axes` of coefficient * axis, plus a rest; coefficients and rest mention
    none of `axes`. None if it is no such sum. Coefficients are expressions: they may be slots.

    >>> coefficients, rest = affine(L.add(L.mul(L.axis("i"), 12), L.axis("j")), {"j"})
    >>> coefficients, rest
    ({'j': 1}, mul(i, 12))
    >>> affine(L.floordiv(L.axis("i"), 2), {"i"}) is None
    True
    """
    global _AFFINE
    known = _AFFINE
    key = (expr, frozenset(axes))
    if key in known:
        return known[key]
    if len(known) > RESULTS_KEPT:  # replaced, since another thread may be at work in it
        known = _AFFINE = {}
    return descend(known, key, _affine)


Affine = tuple[dict[str, Expr], Expr] | None

_AFFINE: dict[tuple[Expr, frozenset[str]], Affine] = {}


def _affine(key: tuple[Expr, frozenset[str]]) -> Affine:
    expr, axes = key
    if isinstance(expr, Axis) and expr.name in axes:
        return {expr.name: L.const(1)}, L.const(0)
    if not mentions(expr, axes):
        return {}, expr
    if not isinstance(expr, Apply) or expr.dtype is not int64:
        return None
    parts = [affine(operand, axes) for operand in expr.operands]
    if any(part is None for part in parts):
        return None
    if expr.function in ("add", "sub"):
        (first, rest), (second, other) = parts  # type: ignore[misc]
        join = L.add if expr.function == "add" else L.sub
        sums = dict(first)
        for name, coefficient in second.items():
            sums[name] = join(sums.get(name, L.const(0)), coefficient)
        return _nonzero(sums), join(rest, other)
    if expr.function == "neg":
        ((first, rest),) = parts  # type: ignore[misc]
        return {name: L.neg(c) for name, c in first.items()}, L.neg(rest)
    if expr.function == "mul":
        (first, rest), (second, other) = parts  # type: ignore[misc]
        if first and second:
            return None
        factor = rest if not first else other
        varying, base = (first, rest) if first else (second, other)
        scaled = {name: L.mul(c, factor) for name, c in varying.items()}
        return _nonzero(scaled), L.mul(base, factor)
    return None


def _nonzero(coefficients: dict[str, Expr]) -> dict[str, Expr]:
    return {name: c for name, c in coefficients.items() if not L.is_const(c, 0)}


_MENTIONED: dict[Expr, frozenset[str]] = {}


def axes_of(expr: Expr) -> frozenset[str]:
    """Names of the axes an expression mentions.

    >>> sorted(axes_of(L.add(L.axis("i"), L.load(0, L.axis("j"), int64))))
    ['i', 'j']
    """
    global _MENTIONED
    found = _MENTIONED.get(expr)
    if found is not None:
        return found
    if len(_MENTIONED) > RESULTS_KEPT:
        _MENTIONED = {}
    here: dict[Expr, frozenset[str]] = {}
    for node in walk(expr):
        if isinstance(node, Axis):
            here[node] = frozenset((node.name,))
        elif isinstance(node, (Const, Slot, Local)):
            here[node] = frozenset()
        else:
            here[node] = frozenset().union(*(here[operand] for operand in node.operands))
    _MENTIONED.update(here)
    return here[expr]


def mentions(expr: Expr, axes: frozenset[str] | set[str]) -> bool:
    """Whether `expr` mentions any of `axes`."""
    return not axes_of(expr).isdisjoint(axes)
