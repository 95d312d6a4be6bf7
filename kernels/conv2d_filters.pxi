# How a walk begins, whatever the algorithm: arrays, channels, and where its filters lie.

# Where the filters of a walk lie: w[o][c] or w[c][o], tap by tap, group by group.
cdef struct Filters:
    View w
    Py_ssize_t in_step, out_step, group_step


cdef int begin_forward(Walk *k, Filters *f, object x, object w, object y, object dims,
                       bint relu) except -1:
    """x and y; filters w[o][c]; the axes of the forward walk."""
    cdef Geometry g = geometry_of(dims)
    borrow(x, False, &k.source)
    borrow(w, False, &f.w)
    borrow(y, True, &k.result)
    k.tiles, k.item, k.relu = tiles_of(&k.source), k.source.item, relu
    read_geometry(k, &g)
    f.in_step, f.out_step, f.group_step = f.w.step[1], f.w.step[0], k.cout * f.w.step[0]
    return 0


cdef int begin_backward(Walk *k, Filters *f, object dy, object w, object dx,
                        object dims) except -1:
    """dx is a walk over dy with filters w[c][o]; its axes are those of a phase."""
    cdef Geometry g = geometry_of(dims)
    borrow(dy, False, &k.source)
    borrow(w, False, &f.w)
    borrow(dx, True, &k.result)
    k.tiles, k.item, k.relu = tiles_of(&k.source), k.source.item, False
    read_geometry(k, &g)
    k.cin, k.cout = k.cout, k.cin
    f.in_step, f.out_step, f.group_step = f.w.step[0], f.w.step[1], k.cin * f.w.step[0]
    return 0


cdef int shape_of_walk(Walk *k, object dims, object dtype, bint channels_last) except -1:
    """A forward walk without arrays, to plan and describe it."""
    cdef Geometry g = geometry_of(dims)
    k.item = dtype.itemsize
    k.tiles = runtime.tiles[k.item == 8]
    read_geometry(k, &g)
    k.source.at = NULL
    dense_steps(&k.source, g.channels, g.h.size_in, g.w.size_in, channels_last)
    dense_steps(&k.result, g.filters, g.h.size_out, g.w.size_out, channels_last)
    return 0


cdef void dense_steps(View *v, Py_ssize_t c, Py_ssize_t h, Py_ssize_t w,
                      bint channels_last) noexcept:
    """The steps of an array in one of the two memory formats."""
    v.step[0] = c * h * w
    if channels_last:
        v.step[1], v.step[2], v.step[3] = 1, w * c, c
    else:
        v.step[1], v.step[2], v.step[3] = h * w, w, 1


cdef object form_of(object prepared, object name, Walk *k, size_t size, char **at, bint *made):
    """The memory of PreparedWeights for one packed form, and whether that was made before.

    If not, the caller fills it, and then keeps it by ``prepared.keep``.
    """
    cdef View view
    key = (name, <size_t>k.tiles)       # the instruction set and dtype
    form = prepared.forms.get(key)
    made[0] = form is not None
    if form is None:
        form = prepared.place(size)
    borrow(form, True, &view)
    at[0] = view.at
    return key, form


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
