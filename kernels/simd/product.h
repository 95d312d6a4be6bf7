/* The one micro-kernel: a few rows times a panel of packed columns, sums in registers.
 *
 * Rows are anywhere (a pointer each), so a tile of pixels may run across the rows of a
 * plane and across images.  Rows from `rows` on repeat an earlier pointer: they are
 * computed and not stored, so there is one loop and no masks in it.
 */

FC_INLINE void product_store(const fc_product *p, real *c, const fcv *sum, const int vecs)
{
    for (int v = 0; v < vecs; v++) {
        int left = p->columns - v * FC_LEN;
        fcv value = p->relu ? fcv_max(fcv_zero(), sum[v]) : sum[v]; /* NaN stays NaN */
        if (left >= FC_LEN)
            fcv_store(c + v * FC_LEN, value);
        else if (left > 0)
            fcv_store_tail(c + v * FC_LEN, value, left);
    }
}

FC_INLINE fcv product_begin(const fc_product *p, const real *c, int v)
{
    int left = p->columns - v * FC_LEN;
    if (p->accumulate)
        return left >= FC_LEN ? fcv_load(c + v * FC_LEN)
               : left > 0     ? fcv_load_tail(c + v * FC_LEN, left)
                              : fcv_zero();
    return p->bias ? fcv_load((const real *)p->bias + v * FC_LEN) : fcv_zero();
}

FC_INLINE void product_tile(const fc_product *p, int rows, const real *const *a, real *const *c,
                            const int vecs)
{
    fcv sum[FC_ROWS][FC_VECS];
    const real *row[FC_ROWS];
#pragma GCC unroll 8
    for (int m = 0; m < FC_ROWS; m++) {
        row[m] = a[m];
#pragma GCC unroll 3
        for (int v = 0; v < vecs; v++)
            sum[m][v] = product_begin(p, c[m < rows ? m : 0], v);
    }
    const real *w = p->w;
    const ptrdiff_t step = p->step, run = p->run;
    for (ptrdiff_t t = 0; t < p->taps; t++) {
        ptrdiff_t at = p->offset[t];
        for (ptrdiff_t i = 0; i < run; i++) {
            fcv column[FC_VECS];
#pragma GCC unroll 3
            for (int v = 0; v < vecs; v++) column[v] = fcv_load(w + v * FC_LEN);
#pragma GCC unroll 8
            for (int m = 0; m < FC_ROWS; m++) {
                fcv x = fcv_set1(row[m][at]);
#pragma GCC unroll 3
                for (int v = 0; v < vecs; v++) sum[m][v] = fcv_fma(x, column[v], sum[m][v]);
            }
            at += step;
            w += vecs * FC_LEN;
        }
    }
#pragma GCC unroll 8
    for (int m = 0; m < FC_ROWS; m++)
        if (m < rows) product_store(p, c[m], sum[m], vecs);
}

static void product(const fc_product *p, int rows, const void *const *a, void *const *c)
{
    const real *const *x = (const real *const *)a;
    real *const *y = (real *const *)c;
    switch (p->vectors) {
    case 1: product_tile(p, rows, x, y, 1); break;
    case 2: product_tile(p, rows, x, y, 2); break;
#if FC_VECS >= 3
    case 3: product_tile(p, rows, x, y, 3); break;
#endif
    }
}
