# A walk over columns: vectors hold results of planes, and the tile's rows are filters.
#
#   y[filters, columns] = w[filters, depth] @ x[depth, columns]
#
# A column is the window of a result.  Some vectors of columns are unrolled into a panel, and all
# filters pass over it; those are read where they lie, and results go to their planes.  So what is
# moved is columns times depth, where a walk over pixels packs filters times depth: of 512 filters
# on 7×7 a tenth.  Windows of one tap over planes are copied run by run: nothing is transposed.
#
# Panels run across the rows of a plane and across images.  A lane's sum does not depend on its
# neighbours, so neither do an image's bits.  The depth is cut so that the panels of a plane stay in
# L2: each filter is then read once for them.  Where the last vector of a plane would be nearly
# empty (7×7, 14×14), its columns are dot products instead: three vectors instead of four.
#
# One image in NCHW: 1×1 128-512 on 28² 1.3 -> 0.9 ms, 3×3/2 512-512 on 14² 8.4 -> 4.4 ms (Cascade
# Lake, against a walk over pixels).  Of these, 3×3 512-512 on 28² 38 -> 26 ms by cutting the depth,
# 1×1 2048-512 on 7² 0.87 -> 0.68 ms by dot products (a Xeon with AMX).

cdef enum:
    COLUMN_BYTES = 256 * 1024       # of a band's panels: in L2, beside filters and results
    PLANE_BYTES = 512 * 1024        # of a plane's panels, for a part of the depth
    MOST_COLUMN_BYTES = 2048 * 1024     # of a few panels
    PLANE_PANELS = 5                # of a plane, for which the depth is cut
    COPIED_FILTERS = 48             # that are copied together: three lines of a depth
    LARGE_PLANE = 256               # results; for smaller ones more filters are copied, of a part
    COPIED_BYTES = 512 * 1024       # of the depth: what lies in one page is read in one piece
    COPIED_PART = 128
    COPIED_DEPTH = 8                # from as many pages at a time as L1 has ways, each once
    UNROLLED_CHANNELS = 16          # planes at a time: their lines stay in L1
    SPREAD = 3                      # columns that pass over filters together
    # What a number costs, in lanes of an FMA (fitted to 390 problems, Cascade Lake): to pack it,
    # to unroll it, to begin a run of what is unrolled, and to transpose a result.
    PACK = 30
    UNROLL = 12
    UNROLL_RUN = 300
    UNROLL_ROWS = 24                # what im2col's rows cost more than columns, for each number
    TO_CHANNELS_LAST = 60
    REST = 3                        # what a column of dot products costs, for each number
    LARGE = 1024 * 1024             # packed filters that each band reads from behind L2


cdef struct Columns:
    Walk *walk
    Filters *filters
    Py_ssize_t taps, channels           # of a part of the depth
    Py_ssize_t plane, rest, all         # columns of an image in panels, and behind; in all panels
    Py_ssize_t width, panels            # columns of a panel, panels of all columns
    Py_ssize_t band, bands              # panels of a task, tasks of all panels
    Py_ssize_t chunk, chunks            # filters of a task, tasks of a band
    bint from_planes, to_planes         # rows of x, and of y, follow one another
    bint copied                         # filters are copied, as [block][depth][p.block]
    bint plain                          # neither bias nor ReLU
    Py_ssize_t block, copies            # filters of a block (whole vectors); copied together
    size_t at_sums, at_rest, at_dots, at_copies, at_panels, scratch


# Neighbouring results of one row, or of one plane.
cdef struct Run:
    Py_ssize_t image, row, column, length


# ---- whether it pays ----

cdef inline bint from_planes(Walk *k) noexcept nogil:
    """Whether the results of a plane read the cells of a plane, that follow one another."""
    return is_flat(k) and inside(&k.h) and k.source.step[2] == k.w.size_out * k.source.step[3]


cdef inline bint to_planes(Walk *k) noexcept nogil:
    return k.result.step[3] == 1 and k.result.step[2] == k.w.size_out


cdef bint columns_pay(Walk *k, Filters *f) noexcept:
    """Where planes are copied to planes; and where few columns cost less than many filters."""
    cdef Py_ssize_t taps = k.h.taps * k.w.taps, width = k.tiles.vectors * k.tiles.lanes
    if k.cout < k.tiles.rows or width * taps * k.item > MOST_COLUMN_BYTES:
        return False
    if k.h.k_first or k.w.k_first or k.h.out_step * k.w.out_step != 1:
        return False
    if from_planes(k) and k.source.step[3] == 1 and to_planes(k):
        if f.in_step == 1:
            return True
        if f.out_step != 1:
            return False
        return COPIED_FILTERS * k.depth * k.item <= MOST_COLUMN_BYTES
    if f.in_step != taps or taps > 1 and not (flat_taps(k, f) and k.w.k_step == 1):
        return False
    return few_columns(k)


cdef double columns_cost(Walk *k) noexcept:
    """Of an image, in lanes: the choice must not depend on its batch."""
    cdef Py_ssize_t lanes = k.tiles.lanes, pixels = k.h.size_out * k.w.size_out
    cdef Py_ssize_t rest = rest_of(pixels, lanes)
    cdef double cost = (
        ceil_div(k.cout, k.tiles.rows) * k.tiles.rows
        * (ceil_div(pixels - rest, lanes) * lanes + REST * rest)
        + UNROLL * pixels + UNROLL_RUN * k.h.size_out
    ) * <double>k.depth
    if k.result.step[1] == 1:
        cost += TO_CHANNELS_LAST * k.cout * pixels
    return cost


cdef bint few_columns(Walk *k) noexcept:
    """Whether they cost less than a walk over pixels."""
    cdef Py_ssize_t lanes = k.tiles.lanes, pixels = k.h.size_out * k.w.size_out
    cdef double filters = ceil_div(k.cout, lanes) * lanes * (1.25 if k.cout <= lanes else 1)
    cdef double walk = (filters * pixels + PACK * k.cout) * k.depth
    if k.cout * k.depth * k.item >= LARGE:
        walk *= 1.1
    if unrolls(k):
        walk += UNROLL_ROWS * <double>pixels * k.depth
    if k.source.step[1] != 1:
        walk += MOVE * k.cin * k.h.size_in * k.w.size_in
    if k.result.step[1] != 1:
        walk += MOVE * k.cout * pixels
    return columns_cost(k) < walk


# ---- panels ----

cdef inline Run run_at(Columns *p, Py_ssize_t image, Py_ssize_t place, Py_ssize_t end,
                       bint planes) noexcept nogil:
    """The run from one place of an image on, that ends before another."""
    cdef Run r
    cdef Py_ssize_t width = end if planes else p.walk.w.size_out
    r.image, r.row, r.column = image, place // width, place % width
    r.length = least(width - r.column, end - place)
    return r


cdef inline Run run_of(Columns *p, Py_ssize_t column, Py_ssize_t end, bint planes) noexcept nogil:
    """The run that begins with a column, and ends before another."""
    cdef Py_ssize_t image = column // p.plane, first = image * p.plane
    return run_at(p, image, column - first, least(p.plane, end - first), planes)


cdef void unroll_run(Columns *p, Run *r, char *to, Py_ssize_t tap,
                     Py_ssize_t column) noexcept nogil:
    """The windows of a run, tap by tap; what is padding is left as it is."""
    cdef Walk *k = p.walk
    cdef View *s = &k.source
    cdef Py_ssize_t step = k.w.step, i, j, y, x, left, right
    cdef char *at = s.at + r.image * s.step[0] * k.item
    for i in range(k.h.taps):
        y = k.h.first + r.row * k.h.step + i * k.h.dilation
        for j in range(k.w.taps):
            x = k.w.first + r.column * step + j * k.w.dilation
            left = ceil_div(-x, step) if x < 0 else 0
            right = r.length
            if not p.from_planes and x + (right - 1) * step >= k.w.size_in:
                right = ceil_div(k.w.size_in - x, step)
            if 0 <= y < k.h.size_in and left < right:
                k.tiles.copy(
                    k.cin, right - left, to + left * column * k.item, p.taps * tap, column,
                    at + (y * s.step[2] + (x + left * step) * s.step[3]) * k.item,
                    s.step[1], step * s.step[3],
                )
            to += tap * k.item


cdef void unroll_panel(Columns *p, Py_ssize_t first, Py_ssize_t end, char *to) noexcept nogil:
    """Columns as [cin][taps][vectors], zeros beside the last."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t width = ceil_div(end - first, k.tiles.lanes) * k.tiles.lanes
    cdef Run r
    if end - first < width or not (inside(&k.h) and inside(&k.w)):
        memset(to, 0, k.depth * width * k.item)
    while first < end:
        r = run_of(p, first, end, p.from_planes)
        unroll_run(p, &r, to, width, 1)
        to += r.length * k.item
        first += r.length


cdef void unroll_rest(Columns *p, Py_ssize_t image, Py_ssize_t last, char *to) noexcept nogil:
    """The columns of some images that are in no panel, as [column][cin][taps]."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t place, end = p.plane + p.rest
    cdef Run r
    if not (inside(&k.h) and inside(&k.w)):
        memset(to, 0, (last - image) * p.rest * k.depth * k.item)
    while image < last:
        place = p.plane
        while place < end:
            r = run_at(p, image, place, end, p.from_planes)
            unroll_run(p, &r, to, 1, k.depth)
            to += r.length * k.depth * k.item
            place += r.length
        image += 1


cdef void unroll_band(Columns *p, Py_ssize_t first, Py_ssize_t end, char *panels) noexcept nogil:
    """Panels; of planes some channels at a time: a panel takes a line or two of a plane, and the
    next goes on in them.  (Channels-last, in pieces: 3×3/2 512-512 on 14² 0.89.)"""
    cdef Columns part = p[0]
    cdef Walk k = p.walk[0]
    cdef Py_ssize_t channels = k.cin, channel = 0, panel, last, width
    cdef Py_ssize_t some = channels if k.source.step[1] == 1 else UNROLLED_CHANNELS
    cdef char *to
    part.walk = &k
    while channel < channels:
        k.cin = least(some, channels - channel)
        k.depth = k.cin * p.taps
        to = panels
        panel = first
        while panel < end:
            last = least(panel + p.width, end)
            width = ceil_div(last - panel, k.tiles.lanes) * k.tiles.lanes
            unroll_panel(&part, panel, last, to + channel * p.taps * width * k.item)
            to += p.width * p.walk.depth * k.item
            panel = last
        k.source.at += k.cin * k.source.step[1] * k.item
        channel += k.cin


# ---- results ----

cdef inline char *result_at(Columns *p, Run *r) noexcept nogil:
    cdef View *y = &p.walk.result
    return y.at + p.walk.item * (r.image * y.step[0] + r.row * y.step[2] + r.column * y.step[3])


cdef void find_targets(Columns *p, Py_ssize_t first, Py_ssize_t end, char **target) noexcept nogil:
    """Where the results of panels go if those are one run (else NULL)."""
    cdef Py_ssize_t last
    cdef Run r
    while first < end:
        last = least(first + p.width, end)
        r = run_of(p, first, last, p.to_planes)
        target[0] = result_at(p, &r) if p.to_planes and r.length == last - first else NULL
        target += 1
        first = last


cdef void move_sums(Columns *p, Py_ssize_t first, Py_ssize_t end, Py_ssize_t filter,
                    Py_ssize_t filters, char *sums, bint back) noexcept nogil:
    """Sums [filters][width] to a result in another form, or of several images; or back."""
    cdef Walk *k = p.walk
    cdef View *y = &k.result
    cdef char *at
    cdef Run r
    while first < end:
        r = run_of(p, first, end, y.step[2] == k.w.size_out * y.step[3])
        at = result_at(p, &r) + filter * y.step[1] * k.item
        if back:
            k.tiles.copy(r.length, filters, sums, 1, p.width, at, y.step[3], y.step[1])
        else:
            k.tiles.copy(r.length, filters, at, y.step[3], y.step[1], sums, 1, p.width)
        sums += r.length * k.item
        first += r.length


cdef void place_rest(Columns *p, Py_ssize_t image, Py_ssize_t last, Py_ssize_t filter,
                     Py_ssize_t filters, char *dots) noexcept nogil:
    """Dot products [column][p.chunk] to the result."""
    cdef Walk *k = p.walk
    cdef View *y = &k.result
    cdef Py_ssize_t place, end = p.plane + p.rest
    cdef Run r
    while image < last:
        place = p.plane
        while place < end:
            r = run_at(p, image, place, end, False)
            k.tiles.copy(r.length, filters, result_at(p, &r) + filter * y.step[1] * k.item,
                         y.step[3], y.step[1], dots, p.chunk, 1)
            dots += r.length * p.chunk * k.item
            place += r.length
        image += 1


# ---- filters, and their products ----

cdef void copy_filters(Columns *p, char *w, Py_ssize_t filter, Py_ssize_t last,
                       char *to) noexcept nogil:
    """[block][depth][filters of the block] of neighbouring filters."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t d = 0, some, first
    while d < k.depth:
        some = least(COPIED_DEPTH, k.depth - d)
        first = filter
        while first < last:
            k.tiles.copy(
                some, least(p.block, last - first),
                to + ((first - filter) * k.depth + d * p.block) * k.item, p.block, 1,
                w + (first + d * p.filters.in_step) * k.item, p.filters.in_step, 1,
            )
            first += p.block
        d += some


cdef void copy_some(Columns *p, fc_dots *d, char *w, Py_ssize_t begin, Py_ssize_t filter,
                    Py_ssize_t last, char *scratch) noexcept nogil:
    """The next filters that are copied; the rest's columns meet them where they lie."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t end = least(last, filter + p.copies), row = 0
    cdef fc_spread s
    copy_filters(p, w, filter, end, scratch + p.at_copies)
    s.columns, s.depth, s.accumulate = end - filter, d.depth, d.accumulate
    s.x_row, s.w_row, s.y_row = d.x_row, p.filters.in_step, d.y_row
    while row < d.images:
        s.images = least(SPREAD, d.images - row)
        k.tiles.spread(&s, scratch + p.at_rest + row * s.x_row * k.item, w + filter * k.item,
                       scratch + p.at_dots + (row * s.y_row + filter - begin) * k.item)
        row += SPREAD


cdef void multiply_columns(Columns *p, fc_product *q, Py_ssize_t first, Py_ssize_t end,
                           Py_ssize_t filter, Py_ssize_t filters, const void **a,
                           char *panels, char **target, char *sums) noexcept nogil:
    """A tile of filters over the panels of a band."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t m, last, step
    cdef void *c[16]
    cdef char *to
    while first < end:
        last = least(first + p.width, end)
        q.columns, q.vectors = <int>(last - first), <int>ceil_div(last - first, k.tiles.lanes)
        q.w = panels
        to, step = sums, p.width
        if target[0] != NULL:
            to, step = target[0] + filter * k.result.step[1] * k.item, k.result.step[1]
        elif q.accumulate:
            move_sums(p, first, last, filter, filters, sums, True)
        for m in range(filters):
            c[m] = to + m * step * k.item
        k.tiles.product(q, <int>filters, a, c)
        if target[0] == NULL:
            move_sums(p, first, last, filter, filters, sums, False)
        panels += p.width * k.depth * k.item
        target += 1
        first = last


cdef void multiply_part(Columns *p, fc_product *q, fc_dots *d, char *w, Py_ssize_t first,
                        Py_ssize_t end, Py_ssize_t begin, Py_ssize_t last, char *bias,
                        char *scratch) noexcept nogil:
    """Some filters over a band, for a part of the depth: tile after tile of them."""
    cdef Walk *k = p.walk
    cdef Filters *f = p.filters
    cdef Py_ssize_t filter = begin, tile = k.tiles.rows, copy = 0, some, m
    cdef char *copies = scratch + p.at_copies
    cdef const void *a[16]
    cdef void *added
    while filter < last:
        some = least(tile, last - filter)
        if p.copied:
            copy = (filter - begin) % p.copies
            if copy == 0:
                copy_some(p, d, w, begin, filter, last, scratch)
        for m in range(tile):               # (the last is repeated to fill the tile)
            if p.copied:
                a[m] = copies + (copy // p.block * p.block * k.depth + copy % p.block
                                 + least(m, some - 1)) * k.item
            else:
                a[m] = w + (filter + least(m, some - 1)) * f.out_step * k.item
        added = bias + filter * k.item if bias != NULL else NULL
        q.bias = added
        multiply_columns(p, q, first, end, filter, some, a, scratch + p.at_panels,
                         <char **>scratch, scratch + p.at_sums)
        if d.images and not p.copied:
            d.filters = some
            k.tiles.dots(d, scratch + p.at_rest, a[0], added,
                         scratch + p.at_dots + (filter - begin) * k.item)
        filter += some


cdef void columns_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    """Some filters over a band of panels, part after part of the depth."""
    cdef Columns all = (<Columns *>context)[0]
    cdef Columns *p = &all
    cdef Walk k = p.walk[0]
    cdef Filters *f = p.filters
    cdef Py_ssize_t group = task // p.chunks // p.bands, channels = k.cin, channel = 0, zero = 0
    cdef Py_ssize_t begin = task // p.bands % p.chunks * p.chunk
    cdef Py_ssize_t last = least(begin + p.chunk, k.cout)
    cdef Py_ssize_t first = task % p.bands * p.band * p.width
    cdef Py_ssize_t end = least(first + p.band * p.width, p.all)
    cdef Py_ssize_t image = first // p.plane, images = end // p.plane   # whose rests are here
    cdef char *at = <char *>scratch
    cdef char *bias = NULL      # (read for the first part only)
    cdef fc_product q
    cdef fc_dots d
    p.walk = &k
    if k.bias != NULL:
        bias = k.bias + group * k.panels * k.panel * k.item
    k.source.at += group * k.cin * k.source.step[1] * k.item
    k.result.at += group * k.cout * k.result.step[1] * k.item
    q.taps, q.step, q.offset, q.w_offset = 1, p.block if p.copied else 1, &zero, NULL
    q.by_row, q.each, q.c_vector = True, k.tiles.lanes, k.tiles.lanes
    d.images, d.w_row, d.y_row = (images - image) * p.rest, f.out_step, p.chunk
    find_targets(p, first, end, <char **>at)
    while channel < channels:
        k.cin = least(p.channels, channels - channel)
        k.depth = k.cin * p.taps
        unroll_band(p, first, end, at + p.at_panels)
        unroll_rest(p, image, images, at + p.at_rest)
        q.run = d.depth = d.x_row = k.depth
        q.accumulate = d.accumulate = channel > 0
        q.relu = d.relu = k.relu and channel + k.cin == channels
        multiply_part(p, &q, &d, f.w.at + (group * f.group_step + channel * f.in_step) * k.item,
                      first, end, begin, last, bias, at)
        k.source.at += k.cin * k.source.step[1] * k.item
        channel += k.cin
    if d.images:
        place_rest(p, image, images, begin, last - begin, at + p.at_dots)


# ---- cutting ----

cdef inline Py_ssize_t columns_work(Walk *k) noexcept:
    """In about nanoseconds."""
    return k.images * k.h.size_out * k.w.size_out * k.groups * k.cout * k.depth // 32


cdef void cut_plane(Columns *p) noexcept:
    """Columns of panels, and channels of a part: as an image has them, whatever its batch."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t lanes = k.tiles.lanes, panels
    p.taps, p.plane = k.h.taps * k.w.taps, k.h.size_out * k.w.size_out
    p.copied = p.filters.in_step != p.taps
    p.from_planes, p.to_planes = from_planes(k), to_planes(k)
    p.width = k.tiles.vectors * lanes
    panels = least(ceil_div(p.plane, p.width), PLANE_PANELS)
    p.channels = most(1, PLANE_BYTES // (panels * p.width * p.taps * k.item))
    if p.copied and p.plane < LARGE_PLANE:
        p.channels = COPIED_PART
    p.rest = 0 if p.copied and not p.plain else rest_of(p.plane, lanes)
    p.plane -= p.rest
    p.all = k.images * p.plane
    p.channels = ceil_div(k.cin, ceil_div(k.cin, p.channels))


cdef inline Py_ssize_t rest_of(Py_ssize_t plane, Py_ssize_t lanes) noexcept nogil:
    """Columns behind the last vector of a plane, if so few that dot products pay."""
    cdef Py_ssize_t rest = plane % lanes
    return rest if plane > lanes and rest <= lanes // 4 else 0


cdef void cut_columns(Columns *p) except *:
    """Bands by size, and smaller ones for the threads, but of so many panels that copies of
    filters pay, and that a plane's rest is no task.  Then chunks of filters: each unrolls its
    band again, so where that is more than to copy runs there are no more than threads (3×3/2,
    512-512 on 14², two threads: 4.4 -> 3.4 ms)."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t wanted = tasks_wanted(columns_work(k)), panel_bytes, few, rest, depth
    cut_plane(p)
    depth = p.channels * p.taps
    p.panels = ceil_div(p.all, p.width)
    panel_bytes = p.width * depth * k.item
    p.band = most(1, COLUMN_BYTES // panel_bytes)
    if k.cout * depth * k.item > PLANE_BYTES:   # filters that would not stay in L2 are read once
        p.band = most(p.band, least(ceil_div(p.plane, p.width), PLANE_PANELS))
    few = least(5 if p.copied else 2, MOST_COLUMN_BYTES // panel_bytes)
    p.band = most(few, least(p.band, k.groups * p.panels // wanted))
    if p.rest:
        rest = MOST_COLUMN_BYTES // (k.cout * k.item)       # dot products of each filter
        p.band = least(p.band, most(1, rest // p.rest * p.plane // p.width))
    p.bands = ceil_div(p.panels, p.band)
    p.band = ceil_div(p.panels, p.bands)
    p.chunks = ceil_div(wanted, k.groups * p.bands)
    if not p.from_planes:
        p.chunks = least(p.chunks, threads_for(columns_work(k)))
    p.chunk = ceil_div(k.cout, p.chunks)
    p.chunk = ceil_div(p.chunk, k.tiles.rows) * k.tiles.rows
    p.chunks = ceil_div(k.cout, p.chunk)
    p.block = k.tiles.rows
    while p.block % k.tiles.lanes:
        p.block += k.tiles.rows
    p.copies = ceil_div(COPIED_FILTERS, p.block) * p.block
    if depth <= COPIED_PART:
        p.copies = most(p.copies, least(COPIED_BYTES // (p.block * depth * k.item),
                                        ceil_div(p.chunk, p.block)) * p.block)
    rest = p.rest * (p.band * p.width // p.plane + 1)
    p.at_sums = aligned(p.band * sizeof(char *))
    p.at_rest = p.at_sums + aligned(k.tiles.rows * p.width * k.item)
    p.at_dots = p.at_rest + aligned(rest * depth * k.item)
    p.at_copies = p.at_dots + aligned(rest * p.chunk * k.item)
    p.at_panels = p.at_copies
    if p.copied:
        p.at_panels += aligned(p.copies * depth * k.item)
    p.scratch = p.at_panels + p.band * panel_bytes


cdef int begin_columns(Columns *p, Walk *k, Filters *f, View *bias) except -1:
    """Cut panels; the walk's bias has to be freed in any case."""
    p.walk, p.filters, p.plain = k, f, bias == NULL and not k.relu
    cut_columns(p)
    if bias != NULL:
        pack_bias(k, bias)
    return 0


cdef inline Py_ssize_t columns_tasks(Columns *p) noexcept:
    return p.walk.groups * p.bands * p.chunks


cdef int columns_walk(Walk *k, Filters *f, View *bias) except -1:
    cdef Columns p
    try:
        begin_columns(&p, k, f, bias)
        run(columns_task, &p, columns_tasks(&p), columns_work(k), p.scratch)
    finally:
        free(k.bias)
        k.bias = NULL
    return 0


cdef void block_of_memory(Walk *k, Filters *f) noexcept:
    """Filters as `explain` takes them to lie."""
    f.in_step, f.out_step = k.h.taps * k.w.taps, k.depth
    f.w.step[2], f.w.step[3] = k.w.taps, 1


cdef object columns_way(Walk *k):
    """For `explain`, if it is the way."""
    cdef Columns p
    cdef Filters f
    block_of_memory(k, &f)
    if not columns_pay(k, &f):
        return None
    p.walk, p.filters, p.plain = k, &f, True
    cut_columns(&p)
    return {
        "way": f"columns: tiles of {k.tiles.rows} filters x {p.width} columns, depth {k.depth}; "
               f"in {ceil_div(k.cin, p.channels)} parts; {p.bands} bands of {p.band} panels in "
               f"{columns_tasks(&p)} tasks",
        "copies": "x is unrolled, a panel at a time; filters are read where they lie",
        "scratch": f"{p.scratch / 1024:.0f} KiB per thread",
    }
