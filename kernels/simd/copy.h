/* y[r][c] = x[r][c] between any two strided matrices: packing, unpacking, transposing. */

#define FC_PIECE (FC_LEN > 1 ? 16 / (int)sizeof(real) : 1)

/* Not memcpy: for runs of a few hundred bytes its call costs more than they do (weights of 3×3,
 * 512-512, made ready in 1.9 instead of 1.4 ms). */
FC_INLINE void move_run(ptrdiff_t n, real *y, const real *x)
{
    ptrdiff_t i = 0;
    for (; i + FC_LEN <= n; i += FC_LEN) fcv_store(y + i, fcv_load(x + i));
    if (i < n) fcv_store_tail(y + i, fcv_load_tail(x + i, (int)(n - i)), (int)(n - i));
}

/* Blocks of FC_PIECE × FC_PIECE, one in each piece, transposed by perfect shuffles: log2 times zip
 * the two halves.  Shuffles inside pieces are the cheap ones: AVX-512 with whole vectors
 * transposed (vpermt2ps) made 6.6 numbers/ns in L1, this 11 (Zen 4). */
FC_INLINE void transpose_pieces(fcv *v)
{
    fcv t[FC_PIECE];
#pragma GCC unroll 2
    for (int round = 1; round < FC_PIECE; round *= 2) {
#pragma GCC unroll 2
        for (int i = 0; i < FC_PIECE / 2; i++) {
            t[2 * i] = fcv_piece_low(v[i], v[i + FC_PIECE / 2]);
            t[2 * i + 1] = fcv_piece_high(v[i], v[i + FC_PIECE / 2]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < FC_PIECE; i++) v[i] = t[i];
    }
}

/* FC_PIECE rows × up to FC_LEN columns: piece by piece from the columns of x */
FC_INLINE void transpose_block(int columns, real *y, ptrdiff_t y_row, const real *x,
                               ptrdiff_t x_column)
{
    fcv v[FC_PIECE];
#pragma GCC unroll 4
    for (int j = 0; j < FC_PIECE; j++) {
        const real *p[FC_LEN / FC_PIECE];
#pragma GCC unroll 4
        for (int i = 0; i < FC_LEN / FC_PIECE; i++) {
            int c = i * FC_PIECE + j;
            p[i] = x + (c < columns ? c : columns - 1) * x_column;
        }
        v[j] = fcv_load_pieces(p);
    }
    transpose_pieces(v);
#pragma GCC unroll 4
    for (int r = 0; r < FC_PIECE; r++) {
        if (columns == FC_LEN) fcv_store(y + r * y_row, v[r]);
        else fcv_store_tail(y + r * y_row, v[r], columns);
    }
}

/* Up to FC_LEN / 2 columns, and 2 · FC_PIECE rows at a time: half of a vector's pieces are of the
 * later rows. */
static void transpose_narrow(ptrdiff_t rows, int columns, real *y, ptrdiff_t y_row, const real *x,
                             ptrdiff_t x_column)
{
    enum { PIECES = FC_LEN / FC_PIECE, HALF = FC_LEN > 1 ? FC_LEN / 2 : 1, TWO = 2 * FC_PIECE };
    ptrdiff_t at[FC_LEN];
    for (int i = 0; i < FC_LEN; i++) {
        int c = i % HALF < columns ? i % HALF : columns - 1;
        at[i] = c * x_column + i / HALF * FC_PIECE;
    }
    for (ptrdiff_t next = 0; next < rows; next += TWO) {
        ptrdiff_t first = next + TWO <= rows ? next : rows - TWO;
        real *to = y + first * y_row;
        fcv v[FC_PIECE];
#pragma GCC unroll 4
        for (int j = 0; j < FC_PIECE; j++) {
            const real *p[PIECES];
#pragma GCC unroll 4
            for (int i = 0; i < PIECES; i++) p[i] = x + first + at[i * FC_PIECE + j];
            v[j] = fcv_load_pieces(p);
        }
        transpose_pieces(v);
#pragma GCC unroll 4
        for (int r = 0; r < FC_PIECE; r++) {
            fcv_store_part(to + r * y_row, v[r], 0, columns);
            fcv_store_part(to + (r + FC_PIECE) * y_row - HALF, v[r], HALF, HALF + columns);
        }
    }
}

enum { STRIP = 128 };

/* rows (FC_PIECE at least) are neighbours in x, columns in y; last blocks overlap others.
 * A strip of columns is written row by row, so that stores to a plane follow one another
 * (planes of 224×224: 4.0 numbers/ns in strips of 16 columns, 8.6 of 128), and is read
 * from L1 all the while. */
static void transpose_strips(ptrdiff_t rows, ptrdiff_t columns, real *y, ptrdiff_t y_row,
                             const real *x, ptrdiff_t x_column)
{
    for (ptrdiff_t first = 0; first < columns; first += STRIP) {
        ptrdiff_t end = first + STRIP < columns ? first + STRIP : columns;
        for (ptrdiff_t piece = 0; piece < rows; piece += FC_PIECE) {
            ptrdiff_t r = piece + FC_PIECE <= rows ? piece : rows - FC_PIECE;
            real *to = y + r * y_row;
            if (columns < FC_LEN) {
                transpose_block((int)columns, to, y_row, x + r, x_column);
                continue;
            }
            for (ptrdiff_t next = first; next < end; next += FC_LEN) {
                ptrdiff_t c = next + FC_LEN <= columns ? next : columns - FC_LEN;
                transpose_block(FC_LEN, to + c, y_row, x + r + c * x_column, x_column);
            }
        }
    }
}

/* Whether columns meet in too few of L1's sets, 64 lines of 64 bytes that are 8 ways deep or more:
 * then it loses each line before its second piece is read. */
FC_INLINE int crowded(ptrdiff_t columns, ptrdiff_t x_column)
{
    ptrdiff_t bytes = x_column * (ptrdiff_t)sizeof(real), apart = bytes & -bytes;
    ptrdiff_t sets = apart >= 4096 || apart == 0 ? 1 : 4096 / apart;
    return columns > 8 * sets;
}

/* Some rows of some crowded columns are moved to a denser place first (1024 × 1024 weights on
 * Zen 5: 3.6 -> 10.6 numbers/ns). */
static void transpose(ptrdiff_t rows, ptrdiff_t columns, real *y, ptrdiff_t y_row, const real *x,
                      ptrdiff_t x_column)
{
    enum { LINE = 64 / sizeof(real), ROWS = 5 * LINE, STEP = ROWS + LINE, COLUMNS = 64 };
    if (FC_LEN > FC_PIECE && columns > 0 && columns <= FC_LEN / 2 && rows >= 2 * FC_PIECE) {
        transpose_narrow(rows, (int)columns, y, y_row, x, x_column);
        return;
    }
    if (!crowded(columns < STRIP ? columns : STRIP, x_column) || rows < LINE || columns < FC_LEN) {
        transpose_strips(rows, columns, y, y_row, x, x_column);
        return;
    }
    real moved[COLUMNS * STEP];
    for (ptrdiff_t c = 0; c < columns; c += COLUMNS) {
        ptrdiff_t wide = columns - c < COLUMNS ? columns - c : COLUMNS;
        for (ptrdiff_t part = 0; part < rows; part += ROWS) {
            ptrdiff_t high = rows - part < ROWS ? rows - part : ROWS;
            ptrdiff_t r = high < FC_PIECE ? rows - FC_PIECE : part;
            if (high < FC_PIECE) high = FC_PIECE;
            for (ptrdiff_t i = 0; i < wide; i++)
                move_run(high, moved + i * STEP, x + r + (c + i) * x_column);
            transpose_strips(high, wide, y + r * y_row + c, y_row, moved, STEP);
        }
    }
}

/* n numbers `step` apart: vector loads in steps of 1 and 2, others one by one */
FC_INLINE fcv load_lanes(const real *x, const ptrdiff_t step, int n)
{
    if (step == 1) return n == FC_LEN ? fcv_load(x) : fcv_load_tail(x, n);
    if (step == 2) {
        int last = 2 * n - 1; /* what lies behind the last lane's cell may not be ours */
        fcv low = last >= FC_LEN ? fcv_load(x) : fcv_load_tail(x, last);
        if (last <= FC_LEN) return fcv_even(low, fcv_zero());
        return fcv_even(low, fcv_load_tail(x + FC_LEN, last - FC_LEN));
    }
    real lane[FC_LEN];
    for (int l = 0; l < FC_LEN; l++) lane[l] = l < n ? x[l * step] : 0;
    return fcv_load(lane);
}

/* y[c] = x[2c] */
static void copy_even(ptrdiff_t columns, real *y, const real *x)
{
    for (ptrdiff_t c = 0; c < columns; c += FC_LEN) {
        int n = columns - c < FC_LEN ? (int)(columns - c) : FC_LEN;
        fcv even = load_lanes(x + 2 * c, 2, n);
        if (n == FC_LEN) fcv_store(y + c, even);
        else fcv_store_tail(y + c, even, n);
    }
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
            move_run(columns, to + r * y_row, from + r * x_row);
    } else if (y_column == 1 && x_column == 2) {
        for (ptrdiff_t r = 0; r < rows; r++) copy_even(columns, to + r * y_row, from + r * x_row);
    } else if (y_column == 1 && x_row == 1 && rows >= FC_PIECE && FC_LEN > 1) {
        transpose(rows, columns, to, y_row, from, x_column);
    } else {
        for (ptrdiff_t r = 0; r < rows; r++)
            for (ptrdiff_t c = 0; c < columns; c++)
                to[r * y_row + c * y_column] = from[r * x_row + c * x_column];
    }
}
