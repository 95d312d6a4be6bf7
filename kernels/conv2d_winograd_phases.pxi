# Winograd's algorithm under a stride: channels, taps and results by their phase.
#
# Along each axis phase p of a stride s has the cells p, p + s, p + 2·s …, and the taps likewise, r
# or one less of them.  Channels of the source are (phase, channel), in blocks that have all phases
# of some channels; of dx it is the columns that are (phase, channel).

# ---- filters ----

cdef void move_phase(Winograd *g, Py_ssize_t stride, Py_ssize_t phase, size_t bytes, bint pick,
                     char *taps, size_t tap_step, char *of_phase,
                     size_t of_phase_step) noexcept nogil:
    """From all taps [tap][filter], so many bytes of filters, to the r × r of one phase, zeros where
    it has none; or, if not `pick`, back."""
    cdef Py_ssize_t i, j, row = phase // stride, column
    for i in range(g.r):
        column = phase % stride
        for j in range(g.r):
            if row >= g.kernel or column >= g.kernel:
                if pick:
                    memset(of_phase, 0, bytes)
            elif pick:
                memcpy(of_phase, taps + (row * g.kernel + column) * tap_step, bytes)
            else:
                memcpy(taps + (row * g.kernel + column) * tap_step, of_phase, bytes)
            of_phase += of_phase_step
            column += stride
        row += stride


cdef void gather_out_phases(Winograd *g, char *w, Py_ssize_t first, Py_ssize_t channels,
                            Py_ssize_t columns, Py_ssize_t width, char *taps,
                            char *all_taps) noexcept nogil:
    """As gather_taps of columns that are (phase, filter), from column `first` on."""
    cdef Walk *k = g.walk
    cdef Filters *f = g.filters
    cdef Py_ssize_t filters = k.cout // (g.out_phases * g.out_phases)
    cdef Py_ssize_t c, column, some, filter, held
    memset(taps, 0, channels * g.window * width * k.item)
    for c in range(channels):
        column, held = 0, -1
        while column < columns:
            filter = (first + column) % filters
            some = least(filters - filter, columns - column)
            if filter != held:      # few filters serve one phase after another
                k.tiles.copy(g.kernel * g.kernel, some, all_taps, width, 1,
                             w + (c * f.in_step + filter * f.out_step) * k.item, 1, f.out_step)
                held = filter
            move_phase(g, g.out_phases, (first + column) // filters, some * k.item, True, all_taps,
                       width * k.item, taps + (c * g.window * width + column) * k.item,
                       width * k.item)
            column += some


# ---- data ----

# Phases of a few channels are woven into pixels of all of them: else each would fill some lanes of
# its stores, which are what a transform waits for (7×7/2 of 3 channels 1.14 times, a Xeon).

cdef inline bint weaves(Winograd *g, Py_ssize_t channels) noexcept nogil:
    return g.phases > 1 and channels % g.walk.tiles.lanes


cdef inline Py_ssize_t woven_cells(Winograd *g, Py_ssize_t columns) noexcept nogil:
    """In a row of so many tiles."""
    return (columns - 1) * g.m + g.n


cdef inline size_t woven_bytes(Winograd *g, Py_ssize_t columns) noexcept nogil:
    """Of the block that needs most; the last may be the only one that is woven."""
    cdef Py_ssize_t channels = channels_of(g, 0 if weaves(g, channels_of(g, 0)) else g.blocks - 1)
    if not weaves(g, channels):
        return 0
    return g.n * woven_cells(g, columns) * g.phases * g.phases * channels * g.walk.item


cdef void weave(Winograd *g, Py_ssize_t channels, Py_ssize_t columns, char *from_,
                Py_ssize_t row_step, Py_ssize_t pixel_step, char *to) noexcept nogil:
    """A row of tiles' data as [row][cell][phase][channel]."""
    cdef Walk *k = g.walk
    cdef Py_ssize_t cells = woven_cells(g, columns), cell = g.phases * g.phases * channels
    cdef Py_ssize_t run = g.phases if pixel_step == channels else 1     # neighbours are one move
    cdef Py_ssize_t i, p, q
    for i in range(g.n):
        for p in range(g.phases):
            q = 0
            while q < g.phases:
                k.tiles.copy(
                    cells, run * channels,
                    to + (i * cells * cell + (p * g.phases + q) * channels) * k.item, cell, 1,
                    from_ + ((i * g.phases + p) * row_step + q * pixel_step) * k.item,
                    g.phases * pixel_step, 1,
                )
                q += run


# ---- results of dx ----

cdef void spread_axis(TapAxis *a, Py_ssize_t s) noexcept:
    """From the forward axis that of dx's results, each of all phases, over dy."""
    cdef Py_ssize_t r = ceil_div(a.taps, s), results = a.size_out
    a.size_out = ceil_div(a.size_in - a.first, s)
    a.out_first, a.out_step = a.first, s
    a.size_in, a.first, a.step, a.taps, a.k_step = results, 1 - r, 1, r, -1


cdef void place_phases(Winograd *g, Band *b, Py_ssize_t panel, Py_ssize_t image, Py_ssize_t row,
                       char *strip) noexcept nogil:
    """A row of results, columns being (phase, channel), to cells of dx a stride apart."""
    cdef Walk *k = g.walk
    cdef View *y = &k.result
    cdef Py_ssize_t s = g.out_phases, channels = k.cout // (s * s), width = panel_width(k, panel)
    cdef Py_ssize_t column = panel * k.panel, last = least(column + k.panel, k.cout)
    cdef Py_ssize_t phase, channel, some, at_h, at_w, begin, end
    while column < last:
        phase, channel = column // channels, column % channels
        some = least(channels - channel, last - column)
        at_h = k.h.out_first + row * s + phase // s
        at_w = k.w.out_first + b.column * g.m * s + phase % s
        begin = most(ceil_div(-at_w, s), 0) if at_w < 0 else 0
        end = least(b.columns * g.m, ceil_div(y.size[3] - at_w, s) if at_w < y.size[3] else 0)
        if 0 <= at_h < y.size[2] and begin < end:
            k.tiles.copy(
                end - begin, some,
                y.at + k.item * (
                    image * y.step[0] + (b.group * channels + channel) * y.step[1]
                    + at_h * y.step[2] + (at_w + begin * s) * y.step[3]),
                s * y.step[3], y.step[1],
                strip + (begin * width + column - panel * k.panel) * k.item, width, 1,
            )
        column += some
