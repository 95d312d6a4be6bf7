# What every compiled module shares: the tile table, the pool, arrays as C sees them.
# (Included, not cimported: a .pxd of a package outside its folder is not found.)

from cpython.buffer cimport (
    PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
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


# An (N, C, H, W) array, or one with fewer axes: where it is, steps in elements.
cdef struct View:
    char *at
    Py_ssize_t size[4]
    Py_ssize_t step[4]


cdef inline int borrow(object array, bint writable, View *view) except -1:
    """The memory of an array that the caller keeps alive until the kernel returns."""
    cdef Py_buffer buffer
    cdef int i
    PyObject_GetBuffer(array, &buffer, PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))
    view.at = <char *>buffer.buf
    for i in range(buffer.ndim):
        view.size[i] = buffer.shape[i]
        view.step[i] = buffer.strides[i] // buffer.itemsize
    PyBuffer_Release(&buffer)
    return 0


cdef inline const fc_tiles *tiles_of(object array):
    return runtime.tiles[array.dtype.itemsize == 8]


cdef int run(fc_task task, void *context, Py_ssize_t count, Py_ssize_t work,
             size_t scratch) except -1:
    """Do `count` tasks on as many threads as `work` (about nanoseconds) is worth."""
    cdef int threads = 1
    cdef int failed
    if work > THREADED_WORK:
        threads = get_num_threads()
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
