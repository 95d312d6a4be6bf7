"""How many threads: affinity, quotas of control groups, environment, limits set in Python."""

from __future__ import annotations

import importlib
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fastconv import kernels
from fastconv.kernels import registry
from fastconv.kernels.dims import ConvDims


t = importlib.import_module("fastconv.kernels.threads")  # kernels.threads is the class in it


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of 64 processors without quota, environment or limits."""
    for name in ("OMP_NUM_THREADS", "FASTCONV_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(t.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(t, "_quota", lambda root, membership: None)
    monkeypatch.setattr(t, "_limit", 0)
    monkeypatch.setattr(t, "_pool_limit", 0)  # threadpoolctl puts back a number, not "none"
    t.cpu_count.cache_clear()
    yield monkeypatch
    t.cpu_count.cache_clear()


def files(root: Path, **contents: str) -> None:
    for name, text in contents.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def quota(root: Path, membership: str) -> float | None:
    (root / "membership").write_text(membership)
    return t._quota(root, root / "membership")


# --- control groups --------------------------------------------------------------------


def test_v2_quota_of_the_own_group(tmp_path):
    files(tmp_path, app__cpu_dot_max="150000 100000\n")
    assert quota(tmp_path, "0::/app\n") == 1.5


def test_v2_group_without_limit(tmp_path):
    files(tmp_path, app__cpu_dot_max="max 100000\n")
    assert quota(tmp_path, "0::/app\n") is None


def test_v2_limit_of_a_parent_counts(tmp_path):
    files(
        tmp_path,
        a__cpu_dot_max="300000 100000\n",
        a__b__cpu_dot_max="max 100000\n",
        a__b__c__cpu_dot_max="800000 100000\n",
    )
    assert quota(tmp_path, "0::/a/b/c\n") == 3


def test_v2_inside_a_container_the_limit_is_at_the_root(tmp_path):
    files(tmp_path, cpu_dot_max="200000 100000\n")
    assert quota(tmp_path, "0::/\n") == 2


def test_v1_quota(tmp_path):
    files(
        tmp_path,
        cpu__docker__x__cpu_dot_cfs_quota_us="250000\n",
        cpu__docker__x__cpu_dot_cfs_period_us="100000\n",
    )
    membership = "5:memory:/docker/y\n4:cpu,cpuacct:/docker/x\n"
    assert quota(tmp_path, membership) == 2.5


def test_v1_without_limit_is_minus_one(tmp_path):
    files(tmp_path, cpu__cpu_dot_cfs_quota_us="-1\n", cpu__cpu_dot_cfs_period_us="100000\n")
    assert quota(tmp_path, "4:cpu:/\n") is None


def test_v1_limit_of_a_parent_counts(tmp_path):
    files(
        tmp_path,
        cpu__a__cpu_dot_cfs_quota_us="100000",
        cpu__a__cpu_dot_cfs_period_us="100000",
        cpu__a__b__cpu_dot_cfs_quota_us="400000",
        cpu__a__b__cpu_dot_cfs_period_us="100000",
    )
    assert quota(tmp_path, "4:cpu:/a/b\n") == 1


@pytest.mark.parametrize("text", ["", "nonsense\n", "100000 0\n", "max\n"])
def test_files_that_say_nothing(tmp_path, text):
    files(tmp_path, app__cpu_dot_max=text)
    assert quota(tmp_path, "0::/app\n") is None


def test_no_control_groups(tmp_path):
    assert t._quota(tmp_path / "none", tmp_path / "nothing") is None


# --- the count ------------------------------------------------------------------------------


def test_affinity(machine):
    assert t.cpu_count() == 64


@pytest.mark.parametrize(("granted", "count"), [(1.5, 1), (0.2, 1), (2.0, 2), (3.99, 3), (80, 64)])
def test_quota_is_rounded_down_but_at_least_one(machine, granted, count):
    machine.setattr(t, "_quota", lambda root, membership: granted)
    assert t.cpu_count() == count


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "FASTCONV_NUM_THREADS"])
@pytest.mark.parametrize(
    ("text", "count"), [("3", 3), (" 5 ", 5), ("4,2,1", 4), ("", 64), ("100", 64)]
)
def test_environment(machine, name, text, count):
    machine.setenv(name, text)
    assert t.cpu_count() == count


def test_the_least_wins(machine):
    machine.setenv("OMP_NUM_THREADS", "8")
    machine.setenv("FASTCONV_NUM_THREADS", "6")
    machine.setattr(t, "_quota", lambda root, membership: 7.0)
    assert t.cpu_count() == 6


@pytest.mark.parametrize("text", ["0", "-2", "two", "1.5", ",4"])
def test_bad_environment(machine, text):
    machine.setenv("OMP_NUM_THREADS", text)
    if text == ",4":  # the first level is left open
        assert t.cpu_count() == 64
        return
    message = rf"OMP_NUM_THREADS='{text}' must be a positive whole number, e\.g\. OMP_NUM_THR"
    with pytest.raises(ValueError, match=message):
        t.cpu_count()


def test_a_very_large_machine(machine):
    machine.setattr(t.os, "sched_getaffinity", lambda _: set(range(1000)), raising=False)
    assert t.cpu_count() == t.MAX_THREADS


# --- limits set in Python ---------------------------------------------------------------------


def test_set_num_threads(machine):
    kernels.set_num_threads(5)
    assert kernels.get_num_threads() == 5
    kernels.set_num_threads(1000)
    assert kernels.get_num_threads() == 64


def test_threads_nest_and_cannot_raise_the_limit(machine):
    assert kernels.get_num_threads() == 64
    with kernels.threads(4):
        assert kernels.get_num_threads() == 4
        with kernels.threads(2):
            assert kernels.get_num_threads() == 2
        with kernels.threads(9):
            assert kernels.get_num_threads() == 4
        assert kernels.get_num_threads() == 4
    assert kernels.get_num_threads() == 64


def test_threads_ends_with_an_error(machine):
    with pytest.raises(KeyError), kernels.threads(3):
        raise KeyError
    assert kernels.get_num_threads() == 64


def test_one_object_may_be_entered_twice(machine):
    limit = kernels.threads(3)
    with limit, limit:
        assert kernels.get_num_threads() == 3
    assert kernels.get_num_threads() == 64


def test_threads_and_set_num_threads_together(machine):
    kernels.set_num_threads(3)
    with kernels.threads(8):
        assert kernels.get_num_threads() == 3
    with kernels.threads(2):
        assert kernels.get_num_threads() == 2


def test_threads_is_for_this_thread_alone(machine):
    seen = []
    with kernels.threads(2):
        other = threading.Thread(target=lambda: seen.append(kernels.get_num_threads()))
        other.start()
        other.join()
    assert seen == [64]


def test_threadpoolctl_limits_before_the_first_count():
    pytest.importorskip("threadpoolctl")
    if registry.backend_why_not("cython"):
        pytest.skip(registry.backend_why_not("cython"))
    code = (
        "import threadpoolctl, fastconv as fc\n"
        "with threadpoolctl.threadpool_limits(1): print(fc.get_num_threads())"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"


def test_threadpoolctl_limits_and_puts_back(machine):
    """Its limit ends with its block, whatever other limits were in force meanwhile."""
    threadpoolctl = pytest.importorskip("threadpoolctl")
    if registry.backend_why_not("cython"):
        pytest.skip(registry.backend_why_not("cython"))
    machine.setattr(t, "_pool_limit", 0)
    assert kernels.get_num_threads() == 64
    with threadpoolctl.threadpool_limits(2, user_api="fastconv"):
        assert kernels.get_num_threads() == 2
    assert kernels.get_num_threads() == 64
    with kernels.threads(1), threadpoolctl.threadpool_limits(3, user_api="fastconv"):
        assert kernels.get_num_threads() == 1
    assert kernels.get_num_threads() == 64


@pytest.mark.parametrize("verb", [kernels.set_num_threads, kernels.threads])
def test_bad_counts(machine, verb):
    for n in (0, -1):
        with pytest.raises(ValueError, match=rf"{verb.__name__}: n must be at least 1, got {n}"):
            verb(n)
    for n in (1.0, "2", None, True):
        with pytest.raises(TypeError, match=rf"{verb.__name__}: n must be an int, got {n!r}"):
            verb(n)


# --- Ctrl-C while threads are counted -----------------------------------------------------------

CONV = {
    "a walk": ((2, 16, 20, 20), (32, 16, 3, 3), 1, "direct"),
    "few filters": ((8, 1, 28, 28), (6, 1, 5, 5), 1, "direct"),
    "depthwise": ((2, 32, 30, 30), (32, 1, 3, 3), 32, "direct"),
    "linear": ((64, 400, 1, 1), (120, 400, 1, 1), 1, "direct"),
    "pointwise": ((2, 64, 30, 30), (64, 64, 1, 1), 1, "direct"),
    "unrolled": ((2, 16, 20, 20), (32, 16, 3, 3), 1, "im2col"),
    "Winograd": ((4, 32, 40, 40), (32, 32, 3, 3), 1, "winograd"),
}


@pytest.fixture
def interrupted(monkeypatch):
    """As if Ctrl-C came while a compiled kernel asks how many threads it may use."""

    def interrupt():
        raise KeyboardInterrupt

    for name in ("conv2d_direct", "conv2d_im2col", "conv2d_winograd", "pool2d_direct"):
        module = pytest.importorskip(f"fastconv.kernels.{name}")
        monkeypatch.setattr(module, "get_num_threads", interrupt)


@pytest.mark.parametrize("verb", ["conv2d", "conv2d_dx", "conv2d_dw"])
@pytest.mark.parametrize("layer", CONV)
def test_an_interrupt_reaches_the_caller(interrupted, layer, verb):
    x_shape, w_shape, groups, algorithm = CONV[layer]
    dims = ConvDims.of(x_shape, w_shape, groups=groups)
    x, w, dy = (np.ones(shape, "f4") for shape in (x_shape, w_shape, dims.y_shape))
    how = {"groups": groups, "backend": "cython", "algorithm": algorithm}
    calls = {
        "conv2d": lambda: kernels.conv2d(x, w, **how),
        "conv2d_dx": lambda: kernels.conv2d_dx(dy, w, x_shape, **how),
        "conv2d_dw": lambda: kernels.conv2d_dw(dy, x, w_shape, **how),
    }
    with pytest.raises(KeyboardInterrupt):
        calls[verb]()


def test_an_interrupt_reaches_the_caller_of_pooling(interrupted):
    x, y = np.ones((2, 3, 300, 300), "f4"), np.ones((2, 3, 150, 150), "f4")  # worth threads
    for call in (
        lambda: kernels.max_pool2d(x, 2, backend="cython"),
        lambda: kernels.max_pool2d_dx(y, np.zeros(y.shape, "i4"), x.shape, backend="cython"),
        lambda: kernels.avg_pool2d_dx(y, x.shape, 2, backend="cython"),
    ):
        with pytest.raises(KeyboardInterrupt):
            call()
