/* dw over planes: rows times columns of dot products along rows of pixels.
 *
 * Lanes are pixels on both sides, so planes are read as they lie; a dot product stays a vector
 * of FC_LEN partial sums until the last pixel, and is folded then. */

/* Kept, a row costs one load; GCC makes it an operand of three FMAs: 27 loads bound 24 FMAs. */
FC_INLINE void spans_step(const real *const *a, const real *const *b, ptrdiff_t at_a, ptrdiff_t at_b,
                         int n, fcv (*sum)[FC_VECS], const int rows)
{
    fcv column[FC_VECS];
#pragma GCC unroll 3
    for (int v = 0; v < FC_VECS; v++)
        column[v] = n == FC_LEN ? fcv_load(b[v] + at_b) : fcv_load_tail(b[v] + at_b, n);
#pragma GCC unroll 8
    for (int m = 0; m < rows; m++) {
        fcv x = fcv_keep(n == FC_LEN ? fcv_load(a[m] + at_a) : fcv_load_tail(a[m] + at_a, n));
#pragma GCC unroll 3
        for (int v = 0; v < FC_VECS; v++) sum[m][v] = fcv_fma(x, column[v], sum[m][v]);
    }
}

FC_INLINE void spans_tile(const fc_spans *p, const real *const *a, const real *const *b, real *sums,
                         const int rows)
{
    fcv sum[FC_ROWS][FC_VECS];
    const real *row[FC_ROWS], *column[FC_VECS];
#pragma GCC unroll 8
    for (int m = 0; m < rows; m++) {
        row[m] = a[m];
#pragma GCC unroll 3
        for (int v = 0; v < FC_VECS; v++)
            sum[m][v] = fcv_load(sums + (m * FC_VECS + v) * FC_LEN);
    }
#pragma GCC unroll 3
    for (int v = 0; v < FC_VECS; v++) column[v] = b[v];
    for (ptrdiff_t span = 0; span < p->spans; span++) {
        ptrdiff_t at_a = span * p->a_span, at_b = span * p->b_span, i = 0;
        const real *ahead = (const real *)p->ahead + span * p->ahead_span;
        for (; i + FC_LEN <= p->run; i += FC_LEN) {
            __builtin_prefetch(ahead + i);
            spans_step(row, column, at_a + i, at_b + i, FC_LEN, sum, rows);
        }
        if (i < p->run) spans_step(row, column, at_a + i, at_b + i, (int)(p->run - i), sum, rows);
    }
#pragma GCC unroll 8
    for (int m = 0; m < rows; m++)
#pragma GCC unroll 3
        for (int v = 0; v < FC_VECS; v++)
            fcv_store(sums + (m * FC_VECS + v) * FC_LEN, sum[m][v]);
}

static void span_dots(const fc_spans *p, int rows, const void *const *a, const void *const *b, void *sums)
{
    const real *const *x = (const real *const *)a, *const *y = (const real *const *)b;
    if (rows > FC_ROWS - 2) spans_tile(p, x, y, sums, FC_ROWS);
    else if (rows > FC_ROWS / 2) spans_tile(p, x, y, sums, FC_ROWS - 2);
    else spans_tile(p, x, y, sums, FC_ROWS / 2);
}
