/* The one micro-kernel: rows times vectors of columns, sums in registers.
 *
 * Rows are anywhere (a pointer each), so a tile of pixels may run across the rows of a
 * plane and across images.  Rows from `rows` on repeat an earlier pointer: they are
 * computed and not stored, so there is one loop and no masks in it.
 *
 * Seen in the assembly (GCC 12): 24 FMAs, 3 loads and 8 broadcasts per step for AVX-512,
 * 12, 2 and 6 for AVX2, no spills.  Eight steps in a row: the loop's own three operations for
 * each cost nothing while a core is alone, and 7 % where it shares its front end with a second
 * thread (1×1, Zen 3).
 */

FC_INLINE int product_columns(const fc_product *p, int v)
{
    int left = p->columns - v * p->each;
    return left < p->each ? left : p->each;
}

FC_INLINE fcv product_load(const fc_product *p, const real *c, int v, const int whole)
{
    int n = whole ? FC_LEN : product_columns(p, v);
    c += v * p->c_vector;
    return n >= FC_LEN ? fcv_load(c) : n > 0 ? fcv_load_tail(c, n) : fcv_zero();
}

FC_INLINE void product_store(const fc_product *p, real *c, int v, fcv sum, const int whole)
{
    int n = whole ? FC_LEN : product_columns(p, v);
    c += v * p->c_vector;
    if (n >= FC_LEN) fcv_store(c, sum);
    else if (n > 0) fcv_store_tail(c, sum, n);
}

/* Sums that go on from what c holds, so that a depth in parts has the sums of one in a piece. */
FC_INLINE void product_begin(const fc_product *p, int rows, real *const *c, fcv (*sum)[FC_VECS],
                             const int most, const int vecs, const int whole)
{
#pragma GCC unroll 8
    for (int m = 0; m < most; m++)
#pragma GCC unroll 3
        for (int v = 0; v < vecs; v++) sum[m][v] = product_load(p, c[m < rows ? m : 0], v, whole);
}

/* Whole vectors or not is decided once, not 24 times: a first layer's depth is 27, and
 * deciding for each sum took a third of its time. */
FC_INLINE void product_finish(const fc_product *p, int rows, real *const *c,
                              fcv (*sum)[FC_VECS], const int most, const int vecs, const int whole)
{
    const real *bias = p->bias;
#define EACH_SUM(VALUE)                                                       \
    _Pragma("GCC unroll 8") for (int m = 0; m < most; m++)                    \
        _Pragma("GCC unroll 3") for (int v = 0; v < vecs; v++) sum[m][v] = VALUE
    if (bias && !p->accumulate && p->by_row)
        EACH_SUM(fcv_add(fcv_set1(bias[m < rows ? m : 0]), sum[m][v]));
    else if (bias && !p->accumulate)
        EACH_SUM(fcv_add(fcv_load(bias + v * FC_LEN), sum[m][v]));
    if (p->relu) EACH_SUM(fcv_max(fcv_zero(), sum[m][v])); /* NaN stays NaN */
#undef EACH_SUM
#pragma GCC unroll 8
    for (int m = 0; m < most; m++) {
        if (m >= rows) break;
#pragma GCC unroll 3
        for (int v = 0; v < vecs; v++) product_store(p, c[m], v, sum[m][v], whole);
    }
}

FC_INLINE void product_step(const real *w, ptrdiff_t w_vector, const real *const *row, ptrdiff_t at,
                            fcv (*sum)[FC_VECS], const int most, const int vecs)
{
    fcv column[FC_VECS];
#pragma GCC unroll 3
    for (int v = 0; v < vecs; v++) column[v] = fcv_load(w + v * w_vector);
#pragma GCC unroll 8
    for (int m = 0; m < most; m++) {
        fcv x = fcv_set1(row[m][at]);
#pragma GCC unroll 3
        for (int v = 0; v < vecs; v++) sum[m][v] = fcv_fma(x, column[v], sum[m][v]);
    }
}

FC_INLINE void product_panel(const fc_product *p, const real *const *row, fcv (*sum)[FC_VECS],
                             const int most, const int vecs)
{
    const real *w = p->w;
    const ptrdiff_t step = p->step, run = p->run;
    for (ptrdiff_t t = 0; t < p->taps; t++) {
        ptrdiff_t at = p->offset[t];
#pragma GCC unroll 8
        for (ptrdiff_t i = 0; i < run; i++) {
            product_step(w, FC_LEN, row, at, sum, most, vecs);
            at += step;
            w += vecs * FC_LEN;
        }
    }
}

/* An offset for each value of the depth, and one loop: with one around runs of a window's row, 1 to 5
 * steps long, dx of VGG's first layer took 3.0 instead of 2.0 ms. */
FC_INLINE void product_planes(const fc_product *p, const real *const *row, fcv (*sum)[FC_VECS],
                              const int most, const int vecs)
{
    const real *w = p->w;
    const ptrdiff_t run = p->run, w_vector = p->w_vector;
#pragma GCC unroll 4
    for (ptrdiff_t i = 0; i < run; i++)
        product_step(w + p->w_offset[i], w_vector, row, i, sum, most, vecs);
}

FC_INLINE void product_tile(const fc_product *p, int rows, const real *const *a, real *const *c,
                            const int most, const int vecs, const int packed)
{
    fcv sum[FC_ROWS][FC_VECS];
    const real *row[FC_ROWS];
    const int whole = p->each == FC_LEN && p->columns == vecs * FC_LEN;
#pragma GCC unroll 8
    for (int m = 0; m < most; m++) {
        row[m] = a[packed || m < rows ? m : 0];
#pragma GCC unroll 3
        for (int v = 0; v < vecs; v++) sum[m][v] = fcv_zero();
    }
    if (p->accumulate && whole) product_begin(p, rows, c, sum, most, vecs, 1);
    else if (p->accumulate) product_begin(p, rows, c, sum, most, vecs, 0);
    if (packed) product_panel(p, row, sum, most, vecs);
    else product_planes(p, row, sum, most, vecs);
    if (whole) product_finish(p, rows, c, sum, most, vecs, 1);
    else product_finish(p, rows, c, sum, most, vecs, 0);
}

FC_INLINE void product_rows(const fc_product *p, int rows, const real *const *a, real *const *c,
                            const int most, const int packed)
{
    if (p->vectors == 1) product_tile(p, rows, a, c, most, 1, packed);
    else if (p->vectors == 2) product_tile(p, rows, a, c, most, 2, packed);
#if FC_VECS >= 3
    else product_tile(p, rows, a, c, most, 3, packed);
#endif
}

/* Packed panels come with many rows, cut evenly: tiles one or two rows short cost no more than
 * their rows (49 pixels: seven tiles of 7).  Planes come with filters for rows, often few: the
 * smallest tile that holds them. */
static void product(const fc_product *p, int rows, const void *const *a, void *const *c)
{
    const real *const *x = (const real *const *)a;
    real *const *y = (real *const *)c;
    if (!p->w_offset) {
        if (rows == FC_ROWS) product_rows(p, rows, x, y, FC_ROWS, 1);
        else if (rows == FC_ROWS - 1) product_rows(p, rows, x, y, FC_ROWS - 1, 1);
        else if (rows > FC_ROWS / 2 + 1) product_rows(p, rows, x, y, FC_ROWS - 2, 1);
        else if (rows > FC_ROWS / 2) product_rows(p, rows, x, y, FC_ROWS / 2 + 1, 1);
        else product_rows(p, rows, x, y, FC_ROWS / 2, 1);
    } else if (rows == 1) product_rows(p, rows, x, y, 1, 0);
    else if (rows <= 3) product_rows(p, rows, x, y, 3, 0);
    else if (rows <= 6 && FC_ROWS > 6) product_rows(p, rows, x, y, 6, 0);
    else product_rows(p, rows, x, y, FC_ROWS, 0);
}
