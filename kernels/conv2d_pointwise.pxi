# dw of 1×1 kernels over planes: dy is read, and dw written, where they lie.
#
#   dw[filters, channels] += dy[filters, pixels] @ x[pixels, channels]
#
# A filter's pixels are neighbours in NCHW, and so are a filter's weights: of three matrices
# only x is packed, and no total is unpacked (conv2d_gram.pxi packs all three).
# Pixels are cut the same whatever the number of threads: parts of a plane, or several images.

cdef enum:
    POINT_PIXELS = 256          # of a part: a tile of dy takes a quarter of L1
    POINT_BYTES = 256 * 1024    # of its packed x


cdef struct Points:
    Walk *walk
    Filters *filters
    Py_ssize_t pixels, images           # of a part: one image's, or several images'
    Py_ssize_t channels, cout           # of a task
    Py_ssize_t channel_blocks, filter_blocks
    size_t at_panels


cdef bint points_pay(Walk *k, Filters *f) noexcept:
    """Whether dy's planes and dw's filters are runs of pixels and channels."""
    cdef View *dy = &k.result
    if k.h.taps * k.w.taps != 1 or k.h.step * k.w.step != 1 or f.in_step != 1:
        return False
    if not (inside(&k.h) and inside(&k.w)):
        return False
    return dy.step[3] == 1 and dy.step[2] == k.w.size_out


cdef void cut_points(Points *p, Py_ssize_t work) except *:
    """Parts of pixels by size alone; blocks so that threads have some each: of channels first,
    as x is packed again for each block of filters."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t plane = k.h.size_out * k.w.size_out
    cdef Py_ssize_t width = k.tiles.vectors * k.tiles.lanes, fits
    p.pixels = ceil_div(plane, ceil_div(plane, POINT_PIXELS))
    p.images = most(1, least(k.images, POINT_PIXELS // plane))
    fits = POINT_BYTES // (p.pixels * p.images * k.item) // width * width
    p.channels = least(fits, dense_parts(k.cin, width, k.groups, work))
    p.channels = ceil_div(ceil_div(k.cin, ceil_div(k.cin, p.channels)), width) * width
    p.channel_blocks = ceil_div(k.cin, p.channels)
    p.cout = dense_parts(k.cout, k.tiles.rows, k.groups * p.channel_blocks, work)
    p.filter_blocks = ceil_div(k.cout, p.cout)
    p.at_panels = aligned(p.images * sizeof(Py_ssize_t))


cdef void pack_points(Points *p, fc_product *q, Py_ssize_t first, Py_ssize_t columns, char *panels,
                      char *x) noexcept nogil:
    """[panel][image][pixel][channels of the panel] from pixel `first` on, zeros beside the last."""
    cdef Walk *k = p.walk
    cdef View *s = &k.source
    cdef Py_ssize_t panel = k.tiles.vectors * k.tiles.lanes, at = 0
    cdef Py_ssize_t some, width, image, pixel, run
    while at < columns:
        some = least(panel, columns - at)
        width = ceil_div(some, k.tiles.lanes) * k.tiles.lanes
        if some < width:
            memset(panels, 0, q.taps * q.run * width * k.item)
        for image in range(q.taps):
            pixel = first
            while pixel < first + q.run:
                run = least(first + q.run, (pixel // k.w.size_out + 1) * k.w.size_out) - pixel
                if s.step[2] == k.w.size_out * s.step[3]:
                    run = first + q.run - pixel
                k.tiles.copy(
                    run, some, panels, width, 1,
                    x + (image * s.step[0] + at * s.step[1] + pixel // k.w.size_out * s.step[2]
                         + pixel % k.w.size_out * s.step[3]) * k.item,
                    s.step[3], s.step[1],
                )
                panels += run * width * k.item
                pixel += run
        at += panel


cdef void multiply_points(Points *p, fc_product *q, Py_ssize_t filters, Py_ssize_t columns,
                          char *panels, char *dy, char *dw) noexcept nogil:
    """Some filters by some channels: tile after tile of filters along all panels."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t panel = k.tiles.vectors * k.tiles.lanes, o = 0, at, rows, m
    cdef const void *a[16]
    cdef void *c[16]
    while o < filters:
        rows = least(k.tiles.rows, filters - o)
        for m in range(k.tiles.rows):
            a[m] = dy + (o + least(m, rows - 1)) * k.result.step[1] * k.item
        at = 0
        while at < columns:
            q.columns = <int>least(panel, columns - at)
            q.vectors = <int>ceil_div(q.columns, k.tiles.lanes)
            q.w = panels + at * q.taps * q.run * k.item
            for m in range(rows):
                c[m] = dw + ((o + m) * p.filters.out_step + at) * k.item
            k.tiles.product(q, <int>rows, a, c)
            at += panel
        o += rows


cdef void points_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    """Some filters by some channels of a group: all images, part by part."""
    cdef Points *p = <Points *>context
    cdef Walk *k = p.walk
    cdef Filters *f = p.filters
    cdef View *s = &k.source
    cdef View *dy = &k.result
    cdef Py_ssize_t group = task // p.filter_blocks // p.channel_blocks
    cdef Py_ssize_t channel = task // p.filter_blocks % p.channel_blocks * p.channels
    cdef Py_ssize_t filter = task % p.filter_blocks * p.cout
    cdef Py_ssize_t columns = least(p.channels, k.cin - channel)
    cdef Py_ssize_t plane = k.h.size_out * k.w.size_out, image = 0, pixel
    cdef char *panels = <char *>scratch + p.at_panels
    cdef fc_product q
    q.offset, q.w_offset, q.step = <Py_ssize_t *>scratch, NULL, 1
    q.bias, q.relu, q.by_row, q.accumulate = NULL, False, False, False
    q.each = q.c_vector = k.tiles.lanes
    for pixel in range(p.images):
        (<Py_ssize_t *>scratch)[pixel] = pixel * dy.step[0]
    while image < k.images:
        q.taps = least(p.images, k.images - image)
        pixel = 0
        while pixel < plane:
            q.run = least(p.pixels, plane - pixel)
            pack_points(p, &q, pixel, columns, panels, s.at + k.item * (
                image * s.step[0] + (group * k.cin + channel) * s.step[1]))
            multiply_points(
                p, &q, least(p.cout, k.cout - filter), columns, panels,
                dy.at + k.item * (image * dy.step[0] + (group * k.cout + filter) * dy.step[1]
                                  + pixel),
                f.w.at + k.item * (group * f.group_step + filter * f.out_step + channel),
            )
            q.accumulate = True
            pixel += q.run
        image += q.taps


cdef int points_gradient(Walk *k, Filters *f) except -1:
    cdef Points p
    cdef Py_ssize_t work = (k.images * k.h.size_out * k.w.size_out * k.groups * k.cin
                            * k.cout // 32)
    p.walk, p.filters = k, f
    cut_points(&p, work)
    run(points_task, &p, k.groups * p.channel_blocks * p.filter_blocks, work,
        p.at_panels + p.images * p.pixels * p.channels * k.item)
    return 0
