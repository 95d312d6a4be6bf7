"""What is Numba's alone: tiles, compiling and keeping what was compiled, threads without the pool.

That the kernels give the right results is tested where all ways are.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import types as python_types
from pathlib import Path

import numpy as np
import pytest
from kernel_support import INPUT_MEMORIES, INTERPRETED, integers, laid_out


numba = pytest.importorskip("numba")
if INTERPRETED:
    pytest.skip("nothing is compiled with NUMBA_DISABLE_JIT=1", allow_module_level=True)

from fastconv import kernels  # noqa: E402
from fastconv.kernels import numba_options, numba_tasks, numba_tiles, pool2d_numba  # noqa: E402
from fastconv.kernels.numba_denormals import flushed  # noqa: E402
from fastconv.kernels.numba_options import FLAT, INT, REAL, Kernel, flat  # noqa: E402
from fastconv.kernels.numba_tiles import (  # noqa: E402
    BYTES,
    SUMS,
    add,
    begin_places,
    divide,
    evens,
    fetch,
    following,
    improve,
    keep,
    lanes_of,
    larger,
    largest,
    load_rows,
    load_tile,
    move,
    multiply_add,
    multiply_spans,
    no_sums,
    odds,
    pick,
    pointer,
    rectify,
    shifted,
    spread,
    store_places,
    store_some,
    store_tile,
    transpose,
    transpose_some,
)


HERE = Path(__file__).parent
ROWS, COLUMNS, ONE, PAIR = (0, 40, 7), (0, 130), (0,), (0, 1)


# --- tiles: compiled they do what their definitions do --------------------------------------


def products(a, b, out, places):
    x, y, n = pointer(a), pointer(b), lanes_of(pointer(a))
    tile = no_sums(x, ROWS, COLUMNS)
    for i in range(9):
        tile = multiply_add(tile, x, ROWS, i, y, COLUMNS, 3 * i)
    store_tile(tile, pointer(out), 0, 2 * n)
    keep((a, b, out))


def spans(a, b, out, places):
    x, y, n = pointer(a), pointer(b), lanes_of(pointer(a))
    tile = spread(x, pick(pointer(places), ROWS, 2), ROWS, COLUMNS)
    for count in range(n + 3):
        tile = multiply_spans(tile, x, ROWS, count, y, COLUMNS, 5, count)
    store_tile(rectify(tile), pointer(out), 3, 2 * n)
    keep((a, b, out, places))


def continued(a, b, out, places):
    x, y = pointer(a), pointer(out)
    tile = load_tile(x, 11, 50, ROWS, COLUMNS)
    tile = add(tile, load_tile(x, 3, 0, ROWS, COLUMNS))
    store_tile(divide(tile, load_tile(x, 70, 9, ROWS, COLUMNS)), y, 1, 45)
    keep((a, b, out))


def maxima(a, b, out, places):
    x, n = pointer(a), lanes_of(pointer(a))
    best = load_rows(x, ROWS, 2, n - 1)
    found, corners = begin_places(best, (5, 6, 7)), begin_places(best, (100, 200, 300))
    for t in range(6):
        new = load_rows(x, ROWS, 3 * t, n - 1)
        best, found = improve(best, found, new, shifted(corners, t, 0))
    store_tile(best, pointer(out), 0, n)
    store_tile(larger(best, load_rows(x, ROWS, 90, n)), pointer(out), 3 * n, n)
    store_places(found, pointer(places), 0, n)
    store_some(shifted(found, 1, 3), pointer(places), 3 * n, n - 1)
    store_some(best, pointer(out), 6 * n, n - 1)
    keep((a, b, out, places))


def moved(a, b, out, places):
    x, y, n = pointer(a), pointer(out), lanes_of(pointer(a))
    for count in range(n + 2):
        move(x, 17 * count, y, 18 * count, count)
    transpose(x, 3, 19, y, 500, 21)
    transpose_some(x, 1, 23, y, 1000, 27, n - 1, n + 4)
    transpose_some(x, 1, 23, y, 2000, 27, n + 4, n - 2)
    keep((a, b, out))


def halves(a, b, out, places):
    x, y, n = pointer(a), pointer(out), lanes_of(pointer(a))
    pair = load_tile(x, 13, 0, ONE, PAIR)
    store_tile(evens(pair), y, 0, 0)
    store_tile(odds(pair), y, n, 0)
    store_tile(following(evens(pair)), y, 2 * n, 0)
    one = load_tile(x, 13, 0, ONE, ONE)
    store_tile(evens(one), y, 3 * n, 0)
    store_tile(odds(one), y, 4 * n, 0)
    keep((a, b, out))


def largest_of_three(a, b, out, places):
    x, y, n = pointer(a), pointer(out), lanes_of(pointer(a))
    fetch(x, 1 << 40, PAIR)  # reads nothing: it is no place at all
    for t in range(30):  # with NaNs in each of the three
        first, second = load_tile(x, 20 + t, 0, ONE, PAIR), load_tile(x, 30, 0, ONE, PAIR)
        store_tile(largest(first, second, load_tile(x, 45 - t, 0, ONE, PAIR)), y, 2 * n * t, 0)
    keep((a, b, out))


def interpreted(function):
    """The function over the definitions of the tile functions."""
    defined = {
        name: getattr(numba_tiles, name).definition
        for name in function.__code__.co_names
        if hasattr(getattr(numba_tiles, name, None), "definition")
    }
    return python_types.FunctionType(function.__code__, {**globals(), **defined})


@pytest.mark.parametrize(
    "program", [products, spans, continued, maxima, moved, halves, largest_of_three]
)
@pytest.mark.parametrize("special", [False, True], ids=["numbers", "with NaN"])
def test_tiles_are_compiled_as_defined(program, special, dtype):
    rng = np.random.default_rng(0)
    a, b = rng.integers(1, 9, 900).astype(dtype), rng.integers(-9, 9, 900).astype(dtype)
    if special:
        a[[20, 45, 46, 100, 300]] = np.nan, -np.inf, np.nan, np.inf, np.nan
    got, want = np.full(4000, -1, dtype), np.full(4000, -1, dtype)
    places, wanted = (np.arange(200, dtype=np.int32 if program is maxima else int) for _ in "ab")
    with np.errstate(all="ignore"):
        interpreted(program)(a, b, want, wanted)
    numba.njit(program)(a, b, got, places)
    assert (want != -1).any()
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(places, wanted)


def test_sums_of_the_largest_tile_stay_in_registers():
    """As many FMAs as there are sums, each on a whole vector, and none of them in memory."""
    if "+fma" not in numba_tiles._FEATURES.split(","):
        pytest.skip("this processor has no FMA, or Numba does not use it")
    lanes = BYTES // 4
    vectors = 3 if SUMS == 24 else 2
    rows = tuple(97 * r for r in range(SUMS // vectors))
    columns = tuple(lanes * v for v in range(vectors))

    @numba.njit(fastmath={"contract"})
    def product(a, b, out, depth):
        tile = no_sums(pointer(a), rows, columns)
        for i in range(depth):
            tile = multiply_add(tile, pointer(a), rows, i, pointer(b), columns, i * 64)
        store_tile(tile, pointer(out), 0, 64)
        keep((a, b, out))

    floats = np.ones(2000, np.float32)
    product(floats, floats, floats.copy(), 3)
    (assembly,) = product.inspect_asm().values()
    register = {64: "%zmm", 32: "%ymm"}[BYTES]
    fused = [line for line in assembly.splitlines() if "vfmadd" in line]
    assert fused
    assert len(fused) % SUMS == 0
    assert all(line.count(register) == 3 or "(%r" in line for line in fused)
    loops = [block for block in assembly.split("\n.L") if "vfmadd" in block]
    assert not [line for block in loops for line in block.splitlines() if "(%rsp)" in line]


@pytest.mark.parametrize("memory", INPUT_MEMORIES)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 7, 1, 3), (3, 1, 2, 2), (2, 5, 1, 1)])
def test_flat_memory(shape, memory):
    a = laid_out(integers(0, shape, "f4"), memory)
    one, steps = flat(a)
    assert one.ndim == 1
    assert one.flags.c_contiguous
    assert np.shares_memory(one, a)
    n, c, h, w = np.indices(shape)
    at = steps.at + n * steps.n + c * steps.c + h * steps.h + w * steps.w
    np.testing.assert_array_equal(one[at], a)


@pytest.mark.parametrize(
    "kernel, shape", [(2, (3, 88, 32, 32)), (3, (1, 30, 95, 95)), (3, (9, 173, 13, 13))]
)
def test_pooling_of_more_than_caches_hold(kernel, shape, dtype):
    """Memory is asked for ahead of its use, also of what lies behind the array."""
    x = integers(0, shape, dtype)
    assert x.size > pool2d_numba.FAR
    got, want = (kernels.max_pool2d(x, kernel, stride=2, backend=b) for b in ("numba", "numpy"))
    np.testing.assert_array_equal(got, want)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_an_interrupt_leaves_denormals_as_they_were():
    tiny = np.full(64, 1e-41, np.float32)
    with flushed():
        pass
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for i in range(300):
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 2e-5 + i % 50 * 1e-6)
                while True:
                    with flushed():
                        pass
            assert (tiny * np.float32(1) != 0).all()
    finally:
        signal.signal(signal.SIGALRM, before)


# --- compiling --------------------------------------------------------------------------------


def halve(x, y, factor, steps, first, last):
    for i in range(first, last):
        y[i] = x[i] * factor + steps


def refuse(x, y, factor, steps, first, last):
    if first >= 0:
        raise ValueError("no memory, say")


def kernel_of(function):
    return Kernel(function, (FLAT, FLAT, REAL, INT))


@pytest.fixture
def without_pool(monkeypatch):
    monkeypatch.setattr(numba_tasks, "cpu", None)


@pytest.fixture(params=["pool", "Python's threads"])
def threads(request, monkeypatch):
    if request.param == "pool":
        if numba_tasks.cpu is None:
            pytest.skip("the compiled pool is not built")
    else:
        request.getfixturevalue("without_pool")
    monkeypatch.setattr(numba_tasks, "get_num_threads", lambda: 5)


def test_a_kernel_gets_its_arguments_and_every_unit_once(threads, dtype):
    x, y = np.arange(1000, dtype=dtype), np.full(1000, np.nan, dtype)
    numba_tasks.run(kernel_of(halve), 1000, 1e9, x, y, 0.5, -3)
    np.testing.assert_array_equal(y, x / 2 - 3)


def test_a_kernel_without_units(threads):
    y = np.full(3, 7.0)
    numba_tasks.run(kernel_of(halve), 0, 0.0, y, y, 1.0, 1)
    assert (y == 7).all()


def test_a_kernel_that_fails_is_an_error(threads):
    x = np.ones(8)
    with pytest.raises(MemoryError, match=r"test_numba\.refuse: no memory for the scratch of 5 th"):
        numba_tasks.run(kernel_of(refuse), 8, 1e9, x, x, 1.0, 1)


def test_long_compiling_is_told(monkeypatch, capsys):
    x = np.ones(8)
    monkeypatch.setattr(numba_options, "NOTICE", 0.0)
    numba_tasks.run(kernel_of(halve), 8, 0.0, x, x, 1.0, 1)
    told = capsys.readouterr().err
    assert "fastconv: Numba compiles test_numba.halve for float64, once ..." in told
    assert "fastconv: ... done in " in told
    monkeypatch.setattr(numba_options, "NOTICE", 60.0)
    numba_tasks.run(kernel_of(halve), 8, 0.0, x, x, 1.0, 1)
    assert not capsys.readouterr().err


def test_where_no_folder_can_be_written_it_compiles_all_the_same(monkeypatch):
    whole = numba.njit

    def njit(*arguments, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return whole(*arguments, **options)

    monkeypatch.setattr(numba, "njit", njit)
    x, y = np.arange(5.0), np.empty(5)
    numba_tasks.run(kernel_of(halve), 5, 0.0, x, y, 2.0, 1)
    np.testing.assert_array_equal(y, 2 * x + 1)


def test_a_lock_of_another_user_is_no_hindrance(monkeypatch):
    whole = Path.open

    def denied(path, *arguments, **options):
        if path.suffix == ".lock":
            raise PermissionError(path)
        return whole(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", denied)
    x, y = np.arange(5.0), np.empty(5)
    numba_tasks.run(kernel_of(halve), 5, 0.0, x, y, 2.0, 1)
    np.testing.assert_array_equal(y, 2 * x + 1)


def test_other_arguments_are_refused(threads):
    x = np.ones(8)
    with pytest.raises(TypeError, match=r"a kernel takes arrays, .* not .*float3"):
        numba_tasks.run(kernel_of(halve), 8, 0.0, x, x, np.float32(1), 1)


def test_where_no_thread_can_be_started_the_caller_works_alone(without_pool, monkeypatch):
    class Exhausted:
        def submit(self, *arguments):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(numba_tasks, "get_num_threads", lambda: 5)
    monkeypatch.setattr(numba_tasks, "_executor", Exhausted)
    x, y = np.arange(1000.0), np.empty(1000)
    numba_tasks.run(kernel_of(halve), 1000, 1e9, x, y, 0.5, -3)
    np.testing.assert_array_equal(y, x / 2 - 3)


START = """
import json, sys
import numpy as np
from fastconv import kernels
from fastconv.kernels import conv2d_numba_db
print("ready", flush=True)
sys.stdin.readline()
for dtype in ("f4", "f8"):
    dy = np.arange(24, dtype=dtype).reshape(1, 2, 3, 4)
    assert kernels.conv2d_db(dy, backend="numba").tolist() == [66, 210]
stats = [code.stats for code in conv2d_numba_db.sum_filters._kept]
hits, misses = (sum(sum(getattr(s, what).values()) for s in stats)
                for what in ("cache_hits", "cache_misses"))
print(json.dumps([hits, misses]))
"""


@pytest.mark.skipif(numba_options.fcntl is None, reason="no file locks here: each compiles")
def test_of_processes_that_start_together_one_compiles(tmp_path):
    """… each kernel, and whoever comes later loads it."""

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", START],
            cwd=HERE,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def counts(processes):
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        told = [process.communicate(timeout=240)[0] for process in processes]
        assert [process.returncode for process in processes] == [0] * len(processes)
        return np.sum([json.loads(text) for text in told], axis=0).tolist()

    assert counts([start() for _ in range(4)]) == [6, 2]  # hits, misses; two dtypes
    assert counts([start()]) == [2, 0]
    assert len(list(tmp_path.rglob("*sum_filters*.nbc"))) == 2


# --- without the compiled parts, and without compiling --------------------------------------------


def test_without_anything_compiled(run_script):
    told = run_script("numba_alone.py")
    assert told.strip().endswith("all is well")


def test_python_itself_runs_the_kernels(run_script):
    """The same tests, on small cases, with NUMBA_DISABLE_JIT=1."""
    tests = {
        "test_conv2d.py": ("conv2d", "conv2d_dx", "conv2d_dw", "conv2d_db"),
        "test_pool2d.py": ("max_pool2d", "max_pool2d_dx", "avg_pool2d", "avg_pool2d_dx"),
        "test_lrn.py": ("lrn",),
        "test_elementwise.py": ("relu_and_its_gradient", "dropout", "loss", "update"),
    }
    names = [f"{file}::test_{name}" for file, found in tests.items() for name in found]
    options = ("-q", "-x", "-k", "numba and float32", "-p", "no:cacheprovider")
    told = run_script("-m", "pytest", *options, *names, NUMBA_DISABLE_JIT="1")
    passed = int(told.rpartition(" passed")[0].split()[-1])
    assert passed > 500
