# What every compiled module shares: the tile table, the pool, arrays as C sees them.
# (Included, not cimported: a .pxd of a package outside its folder is not found.)

from cpython.buffer cimport (
    PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastconv.kernels import cpu as _cpu
from fastconv.kernels.threads import get_num_threads

include "tiles.pxi"

cdef fc_runtime *runtime = <fc_runtime *>PyCapsule_GetPointer(_cpu.runtime, FC_RUNTIME)

cdef enum:
    # Waking a worker costs 5 to 10 us; a job under 20 us is done sooner by its caller.
    THREADED_WORK = 20000


# One axis of a walk: dims.TapAxis.
cdef struct TapAxis:
    Py_ssize_t size_in, size_out, first, step, taps, dilation
    Py_ssize_t k_first, k_step, out_first, out_step


# A forward walk: dims.words.
cdef struct Geometry:
    Py_ssize_t images, channels, filters, groups
    TapAxis h, w


cdef inline Geometry geometry_of(object dims):
    """All sizes at once: of some twenty attributes each call would pay for each."""
    return (<Geometry *>PyBytes_AS_STRING(dims.words))[0]


# An (N, C, H, W) array, or one with fewer axes: where it is, steps in elements.
cdef struct View:
    char *at
    Py_ssize_t item
    Py_ssize_t size[4]
    Py_ssize_t step[4]


cdef inline int borrow(object array, bint writable, View *view) except -1:
    """The memory of an array that the caller keeps alive until the kernel returns."""
    cdef Py_buffer buffer
    cdef int i, shift
    PyObject_GetBuffer(array, &buffer, PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))
    view.at, view.item = <char *>buffer.buf, buffer.itemsize
    shift = 3 if view.item == 8 else 2 if view.item == 4 else 0     # (a division takes 15 ns)
    for i in range(buffer.ndim):
        view.size[i] = buffer.shape[i]
        view.step[i] = buffer.strides[i] >> shift
    PyBuffer_Release(&buffer)
    return 0


cdef inline const fc_tiles *tiles_of(View *view) noexcept nogil:
    return runtime.tiles[view.item == 8]


cdef inline Py_ssize_t numbers_of(View *view) noexcept:
    """Of an array with four axes."""
    return view.size[0] * view.size[1] * view.size[2] * view.size[3]


cdef inline Py_ssize_t threads_for(Py_ssize_t work) except -1:
    """As many as `work` (about nanoseconds) is worth."""
    return get_num_threads() if work > THREADED_WORK else 1


cdef int run(fc_task task, void *context, Py_ssize_t count, Py_ssize_t work,
             size_t scratch) except -1:
    """Do `count` tasks on as many threads as `work` (about nanoseconds) is worth."""
    cdef int threads = <int>threads_for(work)
    cdef int failed
    with nogil:
        failed = runtime.parallel(task, context, count, threads, scratch)
    if failed:
        raise MemoryError(f"no memory for {threads} x {scratch} bytes of scratch")
    return 0


cdef inline char *take(size_t bytes) except NULL:
    """Memory for one call, to be given back with the same size."""
    cdef void *memory = runtime.take(bytes)
    if memory == NULL:
        raise MemoryError(f"no memory for {bytes} bytes of packed arrays")
    return <char *>memory


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b


cdef inline Py_ssize_t least(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a if a < b else b


cdef inline Py_ssize_t most(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a if a > b else b


cdef inline size_t aligned(size_t size) noexcept nogil:
    """The next multiple of a cache line: parts of scratch do not share one."""
    return (size + 63) & ~<size_t>63
