"""The instruction set: found, limited, chosen at import; and the pool that runs tasks."""

import os

from cpython.pycapsule cimport PyCapsule_New

include "tiles.pxi"

__all__ = ["available_isas", "current_isa", "run_tasks", "use_isa", "vector_bytes", "workers"]

cdef enum:
    MOST_ISAS = 8

cdef const fc_tiles *_found[2 * MOST_ISAS]
cdef int _count = fc_find_tiles(_found, MOST_ISAS)
cdef fc_runtime _runtime

runtime = PyCapsule_New(&_runtime, FC_RUNTIME, NULL)


def available_isas():
    """Instruction sets that were built and run here, the best first, "scalar" last."""
    return tuple([_found[2 * i].isa.decode() for i in range(_count)])


def current_isa():
    """The instruction set that the compiled kernels use now."""
    return _runtime.tiles[0].isa.decode()


def use_isa(name):
    """Use another of the available instruction sets, in the whole process (for tests)."""
    isas = available_isas()
    if name not in isas:
        raise ValueError(f"use_isa: {name!r} cannot run here; use one of {isas}")
    i = isas.index(name)
    _runtime.tiles[0] = _found[2 * i]
    _runtime.tiles[1] = _found[2 * i + 1]


def vector_bytes():
    """Bytes of a vector of the current instruction set."""
    return _runtime.tiles[0].lanes * _runtime.tiles[0].item


def workers():
    """Worker threads that exist now; they sleep when idle."""
    return fc_workers()


cdef void call(void *context, Py_ssize_t index, void *scratch) noexcept nogil:
    with gil:
        job = <object>context
        try:
            job[0](index)
        except BaseException as error:
            job[1].append(error)


def run_tasks(task, Py_ssize_t count, int threads):
    """task(0) … task(count - 1), in Python, on the pool: for kernels that release the GIL."""
    errors = []
    context = (task, errors)
    cdef void *job = <void *>context
    cdef int failed
    with nogil:
        failed = fc_parallel(call, job, count, threads, 0)
    if failed:
        raise MemoryError("no memory for a thread's scratch")
    if errors:
        raise errors[0]


def _chosen(limit):
    """The best instruction set that is not above FASTCONV_MAX_ISA."""
    isas = available_isas()
    if not limit:
        return isas[0]
    known = ("avx512", "avx2", "sse2", "neon", "scalar")
    if limit not in known:
        raise ValueError(f"FASTCONV_MAX_ISA={limit!r} is unknown; use one of {known}")
    allowed = known[known.index(limit):]
    return next(isa for isa in isas if isa in allowed)


_runtime.parallel = fc_parallel
_runtime.take, _runtime.give = fc_take, fc_give
use_isa(_chosen(os.environ.get("FASTCONV_MAX_ISA", "")))
