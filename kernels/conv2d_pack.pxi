# Filters packed for the micro-kernel: [group][panel][taps][cin][filters of the panel].

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
    return run(pack_panel, &job, k.groups * k.panels, k.groups * k.group_size // 4, 0)


cdef void set_panels(Walk *k) noexcept:
    k.depth = k.h.taps * k.w.taps * k.cin
    k.panel = k.tiles.vectors * k.tiles.lanes
    k.panels = ceil_div(k.cout, k.panel)
    k.group_size = k.depth * ceil_div(k.cout, k.tiles.lanes) * k.tiles.lanes
