# Forward and dx, as `direct` and `im2col` share them: the same walk over a source (see
# dims.TapAxis; dx is one walk per phase of the stride, over dy with part of the kernel):
#
#   y[pixels, filters] = rows[pixels, depth] @ packed[depth, filters]
#
# The result is cut into bands of pixels and those into tiles of a few pixels, which run
# across the rows of a plane and across images.  A band's part of the source is gathered
# once, padded and channels-last, into scratch that stays in L2 (or used where it lies);
# panels of packed filters then pass over it.  The depth is cut so that a panel stays in L1/L2.
#
# Bands, groups and panels are the units of parallel work.  No sum is cut by them, so the bits
# do not depend on the number of threads.
#
# The including module defines where rows come from (place_rows, product_depth, most_pixels,
# unrolled_bytes), and in special_walk, special_way, special_dx and special_phases what it does in
# another way.

cdef inline void packed_panel(Walk *k, fc_product *p) noexcept nogil:
    p.w_offset, p.by_row = NULL, False
    p.each = k.tiles.lanes
    p.c_vector = k.tiles.lanes


cdef void multiply_tiles(Walk *k, Band *b, fc_product *p, char **row, char **target,
                         Py_ssize_t shift, char *sums) noexcept nogil:
    """All tiles of pixels of a band, into the result (at `shift`) or into `sums`."""
    cdef Py_ssize_t tiles = ceil_div(b.pixels, k.tiles.rows), tile, first, rows, m
    cdef void *c[16]
    for tile in range(tiles):
        first = tile * b.pixels // tiles
        rows = (tile + 1) * b.pixels // tiles - first
        for m in range(rows):
            if sums == NULL:
                c[m] = target[first + m] + shift
            else:
                c[m] = sums + (first + m) * k.panel * k.item
        k.tiles.product(p, <int>rows, <const void **>(row + first), c)


cdef void multiply_band(Walk *k, Band *b, Py_ssize_t panel, char **row, char **target,
                        char *sums) noexcept nogil:
    """One panel over the band: the depth in parts, each part over all tiles."""
    cdef fc_product p
    cdef Py_ssize_t taps, run, tap, part, first, width
    cdef Py_ssize_t shifted[1]
    cdef char *packed
    product_depth(k, &taps, &run)
    packed_panel(k, &p)
    p.columns = <int>least(k.panel, k.cout - panel * k.panel)
    p.vectors = <int>ceil_div(p.columns, k.tiles.lanes)
    p.step = 1
    width = p.vectors * k.tiles.lanes
    packed = panel_at(k, b.group, panel, width)
    p.bias = NULL
    if k.bias != NULL:
        p.bias = k.bias + (b.group * k.panels + panel) * k.panel * k.item
    cdef Py_ssize_t most_depth = PANEL_BYTES // (width * k.item)
    cdef Py_ssize_t most_run = least(run, most_depth)
    tap, part = 0, 0
    while True:
        # the next part: some whole taps, or a part of the run of one
        p.taps = least(taps - tap, most(1, most_depth // most(run, 1)))
        p.run = least(run - part, most_run)
        shifted[0] = k.offset[tap] + part if taps else 0
        p.offset = &shifted[0] if p.taps == 1 else k.offset + tap
        p.w = packed + (tap * run + part) * width * k.item
        first = tap + part
        part += p.run
        if part >= run:
            tap, part = tap + p.taps, 0
        p.accumulate = first > 0
        p.relu = k.relu and tap >= taps
        multiply_tiles(k, b, &p, row, target, panel * k.panel * k.item, sums)
        if tap >= taps:
            return


cdef void place_targets(Walk *k, Band *b, char **target) noexcept nogil:
    """Where the first channel of each pixel of the result goes."""
    cdef Py_ssize_t r, c, image, i
    cdef View *y = &k.result
    cdef char *at
    for r in range(b.rows):
        image, i = (b.row + r) // k.h.size_out, (b.row + r) % k.h.size_out
        at = y.at + k.item * (
            image * y.step[0] + b.group * k.cout * y.step[1]
            + (k.h.out_first + i * k.h.out_step) * y.step[2]
            + (k.w.out_first + b.column * k.w.out_step) * y.step[3]
        )
        for c in range(b.columns):
            target[r * b.columns + c] = at + c * k.w.out_step * y.step[3] * k.item


cdef void scatter_sums(Walk *k, Band *b, Py_ssize_t panel, char *sums,
                       char **target) noexcept nogil:
    """Sums [pixels][filters] of one panel to a result that is not channels-last.

    Rows of an image that follow one another without a gap are one.
    """
    cdef Py_ssize_t r = 0, run
    cdef View *y = &k.result
    cdef Py_ssize_t step = k.w.out_step * y.step[3]
    cdef bint piled = (b.columns == k.w.size_out
                       and k.h.out_step * y.step[2] == b.columns * step)
    while r < b.rows:
        run = 1
        if piled:
            run = least(b.rows - r, k.h.size_out - (b.row + r) % k.h.size_out)
        k.tiles.copy(
            run * b.columns, least(k.panel, k.cout - panel * k.panel),
            target[r * b.columns] + panel * k.panel * y.step[1] * k.item, step, y.step[1],
            sums + r * b.columns * k.panel * k.item, k.panel, 1,
        )
        r += run


cdef void band_task(void *context, Py_ssize_t index, void *scratch) noexcept nogil:
    cdef Walk *k = <Walk *>context
    cdef Band b = band_of(k, index % bands_of(k))
    cdef Py_ssize_t chunk = index // bands_of(k), panel
    cdef char *at = <char *>scratch
    cdef char **row = <char **>at
    cdef char **target = <char **>(at + k.at_target)
    cdef bint direct = k.result.step[1] == 1 or k.cout == 1
    cdef char *sums = NULL if direct else at + k.at_sums
    place_rows(k, &b, at + k.at_band, at + k.at_unrolled, row)
    place_targets(k, &b, target)
    for panel in range(chunk * k.panels // k.chunks, (chunk + 1) * k.panels // k.chunks):
        multiply_band(k, &b, panel, row, target, sums)
        if not direct:
            scatter_sums(k, &b, panel, sums, target)


cdef void lay_scratch(Walk *k) noexcept:
    cdef size_t pixels = k.rows * k.columns
    k.at_target = aligned((pixels + 16) * sizeof(char *))
    k.at_band = k.at_target + aligned(pixels * sizeof(char *))
    k.at_unrolled = k.at_band + aligned(band_bytes(k, k.rows, k.columns))
    k.at_sums = k.at_unrolled + aligned(unrolled_bytes(k, pixels))
    k.scratch = k.at_sums + aligned(pixels * k.panel * k.item)


cdef inline Py_ssize_t work_of(Walk *k) noexcept:
    """In about nanoseconds.  (Padded filters cost nothing: of 16, LeNet's second layer took 25 us
    on two threads from rest, 11 on one.)"""
    return k.images * k.h.size_out * k.w.size_out * k.groups * k.depth * k.cout // 32


cdef void plan(Walk *k) except *:
    """Cut the result into bands, and the panels of each where bands are few."""
    cdef Py_ssize_t wanted = tasks_wanted(work_of(k))
    k.in_place = inside(&k.h) and inside(&k.w) and (k.source.step[1] == 1 or k.cin == 1)
    cut_bands(k, most_pixels(k), BAND_BYTES, wanted)
    k.chunks = least(k.panels, ceil_div(wanted, bands_of(k)))
    lay_scratch(k)


cdef object begin_walk(Walk *k, Filters *f, View *bias, object prepared, Together *all,
                       Py_ssize_t phase):
    """Cut the result into bands, pack the filters, or a phase of all packed together.

    Returns what must be held until `end_walk`, which has to follow in any case.
    """
    cdef size_t packed_bytes = k.groups * k.group_size * k.item + 64
    held = None
    plan(k)
    lay_rows(k)
    if prepared is not None:
        held = keep_packed(k, f, prepared, packed_bytes)
    elif all != NULL:
        pack_together(k, f, all, phase)
    else:
        k.taken, k.taken_bytes = take(packed_bytes), packed_bytes
        k.packed = k.taken
        pack(k, f, k.packed, False)
    if bias != NULL:
        pack_bias(k, bias)
    return held


cdef void end_walk(Walk *k) noexcept:
    if k.taken != NULL:
        runtime.give(k.taken, k.taken_bytes)
    free(k.bias)
    free(k.offset)


cdef int walk(Walk *k, Filters *f, View *bias, object prepared, Together *all=NULL,
              Py_ssize_t phase=0) except -1:
    """A walk over sources and axes that are set."""
    k.packed = k.taken = k.bias = NULL
    k.offset = NULL
    if k.images * k.h.size_out * k.w.size_out == 0:
        return 0
    thin(k, &k.h, 2)
    thin(k, &k.w, 3)
    set_panels(k)
    if special_walk(k, f, bias):
        return 0
    try:
        held = begin_walk(k, f, bias, prepared, all, phase)  # no-cython-lint: held while read
        run(band_task, k, bands_of(k) * k.chunks, work_of(k), k.scratch)
    finally:
        end_walk(k)
    return 0


cdef object keep_packed(Walk *k, Filters *f, object prepared, size_t bytes):
    """k.packed as it is kept in PreparedWeights; made now if it is not there.

    Returns its memory, to be held while it is read: another thread may replace what is kept.
    """
    cdef bint made
    key, form = form_of(prepared, (k.panel, k.h.taps * k.w.taps), k, bytes, &k.packed, &made)
    if not made:
        pack(k, f, k.packed, False)
        prepared.keep(key, form)
    return form


def describe(dims, dtype, channels_last):
    """How the forward walk would be done: text by heading, for `explain`."""
    cdef Walk k
    shape_of_walk(&k, dims, dtype, channels_last)
    if k.images == 0:
        return {"way": "nothing to do: N is 0"}
    thin(&k, &k.h, 2)
    thin(&k, &k.w, 3)
    set_panels(&k)
    special = special_way(&k)
    if special is not None:
        return special
    plan(&k)
    source = "x is read where it lies" if k.in_place else "x is gathered, padded, channels-last"
    return {
        "way": f"tiles of {k.tiles.rows} pixels x {k.panel} filters, depth {k.depth}; "
               f"{bands_of(&k)} bands of {k.rows} x {k.columns} pixels in "
               f"{bands_of(&k) * k.chunks} tasks",
        "copies": f"{source}; filters are packed: "
                  f"{k.groups * k.group_size * k.item / 1024:.0f} KiB",
        "scratch": f"{k.scratch / 1024:.0f} KiB per thread",
    }


cdef int forward(object x, object w, object b, object y, object dims, bint relu,
                 object prepared) except -1:
    cdef Walk k
    cdef Filters f
    cdef View bias
    begin_forward(&k, &f, x, w, y, dims, relu)
    if b is not None:
        borrow(b, False, &bias)
    return walk(&k, &f, &bias if b is not None else NULL, prepared)


cdef enum:
    CLEARED = 64 * 1024         # bytes of a task


cdef struct Cleared:
    char *at
    Py_ssize_t bytes


cdef void clear_task(void *context, Py_ssize_t index, void *scratch) noexcept nogil:
    cdef Cleared *c = <Cleared *>context
    memset(c.at + index * CLEARED, 0, least(CLEARED, c.bytes - index * CLEARED))


cdef int clear(object dx) except -1:
    """Zeros; by all threads where dx is in one piece (1×1/2 64-128 @56, two of them on a Xeon:
    0.24 -> 0.17 ms)."""
    cdef Cleared c
    cdef View view
    if not (dx.flags.c_contiguous or dx.transpose(0, 2, 3, 1).flags.c_contiguous):
        dx[...] = 0
        return 0
    borrow(dx, True, &view)
    c.at, c.bytes = view.at, dx.nbytes
    run(clear_task, &c, ceil_div(c.bytes, CLEARED), c.bytes // 16, 0)
    return 0


cdef int backward(object dy, object w, object dx, object dims) except -1:
    """dx: from every phase of the stride a walk over dy, with the filters' axes exchanged."""
    cdef Walk k
    cdef Filters f
    cdef View source
    begin_backward(&k, &f, dy, w, dx, dims)
    source = k.source
    if special_dx(&k, &f, dims):
        return 0
    phases = [(rows, columns) for rows, columns in dims.dx_phases if rows.taps and columns.taps]
    if len(phases) < len(dims.dx_phases):       # a stride beyond the kernel: nothing reaches some
        clear(dx)
    if len(phases) > 1 and by_windows(&f):
        walk_phases(&k, &f, phases)
        return 0
    for rows, columns in phases:
        k.source = source       # (the walk before may have thinned it)
        read_axis(rows, &k.h)
        read_axis(columns, &k.w)
        walk(&k, &f, NULL, None)
    return 0


cdef int walk_phases(Walk *k, Filters *f, list phases) except -1:
    """All phases of dx, whose filters are packed together."""
    cdef Together all
    cdef Walk one
    cdef Py_ssize_t i
    all.count, all.depth, all.packed, all.bytes = len(phases), 0, NULL, 0
    all.phase = <Phase *>malloc(all.count * sizeof(Phase))
    if all.phase == NULL:
        raise MemoryError("no memory for the phases of a stride")
    try:
        for i in range(all.count):
            read_axis(phases[i][0], &all.phase[i].h)
            read_axis(phases[i][1], &all.phase[i].w)
            all.phase[i].first = all.depth
            all.depth += all.phase[i].h.taps * all.phase[i].w.taps * k.cin
        if special_phases(k, f, &all):
            return 0
        for i in range(all.count):
            one = k[0]
            one.h, one.w = all.phase[i].h, all.phase[i].w
            walk(&one, f, NULL, None, &all, i)
    finally:
        if all.packed != NULL:
            runtime.give(all.packed, all.bytes)
        free(all.phase)
    return 0
