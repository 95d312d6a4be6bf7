# Linear layers (1×1 images, 1×1 kernels): weights are read, and dw is written, where they lie.
#
#   y[images, filters] = x[images, inputs] @ w[filters, inputs]^T      lanes: inputs
#   dx[images, inputs] = dy[images, filters] @ w[filters, inputs]      lanes: inputs
#   dw[filters, inputs] = dy[images, filters]^T @ x[images, inputs]    lanes: inputs
#
# With few images the limit is memory, and packing w, or unpacking dw, would move it twice more.
# Every sum is cut alike for one image and for many, so an image does not know its batch: y's
# by DOTS_DEPTH inputs, dx's and dw's not at all (filter after filter, image after image).
#
# 9216 -> 4096, AVX-512, one thread, in ms: y of one image 84 -> 5.2, of 16 89 -> 17, of 64
# 122 -> 58; dx 105 -> 6.5, 111 -> 25, 144 -> 60; dw 122 -> 22, 138 -> 30, 176 -> 65.

cdef enum:
    DOTS_DEPTH = 512            # inputs of a part of y: 4 filters of it stay in L1
    PACKED_BYTES = 64 * 1024    # of w: with less, the product's packed panels are faster
    DENSE_IMAGES = 64           # of a block
    DENSE_FILTERS = 256         # of a block of y
    DENSE_COLUMNS = 2016        # most inputs of a block of dw, a multiple of a tile's columns
    DENSE_BYTES = 256 * 1024    # of its packed x
    DX_DEPTH = 128              # filters of a part of dx
    DX_COLUMNS = 480            # most inputs of a block of dx
    SPREAD_IMAGES = 3           # to so few images w streams by
    SPREAD_COLUMNS = 8064


# A linear layer: matrices of neighbouring numbers, rows so many elements apart.
cdef struct Dense:
    const fc_tiles *tiles
    Py_ssize_t item
    Py_ssize_t images, inputs, filters
    char *x                     # x or dx
    char *w                     # w or dw
    char *y                     # y or dy
    char *bias
    Py_ssize_t x_row, w_row, y_row
    bint relu
    # a task: some images, and some filters or some columns of inputs
    Py_ssize_t image_block, filter_block, column_block


cdef bint dense_matrix(View *v, char **at, Py_ssize_t *row) noexcept:
    """Whether an (A, B, 1, 1) array is a matrix whose rows' numbers are neighbours."""
    at[0], row[0] = v.at, v.step[0]
    return v.step[1] == 1 or v.size[1] == 1


cdef inline bint is_point(TapAxis *a) noexcept:
    return a.size_in == a.size_out == a.taps == 1 and a.first == 0


cdef bint dense(Dense *d, object x, object w, object y, object dims, int writes) except -1:
    """Whether it is a linear layer, and the arrays are matrices; `writes`: 0 x, 1 w, 2 y."""
    cdef View view
    cdef bint ready
    cdef Geometry g = geometry_of(dims)
    if not (is_point(&g.h) and is_point(&g.w) and g.groups == 1 and g.images > 0):
        return False
    d.images, d.inputs, d.filters = g.images, g.channels, g.filters
    d.bias, d.relu = NULL, False
    borrow(x, writes == 0, &view)
    d.tiles, d.item = tiles_of(&view), view.item
    ready = dense_matrix(&view, &d.x, &d.x_row)
    borrow(w, writes == 1, &view)
    ready = dense_matrix(&view, &d.w, &d.w_row) and ready
    borrow(y, writes == 2, &view)
    return dense_matrix(&view, &d.y, &d.y_row) and ready


cdef inline Py_ssize_t dense_work(Dense *d) noexcept:
    """In about nanoseconds: an input of a filter comes from memory, and is used by each image."""
    return d.inputs * d.filters * (4 + d.images) // 32


# ---- y ----

cdef void dots_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    """Some filters of some images, part by part of the depth.

    Of one image each few filters go through all parts, as w streams from memory; of several
    the part of x is copied to where it stays in L2, for all filters.
    """
    cdef Dense *d = <Dense *>context
    cdef Py_ssize_t blocks = ceil_div(d.filters, d.filter_block)
    cdef Py_ssize_t first = task % blocks * d.filter_block, image = task // blocks * d.image_block
    cdef Py_ssize_t last = least(first + d.filter_block, d.filters), together, part, at
    cdef fc_dots p
    cdef char *x
    p.images = least(d.image_block, d.images - image)
    p.x_row, p.w_row, p.y_row = d.x_row, d.w_row, d.y_row
    together = d.tiles.dot_filters if p.images == 1 else last - first
    while first < last:
        p.filters = least(together, last - first)
        for part in range(ceil_div(d.inputs, DOTS_DEPTH)):
            at = part * DOTS_DEPTH
            p.depth = least(DOTS_DEPTH, d.inputs - at)
            p.accumulate = at > 0
            p.relu = d.relu and at + p.depth == d.inputs
            x = d.x + (image * d.x_row + at) * d.item
            if p.images > 1:
                p.x_row = DOTS_DEPTH
                d.tiles.copy(p.images, p.depth, scratch, p.x_row, 1, x, d.x_row, 1)
                x = <char *>scratch
            d.tiles.dots(
                &p, x, d.w + (first * d.w_row + at) * d.item,
                d.bias + first * d.item if d.bias != NULL else NULL,
                d.y + (image * d.y_row + first) * d.item,
            )
        first += together


cdef bint begin_dots(Dense *d, object x, object w, object b, object y, object dims,
                     bint relu) except -1:
    """Whether it is a linear layer of many weights; then how it is cut."""
    cdef View bias
    if not dense(d, x, w, y, dims, 2):
        return False
    if d.filters * d.inputs * d.item < PACKED_BYTES:
        return False
    d.relu = relu
    if b is not None:
        borrow(b, False, &bias)
        if bias.step[0] != 1 and bias.size[0] > 1:
            return False
        d.bias = bias.at
    d.image_block = DENSE_IMAGES
    d.filter_block = least(DENSE_FILTERS, thread_part(d.filters, d.tiles.dot_filters,
                                                      ceil_div(d.images, DENSE_IMAGES),
                                                      dense_work(d)))
    return True


cdef inline Py_ssize_t dots_tasks(Dense *d) noexcept:
    return ceil_div(d.images, d.image_block) * ceil_div(d.filters, d.filter_block)


cdef inline size_t dots_scratch(Dense *d) noexcept:
    return least(DENSE_IMAGES, d.images) * DOTS_DEPTH * d.item


cdef bint dense_forward(object x, object w, object b, object y, object dims, bint relu) except -1:
    """y of a linear layer; whether it was one."""
    cdef Dense d
    if not begin_dots(&d, x, w, b, y, dims, relu):
        return False
    run(dots_task, &d, dots_tasks(&d), dense_work(&d), dots_scratch(&d))
    return True


cdef object dense_way(Walk *k):
    """For `describe`: text by heading, or None."""
    if (k.h.size_in * k.w.size_in * k.h.taps * k.w.taps * k.groups != 1
            or k.h.first or k.w.first or k.cin * k.cout * k.item < PACKED_BYTES):
        return None
    return {
        "way": f"linear: dot products of {k.cin} inputs, {k.tiles.lanes} at a time",
        "copies": "weights are read where they lie; x is copied by parts where N > 1",
        "scratch": f"{least(DENSE_IMAGES, k.images) * DOTS_DEPTH * k.item / 1024:.0f} KiB per "
                   "thread",
    }


# ---- dx ----

cdef void spread_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    """Some columns of dx of few images: w streams by."""
    cdef Dense *d = <Dense *>context
    cdef Py_ssize_t first = task * d.column_block
    cdef fc_spread p
    p.images, p.depth, p.accumulate = d.images, d.filters, False
    p.columns = least(d.column_block, d.inputs - first)
    p.x_row, p.w_row, p.y_row = d.y_row, d.w_row, d.x_row
    d.tiles.spread(&p, d.y, d.w + first * d.item, d.x + first * d.item)


cdef void dense_dx_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    """Some columns of dx of some images: part by part of the filters, w packed into panels."""
    cdef Dense *d = <Dense *>context
    cdef Py_ssize_t blocks = ceil_div(d.inputs, d.column_block)
    cdef Py_ssize_t first = task % blocks * d.column_block
    cdef Py_ssize_t columns = least(d.column_block, d.inputs - first)
    cdef Py_ssize_t image = task // blocks * d.image_block
    cdef Py_ssize_t last = least(image + d.image_block, d.images)
    cdef Py_ssize_t zero = 0, part, filter, n, m, rows
    cdef const void *a[16]
    cdef fc_product p
    packed_tile(d, &p, &zero)
    for part in range(ceil_div(d.filters, DX_DEPTH)):
        filter = part * DX_DEPTH
        p.run = least(DX_DEPTH, d.filters - filter)
        p.accumulate = filter > 0
        dense_panels(d, p.run, columns, <char *>scratch,
                     d.w + (filter * d.w_row + first) * d.item, d.w_row)
        n = image
        while n < last:
            rows = least(d.tiles.rows, last - n)
            for m in range(d.tiles.rows):
                a[m] = d.y + ((n + least(m, rows - 1)) * d.y_row + filter) * d.item
            dense_tiles(d, &p, rows, columns, a, <char *>scratch,
                        d.x + (n * d.x_row + first) * d.item, d.x_row)
            n += d.tiles.rows


cdef bint dense_dx(object dy, object w, object dx, object dims) except -1:
    """dx of a linear layer; whether it was one."""
    cdef Dense d
    cdef Py_ssize_t width
    if not dense(&d, dx, w, dy, dims, 0):
        return False
    width = d.tiles.vectors * d.tiles.lanes
    d.image_block = DENSE_IMAGES
    if d.images <= SPREAD_IMAGES:
        d.column_block = least(SPREAD_COLUMNS, thread_part(d.inputs, width, 1, dense_work(&d)))
        run(spread_task, &d, ceil_div(d.inputs, d.column_block), dense_work(&d), 0)
        return True
    d.column_block = least(DX_COLUMNS, thread_part(d.inputs, width,
                                                   ceil_div(d.images, DENSE_IMAGES),
                                                   dense_work(&d)))
    run(dense_dx_task, &d, ceil_div(d.images, d.image_block) * ceil_div(d.inputs, d.column_block),
        dense_work(&d), DX_DEPTH * d.column_block * d.item)
    return True


# ---- dx and dw: tiles of images, or filters, with packed panels of columns ----

cdef inline void packed_tile(Dense *d, fc_product *p, Py_ssize_t *zero) noexcept nogil:
    p.taps, p.step, p.offset, p.bias, p.w_offset = 1, 1, zero, NULL, NULL
    p.by_row, p.relu = False, False
    p.each = p.c_vector = d.tiles.lanes


cdef void dense_panels(Dense *d, Py_ssize_t rows, Py_ssize_t columns, char *panels, char *at,
                       Py_ssize_t step) noexcept nogil:
    """[panel][rows][width of the panel], zeros beside the last column; a few rows at a time,
    each along all its panels, as memory likes it."""
    cdef Py_ssize_t panel = d.tiles.vectors * d.tiles.lanes, row = 0, column, some, width, few
    while row < rows:
        few = least(8, rows - row)
        column = 0
        while column < columns:
            some = least(panel, columns - column)
            width = ceil_div(some, d.tiles.lanes) * d.tiles.lanes
            if some < width:
                memset(panels + (column * rows + row * width) * d.item, 0, few * width * d.item)
            d.tiles.copy(few, some, panels + (column * rows + row * width) * d.item, width, 1,
                         at + (row * step + column) * d.item, step, 1)
            column += panel
        row += few


cdef void dense_tiles(Dense *d, fc_product *p, Py_ssize_t rows, Py_ssize_t columns,
                      const void **a, char *panels, char *to, Py_ssize_t step) noexcept nogil:
    """A few rows along the panels of their columns."""
    cdef Py_ssize_t panel = d.tiles.vectors * d.tiles.lanes, at = 0, m
    cdef void *c[16]
    while at < columns:
        p.columns = <int>least(panel, columns - at)
        p.vectors = <int>ceil_div(p.columns, d.tiles.lanes)
        p.w = panels + at * p.run * d.item
        for m in range(rows):
            c[m] = to + (m * step + at) * d.item
        d.tiles.product(p, <int>rows, a, c)
        at += panel


# ---- dw ----

cdef void dense_dw_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    """Some columns of some filters: x packed into panels once, dy transposed tile by tile."""
    cdef Dense *d = <Dense *>context
    cdef Py_ssize_t blocks = ceil_div(d.filters, d.filter_block)
    cdef Py_ssize_t column = task // blocks * d.column_block
    cdef Py_ssize_t columns = least(d.column_block, d.inputs - column)
    cdef Py_ssize_t first = task % blocks * d.filter_block
    cdef Py_ssize_t last = least(first + d.filter_block, d.filters)
    cdef Py_ssize_t zero = 0, image = 0, filter, rows, m
    cdef char *panels = <char *>scratch
    cdef char *grads = panels + aligned(d.image_block * d.column_block * d.item)
    cdef const void *a[16]
    cdef fc_product p
    packed_tile(d, &p, &zero)
    while image < d.images:
        p.run = least(d.image_block, d.images - image)
        p.accumulate = image > 0
        dense_panels(d, p.run, columns, panels, d.x + (image * d.x_row + column) * d.item, d.x_row)
        filter = first
        while filter < last:
            rows = least(d.tiles.rows, last - filter)
            d.tiles.copy(rows, p.run, grads, p.run, 1,
                         d.y + (image * d.y_row + filter) * d.item, 1, d.y_row)
            for m in range(d.tiles.rows):
                a[m] = grads + least(m, rows - 1) * p.run * d.item
            dense_tiles(d, &p, rows, columns, a, panels,
                        d.w + (filter * d.w_row + column) * d.item, d.w_row)
            filter += rows
        image += d.image_block


cdef bint dense_dw(object dy, object x, object dw, object dims) except -1:
    """dw of a linear layer; whether it was one."""
    cdef Dense d
    cdef Py_ssize_t width, fits
    if not dense(&d, x, dw, dy, dims, 1):
        return False
    width = d.tiles.vectors * d.tiles.lanes
    d.image_block = least(d.images, DENSE_IMAGES)
    fits = DENSE_BYTES // (d.image_block * d.item) // width * width
    d.column_block = least(least(fits, DENSE_COLUMNS), ceil_div(d.inputs, width) * width)
    d.filter_block = thread_part(d.filters, d.tiles.rows, ceil_div(d.inputs, d.column_block),
                                 dense_work(&d))
    run(dense_dw_task, &d, ceil_div(d.inputs, d.column_block) * ceil_div(d.filters, d.filter_block),
        dense_work(&d), aligned(d.image_block * d.column_block * d.item)
        + d.image_block * d.tiles.rows * d.item)
    return True
