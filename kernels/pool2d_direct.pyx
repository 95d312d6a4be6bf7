"""Pooling: one window per vector lane.

Lanes are the channels of a pixel where channels are neighbours in memory, else the results
of a row: both are the same tile function with other steps.  Windows that reach over the
edge have fewer taps and, in a row, come one at a time; those inside share their taps.
"""

__all__ = ["avg_pool2d", "avg_pool2d_dx", "max_pool2d", "max_pool2d_again", "max_pool2d_dx"]

include "common.pxi"
include "step.pxi"

cdef enum:
    RESULTS_PER_TASK = 4096
    TASKS_PER_THREAD = 4
    BLOCK_BYTES = 256 * 1024    # of planes that are transposed together
    # So many numbers ahead of the loads memory is asked for, which the processor itself does within
    # pages only; not where x has no more numbers than a core's own caches hold.
    AHEAD = 1024
    FAR = 256 * 1024


cdef struct Axis:
    Py_ssize_t size, out, kernel, stride, pad, dilation


cdef struct Job:
    const fc_tiles *tiles
    Py_ssize_t item
    View x, y, index            # of max_pool2d_dx: x is dx, y is dy
    Axis h, w
    Py_ssize_t images, channels
    bint by_channel, indexed, mean, far
    double *heights             # divisors of averages, per result row and column
    double *widths
    char *divisors              # of avg_pool2d_dx: the widths, in its dtype
    Py_ssize_t share_columns
    # a task: some rows of one image (by_channel), or of some planes
    Py_ssize_t units, units_per_task, rows, row_parts
    Py_ssize_t tasks, work
    size_t scratch


cdef void read_geometry(Job *job, Geometry *g) noexcept:
    job.images, job.channels = g.images, g.channels
    read_axis(&job.h, &g.h)
    read_axis(&job.w, &g.w)


cdef void read_axis(Axis *a, TapAxis *taps) noexcept:
    a.size, a.out, a.pad = taps.size_in, taps.size_out, -taps.first
    a.stride, a.kernel, a.dilation = taps.step, taps.taps, taps.dilation


cdef void cut_tasks(Job *job, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t work) except *:
    """Planes (or images) in tasks of a useful size; parts of a plane where there are few."""
    cdef Py_ssize_t wanted = TASKS_PER_THREAD * threads_for(work)
    job.units = job.images if job.by_channel else job.images * job.channels
    job.units_per_task = 1
    if not job.by_channel:
        job.units_per_task = most(1, least(RESULTS_PER_TASK // (rows * columns),
                                           job.units // wanted))
    job.row_parts = least(rows, most(1, wanted // most(job.units, 1)))
    job.rows = ceil_div(rows, job.row_parts)
    job.row_parts = ceil_div(rows, job.rows)


cdef inline Py_ssize_t tasks_of(Job *job) noexcept:
    return ceil_div(job.units, job.units_per_task) * job.row_parts


cdef inline char *unit_at(Job *job, View *v, Py_ssize_t unit, Py_ssize_t item) noexcept nogil:
    """The first element of an image, or of a plane."""
    if job.by_channel:
        return v.at + unit * v.step[0] * item
    if job.images == 1:
        return v.at + unit * v.step[1] * item
    return v.at + item * (
        unit // job.channels * v.step[0] + unit % job.channels * v.step[1]
    )


# ---- forward ----

cdef Py_ssize_t real_taps(Axis *a, Py_ssize_t result, Py_ssize_t *first) noexcept nogil:
    """The taps of a window that lie inside: how many, and from which on."""
    cdef Py_ssize_t start = result * a.stride - a.pad
    first[0] = ceil_div(-start, a.dilation) if start < 0 else 0
    return least(a.kernel, (a.size - 1 - start) // a.dilation + 1) - first[0]


cdef Py_ssize_t neighbours(Axis *a, Py_ssize_t result) noexcept nogil:
    """How many results from this one on have windows that are all inside; at least 1."""
    cdef Py_ssize_t last = a.size - 1 - (a.kernel - 1) * a.dilation + a.pad
    if result * a.stride < a.pad or last < 0:
        return 1
    return most(1, least(a.out, last // a.stride + 1) - result)


cdef void set_taps(Job *job, fc_windows *p, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """Offsets and indices of rows × columns taps, from the first real one."""
    cdef Py_ssize_t i, j
    if p.taps == rows * columns and p.taps == job.h.kernel * job.w.kernel:
        return                  # whole windows, as most are: set already
    cdef Py_ssize_t *offset = <Py_ssize_t *>p.offset
    cdef int32_t *index = <int32_t *>p.index
    p.taps = rows * columns
    p.across = columns if job.w.dilation * job.x.step[3] == 1 else 1
    for i in range(rows):
        for j in range(columns):
            offset[i * columns + j] = (
                i * job.h.dilation * job.x.step[2] + j * job.w.dilation * job.x.step[3]
            )
            index[i * columns + j] = <int32_t>(
                i * job.h.dilation * job.w.size + j * job.w.dilation
            )


cdef void pool_block(Job *job, fc_windows *p, Py_ssize_t first, Py_ssize_t last, Py_ssize_t row,
                     Py_ssize_t rows, Py_ssize_t column, Py_ssize_t columns) noexcept nogil:
    """rows × columns results of each unit, whose windows have as many real taps each."""
    cdef Py_ssize_t i, j, y, x, unit
    cdef Py_ssize_t tap_rows = real_taps(&job.h, row, &i)
    cdef Py_ssize_t tap_columns = real_taps(&job.w, column, &j)
    cdef char *source
    cdef char *target
    cdef int32_t *index = NULL
    y = row * job.h.stride - job.h.pad + i * job.h.dilation
    x = column * job.w.stride - job.w.pad + j * job.w.dilation
    set_taps(job, p, tap_rows, tap_columns)
    p.first_index = <int32_t>(y * job.w.size + x)
    p.rows, p.lanes = rows, columns
    if job.by_channel:      # rows == 1 here: the tile's rows are the columns of one row
        p.rows, p.lanes = columns, job.channels
    if job.mean:
        p.area = job.heights[row] * job.widths[column]
    for unit in range(first, last):
        source = unit_at(job, &job.x, unit, job.item)
        source += (y * job.x.step[2] + x * job.x.step[3]) * job.item
        target = unit_at(job, &job.y, unit, job.item)
        target += (row * job.y.step[2] + column * job.y.step[3]) * job.item
        if job.mean:
            job.tiles.mean_windows(p, source, target)
            continue
        if job.indexed:
            index = <int32_t *>unit_at(job, &job.index, unit, sizeof(int32_t))
            index += row * job.index.step[2] + column * job.index.step[3]
        job.tiles.max_windows(p, source, target, index)


cdef void pool_units(Job *job, fc_windows *p, Py_ssize_t first, Py_ssize_t last, Py_ssize_t row,
                     Py_ssize_t row_end) noexcept nogil:
    """Rows [row, row_end) of some images or planes, cut where windows reach over an edge.

    The cuts' divisions, once for all planes and not for each, were a third of the time of 13×13.
    """
    cdef Py_ssize_t column, rows, columns
    while row < row_end:
        rows = 1 if job.by_channel else least(neighbours(&job.h, row), row_end - row)
        column = 0
        while column < job.w.out:
            columns = neighbours(&job.w, column)
            pool_block(job, p, first, last, row, rows, column, columns)
            column += columns
        row += rows


cdef void lay_windows(Job *job, fc_windows *p) noexcept nogil:
    """Steps from window to window: lanes are channels, or columns."""
    cdef Axis *h = &job.h
    cdef Axis *w = &job.w
    if job.by_channel:
        p.x_row, p.x_lane = w.stride * job.x.step[3], job.x.step[1]
        p.y_row, p.y_lane = job.y.step[3], job.y.step[1]
        p.index_row, p.index_lane = job.index.step[3], job.index.step[1]
        p.next_row, p.next_lane = <int32_t>w.stride, 0
    else:
        p.x_row, p.x_lane = h.stride * job.x.step[2], w.stride * job.x.step[3]
        p.y_row, p.y_lane = job.y.step[2], job.y.step[3]
        p.index_row, p.index_lane = job.index.step[2], job.index.step[3]
        p.next_row, p.next_lane = <int32_t>(h.stride * w.size), <int32_t>w.stride


cdef void pool_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    cdef Job *job = <Job *>context
    cdef Py_ssize_t first = task // job.row_parts * job.units_per_task
    cdef Py_ssize_t row = task % job.row_parts * job.rows
    cdef fc_windows p
    p.offset = <Py_ssize_t *>scratch
    p.index = <int32_t *>(p.offset + job.h.kernel * job.w.kernel)
    p.taps = 0
    p.ahead = AHEAD if job.far else 0
    lay_windows(job, &p)
    pool_units(job, &p, first, least(first + job.units_per_task, job.units), row,
               least(row + job.rows, job.h.out))


cdef inline bint even(View *v) noexcept nogil:
    """Whether the planes of a batch have equal distances."""
    return v.size[0] == 1 or v.step[0] == v.size[1] * v.step[1]


cdef void merge_images(Job *job) noexcept nogil:
    """Take images as more channels of one, where that is no matter: no division for each plane."""
    if job.by_channel or not (even(&job.x) and even(&job.y)):
        return
    if not job.indexed or even(&job.index):
        job.channels *= job.images
        job.images = 1


cdef void pile_planes(Job *job) noexcept nogil:
    """Take all planes as one high plane, where no window reaches from one into the next.

    (Not where indices are wanted, nor the areas of averages: they are per plane.)
    LeNet's second pooling, 1024 planes of 10×10: 57 -> 37 us, AVX-512, one thread.
    """
    cdef Axis *h = &job.h
    if job.by_channel or job.indexed or job.mean or h.pad or h.size != h.out * h.stride:
        return
    if (h.kernel - 1) * h.dilation >= h.stride:
        return
    if job.images == 1 and (job.x.step[1] == h.size * job.x.step[2]
                            and job.y.step[1] == h.out * job.y.step[2]):
        h.size *= job.channels
        h.out *= job.channels
        job.channels = 1


# ---- narrow planes, transposed: lanes are channels ----

cdef bint by_twos(Job *job) noexcept:
    """Whether ``max_windows`` takes all windows of a plane by columns that they share.

    AlexNet's last pooling, NCHW, N = 16, AVX-512, one thread: 0.44 -> 0.30 ms, with indices
    (Zen 4) 0.31 -> 0.18.  One or two 3×3 windows in a row lost, of indices three.
    """
    cdef Py_ssize_t size = job.w.kernel, few = 3 if job.indexed else 2
    cdef bint rows = job.x.step[3] == 1 and job.y.step[3] == 1
    if job.indexed and (job.index.step[3] != 1
                        or 2 * (job.w.out - 1) + size > job.tiles.lanes):
        return False            # (not two rows in a vector)
    cdef bint whole = (neighbours(&job.h, 0) == job.h.out and neighbours(&job.w, 0) == job.w.out)
    return (rows and whole and not job.mean and job.tiles.lanes >= 4
            and job.w.stride == 2 and job.w.dilation == 1 and job.h.kernel == size
            and (size == 2 or size == 3 and job.w.out > few))


cdef bint blocks_pay(Job *job) noexcept:
    """Whether a row of results fills half a vector at most, and a block's planes fit in L2.

    AlexNet's last pooling, NCHW, N = 16, with indices, AVX-512, one thread: 0.53 -> 0.33 ms;
    13 results of 16 lanes lost (1.3 -> 1.9 ms).
    """
    cdef Py_ssize_t lanes = job.tiles.lanes
    return (not job.by_channel and not by_twos(job) and 2 * job.w.out <= lanes <= job.channels
            and job.h.size * job.w.size * lanes * job.item <= BLOCK_BYTES)


cdef void lay_block(View *v, char *memory, Py_ssize_t lanes, Py_ssize_t width) noexcept nogil:
    """[row][column][lane]"""
    v.at = memory
    v.step[0], v.step[1], v.step[2], v.step[3] = 0, 1, width * lanes, lanes


cdef void move_block(const fc_tiles *tiles, View *planes, char *at, View *block, Py_ssize_t height,
                     Py_ssize_t width, Py_ssize_t channels, bint back) noexcept nogil:
    """Planes from `at` on to a block, or back; row by row where there are gaps."""
    cdef Py_ssize_t y, rows = height
    cdef char *to
    if planes.step[2] == width * planes.step[3]:
        rows, width = 1, height * width
    for y in range(rows):
        to = block.at + y * block.step[2] * tiles.item
        if back:
            tiles.copy(channels, width, at, planes.step[1], planes.step[3], to, 1, block.step[3])
        else:
            tiles.copy(width, channels, to, block.step[3], 1, at, planes.step[3], planes.step[1])
        at += planes.step[2] * tiles.item


cdef void block_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    """As many planes as a vector has lanes."""
    cdef Job *job = <Job *>context
    cdef Job block = job[0]
    cdef Axis *h = &job.h
    cdef Axis *w = &job.w
    cdef Py_ssize_t lanes = job.tiles.lanes, parts = ceil_div(job.channels, lanes)
    cdef Py_ssize_t unit = task // parts * job.channels + task % parts * lanes
    cdef char *memory = <char *>scratch
    cdef fc_windows p
    block.channels = least(lanes, job.channels - task % parts * lanes)
    block.by_channel = True
    lay_block(&block.x, memory, lanes, w.size)
    memory += h.size * w.size * lanes * job.item
    lay_block(&block.y, memory, lanes, w.out)
    memory += h.out * w.out * lanes * job.item
    lay_block(&block.index, memory, lanes, w.out)
    memory += h.out * w.out * lanes * sizeof(int32_t)
    p.offset, p.taps, p.ahead = <Py_ssize_t *>memory, 0, 0
    p.index = <int32_t *>(p.offset + h.kernel * w.kernel)
    lay_windows(&block, &p)
    move_block(job.tiles, &job.x, unit_at(job, &job.x, unit, job.item), &block.x, h.size, w.size,
               block.channels, False)
    pool_units(&block, &p, 0, 1, 0, h.out)
    move_block(job.tiles, &job.y, unit_at(job, &job.y, unit, job.item), &block.y, h.out, w.out,
               block.channels, True)
    if job.indexed:             # 32 bits, as floats have
        move_block(runtime.tiles[0], &job.index, unit_at(job, &job.index, unit, 4), &block.index,
                   h.out, w.out, block.channels, True)


cdef size_t block_bytes(Job *job) noexcept:
    cdef Py_ssize_t cells = job.h.size * job.w.size, results = job.h.out * job.w.out
    return job.tiles.lanes * ((cells + results) * job.item + results * sizeof(int32_t))


cdef fc_task begin_pool(Job *job, object x, object y, object indices, object dims) except? NULL:
    """How it is cut into tasks; NULL without an image."""
    cdef Geometry g = geometry_of(dims)
    cdef Py_ssize_t taps = g.h.taps * g.w.taps
    read_geometry(job, &g)
    borrow(x, False, &job.x)
    borrow(y, True, &job.y)
    job.tiles, job.item = tiles_of(&job.x), job.x.item
    job.work = numbers_of(&job.y) * taps // 4
    job.scratch = taps * (sizeof(Py_ssize_t) + sizeof(int32_t))
    job.indexed = indices is not None
    memset(&job.index, 0, sizeof(View))
    if job.indexed:
        borrow(indices, True, &job.index)
    job.by_channel = job.x.step[1] == 1 and job.channels > 1
    job.far = numbers_of(&job.x) > FAR
    if job.images == 0:
        return NULL
    merge_images(job)
    pile_planes(job)
    if blocks_pay(job):
        job.tasks = job.images * ceil_div(job.channels, job.tiles.lanes)
        job.scratch += block_bytes(job)
        return block_task
    cut_tasks(job, job.h.out, job.w.out, job.work)
    job.tasks = tasks_of(job)
    return pool_task


cdef int pool(Job *job, object x, object y, object indices, object dims) except -1:
    cdef fc_task task = begin_pool(job, x, y, indices, dims)
    return 0 if task == NULL else run(task, job, job.tasks, job.work, job.scratch)


def max_pool2d(x, y, indices, dims):
    cdef Job job
    job.mean = False
    pool(&job, x, y, indices, dims)


def max_pool2d_again(x, y, indices, dims):
    """The call as a Step, for other numbers in x; None without an image."""
    cdef Step step = Step()
    cdef Job *job = <Job *>step.own(sizeof(Job), NULL)
    cdef fc_task task = begin_pool(job, x, y, indices, dims)
    step.held = x, y, indices
    step.do(task, job, job.tasks, job.work, job.scratch)
    return None if task == NULL else step


cdef int set_areas(Job *job, object dims, bint include_pad) except -1:
    """Divisors of the averages; the caller frees heights, which holds both."""
    cdef Py_ssize_t i
    job.heights = <double *>malloc((dims.out_h + dims.out_w) * sizeof(double))
    if job.heights == NULL:
        raise MemoryError("no memory for the windows' areas")
    job.widths = job.heights + <Py_ssize_t>dims.out_h
    for i, count in enumerate(dims.counts(0, include_pad)):
        job.heights[i] = count
    for i, count in enumerate(dims.counts(1, include_pad)):
        job.widths[i] = count
    return 0


def avg_pool2d(x, y, dims, bint include_pad):
    cdef Job job
    job.mean = True
    set_areas(&job, dims, include_pad)
    try:
        pool(&job, x, y, None, dims)
    finally:
        free(job.heights)


# ---- gradients ----

cdef void clear(Job *job, Py_ssize_t rows, Py_ssize_t columns, char *to, Py_ssize_t row_step,
                Py_ssize_t column_step) noexcept nogil:
    """Zeros: at once where rows follow one another, as pixels with all their channels do."""
    cdef double zero = 0
    cdef Py_ssize_t r
    if column_step == 1:
        if row_step == columns:
            rows, columns = 1, rows * columns
        for r in range(rows):
            memset(to + r * row_step * job.item, 0, columns * job.item)
    else:
        job.tiles.copy(rows, columns, to, row_step, column_step, &zero, 0, 0)


cdef bint share_rows(Job *job, Py_ssize_t unit, Py_ssize_t y, char *shares) noexcept nogil:
    """Σ of dy / area, as [columns][channels], over the window rows above row y of dx, if any."""
    cdef Py_ssize_t i, row
    cdef bint found = False
    for i in range(job.h.kernel):
        row = y + job.h.pad - i
        if row < 0 or row % job.h.stride or row // job.h.stride >= job.h.out:
            continue
        row = row // job.h.stride
        job.tiles.divide(
            job.w.out, job.channels if job.by_channel else 1, shares,
            unit_at(job, &job.y, unit, job.item) + row * job.y.step[2] * job.item,
            job.y.step[3], job.y.step[1], job.heights[row], job.divisors, found,
        )
        found = True
    return found


cdef void share_pixels(Job *job, char *to, char *shares) noexcept nogil:
    """A row of dx, lanes: channels; the shares of every tap column are added."""
    cdef Py_ssize_t j, first, last, lanes = job.channels, lane = job.x.step[1]
    cdef Axis *w = &job.w
    for j in range(w.kernel):
        first = ceil_div(w.pad - j, w.stride) if w.pad > j else 0
        if w.size - 1 + w.pad < j:
            continue
        last = least(w.out, (w.size - 1 + w.pad - j) // w.stride + 1)
        job.tiles.add(
            last - first, lanes, to + (first * w.stride - w.pad + j) * job.x.step[3] * job.item,
            w.stride * job.x.step[3], lane, shares + first * lanes * job.item, lanes, 1,
        )


cdef void share_row(Job *job, Py_ssize_t unit, Py_ssize_t y, char *scratch) noexcept nogil:
    """Row y of dx: the windows' shares are summed over rows first, then over columns.

    AlexNet's first pooling as an average, NCHW, N = 16, AVX-512, one thread: 27 -> 3.3 ms.
    """
    cdef char *to = unit_at(job, &job.x, unit, job.item) + y * job.x.step[2] * job.item
    cdef char *shares = scratch
    cdef char *cells = scratch + (job.w.kernel + job.share_columns) * job.item
    if not job.by_channel:      # zeros on both sides
        shares += job.w.kernel * job.item
    found = share_rows(job, unit, y, shares)
    if job.by_channel:
        clear(job, job.w.size, job.channels, to, job.x.step[3], job.x.step[1])
        if found:
            share_pixels(job, to, shares)
    elif found:
        job.tiles.combine(job.share_columns, job.w.kernel, job.w.stride, cells, shares)
        job.tiles.copy(1, job.w.size, to, 0, job.x.step[3], cells + job.w.pad * job.item, 0, 1)
    else:
        clear(job, 1, job.w.size, to, 0, job.x.step[3])


cdef void share_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    cdef Job *job = <Job *>context
    cdef Py_ssize_t first = task // job.row_parts * job.units_per_task, unit, y
    cdef Py_ssize_t part = task % job.row_parts * job.rows
    if not job.by_channel:
        memset(scratch, 0, (job.w.kernel + job.share_columns) * job.item)
    for unit in range(first, least(first + job.units_per_task, job.units)):
        for y in range(part, least(part + job.rows, job.h.size)):
            share_row(job, unit, y, <char *>scratch)


cdef void set_divisors(Job *job) noexcept:
    """The windows' widths in the arrays' dtype."""
    cdef Py_ssize_t i
    for i in range(job.w.out):
        if job.item == 4:
            (<float *>job.divisors)[i] = <float>job.widths[i]
        else:
            (<double *>job.divisors)[i] = job.widths[i]


def avg_pool2d_dx(dy, dx, dims, bint include_pad):
    cdef Job job
    cdef Geometry g = geometry_of(dims)
    cdef size_t scratch
    cdef Py_ssize_t work
    read_geometry(&job, &g)
    borrow(dx, True, &job.x)
    borrow(dy, False, &job.y)
    job.tiles, job.item = tiles_of(&job.x), job.x.item
    job.by_channel = job.x.step[1] == 1 and job.channels > 1
    if job.images == 0:
        return
    work = numbers_of(&job.y) * job.h.kernel * job.w.kernel // 2
    cut_tasks(&job, job.h.size, job.w.size, work)
    # whole vectors of windows that begin in a row; after them and before them none
    job.share_columns = ceil_div((job.w.size - 1 + job.w.pad) // job.w.stride + 1,
                                 job.tiles.lanes) * job.tiles.lanes
    scratch = job.w.out * job.channels * job.item
    if not job.by_channel:
        scratch = (job.w.kernel + job.share_columns * (1 + job.w.stride)) * job.item
    set_areas(&job, dims, include_pad)
    job.divisors = <char *>malloc(job.w.out * job.item)
    try:
        if job.divisors == NULL:
            raise MemoryError("no memory for the windows' widths")
        set_divisors(&job)
        run(share_task, &job, tasks_of(&job), work, scratch)
    finally:
        free(job.heights)
        free(job.divisors)


cdef void scatter_task(void *context, Py_ssize_t task, void *scratch) noexcept nogil:
    """Some channels of one image, or some planes: dx cleared, then dy added in order."""
    cdef Job *job = <Job *>context
    cdef Py_ssize_t first = task // job.row_parts * job.units_per_task, unit, row
    cdef Py_ssize_t channel = task % job.row_parts * job.rows, rows = job.h.out
    cdef Py_ssize_t channels = least(job.rows, job.channels - channel)
    cdef View *dx = &job.x
    cdef View *dy = &job.y
    cdef View *i = &job.index
    cdef fc_scatter p
    cdef char *to
    cdef char *grads
    cdef char *index
    p.y_step = dx.step[3]
    if job.by_channel:          # rows of the tile: pixels of a row
        p.rows, p.lanes, p.y_lane = job.w.out, channels, dx.step[1]
        p.x_row, p.x_lane, p.index_row, p.index_lane = dy.step[3], dy.step[1], i.step[3], i.step[1]
    else:                       # all rows of a plane
        p.rows, p.lanes, p.y_lane = job.h.out, job.w.out, 0
        p.x_row, p.x_lane, p.index_row, p.index_lane = dy.step[2], dy.step[3], i.step[2], i.step[3]
        rows = 1
        if p.x_row == p.lanes * p.x_lane and p.index_row == p.lanes * p.index_lane:
            p.rows, p.lanes = 1, p.rows * p.lanes
    for unit in range(first, least(first + job.units_per_task, job.units)):
        to = unit_at(job, dx, unit, job.item)
        grads = unit_at(job, dy, unit, job.item)
        index = unit_at(job, i, unit, 4)
        if job.by_channel:
            to += channel * dx.step[1] * job.item
            grads += channel * dy.step[1] * job.item
            index += channel * i.step[1] * 4
            clear(job, job.h.size * job.w.size, channels, to, dx.step[3], dx.step[1])
        else:
            clear(job, 1, job.h.size * job.w.size, to, 0, dx.step[3])
        for row in range(rows):
            job.tiles.add_at(&p, to, grads + row * dy.step[2] * job.item,
                             <int32_t *>(index + row * i.step[2] * 4))


def max_pool2d_dx(dy, indices, dx):
    """The flat indices need planes of dx with one step from cell to cell."""
    cdef Job job
    cdef Py_ssize_t work
    borrow(dx, True, &job.x)
    if job.x.step[2] != job.x.size[3] * job.x.step[3]:
        whole = dx.copy()
        max_pool2d_dx(dy, indices, whole)
        dx[...] = whole
        return
    job.tiles, job.item = tiles_of(&job.x), job.x.item
    borrow(dy, False, &job.y)
    borrow(indices, False, &job.index)
    job.images, job.channels = job.x.size[0], job.x.size[1]
    job.h.size, job.w.size = job.x.size[2], job.x.size[3]
    job.h.out, job.w.out = job.y.size[2], job.y.size[3]
    job.by_channel = job.x.step[1] == 1 and job.channels > 1
    if numbers_of(&job.x) == 0:
        return
    work = numbers_of(&job.x) // 4 + numbers_of(&job.y)
    # parts are of channels here, not of rows: a row's indices may lie anywhere in the plane
    cut_tasks(&job, job.channels if job.by_channel else 1, job.h.size * job.w.size, work)
    run(scatter_task, &job, tasks_of(&job), work, 0)
