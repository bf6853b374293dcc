"""Loops over arrays, compiled: what takes torch many calls, each with a cost of its own.

Numba finds a compiled loop on disk by its own file: who changes a function here that loops of other
files call deletes theirs (`__pycache__/*.nbi`).
"""

import functools
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

# Sums may be taken in another order, and products be fused: what vectors need. NaN stays NaN.
_FAST_MATH: Final = frozenset({"contract", "nsz", "reassoc"})

# Numbers in a vector: as AVX2 has them. For shorter ones the compiler divides it.
LANES: Final = 8
_FLOAT: Final = ir.FloatType()
_VECTOR: Final = ir.VectorType(_FLOAT, LANES)
_INT64: Final = ir.IntType(64)
# Outputs of a panel of weights; see tile.
PANEL: Final = 2 * LANES


def compiled(
    function: Callable[..., Any], *, fast_math: frozenset[str] = _FAST_MATH
) -> Callable[..., Any]:
    """Compiles at the first call; on disk, where that can be written, for the next process."""
    options: dict[str, Any] = {"nogil": True, "fastmath": set(fast_math), "error_model": "numpy"}
    try:
        loop: Callable[..., Any] = njit(cache=True, **options)(function)
    except RuntimeError:  # there is no folder for it
        loop = njit(**options)(function)
    return loop


_ONE: Final = np.float32(1.0)
_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(88.0)
_LOG2_E: Final = np.float32(1.4426950408889634)
# Their sum is ln 2; a whole number of up to 8 bits times the first is exact.
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
# Of (exp(x) - 1 - x) / x**2 for |x| up to ln 2 / 2: Cephes, expf.c.
_C0, _C1, _C2 = (
    np.float32(1.9875691500e-4),
    np.float32(1.3981999507e-3),
    np.float32(8.3334519073e-3),
)
_C3, _C4, _C5 = (
    np.float32(4.1665795894e-2),
    np.float32(1.6666665459e-1),
    np.float32(5.0000001201e-1),
)
_EXPONENT_BIAS, _EXPONENT_SHIFT = np.int32(127), np.int32(23)


def _exp(value: np.float32) -> np.float32:
    bounded = _LOWEST if value < _LOWEST else value
    bounded = _HIGHEST if bounded > _HIGHEST else bounded
    power = np.rint(bounded * _LOG2_E)
    x = bounded - power * _LN2_HIGH - power * _LN2_LOW
    series = ((((_C0 * x + _C1) * x + _C2) * x + _C3) * x + _C4) * x + _C5
    bits = np.int32((np.int32(power) + _EXPONENT_BIAS) << _EXPONENT_SHIFT)
    exponential: np.float32 = (series * x * x + x + _ONE) * bits.view(np.float32)
    return exponential


# The library's exponential is a call for each number; in a loop this one is vectors. Of values
# outside -87 to 88 it is that of the nearest within. Its subtractions are not to be reordered.
exp = compiled(_exp, fast_math=frozenset({"contract"}))


def _vector_at(builder: Any, data: Any, index: Any) -> Any:
    return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())


def _splat(builder: Any, number: Any) -> Any:
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, undefined, zeros)


def _tile(num_rows: int) -> Callable[..., None]:
    """Makes tile(x_TK, panels_MKC, outputs_TN, t, m, n): `num_rows` rows times one panel.

    From row t, with panel m, whose first input is the bias (K + 1), to the outputs from column n.
    All sums stay in registers, which no plain loop achieved.
    """

    def tile(_: Any, x: Any, panels: Any, outputs: Any, t: Any, m: Any, n: Any) -> Any:
        signature = types.void(x, panels, outputs, t, m, n)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x, panels, outputs = (
                context.make_array(kind)(context, builder, value)
                for kind, value in zip(signature.args[:3], arguments[:3], strict=True)
            )
            t, m, n = arguments[3:]

            def plus(index: Any, number: int) -> Any:
                return builder.add(index, ir.Constant(_INT64, number))

            def load_pair(data: Any, index: Any) -> list[Any]:
                places = [
                    _vector_at(builder, data, plus(index, lane)) for lane in range(0, PANEL, LANES)
                ]
                return [builder.load(place, align=4) for place in places]

            num_inputs = cgutils.unpack_tuple(builder, x.shape)[1]
            num_outputs = cgutils.unpack_tuple(builder, outputs.shape)[1]
            panel_size = builder.mul(plus(num_inputs, 1), ir.Constant(_INT64, PANEL))
            panel = builder.gep(panels.data, [builder.mul(m, panel_size)])
            rows = [builder.mul(plus(t, row), num_inputs) for row in range(num_rows)]
            bias = load_pair(panel, ir.Constant(_INT64, 0))
            sums = [[cgutils.alloca_once_value(builder, b) for b in bias] for _ in rows]
            with cgutils.for_range(builder, num_inputs, intp=_INT64) as loop:
                at = builder.mul(plus(loop.index, 1), ir.Constant(_INT64, PANEL))
                weights = load_pair(panel, at)
                for start, totals in zip(rows, sums, strict=True):
                    place = builder.gep(x.data, [builder.add(start, loop.index)])
                    value = _splat(builder, builder.load(place, align=4))
                    for weight, total in zip(weights, totals, strict=True):
                        product = builder.fmul(value, weight, flags=("contract",))
                        added = builder.fadd(builder.load(total), product, flags=("contract",))
                        builder.store(added, total)
            for row, totals in enumerate(sums):
                first = builder.add(builder.mul(plus(t, row), num_outputs), n)
                for number, total in enumerate(totals):
                    place = _vector_at(builder, outputs.data, plus(first, number * LANES))
                    builder.store(builder.load(total), place, align=4)
            return context.get_dummy_value()

        return signature, generate

    made: Callable[..., None] = intrinsic(tile)
    return made


# As many rows as a core with 16 registers has room for, and a single one.
TILE_ROWS: Final = 6
tile_of_rows = _tile(TILE_ROWS)
tile_of_row = _tile(1)


def _prefetch(_: Any, array: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = ir.IntType(8).as_pointer()
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), address)
        kinds = [ir.IntType(32)] * 3
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [address, *kinds]), "llvm.prefetch.p0"
        )
        to_write_near_data = [
            ir.Constant(kind, flag) for kind, flag in zip(kinds, (1, 3, 1), strict=True)
        ]
        builder.call(function, [place, *to_write_near_data])
        return context.get_dummy_value()

    return types.void(array, index), generate


# prefetch(array_N, n) asks for the number at n, soon to be written; n may lie behind the end.
prefetch: Final[Callable[..., None]] = intrinsic(_prefetch)


def _each_vector(
    context: Any, builder: Any, kinds: Any, arrays: Any, change: Callable[..., dict[int, Any]]
) -> None:
    """Goes along arrays of one length, a multiple of LANES: `change` gives new vectors by array."""
    views = [
        context.make_array(kind)(context, builder, array)
        for kind, array in zip(kinds, arrays, strict=True)
    ]
    (size,) = cgutils.unpack_tuple(builder, views[0].shape)
    zero, step = ir.Constant(_INT64, 0), ir.Constant(_INT64, LANES)
    with cgutils.for_range_slice(builder, zero, size, step, _INT64) as (index, _):
        places = [_vector_at(builder, view.data, index) for view in views]
        vectors = [builder.load(place, align=4) for place in places]
        for number, vector in change(*vectors).items():
            builder.store(vector, places[number], align=4)


def _multiply_add(builder: Any, x: Any, y: Any, z: Any) -> Any:
    return builder.fadd(builder.fmul(x, y, flags=("contract",)), z, flags=("contract",))


def _scan_step(_: Any, state: Any, b: Any, after: Any, decay: Any, gain: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        decay, gain = (_splat(builder, number) for number in arguments[3:])

        def change(state: Any, b: Any, _after: Any) -> dict[int, Any]:
            return {2: _multiply_add(builder, gain, b, builder.fmul(decay, state))}

        _each_vector(context, builder, signature.args[:3], arguments[:3], change)
        return context.get_dummy_value()

    return types.void(state, b, after, decay, gain), generate


def _scan_step_back(
    _: Any,
    after: Any,
    b: Any,
    c: Any,
    to_state: Any,
    to_b: Any,
    to_c: Any,
    to_y: Any,
    gain: Any,
    decay: Any,
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to_y, gain, decay = (_splat(builder, number) for number in arguments[6:])
        zero = ir.Constant(_VECTOR, [0.0] * LANES)
        totals = [cgutils.alloca_once_value(builder, zero) for _ in range(2)]

        def change(
            after: Any, b: Any, c: Any, to_state: Any, to_b: Any, to_c: Any
        ) -> dict[int, Any]:
            to_after = _multiply_add(builder, to_y, c, to_state)
            for total, factor in zip(totals, (b, after), strict=True):
                added = _multiply_add(builder, to_after, factor, builder.load(total))
                builder.store(added, total)
            return {
                3: builder.fmul(to_after, decay),
                4: _multiply_add(builder, to_after, gain, to_b),
                5: _multiply_add(builder, to_y, after, to_c),
            }

        _each_vector(context, builder, signature.args[:6], arguments[:6], change)
        sums = [_sum_of_lanes(builder, builder.load(total)) for total in totals]
        return context.make_tuple(builder, signature.return_type, sums)

    kinds = (after, b, c, to_state, to_b, to_c, to_y, gain, decay)
    return types.UniTuple(types.float32, 2)(*kinds), generate


def _sum_of_lanes(builder: Any, vector: Any) -> Any:
    lanes = [builder.extract_element(vector, ir.Constant(_INT64, n)) for n in range(LANES)]
    return functools.reduce(builder.fadd, lanes)


# One row of a state and one token, in arrays N of a multiple of LANES. Vectors by hand: for plain
# loops over so many arrays the compiler would have to prove that none overlap.
# scan_step(state_N, b_N, after_N, decay, gain) fills `after_N`.
# scan_step_back(after_N, b_N, c_N, to_state_N, to_b_N, to_c_N, to_y, gain, decay) makes of the
# gradient in `to_state_N` that of the state before, adds to those of b and c, and returns that of
# the gain and, summed, that of the state after the token times this state.
scan_step: Final[Callable[..., None]] = intrinsic(_scan_step)
scan_step_back: Final[Callable[..., tuple[np.float32, np.float32]]] = intrinsic(_scan_step_back)
