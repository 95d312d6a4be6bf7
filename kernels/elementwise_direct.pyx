"""Activations, dropout, loss and update: one pass over memory each.

Arrays of a call lie in one piece and in the same order, so they are rows of numbers,
cut into blocks of which a task's few fit in L2.
"""

__all__ = ["dropout", "relu", "relu_dx", "sgd_update", "softmax_cross_entropy"]

include "common.pxi"

from libc.stdint cimport int64_t

cdef enum:
    BLOCK = 1 << 14             # numbers of a task


cdef inline char *memory_of(object array, bint writable=False) except? NULL:
    """Where an array lies that the caller keeps alive until the kernel returns."""
    cdef Py_buffer buffer
    PyObject_GetBuffer(array, &buffer, PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))
    PyBuffer_Release(&buffer)
    return <char *>buffer.buf


# ---- one number after another ----

cdef enum Function:
    RELU, RELU_DX, DROPOUT

cdef struct Job:
    const fc_tiles *tiles
    Function function
    Py_ssize_t size
    char *a
    char *b
    char *y
    double p


cdef void block_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    cdef Job *job = <Job *>context
    cdef Py_ssize_t first = task * BLOCK, n = least(BLOCK, job.size - first)
    cdef Py_ssize_t at = first * job.tiles.item
    if job.function == RELU:
        job.tiles.relu(n, job.a + at, job.y + at)
    elif job.function == RELU_DX:
        job.tiles.relu_dx(n, job.a + at, job.b + at, job.y + at)
    else:
        job.tiles.dropout(n, job.a + at, job.b + at, job.y + at, job.p)


cdef inline const fc_tiles *tiles_for(object array):
    return runtime.tiles[array.itemsize == 8]


cdef int each(Function function, object a, object b, object y, double p) except -1:
    cdef Job job
    job.tiles, job.function, job.p = tiles_for(a), function, p
    job.size = a.size
    job.a, job.y = memory_of(a), memory_of(y, True)
    job.b = NULL if b is None else memory_of(b)
    return run(block_task, &job, ceil_div(job.size, BLOCK), job.size // 4, 0)


def relu(x, y):
    each(RELU, x, None, y, 0)


def relu_dx(dy, y, dx):
    each(RELU_DX, dy, y, dx, 0)


def dropout(x, chance, y, double p):
    each(DROPOUT, x, chance, y, p)


# ---- loss ----

cdef struct LossJob:
    const fc_tiles *tiles
    Py_ssize_t rows, classes, together      # rows of a task
    char *scores
    char *dscores
    const int64_t *label
    double *loss                            # [rows]


cdef void loss_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    cdef LossJob *job = <LossJob *>context
    cdef Py_ssize_t first = task * job.together, row, at
    for row in range(first, least(first + job.together, job.rows)):
        at = row * job.classes * job.tiles.item
        job.loss[row] = job.tiles.cross_entropy(
            job.classes, job.label[row], 1.0 / job.rows, job.scores + at, job.dscores + at
        )


def softmax_cross_entropy(scores, labels, dscores, losses):
    cdef LossJob job
    job.tiles = tiles_for(scores)
    job.rows, job.classes = scores.shape
    job.together = most(1, BLOCK // 4 // job.classes)
    job.scores, job.dscores = memory_of(scores), memory_of(dscores, True)
    job.label, job.loss = <const int64_t *>memory_of(labels), <double *>memory_of(losses, True)
    run(loss_task, &job, ceil_div(job.rows, job.together), job.rows * (job.classes + 20), 0)


# ---- update ----

cdef struct Piece:
    char *w
    char *grad
    char *velocity
    Py_ssize_t size, unit       # unit: numbers that a norm is taken of
    Py_ssize_t step, first      # numbers of a task, and the first task

cdef struct SgdJob:
    const fc_tiles *tiles
    fc_sgd settings
    double max_norm             # 0: no limit
    Piece *pieces


cdef void sgd_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    """A block of a parameter: units in whole if their norms are limited."""
    cdef SgdJob *job = <SgdJob *>context
    cdef Piece *piece = job.pieces
    cdef Py_ssize_t begin, end, item = job.tiles.item
    while task >= piece.first + ceil_div(piece.size, piece.step):
        piece += 1
    begin = (task - piece.first) * piece.step
    end = least(begin + piece.step, piece.size)
    job.tiles.sgd(&job.settings, end - begin, piece.w + begin * item, piece.grad + begin * item,
                  NULL if piece.velocity == NULL else piece.velocity + begin * item)
    if job.max_norm > 0:
        while begin < end:
            job.tiles.limit_norm(piece.unit, piece.w + begin * item, job.max_norm)
            begin += piece.unit


cdef Py_ssize_t cut_pieces(SgdJob *job, object ws, object grads, object velocities,
                           Py_ssize_t *size) except -1:
    """Fill in the pieces and their size in all; returns how many tasks they are."""
    cdef Py_ssize_t i, tasks = 0
    cdef Piece *piece
    size[0] = 0
    for i, w in enumerate(ws):
        piece = job.pieces + i
        piece.w, piece.grad = memory_of(w, True), memory_of(grads[i])
        piece.velocity = NULL if velocities is None else memory_of(velocities[i], True)
        piece.size, piece.unit, piece.first = w.size, 1, tasks
        if job.max_norm > 0:
            piece.unit = most(1, piece.size // most(1, w.shape[0]))
        piece.step = piece.unit * most(1, BLOCK // piece.unit)
        tasks += ceil_div(piece.size, piece.step)
        size[0] += piece.size
    return tasks


def sgd_update(ws, grads, velocities, double lr, double momentum, bint nesterov, double l2,
               double l1, max_norm):
    cdef SgdJob job
    cdef Py_ssize_t tasks, size, count = len(ws)
    if count == 0:
        return
    job.tiles = tiles_for(ws[0])
    job.settings = fc_sgd(lr, momentum, l2, l1, nesterov)
    job.max_norm = 0 if max_norm is None else max_norm
    job.pieces = <Piece *>malloc(count * sizeof(Piece))
    try:
        if job.pieces == NULL:
            raise MemoryError("no memory for the list of parameters")
        tasks = cut_pieces(&job, ws, grads, velocities, &size)
        run(sgd_task, &job, tasks, size // 4, 0)
    finally:
        free(job.pieces)
