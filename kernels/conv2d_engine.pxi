# The convolution that `direct` and `im2col` share: everything but where rows come from.
#
# Forward and dx are the same walk over a source (see dims.TapAxis; dx is one walk per phase
# of the stride, over dy with part of the kernel flipped):
#
#   y[pixels, filters] = rows[pixels, depth] @ packed[depth, filters]
#
# The result is cut into bands of pixels and those into tiles of a few pixels, which run
# across the rows of a plane and across images.  A band's part of the source is gathered
# once, padded and channels-last, into scratch that stays in L2 (or used where it lies);
# panels of packed filters then pass over it.  The depth is cut so that a panel stays in L1/L2.
#
# dw turns the product round: its rows are source values, its panel is dy, its depth pixels:
#
#   dw[depth, filters] += rows[pixels, depth]^T @ dy[pixels, filters]
#
# Bands, groups and panels are the units of parallel work.  No sum is cut by them but dw's,
# whose bands follow one another: so the bits do not depend on the number of threads.
#
# The including module defines where rows come from: place_rows and unroll, product_depth,
# depth_offset and row_step, the pixels and bytes that it can take, and in special_walk and
# special_dx whatever it does in another way.

include "common.pxi"

cdef enum:
    MOST_PIXELS = 1024          # of a band: pointers and tile sums of it stay in L1/L2
    BAND_BYTES = 384 * 1024     # of a gathered band
    PANEL_BYTES = 96 * 1024     # of a panel's part of the depth
    GRAM_BYTES = 512 * 1024     # of each of dw's operands
    TASKS_PER_THREAD = 4


cdef struct Axis:
    Py_ssize_t size_in, size_out, first, step, taps, dilation
    Py_ssize_t k_first, k_step, out_first, out_step


cdef struct Walk:
    const fc_tiles *tiles
    Py_ssize_t item
    View source, result
    Axis h, w
    Py_ssize_t images, groups, cin, cout    # cin, cout: channels of one group
    bint in_place                           # the source is used where it lies
    bint relu
    # rows: pixel p, tap t, i < run lie at pixel p + offset[t] + i
    Py_ssize_t pixel_step, row_step, taps, run
    Py_ssize_t *offset
    # packed filters: [group][panel][depth][width of the panel]
    Py_ssize_t depth, panel, panels, group_size
    char *packed
    char *bias
    # bands: rows × columns of results
    Py_ssize_t rows, columns, row_bands, column_bands, chunks
    # parts of a thread's scratch
    size_t at_target, at_band, at_unrolled, at_sums, scratch


# One band of a walk, inside one group.
cdef struct Band:
    Py_ssize_t group, row, rows, column, columns, pixels


# ---- geometry ----

cdef int read_axis(object axis, Axis *a) except -1:
    (a.size_in, a.size_out, a.first, a.step, a.taps, a.dilation,
     a.k_first, a.k_step, a.out_first, a.out_step) = axis
    return 0


cdef inline Py_ssize_t reach(Axis *a, Py_ssize_t results) noexcept nogil:
    """How many source positions so many neighbouring results read, gaps included."""
    return (results - 1) * a.step + (a.taps - 1) * a.dilation + 1 if a.taps else 0


cdef inline bint inside(Axis *a) noexcept nogil:
    return a.first >= 0 and a.first + reach(a, a.size_out) <= a.size_in


cdef inline Py_ssize_t source_rows(Walk *k, Py_ssize_t rows) noexcept nogil:
    """An upper bound of the source rows that a band of `rows` result rows gathers."""
    cdef Py_ssize_t segments = (rows - 1) // k.h.size_out + 2
    return rows * k.h.step + segments * reach(&k.h, 1)


cdef inline size_t band_bytes(Walk *k, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    if k.in_place:
        return 0
    return source_rows(k, rows) * reach(&k.w, columns) * k.cin * k.item


cdef int lay_rows(Walk *k) except -1:
    """Steps and offsets of the rows, once the width of a band is known."""
    cdef Py_ssize_t i, j
    if k.in_place:
        k.pixel_step, k.row_step = k.source.step[3], k.source.step[2]
    else:
        k.pixel_step, k.row_step = k.cin, reach(&k.w, k.columns) * k.cin
    k.offset = <Py_ssize_t *>malloc((k.h.taps * k.w.taps + 1) * sizeof(Py_ssize_t))
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
        while (k.rows * k.columns > 8 * tile
               and k.groups * ceil_div(all_rows, k.rows) < tasks):
            k.rows = ceil_div(k.rows, 2)
    k.row_bands = ceil_div(all_rows, k.rows)
    k.rows = ceil_div(all_rows, k.row_bands)


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


cdef void base_rows(Walk *k, Band *b, char *band, char **base) noexcept nogil:
    """Where the first tap of each result row's first pixel lies, gathered or in place.

    Result rows of one image share the source rows that they overlap in.
    """
    cdef Py_ssize_t r, i, image, used = 0
    cdef View *s = &k.source
    for r in range(b.rows):
        image, i = (b.row + r) // k.h.size_out, (b.row + r) % k.h.size_out
        if k.in_place:
            base[r] = s.at + k.item * (
                image * s.step[0] + b.group * k.cin * s.step[1]
                + (k.h.first + i * k.h.step) * s.step[2]
                + (k.w.first + b.column * k.w.step) * s.step[3]
            )
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


# ---- packing filters ----

# Where the filters of a walk lie: w[o][c] or w[c][o], tap by tap, group by group.
cdef struct Filters:
    View w
    Py_ssize_t in_step, out_step, group_step


cdef struct PackJob:
    Walk *walk
    Filters *filters
    char *packed
    bint unpack


cdef void pack_panel(void *context, Py_ssize_t index, void *scratch) noexcept nogil:
    """[taps][cin][filters of the panel], zeros beside the last filter; or back into w."""
    cdef PackJob *job = <PackJob *>context
    cdef Walk *k = job.walk
    cdef Filters *f = job.filters
    cdef Py_ssize_t group = index // k.panels, first = index % k.panels * k.panel
    cdef Py_ssize_t columns = least(k.panel, k.cout - first)
    cdef Py_ssize_t width = ceil_div(columns, k.tiles.lanes) * k.tiles.lanes
    cdef Py_ssize_t rows, in_step, row_step, i, j, c
    cdef char *at = job.packed + (group * k.group_size + first * k.depth) * k.item
    cdef char *tap
    if columns < width and not job.unpack:
        memset(at, 0, k.depth * width * k.item)
    for i in range(k.h.taps):
        for j in range(k.w.taps):
            tap = filter_tap(k, f, group, first, i, j)
            if not flat_taps(k, f):
                pack_copy(job, k.cin, columns, at, width, tap, f.in_step)
                at += k.cin * width * k.item
                continue
            # the taps of a channel are neighbours in w: a transpose per channel
            rows, row_step = k.h.taps * k.w.taps, k.cin * width
            for c in range(k.cin):
                pack_copy(job, rows, columns, at + c * width * k.item, row_step,
                          tap + c * f.in_step * k.item, k.w.k_step)
            return


cdef inline char *filter_tap(Walk *k, Filters *f, Py_ssize_t group, Py_ssize_t first,
                             Py_ssize_t i, Py_ssize_t j) noexcept nogil:
    return f.w.at + k.item * (
        group * f.group_step + first * f.out_step
        + (k.h.k_first + i * k.h.k_step) * f.w.step[2]
        + (k.w.k_first + j * k.w.k_step) * f.w.step[3]
    )


cdef inline bint flat_taps(Walk *k, Filters *f) noexcept nogil:
    return (k.h.k_step == k.w.k_step and (k.w.k_step == 1 or k.w.k_step == -1)
            and f.w.step[3] == 1 and f.w.step[2] == k.w.taps and k.h.taps * k.w.taps > 1)


cdef inline void pack_copy(PackJob *job, Py_ssize_t rows, Py_ssize_t columns, char *packed,
                           Py_ssize_t packed_row, char *tap, Py_ssize_t tap_row) noexcept nogil:
    if job.unpack:
        job.walk.tiles.copy(rows, columns, tap, tap_row, job.filters.out_step,
                            packed, packed_row, 1)
    else:
        job.walk.tiles.copy(rows, columns, packed, packed_row, 1,
                            tap, tap_row, job.filters.out_step)


cdef int pack(Walk *k, Filters *f, char *packed, bint unpack) except -1:
    cdef PackJob job = PackJob(k, f, packed, unpack)
    return run(pack_panel, &job, k.groups * k.panels, k.groups * k.group_size, 0)


cdef int pack_bias(Walk *k, View *b) except -1:
    """[group][panels · width], zeros beside the last filter."""
    cdef Py_ssize_t g, width = k.panels * k.panel
    k.bias = <char *>malloc(k.groups * width * k.item)
    if k.bias == NULL:
        raise MemoryError("no memory for the bias")
    memset(k.bias, 0, k.groups * width * k.item)
    for g in range(k.groups):
        k.tiles.copy(1, k.cout, k.bias + g * width * k.item, width, 1,
                     b.at + g * k.cout * b.step[0] * k.item, 0, b.step[0])
    return 0


cdef void set_panels(Walk *k) noexcept:
    k.depth = k.h.taps * k.w.taps * k.cin
    k.panel = k.tiles.vectors * k.tiles.lanes
    k.panels = ceil_div(k.cout, k.panel)
    k.group_size = k.depth * ceil_div(k.cout, k.tiles.lanes) * k.tiles.lanes


# ---- forward and dx ----

cdef inline void packed_panel(Walk *k, fc_product *p) noexcept nogil:
    p.w_offset, p.by_row = NULL, False
    p.each = k.tiles.lanes
    p.c_vector = k.tiles.lanes


cdef void multiply_tiles(Walk *k, Band *b, fc_product *p, char **row, char **target,
                         Py_ssize_t shift, char *sums) noexcept nogil:
    """All tiles of pixels of a band, into the result (at `shift`) or into `sums`."""
    cdef Py_ssize_t first = 0, m, rows
    cdef void *c[16]
    while first < b.pixels:
        rows = least(k.tiles.rows, b.pixels - first)
        for m in range(rows):
            if sums == NULL:
                c[m] = target[first + m] + shift
            else:
                c[m] = sums + (first + m) * k.panel * k.item
        k.tiles.product(p, <int>rows, <const void **>(row + first), c)
        first += rows


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
    packed = k.packed + (b.group * k.group_size + panel * k.panel * k.depth) * k.item
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
    """Sums [pixels][filters] of one panel to a result that is not channels-last."""
    cdef Py_ssize_t r
    cdef View *y = &k.result
    for r in range(b.rows):
        k.tiles.copy(
            b.columns, least(k.panel, k.cout - panel * k.panel),
            target[r * b.columns] + panel * k.panel * y.step[1] * k.item,
            k.w.out_step * y.step[3], y.step[1],
            sums + r * b.columns * k.panel * k.item, k.panel, 1,
        )


cdef void band_task(void *context, Py_ssize_t index, void *scratch) noexcept nogil:
    cdef Walk *k = <Walk *>context
    cdef Band b = band_of(k, index // k.chunks)
    cdef Py_ssize_t chunk = index % k.chunks, panel
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


cdef void plan(Walk *k) noexcept:
    """Cut the result into bands, and the panels of each where bands are few."""
    cdef Py_ssize_t wanted = TASKS_PER_THREAD * get_num_threads()
    k.in_place = inside(&k.h) and inside(&k.w) and (k.source.step[1] == 1 or k.cin == 1)
    cut_bands(k, most_pixels(k), BAND_BYTES, wanted)
    k.chunks = least(k.panels, ceil_div(wanted, bands_of(k)))
    lay_scratch(k)


cdef inline Py_ssize_t bands_of(Walk *k) noexcept nogil:
    return k.groups * k.row_bands * k.column_bands


cdef int walk(Walk *k, Filters *f, object rows, object columns, View *bias) except -1:
    """Pack the filters, cut the result into bands, do them."""
    cdef Py_ssize_t work
    cdef size_t packed_bytes
    k.packed = k.bias = NULL
    k.offset = NULL
    read_axis(rows, &k.h)
    read_axis(columns, &k.w)
    if k.images * k.h.size_out * k.w.size_out == 0:
        return 0
    set_panels(k)
    if special_walk(k, f, bias):
        return 0
    plan(k)
    work = bands_of(k) * k.rows * k.columns * k.depth * k.panels * k.panel // 32
    packed_bytes = k.groups * k.group_size * k.item + 64
    try:
        lay_rows(k)
        k.packed = take(packed_bytes)
        pack(k, f, k.packed, False)
        if bias != NULL:
            pack_bias(k, bias)
        run(band_task, k, bands_of(k) * k.chunks, work, k.scratch)
    finally:
        if k.packed != NULL:
            runtime.give(k.packed, packed_bytes)
        free(k.bias)
        free(k.offset)
    return 0


def describe(dims, dtype, channels_last):
    """How the forward walk would be done: text by heading, for `explain`."""
    cdef Walk k
    k.item = dtype.itemsize
    k.tiles = runtime.tiles[k.item == 8]
    k.images, k.groups = dims.n, dims.groups
    k.cin, k.cout = dims.c // k.groups, dims.k // k.groups
    k.source.step[1] = 1 if channels_last else dims.h * dims.w
    rows, columns = dims.forward_taps
    read_axis(rows, &k.h)
    read_axis(columns, &k.w)
    if k.images == 0:
        return {"way": "nothing to do: N is 0"}
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


cdef int forward(object x, object w, object b, object y, object dims, bint relu) except -1:
    cdef Walk k
    cdef Filters f
    cdef View bias
    k.tiles, k.item, k.relu = tiles_of(x), x.dtype.itemsize, relu
    borrow(x, False, &k.source)
    borrow(w, False, &f.w)
    borrow(y, True, &k.result)
    if b is not None:
        borrow(b, False, &bias)
    k.images, k.groups = dims.n, dims.groups
    k.cin, k.cout = dims.c // k.groups, dims.k // k.groups
    f.in_step, f.out_step, f.group_step = f.w.step[1], f.w.step[0], k.cout * f.w.step[0]
    rows, columns = dims.forward_taps
    return walk(&k, &f, rows, columns, &bias if b is not None else NULL)


cdef int backward(object dy, object w, object dx, object dims) except -1:
    """dx: from every phase of the stride a walk over dy, with the filters' axes exchanged."""
    cdef Walk k
    cdef Filters f
    k.tiles, k.item, k.relu = tiles_of(dy), dy.dtype.itemsize, False
    borrow(dy, False, &k.source)
    borrow(w, False, &f.w)
    borrow(dx, True, &k.result)
    k.images, k.groups = dims.n, dims.groups
    k.cin, k.cout = dims.k // k.groups, dims.c // k.groups
    f.in_step, f.out_step, f.group_step = f.w.step[0], f.w.step[1], k.cin * f.w.step[0]
    if special_dx(&k, &f, dims):
        return 0
    for rows, columns in dims.dx_phases:
        walk(&k, &f, rows, columns, NULL)
    return 0


# ---- dw ----

# One band of dw: rows of the source on one side, dy packed like filters on the other.
cdef struct Gram:
    Walk *walk
    View dy
    Band band
    char *source            # gathered band
    char *unrolled
    char *grads             # [panel][pixels][width of the panel]
    char *total             # packed like the filters: [group][panel][depth][width]
    char **base             # per result row
    char **row              # per pixel
    Py_ssize_t *row_offset  # per result row, relative to the first
    Py_ssize_t taps, run, step
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
    cdef Py_ssize_t panel = index // tiles, first = index % tiles * k.tiles.rows
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
    k.tiles.product(&p, <int>least(k.tiles.rows, k.depth - first), a, c)


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


cdef int gram_bands(Gram *g, Py_ssize_t group) except -1:
    """All bands of one group, one after another: the sums over them have one order."""
    cdef Walk *k = g.walk
    cdef Py_ssize_t i, work
    cdef Py_ssize_t tiles = ceil_div(k.depth, k.tiles.rows)
    for i in range(k.row_bands * k.column_bands):
        g.band = band_of(k, i * k.groups + group)
        work = g.band.pixels * k.depth * k.panels * k.panel // 32
        base_rows(k, &g.band, g.source, g.base)
        run(gram_gather, g, g.band.rows, work, 0)
        place_pixels(k, &g.band, g.base, g.row)
        unroll(g, work)
        gram_rows(g)
        g.accumulate = i > 0
        run(gram_multiply, g, k.panels * tiles, work, 0)
    return 0


cdef size_t gram_layout(Gram *g, char *memory) noexcept:
    """The parts of one allocation; returns its size (with memory NULL: to be asked for)."""
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
    at += aligned(pixels * widths * k.item)
    g.total = memory + at
    return at + aligned(k.groups * k.group_size * k.item)


cdef int weights_gradient(object dy, object x, object dw, object dims) except -1:
    cdef Walk k
    cdef Gram g
    cdef Filters f
    cdef Py_ssize_t group, pixels
    cdef size_t bytes
    cdef char *memory = NULL
    k.tiles, k.item = tiles_of(x), x.dtype.itemsize
    borrow(x, False, &k.source)
    borrow(dy, False, &g.dy)
    borrow(dw, True, &f.w)
    k.images, k.groups = dims.n, dims.groups
    k.cin, k.cout = dims.c // k.groups, dims.k // k.groups
    if k.images == 0:
        dw[...] = 0
        return 0
    f.in_step, f.out_step, f.group_step = f.w.step[1], f.w.step[0], k.cout * f.w.step[0]
    k.offset = NULL
    rows, columns = dims.forward_taps
    read_axis(rows, &k.h)
    read_axis(columns, &k.w)
    set_panels(&k)
    k.in_place = inside(&k.h) and inside(&k.w) and (k.source.step[1] == 1 or k.cin == 1)
    pixels = GRAM_BYTES // (k.group_size // k.depth * k.item)
    cut_bands(&k, most(least(pixels, gram_pixels(&k)), 64), GRAM_BYTES, 1)
    g.walk = &k
    try:
        lay_rows(&k)
        bytes = gram_layout(&g, NULL)
        memory = take(bytes)
        gram_layout(&g, memory)
        for group in range(k.groups):
            gram_bands(&g, group)
        pack(&k, &f, g.total, True)
    finally:
        if memory != NULL:
            runtime.give(memory, bytes)
        free(k.offset)
    return 0
