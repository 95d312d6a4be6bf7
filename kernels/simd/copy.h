/* y[r][c] = x[r][c] between any two strided matrices: packing, unpacking, transposing. */

enum { COPY_BLOCK = 16 };

static void copy_block(ptrdiff_t rows, ptrdiff_t columns, real *restrict y, ptrdiff_t y_row,
                       ptrdiff_t y_column, const real *restrict x, ptrdiff_t x_row,
                       ptrdiff_t x_column)
{
    if (x_column == 1 && y_column == 1) {
        for (ptrdiff_t r = 0; r < rows; r++)
            memcpy(y + r * y_row, x + r * x_row, (size_t)columns * sizeof(real));
        return;
    }
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t c = 0; c < columns; c++)
            y[r * y_row + c * y_column] = x[r * x_row + c * x_column];
}

static void copy(ptrdiff_t rows, ptrdiff_t columns, void *y, ptrdiff_t y_row, ptrdiff_t y_column,
                 const void *x, ptrdiff_t x_row, ptrdiff_t x_column)
{
    real *to = y;
    const real *from = x;
    if ((y_row == 1 && x_row == 1) || y_row < y_column) { /* let columns be the closer ones */
        ptrdiff_t t;
        t = rows, rows = columns, columns = t;
        t = y_row, y_row = y_column, y_column = t;
        t = x_row, x_row = x_column, x_column = t;
    }
    if (x_column == 1 && y_column == 1) {
        copy_block(rows, columns, to, y_row, 1, from, x_row, 1);
        return;
    }
    /* a transpose: in blocks, so that the lines of both sides stay in L1 */
    for (ptrdiff_t r = 0; r < rows; r += COPY_BLOCK)
        for (ptrdiff_t c = 0; c < columns; c += COPY_BLOCK)
            copy_block(rows - r < COPY_BLOCK ? rows - r : COPY_BLOCK,
                       columns - c < COPY_BLOCK ? columns - c : COPY_BLOCK,
                       to + r * y_row + c * y_column, y_row, y_column,
                       from + r * x_row + c * x_column, x_row, x_column);
}
