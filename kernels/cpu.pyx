"""The instruction set: found, limited, chosen at import; and the pool that runs tasks."""

import os

from cpython.buffer cimport PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from numpy import ndarray

include "tiles.pxi"

__all__ = [
    "Steps", "WIDE_FMA", "available_isas", "current_isa", "run_words", "use_isa", "vector_bytes",
    "workers",
]

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


cdef class Steps:
    """Steps of kernels (step.pxi), one after another, without the GIL in between."""

    cdef fc_step *steps
    cdef Py_ssize_t count
    cdef list held

    def __cinit__(self, list steps):
        cdef Py_ssize_t i
        self.held, self.count = steps, len(steps)
        self.steps = <fc_step *>malloc(self.count * sizeof(fc_step))
        if self.steps == NULL:
            raise MemoryError(f"no memory for {self.count} kernel calls")
        for i in range(self.count):
            self.steps[i] = (<fc_step *><size_t>steps[i].address)[0]

    def __call__(self):
        cdef int failed = 0
        cdef Py_ssize_t i
        cdef fc_step *s
        with nogil:
            for i in range(self.count):
                s = &self.steps[i]
                if s.before != NULL:
                    s.before(s.memory)
                failed = fc_parallel(s.task, s.context, s.count, s.threads, s.scratch)
                if failed:
                    break
        if failed:
            raise MemoryError("no memory for the scratch of a kernel")

    def __dealloc__(self):
        free(self.steps)


cdef enum:
    MOST_WORDS = 128


cdef int64_t word_of(object value) except? -1:
    """An array's address, an integer, or the bits of a float."""
    cdef Py_buffer buffer
    cdef double number
    cdef int64_t word
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        number = value
        memcpy(&word, &number, sizeof(word))
        return word
    if not isinstance(value, ndarray):
        raise TypeError(f"a kernel takes arrays, integers and floats, not {type(value)}")
    PyObject_GetBuffer(value, &buffer, PyBUF_STRIDES)
    word = <int64_t>buffer.buf
    PyBuffer_Release(&buffer)  # the caller keeps the array
    return word


ctypedef int (*numba_function)(void **result, void **error, int64_t *words,
                               int64_t index) noexcept nogil

cdef struct NumbaJob:
    numba_function run
    int failed
    int64_t words[MOST_WORDS]


cdef void numba_task(void *context, Py_ssize_t index, void *scratch) noexcept nogil:
    cdef NumbaJob *job = <NumbaJob *>context
    cdef void *result
    cdef void *error
    if job.run(&result, &error, job.words, index):
        job.failed = 1


def run_words(size_t function, tuple arguments, Py_ssize_t units, Py_ssize_t count, int threads):
    """Tasks 0 … count - 1 of a function of Numba's, on the pool; whether one failed.

    Its words are: units, count, and the arguments, tuples of integers among them, 64 bits each.
    """
    cdef NumbaJob job
    cdef int n = 2, failed
    job.run, job.failed = <numba_function>function, 0
    job.words[0], job.words[1] = units, count
    for value in arguments:
        for part in value if isinstance(value, tuple) else (value,):
            if n == MOST_WORDS:
                raise ValueError(f"run_words: more than {MOST_WORDS} words")
            job.words[n] = word_of(part)
            n += 1
    with nogil:
        failed = fc_parallel(numba_task, &job, count, threads, 0)
    return failed or job.failed


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

# Whether a cycle is taken to hold two FMAs of 512 bits, in the instruction set of the start
WIDE_FMA = current_isa() == "avx512" and not fc_halves_avx512()
