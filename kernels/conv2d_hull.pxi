# dx under a stride, with many channels: a walk for each phase of the stride, in one job.
#
# The phases of a band read the same part of dy, which is gathered once, and write the same lines
# of dx.  Each phase's taps lie at offsets of its own from the same pixels; a result that only
# other phases have, at the end of a row of odd length, is computed and not stored.
#
# A single band's filters are packed panel by panel, just before they are met, and stay in L2.
#
# Zen 4, against a job for each phase: 3×3/2 64-128 on 56² 1.05 times as fast, 16 images 1.2;
# 512-512 on 14², one image, by panels 1.05, on two threads 1.1.

cdef enum:
    PANEL_OF_PHASES = 2048 * 1024       # bytes of such a panel, at most


cdef struct AllPhases:
    Walk *hull          # whose windows hold those of all phases
    Walk *phase
    Py_ssize_t count
    bint by_panel
    PackJob pack
    size_t at_panel, at_windows, scratch


cdef inline void enclose(TapAxis *hull, TapAxis *a) noexcept:
    """Let the windows of an axis hold those of another, too."""
    cdef Py_ssize_t end = most(hull.first + hull.taps, a.first + reach(a, 1))
    hull.first = least(hull.first, a.first)
    hull.taps = end - hull.first
    hull.size_out = most(hull.size_out, a.size_out)


cdef bint hull_of_phases(Walk *hull, Together *all) noexcept:
    """Its axes; False where planes would be the better walk."""
    cdef Walk one = hull[0]
    cdef Py_ssize_t i
    hull.h, hull.w = all.phase[0].h, all.phase[0].w
    hull.h.taps, hull.w.taps = reach(&hull.h, 1), reach(&hull.w, 1)
    hull.h.dilation = hull.w.dilation = 1
    for i in range(all.count):
        one.h, one.w = all.phase[i].h, all.phase[i].w
        set_panels(&one)
        if planar_pays(&one):
            return False
        enclose(&hull.h, &one.h)
        enclose(&hull.w, &one.w)
    return True


cdef void store_phase(Walk *k, Walk *phase, Band *b, Py_ssize_t panel, char *sums) noexcept nogil:
    """One phase of a band to where it lies in dx."""
    cdef View *dx = &k.result
    cdef TapAxis *h = &phase.h
    cdef TapAxis *w = &phase.w
    cdef Py_ssize_t r, image, i, columns = least(b.columns, w.size_out - b.column)
    cdef Py_ssize_t channels = least(k.panel, k.cout - panel * k.panel)
    for r in range(b.rows):
        image, i = (b.row + r) // k.h.size_out, (b.row + r) % k.h.size_out
        if i < h.size_out and columns > 0:
            k.tiles.copy(
                columns, channels,
                dx.at + k.item * (
                    image * dx.step[0] + (b.group * k.cout + panel * k.panel) * dx.step[1]
                    + (h.out_first + i * h.out_step) * dx.step[2]
                    + (w.out_first + b.column * w.out_step) * dx.step[3]
                ),
                w.out_step * dx.step[3], dx.step[1],
                sums + r * b.columns * k.panel * k.item, k.panel, 1,
            )


cdef void all_phases_task(void *context, Py_ssize_t index, void *scratch) noexcept nogil:
    cdef AllPhases *p = <AllPhases *>context
    cdef Walk *k = p.hull
    cdef Band b = band_of(k, index % bands_of(k))
    cdef Py_ssize_t chunk = index // bands_of(k), panel, i
    cdef char *at = <char *>scratch
    cdef char **row = <char **>at
    cdef char *sums = at + k.at_sums
    cdef PackJob pack = p.pack
    cdef Walk one
    place_rows(k, &b, at + k.at_band, at + k.at_unrolled, row)
    for panel in range(chunk * k.panels // k.chunks, (chunk + 1) * k.panels // k.chunks):
        if p.by_panel:
            pack.packed = at + p.at_panel - panel * k.panel * k.depth * k.item
            pack_panel(&pack, panel, at + p.at_windows)
        for i in range(p.count):
            one = p.phase[i]
            if p.by_panel:
                one.packed = pack.packed
            multiply_band(&one, &b, panel, row, NULL, sums)
            store_phase(k, &p.phase[i], &b, panel, sums)


cdef int begin_phase(Walk *k, Walk *hull, Together *all, Py_ssize_t i) except -1:
    """A phase's taps, from the hull's pixels, and its part of the filters."""
    cdef Py_ssize_t tap, shift
    k.h, k.w = all.phase[i].h, all.phase[i].w
    set_panels(k)
    k.columns, k.in_place = hull.columns, hull.in_place
    lay_steps(k, &hull.w)
    lay_taps(k)
    shift = ((k.h.first - hull.h.first) * k.row_step + (k.w.first - hull.w.first) * k.pixel_step)
    for tap in range(k.taps):
        k.offset[tap] += shift
    take_depth(k, all.depth)
    k.first_depth = all.phase[i].first
    return 0


cdef void plan_phases(AllPhases *p, Filters *f, Together *all) except *:
    """Bands, and whether filters are packed by their tasks."""
    cdef Walk *k = p.hull
    cdef size_t panel
    k.depth = all.depth
    plan(k)
    panel = k.panel * k.depth * k.item
    p.by_panel = bands_of(k) == 1 and panel <= PANEL_OF_PHASES
    p.pack = PackJob(&p.phase[0], f, all, NULL, False)
    p.at_panel, p.scratch = k.scratch, k.scratch
    if p.by_panel:
        p.at_windows = p.at_panel + aligned(panel)
        p.scratch = p.at_windows + some_windows(k, f) * window_of(f) * k.panel * k.item


cdef bint walk_together(Walk *k, Filters *f, Together *all) except -1:
    """All phases at once; returns whether that can be done."""
    cdef AllPhases p
    cdef Walk hull = k[0]
    cdef Py_ssize_t i
    if k.images == 0 or not hull_of_phases(&hull, all):
        return False
    hull.offset = NULL
    set_panels(&hull)
    p.hull, p.count = &hull, all.count
    p.phase = <Walk *>malloc(all.count * sizeof(Walk))
    if p.phase == NULL:
        raise MemoryError("no memory for the phases of a stride")
    for i in range(all.count):
        p.phase[i] = k[0]
        p.phase[i].offset = p.phase[i].bias = NULL
    try:
        plan_phases(&p, f, all)
        lay_steps(&hull, &hull.w)
        for i in range(all.count):
            begin_phase(&p.phase[i], &hull, all, i)
            if not p.by_panel:
                pack_together(&p.phase[i], f, all, i)
        run(all_phases_task, &p, bands_of(&hull) * hull.chunks, work_of(&hull), p.scratch)
    finally:
        for i in range(all.count):
            free(p.phase[i].offset)
        free(p.phase)
    return True
