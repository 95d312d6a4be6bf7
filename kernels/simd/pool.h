/* Pooling: one window per lane.  Lanes are channels of a pixel (steps of 1) or results of
 * a row (steps of the stride); loads by steps of 1 and 2 are vectors, others are not. */

FC_INLINE fcv load_lanes(const real *x, const ptrdiff_t step, int n)
{
    if (step == 1) return n == FC_LEN ? fcv_load(x) : fcv_load_tail(x, n);
    if (step == 2) {
        int last = 2 * n - 1; /* what lies behind the last lane's cell may not be ours */
        fcv low = last >= FC_LEN ? fcv_load(x) : fcv_load_tail(x, last);
        if (last <= FC_LEN) return fcv_even(low, fcv_zero());
        return fcv_even(low, fcv_load_tail(x + FC_LEN, last - FC_LEN));
    }
    real lane[FC_LEN];
    for (int l = 0; l < FC_LEN; l++) lane[l] = l < n ? x[l * step] : 0;
    return fcv_load(lane);
}

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

FC_INLINE void max_lanes(const fc_windows *p, const real *x, real *y, int32_t *index,
                         ptrdiff_t lane, const ptrdiff_t step, const int n, const int indexed)
{
    x += lane * step;
    fcv best = load_lanes(x + p->offset[0], step, n);
    fcv where = fcv_set1_bits(indexed ? p->index[0] : 0);
    for (ptrdiff_t t = 1; t < p->taps; t++) {
        fcv cell = load_lanes(x + p->offset[t], step, n);
        fcm wins = fcv_wins(cell, best);
        best = fcv_select(wins, cell, best);
        if (indexed) where = fcv_select(wins, fcv_set1_bits(p->index[t]), where);
    }
    store_lanes(y + lane * p->y_step, p->y_step, best, n);
    if (indexed) {
        fc_bits bits[FC_LEN];
        fcv_store_bits(bits, where);
        for (int l = 0; l < n; l++)
            index[(lane + l) * p->index_step] =
                p->index_first + (int32_t)bits[l] + (int32_t)(lane + l) * p->index_lane;
    }
}

FC_INLINE void max_step(const fc_windows *p, const real *x, real *y, int32_t *index,
                        const ptrdiff_t step, const int indexed)
{
    ptrdiff_t lane = 0;
    for (; lane + FC_LEN <= p->count; lane += FC_LEN)
        max_lanes(p, x, y, index, lane, step, FC_LEN, indexed);
    if (lane < p->count) max_lanes(p, x, y, index, lane, step, (int)(p->count - lane), indexed);
}

static void max_windows(const fc_windows *p, const void *x, void *y, int32_t *index)
{
    if (index) {
        if (p->x_step == 1) max_step(p, x, y, index, 1, 1);
        else if (p->x_step == 2) max_step(p, x, y, index, 2, 1);
        else max_step(p, x, y, index, p->x_step, 1);
    } else {
        if (p->x_step == 1) max_step(p, x, y, index, 1, 0);
        else if (p->x_step == 2) max_step(p, x, y, index, 2, 0);
        else max_step(p, x, y, index, p->x_step, 0);
    }
}

FC_INLINE void mean_step(const fc_windows *p, const real *x, real *y, const ptrdiff_t step)
{
    fcv area = fcv_set1((real)p->area);
    for (ptrdiff_t lane = 0; lane < p->count; lane += FC_LEN) {
        int n = p->count - lane < FC_LEN ? (int)(p->count - lane) : FC_LEN;
        fcv sum = fcv_zero();
        for (ptrdiff_t t = 0; t < p->taps; t++)
            sum = fcv_add(sum, load_lanes(x + lane * step + p->offset[t], step, n));
        store_lanes(y + lane * p->y_step, p->y_step, fcv_div(sum, area), n);
    }
}

static void mean_windows(const fc_windows *p, const void *x, void *y)
{
    if (p->x_step == 1) mean_step(p, x, y, 1);
    else if (p->x_step == 2) mean_step(p, x, y, 2);
    else mean_step(p, x, y, p->x_step);
}

/* y[l] += x[l] / (height · width[l]) */
static void add_share(ptrdiff_t count, void *y, ptrdiff_t y_step, const void *x, ptrdiff_t x_step,
                      double height, const double *width, ptrdiff_t width_step)
{
    real *to = y;
    const real *from = x;
    if (width_step == 0 && y_step == 1 && x_step == 1) {
        fcv area = fcv_set1((real)(height * *width));
        for (ptrdiff_t l = 0; l < count; l += FC_LEN) {
            int n = count - l < FC_LEN ? (int)(count - l) : FC_LEN;
            fcv share = fcv_div(load_lanes(from + l, 1, n), area);
            store_lanes(to + l, 1, fcv_add(load_lanes(to + l, 1, n), share), n);
        }
        return;
    }
    for (ptrdiff_t l = 0; l < count; l++)
        to[l * y_step] += from[l * x_step] / (real)(height * width[l * width_step]);
}

/* y[l·y_lane + index[l]·y_step] += x[l], in the order of l */
static void add_at(ptrdiff_t count, void *y, ptrdiff_t y_step, ptrdiff_t y_lane, const void *x,
                   ptrdiff_t x_step, const int32_t *index, ptrdiff_t index_step)
{
    real *to = y;
    const real *from = x;
    for (ptrdiff_t l = 0; l < count; l++)
        to[l * y_lane + index[l * index_step] * y_step] += from[l * x_step];
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
