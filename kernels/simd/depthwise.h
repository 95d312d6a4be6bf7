/* Depthwise convolution: lanes are columns, or channels; no product of matrices is left.
 *
 * A tile is DEPTHWISE_RESULTS results of one lane vector: rows where lanes are columns,
 * columns where lanes are channels.  Neighbouring results share most of what they read, so
 * for the usual windows each vector is loaded once for all results of the tile that it
 * serves: 9 loads and 3 weights for 21 FMAs of a 3-tap window.  7 divides 224, 112, 56 … 7.
 */
enum { DEPTHWISE_RESULTS = 7, DEPTHWISE_ALONG = 7 };

/* Which lanes of a vector are read: all of them if `whole`, else [from, to). */
typedef struct {
    int from, to;
} fc_part;

FC_INLINE int depthwise_clamp(ptrdiff_t i, int most)
{
    return i < 0 ? 0 : i > most ? most : (int)i;
}

/* Of n lanes from `column` on of x's rows, those inside of them. */
FC_INLINE fc_part depthwise_part(const fc_depthwise *p, ptrdiff_t column, int n)
{
    fc_part part = {depthwise_clamp(p->low - column, n), depthwise_clamp(p->high - column, n)};
    return part;
}

FC_INLINE fcv depthwise_load(const real *x, fc_part part, const int whole)
{
    return whole ? fcv_load(x) : fcv_load_part(x, part.from, part.to);
}

FC_INLINE void depthwise_store(real *y, fcv a, ptrdiff_t n)
{
    if (n >= FC_LEN) fcv_store(y, a);
    else if (n > 0) fcv_store_tail(y, a, (int)n);
}

FC_INLINE fcv depthwise_weight(const real *w, int n, const int by_lane)
{
    if (!by_lane) return fcv_set1(*w);
    return n == FC_LEN ? fcv_load(w) : fcv_load_tail(w, n);
}

/* Whether no tap of the vector at `at` crosses an end of x's rows. */
FC_INLINE int depthwise_inside(const fc_depthwise *p, ptrdiff_t at)
{
    return at + p->least_offset >= p->low && at + p->most_offset + FC_LEN <= p->high;
}

/* The taps along one row of pointers; `along` 0: any number of them, each loaded for itself. */
FC_INLINE void depthwise_row(const fc_depthwise *p, const real *const *x, const real *w,
                             ptrdiff_t at, int n, fcv *sum, const int along, const int step,
                             const int by_lane, const int whole)
{
    const fc_part part = whole ? (fc_part){0, 0} : depthwise_part(p, at, n);
    if (along) {
        fcv tap[DEPTHWISE_ALONG];
#pragma GCC unroll 7
        for (int b = 0; b < along; b++)
            tap[b] = depthwise_weight(w + b * p->w_along, n, by_lane);
#pragma GCC unroll 24
        for (int u = 0; u < (DEPTHWISE_RESULTS - 1) * step + along; u++) {
            fcv v = depthwise_load(x[u] + at, part, whole);
#pragma GCC unroll 7
            for (int b = 0; b < along; b++) {
                int r = u - b;
                if (r >= 0 && r % step == 0 && r / step < DEPTHWISE_RESULTS)
                    sum[r / step] = fcv_fma(v, tap[b], sum[r / step]);
            }
        }
        return;
    }
    for (ptrdiff_t b = 0; b < p->along; b++) {
        fcv tap = depthwise_weight(w + b * p->w_along, n, by_lane);
        const real *const *from = x + b * p->dilation;
#pragma GCC unroll 7
        for (int r = 0; r < DEPTHWISE_RESULTS; r++)
            sum[r] = fcv_fma(depthwise_load(from[r * p->step] + at, part, whole), tap, sum[r]);
    }
}

FC_INLINE void depthwise_tile(const fc_depthwise *p, const real *const *x, real *y, int results,
                              ptrdiff_t at, int n, const int across, const int along,
                              const int step, const int by_lane, const int whole)
{
    const ptrdiff_t lane = by_lane ? at : 0;
    const real *w = (const real *)p->w + lane;
    fcv sum[DEPTHWISE_RESULTS], first = fcv_zero();
    if (p->bias) first = depthwise_weight((const real *)p->bias + lane, n, by_lane);
#pragma GCC unroll 7
    for (int r = 0; r < DEPTHWISE_RESULTS; r++) sum[r] = first;
    const ptrdiff_t sources = across ? 1 : p->sources, taps = across ? across : p->across;
    for (ptrdiff_t s = 0; s < sources; s++)
#pragma GCC unroll 3
        for (ptrdiff_t a = 0; a < taps; a++)
            depthwise_row(p, x + s * p->x_source + a * p->x_across,
                          w + s * p->w_source + a * p->w_across, at + p->offset[a], n, sum,
                          along, step, by_lane, whole);
#pragma GCC unroll 7
    for (int r = 0; r < DEPTHWISE_RESULTS; r++) {
        if (r >= results) break;
        fcv value = p->relu ? fcv_max(fcv_zero(), sum[r]) : sum[r]; /* NaN stays NaN */
        depthwise_store(y + r * p->y_step + at, value, n);
    }
}

/* The last vector, where it would reach beyond x, overlaps the one before it: its lanes get
 * the same sums twice. */
FC_INLINE void depthwise_tiles(const fc_depthwise *p, const real *const *x, real *y,
                               const int across, const int along, const int step,
                               const int by_lane)
{
    const int n = p->lanes < FC_LEN ? (int)p->lanes : FC_LEN;
    for (ptrdiff_t r = 0; r < p->results; r += DEPTHWISE_RESULTS) {
        ptrdiff_t left = p->results - r;
        int results = left < DEPTHWISE_RESULTS ? (int)left : DEPTHWISE_RESULTS;
        for (ptrdiff_t first = 0; first < p->lanes; first += FC_LEN) {
            ptrdiff_t left = p->lanes - first, at = left < n ? p->lanes - n : first;
            if (!by_lane && depthwise_inside(p, first))
                depthwise_tile(p, x, y, results, first, left < n ? (int)left : n, across, along,
                               step, 0, 1);
            else if (n == FC_LEN && depthwise_inside(p, at))
                depthwise_tile(p, x, y, results, at, FC_LEN, across, along, step, by_lane, 1);
            else
                depthwise_tile(p, x, y, results, at, n, across, along, step, by_lane, 0);
        }
        x += DEPTHWISE_RESULTS * p->step;
        y += DEPTHWISE_RESULTS * p->y_step;
    }
}

FC_INLINE int depthwise_is(const fc_depthwise *p, int across, int along, int step)
{
    if (across && (p->across != across || p->sources != 1)) return 0;
    return p->along == along && p->step == step && p->dilation == 1;
}

FC_INLINE void depthwise_windows(const fc_depthwise *p, const real *const *x, real *y,
                                 const int by_lane)
{
    if (depthwise_is(p, 3, 3, 1)) depthwise_tiles(p, x, y, 3, 3, 1, by_lane);
    else if (depthwise_is(p, 3, 3, 2)) depthwise_tiles(p, x, y, 3, 3, 2, by_lane);
    else if (depthwise_is(p, 1, 1, 1)) depthwise_tiles(p, x, y, 1, 1, 1, by_lane);
    else if (depthwise_is(p, 2, 1, 1)) depthwise_tiles(p, x, y, 2, 1, 1, by_lane);
    else if (depthwise_is(p, 1, 2, 1)) depthwise_tiles(p, x, y, 1, 2, 1, by_lane);
    else if (depthwise_is(p, 2, 2, 1)) depthwise_tiles(p, x, y, 2, 2, 1, by_lane);
    else if (depthwise_is(p, 0, 1, 1)) depthwise_tiles(p, x, y, 0, 1, 1, by_lane);
    else if (depthwise_is(p, 0, 2, 1)) depthwise_tiles(p, x, y, 0, 2, 1, by_lane);
    else if (depthwise_is(p, 0, 3, 1)) depthwise_tiles(p, x, y, 0, 3, 1, by_lane);
    else if (depthwise_is(p, 0, 5, 1)) depthwise_tiles(p, x, y, 0, 5, 1, by_lane);
    else if (depthwise_is(p, 0, 5, 2)) depthwise_tiles(p, x, y, 0, 5, 2, by_lane);
    else if (depthwise_is(p, 0, 7, 1)) depthwise_tiles(p, x, y, 0, 7, 1, by_lane);
    else depthwise_tiles(p, x, y, 0, 0, 0, by_lane);
}

static void depthwise(const fc_depthwise *p, const void *const *x, void *y)
{
    if (p->w_lane) depthwise_windows(p, (const real *const *)x, y, 1);
    else depthwise_windows(p, (const real *const *)x, y, 0);
}

/* ---- dw: the totals of a window's taps, a vector each, over results and lanes ---- */

FC_INLINE void depthwise_dw_row(const fc_depthwise *p, const real *const *x, const fcv *dy,
                                real *total, ptrdiff_t at, int n, const int results,
                                const int along, const int step, const int whole)
{
    const fc_part part = whole ? (fc_part){0, 0} : depthwise_part(p, at, n);
    if (along) {
        fcv sum[DEPTHWISE_ALONG];
#pragma GCC unroll 7
        for (int b = 0; b < along; b++) sum[b] = fcv_load(total + b * p->w_along);
#pragma GCC unroll 24
        for (int u = 0; u < (results - 1) * step + along; u++) {
            fcv v = depthwise_load(x[u] + at, part, whole);
#pragma GCC unroll 7
            for (int b = 0; b < along; b++) {
                int r = u - b;
                if (r >= 0 && r % step == 0 && r / step < results)
                    sum[b] = fcv_fma(v, dy[r / step], sum[b]);
            }
        }
#pragma GCC unroll 7
        for (int b = 0; b < along; b++) fcv_store(total + b * p->w_along, sum[b]);
        return;
    }
    for (ptrdiff_t b = 0; b < p->along; b++) {
        const real *const *from = x + b * p->dilation;
        fcv sum = fcv_load(total + b * p->w_along);
#pragma GCC unroll 7
        for (int r = 0; r < results; r++)
            sum = fcv_fma(depthwise_load(from[r * p->step] + at, part, whole), dy[r], sum);
        fcv_store(total + b * p->w_along, sum);
    }
}

FC_INLINE void depthwise_dw_tile(const fc_depthwise *p, const real *const *x, const real *dy,
                                 real *total, ptrdiff_t at, int n, const int results,
                                 const int across, const int along, const int step,
                                 const int whole)
{
    fcv grad[DEPTHWISE_RESULTS];
#pragma GCC unroll 7
    for (int r = 0; r < results; r++)
        grad[r] = depthwise_weight(dy + r * p->y_step + at, n, 1);
    const ptrdiff_t taps = across ? across : p->across;
#pragma GCC unroll 3
    for (ptrdiff_t a = 0; a < taps; a++)
        depthwise_dw_row(p, x + a * p->x_across, grad, total + a * p->w_across + at * p->w_lane,
                         at + p->offset[a], n, results, along, step, whole);
}

FC_INLINE void depthwise_dw_lanes(const fc_depthwise *p, const real *const *x,
                                  const real *dy, real *total, const int results,
                                  const int across, const int along, const int step)
{
    for (ptrdiff_t at = 0; at < p->lanes; at += FC_LEN) {
        int n = p->lanes - at < FC_LEN ? (int)(p->lanes - at) : FC_LEN;
        if (n == FC_LEN && depthwise_inside(p, at))
            depthwise_dw_tile(p, x, dy, total, at, FC_LEN, results, across, along, step, 1);
        else
            depthwise_dw_tile(p, x, dy, total, at, n, results, across, along, step, 0);
    }
}

/* Only results that exist: what lies beside them, times 0, might be NaN. */
FC_INLINE void depthwise_dw_tiles(const fc_depthwise *p, const real *const *x, const real *dy,
                                  real *total, const int across, const int along,
                                  const int step)
{
    ptrdiff_t r = 0;
    for (; r + DEPTHWISE_RESULTS <= p->results; r += DEPTHWISE_RESULTS)
        depthwise_dw_lanes(p, x + r * p->step, dy + r * p->y_step, total,
                           DEPTHWISE_RESULTS, across, along, step);
    for (; r < p->results; r++)
        depthwise_dw_lanes(p, x + r * p->step, dy + r * p->y_step, total, 1, 0, 0, 0);
}

static void depthwise_dw(const fc_depthwise *p, const void *const *rows, const void *dy,
                         void *total)
{
    const real *const *x = (const real *const *)rows;
    if (depthwise_is(p, 3, 3, 1)) depthwise_dw_tiles(p, x, dy, total, 3, 3, 1);
    else if (depthwise_is(p, 3, 3, 2)) depthwise_dw_tiles(p, x, dy, total, 3, 3, 2);
    else if (depthwise_is(p, 0, 5, 1)) depthwise_dw_tiles(p, x, dy, total, 0, 5, 1);
    else if (depthwise_is(p, 0, 5, 2)) depthwise_dw_tiles(p, x, dy, total, 0, 5, 2);
    else if (depthwise_is(p, 0, 7, 1)) depthwise_dw_tiles(p, x, dy, total, 0, 7, 1);
    else depthwise_dw_tiles(p, x, dy, total, 0, 0, 0);
}

/* Vectors i and i + LEN/2, zipped and halved, log2(LEN) times: lane i is the sum of vector i. */
static void lane_sums(ptrdiff_t count, void *y, const void *x)
{
    real *to = y;
    const real *from = x;
    for (ptrdiff_t first = 0; first < count; first += FC_LEN) {
        int n = count - first < FC_LEN ? (int)(count - first) : FC_LEN;
        fcv v[FC_LEN];
#pragma GCC unroll 16
        for (int i = 0; i < FC_LEN; i++)
            v[i] = i < n ? fcv_load(from + (first + i) * FC_LEN) : fcv_zero();
#pragma GCC unroll 4
        for (int half = FC_LEN / 2; half > 0; half /= 2)
#pragma GCC unroll 8
            for (int i = 0; i < half; i++)
                v[i] = fcv_add(fcv_zip_low(v[i], v[i + half]), fcv_zip_high(v[i], v[i + half]));
        if (n == FC_LEN) fcv_store(to + first, v[0]);
        else fcv_store_tail(to + first, v[0], n);
    }
}

/* ---- rows under a stride: every second column apart, and together again ---- */

FC_INLINE void copy_row(ptrdiff_t n, real *y, const real *x)
{
    ptrdiff_t i = 0;
    if (n >= FC_LEN) {
        for (; i + FC_LEN <= n; i += FC_LEN) fcv_store(y + i, fcv_load(x + i));
        if (i < n) fcv_store(y + n - FC_LEN, fcv_load(x + n - FC_LEN));
    } else if (n > 0) {
        fcv_store_tail(y, fcv_load_tail(x, (int)n), (int)n);
    }
}

FC_INLINE void split_row(ptrdiff_t n, real *even, real *odd, const real *x)
{
    for (; n >= 2 * FC_LEN; n -= 2 * FC_LEN, x += 2 * FC_LEN, even += FC_LEN, odd += FC_LEN) {
        fcv low = fcv_load(x), high = fcv_load(x + FC_LEN);
        fcv_store(even, fcv_even(low, high));
        fcv_store(odd, fcv_odd(low, high));
    }
    if (n == 0) return;
    fcv low = fcv_load_part(x, 0, depthwise_clamp(n, FC_LEN));
    fcv high = fcv_load_part(x + FC_LEN, 0, depthwise_clamp(n - FC_LEN, FC_LEN));
    depthwise_store(even, fcv_even(low, high), (n + 1) / 2);
    depthwise_store(odd, fcv_odd(low, high), n / 2);
}

FC_INLINE void join_row(ptrdiff_t n, real *y, const real *even, const real *odd)
{
    for (; n >= 2 * FC_LEN; n -= 2 * FC_LEN, y += 2 * FC_LEN, even += FC_LEN, odd += FC_LEN) {
        fcv low = fcv_load(even), high = fcv_load(odd);
        fcv_store(y, fcv_zip_low(low, high));
        fcv_store(y + FC_LEN, fcv_zip_high(low, high));
    }
    if (n == 0) return;
    fcv low = fcv_load_part(even, 0, (int)(n + 1) / 2);
    fcv high = fcv_load_part(odd, 0, (int)n / 2);
    depthwise_store(y, fcv_zip_low(low, high), n);
    depthwise_store(y + FC_LEN, fcv_zip_high(low, high), n - FC_LEN);
}

/* Column c of x goes to place first + c of a row whose every step-th place is kept together:
 * place v is y[v % step · y_phase + v / step]. */
static void split_columns(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t step, ptrdiff_t first,
                          void *y, ptrdiff_t y_row, ptrdiff_t y_phase, const void *x,
                          ptrdiff_t x_row, ptrdiff_t x_column)
{
    real *to = y;
    const real *from = x;
    for (ptrdiff_t r = 0; r < rows; r++, to += y_row, from += x_row) {
        if (step == 1 && x_column == 1) {
            copy_row(columns, to + first, from);
        } else if (step == 2 && x_column == 1) {
            split_row(columns, to + first % 2 * y_phase + first / 2,
                      to + (first + 1) % 2 * y_phase + (first + 1) / 2, from);
        } else {
            ptrdiff_t phase = first % step, at = first / step;
            for (ptrdiff_t c = 0; c < columns; c++) {
                to[phase * y_phase + at] = from[c * x_column];
                if (++phase == step) phase = 0, at++;
            }
        }
    }
}

/* y[r][2i] = even[r][i], y[r][2i + 1] = odd[r][i] */
static void join_columns(ptrdiff_t rows, ptrdiff_t columns, void *y, ptrdiff_t y_row,
                         const void *even, const void *odd, ptrdiff_t x_row)
{
    for (ptrdiff_t r = 0; r < rows; r++)
        join_row(columns, (real *)y + r * y_row, (const real *)even + r * x_row,
                 (const real *)odd + r * x_row);
}
