"""Convolution by im2col: windows are unrolled into rows or columns, a band at a time.

A tile of the matrix of windows is written to scratch that stays in L2.  Rows are multiplied by the
same micro-kernel and the same packed filters as in the direct algorithm; columns are unrolled
where that algorithm does so, and where rows would cost more.
"""

__all__ = ["conv2d", "conv2d_dw", "conv2d_dx", "describe"]

include "conv2d_band.pxi"
include "conv2d_filters.pxi"
include "conv2d_pack.pxi"
include "conv2d_walk.pxi"
include "conv2d_gram.pxi"
include "conv2d_columns.pxi"
include "conv2d_columns_dw.pxi"

cdef enum:
    UNROLLED_BYTES = 512 * 1024


cdef void unroll_pixels(Walk *k, char **pixel, Py_ssize_t first, Py_ssize_t last,
                        char *unrolled) noexcept nogil:
    """Pixels [first, last) as rows [depth]; then the pointers point there."""
    cdef Py_ssize_t p, t, bytes = k.run * k.item
    cdef char *to
    for p in range(first, last):
        to = unrolled + p * k.depth * k.item
        for t in range(k.taps):
            memcpy(to + t * bytes, pixel[p] + k.offset[t] * k.item, bytes)
        pixel[p] = to


cdef void place_rows(Walk *k, Band *b, char *band, char *unrolled, char **row) noexcept nogil:
    """Gather the band's source, unroll its windows, point at them."""
    cdef char *base[MOST_PIXELS]
    cdef Py_ssize_t r
    base_rows(k, b, band, base)
    if not k.in_place:
        for r in range(b.rows):
            gather_for(k, b, r, base)
    place_pixels(k, b, base, row)
    unroll_pixels(k, row, 0, b.pixels, unrolled)
    for r in range(k.tiles.rows):
        row[b.pixels + r] = row[b.pixels - 1]


cdef inline void product_depth(Walk *k, Py_ssize_t *taps, Py_ssize_t *run) noexcept nogil:
    taps[0], run[0] = least(k.depth, 1), k.depth


cdef inline size_t unrolled_bytes(Walk *k, Py_ssize_t pixels) noexcept nogil:
    return pixels * k.depth * k.item


cdef inline Py_ssize_t most_pixels(Walk *k) noexcept nogil:
    cdef Py_ssize_t fitting = UNROLLED_BYTES // most(k.depth * k.item, 1)
    return least(MOST_PIXELS, most(fitting, k.tiles.rows))


cdef inline Py_ssize_t gram_pixels(Walk *k) noexcept nogil:
    return 4 * UNROLLED_BYTES // (k.depth * k.item)     # shared by all threads


cdef inline Py_ssize_t depth_offset(Walk *k, Py_ssize_t d) noexcept nogil:
    return d


cdef inline Py_ssize_t row_step(Walk *k) noexcept nogil:
    return k.depth


cdef inline bint unrolls(Walk *k) noexcept nogil:
    return True


cdef void unroll_row(void *context, Py_ssize_t r, void *scratch) noexcept nogil:
    cdef Gram *g = <Gram *>context
    cdef Py_ssize_t columns = g.band.columns
    unroll_pixels(g.walk, g.row, r * columns, (r + 1) * columns, g.unrolled)


cdef int special_walk(Walk *k, Filters *f, View *bias) except -1:
    """Windows unrolled as columns.  Returns whether the walk was done."""
    if not columns_pay(k, f):
        return False
    columns_walk(k, f, bias)
    return True


cdef object special_way(Walk *k):
    return columns_way(k)


cdef int special_dx(Walk *k, Filters *f, object dims) except -1:
    return False


cdef bint special_phases(Walk *k, Filters *f, Together *all) except -1:
    return False


cdef int special_dw(Walk *k, Filters *f) except -1:
    """Windows unrolled as columns.  Returns whether dw was written."""
    if not columns_dw_pay(k, f):
        return False
    columns_gradient(k, f)
    return True


def conv2d(x, w, b, y, dims, bint relu=False, prepared=None):
    forward(x, w, b, y, dims, relu, prepared)


def conv2d_dx(dy, w, dx, dims):
    backward(dy, w, dx, dims)


def conv2d_dw(dy, x, dw, dims):
    weights_gradient(dy, x, dw, dims)
