/* y[r][c] = x[r][c] between any two strided matrices: packing, unpacking, transposing. */

/* LEN vectors of LEN, transposed by perfect shuffles: log2(LEN) times zip the two halves. */
FC_INLINE void transpose_vectors(fcv *v)
{
    fcv t[FC_LEN];
#pragma GCC unroll 4
    for (int round = 1; round < FC_LEN; round *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < FC_LEN / 2; i++) {
            t[2 * i] = fcv_zip_low(v[i], v[i + FC_LEN / 2]);
            t[2 * i + 1] = fcv_zip_high(v[i], v[i + FC_LEN / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < FC_LEN; i++) v[i] = t[i];
    }
}

FC_INLINE void transpose_block(int rows, int columns, real *y, ptrdiff_t y_row, const real *x,
                               ptrdiff_t x_column)
{
    fcv v[FC_LEN];
#pragma GCC unroll 16
    for (int c = 0; c < FC_LEN; c++) {
        const real *from = x + (c < columns ? c : 0) * x_column;
        v[c] = rows == FC_LEN ? fcv_load(from) : fcv_load_tail(from, rows);
    }
    transpose_vectors(v);
#pragma GCC unroll 16
    for (int r = 0; r < FC_LEN; r++) {
        if (r >= rows) break;
        if (columns == FC_LEN) fcv_store(y + r * y_row, v[r]);
        else fcv_store_tail(y + r * y_row, v[r], columns);
    }
}

/* rows are neighbours in x, columns in y */
static void transpose(ptrdiff_t rows, ptrdiff_t columns, real *y, ptrdiff_t y_row, const real *x,
                      ptrdiff_t x_column)
{
    for (ptrdiff_t c = 0; c < columns; c += FC_LEN)
        for (ptrdiff_t r = 0; r < rows; r += FC_LEN)
            transpose_block(rows - r < FC_LEN ? (int)(rows - r) : FC_LEN,
                            columns - c < FC_LEN ? (int)(columns - c) : FC_LEN,
                            y + r * y_row + c, y_row, x + r + c * x_column, x_column);
}

static void copy(ptrdiff_t rows, ptrdiff_t columns, void *y, ptrdiff_t y_row, ptrdiff_t y_column,
                 const void *x, ptrdiff_t x_row, ptrdiff_t x_column)
{
    real *to = y;
    const real *from = x;
    if (y_row == 1 && (y_column != 1 || rows > columns)) { /* let columns be neighbours in y */
        ptrdiff_t t;
        t = rows, rows = columns, columns = t;
        t = y_row, y_row = y_column, y_column = t;
        t = x_row, x_row = x_column, x_column = t;
    }
    if (y_column == 1 && x_column == 1) {
        for (ptrdiff_t r = 0; r < rows; r++)
            memcpy(to + r * y_row, from + r * x_row, (size_t)columns * sizeof(real));
    } else if (y_column == 1 && x_row == 1 && FC_LEN > 1) {
        transpose(rows, columns, to, y_row, from, x_column);
    } else {
        for (ptrdiff_t r = 0; r < rows; r++)
            for (ptrdiff_t c = 0; c < columns; c++)
                to[r * y_row + c * y_column] = from[r * x_row + c * x_column];
    }
}
