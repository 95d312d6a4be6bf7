"""Register tiles: what the innermost loops of the Numba kernels are made of.

A tile is rows × vectors of sums that stay in registers.  Numba has no type for it and LLVM
makes none from loops over scalars (it keeps sums in memory: a sixth of the speed), so each
function here has two forms.  The Python body is its definition, on a tile that is an array
[row, vector, lane]; it is what runs with ``NUMBA_DISABLE_JIT=1``.  The function named in
``@in_registers`` writes the same as vector instructions of LLVM.

Arrays are given as pointers (``pointer``): they cost no counting of references, and places in
them are not checked.  Rows and columns are tuples: their lengths are the tile's, known when a
kernel is compiled.

Seen in the assembly of ``multiply_add`` (``inspect_asm``, AVX-512, 8 × 3): 24 vfmadd231ps,
3 loads and 8 broadcasts per step, no spills.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import make_array


__all__ = [
    "BYTES",
    "SUMS",
    "TARGET",
    "add",
    "aligned",
    "begin_places",
    "beside",
    "divide",
    "evens",
    "fetch",
    "following",
    "improve",
    "keep",
    "lanes_of",
    "larger",
    "largest",
    "load_rows",
    "load_tile",
    "move",
    "multiply_add",
    "multiply_spans",
    "no_sums",
    "odds",
    "pick",
    "pointer",
    "rectify",
    "shifted",
    "spread",
    "store_places",
    "store_some",
    "store_tile",
    "transpose",
    "transpose_some",
]

_TRIPLE, TARGET, _FEATURES = cpu_target.target_context.codegen().magic_tuple()


def _vector_bytes() -> int:
    """Of the instruction set for which Numba compiles (see NUMBA_CPU_NAME)."""
    for feature, size in (("+avx512f", 64), ("+avx2", 32)):
        if feature in _FEATURES.split(","):
            return size
    return 16  # SSE2, NEON


BYTES = _vector_bytes()
# Half of the registers or more hold sums, the others what is multiplied.
SUMS = 24 if BYTES == 64 or _TRIPLE.startswith(("aarch64", "arm64")) else 12

_CONTRACT = ("contract",)  # a product and a sum may become one FMA
_INT32 = ir.IntType(32)


class TileType(types.Type):  # type: ignore[misc]
    """rows × vectors of numbers of a type, or of integers of its size."""

    def __init__(self, real: Any, rows: int, vectors: int) -> None:
        self.real, self.rows, self.vectors = real, rows, vectors
        super().__init__(name=f"Tile({real}, {rows}, {vectors})")


def _vector(number: Any) -> Any:
    bits = number.bitwidth
    if isinstance(number, types.Integer):
        return ir.VectorType(ir.IntType(bits), 8 * BYTES // bits)
    return ir.VectorType(ir.FloatType() if bits == 32 else ir.DoubleType(), 8 * BYTES // bits)


@register_model(TileType)
class TileModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, tile: Any) -> None:
        super().__init__(manager, tile, ir.ArrayType(_vector(tile.real), tile.rows * tile.vectors))


def in_registers(write):
    """Decorate a definition with the function that writes it in LLVM's instructions.

    ``write(*types)`` returns the type of the result and a function (builder, values) → value,
    in which arrays are pointers to their first elements.
    """

    def decorate(definition):
        if config.DISABLE_JIT:
            return definition
        names = ", ".join(definition.__code__.co_varnames[: definition.__code__.co_argcount])

        def typed(typing_context, *arguments):
            result, instructions = write(*arguments)

            def generate(context, builder, signature, values):
                pointers = [
                    make_array(kind)(context, builder, value).data
                    if isinstance(kind, types.Array)
                    else value
                    for kind, value in zip(signature.args, values, strict=True)
                ]
                made = instructions(builder, *pointers)
                return context.get_dummy_value() if made is None else made

            return result(*arguments), generate

        # Numba reads the names of the arguments from the signature
        scope = {"typed": typed}
        exec(f"def {definition.__name__}(context, {names}): return typed(context, {names})", scope)
        made = intrinsic(scope[definition.__name__])
        made.definition = definition
        return made

    return decorate


def _load(builder, pointer, place, vector):
    where = builder.bitcast(builder.gep(pointer, [place]), vector.as_pointer())
    return builder.load(where, align=_align(vector))


def _store(builder, value, pointer, place):
    where = builder.bitcast(builder.gep(pointer, [place]), value.type.as_pointer())
    builder.store(value, where, align=_align(value.type))


def _align(vector: Any) -> int:
    """Bytes of an element: arrays are aligned to these."""
    element = vector.element
    if isinstance(element, ir.IntType):
        return int(element.width) // 8
    return 8 if isinstance(element, ir.DoubleType) else 4


def _shuffle(builder, a, b, lanes):
    mask = ir.Constant(ir.VectorType(_INT32, len(lanes)), list(lanes))
    return builder.shuffle_vector(a, b, mask)


def _broadcast(builder, scalar, vector):
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, scalar, ir.Constant(_INT32, 0))
    return _shuffle(builder, first, nothing, [0] * vector.count)


def _add_product(builder, tile, index, a, b):
    product = builder.fmul(a, b, flags=_CONTRACT)
    total = builder.fadd(builder.extract_value(tile, index), product, flags=_CONTRACT)
    return builder.insert_value(tile, total, index)


def _places(builder, tuple_, shift, count):
    return [builder.add(builder.extract_value(tuple_, i), shift) for i in range(count)]


def _tile_of(array, rows, columns):
    return TileType(array.dtype, len(rows), len(columns))


def _shape(tile):
    return [(r, v) for r in range(tile.rows) for v in range(tile.vectors)]


def _rows_of(builder, tile, at, row_step):
    """Where each vector of a tile [row][vector][lane] in memory begins."""
    lanes = _vector(tile.real).count
    for r, v in _shape(tile):
        row = builder.mul(row_step, ir.Constant(row_step.type, r))
        yield builder.add(builder.add(at, row), ir.Constant(at.type, v * lanes))


def _write_pointer(array):
    return types.CPointer(array.dtype), lambda builder, first: first


@in_registers(_write_pointer)
def pointer(array):
    """The first element of an array in one piece, which somebody else must keep (see ``keep``)."""
    return array


def _write_aligned(array):
    word = ir.IntType(64)

    def instructions(builder, first):
        place = builder.add(builder.ptrtoint(first, word), word(63))
        return builder.inttoptr(builder.and_(place, word(-64)), first.type)

    return types.CPointer(array.dtype), instructions


@in_registers(_write_aligned)
def aligned(array):
    """The first cache line in an array: vectors that lie across two take twice as long to load."""
    return array


def _write_keep(arrays):
    return types.void, lambda builder, tuple_: None


@in_registers(_write_keep)
def keep(arrays):
    """What a kernel allocated lives until here."""


def _write_lanes_of(x):
    lanes = ir.Constant(ir.IntType(64), _vector(x.dtype).count)
    return types.int64, lambda builder, pointer: lanes


@in_registers(_write_lanes_of)
def lanes_of(x):
    """How many numbers of this kind are in a vector."""
    return BYTES // x.itemsize


def _write_beside(x, numbers):
    lanes, size = _vector(x.dtype).count, len(numbers)

    def instructions(builder, pointer, numbers):
        made = ir.Constant(ir.ArrayType(ir.IntType(64), size), ir.Undefined)
        for i in range(size):
            number = builder.extract_value(numbers, i)
            made = builder.insert_value(made, builder.mul(number, number.type(lanes)), i)
        return made

    return types.UniTuple(types.int64, size), instructions


@in_registers(_write_beside)
def beside(x, numbers):
    """Where the vectors with these numbers begin, one behind the other."""
    return tuple(number * (BYTES // x.itemsize) for number in numbers)


def _write_pick(array, places, first):
    def instructions(builder, pointer, where, shift):
        found = ir.Constant(ir.ArrayType(ir.IntType(64), len(places)), ir.Undefined)
        for i, place in enumerate(_places(builder, where, shift, len(places))):
            found = builder.insert_value(found, builder.load(builder.gep(pointer, [place])), i)
        return found

    return types.UniTuple(types.int64, len(places)), instructions


@in_registers(_write_pick)
def pick(array, places, first):
    """array[first + p] for each of the places, as a tuple."""
    return tuple(int(array[first + p]) for p in places)


def _write_no_sums(array, rows, columns):
    tile = _tile_of(array, rows, columns)
    model = ir.ArrayType(_vector(tile.real), tile.rows * tile.vectors)
    return tile, lambda builder, *values: ir.Constant(model, None)


@in_registers(_write_no_sums)
def no_sums(array, rows, columns):
    """Zeros of the dtype of an array."""
    return np.zeros((len(rows), len(columns), BYTES // array.itemsize), array.dtype)


def _write_spread(array, places, rows, columns):
    tile = _tile_of(array, rows, columns)
    vector = _vector(tile.real)

    def instructions(builder, pointer, places, rows, columns):
        made = ir.Constant(ir.ArrayType(vector, tile.rows * tile.vectors), ir.Undefined)
        for r in range(tile.rows):
            scalar = builder.load(builder.gep(pointer, [builder.extract_value(places, r)]))
            value = _broadcast(builder, scalar, vector)
            for v in range(tile.vectors):
                made = builder.insert_value(made, value, r * tile.vectors + v)
        return made

    return tile, instructions


@in_registers(_write_spread)
def spread(array, places, rows, columns):
    """Sums that begin with array[places[r]] all along row r."""
    tile = np.empty((len(rows), len(columns), BYTES // array.itemsize), array.dtype)
    for r in range(len(rows)):
        tile[r] = array[places[r]]
    return tile


def _write_load_tile(array, at, row_step, rows, columns):
    tile = _tile_of(array, rows, columns)
    vector = _vector(tile.real)

    def instructions(builder, pointer, at, row_step, rows, columns):
        made = ir.Constant(ir.ArrayType(vector, tile.rows * tile.vectors), ir.Undefined)
        for i, place in enumerate(_rows_of(builder, tile, at, row_step)):
            made = builder.insert_value(made, _load(builder, pointer, place, vector), i)
        return made

    return tile, instructions


@in_registers(_write_load_tile)
def load_tile(array, at, row_step, rows, columns):
    """Sums to go on from: row r is in one piece at ``at + r · row_step``."""
    width = len(columns) * (BYTES // array.itemsize)
    read = [array[at + r * row_step :][:width] for r in range(len(rows))]
    return np.array(read).reshape(len(rows), len(columns), -1)


def _write_store_tile(tile, array, at, row_step):
    def instructions(builder, sums, pointer, at, row_step):
        for i, place in enumerate(_rows_of(builder, tile, at, row_step)):
            _store(builder, builder.extract_value(sums, i), pointer, place)

    return types.void, instructions


@in_registers(_write_store_tile)
def store_tile(tile, array, at, row_step):
    """Put row r of the sums, in one piece, at ``at + r · row_step``."""
    for r, row in enumerate(tile):
        array[at + r * row_step :][: row.size] = row.ravel()


def _write_multiply_add(tile, a, rows, shift, b, columns, at):
    vector = _vector(tile.real)

    def instructions(builder, sums, a, rows, shift, b, columns, at):
        right = [
            _load(builder, b, place, vector)
            for place in _places(builder, columns, at, tile.vectors)
        ]
        for r, place in enumerate(_places(builder, rows, shift, tile.rows)):
            left = _broadcast(builder, builder.load(builder.gep(a, [place])), vector)
            for v in range(tile.vectors):
                sums = _add_product(builder, sums, r * tile.vectors + v, left, right[v])
        return sums

    return tile, instructions


@in_registers(_write_multiply_add)
def multiply_add(tile, a, rows, shift, b, columns, at):
    """tile[r, v, :] += a[rows[r] + shift] · b[columns[v] + at : … + lanes]"""
    for r, row in enumerate(rows):
        for v, column in enumerate(columns):
            tile[r, v] += a[row + shift] * b[column + at :][: tile.shape[2]]
    return tile


def _write_multiply_spans(tile, a, rows, shift, b, columns, at, count):
    vector = _vector(tile.real)

    def instructions(builder, sums, a, rows, shift, b, columns, at, count):
        keep = _first_lanes(builder, vector, count)

        def spans(pointer, tuple_, shift, size):
            for place in _places(builder, tuple_, shift, size):
                yield _load_some(builder, pointer, place, vector, keep)

        right = list(spans(b, columns, at, tile.vectors))
        for r, left in enumerate(spans(a, rows, shift, tile.rows)):
            for v in range(tile.vectors):
                sums = _add_product(builder, sums, r * tile.vectors + v, left, right[v])
        return sums

    return tile, instructions


@in_registers(_write_multiply_spans)
def multiply_spans(tile, a, rows, shift, b, columns, at, count):
    """tile[r, v, l] += a[rows[r] + shift + l] · b[columns[v] + at + l] for the lanes l < count"""
    n = min(count, tile.shape[2])
    for r, row in enumerate(rows):
        for v, column in enumerate(columns):
            tile[r, v, :n] += a[row + shift :][:n] * b[column + at :][:n]
    return tile


def _write_rectify(tile):
    vector = _vector(tile.real)
    nothing = ir.Constant(vector, None)

    def instructions(builder, sums):
        for i in range(tile.rows * tile.vectors):
            value = builder.extract_value(sums, i)
            below = builder.fcmp_ordered("<", value, nothing)
            sums = builder.insert_value(sums, builder.select(below, nothing, value), i)
        return sums

    return tile, instructions


@in_registers(_write_rectify)
def rectify(tile):
    """0 where a sum is below it; NaN stays NaN."""
    tile[tile < 0] = 0
    return tile


def _write_each(name):
    """Element by element, of two tiles."""

    def write(tile, other):
        def instructions(builder, a, b):
            for i in range(tile.rows * tile.vectors):
                pair = builder.extract_value(a, i), builder.extract_value(b, i)
                a = builder.insert_value(a, getattr(builder, name)(*pair), i)
            return a

        return tile, instructions

    return write


@in_registers(_write_each("fadd"))
def add(tile, other):
    """tile + other"""
    return tile + other


@in_registers(_write_each("fdiv"))
def divide(tile, other):
    """tile / other"""
    return tile / other


def _write_load_rows(x, rows, shift, count):
    tile = TileType(x.dtype, len(rows), 1)
    vector = _vector(x.dtype)

    def instructions(builder, x, rows, shift, count):
        keep = _first_lanes(builder, vector, count)
        made = ir.Constant(ir.ArrayType(vector, tile.rows), ir.Undefined)
        for r, place in enumerate(_places(builder, rows, shift, tile.rows)):
            made = builder.insert_value(made, _load_some(builder, x, place, vector, keep), r)
        return made

    return tile, instructions


@in_registers(_write_load_rows)
def load_rows(x, rows, shift, count):
    """A vector of each row: x[rows[r] + shift + l] for the lanes l < count, else 0."""
    return _rows_from(x, rows, shift, count)


def _rows_from(x, rows, shift, count):
    lanes = BYTES // x.itemsize
    tile = np.zeros((len(rows), 1, lanes), x.dtype)
    for r, row in enumerate(rows):
        tile[r, 0, : min(count, lanes)] = x[row + shift :][: min(count, lanes)]
    return tile


def _nan_or_larger(builder, new, old):
    """Where a number wins over another: it is larger, or the first NaN."""
    # seen in the assembly: vcmpnleps, vcmpordps, vandps; ordered comparisons alone would be three
    larger_or_nan = builder.fcmp_unordered(">", new, old)
    return builder.and_(larger_or_nan, builder.fcmp_ordered("ord", old, old))


def _largest(builder, numbers, *vectors):
    """Of each lane; NaN if one is: all bits set."""
    # vmaxps gives its second operand if one is NaN: the last's NaNs stay, those of the others
    # are noticed by one comparison.  Two selects would be made one, on three comparisons;
    # llvm.maximum LLVM 15 cannot do.
    best, last = vectors[0], len(vectors) - 1
    for vector in vectors[1:]:
        best = builder.select(builder.fcmp_ordered(">", best, vector), best, vector)
    nan = builder.fcmp_unordered("uno", vectors[0], vectors[last - 1])
    whole = _vector(_integer_as(numbers))
    found = builder.or_(builder.bitcast(best, whole), builder.sext(nan, whole))
    return builder.bitcast(found, best.type)


def _write_larger(tile, other):
    def instructions(builder, old, new):
        for i in range(tile.rows * tile.vectors):
            pair = builder.extract_value(old, i), builder.extract_value(new, i)
            old = builder.insert_value(old, _largest(builder, tile.real, *pair), i)
        return old

    return tile, instructions


@in_registers(_write_larger)
def larger(tile, other):
    """The larger of each pair, NaN if one is."""
    return np.maximum(tile, other)


def _write_largest(tile, second, third):
    def instructions(builder, first, second, third):
        for i in range(tile.rows * tile.vectors):
            three = [builder.extract_value(tile, i) for tile in (first, second, third)]
            first = builder.insert_value(first, _largest(builder, tile.real, *three), i)
        return first

    return tile, instructions


@in_registers(_write_largest)
def largest(tile, second, third):
    """The largest of each three, NaN if one is: in four instructions, not twice three."""
    return np.maximum(np.maximum(tile, second), third)


def _write_fetch(x, at, columns):
    byte, lanes, vectors = ir.IntType(8).as_pointer(), _vector(x.dtype).count, len(columns)

    def instructions(builder, x, at, columns):
        kind = ir.FunctionType(ir.VoidType(), [byte, _INT32, _INT32, _INT32])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        reads, all_caches, data = (ir.Constant(_INT32, value) for value in (0, 3, 1))
        for v in range(vectors):
            where = builder.gep(x, [builder.add(at, at.type(v * lanes))])
            builder.call(prefetch, [builder.bitcast(where, byte), reads, all_caches, data])

    return types.void, instructions


@in_registers(_write_fetch)
def fetch(x, at, columns):
    """Ask for vectors from ``at`` on, which may lie outside x: a hint, which reads nothing."""


def _write_every_second(first):
    def write(pair):
        tile = TileType(pair.real, 1, 1)

        def instructions(builder, pair):
            a, b = builder.extract_value(pair, 0), builder.extract_value(pair, pair.type.count - 1)
            second = _shuffle(builder, a, b, range(first, 2 * a.type.count, 2))
            made = ir.Constant(ir.ArrayType(a.type, 1), ir.Undefined)
            return builder.insert_value(made, second, 0)

        return tile, instructions

    return write


@in_registers(_write_every_second(0))
def evens(pair):
    """Every second number of two vectors, from the first; of a single vector, twice."""
    return np.resize(pair, (1, 1, 2 * pair.shape[2]))[:, :, ::2]


@in_registers(_write_every_second(1))
def odds(pair):
    """The others."""
    return np.resize(pair, (1, 1, 2 * pair.shape[2]))[:, :, 1::2]


def _write_following(tile):
    def instructions(builder, tile):
        a = builder.extract_value(tile, 0)
        return builder.insert_value(tile, _shuffle(builder, a, a, [*range(1, a.type.count), 0]), 0)

    return tile, instructions


@in_registers(_write_following)
def following(tile):
    """Of a vector: in each lane what the next one had, in the last what the first had."""
    return np.roll(tile, -1)


def _integer_as(real):
    return types.int32 if real.bitwidth == 32 else types.int64


def _narrow(builder, integer, kind):
    return integer if integer.type == kind else builder.trunc(integer, kind)


def _write_begin_places(best, where):
    places = TileType(_integer_as(best.real), best.rows, 1)
    vector = _vector(places.real)

    def instructions(builder, best, where):
        made = ir.Constant(ir.ArrayType(vector, places.rows), ir.Undefined)
        for r in range(places.rows):
            place = _narrow(builder, builder.extract_value(where, r), vector.element)
            made = builder.insert_value(made, _broadcast(builder, place, vector), r)
        return made

    return places, instructions


@in_registers(_write_begin_places)
def begin_places(best, where):
    """Places, one for each number of a tile: where[r] all along row r."""
    return np.array(where).reshape(-1, 1, 1) + np.zeros(best.shape, np.int64)


def _write_improve(best, found, new, places):
    both = types.Tuple((best, found))

    def instructions(builder, best, found, new, places):
        for r in range(both[0].rows):
            old, number = builder.extract_value(best, r), builder.extract_value(new, r)
            wins = _nan_or_larger(builder, number, old)
            best = builder.insert_value(best, builder.select(wins, number, old), r)
            before, here = builder.extract_value(found, r), builder.extract_value(places, r)
            found = builder.insert_value(found, builder.select(wins, here, before), r)
        pair = ir.Constant(ir.LiteralStructType([best.type, found.type]), ir.Undefined)
        return builder.insert_value(builder.insert_value(pair, best, 0), found, 1)

    return both, instructions


@in_registers(_write_improve)
def improve(best, found, new, places):
    """Where a new number is larger than the best, or the first NaN, it and its place are taken."""
    wins = (new > best) | (np.isnan(new) & ~np.isnan(best))
    return np.where(wins, new, best), np.where(wins, places, found)


def _write_shifted(places, first, step):
    vector = _vector(places.real)

    def instructions(builder, places, first, step):
        first, step = (_narrow(builder, number, vector.element) for number in (first, step))
        lane = ir.Constant(vector, list(range(vector.count)))
        by = builder.mul(lane, _broadcast(builder, step, vector))
        by = builder.add(by, _broadcast(builder, first, vector))
        for r in range(places.type.count):
            value = builder.add(builder.extract_value(places, r), by)
            places = builder.insert_value(places, value, r)
        return places

    return places, instructions


@in_registers(_write_shifted)
def shifted(places, first, step):
    """places[r, l] + first + l · step"""
    return places + first + step * np.arange(places.shape[2])


def _write_store_places(places, array, at, row_step):
    vector = ir.VectorType(_INT32, _vector(places.real).count)

    def instructions(builder, tile, pointer, at, row_step):
        for r, place in enumerate(_rows_of(builder, places, at, row_step)):
            value = _narrow(builder, builder.extract_value(tile, r), vector)
            _store(builder, value, pointer, place)

    return types.void, instructions


@in_registers(_write_store_places)
def store_places(places, array, at, row_step):
    """Put row r of the places, in one piece, at ``at + r · row_step`` of an int32 array."""
    for r, row in enumerate(places):
        array[at + r * row_step :][: row.size] = row.ravel()


def _write_store_some(tile, y, to, count):
    def instructions(builder, sums, y, to, count):
        value = builder.extract_value(sums, 0)
        if isinstance(tile.real, types.Integer):
            value = _narrow(builder, value, ir.VectorType(_INT32, value.type.count))
        _store_some(builder, value, y, to, _first_lanes(builder, value.type, count))

    return types.void, instructions


@in_registers(_write_store_some)
def store_some(tile, y, to, count):
    """y[to + l] = the first vector of a tile (of places: as int32), for the lanes l < count"""
    n = min(count, tile.shape[2])
    y[to : to + n] = tile[0, 0, :n]


def _masked(builder, name, result, vector, *given):
    letter = "i" if isinstance(vector.element, ir.IntType) else "f"
    kind = f"v{vector.count}{letter}{8 * _align(vector)}.p0"
    function = ir.FunctionType(result, [value.type for value in given])
    name = f"llvm.masked.{name}.{kind}"
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), given)


def _load_some(builder, pointer, place, vector, keep):
    where = builder.bitcast(builder.gep(pointer, [place]), vector.as_pointer())
    align, nothing = ir.Constant(_INT32, _align(vector)), ir.Constant(vector, None)
    return _masked(builder, "load", vector, vector, where, align, keep, nothing)


def _store_some(builder, value, pointer, place, keep):
    vector = value.type
    where = builder.bitcast(builder.gep(pointer, [place]), vector.as_pointer())
    align = ir.Constant(_INT32, _align(vector))
    _masked(builder, "store", ir.VoidType(), vector, value, where, align, keep)


def _first_lanes(builder, vector, count):
    """The mask of the lanes below a count."""
    # integers as wide as the numbers: one comparison, where 64 bits would take two for floats
    narrow = ir.IntType(8 * _align(vector))
    lane = ir.Constant(ir.VectorType(narrow, vector.count), list(range(vector.count)))
    if narrow.width < 64:
        most = count.type(vector.count)
        count = builder.select(builder.icmp_signed("<", count, most), count, most)
        count = builder.trunc(count, narrow)
    return builder.icmp_signed("<", lane, _broadcast(builder, count, lane.type))


def _write_move(x, at, y, to, count):
    vector = _vector(x.dtype)

    def instructions(builder, x, at, y, to, count):
        keep = _first_lanes(builder, vector, count)
        _store_some(builder, _load_some(builder, x, at, vector, keep), y, to, keep)

    return types.void, instructions


@in_registers(_write_move)
def move(x, at, y, to, count):
    """y[to + l] = x[at + l] for the lanes l < count"""
    n = min(count, BYTES // x.itemsize)
    y[to : to + n] = x[at : at + n]


def _along(builder, start, step, count):
    return [builder.add(start, builder.mul(step, ir.Constant(step.type, i))) for i in range(count)]


def _transposed(builder, rows):
    """log2(size) rounds: rows i and i + size/2 zipped are rows 2i and 2i + 1 of the next."""
    size = len(rows)
    low = [i // 2 + i % 2 * size for i in range(size)]
    high = [i + size // 2 for i in low]
    for _ in range(size.bit_length() - 1):
        pairs = list(zip(rows[: size // 2], rows[size // 2 :], strict=True))
        rows = [_shuffle(builder, *pair, half) for pair in pairs for half in (low, high)]
    return rows


def _write_transpose(a, at, a_step, b, to, b_step):
    vector = _vector(a.dtype)

    def instructions(builder, a, at, a_step, b, to, b_step):
        rows = [
            _load(builder, a, place, vector) for place in _along(builder, at, a_step, vector.count)
        ]
        places = _along(builder, to, b_step, vector.count)
        for row, place in zip(_transposed(builder, rows), places, strict=True):
            _store(builder, row, b, place)

    return types.void, instructions


@in_registers(_write_transpose)
def transpose(a, at, a_step, b, to, b_step):
    """b[to + j · b_step + i] = a[at + i · a_step + j] for as many i and j as a vector has lanes"""
    lanes = BYTES // a.itemsize
    for i in range(lanes):
        for j in range(lanes):
            b[to + j * b_step + i] = a[at + i * a_step + j]


def _write_transpose_some(a, at, a_step, b, to, b_step, high, wide):
    vector = _vector(a.dtype)

    def instructions(builder, a, at, a_step, b, to, b_step, high, wide):
        def some(count, keep):
            """For each row the mask, empty from `count` on."""
            none = ir.Constant(keep.type, None)
            for i in range(vector.count):
                inside = builder.icmp_signed("<", ir.Constant(count.type, i), count)
                yield builder.select(inside, keep, none)

        masks = some(high, _first_lanes(builder, vector, wide))
        rows = [
            _load_some(builder, a, place, vector, keep)
            for place, keep in zip(_along(builder, at, a_step, vector.count), masks, strict=True)
        ]
        masks = some(wide, _first_lanes(builder, vector, high))
        places = _along(builder, to, b_step, vector.count)
        for row, place, keep in zip(_transposed(builder, rows), places, masks, strict=True):
            _store_some(builder, row, b, place, keep)

    return types.void, instructions


@in_registers(_write_transpose_some)
def transpose_some(a, at, a_step, b, to, b_step, high, wide):
    """``transpose`` for i < high and j < wide alone; nothing else is read or written."""
    lanes = BYTES // a.itemsize
    for i in range(min(high, lanes)):
        for j in range(min(wide, lanes)):
            b[to + j * b_step + i] = a[at + i * a_step + j]
