/* Depthwise convolution: lanes are columns, or channels; no product of matrices is left.
 *
 * A tile is DEPTHWISE_RESULTS results of one lane vector: rows where lanes are columns,
 * columns where lanes are channels.  Neighbouring results share most of what they read, so
 * for the usual windows each vector is loaded once for all results of the tile that it
 * serves: 9 loads and 3 weights for 21 FMAs of a 3-tap window.  7 divides 224, 112, 56 … 7.
 */
enum { DEPTHWISE_RESULTS = 7, DEPTHWISE_ALONG = 7 };

/* Which numbers of a vector are read: all of them if `whole`, else [from, to). */
typedef struct {
    int from, to;
} fc_part;

/* What the lanes read, under a stride of 2 from two vectors. */
typedef struct {
    fc_part low, high;
} fc_reach;

FC_INLINE int depthwise_clamp(ptrdiff_t i, int most)
{
    return i < 0 ? 0 : i > most ? most : (int)i;
}

/* Of n numbers from `column` on of x's rows, those inside of them. */
FC_INLINE fc_part depthwise_part(const fc_depthwise *p, ptrdiff_t column, int n)
{
    fc_part part = {depthwise_clamp(p->low - column, n), depthwise_clamp(p->high - column, n)};
    return part;
}

/* Of lanes that read every stride-th number from `column` on; no lane beside them reads any, for
 * it might be NaN. */
FC_INLINE fc_reach depthwise_reach(const fc_depthwise *p, ptrdiff_t column, int n,
                                   const int stride, const int whole)
{
    fc_reach reach = {{0, 0}, {0, 0}};
    if (whole) return reach;
    reach.low = depthwise_part(p, column, depthwise_clamp(n * stride, FC_LEN));
    reach.high = depthwise_part(p, column + FC_LEN, depthwise_clamp(n * stride - FC_LEN, FC_LEN));
    return reach;
}

FC_INLINE fcv depthwise_load(const real *x, fc_part part, const int whole)
{
    return whole ? fcv_load(x) : fcv_load_part(x, part.from, part.to);
}

/* What the lanes read for a tap, and under a stride of 2 for its neighbour, if `taps` is 2. */
FC_INLINE void depthwise_read(fcv *v, const real *x, fc_reach reach, const int taps,
                              const int stride, const int whole)
{
    v[0] = depthwise_load(x, reach.low, whole);
    if (stride == 1) return;
    fcv low = v[0], high = depthwise_load(x + FC_LEN, reach.high, whole);
    v[0] = fcv_even(low, high);
    if (taps == 2) v[1] = fcv_odd(low, high);
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
FC_INLINE int depthwise_inside(const fc_depthwise *p, ptrdiff_t at, const int stride)
{
    return at * stride + p->least_offset >= p->low
           && (at + FC_LEN) * stride + p->most_offset <= p->high;
}

/* Neighbours across that share what they read: as many as have registers. */
FC_INLINE int depthwise_shared(const int along, const int stride)
{
    return stride == 2 && along > 0 && (along <= 3 || FC_MASKED) ? 2 : 1;
}

/* The weights of `pair` neighbours across, with all that are along. */
FC_INLINE void depthwise_taps(fcv *tap, const fc_depthwise *p, const real *w, int n,
                              const int pair, const int along, const int by_lane)
{
#pragma GCC unroll 14
    for (int i = 0; i < pair * along; i++)
        tap[i] = depthwise_weight(w + i / along * p->w_across + i % along * p->w_along, n,
                                  by_lane);
}

/* The taps along one row of pointers, of `pair` neighbours across: each vector is read once. */
FC_INLINE void depthwise_row(const real *const *x, ptrdiff_t at, fc_reach reach, const fcv *tap,
                             fcv *sum, const int pair, const int along, const int step,
                             const int stride, const int whole)
{
#pragma GCC unroll 24
    for (int u = 0; u < (DEPTHWISE_RESULTS - 1) * step + along; u++) {
        fcv v[2];
        depthwise_read(v, x[u] + at, reach, pair, stride, whole);
#pragma GCC unroll 14
        for (int i = 0; i < pair * along; i++) {
            int r = u - i % along;
            if (r >= 0 && r % step == 0 && r / step < DEPTHWISE_RESULTS)
                sum[r / step] = fcv_fma(v[i / along], tap[i], sum[r / step]);
        }
    }
}

/* Any number of taps along it, at any distance: each reads for itself. */
FC_INLINE void depthwise_any_row(const fc_depthwise *p, const real *const *x, ptrdiff_t at,
                                 fc_reach reach, const real *w, int n, fcv *sum,
                                 const int stride, const int by_lane, const int whole)
{
    for (ptrdiff_t b = 0; b < p->along; b++, x += p->dilation) {
        fcv tap = depthwise_weight(w + b * p->w_along, n, by_lane), v;
#pragma GCC unroll 7
        for (int r = 0; r < DEPTHWISE_RESULTS; r++) {
            depthwise_read(&v, x[r * p->step] + at, reach, 1, stride, whole);
            sum[r] = fcv_fma(v, tap, sum[r]);
        }
    }
}

FC_INLINE void depthwise_write(real *y, ptrdiff_t y_step, const fcv *sum, int results, int n)
{
    if (n == FC_LEN) {
#pragma GCC unroll 7
        for (int r = 0; r < DEPTHWISE_RESULTS; r++)
            if (r < results) fcv_store(y + r * y_step, sum[r]);
    } else {
#pragma GCC unroll 7
        for (int r = 0; r < DEPTHWISE_RESULTS; r++)
            if (r < results) fcv_store_tail(y + r * y_step, sum[r], n);
    }
}

/* `window`: the weights of all taps, if they are the same for all lanes, and `across` not 0. */
FC_INLINE void depthwise_tile(fcv *sum, const fc_depthwise *p, const real *const *x, ptrdiff_t at,
                              int n, fcv *window, const int across, const int along,
                              const int step, const int stride, const int by_lane,
                              const int whole)
{
    const ptrdiff_t lane = by_lane ? at : 0;
    fcv first = fcv_zero();
    if (p->bias) first = depthwise_weight((const real *)p->bias + lane, n, by_lane);
#pragma GCC unroll 7
    for (int r = 0; r < DEPTHWISE_RESULTS; r++) sum[r] = first;
    const ptrdiff_t sources = across ? 1 : p->sources, taps = across ? across : p->across;
    const int pair = depthwise_shared(along, stride);
    for (ptrdiff_t s = 0; s < sources; s++)
#pragma GCC unroll 3
        for (ptrdiff_t a = 0; a < taps; a += pair) {
            const real *const *from = x + s * p->x_source + a * p->x_across;
            const real *w = (const real *)p->w + lane + s * p->w_source + a * p->w_across;
            const ptrdiff_t column = at * stride + p->offset[a];
            const fc_reach reach = depthwise_reach(p, column, n, stride, whole);
            fcv own[2 * DEPTHWISE_ALONG], *tap = window ? window + a * along : own;
            if (!along) {
                depthwise_any_row(p, from, column, reach, w, n, sum, stride, by_lane, whole);
            } else if (pair == 2 && a + 1 < taps) {
                if (!window) depthwise_taps(tap, p, w, n, 2, along, by_lane);
                depthwise_row(from, column, reach, tap, sum, 2, along, step, 2, whole);
            } else {
                if (!window) depthwise_taps(tap, p, w, n, 1, along, by_lane);
                depthwise_row(from, column, reach, tap, sum, 1, along, step, stride, whole);
            }
        }
    if (p->relu)
#pragma GCC unroll 7
        for (int r = 0; r < DEPTHWISE_RESULTS; r++)
            sum[r] = fcv_max(fcv_zero(), sum[r]); /* NaN stays NaN */
}

/* The last vector, where it would reach beyond x, overlaps the one before it: its lanes get
 * the same sums twice. */
FC_INLINE void depthwise_tiles(const fc_depthwise *p, const real *const *x, real *y,
                               const int across, const int along, const int step,
                               const int stride, const int by_lane)
{
    const int n = p->lanes < FC_LEN ? (int)p->lanes : FC_LEN;
    const int kept = across && !by_lane, masked = !by_lane && FC_MASKED;
    fcv taps[3 * DEPTHWISE_ALONG];
    fcv *window = kept ? taps : 0;
    if (kept)
#pragma GCC unroll 3
        for (int a = 0; a < across; a++)
            depthwise_taps(taps + a * along, p, (const real *)p->w + a * p->w_across, n, 1, along,
                           0);
    for (ptrdiff_t r = 0; r < p->results; r += DEPTHWISE_RESULTS) {
        ptrdiff_t left = p->results - r;
        int results = left < DEPTHWISE_RESULTS ? (int)left : DEPTHWISE_RESULTS;
        for (ptrdiff_t first = 0; first < p->lanes; first += FC_LEN) {
            ptrdiff_t left = p->lanes - first, at = first;
            int here = left < n ? (int)left : n, whole = 0;
            fcv sum[DEPTHWISE_RESULTS];
            if (!masked) whole = !by_lane && depthwise_inside(p, first, stride);
            if (!masked && !whole) {
                at = left < n ? p->lanes - n : first, here = n;
                whole = n == FC_LEN && depthwise_inside(p, at, stride);
            }
            if (whole)
                depthwise_tile(sum, p, x, at, here, window, across, along, step, stride, by_lane,
                               1);
            else
                depthwise_tile(sum, p, x, at, here, window, across, along, step, stride, by_lane,
                               0);
            depthwise_write(y + at, p->y_step, sum, results, here);
        }
        x += DEPTHWISE_RESULTS * p->step;
        y += DEPTHWISE_RESULTS * p->y_step;
    }
}

FC_INLINE int depthwise_is(const fc_depthwise *p, int across, int along, int step)
{
    if (FC_LEN == 1) return 0; /* scalar lanes are never chosen: 0.16 MB of the wheel saved */
    if (across && (p->across != across || p->sources != 1)) return 0;
    if (p->lane_step == 2 && p->most_offset - p->least_offset >= p->across) return 0;
    return p->along == along && p->step == step && p->dilation == 1;
}

FC_INLINE void depthwise_windows(const fc_depthwise *p, const real *const *x, real *y,
                                 const int by_lane)
{
    if (depthwise_is(p, 3, 3, 1)) depthwise_tiles(p, x, y, 3, 3, 1, 1, by_lane);
    else if (depthwise_is(p, 3, 3, 2)) depthwise_tiles(p, x, y, 3, 3, 2, 1, by_lane);
    else if (by_lane && depthwise_is(p, 1, 1, 1)) depthwise_tiles(p, x, y, 1, 1, 1, 1, 1);
    else if (by_lane && depthwise_is(p, 2, 1, 1)) depthwise_tiles(p, x, y, 2, 1, 1, 1, 1);
    else if (by_lane && depthwise_is(p, 1, 2, 1)) depthwise_tiles(p, x, y, 1, 2, 1, 1, 1);
    else if (by_lane && depthwise_is(p, 2, 2, 1)) depthwise_tiles(p, x, y, 2, 2, 1, 1, 1);
    else if (depthwise_is(p, 0, 1, 1)) depthwise_tiles(p, x, y, 0, 1, 1, 1, by_lane);
    else if (depthwise_is(p, 0, 2, 1)) depthwise_tiles(p, x, y, 0, 2, 1, 1, by_lane);
    else if (depthwise_is(p, 0, 3, 1)) depthwise_tiles(p, x, y, 0, 3, 1, 1, by_lane);
    else if (depthwise_is(p, 0, 5, 1)) depthwise_tiles(p, x, y, 0, 5, 1, 1, by_lane);
    else if (depthwise_is(p, 0, 5, 2)) depthwise_tiles(p, x, y, 0, 5, 2, 1, by_lane);
    else if (depthwise_is(p, 0, 7, 1)) depthwise_tiles(p, x, y, 0, 7, 1, 1, by_lane);
    else depthwise_tiles(p, x, y, 0, 0, 0, 1, by_lane);
}

/* Every second column: neighbouring taps share what they read. */
FC_INLINE void depthwise_strided(const fc_depthwise *p, const real *const *x, real *y)
{
    if (depthwise_is(p, 3, 3, 2)) depthwise_tiles(p, x, y, 3, 3, 2, 2, 0);
    else if (depthwise_is(p, 0, 5, 2)) depthwise_tiles(p, x, y, 0, 5, 2, 2, 0);
    else depthwise_tiles(p, x, y, 0, 0, 0, 2, 0);
}

static void depthwise(const fc_depthwise *p, const void *const *x, void *y)
{
    if (p->lane_step == 2) depthwise_strided(p, (const real *const *)x, y);
    else if (p->w_lane) depthwise_windows(p, (const real *const *)x, y, 1);
    else depthwise_windows(p, (const real *const *)x, y, 0);
}

/* Results of two phases, by turns: row r of y is even[0], odd[0], even[1] … */
FC_INLINE void depthwise_zip(real *y, ptrdiff_t y_step, const fcv *even, const fcv *odd,
                             int results, ptrdiff_t columns)
{
#pragma GCC unroll 7
    for (int r = 0; r < DEPTHWISE_RESULTS; r++, y += y_step)
        if (r < results) {
            depthwise_store(y, fcv_zip_low(even[r], odd[r]), columns);
            depthwise_store(y + FC_LEN, fcv_zip_high(even[r], odd[r]), columns - FC_LEN);
        }
}

FC_INLINE void depthwise_pairs(const fc_depthwise *p, const fc_depthwise *q, ptrdiff_t columns,
                               const real *const *x, real *y, const int along)
{
    for (ptrdiff_t r = 0; r < p->results; r += DEPTHWISE_RESULTS) {
        ptrdiff_t left = p->results - r;
        int results = left < DEPTHWISE_RESULTS ? (int)left : DEPTHWISE_RESULTS;
        for (ptrdiff_t at = 0; 2 * at < columns; at += FC_LEN) {
            int n = depthwise_clamp((columns + 1) / 2 - at, FC_LEN);
            fcv even[DEPTHWISE_RESULTS], odd[DEPTHWISE_RESULTS];
            if (!FC_MASKED && depthwise_inside(p, at, 1) && depthwise_inside(q, at, 1)) {
                depthwise_tile(even, p, x, at, n, 0, 0, along, 1, 1, 0, 1);
                depthwise_tile(odd, q, x, at, n, 0, 0, along, 1, 1, 0, 1);
            } else {
                depthwise_tile(even, p, x, at, n, 0, 0, along, 1, 1, 0, 0);
                depthwise_tile(odd, q, x, at, n, 0, 0, along, 1, 1, 0, 0);
            }
            depthwise_zip(y + 2 * at, p->y_step, even, odd, results, columns - 2 * at);
        }
        x += DEPTHWISE_RESULTS * p->step;
        y += DEPTHWISE_RESULTS * p->y_step;
    }
}

static void depthwise_pair(const fc_depthwise *even, const fc_depthwise *odd, ptrdiff_t columns,
                           const void *const *rows, void *y)
{
    const real *const *x = (const real *const *)rows;
    if (depthwise_is(even, 0, 1, 1)) depthwise_pairs(even, odd, columns, x, y, 1);
    else if (depthwise_is(even, 0, 2, 1)) depthwise_pairs(even, odd, columns, x, y, 2);
    else if (depthwise_is(even, 0, 3, 1)) depthwise_pairs(even, odd, columns, x, y, 3);
    else depthwise_pairs(even, odd, columns, x, y, 0);
}
