# A walk over planes: vectors hold results of a row, and the tile's rows are filters.
#
#   y[filters, columns] = w[filters, depth] @ x[depth, shifted columns]
#
# Planes in NCHW stay planes: nothing is transposed on the way in or out, filters are mostly read
# where they lie, and 6 filters of 28 columns fill 28 of 32 lanes, not 6 of 16.  The band is
# gathered as padded planes [cin][rows][pitch], and a tap is the same plane read from another
# place, so nothing is unrolled.  Under a step of s a row is kept as s rows, each with every
# s-th cell, so that neighbouring results read neighbouring cells.
#
# One tap and no padding: rows of results follow one another without a gap, and are one row.
#
# Where filters are copied anyway (dx), taps stand row by row, and those of a row that meet nothing
# but padding are left out: dx of LeNet's second layer has 14 rows of 5 taps over 10 rows of dy.
#
# LeNet's first layer, N = 64, NCHW, AVX-512, one thread: 24 -> 67 GFLOP/s; its dx 8 -> 35.

cdef struct Planes:
    Walk *walk
    Filters *filters
    Py_ssize_t plane, pitch, phase  # elements from channel to channel, row to row, phase to phase
    Py_ssize_t rows, bands          # result rows of a task; tasks of an image
    Py_ssize_t *w_offset            # [depth] in the planes
    char *packed                    # [group][cout][kh][cin][kw], unless w is [cout][cin][kh][kw]
    char *weights
    Py_ssize_t filter_step, group_step
    size_t at_sums, scratch
    bint flat, to_planes            # rows are one row; results go where they belong at once


cdef double planar_cost(Walk *k) noexcept:
    """Of a result, in lanes."""
    cdef Py_ssize_t lanes = k.tiles.lanes, width = k.w.size_out
    cdef double rows = ceil_div(k.cout, k.tiles.rows) * k.tiles.rows
    cdef double cost
    if k.cout == 1:
        rows = 2.5              # too few sums to hide the latency of an FMA
    elif k.cout <= 3:
        rows = 4
    elif k.cout <= 6:
        rows = 6
    if is_flat(k):
        width *= k.h.size_out
    cost = rows * k.depth * (ceil_div(width, lanes) * lanes) / width
    if not from_many_planes(k):
        cost += MOVE * k.cin * k.h.step * k.w.step
    if not to_many_planes(k):
        cost += MOVE * k.cout
    return cost


cdef inline bint from_many_planes(Walk *k) noexcept nogil:
    return k.source.step[1] != 1 and k.cin > 1


cdef inline bint to_many_planes(Walk *k) noexcept nogil:
    return k.result.step[1] != 1 and k.cout > 1


cdef bint planar_pays(Walk *k) noexcept:
    """Whether a walk over planes costs less than one over pixels."""
    cdef Py_ssize_t lanes = k.tiles.lanes
    cdef double pixels = ceil_div(k.cout, lanes) * lanes * k.depth
    if k.h.taps * k.w.taps == 0 or plane_bytes(k, 1) > BAND_BYTES:
        return False
    # a panel of one vector is bound by its broadcasts: 9 loads for 8 FMAs
    if k.cout <= lanes:
        pixels *= 1.25
    if from_many_planes(k):
        pixels += MOVE * k.cin * k.h.step * k.w.step
    if to_many_planes(k):
        pixels += MOVE * k.cout
    return planar_cost(k) < pixels


cdef inline Py_ssize_t phase_pitch(Walk *k) noexcept nogil:
    return ceil_div(reach(&k.w, k.w.size_out), k.w.step)


cdef inline Py_ssize_t plane_bytes(Walk *k, Py_ssize_t rows) noexcept nogil:
    """Gathered planes of so many result rows; a vector may read behind the last cell."""
    cdef Py_ssize_t cells = k.cin * reach(&k.h, rows) * phase_pitch(k) * k.w.step
    return (cells + 2 * k.tiles.lanes) * k.item


cdef void gather_planes(Planes *p, Py_ssize_t image, Py_ssize_t group, Py_ssize_t row,
                        Py_ssize_t rows, char *band) noexcept nogil:
    """Padding is cleared with all the rest, in one call, not in two for each row of a channel."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t first = k.h.first + row * k.h.step, high = reach(&k.h, rows), phase
    if not (inside(&k.h) and inside(&k.w)):
        memset(band, 0, k.cin * p.plane * k.item)
    for phase in range(k.w.step):
        gather_phase(p, image, group, first, high, phase, band + phase * p.phase * k.item)


cdef void gather_phase(Planes *p, Py_ssize_t image, Py_ssize_t group, Py_ssize_t first,
                       Py_ssize_t high, Py_ssize_t phase, char *to) noexcept nogil:
    """Of source rows from `first` on every step-th cell, in all channels, from cell `phase` on.

    (Divisions are done once, not for each row: LeNet's first layer 430 -> 325 us, Cascade Lake.)
    """
    cdef Walk *k = p.walk
    cdef View *s = &k.source
    cdef Py_ssize_t x = k.w.first + phase, y
    cdef Py_ssize_t left = least(ceil_div(most(-x, 0), k.w.step), p.phase)
    cdef Py_ssize_t right = least(ceil_div(most(k.w.size_in - x, 0), k.w.step), p.phase)
    cdef char *at = s.at + (image * s.step[0] + group * k.cin * s.step[1]
                            + (x + left * k.w.step) * s.step[3]) * k.item
    if right <= left:
        return
    for y in range(most(first, 0), least(first + high, k.h.size_in)):
        k.tiles.copy(
            k.cin, right - left, to + ((y - first) * p.pitch + left) * k.item, p.plane, 1,
            at + y * s.step[2] * k.item, s.step[1], k.w.step * s.step[3],
        )


cdef Py_ssize_t meet_source(Planes *p, fc_product *q, Py_ssize_t row,
                            Py_ssize_t rows) noexcept nogil:
    """The rows of taps that meet the source from some rows of results, of copied filters; returns
    how much of a filter stands before them."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t first = k.h.first + row * k.h.step, last = first + (rows - 1) * k.h.step
    cdef Py_ssize_t each = k.cin * k.w.taps, tap = ceil_div(most(-last, 0), k.h.dilation), end = 0
    if p.packed == NULL or p.flat:      # (flat: all rows are one)
        return 0
    if first < k.h.size_in:
        end = least(k.h.taps, (k.h.size_in - 1 - first) // k.h.dilation + 1)
    tap = least(tap, end)
    q.run, q.w_offset = (end - tap) * each, p.w_offset + tap * each
    return tap * each


cdef void multiply_rows(Planes *p, fc_product *q, Py_ssize_t filters, char *weights,
                        Py_ssize_t first, Py_ssize_t rows, char *band, char *target,
                        Py_ssize_t filter_step, Py_ssize_t row_step) noexcept nogil:
    """A tile's filters over a band that begins with row `first`, in tiles of vectors of columns
    (or of whole rows)."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t lanes = k.tiles.lanes, width = k.w.size_out
    if p.flat:
        width, rows = width * rows, 1
    cdef Py_ssize_t vectors = ceil_div(width, lanes), parts = ceil_div(vectors, k.tiles.vectors)
    cdef Py_ssize_t each = vectors // parts, wider = parts - vectors % parts    # from this part on
    cdef Py_ssize_t row = 0, part, at, high, before, m
    cdef const void *a[16]
    cdef void *c[16]
    while row < rows:
        high = 1
        if vectors == 1:        # narrow planes: a vector is a row
            high = least(k.tiles.vectors, rows - row)
            q.w_vector, q.c_vector = k.h.step * p.pitch, row_step
            q.each, q.vectors, q.columns = <int>width, <int>high, <int>(high * width)
        else:
            q.w_vector = q.c_vector = lanes
            q.each = <int>lanes
        before = meet_source(p, q, first + row, high)
        for m in range(filters):
            a[m] = weights + (m * p.filter_step + before) * k.item
        at = 0
        for part in range(parts):
            if vectors > 1:
                q.vectors = <int>(each + (part >= wider))
                q.columns = <int>least(width - at, q.vectors * lanes)
            q.w = band + (row * k.h.step * p.pitch + at) * k.item
            for m in range(filters):
                c[m] = target + (m * filter_step + row * row_step + at) * k.item
            k.tiles.product(q, <int>filters, a, c)
            at += q.vectors * lanes
        row += high


cdef void multiply_planes(Planes *p, Py_ssize_t group, Py_ssize_t row, Py_ssize_t rows,
                          char *band, char *target, Py_ssize_t filter_step,
                          Py_ssize_t row_step) noexcept nogil:
    """All filters over a band, tile after tile: stores to a plane follow one another, which is
    what VGG's first layer waits for (13 MB of results: 69 -> 86 GFLOP/s)."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t first = 0, filters
    cdef char *weights = p.weights + group * p.group_step * k.item
    cdef fc_product q
    q.run, q.w_offset = k.depth, p.w_offset
    q.by_row, q.accumulate, q.relu = True, False, k.relu
    while first < k.cout:
        filters = least(k.tiles.rows, k.cout - first)
        q.bias = NULL
        if k.bias != NULL:
            q.bias = k.bias + (group * k.panels * k.panel + first) * k.item
        multiply_rows(p, &q, filters, weights + first * p.filter_step * k.item, row, rows, band,
                      target + first * filter_step * k.item, filter_step, row_step)
        first += filters


cdef void planes_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    cdef Planes *p = <Planes *>context
    cdef Walk *k = p.walk
    cdef Py_ssize_t group = task % k.groups, band = task // k.groups % p.bands
    cdef Py_ssize_t image = task // k.groups // p.bands
    cdef Py_ssize_t row = band * p.rows, rows = least(p.rows, k.h.size_out - row), r
    cdef Py_ssize_t width = k.w.size_out, filter = p.rows * width
    cdef char *planes = <char *>scratch
    cdef char *sums = planes + p.at_sums
    cdef View *y = &k.result
    cdef char *target = y.at + k.item * (
        image * y.step[0] + group * k.cout * y.step[1]
        + (k.h.out_first + row * k.h.out_step) * y.step[2] + k.w.out_first * y.step[3]
    )
    gather_planes(p, image, group, row, rows, planes)
    if p.to_planes:
        multiply_planes(p, group, row, rows, planes, target, y.step[1], k.h.out_step * y.step[2])
        return
    multiply_planes(p, group, row, rows, planes, sums, filter, width)
    if k.h.out_step * y.step[2] == width * k.w.out_step * y.step[3]:     # rows follow one another
        rows, width = 1, rows * width
    for r in range(rows):
        k.tiles.copy(
            width, k.cout, target + r * k.h.out_step * y.step[2] * k.item,
            k.w.out_step * y.step[3], y.step[1], sums + r * width * k.item, 1, filter,
        )


cdef void pack_planar(Planes *p) noexcept nogil:
    """Filters as [group][cout][kh][cin][kw], in the order of the walk's taps."""
    cdef Walk *k = p.walk
    cdef Filters *f = p.filters
    cdef Py_ssize_t group, i, j
    for group in range(k.groups):
        for i in range(k.h.taps):
            for j in range(k.w.taps):
                k.tiles.copy(
                    k.cout, k.cin,
                    p.packed + (group * k.cout * k.depth + i * k.cin * k.w.taps + j) * k.item,
                    k.depth, k.w.taps, filter_tap(k, f, group, 0, i, j), f.out_step, f.in_step,
                )


cdef int place_filters(Planes *p) except -1:
    """Filters as the product reads them: w itself where a filter is one run, or a copy."""
    cdef Walk *k = p.walk
    cdef Filters *f = p.filters
    cdef Py_ssize_t taps = k.h.taps * k.w.taps
    if ((flat_taps(k, f) and k.w.k_step == 1 or taps == 1)
            and (f.in_step == taps or k.cin == 1)):
        p.weights = filter_tap(k, f, 0, 0, 0, 0)
        p.filter_step, p.group_step = f.out_step, f.group_step
        return 0
    p.packed = <char *>malloc(k.groups * k.cout * k.depth * k.item)
    if p.packed == NULL:
        raise MemoryError("no memory for the packed filters")
    pack_planar(p)
    p.weights = p.packed
    p.filter_step, p.group_step = k.depth, k.cout * k.depth
    return 0


cdef inline Py_ssize_t planes_work(Walk *k) noexcept:
    """In about nanoseconds."""
    return k.images * k.h.size_out * k.w.size_out * k.groups * k.cout * k.depth // 16


cdef void cut_planes(Planes *p) except *:
    """Bands that fit and suffice for the threads."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t wanted = tasks_wanted(planes_work(k))
    p.rows = k.h.size_out
    while p.rows > 1 and (plane_bytes(k, p.rows) > BAND_BYTES
                          or (k.images * k.groups * ceil_div(k.h.size_out, p.rows) < wanted
                              and p.rows > 4)):
        p.rows = ceil_div(p.rows, 2)
    shape_planes(p)
    p.to_planes = k.w.out_step * k.result.step[3] == 1
    p.at_sums = aligned(plane_bytes(k, p.rows))
    p.scratch = p.at_sums
    if not p.to_planes:
        p.scratch += aligned(k.cout * p.rows * k.w.size_out * k.item)


cdef void shape_planes(Planes *p) noexcept nogil:
    """A band's planes, once its rows are known."""
    cdef Walk *k = p.walk
    p.bands = ceil_div(k.h.size_out, p.rows)
    p.phase = phase_pitch(k)
    p.pitch = k.w.step * p.phase
    p.plane = reach(&k.h, p.rows) * p.pitch
    p.flat = is_flat(k)


cdef inline Py_ssize_t plane_offset(Planes *p, Py_ssize_t d) noexcept nogil:
    """Where value d of [cin][kh][kw] lies in the planes, for the first result."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t j = d % k.w.taps * k.w.dilation
    return (d // (k.w.taps * k.h.taps) * p.plane
            + d // k.w.taps % k.h.taps * k.h.dilation * p.pitch
            + j % k.w.step * p.phase + j // k.w.step)


cdef inline Py_ssize_t place_by_rows(Walk *k, Py_ssize_t d) noexcept nogil:
    """The place in [cin][kh][kw] of value d of [kh][cin][kw]."""
    cdef Py_ssize_t j = d % k.w.taps, channel = d // k.w.taps % k.cin, i = d // k.w.taps // k.cin
    return (channel * k.h.taps + i) * k.w.taps + j


cdef int begin_planes(Planes *p, Walk *k, Filters *f, View *bias) except -1:
    """Cut planes, place filters; `end_planes` has to follow in any case."""
    cdef Py_ssize_t d
    p.walk, p.filters, p.packed = k, f, NULL
    p.w_offset = <Py_ssize_t *>malloc(k.depth * sizeof(Py_ssize_t))
    if p.w_offset == NULL:
        raise MemoryError("no memory for the offsets of a kernel's taps")
    place_filters(p)
    cut_planes(p)
    for d in range(k.depth):
        p.w_offset[d] = plane_offset(p, d if p.packed == NULL else place_by_rows(k, d))
    if bias != NULL:
        pack_bias(k, bias)
    return 0


cdef void end_planes(Planes *p) noexcept:
    free(p.packed)
    free(p.w_offset)
    free(p.walk.bias)
    p.walk.bias = NULL


cdef int planar_walk(Walk *k, Filters *f, View *bias) except -1:
    cdef Planes p
    try:
        begin_planes(&p, k, f, bias)
        run(planes_task, &p, k.images * k.groups * p.bands, planes_work(k), p.scratch)
    finally:
        end_planes(&p)
    return 0
