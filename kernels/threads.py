"""How many threads a kernel may use: what the machine, its limits and the user allow.

The count is the least of the processors this process may run on, the CPU quota of its
control group (rounded down, at least 1), ``OMP_NUM_THREADS``, ``FASTCONV_NUM_THREADS``
and the limit set here or through threadpoolctl.
"""

from __future__ import annotations

import os
import sys
from contextvars import ContextVar, Token
from functools import cache
from pathlib import Path


__all__ = ["cpu_count", "get_num_threads", "set_num_threads", "threads"]

MAX_THREADS = 256

_limit = 0  # of the process, by set_num_threads; 0: none
_pool_limit = 0  # of the process, by threadpoolctl; 0: none
_context_limit: ContextVar[int] = ContextVar("fastconv_threads", default=0)


@cache
def cpu_count() -> int:
    """Threads worth starting here, before any limit set in Python."""
    affinity = getattr(os, "sched_getaffinity", None)
    counts = [len(affinity(0)) if affinity else os.cpu_count() or 1, MAX_THREADS]
    quota = _quota(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    if quota is not None:
        counts.append(max(1, int(quota)))
    counts += [n for n in map(_from_environment, ("OMP_NUM_THREADS", "FASTCONV_NUM_THREADS")) if n]
    return min(counts)


def _from_environment(name: str) -> int | None:
    """A positive count, None where unset (OMP's list form counts by its first level)."""
    text = os.environ.get(name, "").partition(",")[0].strip()
    if not text:
        return None
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"{name}={text!r} must be a positive whole number, e.g. {name}=2")
    return int(text)


def _quota(root: Path, membership: Path) -> float | None:
    """CPUs' worth of time that the control group (v2 or v1) grants, None if unlimited.

    The limit may be set on the group itself or on any of its parents.
    """
    found = []
    for group in _groups(root, membership):
        text = _read(group / "cpu.max").split()
        if len(text) != 2:
            text = [_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")]
        quota, period = text
        if quota.strip().isdigit() and period.strip().isdigit() and int(period):
            found.append(int(quota) / int(period))
    return min(found, default=None)


def _groups(root: Path, membership: Path) -> list[Path]:
    groups = [root, root / "cpu", root / "cpu,cpuacct"]
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        base = root / "cpu" if "cpu" in controllers.split(",") else root
        if not controllers or "cpu" in controllers.split(","):
            own = base / path.lstrip("/")
            groups += [g for g in (own, *own.parents) if base in g.parents]
    return groups


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # no such control group here: no limit from it
        return ""


_registered = False


def _register() -> None:
    """Let threadpoolctl, once somebody has imported it, find and limit the pool here."""
    global _registered
    _registered = True
    import threadpoolctl

    class FastconvController(threadpoolctl.LibController):  # type: ignore[misc]
        user_api = internal_api = "fastconv"
        filename_prefixes = ("cpu.",)  # the extension module that owns the pool
        check_symbols = ("fc_parallel",)

        def get_num_threads(self) -> int:
            # what threadpoolctl puts back afterwards: no limit but its own may be in it
            return _pool_limit or cpu_count()

        def set_num_threads(self, num_threads: int) -> None:
            global _pool_limit
            _pool_limit = num_threads

        def get_version(self) -> None:
            return None

        def set_additional_attributes(self) -> None:
            pass

    threadpoolctl.register(FastconvController)


if "threadpoolctl" in sys.modules:  # a limit may be set before the first count
    _register()


def get_num_threads() -> int:
    """The number of threads that the next kernel call may use."""
    if not _registered and "threadpoolctl" in sys.modules:
        _register()
    count = cpu_count()
    for limit in (_limit, _pool_limit, _context_limit.get()):
        if limit and limit < count:
            count = limit
    return count


def set_num_threads(n: int) -> None:
    """Let kernels use at most `n` threads, in the whole process.

    More than the machine, its quota and ``OMP_NUM_THREADS`` allow is not granted.

    Raises
    ------
    TypeError, ValueError
        If `n` is not a positive integer.
    """
    global _limit
    _limit = _checked("set_num_threads", n)


class threads:
    """At most `n` threads inside a ``with`` block, for this thread (or task) alone.

    >>> with threads(1):
    ...     get_num_threads()
    1
    """

    def __init__(self, n: int) -> None:
        self._n = _checked("threads", n)
        self._tokens: list[Token[int]] = []

    def __enter__(self) -> threads:
        outer = _context_limit.get()
        self._tokens.append(_context_limit.set(min(self._n, outer) if outer else self._n))
        return self

    def __exit__(self, *exc_info: object) -> None:
        _context_limit.reset(self._tokens.pop())


def _checked(verb: str, n: int) -> int:
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"{verb}: n must be an int, got {n!r}")
    if n < 1:
        raise ValueError(f"{verb}: n must be at least 1, got {n}")
    return n
