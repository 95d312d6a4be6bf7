# dw over planes: vectors hold pixels of both operands.
#
#   dw[filters, depth] += dy[filters, pixels] · x[depth, shifted pixels]
#
# x is gathered as the planes of conv2d_planar.pxi and dy tile by tile, so nothing is transposed.
# (In place, the rows of dy's tile would often share a set of L1: planes of 32×32 are 4 KiB apart.)
# 6 filters fill 6 rows of a tile instead of 6 of 16 lanes.  A sum stays a vector until a part ends.
# Parts and their totals are as in conv2d_gram.pxi: the same sums on any number of threads.

cdef enum:
    DOT_PIXELS = 1024           # of a band: a tile's dy stays near L1
    FEW_PIXELS = 128            # bands are not cut below, to have a part for each thread
    DOT_BYTES = 160 * 1024      # of a thread's sums


cdef struct Dots:
    Planes planes
    Py_ssize_t *tap             # [depth] in the planes
    char *total                 # [part][group][cout][depth]
    Py_ssize_t parts
    size_t at_grads, at_sums


cdef inline Py_ssize_t dot_tiles(Walk *k) noexcept nogil:
    return ceil_div(k.cout, k.tiles.rows) * ceil_div(k.depth, k.tiles.vectors)


cdef inline size_t dot_bytes(Walk *k) noexcept nogil:
    return dot_tiles(k) * k.tiles.rows * k.tiles.vectors * k.tiles.lanes * k.item


cdef inline size_t dots_pitch(Walk *k, Py_ssize_t rows) noexcept nogil:
    """Bytes from filter to filter of dy: whole cache lines, an odd number of them."""
    return (ceil_div(rows * k.w.size_out * k.item, 64) | 1) * 64


cdef bint dots_pay(Walk *k) noexcept:
    """Whether pixels or filters cost less in lanes (costs per result, in lanes)."""
    cdef Py_ssize_t lanes = k.tiles.lanes, width = k.w.size_out, last = k.cout % k.tiles.rows
    cdef bint from_planes = k.source.step[1] != 1 and k.cin > 1
    cdef double filters = ceil_div(k.cout, lanes) * lanes
    cdef double rows = k.cout - last
    cdef double cells = k.cin * k.h.step * k.w.step
    if k.result.step[3] != 1 or dot_bytes(k) > DOT_BYTES or plane_bytes(k, 1) > BAND_BYTES:
        return False
    if is_flat(k):
        width *= k.h.size_out
    if last > k.tiles.rows - 2:
        rows += k.tiles.rows
    elif last:
        rows += k.tiles.rows - 2 if last > k.tiles.rows // 2 else k.tiles.rows // 2
    rows *= <double>(ceil_div(width, lanes) * lanes) / width
    return (rows * ceil_div(k.depth, k.tiles.vectors) * k.tiles.vectors
            + (0 if from_planes else MOVE * cells)
            < filters * k.depth + MOVE * k.cout + (MOVE * cells if from_planes else 0))


cdef void multiply_dots(Dots *g, Py_ssize_t image, Py_ssize_t group, Py_ssize_t row,
                        Py_ssize_t rows, char *planes, char *sums) noexcept nogil:
    """A band: every tile of filters × depth over all its pixels."""
    cdef Walk *k = g.planes.walk
    cdef View *dy = &k.result
    cdef Py_ssize_t high = k.tiles.rows, wide = k.tiles.vectors, i, j, o, d, m
    cdef const void *a[16]
    cdef const void *b[16]
    cdef fc_spans p
    cdef Py_ssize_t width = k.w.size_out
    cdef char *grads = planes + g.at_grads
    cdef char *at = dy.at + (image * dy.step[0] + group * k.cout * dy.step[1]
                             + row * dy.step[2]) * k.item
    p.spans, p.run, p.a_span, p.b_span = rows, width, width, k.h.step * g.planes.pitch
    p.ahead_span = dy.step[2]
    if g.planes.flat:
        p.spans, p.run = 1, rows * width
    for i in range(ceil_div(k.cout, high)):
        o = i * high
        for m in range(high):
            a[m] = grads + least(m, k.cout - 1 - o) * dots_pitch(k, rows)
        for m in range(least(high, k.cout - o)):
            k.tiles.copy(rows, width, <void *>a[m], width, 1,
                         at + (o + m) * dy.step[1] * k.item, dy.step[2], 1)
        for j in range(ceil_div(k.depth, wide)):
            d = j * wide
            for m in range(wide):
                b[m] = planes + g.tap[least(d + m, k.depth - 1)] * k.item
            # the next tile's dy comes from afar: a filter of it meanwhile
            p.ahead = at + least(o + high + j % high, k.cout - 1) * dy.step[1] * k.item
            k.tiles.span_dots(&p, <int>least(high, k.cout - o), a, b, sums)
            sums += high * wide * k.tiles.lanes * k.item


cdef void fold_dots(Dots *g, char *total, char *sums) noexcept nogil:
    """Vectors of sums to [cout][depth]."""
    cdef Walk *k = g.planes.walk
    cdef Py_ssize_t high = k.tiles.rows, wide = k.tiles.vectors, i, j, o, d
    for i in range(ceil_div(k.cout, high)):
        o = i * high
        for j in range(ceil_div(k.depth, wide)):
            d = j * wide
            k.tiles.lane_sums(high * wide, sums, sums)
            k.tiles.copy(least(high, k.cout - o), least(wide, k.depth - d),
                         total + (o * k.depth + d) * k.item, k.depth, 1, sums, wide, 1)
            sums += high * wide * k.tiles.lanes * k.item


cdef void dots_part(void *context, Py_ssize_t part, void *scratch) noexcept nogil:
    """Some bands of every group on one thread, into a total of their own."""
    cdef Dots *g = <Dots *>context
    cdef Planes *p = &g.planes
    cdef Walk *k = p.walk
    cdef Py_ssize_t bands = k.images * p.bands, group, i, row, rows
    cdef char *planes = <char *>scratch
    cdef char *sums = planes + g.at_sums
    for group in range(k.groups):
        memset(sums, 0, dot_bytes(k))
        for i in range(part * bands // g.parts, (part + 1) * bands // g.parts):
            row = i % p.bands * p.rows
            rows = least(p.rows, k.h.size_out - row)
            gather_planes(p, i // p.bands, group, row, rows, planes)
            multiply_dots(g, i // p.bands, group, row, rows, planes, sums)
        fold_dots(g, g.total + (part * k.groups + group) * k.cout * k.depth * k.item, sums)


cdef void cut_dots(Dots *g) noexcept nogil:
    """Bands that fit, and enough of them for the parts, whatever the number of threads."""
    cdef Planes *p = &g.planes
    cdef Walk *k = p.walk
    p.rows = most(1, least(k.h.size_out, DOT_PIXELS // k.w.size_out))
    while p.rows > 1 and (plane_bytes(k, p.rows) > BAND_BYTES
                          or (k.images * ceil_div(k.h.size_out, p.rows) < PARTS
                              and p.rows * k.w.size_out > FEW_PIXELS)):
        p.rows = ceil_div(p.rows, 2)
    shape_planes(p)
    g.parts = least(PARTS, k.images * p.bands)
    g.at_grads = aligned(plane_bytes(k, p.rows))
    g.at_sums = g.at_grads + k.tiles.rows * dots_pitch(k, p.rows)


cdef void unpack_dots(Dots *g, Filters *f) noexcept nogil:
    """[group][cout][cin][kh][kw] to dw."""
    cdef Walk *k = g.planes.walk
    cdef Py_ssize_t group, i, j, taps = k.h.taps * k.w.taps
    for group in range(k.groups):
        for i in range(k.h.taps):
            for j in range(k.w.taps):
                k.tiles.copy(
                    k.cout, k.cin, filter_tap(k, f, group, 0, i, j), f.out_step, f.in_step,
                    g.total + (group * k.cout * k.depth + i * k.w.taps + j) * k.item,
                    k.depth, taps,
                )


cdef int dots_gradient(Walk *k, Filters *f) except -1:
    cdef Dots g
    cdef Py_ssize_t n = k.groups * k.cout * k.depth, d, part
    cdef Py_ssize_t work = k.images * k.h.size_out * k.w.size_out * n // 32
    cdef size_t bytes
    g.planes.walk = k
    cut_dots(&g)
    bytes = g.parts * n * k.item + k.depth * sizeof(Py_ssize_t)
    g.tap = <Py_ssize_t *>take(bytes)
    g.total = <char *>(g.tap + k.depth)
    try:
        for d in range(k.depth):
            g.tap[d] = plane_offset(&g.planes, d)
        run(dots_part, &g, g.parts, work, g.at_sums + dot_bytes(k))
        for part in range(1, g.parts):
            k.tiles.add(1, n, g.total, 0, 1, g.total + part * n * k.item, 0, 1)
        unpack_dots(&g, f)
    finally:
        runtime.give(g.tap, bytes)
    return 0
