# A walk with few filters: vectors hold results of a row, and the tile's rows are filters.
#
#   y[filters, columns] = w[filters, depth] @ x[depth, shifted columns]
#
# With 6 filters and 16 lanes the usual product wastes 10 lanes; here 28 columns fill 28 of 32.
# The band is gathered as padded planes [cin][rows][pitch], and a tap is the same plane read
# from another place, so nothing is unrolled.  It needs neighbouring results to read
# neighbouring cells: a step of 1 along the row, which every phase of dx has.
#
# LeNet's first layer, N = 64, NCHW, AVX-512, one thread: 24 -> 67 GFLOP/s; its dx 8 -> 35.


cdef struct Planes:
    Walk *walk
    Filters *filters
    Py_ssize_t plane, pitch         # elements from channel to channel, row to row
    Py_ssize_t rows, bands          # result rows of a task; tasks of an image
    Py_ssize_t *offset              # [cin·kh] of the filters
    Py_ssize_t *w_offset            # [cin·kh] of the planes
    char *weights                   # [group][cout][cin][kh][kw]
    size_t at_sums, scratch


cdef bint planar_pays(Walk *k) noexcept:
    """Whether lanes are used better by columns than by filters (costs per result, in lanes)."""
    cdef Py_ssize_t lanes = k.tiles.lanes
    cdef Py_ssize_t columns = ceil_div(k.w.size_out, lanes) * lanes
    cdef Py_ssize_t filters = ceil_div(k.cout, lanes) * lanes
    cdef double rows = ceil_div(k.cout, k.tiles.rows) * k.tiles.rows
    if k.cout == 1:
        rows = 2.5              # too few sums to hide the latency of an FMA
    elif k.cout <= 3:
        rows = 4
    elif k.cout <= 6:
        rows = 6
    if k.w.step != 1 or k.h.taps * k.w.taps == 0 or plane_bytes(k, 1) > BAND_BYTES:
        return False
    # a panel of one vector is bound by its broadcasts: 9 loads for 8 FMAs
    return rows * columns / k.w.size_out < filters * (1.25 if filters == lanes else 1.0)


cdef inline Py_ssize_t plane_bytes(Walk *k, Py_ssize_t rows) noexcept nogil:
    """Gathered planes of so many result rows; a vector may read behind the last cell."""
    cdef Py_ssize_t cells = k.cin * reach(&k.h, rows) * reach(&k.w, k.w.size_out)
    return (cells + 2 * k.tiles.lanes) * k.item


cdef void gather_planes(Planes *p, Py_ssize_t image, Py_ssize_t group, Py_ssize_t row,
                        Py_ssize_t rows, char *band) noexcept nogil:
    cdef Walk *k = p.walk
    cdef View *s = &k.source
    cdef Py_ssize_t first = k.h.first + row * k.h.step, y, c
    cdef Py_ssize_t left = least(most(-k.w.first, 0), p.pitch)
    cdef Py_ssize_t right = most(least(k.w.size_in - k.w.first, p.pitch), left)
    cdef char *to
    for y in range(reach(&k.h, rows)):
        to = band + y * p.pitch * k.item
        if first + y < 0 or first + y >= k.h.size_in:
            for c in range(k.cin):
                memset(to + c * p.plane * k.item, 0, p.pitch * k.item)
            continue
        if left or right < p.pitch:
            for c in range(k.cin):
                memset(to + c * p.plane * k.item, 0, left * k.item)
                memset(to + (c * p.plane + right) * k.item, 0, (p.pitch - right) * k.item)
        if right > left:
            k.tiles.copy(
                k.cin, right - left, to + left * k.item, p.plane, 1,
                s.at + (image * s.step[0] + group * k.cin * s.step[1]
                        + (first + y) * s.step[2] + (k.w.first + left) * s.step[3]) * k.item,
                s.step[1], s.step[3],
            )


cdef void multiply_planes(Planes *p, Py_ssize_t group, Py_ssize_t rows, char *band,
                          char *target, Py_ssize_t filter_step, Py_ssize_t row_step) noexcept nogil:
    """All filters over a band, in tiles of filters × vectors of columns (or of whole rows)."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t lanes = k.tiles.lanes, width = k.w.size_out
    cdef Py_ssize_t vectors = ceil_div(width, lanes), parts = ceil_div(vectors, k.tiles.vectors)
    cdef Py_ssize_t row = 0, part, at, high
    cdef fc_product q
    q.taps, q.run, q.step = k.cin * k.h.taps, k.w.taps, 1
    q.offset, q.w_offset, q.w_step = p.offset, p.w_offset, k.w.dilation
    q.by_row, q.accumulate, q.relu = True, False, k.relu
    while row < rows:
        high = 1
        if vectors == 1:        # narrow planes: a vector is a row
            high = least(k.tiles.vectors, rows - row)
            q.w_vector, q.c_vector = k.h.step * p.pitch, row_step
            q.each, q.vectors, q.columns = <int>width, <int>high, <int>(high * width)
        else:
            q.w_vector = q.c_vector = lanes
            q.each = <int>lanes
        for part in range(parts):
            at = 0
            if vectors > 1:
                at = part * vectors // parts * lanes
                q.vectors = <int>((part + 1) * vectors // parts - at // lanes)
                q.columns = <int>least(width - at, q.vectors * lanes)
            q.w = band + (row * k.h.step * p.pitch + at) * k.item
            multiply_filters(p, &q, group, target + (row * row_step + at) * k.item, filter_step)
        row += high


cdef void multiply_filters(Planes *p, fc_product *q, Py_ssize_t group, char *target,
                           Py_ssize_t filter_step) noexcept nogil:
    cdef Walk *k = p.walk
    cdef Py_ssize_t first = 0, rows, m
    cdef const void *a[16]
    cdef void *c[16]
    while first < k.cout:
        rows = least(k.tiles.rows, k.cout - first)
        for m in range(rows):
            a[m] = p.weights + (group * k.cout + first + m) * k.depth * k.item
            c[m] = target + (first + m) * filter_step * k.item
        q.bias = NULL
        if k.bias != NULL:
            q.bias = k.bias + (group * k.panels * k.panel + first) * k.item
        k.tiles.product(q, <int>rows, a, c)
        first += rows


cdef void planes_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    cdef Planes *p = <Planes *>context
    cdef Walk *k = p.walk
    cdef Py_ssize_t group = task % k.groups, band = task // k.groups % p.bands
    cdef Py_ssize_t image = task // k.groups // p.bands
    cdef Py_ssize_t row = band * p.rows, rows = least(p.rows, k.h.size_out - row), r
    cdef Py_ssize_t width = k.w.size_out
    cdef char *planes = <char *>scratch
    cdef char *sums = planes + p.at_sums
    cdef View *y = &k.result
    cdef char *target = y.at + k.item * (
        image * y.step[0] + group * k.cout * y.step[1]
        + (k.h.out_first + row * k.h.out_step) * y.step[2] + k.w.out_first * y.step[3]
    )
    gather_planes(p, image, group, row, rows, planes)
    if k.w.out_step * y.step[3] == 1:
        multiply_planes(p, group, rows, planes, target, y.step[1], k.h.out_step * y.step[2])
        return
    multiply_planes(p, group, rows, planes, sums, p.rows * width, width)
    for r in range(rows):
        k.tiles.copy(
            width, k.cout, target + r * k.h.out_step * y.step[2] * k.item,
            k.w.out_step * y.step[3], y.step[1], sums + r * width * k.item, 1, p.rows * width,
        )


cdef void pack_planar(Planes *p) noexcept nogil:
    """Filters as [group][cout][cin][kh][kw], in the order of the walk's taps."""
    cdef Walk *k = p.walk
    cdef Filters *f = p.filters
    cdef Py_ssize_t o, c
    for o in range(k.groups * k.cout):
        for c in range(k.cin):
            k.tiles.copy(
                k.h.taps, k.w.taps,
                p.weights + (o * k.cin + c) * k.h.taps * k.w.taps * k.item, k.w.taps, 1,
                filter_tap(k, f, o // k.cout, o % k.cout, 0, 0) + c * f.in_step * k.item,
                k.h.k_step * f.w.step[2], k.w.k_step * f.w.step[3],
            )


cdef void cut_planes(Planes *p) noexcept:
    """Bands that fit and suffice for the threads."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t wanted = TASKS_PER_THREAD * get_num_threads()
    p.rows = k.h.size_out
    while p.rows > 1 and (plane_bytes(k, p.rows) > BAND_BYTES
                          or (k.images * k.groups * ceil_div(k.h.size_out, p.rows) < wanted
                              and p.rows > 4)):
        p.rows = ceil_div(p.rows, 2)
    p.bands = ceil_div(k.h.size_out, p.rows)
    p.pitch = reach(&k.w, k.w.size_out)
    p.plane = reach(&k.h, p.rows) * p.pitch
    p.at_sums = aligned(plane_bytes(k, p.rows))
    p.scratch = p.at_sums + aligned(k.cout * p.rows * k.w.size_out * k.item)


cdef void lay_planes(Planes *p) noexcept nogil:
    """Where taps lie: of the filters, and of the planes."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t t
    for t in range(k.cin * k.h.taps):
        p.offset[t] = t * k.w.taps
        p.w_offset[t] = t // k.h.taps * p.plane + t % k.h.taps * k.h.dilation * p.pitch


cdef int planar_walk(Walk *k, Filters *f, View *bias) except -1:
    cdef Planes p
    cdef Py_ssize_t work = k.images * k.h.size_out * k.w.size_out * k.groups * k.cout
    cdef Py_ssize_t offsets = k.cin * k.h.taps
    p.walk, p.filters = k, f
    p.weights = <char *>malloc(k.groups * k.cout * k.depth * k.item)
    p.offset = <Py_ssize_t *>malloc(2 * offsets * sizeof(Py_ssize_t))
    p.w_offset = p.offset + offsets
    try:
        if p.weights == NULL or p.offset == NULL:
            raise MemoryError("no memory for the packed filters")
        cut_planes(&p)
        lay_planes(&p)
        pack_planar(&p)
        if bias != NULL:
            pack_bias(k, bias)
        run(planes_task, &p, k.images * k.groups * p.bands, work * k.depth // 16, p.scratch)
    finally:
        free(p.weights)
        free(p.offset)
        free(k.bias)
        k.bias = NULL
    return 0
