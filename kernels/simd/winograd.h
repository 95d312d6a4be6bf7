/* Winograd's transforms, lanes being channels (or filters).
 *
 * An FIR of r taps with m = n + 1 - r results at once, by n products (Winograd 1980; Lavin and
 * Gray 2016 for convolutions): with polynomials evaluated at the points 0, ±q…, ∞,
 *
 *     results = Aᵀ [(G · taps) ⊙ (Bᵀ · data)],    in two dimensions along both axes.
 *
 * Bᵀ depends on the points only, so 6 points serve F(4,3), F(2,5) and, for dw, F(3,4).  Points
 * come in pairs ±q: every row is an even and an odd part, added and subtracted.  Elements are in
 * the order 0, +1, -1, +2, -2, +½, -½, ∞; n is 4, 6 or 8, or 7 (F(5,3)): then ½ is alone.
 */

static const real fc_point[3] = {1, 2, (real)0.5}; /* q of the pairs */

/* Π (x² - q²) over all pairs, by powers of x²: index by n / 2 - 2 */
static const real fc_all[3][4] = {{-1, 1}, {4, -5, 1}, {-1, (real)5.25, (real)-5.25, 1}};

/* the same without pair k */
static const real fc_others[3][3][3] = {
    {{1}},
    {{-4, 1}, {-1, 1}},
    {{1, (real)-4.25, 1}, {(real)0.25, (real)-1.25, 1}, {4, -5, 1}},
};

/* 1 / Π (p - other points) for p = 0 and for each pair */
static const real fc_scale[3][4] = {
    {-1, (real)0.5},
    {(real)0.25, (real)(-1 / 6.0), (real)(1 / 24.0)},
    {-1, (real)(-2 / 9.0), (real)(1 / 90.0), (real)(32 / 45.0)},
};

/* Σ c[i] · d[2i] over `terms` even (or, from d + 1, odd) places; the last c is 1 */
FC_INLINE fcv winograd_terms(const real *c, const fcv *d, const int terms)
{
    fcv sum = d[2 * (terms - 1)];
#pragma GCC unroll 4
    for (int i = 0; i < terms - 1; i++) sum = fcv_fma(fcv_set1(c[i]), d[2 * i], sum);
    return sum;
}

/* t = Bᵀ d, of points in pairs */
FC_INLINE void winograd_data_pairs(const int n, const fcv *d, fcv *t)
{
    const int pairs = n / 2 - 1;
    t[0] = winograd_terms(fc_all[pairs - 1], d, pairs + 1);
    t[n - 1] = winograd_terms(fc_all[pairs - 1], d + 1, pairs + 1);
#pragma GCC unroll 3
    for (int k = 0; k < pairs; k++) {
        fcv even = winograd_terms(fc_others[pairs - 1][k], d + 2, pairs);
        fcv odd = winograd_terms(fc_others[pairs - 1][k], d + 1, pairs);
        if (k) odd = fcv_mul(fcv_set1(fc_point[k]), odd);
        t[2 * k + 1] = fcv_add(even, odd);
        t[2 * k + 2] = fcv_sub(even, odd);
    }
}

/* t = Bᵀ d.  Where ½ is alone, the rows of all other points have the factor x - ½: they are those
 * without it, of d[i + 1] - ½·d[i].  Its own row is that of ∞ without it. */
FC_INLINE void winograd_data(const int n, const fcv *d, fcv *t)
{
    if (n % 2 == 0) {
        winograd_data_pairs(n, d, t);
        return;
    }
    fcv rest[8];
#pragma GCC unroll 8
    for (int i = 0; i < n - 1; i++) rest[i] = fcv_fma(fcv_set1((real)-0.5), d[i], d[i + 1]);
    winograd_data_pairs(n - 1, rest, t);
    t[n - 1] = t[n - 2];
    t[n - 2] = winograd_terms(fc_all[n / 2 - 2], d + 1, n / 2);
}

FC_INLINE real winograd_power(const int k, int i)
{
    real power = 1;
    while (i--) power *= fc_point[k];
    return power;
}

/* t = G g, of r taps, for points in pairs */
FC_INLINE void winograd_taps_pairs(const int n, const int r, const fcv *g, fcv *t)
{
    const int pairs = n / 2 - 1;
    t[0] = fcv_mul(fcv_set1(fc_scale[pairs - 1][0]), g[0]);
    t[n - 1] = g[r - 1];
#pragma GCC unroll 3
    for (int k = 0; k < pairs; k++) {
        const real scale = fc_scale[pairs - 1][k + 1];
        fcv even = fcv_mul(fcv_set1(scale), g[0]);
        fcv odd = fcv_mul(fcv_set1(scale * fc_point[k]), g[1]);
#pragma GCC unroll 6
        for (int i = 2; i < r; i++) {
            fcv c = fcv_set1(scale * winograd_power(k, i));
            if (i % 2) odd = fcv_fma(c, g[i], odd);
            else even = fcv_fma(c, g[i], even);
        }
        t[2 * k + 1] = fcv_add(even, odd);
        t[2 * k + 2] = fcv_sub(even, odd);
    }
}

/* 1 / (p - ½) for p = 0, +1, -1, +2, -2: what ½ adds to their scale; and its own scale */
static const real fc_beside_half[5] = {-2, 2, (real)(-2 / 3.0), (real)(2 / 3.0), (real)-0.4};
static const real fc_half_scale = (real)(32 / 45.0);

/* t = G g, of r taps */
FC_INLINE void winograd_taps(const int n, const int r, const fcv *g, fcv *t)
{
    if (n % 2 == 0) {
        winograd_taps_pairs(n, r, g, t);
        return;
    }
    winograd_taps_pairs(n - 1, r, g, t);
    t[n - 1] = t[n - 2];
#pragma GCC unroll 5
    for (int k = 0; k < n - 2; k++) t[k] = fcv_mul(fcv_set1(fc_beside_half[k]), t[k]);
    t[n - 2] = fcv_mul(fcv_set1(fc_half_scale), g[0]);
#pragma GCC unroll 6
    for (int i = 1; i < r; i++)
        t[n - 2] = fcv_fma(fcv_set1(fc_half_scale * winograd_power(2, i)), g[i], t[n - 2]);
}

/* y = Aᵀ t, m results */
FC_INLINE void winograd_sums(const int n, const int m, const fcv *t, fcv *y)
{
    const int pairs = n / 2 - 1;
    fcv sum[3], difference[3];
#pragma GCC unroll 3
    for (int k = 0; k < pairs; k++) {
        sum[k] = fcv_add(t[2 * k + 1], t[2 * k + 2]);
        difference[k] = fcv_sub(t[2 * k + 1], t[2 * k + 2]);
    }
#pragma GCC unroll 6
    for (int i = 0; i < m; i++) {
        const fcv *part = i % 2 ? difference : sum;
        fcv total = part[0];
#pragma GCC unroll 2
        for (int k = 1; k < pairs; k++)
            total = i ? fcv_fma(fcv_set1(winograd_power(k, i)), part[k], total)
                      : fcv_add(part[k], total);
        if (n % 2) total = fcv_fma(fcv_set1(winograd_power(2, i)), t[n - 2], total);
        if (i == 0) total = fcv_add(t[0], total);
        if (i == m - 1) total = fcv_add(t[n - 1], total);
        y[i] = total;
    }
}

/* r × r values, channels in lanes, to n × n elements: of data (r == n) or of a filter */
FC_INLINE void winograd_spread(const int n, const int r, const real *x, ptrdiff_t x_row,
                               ptrdiff_t x_column, real *v, ptrdiff_t v_element,
                               const int channels)
{
    fcv half[8][8];
#pragma GCC unroll 1
    for (int j = 0; j < r; j++, x += x_column) {
        fcv d[8], t[8];
        const real *at = x;
#pragma GCC unroll 8
        for (int i = 0; i < r; i++, at += x_row)
            d[i] = channels == FC_LEN ? fcv_load(at) : fcv_load_tail(at, channels);
        if (r == n) winograd_data(n, d, t);
        else winograd_taps(n, r, d, t);
#pragma GCC unroll 8
        for (int i = 0; i < n; i++) half[i][j] = t[i];
    }
#pragma GCC unroll 1
    for (int i = 0; i < n; i++) {
        fcv t[8];
        if (r == n) winograd_data(n, half[i], t);
        else winograd_taps(n, r, half[i], t);
#pragma GCC unroll 8
        for (int j = 0; j < n; j++, v += v_element) fcv_store(v, t[j]);
    }
}

FC_INLINE void winograd_channels(const int n, const int r, ptrdiff_t channels, const real *x,
                                 ptrdiff_t x_row, ptrdiff_t x_column, real *v,
                                 ptrdiff_t v_element)
{
    ptrdiff_t c = 0;
    for (; c + FC_LEN <= channels; c += FC_LEN)
        winograd_spread(n, r, x + c, x_row, x_column, v + c, v_element, FC_LEN);
    if (c < channels)
        winograd_spread(n, r, x + c, x_row, x_column, v + c, v_element, (int)(channels - c));
}

static void winograd_in(int n, int r, ptrdiff_t channels, const void *x, ptrdiff_t x_row,
                        ptrdiff_t x_column, void *v, ptrdiff_t v_element)
{
#define FC_CASE(N, R) \
    if (n == N && r == R) winograd_channels(N, R, channels, x, x_row, x_column, v, v_element)
    FC_CASE(4, 4);
    FC_CASE(6, 6);
    FC_CASE(7, 7);
    FC_CASE(8, 8);
    FC_CASE(6, 2);
    FC_CASE(4, 3);
    FC_CASE(6, 3);
    FC_CASE(7, 3);
    FC_CASE(8, 3);
    FC_CASE(6, 5);
    FC_CASE(8, 5);
    FC_CASE(6, 4);
    FC_CASE(8, 6);
    FC_CASE(8, 4);
#undef FC_CASE
}

FC_INLINE void winograd_gather(const int n, const int m, const fc_winograd *p, const real *s,
                               real *y)
{
    const real *bias = p->bias;
    for (int v = 0; v * FC_LEN < p->filters; v++, s += FC_LEN, y += FC_LEN) {
        const int left = p->filters - v * FC_LEN;
        fcv half[6][8];
        for (int j = 0; j < n; j++) {
            fcv t[8], sums[6];
#pragma GCC unroll 8
            for (int i = 0; i < n; i++) t[i] = fcv_load(s + (i * n + j) * p->s_element);
            winograd_sums(n, m, t, sums);
#pragma GCC unroll 6
            for (int i = 0; i < m; i++) half[i][j] = sums[i];
        }
        fcv b = bias ? fcv_load(bias + v * FC_LEN) : fcv_zero();
        for (int i = 0; i < p->rows; i++) {
            fcv sums[6];
            winograd_sums(n, m, half[i], sums);
#pragma GCC unroll 6
            for (int j = 0; j < m; j++) {
                if (j >= p->columns) break;
                fcv value = fcv_add(sums[j], b);
                if (p->relu) value = fcv_max(fcv_zero(), value); /* NaN stays NaN */
                real *to = y + i * p->y_row + j * p->y_column;
                if (left >= FC_LEN) fcv_store(to, value);
                else fcv_store_tail(to, value, left);
            }
        }
    }
}

static void winograd_out(const fc_winograd *p, const void *s, void *y)
{
#define FC_CASE(N, M) \
    if (p->n == N && p->m == M) winograd_gather(N, M, p, s, y)
    FC_CASE(4, 2);
    FC_CASE(6, 4);
    FC_CASE(7, 5);
    FC_CASE(8, 6);
    FC_CASE(6, 5);
    FC_CASE(6, 2);
    FC_CASE(8, 4);
    FC_CASE(6, 3);
    FC_CASE(8, 3);
    FC_CASE(8, 5);
#undef FC_CASE
}
