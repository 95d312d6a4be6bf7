/* Pooling: one window per lane.  Lanes are channels of a pixel (in steps of 1) or results of
 * a row (in steps of the stride), loaded by load_lanes of copy.h. */

FC_INLINE void store_lanes(real *y, ptrdiff_t step, fcv value, int n)
{
    if (step == 1 && n == FC_LEN) {
        fcv_store(y, value);
    } else if (step == 1) {
        fcv_store_tail(y, value, n);
    } else {
        real lane[FC_LEN];
        fcv_store(lane, value);
        for (int l = 0; l < n; l++) y[l * step] = lane[l];
    }
}

/* The indices of lanes relative to the first one's window: l · next_lane. */
FC_INLINE fcv lane_indices(const fc_windows *p)
{
    fc_bits bits[FC_LEN];
    for (int l = 0; l < FC_LEN; l++) bits[l] = (fc_bits)(l * p->next_lane);
    return fcv_load_bits(bits);
}

FC_INLINE void store_indices(int32_t *index, ptrdiff_t step, fcv where, int n)
{
    fc_bits bits[FC_LEN];
    if (step == 1 && !FC_F64) {
        if (n == FC_LEN) fcv_store_bits((fc_bits *)index, where);
        else fcv_store_tail((real *)index, where, n);
        return;
    }
    fcv_store_bits(bits, where);
    if (step == 1)
        for (int l = 0; l < n; l++) index[l] = (int32_t)bits[l];
    else
        for (int l = 0; l < n; l++) index[l * step] = (int32_t)bits[l];
}

FC_INLINE void max_lanes(const fc_windows *p, const real *x, real *y, int32_t *index,
                         int32_t first, fcv lane, const ptrdiff_t step, const int n)
{
    fcv best = load_lanes(x + p->offset[0], step, n);
    fcv where = fcv_set1_bits(p->index[0]);
    for (ptrdiff_t t = 1; t < p->taps; t++) {
        fcv cell = load_lanes(x + p->offset[t], step, n);
        fcm wins = fcv_wins(cell, best);
        best = fcv_select(wins, cell, best);
        where = fcv_select(wins, fcv_set1_bits(p->index[t]), where);
    }
    store_lanes(y, p->y_lane, best, n);
    where = fcv_add_bits(where, fcv_add_bits(lane, fcv_set1_bits(first)));
    store_indices(index, p->index_lane, where, n);
}

/* The maximum alone: a short chain of max, and beside it, two at a time, was a cell NaN? */
FC_INLINE void plain_max_lanes(const fc_windows *p, const real *x, real *y, const ptrdiff_t step,
                               const int n)
{
    fcv best = load_lanes(x + p->offset[0], step, n);
    fcm nan = fcv_any_nan(best, best);
    ptrdiff_t t = 1;
    for (; t + 1 < p->taps; t += 2) {
        fcv cell = load_lanes(x + p->offset[t], step, n);
        fcv next = load_lanes(x + p->offset[t + 1], step, n);
        nan = fcv_or(nan, fcv_any_nan(cell, next));
        best = fcv_max(next, fcv_max(cell, best)); /* the first of equals */
    }
    if (t < p->taps) {
        fcv cell = load_lanes(x + p->offset[t], step, n);
        nan = fcv_or(nan, fcv_any_nan(cell, cell));
        best = fcv_max(cell, best);
    }
    store_lanes(y, p->y_lane, fcv_select(nan, fcv_set1((real)NAN), best), n);
}

FC_INLINE void mean_lanes(const fc_windows *p, const real *x, real *y, const ptrdiff_t step,
                          const int n)
{
    fcv sum = fcv_zero();
    for (ptrdiff_t t = 0; t < p->taps; t++)
        sum = fcv_add(sum, load_lanes(x + p->offset[t], step, n));
    store_lanes(y, p->y_lane, fcv_div(sum, fcv_set1((real)p->area)), n);
}

/* n lanes from lane l on, of one row whose indices begin at `first` */
FC_INLINE void windows_lanes(const fc_windows *p, const real *x, real *y, int32_t *index,
                             int32_t first, fcv lane, ptrdiff_t l, const ptrdiff_t step, const int n,
                             const int mean)
{
    x += l * step;
    y += l * p->y_lane;
    if (mean) mean_lanes(p, x, y, step, n);
    else if (!index) plain_max_lanes(p, x, y, step, n);
    else
        max_lanes(p, x, y, index + l * p->index_lane, first + (int32_t)l * p->next_lane, lane, step,
                  n);
}

FC_INLINE void windows_by(const fc_windows *given, const real *x, real *y, int32_t *index,
                          const ptrdiff_t step, const int mean)
{
    const fc_windows p = *given; /* in registers: y might alias what is given */
    const ptrdiff_t whole = p.lanes - p.lanes % FC_LEN;
    const int rest = (int)(p.lanes - whole);
    const fcv lane = index ? lane_indices(&p) : fcv_zero();
    for (ptrdiff_t row = 0; row < p.rows; row++) {
        int32_t first = p.first_index + (int32_t)row * p.next_row;
        for (ptrdiff_t l = 0; l < whole; l += FC_LEN)
            windows_lanes(&p, x, y, index, first, lane, l, step, FC_LEN, mean);
        if (rest) windows_lanes(&p, x, y, index, first, lane, whole, step, rest, mean);
        x += p.x_row;
        y += p.y_row;
        if (index) index += p.index_row;
    }
}

/* The first of some numbers (none, if fewer than 0), a vector at most. */
FC_INLINE fcv load_first(const real *x, const int whole, int numbers)
{
    const int to = numbers < 0 ? 0 : numbers < FC_LEN ? numbers : FC_LEN;
    return whole ? fcv_load(x) : fcv_load_part(x, 0, to);
}

/* n windows two apart, whose rows have size numbers: the first numbers of a row of theirs, the second
 * ones, the third. */
FC_INLINE void load_by_twos(fcv *cell, const real *x, const int size, const int whole, int n)
{
    const int numbers = 2 * (n - 1) + size;
    fcv low = load_first(x, whole, numbers), high = load_first(x + FC_LEN, whole, numbers - FC_LEN);
    cell[0] = fcv_even(low, high);
    cell[1] = fcv_odd(low, high);
    if (size == 2) return;
    low = load_first(x + 1, whole, numbers - 1);
    high = load_first(x + 1 + FC_LEN, whole, numbers - 1 - FC_LEN);
    cell[2] = fcv_odd(low, high);
}

/* The same of two rows, a half of the vector each. */
FC_INLINE void load_two_rows(fcv *cell, const real *x, const real *second, const int size, int n)
{
    const int numbers = 2 * (n - 1) + size;
    fcv low = load_first(x, 0, numbers), high = load_first(second, 0, numbers);
    cell[0] = fcv_even(low, high);
    cell[1] = fcv_odd(low, high);
    cell[2] = fcv_next(cell[0]);
}

/* The maxima of n windows, and which tap each is; with a second row of windows n of each.  Adds to
 * nan where a number was NaN: then they are wrong. */
FC_INLINE fcv indexed_by_twos(const fc_windows *p, const real *x, const real *second,
                              const int size, const int whole, int n, fcv *where, fcm *nan)
{
    fcv cell[3], best = fcv_zero();
#pragma GCC unroll 3
    for (int i = 0; i < size; i++) {
        const ptrdiff_t tap = p->offset[i * size];
        if (second) load_two_rows(cell, x + tap, second + tap, size, n);
        else load_by_twos(cell, x + tap, size, whole, n);
        *nan = fcv_or(*nan, fcv_any_nan(cell[0], cell[1]));
        if (size == 3) *nan = fcv_or(*nan, fcv_any_nan(cell[2], cell[2]));
#pragma GCC unroll 3
        for (int j = 0; j < size; j++) {
            fcv place = fcv_set1_bits(p->index[i * size + j]);
            fcm more = fcv_more(cell[j], best);
            best = i + j ? fcv_max(cell[j], best) : cell[0];
            *where = i + j ? fcv_select(more, place, *where) : place;
        }
    }
    return best;
}

/* Rows of a vector at least, whose last one overlaps the one before it; or of less. */
FC_INLINE int indexed_rows_by_twos(const fc_windows *given, const real *x, real *y, int32_t *index,
                                   const int size, const int whole)
{
    const fc_windows p = *given; /* in registers: y might alias what is given */
    const int n = whole ? FC_LEN : (int)p.lanes;
    const fcv lane = lane_indices(&p);
    fcm nan = fcv_any_nan(fcv_zero(), fcv_zero());
    for (ptrdiff_t row = 0; row < p.rows; row++) {
        for (ptrdiff_t next = 0; next < p.lanes; next += n) {
            ptrdiff_t l = next + n <= p.lanes ? next : p.lanes - n;
            int32_t first = p.first_index + (int32_t)(row * p.next_row + l * p.next_lane);
            fcv where, best = indexed_by_twos(&p, x + 2 * l, NULL, size, whole, n, &where, &nan);
            where = fcv_add_bits(where, fcv_add_bits(lane, fcv_set1_bits(first)));
            store_lanes(y + l, 1, best, n);
            store_indices(index + l, 1, where, n);
        }
        x += p.x_row;
        y += p.y_row;
        index += p.index_row;
    }
    return fcv_some(nan);
}

enum { HALF = (FC_LEN + 1) / 2 };

/* n lanes of the upper half */
FC_INLINE void store_upper(real *y, int32_t *index, fcv best, fcv where, int n)
{
    fc_bits bits[FC_LEN];
    fcv_store_part(y - HALF, best, HALF, HALF + n);
    if (!FC_F64) {
        fcv_store_part((real *)index - HALF, where, HALF, HALF + n);
        return;
    }
    fcv_store_bits(bits, where);
    for (int l = 0; l < n; l++) index[l] = (int32_t)bits[HALF + l];
}

/* Rows of half a vector at most, two at a time. */
FC_INLINE int indexed_pairs_by_twos(const fc_windows *given, const real *x, real *y,
                                    int32_t *index, const int size)
{
    const fc_windows p = *given; /* in registers: y might alias what is given */
    const int n = (int)p.lanes;
    fc_bits bits[FC_LEN];
    for (int l = 0; l < FC_LEN; l++)
        bits[l] = (fc_bits)(l % HALF * p.next_lane + l / HALF * p.next_row);
    const fcv lane = fcv_load_bits(bits);
    fcm nan = fcv_any_nan(fcv_zero(), fcv_zero());
    for (ptrdiff_t row = 0; row < p.rows; row += 2) {
        const int last = row + 1 == p.rows;
        fcv first = fcv_set1_bits(p.first_index + (int32_t)row * p.next_row), where;
        fcv best = indexed_by_twos(&p, x, last ? x : x + p.x_row, size, 0, n, &where, &nan);
        where = fcv_add_bits(where, fcv_add_bits(lane, first));
        store_lanes(y, 1, best, n);
        store_indices(index, 1, where, n);
        if (!last) store_upper(y + p.y_row, index + p.index_row, best, where, n);
        x += 2 * p.x_row;
        y += 2 * p.y_row;
        index += 2 * p.index_row;
    }
    return fcv_some(nan);
}

/* Two vectors, whole or of low and high numbers; or one, twice. */
FC_INLINE void load_columns(fcv *v, const real *x, const int vectors, const int whole, int low,
                            int high)
{
    v[0] = whole ? fcv_load(x) : fcv_load_part(x, 0, low);
    if (vectors == 1) v[1] = v[0];
    else v[1] = whole ? fcv_load(x + FC_LEN) : fcv_load_part(x + FC_LEN, 0, high);
}

/* A row's windows by twos, of size × size numbers: the largest of each column, once for all windows
 * that hold it; then even columns, odd ones, and the even ones behind them.  Adds to nan where a
 * cell was NaN: then the result is wrong. */
FC_INLINE fcv max_by_twos(const fc_windows *p, const real *x, const int size, const int vectors,
                          const int whole, int low, int high, fcm *nan)
{
    fcv best[2], row[2];
    if (p->ahead) {
        fc_prefetch(x + p->offset[0] + p->ahead, vectors * sizeof(fcv));
        fc_prefetch(x + p->offset[size] + p->ahead, vectors * sizeof(fcv));
    }
    load_columns(best, x + p->offset[0], vectors, whole, low, high);
    load_columns(row, x + p->offset[size], vectors, whole, low, high);
    *nan = fcv_or(*nan, fcv_any_nan(best[0], row[0]));
    if (vectors == 2) *nan = fcv_or(*nan, fcv_any_nan(best[1], row[1]));
    for (int v = 0; v < 2; v++) best[v] = fcv_max(row[v], best[v]);
    if (size == 3) {
        load_columns(row, x + p->offset[2 * size], vectors, whole, low, high);
        *nan = fcv_or(*nan, fcv_any_nan(row[0], row[1]));
        for (int v = 0; v < 2; v++) best[v] = fcv_max(row[v], best[v]);
    }
    fcv even = fcv_even(best[0], best[1]), odd = fcv_odd(best[0], best[1]);
    return size == 3 ? fcv_max(fcv_next(even), fcv_max(odd, even)) : fcv_max(odd, even);
}

/* Rows of groups of results, the last group in so many vectors, or of a single group.  Whole vectors
 * are read where the row goes on, and written where more results follow.  Returns whether a cell was
 * NaN: then the results are wrong. */
FC_INLINE int max_rows_by_twos(const fc_windows *given, const real *x, real *y, const int size,
                               const int vectors, const int single)
{
    const fc_windows p = *given; /* in registers: y might alias what is given */
    const int group = FC_LEN - (size - 1) / 2;
    const ptrdiff_t last = single ? 0 : (p.lanes - 1) / group * group;
    const int n = (int)(p.lanes - last), cells = 2 * (n - 1) + size;
    const int low = cells < FC_LEN ? cells : FC_LEN, high = cells - low;
    const real *const end = y + p.rows * p.lanes;
    fcm nan = fcv_any_nan(fcv_zero(), fcv_zero());
    for (ptrdiff_t row = p.rows; row > 0; row--) {
        for (ptrdiff_t l = 0; l < last; l += group)
            fcv_store(y + l, max_by_twos(&p, x + 2 * l, size, 2, 1, 0, 0, &nan));
        fcv best = max_by_twos(&p, x + 2 * last, size, vectors, 0, low, high, &nan);
        if (p.y_row == p.lanes && end - y >= last + FC_LEN) fcv_store(y + last, best);
        else store_lanes(y + last, 1, best, n);
        x += p.x_row;
        y += p.y_row;
    }
    return fcv_some(nan);
}

/* If a cell was NaN, all is done again with NaNs in mind: two to three times the work. */
FC_INLINE void max_squares_by_twos(const fc_windows *p, const real *x, real *y, const int size)
{
    int nan;
    const int group = FC_LEN - (size - 1) / 2;
    if (2 * (p->lanes - 1) + size <= FC_LEN) nan = max_rows_by_twos(p, x, y, size, 1, 1);
    else if (p->lanes <= group) nan = max_rows_by_twos(p, x, y, size, 2, 1);
    else nan = max_rows_by_twos(p, x, y, size, 2, 0);
    if (nan) windows_by(p, x, y, NULL, 2, 0);
}

FC_INLINE void indexed_squares_by_twos(const fc_windows *p, const real *x, real *y, int32_t *index,
                                       const int size)
{
    int nan;
    if (p->lanes >= FC_LEN) nan = indexed_rows_by_twos(p, x, y, index, size, 1);
    else if (2 * (p->lanes - 1) + size <= FC_LEN)
        nan = indexed_pairs_by_twos(p, x, y, index, size);
    else nan = indexed_rows_by_twos(p, x, y, index, size, 0);
    if (nan) windows_by(p, x, y, index, 2, 0);
}

static void max_windows(const fc_windows *p, const void *x, void *y, int32_t *index)
{
    const int size = (int)p->across;
    const int by_twos = p->x_lane == 2 && p->y_lane == 1 && FC_LEN >= 4
                        && (size == 2 || size == 3) && p->taps == size * size;
    if (by_twos && !index) {
        if (size == 2) max_squares_by_twos(p, x, y, 2);
        else max_squares_by_twos(p, x, y, 3);
        return;
    }
    if (by_twos && p->index_lane == 1) {
        if (size == 2) indexed_squares_by_twos(p, x, y, index, 2);
        else indexed_squares_by_twos(p, x, y, index, 3);
        return;
    }
    if (index) {
        if (p->x_lane == 1) windows_by(p, x, y, index, 1, 0);
        else if (p->x_lane == 2) windows_by(p, x, y, index, 2, 0);
        else windows_by(p, x, y, index, p->x_lane, 0);
    } else {
        if (p->x_lane == 1) windows_by(p, x, y, NULL, 1, 0);
        else if (p->x_lane == 2) windows_by(p, x, y, NULL, 2, 0);
        else windows_by(p, x, y, NULL, p->x_lane, 0);
    }
}

static void mean_windows(const fc_windows *p, const void *x, void *y)
{
    if (p->x_lane == 1) windows_by(p, x, y, NULL, 1, 1);
    else if (p->x_lane == 2) windows_by(p, x, y, NULL, 2, 1);
    else windows_by(p, x, y, NULL, p->x_lane, 1);
}

/* y[r][l] += x[r][l] */
static void add(ptrdiff_t rows, ptrdiff_t lanes, void *y, ptrdiff_t y_row, ptrdiff_t y_lane,
                const void *x, ptrdiff_t x_row, ptrdiff_t x_lane)
{
    for (ptrdiff_t r = 0; r < rows; r++) {
        real *to = (real *)y + r * y_row;
        const real *from = (const real *)x + r * x_row;
        if (y_lane != 1 || x_lane != 1) {
            for (ptrdiff_t l = 0; l < lanes; l++) to[l * y_lane] += from[l * x_lane];
            continue;
        }
        for (ptrdiff_t l = 0; l < lanes; l += FC_LEN) {
            int n = lanes - l < FC_LEN ? (int)(lanes - l) : FC_LEN;
            fcv sum = fcv_add(load_lanes(to + l, 1, n), load_lanes(from + l, 1, n));
            store_lanes(to + l, 1, sum, n);
        }
    }
}

FC_INLINE void divide_lanes(real *y, const real *x, ptrdiff_t x_lane, fcv area, int n,
                            int accumulate)
{
    fcv share = fcv_div(load_lanes(x, x_lane, n), area);
    if (accumulate) share = fcv_add(load_lanes(y, 1, n), share);
    store_lanes(y, 1, share, n);
}

FC_INLINE void divide_by(ptrdiff_t rows, ptrdiff_t lanes, real *y, const real *x, ptrdiff_t x_row,
                         const ptrdiff_t x_lane, real height, const real *width, int accumulate)
{
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t l = 0; l < lanes; l += FC_LEN) {
            int n = lanes - l < FC_LEN ? (int)(lanes - l) : FC_LEN;
            divide_lanes(y + r * lanes + l, x + r * x_row + l * x_lane, x_lane,
                         fcv_set1(height * width[r]), n, accumulate);
        }
}

/* A single lane: rows are the lanes, each with an area of its own. */
FC_INLINE void divide_rows(ptrdiff_t rows, real *y, const real *x, const ptrdiff_t x_row,
                           real height, const real *width, int accumulate)
{
    for (ptrdiff_t r = 0; r < rows; r += FC_LEN) {
        int n = rows - r < FC_LEN ? (int)(rows - r) : FC_LEN;
        fcv area = fcv_mul(fcv_set1(height), load_lanes(width + r, 1, n));
        if (n < FC_LEN) area = fcv_max(area, fcv_set1(1)); /* no division by 0 behind the end */
        divide_lanes(y + r, x + r * x_row, x_row, area, n, accumulate);
    }
}

/* y[r][l] = x[r][l] / (height · width[r]), y in one piece; or added to it */
static void divide(ptrdiff_t rows, ptrdiff_t lanes, void *y, const void *x, ptrdiff_t x_row,
                   ptrdiff_t x_lane, double height, const void *width, int accumulate)
{
    if (lanes == 1 && x_row == 1) divide_rows(rows, y, x, 1, (real)height, width, accumulate);
    else if (lanes == 1) divide_rows(rows, y, x, x_row, (real)height, width, accumulate);
    else if (x_lane == 1)
        divide_by(rows, lanes, y, x, x_row, 1, (real)height, width, accumulate);
    else divide_by(rows, lanes, y, x, x_row, x_lane, (real)height, width, accumulate);
}

/* Σ over taps j = phase, phase + stride, … below kernel of x[-(j / stride)] */
FC_INLINE fcv sum_taps(const real *x, ptrdiff_t phase, const ptrdiff_t stride, ptrdiff_t kernel)
{
    fcv sum = fcv_zero();
    for (; phase < kernel; phase += stride) sum = fcv_add(sum, fcv_load(x--));
    return sum;
}

/* y[q·stride + r] = Σ over taps j = r, r + stride, … below kernel of x[q - j / stride]: what the
 * cells of a row get from windows; whole vectors of q, x readable kernel numbers before them. */
static void combine(ptrdiff_t count, ptrdiff_t kernel, ptrdiff_t stride, void *y, const void *x)
{
    const real *from = x;
    real *to = y;
    for (ptrdiff_t q = 0; q < count; q += FC_LEN, from += FC_LEN, to += FC_LEN * stride) {
        if (stride == 1) {
            fcv_store(to, sum_taps(from, 0, 1, kernel));
        } else if (stride == 2) {
            fcv even = sum_taps(from, 0, 2, kernel), odd = sum_taps(from, 1, 2, kernel);
            fcv_store(to, fcv_zip_low(even, odd));
            fcv_store(to + FC_LEN, fcv_zip_high(even, odd));
        } else {
            for (ptrdiff_t r = 0; r < stride; r++)
                store_lanes(to + r, stride, sum_taps(from, r, stride, kernel), FC_LEN);
        }
    }
}

FC_INLINE void add_row_at(ptrdiff_t lanes, real *y, ptrdiff_t y_step, ptrdiff_t y_lane,
                          const real *x, ptrdiff_t x_lane, const int32_t *index,
                          ptrdiff_t index_lane)
{
    for (ptrdiff_t l = 0; l < lanes; l++)
        y[l * y_lane + index[l * index_lane] * y_step] += x[l * x_lane];
}

/* y[l·y_lane + index[r][l]·y_step] += x[r][l], row by row in the order of l */
static void add_at(const fc_scatter *given, void *y, const void *x, const int32_t *index)
{
    const fc_scatter p = *given; /* in registers: y might alias what is given */
    const int neighbours = p.x_lane == 1 && p.index_lane == 1;
    const real *from = x;
    for (ptrdiff_t r = 0; r < p.rows; r++) {
        if (neighbours && p.y_lane == 0 && p.y_step == 1) /* planes */
            add_row_at(p.lanes, y, 1, 0, from, 1, index, 1);
        else if (neighbours && p.y_lane == 1) /* channels of a pixel */
            add_row_at(p.lanes, y, p.y_step, 1, from, 1, index, 1);
        else
            add_row_at(p.lanes, y, p.y_step, p.y_lane, from, p.x_lane, index, p.index_lane);
        from += p.x_row;
        index += p.index_row;
    }
}

/* total[l] += Σ over rows of x[r][l]: a block of rows in real, the blocks in double */
static void add_rows(ptrdiff_t rows, ptrdiff_t lanes, double *total, const void *x, ptrdiff_t x_row,
                     ptrdiff_t x_lane)
{
    enum { BLOCK = 64 };
    for (ptrdiff_t l = 0; l < lanes; l += FC_LEN) {
        int n = lanes - l < FC_LEN ? (int)(lanes - l) : FC_LEN;
        for (ptrdiff_t first = 0; first < rows; first += BLOCK) {
            ptrdiff_t last = first + BLOCK < rows ? first + BLOCK : rows;
            const real *from = (const real *)x + l * x_lane;
            fcv sum = fcv_zero();
            for (ptrdiff_t r = first; r < last; r++)
                sum = fcv_add(sum, load_lanes(from + r * x_row, x_lane, n));
            real lane[FC_LEN];
            fcv_store(lane, sum);
            for (int i = 0; i < n; i++) total[l + i] += lane[i];
        }
    }
}
