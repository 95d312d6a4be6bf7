# dw by Winograd's algorithm: r × r results, and dy's m × m tiles are the filter.
#
#   dw[channel, filter] = Aᵀ ( Σ over tiles  V[e][tile, channel]ᵀ @ D[e][tile, filter] ) A
#
# V as in the forward pass, D = G dy Gᵀ.  A unit of work is a block of channels with a few panels
# of filters, whose n·n sums stay near L2 while the bands of tiles pass by; each unit transforms
# what it needs.  Where units are few, PARTS of the bands have sums of their own, which are
# added in order: so every sum has one order, whatever the number of threads.

cdef enum:
    PARTS = 8               # units times parts, at least
    UNIT_PANELS = 4
    PARTS_BYTES = 16 * 1024 * 1024  # of all their sums
    DW_TILES = 64           # of a band


cdef struct WinogradDw:
    Winograd x, dy          # data and gradients as tiles of the same bands
    Filters *filters
    Py_ssize_t groups, cin, cout, blocks, panels, panel, unit_panels, parts
    size_t unit_bytes       # sums of a unit
    char *sums              # [unit][part], if there are parts; else in a thread's scratch
    size_t at_dy, at_band, at_taps, at_sums, scratch


cdef struct Unit:
    Py_ssize_t group, first, channels       # channels of x in this unit, from `first` on
    Py_ssize_t panel, panels


cdef inline Py_ssize_t units_of(WinogradDw *g) noexcept nogil:
    return g.groups * g.blocks * ceil_div(g.panels, g.unit_panels)


cdef Unit unit_of(WinogradDw *g, Py_ssize_t index) noexcept nogil:
    cdef Unit u
    cdef Py_ssize_t sets = ceil_div(g.panels, g.unit_panels)
    u.panel = index % sets * g.unit_panels
    u.panels = least(g.unit_panels, g.panels - u.panel)
    u.first = index // sets % g.blocks * g.x.block
    u.channels = least(g.x.block, g.cin - u.first)
    u.group = index // sets // g.blocks
    return u


cdef inline Py_ssize_t panel_columns(WinogradDw *g, Py_ssize_t panel) noexcept nogil:
    return least(g.panel, g.cout - panel * g.panel)


cdef inline size_t sums_step(WinogradDw *g) noexcept nogil:
    """Elements from one e to the next."""
    cdef Py_ssize_t channels = g.x.phases * g.x.phases * least(g.x.block, g.cin)
    return element(&g.x, channels, g.panel)


cdef void narrow(Walk *k, Py_ssize_t first, Py_ssize_t channels) noexcept nogil:
    """The walk over some of the channels only."""
    k.source.at += first * k.source.step[1] * k.item
    k.cin = channels
    k.row_step, k.pixel_step = reach(&k.w, k.columns) * channels, channels


cdef void add_products(WinogradDw *g, Winograd *x, Py_ssize_t width, Py_ssize_t tiles, char *data,
                       char *grads, char *sums, bint accumulate) noexcept nogil:
    """sums[e][channel, filter] (+)= V[e]ᵀ @ D[e]: rows are channels, the depth is tiles."""
    cdef Py_ssize_t depth = data_width(x, x.walk.cin), channels = x.phases * x.phases * x.walk.cin
    cdef Py_ssize_t item = x.walk.item, rows = x.walk.tiles.rows, e, c, m, offset = 0
    cdef const void *a[16]
    cdef void *to[16]
    cdef fc_product p
    p.taps, p.run, p.step, p.offset, p.w_offset = 1, tiles, depth, &offset, NULL
    p.each = <int>x.walk.tiles.lanes
    p.c_vector = x.walk.tiles.lanes
    p.vectors, p.columns = <int>(width // x.walk.tiles.lanes), <int>width
    p.bias, p.by_row, p.relu, p.accumulate = NULL, False, False, accumulate
    for e in range(x.n * x.n):
        p.w = grads + e * element(x, tiles, width) * item
        c = 0
        while c < channels:
            for m in range(rows):
                a[m] = data + (e * element(x, tiles, depth) + least(c + m, channels - 1)) * item
                to[m] = sums + (e * sums_step(g) + (c + m) * width) * item
            x.walk.tiles.product(&p, <int>least(rows, channels - c), a, to)
            c += rows


cdef void unit_results(WinogradDw *g, Unit *u, char *sums, char *taps) noexcept nogil:
    """dw of a unit from its sums."""
    cdef Winograd *x = &g.x
    cdef Filters *f = g.filters
    cdef Py_ssize_t item = x.walk.item, phases = x.phases * x.phases
    cdef Py_ssize_t panel, columns, width, c, i, n, phase
    cdef char *w
    cdef char *to
    cdef char *spare
    cdef fc_winograd p
    p.n, p.m, p.rows, p.columns = <int>x.n, <int>x.r, <int>x.r, <int>x.r
    p.relu, p.bias, p.s_element = False, NULL, sums_step(g)
    for panel in range(u.panel, u.panel + u.panels):
        columns = panel_columns(g, panel)
        width = data_width(&g.dy, columns)
        p.filters, p.y_row, p.y_column = <int>columns, x.r * width, width
        spare = taps + SOME * x.window * width * item
        c = 0
        while c < u.channels:
            n = least(SOME, u.channels - c)
            for i in range(n):
                to = taps + i * x.window * width * item
                for phase in range(phases):
                    x.walk.tiles.winograd_out(
                        &p, sums + (phase * u.channels + c + i) * width * item,
                        spare if phases > 1 else to)
                    if phases > 1:
                        move_phase(x, x.phases, phase, width * item, False, to, width * item,
                                   spare, width * item)
            w = f.w.at + item * (u.group * f.group_step + panel * g.panel * f.out_step
                                 + (u.first + c) * f.in_step)
            x.walk.tiles.copy(n * x.window, columns, w, 1, f.out_step, taps, width, 1)
            c += SOME
        sums += x.n * x.n * sums_step(g) * item


cdef void sum_unit(WinogradDw *g, Unit *u, Py_ssize_t first, Py_ssize_t last, char *sums,
                   char *scratch) noexcept nogil:
    """The sums of a unit over the bands [first, last)."""
    cdef Winograd x = g.x
    cdef Winograd dy = g.dy
    cdef Walk of_x = g.x.walk[0]
    cdef Walk of_dy
    cdef Py_ssize_t i, panel, columns
    cdef Band b
    x.walk, dy.walk = &of_x, &of_dy
    narrow(&of_x, u.group * g.cin + u.first, u.channels)
    for i in range(first, last):
        b = band_of(&of_x, i)
        transform_data(&x, &b, scratch + g.at_band, scratch)
        for panel in range(u.panels):
            columns = panel_columns(g, u.panel + panel)
            of_dy = g.dy.walk[0]
            narrow(&of_dy, u.group * g.cout + (u.panel + panel) * g.panel, columns)
            transform_data(&dy, &b, scratch + g.at_band, scratch + g.at_dy)
            add_products(
                g, &x, data_width(&dy, columns), b.pixels, scratch, scratch + g.at_dy,
                sums + panel * x.n * x.n * sums_step(g) * of_x.item, i > first,
            )


cdef void part_task(void *context, Py_ssize_t index, void *scratch) noexcept nogil:
    """One part of the bands for one unit."""
    cdef WinogradDw *g = <WinogradDw *>context
    cdef Unit u = unit_of(g, index // g.parts)
    cdef Py_ssize_t part = index % g.parts, bands = bands_of(g.x.walk)
    cdef char *at = <char *>scratch
    cdef char *sums = at + g.at_sums if g.parts == 1 else g.sums + index * g.unit_bytes
    sum_unit(g, &u, part * bands // g.parts, (part + 1) * bands // g.parts, sums, at)
    if g.parts == 1:
        unit_results(g, &u, sums, at + g.at_taps)


cdef void join_task(void *context, Py_ssize_t index, void *scratch) noexcept nogil:
    """The parts of a unit, added in order."""
    cdef WinogradDw *g = <WinogradDw *>context
    cdef Unit u = unit_of(g, index)
    cdef Walk *k = g.x.walk
    cdef char *sums = g.sums + index * g.parts * g.unit_bytes
    cdef Py_ssize_t part
    for part in range(1, g.parts):
        k.tiles.add(1, g.unit_bytes // k.item, sums, 0, 1, sums + part * g.unit_bytes, 0, 1)
    unit_results(g, &u, sums, <char *>scratch)


cdef void share_units(WinogradDw *g, Py_ssize_t threads) noexcept:
    """Units of fewer filters, a vector at least, where there are fewer than threads.  (Each has
    its own x transformed.  Parts for the threads are joined by what another core has written: dw
    of 64-64 @56 made 1.2 of one thread's speed.)"""
    cdef Py_ssize_t lanes = g.x.walk.tiles.lanes
    while units_of(g) < threads and g.unit_panels > 1:
        g.unit_panels = ceil_div(g.unit_panels, 2)
    if units_of(g) < threads and g.panels == 1:
        g.panel = ceil_div(ceil_div(g.cout, lanes), ceil_div(threads, units_of(g))) * lanes
        g.panels = ceil_div(g.cout, g.panel)


cdef void plan_dw(WinogradDw *g, Py_ssize_t threads) noexcept:
    cdef Winograd *x = &g.x
    cdef Walk *k = x.walk
    cdef Py_ssize_t elements = x.n * x.n, tiles, of_x, of_dy
    g.panel = panel_of(k)
    g.panels = ceil_div(g.cout, g.panel)
    g.blocks = ceil_div(g.cin, x.block)
    g.unit_panels = least(UNIT_PANELS, g.panels)
    g.unit_bytes = g.unit_panels * elements * sums_step(g) * k.item
    k.columns = least(k.w.size_out, DW_TILES)
    k.column_bands = ceil_div(k.w.size_out, k.columns)
    k.columns = ceil_div(k.w.size_out, k.column_bands)
    k.rows = most(1, DW_TILES // k.columns) if k.column_bands == 1 else 1
    k.row_bands = ceil_div(k.images * k.h.size_out, k.rows)
    k.rows = ceil_div(k.images * k.h.size_out, k.row_bands)
    g.dy.walk.rows, g.dy.walk.columns = k.rows, k.columns
    g.parts = least(ceil_div(PARTS, units_of(g)), bands_of(k))
    g.parts = least(g.parts, most(1, PARTS_BYTES // (units_of(g) * g.unit_bytes)))
    share_units(g, threads)     # (parts, and so the order of sums, know nothing of threads)
    g.unit_bytes = g.unit_panels * elements * sums_step(g) * k.item
    tiles = k.rows * k.columns
    g.at_dy = elements * element(x, tiles, data_width(x, x.block)) * k.item
    g.at_band = g.at_dy + elements * element(x, tiles, g.panel) * k.item
    of_x = x.block * reach(&k.h, 1) * reach(&k.w, k.columns) * k.item
    of_dy = g.panel * reach(&g.dy.walk.h, 1) * reach(&g.dy.walk.w, k.columns) * k.item
    g.at_taps = g.at_band + aligned(most(of_x, of_dy)) + aligned(
        x.phases * x.phases * x.block * x.n * woven_cells(x, k.columns) * k.item)
    g.at_sums = g.at_taps + (SOME * x.window + x.r * x.r) * g.panel * k.item
    g.scratch = g.at_sums + (g.unit_bytes if g.parts == 1 else 0)


cdef int winograd_dw(WinogradDw *g) except -1:
    cdef Walk *k = g.x.walk
    cdef Py_ssize_t units, work = winograd_work(&g.x) * g.groups
    cdef size_t bytes
    plan_dw(g, threads_for(work))
    units = units_of(g)
    if g.parts == 1:
        return run(part_task, g, units, work, g.scratch)
    bytes = units * g.parts * g.unit_bytes
    g.sums = take(bytes)
    try:
        run(part_task, g, units * g.parts, work, g.scratch)
        run(join_task, g, units, bytes // 16, g.at_sums - g.at_taps)
    finally:
        runtime.give(g.sums, bytes)
    return 0


def conv2d_dw(dy, x, dw, dims, Py_ssize_t n=0):
    """n: elements of a tile along an axis, one of winograd.dw_tiles(dims); 0: what is fastest."""
    cdef Walk of_x, of_dy
    cdef Filters f
    cdef WinogradDw g
    if dims.n == 0:
        dw[...] = 0
        return
    if not dw.flags.c_contiguous:
        flat = dw.copy()
        conv2d_dw(dy, x, flat, dims, n)
        dw[...] = flat
        return
    begin_forward(&of_x, &f, x, dw, dw, dims, False)    # the filters are the result
    of_dy = of_x
    borrow(dy, False, &of_dy.source)
    g.groups, g.cin, g.cout, g.filters = of_x.groups, of_x.cin, of_x.cout, &f
    of_x.groups = of_dy.groups = 1          # (a unit is inside a group)
    take_tiles(&g.x, &of_x, n or _winograd.dw_tile(dims), dims.kh, 1)
    of_dy.h = grads_axis(&of_x.h, g.x.out_h, g.x.m)
    of_dy.w = grads_axis(&of_x.w, g.x.out_w, g.x.m)
    g.dy = g.x
    g.dy.walk = &of_dy
    g.x.blocks = g.dy.blocks = 1
    g.dy.cells, g.dy.phases, g.dy.block = g.x.m, 1, BLOCK
    of_x.in_place = inside(&of_x.h) and inside(&of_x.w) and of_x.source.step[1] == 1
    of_dy.in_place = inside(&of_dy.h) and inside(&of_dy.w) and of_dy.source.step[1] == 1
    winograd_dw(&g)


cdef TapAxis grads_axis(TapAxis *tiles, Py_ssize_t size, Py_ssize_t m) noexcept:
    """The same tiles over dy: m cells each, side by side."""
    cdef TapAxis a = tiles[0]
    a.size_in, a.first, a.step, a.taps = size, 0, m, m
    return a
