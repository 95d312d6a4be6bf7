# Filters packed for the micro-kernel: [group][panel][taps][cin][filters of the panel].

cdef enum:
    SOME_WINDOWS = 8        # channels whose windows are transposed at a time, in L1
    MOST_WINDOW = 256       # larger windows go tap by tap
    PACKED_ROWS = 32        # from so many pages at a time


# One phase of dx's stride: some taps, from value `first` of the depth on.
cdef struct Phase:
    TapAxis h, w
    Py_ssize_t first


# The filters of all phases, packed by the first that needs them.
cdef struct Together:
    Phase *phase
    Py_ssize_t count, depth
    char *packed
    size_t bytes


cdef struct PackJob:
    Walk *walk
    Filters *filters
    Together *all           # NULL: the walk's own taps
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
    cdef Py_ssize_t i, j
    cdef char *at = job.packed + (group * k.group_size + first * k.whole_depth) * k.item
    if by_windows(f):
        pack_windows(job, group, first, columns, width, at, <char *>scratch)
        return
    if columns < width and not job.unpack:
        memset(at, 0, k.depth * width * k.item)
    for i in range(k.h.taps):
        for j in range(k.w.taps):
            pack_copy(job, k.cin, columns, at, width, filter_tap(k, f, group, first, i, j),
                      f.in_step)
            at += k.cin * width * k.item


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


# ---- by windows: the taps of a channel are neighbours in w ----
#
# They are transposed together, for several channels where those are neighbours too, and then
# moved row by row to where each tap has its channels.  Phases of dx take some taps of each window:
# tap by tap, every line of w was read once for each (dx of 3×3/2, 256-512: 90 -> 123 GFLOP/s).

cdef inline Py_ssize_t window_of(Filters *f) noexcept nogil:
    return f.w.size[2] * f.w.size[3]


cdef inline bint by_windows(Filters *f) noexcept nogil:
    return (1 < window_of(f) <= MOST_WINDOW and f.w.step[3] == 1
            and f.w.step[2] == f.w.size[3])


cdef inline Py_ssize_t some_windows(Walk *k, Filters *f) noexcept nogil:
    return least(SOME_WINDOWS, k.cin) if f.in_step == window_of(f) else 1


cdef void move_taps(PackJob *job, TapAxis *h, TapAxis *w, Py_ssize_t width, char *panel,
                    char *windows) noexcept nogil:
    """The taps of one channel between the panel (at that channel) and its window."""
    cdef Walk *k = job.walk
    cdef Py_ssize_t kernel_w = job.filters.w.size[3]
    cdef Py_ssize_t i, step = w.k_step * width, next = k.cin * width
    cdef char *taps = windows + (h.k_first * kernel_w + w.k_first) * width * k.item
    for i in range(h.taps):
        if job.unpack:
            k.tiles.copy(w.taps, width, taps, step, 1, panel, next, 1)
        else:
            k.tiles.copy(w.taps, width, panel, next, 1, taps, step, 1)
        panel += w.taps * next * k.item
        taps += h.k_step * kernel_w * width * k.item


cdef void pack_windows(PackJob *job, Py_ssize_t group, Py_ssize_t first, Py_ssize_t columns,
                       Py_ssize_t width, char *panel, char *windows) noexcept nogil:
    cdef Walk *k = job.walk
    cdef Filters *f = job.filters
    cdef Py_ssize_t window = window_of(f), some = some_windows(k, f), c = 0, n, i, p
    cdef Phase *phase
    cdef char *w = f.w.at + (group * f.group_step + first * f.out_step) * k.item
    cdef char *row
    cdef char *at
    if columns < width:
        memset(windows, 0, some * window * width * k.item)
    while c < k.cin:
        n = least(some, k.cin - c)
        if not job.unpack:
            pack_copy(job, n * window, columns, windows, width, w + c * f.in_step * k.item, 1)
        for i in range(n):
            at = windows + i * window * width * k.item
            row = panel + (c + i) * width * k.item
            if job.all == NULL:
                move_taps(job, &k.h, &k.w, width, row, at)
                continue
            for p in range(job.all.count):
                phase = &job.all.phase[p]
                move_taps(job, &phase.h, &phase.w, width, row + phase.first * width * k.item, at)
        if job.unpack:
            pack_copy(job, n * window, columns, windows, width, w + c * f.in_step * k.item, 1)
        c += n


# ---- by rows: filters are neighbours in w ----

cdef void pack_rows(void *context, Py_ssize_t index, void *scratch) noexcept nogil:
    """Some rows of depth, of all panels: a row of w lies in one page, a panel's in one each."""
    cdef PackJob *job = <PackJob *>context
    cdef Walk *k = job.walk
    cdef Filters *f = job.filters
    cdef Py_ssize_t blocks = ceil_div(k.depth, PACKED_ROWS), group = index // blocks, first = 0
    cdef Py_ssize_t d = index % blocks * PACKED_ROWS, rows = least(PACKED_ROWS, k.depth - d)
    cdef Py_ssize_t columns, width
    cdef char *w = filter_tap(k, f, group, 0, 0, 0) + d * f.in_step * k.item
    cdef char *to
    while first < k.cout:
        columns = least(k.panel, k.cout - first)
        width = ceil_div(columns, k.tiles.lanes) * k.tiles.lanes
        to = job.packed + (group * k.group_size + first * k.depth + d * width) * k.item
        if columns < width:
            memset(to, 0, rows * width * k.item)
        k.tiles.copy(rows, columns, to, width, 1, w + first * k.item, f.in_step, 1)
        first += k.panel


cdef inline bint by_rows(PackJob *job) noexcept nogil:
    return (job.filters.out_step == 1 and job.filters.in_step != 1 and not job.unpack
            and job.all == NULL and job.walk.h.taps * job.walk.w.taps == 1)


cdef int pack_job(PackJob *job) except -1:
    cdef Walk *k = job.walk
    cdef size_t scratch = 0
    if by_rows(job):
        return run(pack_rows, job, k.groups * ceil_div(k.depth, PACKED_ROWS),
                   k.groups * k.group_size // 4, 0)
    if by_windows(job.filters):
        scratch = some_windows(k, job.filters) * window_of(job.filters) * k.panel * k.item
    return run(pack_panel, job, k.groups * k.panels, k.groups * k.group_size // 4, scratch)


cdef int pack(Walk *k, Filters *f, char *packed, bint unpack) except -1:
    cdef PackJob job = PackJob(k, f, NULL, packed, unpack)
    return pack_job(&job)


cdef int pack_together(Walk *k, Filters *f, Together *all, Py_ssize_t phase) except -1:
    """One phase's walk gets its part of all packed filters."""
    cdef PackJob job
    take_depth(k, all.depth)
    if all.packed == NULL:
        all.bytes = k.groups * k.group_size * k.item + 64
        all.packed = take(all.bytes)
        job = PackJob(k, f, all, all.packed, False)
        pack_job(&job)
    k.packed, k.first_depth = all.packed, all.phase[phase].first
    return 0


cdef inline char *panel_at(Walk *k, Py_ssize_t group, Py_ssize_t panel,
                           Py_ssize_t width) noexcept nogil:
    return k.packed + k.item * (group * k.group_size + panel * k.panel * k.whole_depth
                                + k.first_depth * width)


cdef void take_depth(Walk *k, Py_ssize_t depth) noexcept:
    """So many values of each filter are packed, of which a walk may use a part."""
    k.whole_depth, k.first_depth = depth, 0
    k.group_size = depth * ceil_div(k.cout, k.tiles.lanes) * k.tiles.lanes


cdef void set_panels(Walk *k) noexcept:
    k.depth = k.h.taps * k.w.taps * k.cin
    k.panel = k.tiles.vectors * k.tiles.lanes
    k.panels = ceil_div(k.cout, k.panel)
    take_depth(k, k.depth)
