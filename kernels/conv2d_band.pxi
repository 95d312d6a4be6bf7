# A band: some pixels of a result, and the part of the source that they read.
#
# Results are cut into bands so that what a band reads stays in L2.  It is gathered once,
# padded and channels-last, whatever the memory format of the source; where the source has
# no padding and its channels are neighbours it is used where it lies.

include "common.pxi"

cdef enum:
    MOST_PIXELS = 1024          # of a band: pointers and tile sums of it stay in L1/L2
    BAND_BYTES = 384 * 1024     # of a gathered band
    PANEL_BYTES = 32 * 1024     # of a panel's part of the depth: in L1 (96 KiB, in L2: 2 % slower)
    TASKS_PER_THREAD = 4
    # A number moved through a transpose costs as much as so many lanes of an FMA (Zen 4).
    MOVE = 6


cdef struct Walk:
    const fc_tiles *tiles
    Py_ssize_t item
    View source, result
    TapAxis h, w
    Py_ssize_t images, groups, cin, cout    # cin, cout: channels of one group
    bint in_place                           # the source is used where it lies
    bint relu
    # rows: pixel p, tap t, i < run lie at pixel p + offset[t] + i
    Py_ssize_t pixel_step, row_step, taps, run
    Py_ssize_t *offset
    # packed filters: [group][panel][depth][width of the panel]; dx's phases have a part of the
    # depth each
    Py_ssize_t depth, panel, panels, group_size, whole_depth, first_depth
    char *packed
    char *taken                             # what `packed` points to, unless others keep it
    size_t taken_bytes
    char *bias
    # bands: rows × columns of results
    Py_ssize_t rows, columns, row_bands, column_bands, chunks
    # parts of a thread's scratch
    size_t at_target, at_band, at_unrolled, at_sums, scratch


# One band of a walk, inside one group.
cdef struct Band:
    Py_ssize_t group, row, rows, column, columns, pixels


# ---- geometry ----

cdef int read_axis(object axis, TapAxis *a) except -1:
    (a.size_in, a.size_out, a.first, a.step, a.taps, a.dilation,
     a.k_first, a.k_step, a.out_first, a.out_step) = axis
    return 0


cdef inline void read_geometry(Walk *k, Geometry *g) noexcept:
    """Sizes and axes of the forward walk."""
    k.images, k.groups = g.images, g.groups
    k.cin, k.cout = g.channels // g.groups, g.filters // g.groups
    k.h, k.w = g.h, g.w


cdef inline Py_ssize_t reach(TapAxis *a, Py_ssize_t results) noexcept nogil:
    """How many source positions so many neighbouring results read, gaps included."""
    return (results - 1) * a.step + (a.taps - 1) * a.dilation + 1 if a.taps else 0


cdef inline bint inside(TapAxis *a) noexcept nogil:
    return a.first >= 0 and a.first + reach(a, a.size_out) <= a.size_in


cdef inline bint is_flat(Walk *k) noexcept nogil:
    """Whether the results of a plane read the cells of a plane, one by one."""
    cdef View *y = &k.result
    if k.h.taps != 1 or k.w.taps != 1 or k.h.step != 1 or k.w.step != 1:
        return False
    if not inside(&k.w) or k.h.out_step != 1 or k.w.out_step != 1:
        return False
    return y.step[3] != 1 or y.step[2] == k.w.size_out


cdef inline void thin(Walk *k, TapAxis *a, int axis) noexcept nogil:
    """An axis with one tap, unpadded: every step-th position is a source of its own."""
    if a.taps != 1 or not inside(a):
        return
    k.source.at += a.first * k.source.step[axis] * k.item
    k.source.step[axis] *= a.step
    a.size_in, a.first, a.step = a.size_out, 0, 1


cdef inline Py_ssize_t source_rows(Walk *k, Py_ssize_t rows) noexcept nogil:
    """An upper bound of the source rows that a band of `rows` result rows gathers."""
    cdef Py_ssize_t segments = (rows - 1) // k.h.size_out + 2
    return rows * k.h.step + segments * reach(&k.h, 1)


cdef inline size_t band_bytes(Walk *k, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    if k.in_place:
        return 0
    return source_rows(k, rows) * reach(&k.w, columns) * k.cin * k.item


cdef inline void lay_steps(Walk *k, TapAxis *gathered) noexcept nogil:
    """Steps of the rows, once the width of a band, which windows of an axis read, is known."""
    if k.in_place:
        k.pixel_step, k.row_step = k.source.step[3], k.source.step[2]
    else:
        k.pixel_step, k.row_step = k.cin, reach(gathered, k.columns) * k.cin


cdef int lay_taps(Walk *k) except -1:
    """Where the taps lie from a row's first pixel."""
    cdef Py_ssize_t i, j
    # (a phase of dx may have taps along one axis and none along the other)
    k.offset = <Py_ssize_t *>malloc((k.h.taps * most(k.w.taps, 1) + 1) * sizeof(Py_ssize_t))
    if k.offset == NULL:
        raise MemoryError("no memory for the offsets of a kernel's taps")
    k.offset[0] = 0
    if k.w.dilation == 1 and k.pixel_step == k.cin:     # a row of the window is one run
        k.taps, k.run = k.h.taps, k.w.taps * k.cin
        for i in range(k.h.taps):
            k.offset[i] = i * k.h.dilation * k.row_step
    else:
        k.taps, k.run = k.h.taps * k.w.taps, k.cin
        for i in range(k.h.taps):
            for j in range(k.w.taps):
                k.offset[i * k.w.taps + j] = (
                    i * k.h.dilation * k.row_step + j * k.w.dilation * k.pixel_step
                )
    return 0


cdef int lay_rows(Walk *k) except -1:
    lay_steps(k, &k.w)
    return lay_taps(k)


cdef void cut_bands(Walk *k, Py_ssize_t most_pixels, Py_ssize_t most_bytes,
                    Py_ssize_t tasks) noexcept nogil:
    """As large as pixels and bytes allow, but enough of them for the threads."""
    cdef Py_ssize_t all_rows = k.images * k.h.size_out
    cdef Py_ssize_t tile = k.tiles.rows
    k.columns = least(k.w.size_out, most(most_pixels, tile))
    while k.columns > tile and <Py_ssize_t>band_bytes(k, 1, k.columns) > most_bytes:
        k.columns = ceil_div(k.columns, 2)
    k.column_bands = ceil_div(k.w.size_out, k.columns)
    k.columns = ceil_div(k.w.size_out, k.column_bands)
    k.rows = 1
    if k.column_bands == 1:
        k.rows = most(1, least(all_rows, most_pixels // k.columns))
        while k.rows > 1 and <Py_ssize_t>band_bytes(k, k.rows, k.columns) > most_bytes:
            k.rows = ceil_div(k.rows, 2)
        while (k.rows > 1 and k.rows * k.columns > 8 * tile
               and k.groups * ceil_div(all_rows, k.rows) < tasks):
            k.rows = ceil_div(k.rows, 2)
    k.row_bands = ceil_div(all_rows, k.rows)
    k.rows = ceil_div(all_rows, k.row_bands)


cdef inline Py_ssize_t bands_of(Walk *k) noexcept nogil:
    return k.groups * k.row_bands * k.column_bands


cdef Band band_of(Walk *k, Py_ssize_t index) noexcept nogil:
    """Band `index` of a walk: groups inside columns inside rows."""
    cdef Band b
    cdef Py_ssize_t part = index // k.groups
    b.group = index % k.groups
    b.row = part // k.column_bands * k.rows
    b.rows = least(k.rows, k.images * k.h.size_out - b.row)
    b.column = part % k.column_bands * k.columns
    b.columns = least(k.columns, k.w.size_out - b.column)
    b.pixels = b.rows * b.columns
    return b


cdef inline Py_ssize_t tasks_wanted(Py_ssize_t work) except -1:
    """Enough tasks that threads end together; one thread needs no more bands than fit."""
    cdef Py_ssize_t threads = threads_for(work)
    return TASKS_PER_THREAD * threads if threads > 1 else 1


cdef inline Py_ssize_t thread_part(Py_ssize_t size, Py_ssize_t unit, Py_ssize_t others,
                                   Py_ssize_t work) except -1:
    """A block of `size` in whole units, so that threads have two each of them, and one all."""
    cdef Py_ssize_t threads = threads_for(work)
    cdef Py_ssize_t wanted = ceil_div(2 * threads if threads > 1 else 1, others)
    return most(ceil_div(ceil_div(size, wanted), unit), 1) * unit


# ---- gathering the source ----

cdef void gather_row(Walk *k, Band *b, Py_ssize_t image, Py_ssize_t y, char *to) noexcept nogil:
    """One source row of one group, padded, as [columns][channels]."""
    cdef Py_ssize_t x = k.w.first + b.column * k.w.step
    cdef Py_ssize_t width = reach(&k.w, b.columns)
    cdef Py_ssize_t pixel = k.cin * k.item
    cdef Py_ssize_t left = least(most(-x, 0), width)
    cdef Py_ssize_t right = most(least(k.w.size_in - x, width), left)
    cdef View *s = &k.source
    if y < 0 or y >= k.h.size_in:
        memset(to, 0, width * pixel)
        return
    memset(to, 0, left * pixel)
    memset(to + right * pixel, 0, (width - right) * pixel)
    if right > left:
        k.tiles.copy(
            right - left, k.cin, to + left * pixel, k.cin, 1,
            s.at + (image * s.step[0] + b.group * k.cin * s.step[1] + y * s.step[2]
                    + (x + left) * s.step[3]) * k.item,
            s.step[3], s.step[1],
        )


cdef inline char *in_source(Walk *k, Band *b, Py_ssize_t r) noexcept nogil:
    """Where the first tap of result row r's first pixel lies in the source."""
    cdef View *s = &k.source
    cdef Py_ssize_t image = (b.row + r) // k.h.size_out, i = (b.row + r) % k.h.size_out
    return s.at + k.item * (
        image * s.step[0] + b.group * k.cin * s.step[1]
        + (k.h.first + i * k.h.step) * s.step[2] + (k.w.first + b.column * k.w.step) * s.step[3]
    )


cdef void base_rows(Walk *k, Band *b, char *band, char **base) noexcept nogil:
    """Where the first tap of each result row's first pixel lies, gathered or in place.

    Result rows of one image share the source rows that they overlap in.
    """
    cdef Py_ssize_t r, i, used = 0
    for r in range(b.rows):
        i = (b.row + r) % k.h.size_out
        if k.in_place:
            base[r] = in_source(k, b, r)
            continue
        if r and i == 0:        # a new image: behind the last one's rows
            used += reach(&k.h, 1)
        elif r:
            used += k.h.step
        base[r] = band + used * k.row_step * k.item


cdef void gather_for(Walk *k, Band *b, Py_ssize_t r, char **base) noexcept nogil:
    """The source rows of result row r that result row r - 1 has not gathered."""
    cdef Py_ssize_t image = (b.row + r) // k.h.size_out
    cdef Py_ssize_t i = (b.row + r) % k.h.size_out
    cdef Py_ssize_t rows = reach(&k.h, 1)
    cdef Py_ssize_t y
    for y in range(most(rows - k.h.step, 0) if r and i else 0, rows):
        gather_row(k, b, image, k.h.first + i * k.h.step + y,
                   base[r] + y * k.row_step * k.item)


cdef void place_pixels(Walk *k, Band *b, char **base, char **pixel) noexcept nogil:
    """A pointer per pixel; the last is repeated to fill the last tile."""
    cdef Py_ssize_t r, c, p = 0
    cdef Py_ssize_t step = k.w.step * k.pixel_step * k.item
    for r in range(b.rows):
        for c in range(b.columns):
            pixel[p] = base[r] + c * step
            p += 1
    for c in range(k.tiles.rows):
        pixel[p + c] = pixel[p - 1]
