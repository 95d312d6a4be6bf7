"""Direct convolution: pixels are read where the gathered band (or x itself) has them.

No window is unrolled: a tile's rows are pointers to the pixels' first taps, and the taps
are offsets from there, the same for all pixels.  A row of the window over neighbouring
columns is one run of KW·C numbers, so first layers with few channels have long runs too.
(But where filters are many and columns few, some vectors of columns are: conv2d_columns.pxi.)
"""

__all__ = ["conv2d", "conv2d_again", "conv2d_db", "conv2d_dw", "conv2d_dx", "describe"]

import numpy as _np

include "conv2d_band.pxi"
include "step.pxi"
include "conv2d_filters.pxi"
include "conv2d_pack.pxi"
include "conv2d_walk.pxi"
include "conv2d_gram.pxi"
include "conv2d_phases.pxi"
include "conv2d_hull.pxi"
include "conv2d_columns.pxi"
include "conv2d_planar.pxi"
include "conv2d_dense.pxi"
include "conv2d_depthwise.pxi"
include "conv2d_dots.pxi"
include "conv2d_columns_dw.pxi"


cdef void place_rows(Walk *k, Band *b, char *band, char *unrolled, char **row) noexcept nogil:
    """Gather the band's source and point at its pixels."""
    cdef char *base[MOST_PIXELS]
    cdef Py_ssize_t r
    base_rows(k, b, band, base)
    if not k.in_place:
        for r in range(b.rows):
            gather_for(k, b, r, base)
    place_pixels(k, b, base, row)


cdef inline void product_depth(Walk *k, Py_ssize_t *taps, Py_ssize_t *run) noexcept nogil:
    taps[0], run[0] = k.taps, k.run


cdef inline size_t unrolled_bytes(Walk *k, Py_ssize_t pixels) noexcept nogil:
    return 0


cdef inline Py_ssize_t most_pixels(Walk *k) noexcept nogil:
    return MOST_PIXELS


cdef inline Py_ssize_t gram_pixels(Walk *k) noexcept nogil:
    return 8 * MOST_PIXELS


cdef inline Py_ssize_t depth_offset(Walk *k, Py_ssize_t d) noexcept nogil:
    return k.offset[d // k.run] + d % k.run


cdef inline Py_ssize_t row_step(Walk *k) noexcept nogil:
    return k.w.step * k.pixel_step


cdef inline bint unrolls(Walk *k) noexcept nogil:
    return False


cdef void unroll_row(void *context, Py_ssize_t r, void *scratch) noexcept nogil:
    pass


cdef int special_walk(Walk *k, Filters *f, View *bias) except -1:
    """A channel alone, few columns or few filters.  Returns whether the walk was done."""
    if depthwise_forward(k, f, bias):
        return True
    if planar_pays(k) and not columns_win(k, f):
        planar_walk(k, f, bias)
    elif columns_pay(k, f):
        columns_walk(k, f, bias)
    else:
        return False
    return True


cdef bint columns_win(Walk *k, Filters *f) noexcept:
    """Whether columns beat planes too: copied to planes always, else by their costs (VGG's first
    layer, a third of whose depth would be unrolling: 1.65 -> 1.5 ms)."""
    cdef double pixels = k.h.size_out * k.w.size_out
    if not columns_pay(k, f):
        return False
    return k.h.taps * k.w.taps == 1 or columns_cost(k) < planar_cost(k) * pixels


cdef object special_way(Walk *k):
    cdef Planes p
    cdef Filters f
    depthwise = depthwise_way(k)
    if depthwise is not None:
        return depthwise
    dense = dense_way(k)
    if dense is not None:
        return dense
    block_of_memory(k, &f)
    if not planar_pays(k) or columns_win(k, &f):
        return columns_way(k)
    p.walk = k
    cut_planes(&p)
    return {
        "way": f"planar: tiles of {k.tiles.rows} filters x {k.tiles.vectors * k.tiles.lanes} "
               f"columns, depth {k.depth}; {k.images * k.groups * p.bands} bands of "
               f"{p.rows} rows",
        "copies": "x is gathered as padded planes; filters are copied",
        "scratch": f"{p.scratch / 1024:.0f} KiB per thread",
    }


cdef int special_dx(Walk *k, Filters *f, object dims) except -1:
    """A channel alone, or few under a stride.  Returns whether dx was written."""
    if depthwise_dx(k, f, dims):
        return True
    if dims.stride == (1, 1) or dims.dx_merged is None:
        return False
    read_axis(dims.dx_merged[0], &k.h)
    read_axis(dims.dx_merged[1], &k.w)
    if not phases_pay(k, dims.kh * dims.kw):
        return False
    merged_walk(k, f, dims.h, dims.w, dims.kh, dims.kw)
    return True


cdef bint special_phases(Walk *k, Filters *f, Together *all) except -1:
    """Phases of many channels in one job.  Returns whether dx was written."""
    return walk_together(k, f, all)


cdef int special_dw(Walk *k, Filters *f) except -1:
    """Few filters over planes of dy, or many.  Returns whether dw was written."""
    cdef bint columns = columns_dw_pay(k, f)
    if dots_pay(k) and not (columns and columns_beat_dots(k)):
        dots_gradient(k, f)
    elif columns:
        columns_gradient(k, f)
    else:
        return False
    return True


cdef inline bint columns_beat_dots(Walk *k) noexcept:
    """Of one tap, unless nearly empty (52 problems, Zen 3: 0.8 to 6.4 times as fast, mean 2.7)."""
    return k.h.taps * k.w.taps == 1 and (k.depth >= k.tiles.lanes or k.cout > k.tiles.rows)


# ---- a window as large as the image is a linear layer ----
#
# In (C, H, W) order, so that w and dw are used where they lie: where memory is channels-last
# the images are copied.  To copy w would be less work for more images than filters, but
# the order of sums, and with it the bits of an image, must not depend on the batch.

def conv2d(x, w, b, y, dims, bint relu=False, prepared=None):
    flat = dims.flattened
    if flat is not None:        # (views, or copies of what is not C-contiguous)
        x, w, dims = x.reshape(flat.x_shape), w.reshape(flat.w_shape), flat
    if not dense_forward(x, w, b, y, dims, relu):
        forward(x, w, b, y, dims, relu, prepared)


# ---- the same forward call again and again ----

cdef struct Kept:
    Walk walk
    Filters filters
    Planes planes
    Columns columns
    Dense dense
    View images                 # that are copied in (C, H, W) order
    char *copies


cdef void flatten_images(void *memory) noexcept nogil:
    cdef Kept *kept = <Kept *>memory
    cdef View *x = &kept.images
    cdef Py_ssize_t n, h, width = x.size[3], rows = x.size[2], plane = rows * width
    if x.step[2] == width * x.step[3]:
        rows, width = 1, plane
    for n in range(x.size[0]):
        for h in range(rows):
            tiles_of(x).copy(
                x.size[1], width, kept.copies + (n * x.size[1] * plane + h * width) * x.item,
                plane, 1, x.at + (n * x.step[0] + h * x.step[2]) * x.item, x.step[1], x.step[3],
            )


cdef void release_kept(void *memory) noexcept:
    cdef Kept *kept = <Kept *>memory
    if kept.planes.walk != NULL:
        end_planes(&kept.planes)
    end_walk(&kept.walk)


cdef object keep_walk(Step step, Kept *kept, object b, object prepared):
    """Columns, planes or bands.  Returns what must be held; no task where channels are alone."""
    cdef Walk *k = &kept.walk
    cdef View bias
    cdef View *at = NULL
    held = None
    if b is not None:
        borrow(b, False, &bias)
        at = &bias
    thin(k, &k.h, 2)
    thin(k, &k.w, 3)
    set_panels(k)
    if depthwise_pays(k):
        return None
    if planar_pays(k) and not columns_win(k, &kept.filters):
        begin_planes(&kept.planes, k, &kept.filters, at)
        step.do(planes_task, &kept.planes, k.images * k.groups * kept.planes.bands,
                planes_work(k), kept.planes.scratch)
    elif columns_pay(k, &kept.filters):
        begin_columns(&kept.columns, k, &kept.filters, at)
        step.do(columns_task, &kept.columns, columns_tasks(&kept.columns), columns_work(k),
                kept.columns.scratch)
    else:
        held = begin_walk(k, &kept.filters, at, prepared, NULL, 0)
        step.do(band_task, k, bands_of(k) * k.chunks, work_of(k), k.scratch)
    return held


def conv2d_again(x, w, b, y, dims, bint relu=False, prepared=None):
    """The call as a Step, for other numbers in x; None where that is not to be had."""
    cdef Step step = Step()
    cdef Kept *kept = <Kept *>step.own(sizeof(Kept), release_kept)
    cdef Dense *d = &kept.dense
    given = x, w                # (not w's view: Parameter counts the references to its memory)
    cdef View lying
    flat = dims.flattened
    if flat is not None:
        if not w.flags.c_contiguous:
            return None         # its copy would have to be held
        x, w, dims = x.reshape(flat.x_shape), w.reshape(flat.w_shape), flat
        if not _np.may_share_memory(x, given[0]):
            borrow(given[0], False, &kept.images)
            borrow(x, False, &lying)
            kept.copies, step.step.before = lying.at, flatten_images
    if dims.n == 0:
        return None
    if begin_dots(d, x, w, b, y, dims, relu):
        step.held = given, x, b, y
        step.do(dots_task, d, dots_tasks(d), dense_work(d), dots_scratch(d))
        return step
    begin_forward(&kept.walk, &kept.filters, x, w, y, dims, relu)
    step.held = given, x, b, y, keep_walk(step, kept, b, prepared)
    return step if step.step.task != NULL else None


cdef int _backward(object dy, object w, object dx, object dims) except -1:
    if not dense_dx(dy, w, dx, dims):
        backward(dy, w, dx, dims)
    return 0


def conv2d_dx(dy, w, dx, dims):
    flat = dims.flattened
    if flat is None:
        _backward(dy, w, dx, dims)
        return
    whole = dx if dx.flags.c_contiguous else _np.empty(dx.shape, dx.dtype)
    _backward(dy, w.reshape(flat.w_shape), whole.reshape(flat.x_shape), flat)
    if whole is not dx:
        dx[...] = whole


cdef int _weights_gradient(object dy, object x, object dw, object dims) except -1:
    if not dense_dw(dy, x, dw, dims):
        weights_gradient(dy, x, dw, dims)
    return 0


def conv2d_dw(dy, x, dw, dims):
    if depthwise_dw(dy, x, dw, dims):
        return
    flat = dims.flattened
    if flat is None:
        _weights_gradient(dy, x, dw, dims)
        return
    whole = dw if dw.flags.c_contiguous else _np.empty(dw.shape, dw.dtype)
    _weights_gradient(dy, x.reshape(flat.x_shape), whole.reshape(flat.w_shape), flat)
    if whole is not dw:
        dw[...] = whole


# ---- db ----

cdef enum:
    SMALL_PLANE = 256       # 64 planes of 10×10 at once: half the time
    SOME_PLANES = 8


cdef struct BiasJob:
    const fc_tiles *tiles
    View dy, db
    Py_ssize_t item, lanes


cdef void sum_channels(void *context, Py_ssize_t index, void *scratch) noexcept nogil:
    """db of some channels, in double: as lanes, where they are neighbours, or one by one."""
    cdef BiasJob *job = <BiasJob *>context
    cdef View *s = &job.dy
    cdef double *total = <double *>scratch
    cdef Py_ssize_t first = index * job.lanes, n, h, c
    cdef Py_ssize_t channels = least(job.lanes, s.size[1] - first)
    cdef char *at
    if s.step[1] == 1:
        memset(total, 0, channels * sizeof(double))
        for n in range(s.size[0]):
            for h in range(s.size[2]):
                at = s.at + (n * s.step[0] + first + h * s.step[2]) * job.item
                job.tiles.add_rows(s.size[3], channels, total, at, s.step[3], 1)
        for c in range(channels):
            set_number(&job.db, first + c, job.item, total[c])
        return
    for c in range(channels):
        set_number(&job.db, first + c, job.item, sum_channel(job, first + c, total))


cdef double sum_channel(BiasJob *job, Py_ssize_t channel, double *total) noexcept nogil:
    """The planes of a channel, to `total` first, in which lanes are ..."""
    cdef View *s = &job.dy
    cdef Py_ssize_t images = s.size[0], plane = s.size[2] * s.size[3], lanes = s.size[3], n, i
    cdef char *at = s.at + channel * s.step[1] * job.item
    cdef char *row
    cdef bint follow = s.step[3] == 1 and s.step[2] == lanes
    cdef bint parts = follow and plane > SMALL_PLANE
    cdef bint pixels = follow and not parts and images >= SOME_PLANES
    cdef double sum = 0
    if parts:           # ... parts of a plane
        lanes = job.lanes
    elif pixels:        # ... the pixels of small planes
        lanes = plane
    memset(total, 0, lanes * sizeof(double))        # ... or columns
    if pixels:
        job.tiles.add_rows(images, lanes, total, at, s.step[0], 1)
        images = 0
    for n in range(images):
        row = at + n * s.step[0] * job.item
        if parts:
            job.tiles.add_rows(plane // lanes, lanes, total, row, lanes, 1)
            row += plane // lanes * lanes * job.item
            job.tiles.add_rows(1, plane % lanes, total, row, 0, 1)
        else:
            job.tiles.add_rows(s.size[2], lanes, total, row, s.step[2], s.step[3])
    for i in range(lanes):
        sum += total[i]
    return sum


cdef inline void set_number(View *v, Py_ssize_t i, Py_ssize_t item, double value) noexcept nogil:
    if item == 4:
        (<float *>v.at)[i * v.step[0]] = <float>value
    else:
        (<double *>v.at)[i * v.step[0]] = value


def conv2d_db(dy, db):
    cdef BiasJob job
    cdef size_t scratch
    borrow(dy, False, &job.dy)
    borrow(db, True, &job.db)
    job.tiles, job.item = tiles_of(&job.dy), job.dy.item
    job.lanes = job.tiles.lanes
    scratch = most(most(job.lanes, SMALL_PLANE), job.dy.size[3]) * sizeof(double)
    run(sum_channels, &job, ceil_div(job.dy.size[1], job.lanes), numbers_of(&job.dy) // 4, scratch)
