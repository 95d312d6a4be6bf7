"""Local response normalisation, in blocks of pixels laid out as [channels][pixels].

Whatever the memory format, a block is copied to scratch in L1/L2, where neighbouring
channels are whole vectors apart, computed there, and copied back.
"""

__all__ = ["lrn", "lrn_dx"]

include "common.pxi"


cdef struct Job:
    const fc_tiles *tiles
    Py_ssize_t item
    View x, dy, y               # y: the result, y or dx
    fc_lrn constants
    bint gradient
    Py_ssize_t rows, columns    # of a plane; one row where planes lie in one piece
    Py_ssize_t blocks           # of a row
    size_t block_bytes


cdef inline bint in_one_piece(View *v) noexcept nogil:
    return v.step[2] == v.size[3] * v.step[3]


cdef void copy_block(Job *job, View *v, char *block, Py_ssize_t image, Py_ssize_t row,
                     Py_ssize_t column, Py_ssize_t pixels, bint back) noexcept nogil:
    cdef Py_ssize_t width = job.tiles.lrn_pixels
    cdef char *at = v.at + job.item * (
        image * v.step[0] + row * v.step[2] + column * v.step[3]
    )
    if back:
        job.tiles.copy(job.constants.channels, pixels, at, v.step[1], v.step[3],
                       block, width, 1)
        return
    if pixels < width:
        memset(block, 0, job.block_bytes)
    job.tiles.copy(job.constants.channels, pixels, block, width, 1, at, v.step[1], v.step[3])


cdef void block_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    cdef Job *job = <Job *>context
    cdef Py_ssize_t column = task % job.blocks * job.tiles.lrn_pixels
    cdef Py_ssize_t row = task // job.blocks % job.rows
    cdef Py_ssize_t image = task // job.blocks // job.rows
    cdef Py_ssize_t pixels = least(job.tiles.lrn_pixels, job.columns - column)
    cdef char *x = <char *>scratch
    cdef char *y = x + job.block_bytes
    cdef char *dy = y + job.block_bytes
    cdef char *work = dy + job.block_bytes
    copy_block(job, &job.x, x, image, row, column, pixels, False)
    if job.gradient:
        copy_block(job, &job.dy, dy, image, row, column, pixels, False)
        job.tiles.lrn_dx(&job.constants, dy, x, y, work)
    else:
        job.tiles.lrn(&job.constants, x, y, work)
    copy_block(job, &job.y, y, image, row, column, pixels, True)


cdef int normalise(Job *job, object x, object dy, object y, Py_ssize_t size, double alpha,
                   double beta, double k) except -1:
    cdef bint whole
    cdef size_t bordered
    borrow(x, False, &job.x)
    borrow(y, True, &job.y)
    job.tiles, job.item = tiles_of(&job.x), job.x.item
    whole = in_one_piece(&job.x) and in_one_piece(&job.y)
    job.gradient = dy is not None
    if job.gradient:
        borrow(dy, False, &job.dy)
        whole = whole and in_one_piece(&job.dy)
    if x.size == 0:
        return 0
    job.constants = fc_lrn(job.x.size[1], size, alpha / size, beta, k)
    job.rows, job.columns = job.x.size[2], job.x.size[3]
    if whole:
        job.rows, job.columns = 1, job.rows * job.columns
    job.blocks = ceil_div(job.columns, job.tiles.lrn_pixels)
    job.block_bytes = job.x.size[1] * job.tiles.lrn_pixels * job.item
    bordered = job.block_bytes + (size - 1) * job.tiles.lrn_pixels * job.item
    return run(block_task, job, job.x.size[0] * job.rows * job.blocks, x.size,
               3 * job.block_bytes + 2 * bordered)


def lrn(x, y, Py_ssize_t size, double alpha, double beta, double k):
    cdef Job job
    normalise(&job, x, None, y, size, alpha, beta, k)


def lrn_dx(dy, x, dx, Py_ssize_t size, double alpha, double beta, double k):
    cdef Job job
    normalise(&job, x, dy, dx, size, alpha, beta, k)
