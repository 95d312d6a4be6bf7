/* Depthwise convolution's dw: the totals of a window's taps, a vector each, over the tiles of
 * depthwise.h, results and lanes.
 */

FC_INLINE void depthwise_dw_row(const real *const *x, ptrdiff_t at, fc_reach reach,
                                const fcv *dy, fcv *sum, const int results, const int pair,
                                const int along, const int step, const int stride,
                                const int whole)
{
#pragma GCC unroll 24
    for (int u = 0; u < (results - 1) * step + along; u++) {
        fcv v[2];
        depthwise_read(v, x[u] + at, reach, pair, stride, whole);
#pragma GCC unroll 14
        for (int i = 0; i < pair * along; i++) {
            int r = u - i % along;
            if (r >= 0 && r % step == 0 && r / step < results)
                sum[i] = fcv_fma(v[i / along], dy[r / step], sum[i]);
        }
    }
}

FC_INLINE void depthwise_dw_any_row(const fc_depthwise *p, const real *const *x, ptrdiff_t at,
                                    fc_reach reach, const fcv *dy, real *total,
                                    const int results, const int stride, const int whole)
{
    for (ptrdiff_t b = 0; b < p->along; b++, x += p->dilation, total += p->w_along) {
        fcv sum = fcv_load(total), v;
#pragma GCC unroll 7
        for (int r = 0; r < results; r++) {
            depthwise_read(&v, x[r * p->step] + at, reach, 1, stride, whole);
            sum = fcv_fma(v, dy[r], sum);
        }
        fcv_store(total, sum);
    }
}

/* Totals of taps along, `total`'s first one on. */
FC_INLINE void depthwise_load_totals(fcv *sum, const fc_depthwise *p, const real *total,
                                     const int pair, const int along)
{
#pragma GCC unroll 14
    for (int i = 0; i < pair * along; i++)
        sum[i] = fcv_load(total + i / along * p->w_across + i % along * p->w_along);
}

FC_INLINE void depthwise_store_totals(const fcv *sum, const fc_depthwise *p, real *total,
                                      const int pair, const int along)
{
#pragma GCC unroll 14
    for (int i = 0; i < pair * along; i++)
        fcv_store(total + i / along * p->w_across + i % along * p->w_along, sum[i]);
}

/* `window`: the totals of all taps, if all lanes add to the same, and `across` not 0. */
FC_INLINE void depthwise_dw_tile(const fc_depthwise *p, const real *const *x, const real *dy,
                                 real *total, ptrdiff_t at, int n, fcv *window,
                                 const int results, const int across, const int along,
                                 const int step, const int stride, const int whole)
{
    fcv grad[DEPTHWISE_RESULTS];
#pragma GCC unroll 7
    for (int r = 0; r < results; r++)
        grad[r] = depthwise_weight(dy + r * p->y_step + at, n, 1);
    const ptrdiff_t taps = across ? across : p->across;
    const int pair = depthwise_shared(along, stride);
#pragma GCC unroll 3
    for (ptrdiff_t a = 0; a < taps; a += pair) {
        const real *const *from = x + a * p->x_across;
        const ptrdiff_t column = at * stride + p->offset[a];
        const fc_reach reach = depthwise_reach(p, column, n, stride, whole);
        real *to = total + a * p->w_across + at * p->w_lane;
        fcv own[2 * DEPTHWISE_ALONG], *sum = window ? window + a * along : own;
        if (!along) {
            depthwise_dw_any_row(p, from, column, reach, grad, to, results, stride, whole);
        } else if (pair == 2 && a + 1 < taps) {
            if (!window) depthwise_load_totals(sum, p, to, 2, along);
            depthwise_dw_row(from, column, reach, grad, sum, results, 2, along, step, 2, whole);
            if (!window) depthwise_store_totals(sum, p, to, 2, along);
        } else {
            if (!window) depthwise_load_totals(sum, p, to, 1, along);
            depthwise_dw_row(from, column, reach, grad, sum, results, 1, along, step, stride,
                             whole);
            if (!window) depthwise_store_totals(sum, p, to, 1, along);
        }
    }
}

FC_INLINE void depthwise_dw_lanes(const fc_depthwise *p, const real *const *x,
                                  const real *dy, real *total, fcv *window, const int results,
                                  const int across, const int along, const int step,
                                  const int stride)
{
    for (ptrdiff_t at = 0; at < p->lanes; at += FC_LEN) {
        int n = p->lanes - at < FC_LEN ? (int)(p->lanes - at) : FC_LEN;
        if (!(window && FC_MASKED) && n == FC_LEN && depthwise_inside(p, at, stride))
            depthwise_dw_tile(p, x, dy, total, at, FC_LEN, window, results, across, along, step,
                              stride, 1);
        else
            depthwise_dw_tile(p, x, dy, total, at, n, window, results, across, along, step,
                              stride, 0);
    }
}

/* Only results that exist: what lies beside them, times 0, might be NaN. */
FC_INLINE void depthwise_dw_tiles(const fc_depthwise *p, const real *const *x, const real *dy,
                                  real *total, const int across, const int along,
                                  const int step, const int stride, const int by_lane)
{
    fcv totals[3 * DEPTHWISE_ALONG];
    fcv *window = across && !by_lane ? totals : 0;
    ptrdiff_t r = 0;
    if (window)
#pragma GCC unroll 3
        for (int a = 0; a < across; a++)
            depthwise_load_totals(totals + a * along, p, total + a * p->w_across, 1, along);
    for (; r + DEPTHWISE_RESULTS <= p->results; r += DEPTHWISE_RESULTS)
        depthwise_dw_lanes(p, x + r * p->step, dy + r * p->y_step, total, window,
                           DEPTHWISE_RESULTS, across, along, step, stride);
    if (window)
#pragma GCC unroll 3
        for (int a = 0; a < across; a++)
            depthwise_store_totals(totals + a * along, p, total + a * p->w_across, 1, along);
    for (; r < p->results; r++)
        depthwise_dw_lanes(p, x + r * p->step, dy + r * p->y_step, total, 0, 1, 0, 0, 0, stride);
}

/* As of y: a window of 3 × 3 for either kind of lanes, others for both. */
static void depthwise_dw(const fc_depthwise *p, const void *const *rows, const void *dy,
                         void *total)
{
    const real *const *x = (const real *const *)rows;
    /* (of such rows AVX2 makes 0.83 to 0.88 of the speed if totals are kept in registers) */
    const int narrow = !FC_MASKED && p->lanes < 3 * FC_LEN;
    if (p->lane_step == 2) {
        if (depthwise_is(p, 3, 3, 2)) depthwise_dw_tiles(p, x, dy, total, 3, 3, 2, 2, !FC_MASKED);
        else if (depthwise_is(p, 0, 5, 2)) depthwise_dw_tiles(p, x, dy, total, 0, 5, 2, 2, 0);
        else depthwise_dw_tiles(p, x, dy, total, 0, 0, 0, 2, 0);
    } else if (depthwise_is(p, 3, 3, 1)) {
        if (p->w_lane || narrow) depthwise_dw_tiles(p, x, dy, total, 3, 3, 1, 1, 1);
        else depthwise_dw_tiles(p, x, dy, total, 3, 3, 1, 1, 0);
    } else if (depthwise_is(p, 3, 3, 2)) {
        if (p->w_lane) depthwise_dw_tiles(p, x, dy, total, 3, 3, 2, 1, 1);
        else depthwise_dw_tiles(p, x, dy, total, 3, 3, 2, 1, 0);
    } else if (depthwise_is(p, 0, 5, 1)) depthwise_dw_tiles(p, x, dy, total, 0, 5, 1, 1, 1);
    else if (depthwise_is(p, 0, 5, 2)) depthwise_dw_tiles(p, x, dy, total, 0, 5, 2, 1, 1);
    else if (depthwise_is(p, 0, 7, 1)) depthwise_dw_tiles(p, x, dy, total, 0, 7, 1, 1, 1);
    else depthwise_dw_tiles(p, x, dy, total, 0, 0, 0, 1, 1);
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
