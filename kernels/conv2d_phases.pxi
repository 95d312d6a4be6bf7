# dx under a stride, with few channels: all phases of the stride in one walk.
#
# A phase with 3 channels would fill 3 of 16 lanes, and every phase would gather dy again.
# Here the channels of several phases stand side by side in a panel: s·s·C filters of
# ceil(K/s) taps, those beyond the kernel zero.  AlexNet's first layer: 48 filters of 3×3
# taps instead of 16 walks, 32 -> 113 GFLOP/s (AVX-512, one thread).


cdef struct Phases:
    Walk *walk
    Filters *filters
    Py_ssize_t stride_h, stride_w, kh, kw
    Py_ssize_t height, width        # of dx
    Py_ssize_t channels             # of dx in one group
    Py_ssize_t per_panel            # phases in a panel


cdef bint phases_pay(Walk *k, Py_ssize_t kernel) noexcept:
    """Lanes times taps per position of all phases: one by one, and side by side."""
    cdef Py_ssize_t lanes = k.tiles.lanes, panel = phases_panel(k)
    cdef Py_ssize_t apart = ceil_div(k.cout, lanes) * lanes * kernel
    if k.cout > panel:
        return False
    return (ceil_div(k.h.out_step * k.w.out_step, panel // k.cout) * panel
            * k.h.taps * k.w.taps < apart)


cdef inline Py_ssize_t phases_panel(Walk *k) noexcept nogil:
    """Lanes of a panel: no more than all phases need."""
    cdef Py_ssize_t lanes = k.tiles.lanes
    cdef Py_ssize_t needed = ceil_div(k.h.out_step * k.w.out_step * k.cout, lanes) * lanes
    return least(needed, lanes * k.tiles.vectors)


cdef void pack_phases(Phases *p, char *packed) noexcept nogil:
    """[group][panel][taps][cin][phases of the panel × channels], zeros beyond the kernel."""
    cdef Walk *k = p.walk
    cdef Filters *f = p.filters
    cdef Py_ssize_t group, phase, i, j, y, x
    cdef char *at
    memset(packed, 0, k.groups * k.group_size * k.item)
    for group in range(k.groups):
        for phase in range(p.stride_h * p.stride_w):
            at = packed + k.item * (
                group * k.group_size + phase // p.per_panel * k.panel * k.depth
                + phase % p.per_panel * p.channels
            )
            for i in range(k.h.taps):
                y = k.h.k_first + i * k.h.k_step + phase // p.stride_w
                for j in range(k.w.taps):
                    x = k.w.k_first + j * k.w.k_step + phase % p.stride_w
                    if y < p.kh and x < p.kw:
                        k.tiles.copy(
                            k.cin, p.channels,
                            at + (i * k.w.taps + j) * k.cin * k.panel * k.item, k.panel, 1,
                            f.w.at + k.item * (group * f.group_step + y * f.w.step[2]
                                               + x * f.w.step[3]),
                            f.in_step, f.out_step,
                        )


cdef void scatter_phase(Phases *p, Band *b, Py_ssize_t phase, char *sums) noexcept nogil:
    """One phase of a band to where it lies in dx; positions outside dx are dropped."""
    cdef Walk *k = p.walk
    cdef View *dx = &k.result
    cdef Py_ssize_t r, image, y, first, last
    cdef Py_ssize_t x = (k.w.out_first + b.column * p.stride_w + phase % p.stride_w)
    first = ceil_div(-x, p.stride_w) if x < 0 else 0
    last = least(b.columns, (p.width - 1 - x) // p.stride_w + 1) if x < p.width else 0
    for r in range(b.rows):
        image = (b.row + r) // k.h.size_out
        y = k.h.out_first + (b.row + r) % k.h.size_out * p.stride_h + phase // p.stride_w
        if 0 <= y < p.height and first < last:
            k.tiles.copy(
                last - first, p.channels,
                dx.at + k.item * (
                    image * dx.step[0] + b.group * p.channels * dx.step[1] + y * dx.step[2]
                    + (x + first * p.stride_w) * dx.step[3]
                ),
                p.stride_w * dx.step[3], dx.step[1],
                sums + ((r * b.columns + first) * k.panel
                        + phase % p.per_panel * p.channels) * k.item,
                k.panel, 1,
            )


cdef void phases_task(void *context, Py_ssize_t index, void *scratch) noexcept nogil:
    cdef Phases *p = <Phases *>context
    cdef Walk *k = p.walk
    cdef Band b = band_of(k, index)
    cdef char *at = <char *>scratch
    cdef char **row = <char **>at
    cdef char *sums = at + k.at_sums
    cdef Py_ssize_t panel, phase, phases = p.stride_h * p.stride_w
    place_rows(k, &b, at + k.at_band, at + k.at_unrolled, row)
    for panel in range(k.panels):
        multiply_band(k, &b, panel, row, NULL, sums)
        for phase in range(panel * p.per_panel, least((panel + 1) * p.per_panel, phases)):
            scatter_phase(p, &b, phase, sums)


cdef int merged_walk(Walk *k, Filters *f, Py_ssize_t height, Py_ssize_t width, Py_ssize_t kh,
                     Py_ssize_t kw) except -1:
    cdef Phases p
    cdef Py_ssize_t work
    cdef size_t packed_bytes
    p.walk, p.filters = k, f
    p.stride_h, p.stride_w, p.kh, p.kw = k.h.out_step, k.w.out_step, kh, kw
    p.height, p.width, p.channels = height, width, k.cout
    if k.images == 0:
        return 0
    k.packed = k.bias = NULL
    k.offset = NULL
    set_panels(k)
    k.panel = phases_panel(k)
    p.per_panel = k.panel // k.cout
    k.panels = ceil_div(p.stride_h * p.stride_w, p.per_panel)
    k.cout = k.panels * k.panel             # phases × channels, and some lanes of zeros
    k.group_size = k.depth * k.cout
    plan(k)                                 # (a task does all panels of its band)
    work = bands_of(k) * k.rows * k.columns * k.depth * k.cout // 32
    packed_bytes = k.groups * k.group_size * k.item
    try:
        lay_rows(k)
        k.packed = take(packed_bytes)
        pack_phases(&p, k.packed)
        run(phases_task, &p, bands_of(k), work, k.scratch)
    finally:
        if k.packed != NULL:
            runtime.give(k.packed, packed_bytes)
        free(k.offset)
    return 0
