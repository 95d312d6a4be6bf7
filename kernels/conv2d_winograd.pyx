"""Winograd's minimal filtering for square kernels: y, dx and dw.

F(m, r) makes m × m results from n × n products, n = m + r - 1, where the direct algorithm needs
m·m·r·r: 36 for 144 with F(4, 3).  The products are of element e of all tiles with element e of
all filters, so they are n·n matrix products over the channels, by the one micro-kernel:

    data  V[e][tile, channel]     = (Bᵀ d B)[e]     d: n × n pixels, tiles m apart
    filters U[e][channel, filter] = (G g Gᵀ)[e]
    sums  M[e][tile, filter]      = V[e] @ U[e]     then y's m × m results = Aᵀ M A

Under a stride s the source's rows and columns fall into s × s phases, each of which meets every
s-th tap: channels of their own, of a convolution at stride 1 with r = ceil(taps / s), zeros where
a phase has no tap.  (AlexNet's 11 × 11 / 4 of 3 channels is 3 × 3 of 48: 94 products a result,
not 363.)  The data of phase (p, q) are cells s apart from (p, q) on, so nothing is moved for it.
In dx it is the results that have phases: columns of their own, placed s apart.

A band is some rows of tiles (a walk whose results are tiles, see conv2d_band.pxi).  Its data
are transformed once, for all channels; then, panel by panel of filters, products and results.
Filters are transformed beforehand, or, where one band is all there is, block by block
just before their products, so that they never leave L2.  The sums are the same either way.
"""

__all__ = ["conv2d", "conv2d_dw", "conv2d_dx", "describe"]

from fastconv.kernels import winograd as _winograd

include "conv2d_band.pxi"
include "conv2d_filters.pxi"

cdef enum:
    DATA_BYTES = 1024 * 1024        # of a band's transformed data, and more where that is less than
    MIN_TILES = 48                  # so many tiles (fewer, and filters are read too often), up to
    MOST_BYTES = 4 * 1024 * 1024
    ROW_BYTES = 1024 * 1024         # of the gathered pixels of a row of tiles
    # of filters transformed beforehand: n·n times the filters' own, and where L2 and L3 do not
    # hold them, to transform them again is faster (512-512 @7: 1.6 instead of 2.2 ms; 256-256 @14,
    # N = 16, a Xeon: 10.2 instead of 12.0)
    PACKED_BYTES = 8 * 1024 * 1024
    # ... and kept prepared, near L2 (256-384 @13 1.6, not 1.8 ms; 160-192 @14 0.34, not 0.38)
    KEPT_BYTES = 6 * 1024 * 1024
    FEW_BANDS = 4                   # of a thread among several
    BLOCK = 64                      # channels of all phases, transformed and multiplied at a time
    SOME = 8                        # of these, whose filters are gathered at a time


cdef struct Winograd:
    Walk *walk
    Filters *filters
    Py_ssize_t n, m, r              # elements, results, taps of a phase along an axis
    Py_ssize_t kernel               # taps of the filters as they lie
    Py_ssize_t phases, out_phases   # of a stride, along an axis: of the source, of the results
    Py_ssize_t block                # channels of the source in a block, each with all its phases
    Py_ssize_t window               # taps of a gathered filter
    Py_ssize_t cells                # of the walk's source in a tile: n of data, m of dy
    Py_ssize_t out_h, out_w
    Py_ssize_t blocks               # of channels
    Py_ssize_t threads
    char *packed                    # transformed filters: [group][panel][block], or NULL
    char *taps                      # gathered filters: [group][panel][channel], or NULL
    size_t at_data, at_sums, at_block, at_taps, at_strip, scratch


cdef inline Py_ssize_t element(Winograd *g, Py_ssize_t rows, Py_ssize_t width) noexcept nogil:
    """Elements from one matrix rows × width to the next: an odd number of cache lines.

    With a multiple of 4096 bytes the n·n stores of a transform would fall into one set
    of L1, and its time rise from 150 to 2700 cycles.
    """
    return <Py_ssize_t>(aligned(rows * width * g.walk.item) | 64) // g.walk.item


include "conv2d_winograd_phases.pxi"


# ---- filters ----

cdef inline Py_ssize_t panel_width(Walk *k, Py_ssize_t panel) noexcept nogil:
    cdef Py_ssize_t columns = least(k.panel, k.cout - panel * k.panel)
    return ceil_div(columns, k.tiles.lanes) * k.tiles.lanes


# What is read of the next block's filters, asked for while this one is transformed and multiplied:
# a few lines at a time, for 216 in a burst came too late, or not at all (512-512 @14 with prepared
# filters, Zen 4: 6.1 -> 4.1 ms).

cdef struct Ahead:
    char *at
    Py_ssize_t lines, step          # of a run of filters; bytes to the next run
    Py_ssize_t line, runs, some     # the next line of a run, runs left, lines asked for at a time


cdef void look_ahead(Winograd *g, Py_ssize_t group, Py_ssize_t panel, Py_ssize_t block,
                     Py_ssize_t tiles, Ahead *a) noexcept nogil:
    """Where the filters lie that are transformed after a block of a panel, and its products, so
    many tiles of each element."""
    cdef Walk *k = g.walk
    cdef Filters *f = g.filters
    cdef Py_ssize_t window = g.window * k.item, channel, channels, columns, bytes
    a.runs = 0
    if g.out_phases > 1:        # (they lie otherwise, and are few)
        return
    block += 1
    if block == g.blocks:
        panel, block = panel + 1, 0
    if panel == k.panels:
        return
    channel = block * g.block
    channels, columns = channels_of(g, block), least(k.panel, k.cout - panel * k.panel)
    a.line = 0
    if g.taps != NULL:
        a.at, a.runs = gathered(g, group, panel, channel), 1
        a.step, bytes = 0, channels * panel_width(k, panel) * window
    else:
        a.at = f.w.at + k.item * (group * f.group_step + panel * k.panel * f.out_step
                                  + channel * f.in_step)
        if f.in_step * k.item == window:
            a.runs, a.step, bytes = columns, f.out_step * k.item, channels * window
        else:
            a.runs, a.step, bytes = channels, f.in_step * k.item, columns * window
    a.lines = bytes // 64 + 1
    a.some = ceil_div(a.runs * a.lines, channels + g.n * g.n * tiles)


cdef inline void ask(Ahead *a) noexcept nogil:
    cdef Py_ssize_t left = a.some, lines
    while left and a.runs:
        lines = least(left, a.lines - a.line)
        fc_prefetch(a.at + a.line * 64, lines * 64)
        left -= lines
        a.line += lines
        if a.line == a.lines:
            a.line = 0
            a.at += a.step
            a.runs -= 1


cdef void gather_taps(Winograd *g, char *w, Py_ssize_t channels, Py_ssize_t columns,
                      Py_ssize_t width, char *taps) noexcept nogil:
    """[channel][tap][filter], zeros beside the last filter."""
    cdef Walk *k = g.walk
    cdef Filters *f = g.filters
    cdef Py_ssize_t c
    if columns < width:
        memset(taps, 0, channels * g.window * width * k.item)
    if f.in_step == g.window:   # one transpose for all channels
        k.tiles.copy(channels * g.window, columns, taps, width, 1, w, 1, f.out_step)
        return
    for c in range(channels):
        k.tiles.copy(g.window, columns, taps + c * g.window * width * k.item, width, 1,
                     w + c * f.in_step * k.item, 1, f.out_step)


cdef void transform_filters(Winograd *g, Py_ssize_t group, Py_ssize_t panel, Py_ssize_t block,
                            char *taps, char *to, Ahead *ahead) noexcept nogil:
    """One block of channels of a panel's filters: U[e][channel][filter]."""
    cdef Walk *k = g.walk
    cdef Filters *f = g.filters
    cdef Py_ssize_t columns = least(k.panel, k.cout - panel * k.panel)
    cdef Py_ssize_t width = panel_width(k, panel), channels = channels_of(g, block)
    cdef Py_ssize_t first = block * g.block, c = 0, i, n, phase, phases = g.phases * g.phases
    cdef Py_ssize_t to_element = element(g, phases * channels, width), row = width
    cdef char *w = f.w.at + k.item * (group * f.group_step + first * f.in_step)
    cdef char *spare = taps + SOME * g.window * width * k.item
    cdef Py_ssize_t start = 0
    cdef char *tap
    if k.h.k_step < 0:          # dx meets the taps in reverse
        start = (g.r * g.r - 1) * width * k.item
        row = -width
    while c < channels:
        n = least(SOME, channels - c)
        tap = taps
        if g.taps != NULL:
            tap = gathered(g, group, panel, first + c)
        elif g.out_phases > 1:
            gather_out_phases(g, w + c * f.in_step * k.item, panel * k.panel, n, columns, width,
                              taps, spare)
        else:
            gather_taps(g, w + (c * f.in_step + panel * k.panel * f.out_step) * k.item, n, columns,
                        width, taps)
        for i in range(n):
            for phase in range(phases):
                if phases > 1:
                    move_phase(g, g.phases, phase, width * k.item, True, tap, width * k.item,
                               spare, width * k.item)
                k.tiles.winograd_in(
                    <int>g.n, <int>g.r, width, (spare if phases > 1 else tap) + start,
                    g.r * row, row, to + (phase * channels + c + i) * width * k.item, to_element,
                )
            tap += g.window * width * k.item
            ask(ahead)
        c += SOME


cdef inline size_t taps_scratch(Winograd *g) noexcept nogil:
    """Of the filters that are gathered at a time, and of what is moved for a phase."""
    return (SOME * g.window + g.kernel * g.kernel) * g.walk.panel * g.walk.item


cdef void filters_task(void *context, Py_ssize_t index, void *scratch) noexcept nogil:
    """One block of channels of one panel, into g.packed."""
    cdef Winograd *g = <Winograd *>context
    cdef Walk *k = g.walk
    cdef Py_ssize_t block = index % g.blocks, panel = index // g.blocks % k.panels
    cdef Py_ssize_t group = index // g.blocks // k.panels
    cdef Ahead ahead
    look_ahead(g, group, panel, block, 0, &ahead)
    transform_filters(g, group, panel, block, <char *>scratch,
                      packed_panel(g, group, panel) + block * block_bytes(g, panel), &ahead)


cdef void taps_task(void *context, Py_ssize_t index, void *scratch) noexcept nogil:
    """The filters of one panel, into g.taps."""
    cdef Winograd *g = <Winograd *>context
    cdef Walk *k = g.walk
    cdef Filters *f = g.filters
    cdef Py_ssize_t panel = index % k.panels, group = index // k.panels
    gather_taps(g, f.w.at + k.item * (group * f.group_step + panel * k.panel * f.out_step), k.cin,
                least(k.panel, k.cout - panel * k.panel), panel_width(k, panel),
                gathered(g, group, panel, 0))


cdef inline size_t taps_bytes(Winograd *g) noexcept nogil:
    """Of the gathered filters of a group."""
    cdef Walk *k = g.walk
    return ((k.panels - 1) * k.panel + panel_width(k, k.panels - 1)) * k.cin * g.window * k.item


cdef inline char *gathered(Winograd *g, Py_ssize_t group, Py_ssize_t panel,
                           Py_ssize_t channel) noexcept nogil:
    cdef Walk *k = g.walk
    return g.taps + group * taps_bytes(g) + g.window * k.item * (
        panel * k.panel * k.cin + channel * panel_width(k, panel))


cdef inline size_t block_bytes(Winograd *g, Py_ssize_t panel) noexcept nogil:
    """Of the transformed filters of a block of channels."""
    cdef Walk *k = g.walk
    cdef Py_ssize_t channels = g.phases * g.phases * channels_of(g, 0)
    return g.n * g.n * element(g, channels, panel_width(k, panel)) * k.item


cdef inline char *packed_panel(Winograd *g, Py_ssize_t group, Py_ssize_t panel) noexcept nogil:
    cdef size_t group_bytes = g.walk.group_size * g.walk.item
    return g.packed + group * group_bytes + panel * g.blocks * block_bytes(g, 0)


# ---- bands ----

cdef inline Py_ssize_t channels_of(Winograd *g, Py_ssize_t block) noexcept nogil:
    """Of the source, in a block; each is as many as it has phases."""
    return least(g.block, g.walk.cin - block * g.block)


cdef inline Py_ssize_t data_width(Winograd *g, Py_ssize_t channels) noexcept nogil:
    cdef Py_ssize_t lanes = g.walk.tiles.lanes
    return ceil_div(g.phases * g.phases * channels, lanes) * lanes


cdef inline char *data_block(Winograd *g, Band *b, char *data, Py_ssize_t block) noexcept nogil:
    cdef Py_ssize_t width = data_width(g, channels_of(g, 0))
    return data + block * g.n * g.n * element(g, b.pixels, width) * g.walk.item


cdef void transform_block(Winograd *g, Py_ssize_t channels, Py_ssize_t columns, char *from_,
                          Py_ssize_t row_step, Py_ssize_t pixel_step, char *woven, char *to,
                          Py_ssize_t to_element) noexcept nogil:
    """V of a row of tiles and a block of channels, phase after phase unless they are woven."""
    cdef Walk *k = g.walk
    cdef Py_ssize_t width = data_width(g, channels), phases = g.phases, c, p, q
    if weaves(g, channels):
        weave(g, channels, columns, from_, row_step, pixel_step, woven)
        channels *= phases * phases
        from_, phases = woven, 1
        pixel_step, row_step = channels, woven_cells(g, columns) * channels
    for c in range(columns):
        for p in range(phases):
            for q in range(phases):
                k.tiles.winograd_in(
                    <int>g.n, <int>g.cells, channels,
                    from_ + (p * row_step + (c * g.m * phases + q) * pixel_step) * k.item,
                    phases * row_step, phases * pixel_step,
                    to + (c * width + (p * phases + q) * channels) * k.item, to_element,
                )


cdef Py_ssize_t like_tiles(Walk *k, Band *row, Py_ssize_t column, bint *lie_inside) noexcept nogil:
    """How many tiles of a row, from a column on, lie inside a source that is channels-last; or how
    many do not."""
    cdef Py_ssize_t y = k.h.first + row.row % k.h.size_out * k.h.step
    cdef Py_ssize_t last = row.column + row.columns
    cdef Py_ssize_t left = ceil_div(most(-k.w.first, 0), k.w.step)
    cdef Py_ssize_t right = ceil_div(
        most(k.w.size_in + 1 - reach(&k.w, 1) - k.w.first, 0), k.w.step)
    lie_inside[0] = False
    if (k.source.step[1] != 1 and k.cin > 1) or y < 0 or y + reach(&k.h, 1) > k.h.size_in:
        return last - column
    if column < left:
        return least(left, last) - column
    lie_inside[0] = column < right
    return least(right, last) - column if column < right else last - column


cdef void transform_data(Winograd *g, Band *b, char *band, char *data) noexcept nogil:
    """V of all tiles of a band: [block of channels][e][tile][channel].

    Tiles at the border are gathered with its padding, others read where they lie (64-64
    @224: 13.7 -> 11.8 ms, a Xeon).
    """
    cdef Walk *k = g.walk
    cdef Band row = b[0]
    cdef Py_ssize_t r, c, block, width, row_step, pixel_step
    cdef bint lie_inside
    cdef char *base[1]
    row.rows = 1
    for r in range(b.rows):
        row.row, c = b.row + r, 0
        while c < b.columns:
            row.column, row.columns = b.column + c, b.columns - c
            row.columns = like_tiles(k, &row, row.column, &lie_inside)
            row.pixels = row.columns
            if lie_inside:
                base[0] = in_source(k, &row, 0)
                row_step, pixel_step = k.source.step[2], k.source.step[3]
            else:
                base[0] = band
                gather_for(k, &row, 0, base)
                row_step, pixel_step = k.row_step, k.pixel_step
            for block in range(g.blocks):
                width = data_width(g, channels_of(g, block))
                transform_block(
                    g, channels_of(g, block), row.columns, base[0] + block * g.block * k.item,
                    row_step, pixel_step, band + aligned(row_bytes(k, k.columns)),
                    data_block(g, b, data, block) + (r * b.columns + c) * width * k.item,
                    element(g, b.pixels, width),
                )
            c += row.columns


cdef void multiply(Winograd *g, Band *b, Py_ssize_t block, Py_ssize_t e, char *filters,
                   Py_ssize_t width, char *data, char *sums, Ahead *ahead) noexcept nogil:
    """M[e] (+)= V[e] @ U[e] over one block of channels."""
    cdef Walk *k = g.walk
    cdef Py_ssize_t tiles = ceil_div(b.pixels, k.tiles.rows), tile, t, m, rows, offset = 0
    cdef Py_ssize_t depth = data_width(g, channels_of(g, block))
    cdef Py_ssize_t channels = g.phases * g.phases * channels_of(g, block)
    cdef const void *a[16]
    cdef void *c[16]
    cdef fc_product p
    p.taps, p.run, p.step, p.offset, p.w_offset = 1, channels, 1, &offset, NULL
    p.each = <int>k.tiles.lanes
    p.c_vector = k.tiles.lanes
    p.vectors, p.columns = <int>(width // k.tiles.lanes), <int>width
    p.bias, p.by_row, p.relu, p.accumulate = NULL, False, False, block > 0
    p.w = filters + e * element(g, channels, width) * k.item
    data = data_block(g, b, data, block) + e * element(g, b.pixels, depth) * k.item
    sums += e * element(g, b.pixels, width) * k.item
    for tile in range(tiles):       # (evenly: 25 as 6, 6, 6, 7, not 8, 8, 8, 1)
        t = tile * b.pixels // tiles
        rows = (tile + 1) * b.pixels // tiles - t
        for m in range(k.tiles.rows):
            a[m] = data + least(t + m, b.pixels - 1) * depth * k.item
            c[m] = sums + (t + m) * width * k.item
        k.tiles.product(&p, <int>rows, a, c)
        ask(ahead)


cdef void place_results(Winograd *g, Band *b, Py_ssize_t panel, char *sums,
                        char *strip) noexcept nogil:
    """Results of all tiles into y; through `strip` where its channels are not neighbours."""
    cdef Walk *k = g.walk
    cdef View *y = &k.result
    cdef Py_ssize_t r, c, i, image, row, width = panel_width(k, panel)
    cdef Py_ssize_t first = b.column * g.m, columns = least(b.columns * g.m, g.out_w - first)
    cdef bint direct = g.out_phases == 1 and (y.step[1] == 1 or k.cout == 1)
    cdef char *to
    cdef char *at
    cdef fc_winograd p
    p.n, p.m, p.relu, p.s_element = <int>g.n, <int>g.m, k.relu, element(g, b.pixels, width)
    p.filters = <int>least(k.panel, k.cout - panel * k.panel)
    p.y_row, p.y_column = (y.step[2], y.step[3]) if direct else (columns * width, width)
    p.bias = NULL
    if k.bias != NULL:
        p.bias = k.bias + (b.group * k.panels + panel) * k.panel * k.item
    for r in range(b.rows):
        image, row = (b.row + r) // k.h.size_out, (b.row + r) % k.h.size_out * g.m
        p.rows = <int>least(g.m, g.out_h - row)
        at = y.at + k.item * (
            image * y.step[0] + (b.group * k.cout + panel * k.panel) * y.step[1]
            + row * y.step[2] + first * y.step[3]
        )
        to = at if direct else strip
        for c in range(b.columns):
            p.columns = <int>least(g.m, columns - c * g.m)
            k.tiles.winograd_out(&p, sums + (r * b.columns + c) * width * k.item,
                                 to + c * g.m * p.y_column * k.item)
        if g.out_phases > 1:
            for i in range(p.rows):
                place_phases(g, b, panel, image, row + i, strip + i * p.y_row * k.item)
        elif not direct:
            for i in range(p.rows):
                k.tiles.copy(columns, p.filters, at + i * y.step[2] * k.item, y.step[3],
                             y.step[1], strip + i * p.y_row * k.item, width, 1)


cdef void panel_of_band(Winograd *g, Band *b, Py_ssize_t panel, char *scratch) noexcept nogil:
    cdef Walk *k = g.walk
    cdef Py_ssize_t width = panel_width(k, panel), block, e
    cdef char *data = scratch + g.at_data
    cdef char *sums = scratch + g.at_sums
    cdef Ahead ahead
    ahead.runs = 0
    if g.packed != NULL:
        for e in range(g.n * g.n):
            for block in range(g.blocks):
                multiply(g, b, block, e, packed_panel(g, b.group, panel)
                         + block * block_bytes(g, panel), width, data, sums, &ahead)
    else:
        for block in range(g.blocks):
            look_ahead(g, b.group, panel, block, ceil_div(b.pixels, k.tiles.rows), &ahead)
            transform_filters(g, b.group, panel, block, scratch + g.at_taps,
                              scratch + g.at_block, &ahead)
            for e in range(g.n * g.n):
                multiply(g, b, block, e, scratch + g.at_block, width, data, sums, &ahead)
    place_results(g, b, panel, sums, scratch + g.at_strip)


cdef void winograd_task(void *context, Py_ssize_t index, void *scratch) noexcept nogil:
    cdef Winograd *g = <Winograd *>context
    cdef Walk *k = g.walk
    cdef Band b = band_of(k, index % bands_of(k))
    cdef Py_ssize_t chunk = index // bands_of(k), panel
    transform_data(g, &b, <char *>scratch, <char *>scratch + g.at_data)
    for panel in range(chunk * k.panels // k.chunks, (chunk + 1) * k.panels // k.chunks):
        panel_of_band(g, &b, panel, <char *>scratch)


# ---- the whole ----

cdef void tile_axis(TapAxis *a, Py_ssize_t m, Py_ssize_t n) noexcept:
    """The axis as tiles see it: results m apart, each of n neighbouring cells of all phases."""
    a.size_out, a.step, a.taps = ceil_div(a.size_out, m), m * a.step, n * a.step


cdef void cut_tiles(Winograd *g) except *:
    """Rows of tiles into bands whose data stay near L2."""
    cdef Walk *k = g.walk
    cdef Py_ssize_t all_rows = k.images * k.h.size_out, rows, more
    cdef Py_ssize_t tile = g.n * g.n * g.blocks * data_width(g, channels_of(g, 0)) * k.item
    cdef Py_ssize_t tiles = most(DATA_BYTES // tile, least(MIN_TILES, MOST_BYTES // tile))
    tiles = most(tiles, k.tiles.rows)
    k.columns = least(k.w.size_out, tiles)
    while k.columns > 1 and row_bytes(k, k.columns) > ROW_BYTES:
        k.columns = ceil_div(k.columns, 2)
    k.column_bands = ceil_div(k.w.size_out, k.columns)
    k.columns = ceil_div(k.w.size_out, k.column_bands)
    k.rows = 1
    if k.column_bands == 1:
        rows, more = most(1, tiles // k.columns), ceil_div(MIN_TILES, k.columns)
        if g.threads > 1 and all_rows <= more * g.threads and more * k.columns * tile <= MOST_BYTES:
            rows = most(rows, more)     # a band for each thread: filters need not be packed
        if k.panels == 1:
            rows = least(rows, ceil_div(all_rows, g.threads))
        k.rows = rows_of_band(k, all_rows, rows, g.threads)
    k.row_bands = ceil_div(all_rows, k.rows)


cdef double busiest(Walk *k, Py_ssize_t all_rows, Py_ssize_t rows, Py_ssize_t chunks,
                    Py_ssize_t threads) noexcept nogil:
    """Products of the thread with the most, of tiles that do not exist too: bands of some rows,
    and what is left of them, each in chunks of the panels."""
    cdef Py_ssize_t tile = k.tiles.rows, tasks = all_rows // rows * chunks
    cdef Py_ssize_t full = ceil_div(rows * k.columns, tile)
    cdef Py_ssize_t left = ceil_div(all_rows % rows * k.columns, tile)
    cdef Py_ssize_t rounds = tasks // threads, others = chunks if left else 0
    if tasks % threads:     # (meanwhile the other threads do what is left)
        rounds += 1
        others = most(0, others - (threads - tasks % threads) * (full // most(left, 1)))
    return <double>(rounds * full + ceil_div(others, threads) * left) / chunks


cdef Py_ssize_t rows_of_band(Walk *k, Py_ssize_t all_rows, Py_ssize_t rows,
                             Py_ssize_t threads) noexcept nogil:
    """All, or at most `rows` and at least half of it, so that threads have few products; if there
    is a choice, alike (AlexNet's conv2: 4 + 3 rows, not 6 + 1)."""
    cdef Py_ssize_t best = 0, r
    cdef double computed, least_computed = 0
    if rows >= all_rows:
        return all_rows
    for r in range(rows, (rows - 1) // 2, -1):
        computed = busiest(k, all_rows, r, 1, threads)
        if (best == 0 or computed < least_computed or computed == least_computed
                and ceil_div(all_rows, r) == ceil_div(all_rows, best)):
            best, least_computed = r, computed
    return best


cdef inline size_t row_bytes(Walk *k, Py_ssize_t columns) noexcept nogil:
    return 0 if k.in_place else reach(&k.h, 1) * reach(&k.w, columns) * k.cin * k.item


cdef void cut_panels(Walk *k, Py_ssize_t threads) noexcept nogil:
    """Panels in chunks, where bands alone would leave threads idle.

    Every chunk transforms its band's data again: some 45 % of a panel's third of products.
    """
    cdef Py_ssize_t others = k.groups * k.column_bands, chunks
    cdef double time, best = 1e300
    for chunks in range(1, least(k.panels, TASKS_PER_THREAD * threads) + 1):
        time = busiest(k, k.images * k.h.size_out, k.rows, others * chunks, threads)
        time *= 1 + 0.15 * chunks / k.panels
        if time < best:
            best, k.chunks = time, chunks


cdef Py_ssize_t panel_of(Walk *k) noexcept nogil:
    """Filters of a panel: as many as a tile holds, or a vector less where that makes halves of the
    panels more alike (128: 4 × 32, not 48 and 48 + 32).  Whatever the threads: panels are kept."""
    cdef Py_ssize_t lanes = k.tiles.lanes, each = k.tiles.vectors, all = ceil_div(k.cout, lanes)
    if each > 2 and larger_half(all, each - 1) < 0.93 * larger_half(all, each):
        each -= 1
    return each * lanes


cdef inline Py_ssize_t larger_half(Py_ssize_t all, Py_ssize_t each) noexcept nogil:
    """Of `all` vectors in panels of `each`, in two chunks of panels."""
    cdef Py_ssize_t first = ceil_div(all, each) // 2 * each
    return most(first, all - first)


cdef void plan(Winograd *g) except *:
    """Cut the work, lay the scratch."""
    cdef Walk *k = g.walk
    cdef Py_ssize_t elements = g.n * g.n, tiles
    cdef Py_ssize_t width = data_width(g, channels_of(g, 0))
    g.threads = threads_for(winograd_work(g))
    g.blocks = ceil_div(k.cin, g.block)
    k.panel = panel_of(k)
    k.panels = ceil_div(k.cout, k.panel)
    k.group_size = k.panels * g.blocks * block_bytes(g, 0) // k.item
    k.in_place = inside(&k.h) and inside(&k.w) and (k.source.step[1] == 1 or k.cin == 1)
    cut_tiles(g)
    cut_panels(k, g.threads)
    tiles = k.rows * k.columns
    g.at_data = aligned(row_bytes(k, k.columns)) + aligned(woven_bytes(g, k.columns))
    g.at_sums = g.at_data + g.blocks * elements * element(g, tiles, width) * k.item
    g.at_block = g.at_sums + elements * element(g, tiles, k.panel) * k.item
    g.at_taps = g.at_block + block_bytes(g, 0)
    g.at_strip = g.at_taps + taps_scratch(g)
    g.scratch = g.at_strip + aligned(g.m * k.columns * g.m * k.panel * k.item)


cdef void take_tiles(Winograd *g, Walk *k, Py_ssize_t n, Py_ssize_t kernel,
                     Py_ssize_t out_phases) noexcept:
    """A walk over pixels becomes one over tiles of n × n of them."""
    g.walk, g.packed, g.taps = k, NULL, NULL
    g.kernel, g.phases, g.out_phases = kernel, k.h.step, out_phases
    g.n, g.r, g.cells = n, ceil_div(kernel, g.phases * out_phases), n
    g.m = n + 1 - g.r
    g.window = kernel * kernel if out_phases == 1 else g.r * g.r
    g.block = BLOCK // (g.phases * g.phases)
    g.out_h, g.out_w = k.h.size_out, k.w.size_out
    tile_axis(&k.h, g.m, n)
    tile_axis(&k.w, g.m, n)


cdef inline bint packs(Winograd *g) noexcept:
    """Whether filters are transformed beforehand: for several bands, if memory is kept.

    What another core has just written comes slowly, so threads have to have more of them (a Xeon,
    two threads: 64-64 @56 0.64 -> 0.46 ms, 5×5 32-32 @112 0.93 -> 0.81 without).
    """
    cdef Walk *k = g.walk
    cdef Py_ssize_t few = 1 if g.threads == 1 else FEW_BANDS * g.threads
    return k.row_bands * k.column_bands > few and packed_bytes(g) <= PACKED_BYTES


cdef inline size_t packed_bytes(Winograd *g) noexcept nogil:
    return g.walk.groups * g.walk.group_size * g.walk.item


cdef inline Py_ssize_t winograd_work(Winograd *g) noexcept:
    """In about nanoseconds."""
    cdef Walk *k = g.walk
    return (k.images * k.groups * k.cin * k.cout * k.h.size_out * k.w.size_out
            * g.phases * g.phases * g.n * g.n // 32)


cdef int winograd(Winograd *g, Filters *f, View *bias, object prepared) except -1:
    cdef Walk *k = g.walk
    cdef char *taken = NULL
    k.bias = NULL
    if k.images == 0:
        return 0
    g.filters = f
    plan(g)
    k.row_step, k.pixel_step = reach(&k.w, k.columns) * k.cin, k.cin    # of what is gathered
    try:
        if bias != NULL:
            pack_bias(k, bias)
        if prepared is not None:
            kept = keep_filters(g, prepared)  # no-cython-lint: held while read
        elif packs(g):
            taken = take(packed_bytes(g))
            g.packed = taken
            pack_filters(g)
        run(winograd_task, g, bands_of(k) * k.chunks, winograd_work(g), g.scratch)
    finally:
        if taken != NULL:
            runtime.give(taken, packed_bytes(g))
        free(k.bias)
    return 0


cdef int pack_filters(Winograd *g) except -1:
    """All filters transformed, into g.packed."""
    cdef Walk *k = g.walk
    return run(filters_task, g, k.groups * k.panels * g.blocks, k.groups * k.group_size // 4,
               taps_scratch(g))


cdef object keep_filters(Winograd *g, object prepared):
    """g.packed, or if that does not pay g.taps, as it is kept in PreparedWeights; made now if it
    is not there.

    Returns its memory, to be held while it is read: another thread may replace what is kept.
    """
    cdef Walk *k = g.walk
    cdef bint made
    if packed_bytes(g) <= KEPT_BYTES:
        name = f"winograd {g.n} /{g.phases}"
        key, form = form_of(prepared, name, k, packed_bytes(g), &g.packed, &made)
        if not made:
            pack_filters(g)
    else:
        key, form = form_of(prepared, "taps", k, k.groups * taps_bytes(g), &g.taps, &made)
        if not made:
            run(taps_task, g, k.groups * k.panels, k.groups * taps_bytes(g) // 16, 0)
    if not made:
        prepared.keep(key, form)
    return form


def conv2d(x, w, b, y, dims, bint relu=False, prepared=None, Py_ssize_t n=0):
    """n: elements of a tile along an axis, one of winograd.tiles(dims); 0: what is fastest."""
    cdef Walk k
    cdef Winograd g
    cdef Filters f
    cdef View bias
    w = w if w.flags.c_contiguous else w.copy()
    begin_forward(&k, &f, x, w, y, dims, relu)
    if b is not None:
        borrow(b, False, &bias)
    take_tiles(&g, &k, n or _winograd.tile(dims), dims.kh, 1)
    winograd(&g, &f, &bias if b is not None else NULL, prepared)


def conv2d_dx(dy, w, dx, dims, Py_ssize_t n=0):
    """A walk over dy, which meets the taps in reverse."""
    cdef Walk k
    cdef Winograd g
    cdef Filters f
    cdef Py_ssize_t s = dims.stride[0]
    w = w if w.flags.c_contiguous else w.copy()
    begin_backward(&k, &f, dy, w, dx, dims)
    if s == 1:
        ((rows, columns),) = dims.dx_phases
        read_axis(rows, &k.h)
        read_axis(columns, &k.w)
    else:
        k.cout *= s * s
        spread_axis(&k.h, s)
        spread_axis(&k.w, s)
    take_tiles(&g, &k, n or _winograd.dx_tile(dims), dims.kh, s)
    winograd(&g, &f, NULL, None)


include "conv2d_winograd_dw.pxi"


def describe(dims, dtype, channels_last):
    """How the forward pass would be done: text by heading, for `explain`."""
    cdef Walk k
    cdef Winograd g
    cdef Py_ssize_t n = _winograd.tile(dims)
    shape_of_walk(&k, dims, dtype, channels_last)
    if k.images == 0:
        return {"way": "nothing to do: N is 0"}
    take_tiles(&g, &k, n, dims.kh, 1)
    plan(&g)
    filters = k.groups * k.group_size * k.item / 1024
    phases = f" of {g.phases}x{g.phases} phases" if g.phases > 1 else ""
    when = f"beforehand, {filters:.0f} KiB" if packs(&g) else "block by block"
    return {
        "way": f"F({g.m}x{g.m}, {g.r}x{g.r}){phases}: {n * n} products for {g.m * g.m} results; "
               f"{bands_of(&k)} bands of {k.rows} x {k.columns} tiles in "
               f"{bands_of(&k) * k.chunks} tasks",
        "copies": f"x is transformed band by band, filters {when}",
        "scratch": f"{g.scratch / 1024:.0f} KiB per thread",
    }
