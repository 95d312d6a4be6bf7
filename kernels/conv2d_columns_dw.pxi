# dw of a walk over columns: dy is read, and dw written, where they lie.
#
#   dw[filters, depth] += dy[filters, pixels] @ windows[pixels, depth]
#
# A filter's weights are neighbours, and in NCHW so are its pixels: of three matrices only the
# windows are unrolled (conv2d_columns.pxi) and packed, and no total is unpacked (conv2d_gram.pxi
# packs all three).  Windows of one tap over planes are packed from where they lie.
# Pixels are cut the same whatever the number of threads: parts of a plane, or several images.
#
# Cascade Lake, one image: 3×3/2, 512-512 on 14² 12 -> 3.0 ms, 3×3 512-512 on 14² 17 -> 8.8 ms.

cdef enum:
    PART_PIXELS = 256           # a tile of dy takes a quarter of L1
    WINDOW_BYTES = 256 * 1024   # of a part's packed windows
    WINDOW_CHANNELS = 16        # of a block, or a multiple: whole panels of 3×3 windows
    MOST_TAPS = 32              # a block of larger windows is too large
    MANY_PIXELS = 4096          # in one sum


cdef struct ColumnsDw:
    Walk *walk
    Filters *filters
    Columns windows
    Py_ssize_t pixels, images           # of a part: one image's, or several images'
    Py_ssize_t channels, cout           # of a task
    Py_ssize_t channel_blocks, filter_blocks
    size_t at_unrolled, at_panels, scratch


cdef bint columns_dw_pay(Walk *k, Filters *f) noexcept:
    """By costs per pixel and value of the depth, in lanes (fitted to 220 problems, Cascade Lake;
    winograd.py has them too, for planes)."""
    cdef View *dy = &k.result
    cdef Py_ssize_t taps = k.h.taps * k.w.taps
    cdef double pixels = k.images * k.h.size_out * k.w.size_out
    cdef double filters = ceil_div(k.cout, k.tiles.lanes) * k.tiles.lanes
    cdef double rows = ceil_div(k.cout, k.tiles.rows) * k.tiles.rows
    if f.in_step != taps or taps > 1 and not flat_taps(k, f) or taps > MOST_TAPS:
        return False
    if dy.step[2] != k.w.size_out * dy.step[3]:
        return False
    if taps == 1 and dy.step[3] == 1:
        return True
    if pixels > MANY_PIXELS and total_bytes(k) <= PART_BYTES:
        return False            # sums in parts are more exact: 64-64 on 56², N = 4: 7e-7, not 5e-6
    if taps == 1:
        return True
    if dy.step[3] != 1:
        rows *= 1.25            # pixels a filter's row apart
    return (rows + 19 + 280.0 / k.w.size_out
            < 1.2 * filters + 58 * k.cout / pixels + 150.0 / taps + UNROLL_ROWS * unrolls(k))


# ---- windows ----

cdef void pack_block(ColumnsDw *p, fc_product *q, Py_ssize_t image, Py_ssize_t pixel, Walk *block,
                     char *panels, char *unrolled) noexcept nogil:
    """[panel][image][pixel][depth of the panel] of a block of channels, zeros beside the last."""
    cdef View *s = &block.source
    cdef Columns windows = p.windows
    cdef Py_ssize_t lanes = block.tiles.lanes, panel = block.tiles.vectors * lanes
    cdef Py_ssize_t i, at, some, width, row, step
    cdef char *x
    cdef char *to
    windows.walk = block
    for i in range(q.taps):
        x = s.at + ((image + i) * s.step[0] + pixel * s.step[3]) * block.item
        row, step = s.step[1], s.step[3]
        if not windows.from_planes:
            at = (image + i) * windows.plane + pixel
            unroll_panel(&windows, at, at + q.run, unrolled)
            x, row, step = unrolled, ceil_div(q.run, lanes) * lanes, 1
        at = 0
        while at < block.depth:
            some = least(panel, block.depth - at)
            width = ceil_div(some, lanes) * lanes
            to = panels + (at * q.taps + i * width) * q.run * block.item
            if some < width:
                memset(to, 0, q.run * width * block.item)
            block.tiles.copy(q.run, some, to, width, 1, x + at * row * block.item, step, row)
            at += panel


cdef void multiply_block(ColumnsDw *p, fc_product *q, Py_ssize_t filters, Py_ssize_t depth,
                         char *panels, char *dy, char *dw) noexcept nogil:
    """Some filters by some depth: tile after tile of filters along all panels."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t panel = k.tiles.vectors * k.tiles.lanes, o = 0, at, rows, m
    cdef const void *a[16]
    cdef void *c[16]
    while o < filters:
        rows = least(k.tiles.rows, filters - o)
        for m in range(k.tiles.rows):
            a[m] = dy + (o + least(m, rows - 1)) * k.result.step[1] * k.item
        at = 0
        while at < depth:
            q.columns = <int>least(panel, depth - at)
            q.vectors = <int>ceil_div(q.columns, k.tiles.lanes)
            q.w = panels + at * q.taps * q.run * k.item
            for m in range(rows):
                c[m] = dw + ((o + m) * p.filters.out_step + at) * k.item
            k.tiles.product(q, <int>rows, a, c)
            at += panel
        o += rows


cdef void columns_dw_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    """Some filters by some channels of a group: all images, part by part."""
    cdef ColumnsDw *p = <ColumnsDw *>context
    cdef Walk *k = p.walk
    cdef Walk block = k[0]
    cdef Filters *f = p.filters
    cdef View *dy = &k.result
    cdef Py_ssize_t group = task // p.filter_blocks // p.channel_blocks
    cdef Py_ssize_t channel = task // p.filter_blocks % p.channel_blocks * p.channels
    cdef Py_ssize_t filter = task % p.filter_blocks * p.cout, image = 0, pixel
    cdef char *panels = <char *>scratch + p.at_panels
    cdef fc_product q
    block.cin = least(p.channels, k.cin - channel)
    block.depth = block.cin * p.windows.taps
    block.source.at += (group * k.cin + channel) * block.source.step[1] * k.item
    q.offset, q.w_offset, q.step = <Py_ssize_t *>scratch, NULL, dy.step[3]
    q.bias, q.relu, q.by_row, q.accumulate = NULL, False, False, False
    q.each = q.c_vector = k.tiles.lanes
    for pixel in range(p.images):
        (<Py_ssize_t *>scratch)[pixel] = pixel * dy.step[0]
    while image < k.images:
        q.taps = least(p.images, k.images - image)
        pixel = 0
        while pixel < p.windows.plane:
            q.run = least(p.pixels, p.windows.plane - pixel)
            pack_block(p, &q, image, pixel, &block, panels, <char *>scratch + p.at_unrolled)
            multiply_block(
                p, &q, least(p.cout, k.cout - filter), block.depth, panels,
                dy.at + k.item * (image * dy.step[0] + (group * k.cout + filter) * dy.step[1]
                                  + pixel * dy.step[3]),
                f.w.at + k.item * (group * f.group_step + filter * f.out_step
                                   + channel * p.windows.taps),
            )
            q.accumulate = True
            pixel += q.run
        image += q.taps


# ---- cutting ----

cdef void cut_columns_dw(ColumnsDw *p, Py_ssize_t work) except *:
    """Parts of pixels by size alone; blocks so that threads have some each: of channels first,
    as windows are packed again for each block of filters."""
    cdef Walk *k = p.walk
    cdef Columns *u = &p.windows
    cdef Py_ssize_t panel = k.tiles.vectors * k.tiles.lanes, fits
    cdef Py_ssize_t unit = least(panel, 2 * k.tiles.lanes)  # (64 as 2 × 32, not 48 and 16)
    u.taps, u.plane = k.h.taps * k.w.taps, k.h.size_out * k.w.size_out
    u.from_planes = from_planes(k)
    if u.taps > 1:
        unit = WINDOW_CHANNELS
    p.pixels = ceil_div(u.plane, ceil_div(u.plane, PART_PIXELS))
    p.images = most(1, least(k.images, PART_PIXELS // u.plane))
    fits = WINDOW_BYTES // (p.pixels * p.images * u.taps * unit * k.item) * unit
    p.channels = least(most(unit, fits), thread_part(k.cin, unit, k.groups, work))
    p.channels = ceil_div(ceil_div(k.cin, ceil_div(k.cin, p.channels)), unit) * unit
    p.channel_blocks = ceil_div(k.cin, p.channels)
    p.cout = thread_part(k.cout, k.tiles.rows, k.groups * p.channel_blocks, work)
    p.filter_blocks = ceil_div(k.cout, p.cout)
    p.at_unrolled = aligned(p.images * sizeof(Py_ssize_t))
    p.at_panels = p.at_unrolled
    if not u.from_planes:
        p.at_panels += aligned(p.channels * u.taps * k.item
                               * ceil_div(p.pixels, k.tiles.lanes) * k.tiles.lanes)
    p.scratch = p.at_panels + (p.images * p.pixels * k.item
                               * ceil_div(p.channels * u.taps, panel) * panel)


cdef int columns_gradient(Walk *k, Filters *f) except -1:
    cdef ColumnsDw p
    cdef Py_ssize_t work = (k.images * k.h.size_out * k.w.size_out * k.groups * k.depth
                            * k.cout // 32)
    p.walk, p.filters = k, f
    cut_columns_dw(&p, work)
    run(columns_dw_task, &p, k.groups * p.channel_blocks * p.filter_blocks, work, p.scratch)
    return 0
