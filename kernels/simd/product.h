/* The one micro-kernel: rows times vectors of columns, sums in registers.
 *
 * Rows are anywhere (a pointer each), so a tile of pixels may run across the rows of a
 * plane and across images.  Rows from `rows` on repeat an earlier pointer: they are
 * computed and not stored, so there is one loop and no masks in it.
 *
 * Seen in the assembly (GCC 12): 24 FMAs, 3 loads and 8 broadcasts per step for AVX-512,
 * 12, 2 and 6 for AVX2, no spills.
 */

FC_INLINE int product_columns(const fc_product *p, int v)
{
    int left = p->columns - v * p->each;
    return left < p->each ? left : p->each;
}

FC_INLINE fcv product_begin(const fc_product *p, const real *c, int m, int v)
{
    const real *bias = p->bias;
    if (p->accumulate) {
        int n = product_columns(p, v);
        c += v * p->c_vector;
        return n >= FC_LEN ? fcv_load(c) : n > 0 ? fcv_load_tail(c, n) : fcv_zero();
    }
    if (!bias) return fcv_zero();
    return p->by_row ? fcv_set1(bias[m]) : fcv_load(bias + v * FC_LEN);
}

FC_INLINE void product_store(const fc_product *p, real *c, const fcv *sum, const int vecs)
{
    for (int v = 0; v < vecs; v++) {
        int n = product_columns(p, v);
        fcv value = p->relu ? fcv_max(fcv_zero(), sum[v]) : sum[v]; /* NaN stays NaN */
        if (n >= FC_LEN) fcv_store(c + v * p->c_vector, value);
        else if (n > 0) fcv_store_tail(c + v * p->c_vector, value, n);
    }
}

FC_INLINE void product_tile(const fc_product *p, int rows, const real *const *a, real *const *c,
                            const int most, const int vecs, const int packed)
{
    fcv sum[FC_ROWS][FC_VECS];
    const real *row[FC_ROWS];
#pragma GCC unroll 8
    for (int m = 0; m < most; m++) {
        int real_row = m < rows ? m : 0;
        row[m] = a[packed ? m : real_row];
#pragma GCC unroll 3
        for (int v = 0; v < vecs; v++) sum[m][v] = product_begin(p, c[real_row], real_row, v);
    }
    const real *w = p->w;
    const ptrdiff_t step = p->step, run = p->run;
    const ptrdiff_t w_step = packed ? vecs * FC_LEN : p->w_step;
    const ptrdiff_t w_vector = packed ? FC_LEN : p->w_vector;
    for (ptrdiff_t t = 0; t < p->taps; t++) {
        ptrdiff_t at = p->offset[t];
        if (!packed) w = (const real *)p->w + p->w_offset[t];
        for (ptrdiff_t i = 0; i < run; i++) {
            fcv column[FC_VECS];
#pragma GCC unroll 3
            for (int v = 0; v < vecs; v++) column[v] = fcv_load(w + v * w_vector);
#pragma GCC unroll 8
            for (int m = 0; m < most; m++) {
                fcv x = fcv_set1(row[m][at]);
#pragma GCC unroll 3
                for (int v = 0; v < vecs; v++) sum[m][v] = fcv_fma(x, column[v], sum[m][v]);
            }
            at += step;
            w += w_step;
        }
    }
#pragma GCC unroll 8
    for (int m = 0; m < most; m++)
        if (m < rows) product_store(p, c[m], sum[m], vecs);
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

/* Packed panels come with pixels for rows, of which there are plenty: always a whole tile.
 * Planes come with filters for rows, often few: the smallest tile that holds them. */
static void product(const fc_product *p, int rows, const void *const *a, void *const *c)
{
    const real *const *x = (const real *const *)a;
    real *const *y = (real *const *)c;
    if (!p->w_offset) product_rows(p, rows, x, y, FC_ROWS, 1);
    else if (rows == 1) product_rows(p, rows, x, y, 1, 0);
    else if (rows <= 3) product_rows(p, rows, x, y, 3, 0);
    else if (rows <= 6 && FC_ROWS > 6) product_rows(p, rows, x, y, 6, 0);
    else product_rows(p, rows, x, y, FC_ROWS, 0);
}
