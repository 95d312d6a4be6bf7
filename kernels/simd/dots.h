/* dw over planes: rows times columns of dot products along rows of pixels.
 *
 * Lanes are pixels on both sides, so planes are read as they lie; a dot product stays a vector
 * of FC_LEN partial sums until the last pixel, and is folded then. */

/* Kept, a row costs one load; GCC makes it an operand of three FMAs: 27 loads bound 24 FMAs. */
FC_INLINE void dots_step(const real *const *a, const real *const *b, ptrdiff_t at_a, ptrdiff_t at_b,
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

FC_INLINE void dots_tile(const fc_dots *p, const real *const *a, const real *const *b, real *sums,
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
            dots_step(row, column, at_a + i, at_b + i, FC_LEN, sum, rows);
        }
        if (i < p->run) dots_step(row, column, at_a + i, at_b + i, (int)(p->run - i), sum, rows);
    }
#pragma GCC unroll 8
    for (int m = 0; m < rows; m++)
#pragma GCC unroll 3
        for (int v = 0; v < FC_VECS; v++)
            fcv_store(sums + (m * FC_VECS + v) * FC_LEN, sum[m][v]);
}

static void dots(const fc_dots *p, int rows, const void *const *a, const void *const *b, void *sums)
{
    const real *const *x = (const real *const *)a, *const *y = (const real *const *)b;
    if (rows > FC_ROWS - 2) dots_tile(p, x, y, sums, FC_ROWS);
    else if (rows > FC_ROWS / 2) dots_tile(p, x, y, sums, FC_ROWS - 2);
    else dots_tile(p, x, y, sums, FC_ROWS / 2);
}

/* y[i] = the sum of the FC_LEN numbers from x[i·FC_LEN] on; count is a multiple of FC_PIECE, and y
 * may be x.  A few are folded at once: one by one each waited for itself (40 cycles, not 8). */
static void fold(ptrdiff_t count, void *y, const void *x)
{
    real *to = y, part[FC_LEN];
    const real *from = x;
    for (ptrdiff_t i = 0; i < count; i += FC_PIECE) {
        fcv v[FC_PIECE];
#pragma GCC unroll 4
        for (int j = 0; j < FC_PIECE; j++) v[j] = fcv_load(from + (i + j) * FC_LEN);
        transpose_pieces(v);
#pragma GCC unroll 4
        for (int j = 1; j < FC_PIECE; j++) v[0] = fcv_add(v[0], v[j]);
        fcv_store(part, v[0]);
        for (int l = 0; l < FC_PIECE; l++) {
            real sum = part[l];
            for (int n = l + FC_PIECE; n < FC_LEN; n += FC_PIECE) sum += part[n];
            to[i + l] = sum;
        }
    }
}
