# Depthwise convolution: a channel meets no other, so that there is no product of matrices.
#
# In a panel one filter would fill one of 16 lanes.  Here lanes are channels, where channels
# are neighbours in memory, else columns; a tile (simd/depthwise.h) is a few results along
# the other axis, which share what they read:
#
#              lanes      results of a tile   source
#   by channel channels   columns             used where it lies; padding is a row of zeros
#   by column  columns    rows                the same, under a stride of 2 as well; under a
#                                             larger one, or with other steps in memory,
#                                             gathered into padded rows in L1
#
# Planes in which columns would waste lanes, or every third column is read, are transposed
# and done by channel while they are small: 1024 channels of 7² in 39 us, 58 by column.
#
# Sources and results of a group may be several (filters per channel; dx then sums over
# them).  dx under a stride is written phase by phase of the stride, a band at a time; two
# phases of the columns at once, by turns.

cdef enum:
    FEW = 4                     # filters per channel, above which a panel does better
    ROWS_BYTES = 16 * 1024      # of gathered rows, or of pointers: they stay in L1
    BLOCK = 256                 # channels of a task, where lanes are channels
    BLOCK_BYTES = 256 * 1024    # of the totals of a task of dw
    DW_TASKS = 16               # whatever the number of threads
    SET_BYTES = 4096            # from address to address of one set of L1
    MOST_PHASES = 64            # of a stride: strides up to 8


# One axis of all phases: what they read together.
cdef struct Hull:
    TapAxis *phase
    Py_ssize_t phases
    Py_ssize_t first, reach     # source positions of the first result
    Py_ssize_t step, results


cdef struct Depthwise:
    Walk *walk
    Filters *filters
    View *bias
    Hull h, w
    bint by_channel
    bint direct                 # results of a row are neighbours, or
    bint paired                 # two phases' are, by turns
    bint in_place               # by column: source rows are used where they lie
    # a task: a band of rows × columns of results, of one image and a block of groups
    Py_ssize_t rows, columns, row_bands, column_bands, block, blocks
    Py_ssize_t entries          # pointers of a source row, or of the rows of a plane
    Py_ssize_t pitch, plane     # by column: elements of a gathered row's phase, of a plane
    Py_ssize_t sizes[2]         # pixels of a plane of the source, of the result
    Py_ssize_t *offset          # [kw] by column, of each phase in turn; [kh] zeros by channel
    char *weights               # by channel: [taps][groups], then the bias
    # dw
    Py_ssize_t parts, lanes     # lanes: of a tap's total, of all groups
    char *total                 # [part]
    # parts of a thread's scratch
    size_t at_table, at_rows, at_sums, at_calls, at_total, scratch


cdef struct Rectangle:
    Py_ssize_t image, row, rows, column, columns, group, groups


# By column, a pair of phases: the call for one filter, and where its arrays begin.
cdef struct PhaseCall:
    fc_depthwise q
    Py_ssize_t entry, w, y


# ---- geometry ----

cdef void hull_of(Hull *h, TapAxis *phase, Py_ssize_t phases) noexcept nogil:
    cdef Py_ssize_t i, last = 0
    h.phase, h.phases, h.step = phase, phases, phase[0].step
    h.results = 0
    for i in range(phases):
        if i == 0 or phase[i].first < h.first:
            h.first = phase[i].first
        if i == 0 or phase[i].first + reach(&phase[i], 1) > last:
            last = phase[i].first + reach(&phase[i], 1)
        h.results = most(h.results, phase[i].size_out)
    h.reach = most(last - h.first, 1)


cdef inline Py_ssize_t read_by(Hull *h, Py_ssize_t results) noexcept nogil:
    return (results - 1) * h.step + h.reach


cdef inline Py_ssize_t entries_for(Walk *k, Hull *h, Py_ssize_t results) noexcept nogil:
    """Pointers that whole tiles of results name."""
    cdef Py_ssize_t tile = k.tiles.depthwise_results
    return read_by(h, ceil_div(results, tile) * tile)


cdef bint depthwise_pays(Walk *k) noexcept nogil:
    """One channel, or one filter, and few of the other; several groups, or one of each."""
    cdef Py_ssize_t pairs = k.cin * k.cout
    return ((k.cin == 1 or k.cout == 1) and pairs <= FEW and (k.groups > 1 or pairs == 1)
            and k.tiles.lanes > 1)


cdef bint channels_first(Walk *k, View *a, View *b) noexcept nogil:
    """Whether channels fill the lanes: they are neighbours in both arrays, and enough."""
    return (k.cin * k.cout == 1 and a.step[1] == 1 and b.step[1] == 1
            and 2 * k.groups >= k.tiles.lanes)


cdef inline Py_ssize_t plane_pixels(Walk *k, View *result) noexcept nogil:
    return k.h.size_in * k.w.size_in + result.size[2] * result.size[3]


cdef bint transposing_pays(Depthwise *p, View *result) noexcept nogil:
    """Small planes, in which columns fill few lanes, or every third one is read."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t lanes = k.tiles.lanes, narrow = lanes
    if p.w.step > 2 or p.w.phases > 2:
        narrow = 3 * lanes
    elif p.w.phases == 2:
        narrow = most(lanes, 16)    # AVX2, 512 channels of 14², dx: 40 us, in pairs 52
    if p.h.phase[0].out_step != p.h.phases or p.w.phase[0].out_step != p.w.phases:
        return False            # one phase of many: it does not write whole planes
    return (k.cin * k.cout == 1 and k.groups >= lanes and 2 * p.w.results < narrow
            and plane_pixels(k, result) * lanes * k.item <= BLOCK_BYTES)


cdef void find_places(Depthwise *p, View *source, View *result) noexcept nogil:
    """What lanes are, and which rows need no copy."""
    cdef bint last = channels_first(p.walk, source, result)
    if last and transposing_pays(p, result) and source.step[3] * p.walk.item % SET_BYTES == 0:
        last = False        # copied all the same: its pixels would meet in one set of L1
    p.by_channel = last or transposing_pays(p, result)
    p.paired = (not p.by_channel and result.step[3] == 1 and p.w.phases == 2
                and p.w.phase[0].out_step == 2)
    p.direct = last or p.paired or (
        not p.by_channel and p.w.phase[0].out_step * result.step[3] == 1
    )
    p.in_place = last or (not p.by_channel and p.w.step <= 2 and source.step[3] == 1)
    p.sizes[0], p.sizes[1] = p.walk.h.size_in * p.walk.w.size_in, result.size[2] * result.size[3]


cdef inline Py_ssize_t row_pitch(Depthwise *p, Py_ssize_t columns) noexcept nogil:
    """Whole vectors: of 3 taps under a stride of 2, two are aligned."""
    cdef Py_ssize_t lanes = p.walk.tiles.lanes
    return ceil_div(ceil_div(read_by(&p.w, columns), p.w.step), lanes) * lanes


cdef inline Py_ssize_t rows_bytes(Depthwise *p, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """By column: gathered rows, or none; and sums that are copied."""
    cdef Py_ssize_t bytes = 0
    if not p.in_place:
        bytes = p.walk.cin * read_by(&p.h, rows) * row_pitch(p, columns) * p.w.step
    if not p.direct:
        bytes += p.w.phases * rows * columns
    return bytes * p.walk.item


cdef Py_ssize_t depthwise_bytes(Depthwise *p, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """Of a task's scratch: pointers, gathered rows, sums that are copied, a row of zeros."""
    cdef Walk *k = p.walk
    if p.by_channel:
        return read_by(&p.h, rows) * entries_for(k, &p.w, columns) * sizeof(char *)
    return (k.cin * entries_for(k, &p.h, rows) * sizeof(char *) + rows_bytes(p, rows, columns)
            + row_pitch(p, columns) * p.w.step * k.item)


cdef inline Py_ssize_t fewer_rows(Depthwise *p, Py_ssize_t least_rows) noexcept nogil:
    """About half as many, whole tiles of them by column."""
    cdef Py_ssize_t tile = 1 if p.by_channel else p.walk.tiles.depthwise_results
    return most(least_rows, ceil_div(ceil_div(p.rows, 2), tile) * tile)


cdef bint cut_transposed(Depthwise *p, Py_ssize_t wanted) noexcept nogil:
    """Whole planes of as many channels as stay in L1, and leave enough tasks."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t lanes = k.tiles.lanes, channel = (p.sizes[0] + p.sizes[1]) * k.item
    p.block = most(1, least(2 * ROWS_BYTES // (channel * lanes), BLOCK // lanes))
    p.block = least(p.block, ceil_div(ceil_div(k.groups * k.images, wanted), lanes)) * lanes
    p.block = least(most(p.block, lanes), k.groups)
    p.blocks = ceil_div(k.groups, p.block)
    p.row_bands = p.column_bands = 1
    return depthwise_bytes(p, p.rows, p.columns) <= BAND_BYTES


cdef bint cut_depthwise(Depthwise *p, Py_ssize_t wanted) noexcept nogil:
    """Bands that fit, and enough of them; False where not even the smallest fits."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t tile = k.tiles.depthwise_results
    cdef Py_ssize_t narrow = tile if p.by_channel else k.tiles.lanes
    cdef Py_ssize_t least_rows = 1 if p.by_channel else least(tile, p.h.results), units
    p.columns, p.rows = p.w.results, p.h.results
    if p.by_channel and not p.in_place:
        return cut_transposed(p, wanted)
    while p.columns > narrow and depthwise_bytes(p, least_rows, p.columns) > ROWS_BYTES:
        p.columns = ceil_div(p.columns, 2)
    p.column_bands = ceil_div(p.w.results, p.columns)
    while p.rows > least_rows and depthwise_bytes(p, p.rows, p.columns) > ROWS_BYTES:
        p.rows = most(least_rows, (p.rows - 1) // tile * tile)
    p.block = least(k.groups, BLOCK) if p.by_channel else 1
    p.blocks = ceil_div(k.groups, p.block)
    units = k.images * p.column_bands * p.blocks
    while p.rows > 2 * least_rows and units * ceil_div(p.h.results, p.rows) < wanted:
        p.rows = fewer_rows(p, least_rows)
    p.row_bands = ceil_div(p.h.results, p.rows)
    if not p.by_channel:
        units = k.images * p.column_bands * p.row_bands
        p.block = ceil_div(k.groups, least(k.groups, ceil_div(wanted, units)))
        p.blocks = ceil_div(k.groups, p.block)
    return depthwise_bytes(p, p.rows, p.columns) <= BAND_BYTES


cdef void lay_depthwise(Depthwise *p) noexcept nogil:
    """Scratch of a task: zeros, pointers, gathered rows, results that are copied."""
    cdef Walk *k = p.walk
    cdef size_t zeros, pointers, source, sums
    p.entries = entries_for(k, &p.w, p.columns) if p.by_channel else entries_for(k, &p.h, p.rows)
    p.pitch = row_pitch(p, p.columns)
    p.plane = read_by(&p.h, p.rows) * p.pitch * p.w.step
    zeros = (p.block if p.by_channel else p.pitch * p.w.step) * k.item
    pointers = (read_by(&p.h, p.rows) if p.by_channel else k.cin) * p.entries
    p.at_table = aligned(zeros)
    p.at_rows = p.at_table + aligned(pointers * sizeof(char *))
    source, sums = k.cin * p.plane, p.w.phases * p.rows * p.columns
    if p.by_channel:
        source, sums = p.sizes[0] * p.block, p.sizes[1] * p.block
    p.at_sums = p.at_rows + (0 if p.in_place else aligned(source * k.item))
    p.at_calls = p.at_sums + (0 if p.direct else aligned(sums * k.item))
    p.at_total = p.at_calls + aligned(p.h.phases * p.w.phases * sizeof(PhaseCall))
    p.scratch = p.at_total


cdef void lay_offsets(Depthwise *p) noexcept nogil:
    """Where the taps across the tile are: of each phase of the columns, in a gathered row."""
    cdef Py_ssize_t i, j, v, at = 0
    cdef TapAxis *a
    for i in range(p.w.phases):
        a = &p.w.phase[i]
        for j in range(a.taps):
            v = a.first - p.w.first + j * a.dilation
            p.offset[at] = v if p.in_place else v % p.w.step * p.pitch + v // p.w.step
            at += 1


cdef Rectangle rectangle_of(Depthwise *p, Py_ssize_t unit, Py_ssize_t block) noexcept nogil:
    cdef Rectangle b
    cdef Py_ssize_t column = unit % p.column_bands, row = unit // p.column_bands % p.row_bands
    b.image = unit // p.column_bands // p.row_bands
    b.row, b.column = row * p.rows, column * p.columns
    b.rows = least(p.rows, p.h.results - b.row)
    b.columns = least(p.columns, p.w.results - b.column)
    b.group = block * p.block
    b.groups = least(p.block, p.walk.groups - b.group)
    return b


cdef inline char *at_pixel(Walk *k, View *v, Py_ssize_t image, Py_ssize_t channel,
                           Py_ssize_t row, Py_ssize_t column) noexcept nogil:
    return v.at + k.item * (image * v.step[0] + channel * v.step[1] + row * v.step[2]
                            + column * v.step[3])


# ---- the source of a band ----

cdef void point_at_rows(Depthwise *p, Rectangle *b, Py_ssize_t group, char *scratch) noexcept nogil:
    """By column: the rows of the sources of a group, where they lie; beyond them, zeros.

    Gathered ones are first filled with zeros: gather_rows writes what lies inside the plane.
    """
    cdef Walk *k = p.walk
    cdef const char **table = <const char **>(scratch + p.at_table)
    cdef Py_ssize_t y = p.h.first + b.row * p.h.step, s, u
    cdef Py_ssize_t top = least(most(-y, 0), p.entries)
    cdef Py_ssize_t end = most(least(read_by(&p.h, b.rows), k.h.size_in - y), top)
    cdef Py_ssize_t row = k.source.step[2] * k.item
    cdef char *at
    if not p.in_place:
        row = p.pitch * p.w.step * k.item
        memset(scratch + p.at_rows, 0, k.cin * p.plane * k.item)
    for s in range(k.cin):
        at = scratch + p.at_rows + s * p.plane * k.item
        if p.in_place:
            at = at_pixel(k, &k.source, b.image, group * k.cin + s, y,
                          p.w.first + b.column * p.w.step)
        for u in range(top):
            table[u] = scratch
        for u in range(top, end):
            table[u] = at + u * row
        for u in range(end, p.entries):
            table[u] = scratch
        table += p.entries


cdef void move_rows(Depthwise *p, Rectangle *b, char *scratch) noexcept nogil:
    """By column, in place: from the rows of a group to those of the next."""
    cdef Walk *k = p.walk
    cdef char **table = <char **>(scratch + p.at_table)
    cdef Py_ssize_t y = p.h.first + b.row * p.h.step, s, u
    cdef Py_ssize_t end = least(read_by(&p.h, b.rows), k.h.size_in - y)
    cdef Py_ssize_t step = k.cin * k.source.step[1] * k.item
    for s in range(k.cin):
        for u in range(most(-y, 0), end):
            table[u] += step
        table += p.entries


cdef void gather_rows(Depthwise *p, Rectangle *b, Py_ssize_t group, char *scratch) noexcept nogil:
    """By column: what lies inside the planes of a group, into its place in the rows.

    Place v of a row is number v // step of phase v % step.
    """
    cdef Walk *k = p.walk
    cdef Py_ssize_t y = p.h.first + b.row * p.h.step, x = p.w.first + b.column * p.w.step
    cdef Py_ssize_t top = most(-y, 0), left = most(-x, 0), s, v
    cdef Py_ssize_t rows = least(read_by(&p.h, b.rows), k.h.size_in - y) - top
    cdef Py_ssize_t end = least(read_by(&p.w, b.columns), k.w.size_in - x), row = p.pitch * p.w.step
    cdef char *at = scratch + p.at_rows + top * row * k.item
    if rows <= 0:
        return
    for s in range(k.cin):
        for v in range(left, least(left + p.w.step, end)):
            k.tiles.copy(
                rows, ceil_div(end - v, p.w.step),
                at + (s * p.plane + v % p.w.step * p.pitch + v // p.w.step) * k.item, row, 1,
                at_pixel(k, &k.source, b.image, group * k.cin + s, y + top, x + v),
                k.source.step[2], p.w.step * k.source.step[3],
            )


cdef inline void readable(Depthwise *p, Rectangle *b, fc_depthwise *q) noexcept nogil:
    """Which elements of the rows are inside x: of those of scratch, all."""
    cdef Py_ssize_t x = p.w.first + b.column * p.w.step
    q.low, q.high, q.lane_step = 0, p.pitch * p.w.step, 1
    if p.by_channel:
        q.high = b.groups
    elif p.in_place:
        q.low, q.high = most(-x, 0), least(p.walk.w.size_in - x, q.high)
        q.lane_step = p.w.step


cdef inline void place_group(Depthwise *p, Rectangle *b, Py_ssize_t group,
                             char *scratch) noexcept nogil:
    if group == b.group:
        point_at_rows(p, b, group, scratch)
    elif p.in_place:
        move_rows(p, b, scratch)
    if not p.in_place:
        gather_rows(p, b, group, scratch)


cdef View transposed(Depthwise *p, Rectangle *b, char *at, Py_ssize_t width) noexcept nogil:
    """A block of one image in scratch, [pixels][channels], as if it were all of the array."""
    cdef View v
    v.at = at - b.group * p.walk.item
    v.step[0], v.step[1], v.step[2], v.step[3] = 0, 1, width * p.block, p.block
    return v


cdef void copy_planes(Depthwise *p, Rectangle *b, View *to, View *source, Py_ssize_t height,
                      Py_ssize_t width) noexcept nogil:
    """A block of one image from one memory to another: rows, or planes where they are one."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t row
    if to.step[2] == width * to.step[3] and source.step[2] == width * source.step[3]:
        height, width = 1, height * width
    for row in range(height):
        k.tiles.copy(width, b.groups, at_pixel(k, to, b.image, b.group, row, 0), to.step[3],
                     to.step[1], at_pixel(k, source, b.image, b.group, row, 0), source.step[3],
                     source.step[1])


cdef View source_pixels(Depthwise *p, Rectangle *b, char *scratch) noexcept nogil:
    """By channel: the source, or a transposed block of it."""
    cdef Walk *k = p.walk
    cdef View v
    if p.in_place:
        return k.source
    v = transposed(p, b, scratch + p.at_rows, k.w.size_in)
    copy_planes(p, b, &v, &k.source, k.h.size_in, k.w.size_in)
    return v


cdef void point_at_pixels(Depthwise *p, Rectangle *b, char *scratch) noexcept nogil:
    """By channel: the first channel of each pixel; of padding, zeros."""
    cdef Walk *k = p.walk
    cdef View source = source_pixels(p, b, scratch)
    cdef char **table = <char **>(scratch + p.at_table)
    cdef Py_ssize_t y, x = p.w.first + b.column * p.w.step, u, v
    cdef Py_ssize_t columns = read_by(&p.w, b.columns)
    cdef Py_ssize_t left = least(most(-x, 0), columns)
    cdef Py_ssize_t right = most(least(k.w.size_in - x, columns), left)
    cdef Py_ssize_t step = source.step[3] * k.item
    cdef char *at
    memset(scratch, 0, b.groups * k.item)
    for u in range(read_by(&p.h, b.rows)):
        y = p.h.first + b.row * p.h.step + u
        if y < 0 or y >= k.h.size_in:
            for v in range(p.entries):
                table[v] = scratch
        else:
            at = at_pixel(k, &source, b.image, b.group, y, x)
            for v in range(left):
                table[v] = scratch
            for v in range(left, right):
                table[v] = at + v * step
            for v in range(right, p.entries):
                table[v] = scratch
        table += p.entries


# ---- y, dx ----

cdef void by_channel_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    """Every phase of a band: a row of results at a time, all channels of the block."""
    cdef Depthwise *p = <Depthwise *>context
    cdef Walk *k = p.walk
    cdef Rectangle b = rectangle_of(p, task // p.blocks, task % p.blocks)
    cdef Py_ssize_t r, c, i, lanes = k.groups, width = p.filters.w.size[3]
    cdef const void **table = <const void **>(<char *>scratch + p.at_table)
    cdef TapAxis *h
    cdef TapAxis *w
    cdef fc_depthwise q
    cdef View result = k.result
    if not p.direct:
        result = transposed(p, &b, <char *>scratch + p.at_sums, k.result.size[3])
    point_at_pixels(p, &b, <char *>scratch)
    readable(p, &b, &q)
    q.sources, q.lanes, q.w_lane, q.relu, q.offset = 1, b.groups, 1, k.relu, p.offset
    q.least_offset = q.most_offset = 0
    q.x_source = q.w_source = 0
    q.bias = NULL
    if p.bias != NULL:
        q.bias = p.weights + (p.filters.w.size[2] * width * lanes + b.group) * k.item
    for r in range(p.h.phases):
        for c in range(p.w.phases):
            h, w = &p.h.phase[r], &p.w.phase[c]
            q.across, q.along, q.step, q.dilation = h.taps, w.taps, w.step, w.dilation
            q.x_across = h.dilation * p.entries
            q.w = p.weights + ((h.k_first * width + w.k_first) * lanes + b.group) * k.item
            q.w_across, q.w_along = h.k_step * width * lanes, w.k_step * lanes
            q.results = least(b.columns, w.size_out - b.column)
            q.y_step = w.out_step * result.step[3]
            for i in range(least(b.rows, h.size_out - b.row)):
                k.tiles.depthwise(
                    &q, table + (h.first - p.h.first + i * h.step) * p.entries
                    + w.first - p.w.first,
                    at_pixel(k, &result, b.image, b.group,
                             h.out_first + (b.row + i) * h.out_step,
                             w.out_first + b.column * w.out_step),
                )
    if not p.direct:
        copy_planes(p, &b, &k.result, &result, k.result.size[2], k.result.size[3])


cdef void by_column_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    """Plane by plane of a block of groups: every phase of a band's rows."""
    cdef Depthwise *p = <Depthwise *>context
    cdef Walk *k = p.walk
    cdef Filters *f = p.filters
    cdef Rectangle b = rectangle_of(p, task // p.blocks, task % p.blocks)
    cdef PhaseCall *calls = <PhaseCall *>(<char *>scratch + p.at_calls)
    cdef PhaseCall *call
    cdef Py_ssize_t group, m, i, channel
    cdef char *y
    memset(scratch, 0, p.pitch * p.w.step * k.item)
    set_calls(p, &b, calls)
    for group in range(b.group, b.group + b.groups):
        place_group(p, &b, group, <char *>scratch)
        for m in range(k.cout):
            channel = group * k.cout + m
            y = <char *>scratch + p.at_sums
            if p.direct:
                y = at_pixel(k, &k.result, b.image, channel, 0, 0)
            for i in range(p.h.phases * p.w.phases):
                call = calls + i
                call.q.w = f.w.at + (group * f.group_step + m * f.out_step + call.w) * k.item
                if p.bias != NULL:
                    call.q.bias = p.bias.at + channel * p.bias.step[0] * k.item
                if p.paired and i % 2 == 1:
                    call_pair(p, &b, call - 1, y, <char *>scratch + p.at_table)
                elif not p.paired and call.q.results > 0 and call.q.lanes > 0:
                    k.tiles.depthwise(
                        &call.q, <const void **>(<char *>scratch + p.at_table) + call.entry,
                        y + call.y * k.item,
                    )
                if not p.direct and (i + 1) % p.w.phases == 0 and call.q.results > 0:
                    scatter_rows(p, &b, channel, &p.h.phase[i // p.w.phases], call.q.results,
                                 <char *>scratch + p.at_sums)


cdef void call_pair(Depthwise *p, Rectangle *b, PhaseCall *call, char *y,
                    char *table) noexcept nogil:
    """Two phases of the columns, of the same rows."""
    cdef Py_ssize_t even = 0 if p.w.phase[0].out_first == 0 else 1
    cdef Py_ssize_t columns = p.w.phase[0].size_out + p.w.phase[1].size_out - 2 * b.column
    columns = least(columns, 2 * b.columns)
    if call.q.results > 0 and columns > 0:
        p.walk.tiles.depthwise_pair(&call[even].q, &call[1 - even].q, columns,
                                    <const void **>table + call.entry,
                                    y + call[even].y * p.walk.item)


cdef void set_calls(Depthwise *p, Rectangle *b, PhaseCall *call) noexcept nogil:
    """By column: what the calls for a band have in common, of each pair of phases."""
    cdef Walk *k = p.walk
    cdef Filters *f = p.filters
    cdef Py_ssize_t r, c, taps
    cdef TapAxis *h
    cdef TapAxis *w
    for r in range(p.h.phases):
        taps = 0
        for c in range(p.w.phases):
            h, w = &p.h.phase[r], &p.w.phase[c]
            readable(p, b, &call.q)
            call.q.sources, call.q.x_source, call.q.x_across = k.cin, p.entries, 0
            call.q.across, call.q.along = w.taps, h.taps
            call.q.step, call.q.dilation = h.step, h.dilation
            set_offsets(&call.q, p.offset + taps)
            call.q.w_source, call.q.w_lane = f.in_step, 0
            call.q.w_across, call.q.w_along = w.k_step * f.w.step[3], h.k_step * f.w.step[2]
            call.q.results = least(b.rows, h.size_out - b.row)
            call.q.lanes = least(b.columns, w.size_out - b.column)
            call.q.bias, call.q.relu = NULL, k.relu
            call.entry = h.first - p.h.first
            call.w = h.k_first * f.w.step[2] + w.k_first * f.w.step[3]
            call.y, call.q.y_step = c * p.rows * p.columns, p.columns
            if p.direct:
                call.q.y_step = h.out_step * k.result.step[2]
                call.y = ((h.out_first + b.row * h.out_step) * k.result.step[2]
                          + (w.out_first + b.column * w.out_step) * k.result.step[3])
            taps += w.taps
            call += 1


cdef inline void set_offsets(fc_depthwise *q, const Py_ssize_t *offset) noexcept nogil:
    cdef Py_ssize_t a
    q.offset = offset
    q.least_offset = q.most_offset = 0
    for a in range(q.across):
        q.least_offset = least(q.least_offset, offset[a])
        q.most_offset = most(q.most_offset, offset[a])


cdef void scatter_rows(Depthwise *p, Rectangle *b, Py_ssize_t channel, TapAxis *h, Py_ssize_t rows,
                       char *sums) noexcept nogil:
    """Rows by phase of the column to where they belong."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t c, columns, row = h.out_first + b.row * h.out_step
    cdef TapAxis *w = p.w.phase
    for c in range(p.w.phases):
        columns = least(b.columns, w[c].size_out - b.column)
        if columns > 0:
            k.tiles.copy(
                rows, columns,
                at_pixel(k, &k.result, b.image, channel, row,
                         w[c].out_first + b.column * w[c].out_step),
                h.out_step * k.result.step[2], w[c].out_step * k.result.step[3],
                sums + c * p.rows * p.columns * k.item, p.columns, 1,
            )


cdef void pack_depthwise(Depthwise *p) noexcept nogil:
    """By channel: [taps][groups], then the bias."""
    cdef Walk *k = p.walk
    cdef View *w = &p.filters.w
    cdef Py_ssize_t i, taps = w.size[2] * w.size[3], row = w.size[3]
    cdef Py_ssize_t rows = w.size[2]
    if w.step[2] == w.size[3] * w.step[3]:      # all taps in one run
        rows, row = 1, taps
    for i in range(rows):
        k.tiles.copy(row, k.groups, p.weights + i * row * k.groups * k.item, k.groups, 1,
                     w.at + i * w.step[2] * k.item, w.step[3], p.filters.group_step)
    if p.bias != NULL:
        k.tiles.copy(1, k.groups, p.weights + taps * k.groups * k.item, 0, 1,
                     p.bias.at, 0, p.bias.step[0])


cdef bint plan_depthwise(Depthwise *p, View *source, View *result) except -1:
    """Whether it pays; then how it is cut."""
    if (not depthwise_pays(p.walk) or p.walk.images == 0
            or p.h.phases * p.w.phases > MOST_PHASES):
        return False
    find_places(p, source, result)
    if not cut_depthwise(p, TASKS_PER_THREAD * get_num_threads()):
        return False
    lay_depthwise(p)
    return True


cdef int depthwise_walk(Depthwise *p) except -1:
    """All phases of a planned walk."""
    cdef Walk *k = p.walk
    cdef View *w = &p.filters.w
    cdef Py_ssize_t taps = w.size[2] * w.size[3], tasks
    cdef Py_ssize_t work = (k.images * p.h.results * p.w.results * k.groups * k.cin * k.cout
                            * taps // 16)
    cdef size_t offsets = (w.size[2] + w.size[3]) * sizeof(Py_ssize_t)
    cdef size_t bytes = offsets
    if p.by_channel:
        bytes += (taps + 1) * k.groups * k.item
    p.offset = <Py_ssize_t *>take(bytes)
    p.weights = <char *>p.offset + offsets
    try:
        if p.by_channel:
            memset(p.offset, 0, offsets)
            pack_depthwise(p)
        else:
            lay_offsets(p)
        tasks = k.images * p.row_bands * p.column_bands * p.blocks
        run(by_channel_task if p.by_channel else by_column_task, p, tasks, work, p.scratch)
    finally:
        runtime.give(p.offset, bytes)
    return 0


cdef int depthwise_forward(Walk *k, Filters *f, View *bias) except -1:
    """Returns whether the walk was done."""
    cdef Depthwise p
    p.walk, p.filters, p.bias = k, f, bias
    hull_of(&p.h, &k.h, 1)
    hull_of(&p.w, &k.w, 1)
    if not plan_depthwise(&p, &k.source, &k.result):
        return False
    depthwise_walk(&p)
    return True


cdef int depthwise_dx(Walk *k, Filters *f, object dims) except -1:
    """All phases of dx.  Returns whether they were written."""
    cdef Depthwise p
    cdef TapAxis *axes
    cdef bint done
    if not depthwise_pays(k) or k.images == 0:
        return False
    phases = dims.dx_phases
    columns = [column for row, column in phases if row is phases[0][0]]
    rows = [row for row, _ in phases[::len(columns)]]
    axes = <TapAxis *>malloc((len(rows) + len(columns)) * sizeof(TapAxis))
    if axes == NULL:
        raise MemoryError("no memory for the phases of dx")
    try:
        for i, axis in enumerate(rows + columns):
            read_axis(axis, &axes[i])
        p.walk, p.filters, p.bias = k, f, NULL
        k.h, k.w = axes[0], axes[len(rows)]
        hull_of(&p.h, axes, len(rows))
        hull_of(&p.w, axes + <Py_ssize_t>len(rows), len(columns))
        done = plan_depthwise(&p, &k.source, &k.result)
        if done:
            depthwise_walk(&p)
    finally:
        free(axes)
    return done


cdef object depthwise_way(Walk *k):
    """The text of `explain`, or None."""
    cdef Depthwise p
    p.walk = k
    hull_of(&p.h, &k.h, 1)
    hull_of(&p.w, &k.w, 1)
    # (of the source only the channels' step is known, and then the columns')
    k.source.step[3] = k.result.step[3] = k.groups * k.cin if k.source.step[1] == 1 else 1
    k.result.step[1] = k.source.step[1]
    k.result.size[2], k.result.size[3] = k.h.size_out, k.w.size_out
    if not plan_depthwise(&p, &k.source, &k.result):
        return None
    lanes = "channels" if p.by_channel else "columns"
    places = "x is read where it lies"
    if not p.in_place:
        places = "planes are transposed" if p.by_channel else "rows of x are gathered, padded"
    return {
        "way": f"depthwise: lanes are {lanes}, {k.tiles.depthwise_results} results a tile; "
               f"{k.images * p.row_bands * p.column_bands} bands of {p.rows} x {p.columns} "
               f"results, {p.block} groups a task",
        "copies": places + ("; filters are transposed" if p.by_channel else ""),
        "scratch": f"{p.scratch / 1024:.0f} KiB per thread",
    }


# ---- dw ----

# dy beside the source.
cdef struct DepthwiseGradient:
    Depthwise *depthwise
    View dy


cdef void dw_taps(Depthwise *p, fc_depthwise *q) noexcept nogil:
    q.sources, q.x_source, q.w_source, q.bias, q.relu = 1, 0, 0, NULL, False
    q.w = NULL
    if p.by_channel:
        q.across, q.along = p.walk.h.taps, p.walk.w.taps
        q.step, q.dilation = p.walk.w.step, p.walk.w.dilation
        q.x_across = p.walk.h.dilation * p.entries
        q.w_across, q.w_along, q.w_lane = q.along * p.lanes, p.lanes, 1
    else:
        q.across, q.along = p.walk.w.taps, p.walk.h.taps
        q.step, q.dilation, q.x_across = p.walk.h.step, p.walk.h.dilation, 0
        q.w_across, q.w_along, q.w_lane = p.lanes, q.across * p.lanes, 0
    set_offsets(q, p.offset)


cdef void dw_by_channel(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    """Some bands of a block of channels, into a total [taps][channels] of their own."""
    cdef DepthwiseGradient *g = <DepthwiseGradient *>context
    cdef Depthwise *p = g.depthwise
    cdef Walk *k = p.walk
    cdef Py_ssize_t part = task // p.blocks, block = task % p.blocks
    cdef Py_ssize_t units = k.images * p.row_bands * p.column_bands, unit, i, t
    cdef const void **table = <const void **>(<char *>scratch + p.at_table)
    cdef char *total = p.total + (part * k.depth * p.lanes + block * p.block) * k.item
    cdef Rectangle b = rectangle_of(p, 0, block)
    cdef View dy = g.dy
    cdef fc_depthwise q
    for t in range(k.depth):
        memset(total + t * p.lanes * k.item, 0, least(p.block, p.lanes - b.group) * k.item)
    dw_taps(p, &q)
    if not p.direct:
        dy = transposed(p, &b, <char *>scratch + p.at_sums, dy.size[3])
    q.lanes, q.y_step = b.groups, dy.step[3]
    for unit in range(part * units // p.parts, (part + 1) * units // p.parts):
        b = rectangle_of(p, unit, block)
        point_at_pixels(p, &b, <char *>scratch)
        if not p.direct:
            copy_planes(p, &b, &dy, &g.dy, g.dy.size[2], g.dy.size[3])
        readable(p, &b, &q)
        q.results = b.columns
        for i in range(b.rows):
            k.tiles.depthwise_dw(&q, table + i * k.h.step * p.entries,
                                 at_pixel(k, &dy, b.image, b.group, b.row + i, b.column), total)


cdef void dw_by_column(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    """Some bands of a block of groups: a total of a vector per tap, then its lanes' sum."""
    cdef DepthwiseGradient *g = <DepthwiseGradient *>context
    cdef Depthwise *p = g.depthwise
    cdef Walk *k = p.walk
    cdef Py_ssize_t part = task // p.blocks, block = task % p.blocks
    cdef Py_ssize_t units = k.images * p.row_bands * p.column_bands, unit, group, m
    cdef Py_ssize_t size = k.depth * p.lanes * k.item, filters = k.groups * k.cout
    cdef char *total = <char *>scratch + p.at_total
    cdef char *dy
    cdef Rectangle b = rectangle_of(p, 0, block)
    cdef fc_depthwise q
    memset(scratch, 0, p.pitch * p.w.step * k.item)
    memset(total, 0, b.groups * k.cout * size)
    dw_taps(p, &q)
    for unit in range(part * units // p.parts, (part + 1) * units // p.parts):
        b = rectangle_of(p, unit, block)
        readable(p, &b, &q)
        q.results, q.lanes, q.y_step = b.rows, b.columns, g.dy.step[2]
        for group in range(b.groups):
            place_group(p, &b, b.group + group, <char *>scratch)
            for m in range(k.cout):
                dy = at_pixel(k, &g.dy, b.image, (b.group + group) * k.cout + m, b.row, b.column)
                if not p.direct:
                    q.y_step = p.columns
                    k.tiles.copy(b.rows, b.columns, <char *>scratch + p.at_sums, p.columns, 1,
                                 dy, g.dy.step[2], g.dy.step[3])
                    dy = <char *>scratch + p.at_sums
                k.tiles.depthwise_dw(
                    &q, <const void **>(<char *>scratch + p.at_table), dy,
                    total + (group * k.cout + m) * size,
                )
    k.tiles.lane_sums(
        b.groups * k.cout * k.depth,
        p.total + (part * filters + b.group * k.cout) * k.depth * k.item, total,
    )


cdef bint plan_dw(Depthwise *p, View *dy) noexcept:
    """Bands, blocks and parts that no number of threads changes."""
    cdef Walk *k = p.walk
    cdef Py_ssize_t size, units
    find_places(p, &k.source, dy)
    if not cut_depthwise(p, DW_TASKS):
        return False
    p.lanes = k.tiles.lanes
    if p.by_channel:
        p.lanes = ceil_div(k.groups, p.lanes) * p.lanes
        size = k.depth * p.lanes * k.item
    else:
        size = k.depth * p.lanes * k.cout * k.item
        if size > BLOCK_BYTES:
            return False
        p.block = least(least(k.groups, 16), BLOCK_BYTES // size)
        p.blocks = ceil_div(k.groups, p.block)
        size = k.depth * k.groups * k.cout * k.item
    lay_depthwise(p)
    if not p.by_channel:
        p.scratch += p.block * k.cout * k.depth * p.lanes * k.item
    units = k.images * p.row_bands * p.column_bands
    p.parts = least(least(units, ceil_div(DW_TASKS, p.blocks)), most(1, 4 * BLOCK_BYTES // size))
    return True


cdef void write_dw(Depthwise *p) noexcept nogil:
    """The parts' totals one after another, then to where w's taps lie."""
    cdef Walk *k = p.walk
    cdef View *w = &p.filters.w
    cdef Py_ssize_t filters = k.groups * k.cout, taps = k.depth, part, i
    cdef Py_ssize_t n = taps * (p.lanes if p.by_channel else filters)
    cdef Py_ssize_t filter_step = 1 if p.by_channel else taps
    cdef Py_ssize_t tap_step = p.lanes if p.by_channel else 1
    for part in range(1, p.parts):
        k.tiles.add(1, n, p.total, 0, 1, p.total + part * n * k.item, 0, 1)
    if w.step[3] == 1 and w.step[2] == k.w.taps and w.step[0] == taps and not p.by_channel:
        memcpy(w.at, p.total, n * k.item)
    elif w.step[3] == 1 and w.step[2] == k.w.taps:
        k.tiles.copy(filters, taps, w.at, w.step[0], 1, p.total, filter_step, tap_step)
    else:
        for i in range(k.h.taps):
            k.tiles.copy(filters, k.w.taps, w.at + i * w.step[2] * k.item, w.step[0], w.step[3],
                         p.total + i * k.w.taps * tap_step * k.item, filter_step, tap_step)


cdef int depthwise_dw(object dy, object x, object dw, object dims) except -1:
    """Returns whether dw was written."""
    cdef Walk k
    cdef Filters f
    cdef Depthwise p
    cdef DepthwiseGradient g
    cdef size_t bytes, offsets
    cdef Geometry sizes = geometry_of(dims)
    read_geometry(&k, &sizes)
    if k.images == 0 or k.cin > 1:
        return False
    borrow(x, False, &k.source)
    borrow(dy, False, &g.dy)
    borrow(dw, True, &f.w)
    k.tiles, k.item = tiles_of(&k.source), k.source.item
    if not depthwise_pays(&k):
        return False
    k.depth = k.h.taps * k.w.taps
    p.walk, p.filters, g.depthwise = &k, &f, &p
    hull_of(&p.h, &k.h, 1)
    hull_of(&p.w, &k.w, 1)
    if not plan_dw(&p, &g.dy):
        return False
    offsets = aligned((k.h.taps + k.w.taps) * sizeof(Py_ssize_t))
    bytes = offsets + p.parts * k.depth * k.item * (p.lanes if p.by_channel else k.groups * k.cout)
    p.offset = <Py_ssize_t *>take(bytes)
    p.total = <char *>p.offset + offsets
    try:
        if p.by_channel:
            memset(p.offset, 0, offsets)
        else:
            lay_offsets(&p)
        run(dw_by_channel if p.by_channel else dw_by_column, &g, p.parts * p.blocks,
            dims.macs // 16, p.scratch)
        write_dw(&p)
    finally:
        runtime.give(p.offset, bytes)
    return True
