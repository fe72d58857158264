"""Computes the coefficients of `tigon/loop/mathematics/`: `python tools/fit_mathematics.py`
rewrites `tigon/loop/coefficients.py`. Needs mpmath, as the tests do.

Polynomials interpolate at Chebyshev nodes, which is within a factor of about two of the minimax
error; rational functions minimise the relative error by weighted linear least squares.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mpmath import mp, mpf

from tigon.base.files import write_file

mp.dps = 90
Function = Callable[[mpf], mpf]
TABLE: dict[str, list[float]] = {}


def nodes(low: float, high: float, count: int) -> list[mpf]:
    """Chebyshev nodes of [low, high]."""
    middle, half = (mpf(low) + mpf(high)) / 2, (mpf(high) - mpf(low)) / 2
    return [middle + half * mp.cos(mp.pi * (2 * k + 1) / (2 * count)) for k in range(count)]


def polynomial(name: str, function: Function, low: float, high: float, degree: int) -> None:
    """Coefficients, constant first, of the polynomial that equals `function` at Chebyshev nodes."""
    points = nodes(low, high, degree + 1)
    matrix = mp.matrix([[point**power for power in range(degree + 1)] for point in points])
    solution = mp.lu_solve(matrix, mp.matrix([function(point) for point in points]))
    coefficients = [mpf(value) for value in solution]
    worst = max(
        abs(mp.polyval(coefficients[::-1], point) - function(point))
        for point in nodes(low, high, 4 * degree + 7)
    )
    print(f"{name}: degree {degree}, worst error 2**{float(mp.log(worst, 2)):.1f}")
    TABLE[name] = [float(value) for value in coefficients]


def rational(
    name: str, function: Function, low: float, high: float, upper: int, lower: int
) -> None:
    """P/Q ~ function with Q(0) = 1, relative error; stored as `name`_p and `name`_q."""
    points = nodes(low, high, 6 * (upper + lower))
    values = [function(point) for point in points]
    weights = [mpf(1)] * len(points)
    best: tuple[mpf, list[mpf], list[mpf]] | None = None
    denominators = [mpf(1)] * len(points)
    for _ in range(40):
        rows, right = [], []
        for point, value, weight, below in zip(points, values, weights, denominators, strict=True):
            scale = weight / (value * below)
            rows.append(
                [scale * point**power for power in range(upper + 1)]
                + [-scale * value * point**power for power in range(1, lower + 1)]
            )
            right.append(scale * value)
        solution = mp.qr_solve(mp.matrix(rows), mp.matrix(right))[0]
        p = [mpf(x) for x in solution[: upper + 1]]
        q = [mpf(1)] + [mpf(x) for x in solution[upper + 1 :]]
        denominators = [mp.polyval(q[::-1], point) for point in points]
        errors = [
            abs(mp.polyval(p[::-1], point) / below / value - 1)
            for point, value, below in zip(points, values, denominators, strict=True)
        ]
        worst = max(errors)
        if best is None or worst < best[0]:
            best = worst, p, q
        # Lawson's weights drive least squares towards least maximum.
        mean = sum(errors) / len(errors)
        weights = [
            weight * (mpf(0.1) + error / mean) ** mpf(0.5)
            for weight, error in zip(weights, errors, strict=True)
        ]
    assert best is not None
    print(
        f"{name}: degrees {upper}/{lower}, worst relative error 2**{float(mp.log(best[0], 2)):.1f}"
    )
    TABLE[f"{name}_p"] = [float(value) for value in best[1]]
    TABLE[f"{name}_q"] = [float(value) for value in best[2]]


def tail(function: Function, head: list[mpf], start: int) -> Function:
    """(function(r) - head(r)) / r**start; the cancellation near 0 is what the digits are for."""

    def g(r: mpf) -> mpf:
        if abs(r) < mpf(10) ** -20:
            r = mpf(10) ** -20
        return (function(r) - sum(c * r**k for k, c in enumerate(head))) / r**start

    return g


def square(function: Function) -> Function:
    """g(z) with z = r**2."""
    return lambda z: function(mp.sqrt(z))


def fit() -> None:
    half = mpf(1) / 2
    exp_tail = tail(mp.exp, [mpf(1), mpf(1)], 2)
    polynomial("exp_wide32", exp_tail, -0.6935, 0.6935, 6)
    polynomial("exp_wide64", exp_tail, -0.6935, 0.6935, 12)
    polynomial("exp32", exp_tail, -0.3468, 0.3468, 4)
    polynomial("exp64", exp_tail, -0.3468, 0.3468, 9)
    log_tail = tail(lambda f: mp.log(1 + f), [mpf(0), mpf(1), -half], 3)
    polynomial("log32", log_tail, -0.2932, 0.4146, 8)
    polynomial("log64", square(lambda s: (2 * mp.atanh(s) - 2 * s) / s**3), 1e-30, 0.02945, 7)
    sin_tail = square(tail(mp.sin, [mpf(0), mpf(1)], 3))
    polynomial("sin_wide64", sin_tail, 1e-30, 2.5, 7)
    polynomial("sin32", sin_tail, 1e-30, 0.62, 2)
    polynomial("sin64", sin_tail, 1e-30, 0.63, 5)
    cos_tail = square(tail(mp.cos, [mpf(1), mpf(0), -half], 4))
    polynomial("cos32", cos_tail, 1e-30, 0.62, 2)
    polynomial("cos64", cos_tail, 1e-30, 0.63, 5)
    rational("tanh32", square(lambda x: mp.tanh(x) / x), 1e-30, 81.5, 5, 4)
    atan_tail = square(tail(mp.atan, [mpf(0), mpf(1)], 3))
    polynomial("atan32", atan_tail, 1e-30, 0.1717, 4)
    polynomial("atan64", atan_tail, 1e-30, 0.1717, 10)
    asin_tail = square(tail(mp.asin, [mpf(0), mpf(1)], 3))
    polynomial("asin32", asin_tail, 1e-30, 0.25, 4)
    polynomial("asin64", asin_tail, 1e-30, 0.25, 11)
    rational("erf32", square(lambda x: mp.erf(x) / x), 1e-30, 15.5, 5, 5)
    polynomial("erf64", square(lambda x: mp.erf(x) / x), 1e-30, 1.0, 12)
    # Phi(-x) * exp(x**2 / 2), as far as Phi(-x) is no zero
    rational("normal_tail32", normal_tail, 0, 14.5, 4, 5)
    rational("normal_tail64", normal_tail, 0, 39, 10, 11)
    # log(erfc) on [1, 6] in the centred variable x - 3.5
    polynomial("erfc64", lambda u: mp.log(mp.erfc(u + mpf(7) / 2)), -2.5, 2.5, 24)
    # erfinv(x) / x in w = -log(1 - x**2), centred; in sqrt(w) where w is large
    polynomial("erfinv_near32", lambda u: inverse(u + 2.5), -2.4999999, 2.5, 9)
    polynomial("erfinv_far32", lambda u: inverse((u + 3) ** 2), -0.77, 1.2, 9)
    polynomial("erfinv_near64", lambda u: inverse(u + 3.125), -3.12499999, 3.125, 25)
    polynomial("erfinv_middle64", lambda u: inverse((u + 3.25) ** 2), -0.76, 0.76, 20)
    polynomial("erfinv_far64", lambda u: inverse((u + 5) ** 2), -1.01, 1.13, 19)
    polynomial("log_rest64", square(lambda s: (2 * mp.atanh(s) - 2 * s - 2 * s**3 / 3) / s**5),
               1e-20, 0.02945, 7)  # fmt: skip


def normal_tail(x: mpf) -> mpf:
    return mp.exp(x * x / 2) * mp.erfc(x / mp.sqrt(2)) / 2


def inverse(w: mpf) -> mpf:
    """erfinv(x) / x at x = sqrt(1 - exp(-w)); through erfc where 1 - x**2 is small."""
    x = mp.sqrt(-mp.expm1(-w))
    complement = mp.exp(-w) / (1 + x)  # 1 - x, without cancellation
    guess = mp.sqrt(w) * mpf(0.886) if w < 6 else mp.sqrt(w) - mpf(0.5)
    return mp.findroot(lambda y: mp.log(mp.erfc(y) / complement), guess) / x


def main() -> None:
    fit()
    lines = [
        '"""Coefficients for `loop.mathematics`, constant term first. Written by',
        '`tools/fit_mathematics.py`; do not edit."""',
        "",
        "TABLE: dict[str, tuple[float, ...]] = {",
    ]
    for name, values in TABLE.items():
        lines.append(f'    "{name}": (')
        lines.extend(f"        {value!r}," for value in values)
        lines.append("    ),")
    lines.append("}")
    target = Path(__file__).parents[1] / "tigon" / "loop" / "coefficients.py"
    write_file(target, ("\n".join(lines) + "\n").encode())


if __name__ == "__main__":
    main()
