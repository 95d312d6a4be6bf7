# dw, as `direct` and `im2col` share it: the walk's product turned round.
#
#   dw[depth, filters] += rows[pixels, depth]^T @ dy[pixels, filters]
#
# The rows of a tile are values of the source, its panel is dy, its depth are pixels; the total
# is kept packed like filters.  Every sum has one order whatever the number of threads:
# bands follow one another, and the tiles of one are the units of parallel work; or, where the
# total is small, PARTS parts of the bands have a total each, and these are added in order
# (two threads: LeNet conv1's dw 0.96 -> 0.38 ms, as a thread's operands stay in its L2).
#
# The including module defines unrolls, unroll_row, depth_offset, row_step and gram_pixels, and in
# special_dw what it does in another way (k.result is dy there).

cdef enum:
    GRAM_BYTES = 512 * 1024     # of each operand of a band
    PARTS = 16
    PART_BYTES = 160 * 1024     # of a total that parts have copies of


# One band of dw: rows of the source on one side, dy packed like filters on the other.
cdef struct Gram:
    Walk *walk
    View dy
    Band band
    char *source            # gathered band
    char *unrolled
    char *grads             # [panel][pixels][width of the panel]
    char *total             # [part], each packed like the filters: [group][panel][depth][width]
    char **base             # per result row
    char **row              # per pixel
    Py_ssize_t *row_offset  # per result row, relative to the first
    Py_ssize_t taps, run, step, parts
    bint accumulate


cdef void gram_gather(void *context, Py_ssize_t r, void *scratch) noexcept nogil:
    """Result row r of the band: its source rows, and its dy packed into panels."""
    cdef Gram *g = <Gram *>context
    cdef Walk *k = g.walk
    cdef Band *b = &g.band
    cdef Py_ssize_t image = (b.row + r) // k.h.size_out, i = (b.row + r) % k.h.size_out
    cdef Py_ssize_t panel, columns, width
    cdef char *to
    if not k.in_place:
        gather_for(k, b, r, g.base)
    for panel in range(k.panels):
        columns = least(k.panel, k.cout - panel * k.panel)
        width = ceil_div(columns, k.tiles.lanes) * k.tiles.lanes
        to = g.grads + (panel * k.panel * b.pixels + r * b.columns * width) * k.item
        if columns < width:
            memset(to, 0, b.columns * width * k.item)
        k.tiles.copy(
            b.columns, columns, to, width, 1,
            g.dy.at + k.item * (
                image * g.dy.step[0] + (b.group * k.cout + panel * k.panel) * g.dy.step[1]
                + i * g.dy.step[2] + b.column * g.dy.step[3]
            ),
            g.dy.step[3], g.dy.step[1],
        )


cdef void gram_multiply(void *context, Py_ssize_t index, void *scratch) noexcept nogil:
    """A tile of the depth times one panel of dy, over all pixels of the band."""
    cdef Gram *g = <Gram *>context
    cdef Walk *k = g.walk
    cdef Py_ssize_t tiles = ceil_div(k.depth, k.tiles.rows)
    cdef Py_ssize_t panel = index // tiles, tile = index % tiles
    cdef Py_ssize_t first = tile * k.depth // tiles
    cdef Py_ssize_t rows = (tile + 1) * k.depth // tiles - first
    cdef Py_ssize_t m, d, width
    cdef const void *a[16]
    cdef void *c[16]
    cdef fc_product p
    p.columns = <int>least(k.panel, k.cout - panel * k.panel)
    p.vectors = <int>ceil_div(p.columns, k.tiles.lanes)
    width = p.vectors * k.tiles.lanes
    packed_panel(k, &p)
    p.columns = <int>width
    p.taps, p.run, p.step, p.offset = g.taps, g.run, g.step, g.row_offset
    p.w = g.grads + panel * k.panel * g.band.pixels * k.item
    p.bias = NULL
    p.accumulate, p.relu = g.accumulate, False
    cdef char *total = g.total + k.item * (
        g.band.group * k.group_size + panel * k.panel * k.depth
    )
    for m in range(k.tiles.rows):
        d = least(first + m, k.depth - 1)
        a[m] = g.row[0] + depth_offset(k, d) * k.item
        c[m] = total + d * width * k.item
    k.tiles.product(&p, <int>rows, a, c)


cdef void gram_rows(Gram *g) noexcept nogil:
    """The depth of dw's product: result rows of pixels, as few runs as they allow."""
    cdef Walk *k = g.walk
    cdef Band *b = &g.band
    cdef Py_ssize_t r, gap
    cdef bint even = True
    for r in range(b.rows):
        g.row_offset[r] = (g.row[r * b.columns] - g.row[0]) // k.item
    g.taps, g.run = b.rows, b.columns
    g.step = row_step(k)
    if b.rows == 1:
        return
    gap = g.row_offset[1]
    for r in range(2, b.rows):
        even = even and g.row_offset[r] == r * gap
    if even and b.columns == 1:
        g.taps, g.run, g.step = 1, b.rows, gap
    elif even and gap == b.columns * g.step:
        g.taps, g.run = 1, b.pixels


cdef void begin_band(Gram *g, Py_ssize_t group, Py_ssize_t i, bint accumulate) noexcept nogil:
    g.band = band_of(g.walk, i * g.walk.groups + group)
    g.accumulate = accumulate
    base_rows(g.walk, &g.band, g.source, g.base)
    place_pixels(g.walk, &g.band, g.base, g.row)


cdef inline Py_ssize_t depth_tiles(Walk *k) noexcept nogil:
    return k.panels * ceil_div(k.depth, k.tiles.rows)


cdef int gram_bands(Gram *g, Py_ssize_t group) except -1:
    """All bands of one group, one after another, each on all threads."""
    cdef Walk *k = g.walk
    cdef Py_ssize_t i, work
    for i in range(k.row_bands * k.column_bands):
        begin_band(g, group, i, i > 0)
        work = g.band.pixels * k.depth * k.panels * k.panel // 32
        run(gram_gather, g, g.band.rows, work, 0)
        if unrolls(k):
            run(unroll_row, g, g.band.rows, work, 0)
        gram_rows(g)
        run(gram_multiply, g, depth_tiles(k), work, 0)
    return 0


cdef void gram_part(void *context, Py_ssize_t part, void *scratch) noexcept nogil:
    """Some bands of every group on one thread, into a total of their own."""
    cdef Gram g = (<Gram *>context)[0]
    cdef Walk *k = g.walk
    cdef Py_ssize_t bands = k.row_bands * k.column_bands, group, i, j
    cdef Py_ssize_t first = part * bands // g.parts
    lay_band(&g, <char *>scratch)
    g.total += part * total_bytes(k)
    for group in range(k.groups):
        for i in range(first, (part + 1) * bands // g.parts):
            begin_band(&g, group, i, i > first)
            for j in range(g.band.rows):
                gram_gather(&g, j, NULL)
            if unrolls(k):
                for j in range(g.band.rows):
                    unroll_row(&g, j, NULL)
            gram_rows(&g)
            for j in range(depth_tiles(k)):
                gram_multiply(&g, j, NULL)


cdef int gram_parts(Gram *g) except -1:
    """Parts on threads, then their totals one after another: the same sums on any number."""
    cdef Walk *k = g.walk
    cdef Py_ssize_t part, n = k.groups * k.group_size
    cdef Py_ssize_t work = k.images * k.h.size_out * k.w.size_out * n // 32
    run(gram_part, g, g.parts, work, lay_band(g, NULL))
    for part in range(1, g.parts):
        k.tiles.add(1, n, g.total, 0, 1, g.total + part * total_bytes(k), 0, 1)
    return 0


cdef inline size_t total_bytes(Walk *k) noexcept nogil:
    return aligned(k.groups * k.group_size * k.item)


cdef size_t lay_band(Gram *g, char *memory) noexcept nogil:
    """What a band needs, from `memory` on; returns the size of it."""
    cdef Walk *k = g.walk
    cdef size_t pixels = k.rows * k.columns, at = 0
    cdef size_t widths = k.group_size // k.depth
    g.base = <char **>(memory + at)
    at += aligned(k.rows * sizeof(char *))
    g.row_offset = <Py_ssize_t *>(memory + at)
    at += aligned(k.rows * sizeof(Py_ssize_t))
    g.row = <char **>(memory + at)
    at += aligned((pixels + 16) * sizeof(char *))
    g.source = memory + at
    at += aligned(band_bytes(k, k.rows, k.columns))
    g.unrolled = memory + at
    at += aligned(unrolled_bytes(k, pixels))
    g.grads = memory + at
    return at + aligned(pixels * widths * k.item)


cdef int gram(Gram *g, Filters *f) except -1:
    """Bands in parallel inside, or beside one another; then the total back into w."""
    cdef Walk *k = g.walk
    cdef Py_ssize_t group
    cdef bint parts = total_bytes(k) <= PART_BYTES
    cdef Py_ssize_t pixels = GRAM_BYTES // (k.group_size // k.depth * k.item)
    cdef size_t bytes
    cdef char *memory
    cut_bands(k, most(least(pixels, gram_pixels(k)), 64), GRAM_BYTES,
              PARTS * k.groups if parts else 1)
    lay_rows(k)
    g.parts = least(PARTS, k.row_bands * k.column_bands) if parts else 1
    bytes = g.parts * total_bytes(k) + (0 if parts else lay_band(g, NULL))
    memory = take(bytes)
    try:
        g.total = memory
        if parts:
            gram_parts(g)
        else:
            lay_band(g, memory + total_bytes(k))
            for group in range(k.groups):
                gram_bands(g, group)
        pack(k, f, g.total, True)
    finally:
        runtime.give(memory, bytes)
    return 0


cdef int weights_gradient(object dy, object x, object dw, object dims) except -1:
    cdef Walk k
    cdef Gram g
    cdef Filters f
    cdef Geometry sizes = geometry_of(dims)
    borrow(x, False, &k.source)
    borrow(dy, False, &g.dy)
    borrow(dw, True, &f.w)
    k.tiles, k.item = tiles_of(&k.source), k.source.item
    read_geometry(&k, &sizes)
    if k.images == 0:
        dw[...] = 0
        return 0
    f.in_step, f.out_step, f.group_step = f.w.step[1], f.w.step[0], k.cout * f.w.step[0]
    k.offset = NULL
    thin(&k, &k.h, 2)
    thin(&k, &k.w, 3)
    set_panels(&k)
    k.result = g.dy
    if special_dw(&k, &f):
        return 0
    k.in_place = inside(&k.h) and inside(&k.w) and (k.source.step[1] == 1 or k.cin == 1)
    g.walk = &k
    try:
        gram(&g, &f)
    finally:
        free(k.offset)
    return 0
