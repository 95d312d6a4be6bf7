/* Linear layers whose weights are read where they lie, in whole vectors of inputs.
 *
 * dots: rows times rows, y of a layer.  The lanes of a sum are added in a tree, the same for
 * every sum.  spread: rows times a matrix, dx of few images.
 */

/* A tile of several images: 24 sums, 6 vectors of x and 1 of w at a time, or half of that where
 * registers are 16.  Four rows of w, whose distance often is a multiple of 4 KiB, leave the other
 * half of L1's ways to x (as 8 × 3: 52 GFLOP/s of 4096 → 4096 at N = 64 instead of 82).  One image:
 * 8 streams of w. */
enum { DOT_IMAGES = FC_ROWS >= 8 ? 6 : 3, DOT_FILTERS = 4, DOT_ALONE = 8 };
enum { DOT_SUMS = DOT_IMAGES * DOT_FILTERS };

/* dot[j]: the sum of the lanes of v[j], for as many vectors as a piece has lanes: inside the pieces
 * by a transpose, then piece after piece, the same order for every sum. */
FC_INLINE void sum_lanes(fcv *v, real *dot)
{
    real lane[FC_LEN];
    transpose_pieces(v);
    fcv sum = v[0];
#pragma GCC unroll 4
    for (int i = 1; i < FC_PIECE; i++) sum = fcv_add(sum, v[i]);
    fcv_store(lane, sum);
#pragma GCC unroll 4
    for (int j = 0; j < FC_PIECE; j++) {
        dot[j] = lane[j];
#pragma GCC unroll 4
        for (int piece = FC_PIECE; piece < FC_LEN; piece += FC_PIECE) dot[j] += lane[piece + j];
    }
}

/* The sums of a tile, [image][filter], to y. */
FC_INLINE void dots_store(const fc_dots *p, const fcv *sum, const real *bias, real *y, int filters,
                          const int images, const int most)
{
    const int sums = images * most;
    real dot[DOT_SUMS + FC_LEN];
#pragma GCC unroll 24
    for (int first = 0; first < sums; first += FC_PIECE) {
        fcv v[FC_PIECE];
#pragma GCC unroll 4
        for (int i = 0; i < FC_PIECE; i++)
            v[i] = first + i < sums ? sum[first + i] : fcv_zero();
        sum_lanes(v, dot + first);
    }
    for (int n = 0; n < images; n++)
        for (int f = 0; f < filters; f += FC_LEN) {
            int left = filters - f < FC_LEN ? filters - f : FC_LEN;
            fcv value = fcv_load(dot + n * most + f);
            if (p->accumulate) value = fcv_add(load_lanes(y + n * p->y_row + f, 1, left), value);
            else if (bias) value = fcv_add(load_lanes(bias + f, 1, left), value);
            if (p->relu) value = fcv_max(fcv_zero(), value); /* NaN stays NaN */
            store_lanes(y + n * p->y_row + f, 1, value, left);
        }
}

/* One step of the depth: lanes from i on, or `left` lanes of them.  Whatever is fewer is kept in
 * registers, images or filters. */
FC_INLINE void dots_step(fcv *sum, const real *x, ptrdiff_t x_row, const real *const *row,
                         ptrdiff_t i, int left, const int images, const int most)
{
    fcv held[DOT_ALONE];
    const int few = images < most ? images : most, many = images < most ? most : images;
#pragma GCC unroll 8
    for (int h = 0; h < few; h++)
        held[h] = load_lanes((few == images ? x + h * x_row : row[h]) + i, 1, left);
#pragma GCC unroll 8
    for (int m = 0; m < many; m++) {
        fcv other = load_lanes((few == images ? row[m] : x + m * x_row) + i, 1, left);
#pragma GCC unroll 8
        for (int h = 0; h < few; h++) {
            fcv *to = sum + (few == images ? h * most + m : m * most + h);
            *to = fcv_fma(held[h], other, *to);
        }
    }
}

FC_INLINE void dots_tile(const fc_dots *p, const real *x, const real *w, const real *bias, real *y,
                         int filters, const real *ahead, const int images, const int most)
{
    fcv sum[DOT_SUMS];
    const real *row[DOT_ALONE];
#pragma GCC unroll 24
    for (int i = 0; i < images * most; i++) sum[i] = fcv_zero();
#pragma GCC unroll 8
    for (int f = 0; f < most; f++) row[f] = w + (f < filters ? f : 0) * p->w_row;
    const ptrdiff_t whole = p->depth - p->depth % FC_LEN, x_row = p->x_row, next = p->w_row;
    for (ptrdiff_t i = 0; i < whole; i += FC_LEN) {
        if (images > 1) {
            __builtin_prefetch(ahead + i, 0, 2);
            __builtin_prefetch(ahead + next + i, 0, 2);
        }
        dots_step(sum, x, x_row, row, i, FC_LEN, images, most);
    }
    if (whole < p->depth) dots_step(sum, x, x_row, row, whole, (int)(p->depth - whole), images, most);
    dots_store(p, sum, bias, y, filters, images, most);
}

/* As many filters as the tile takes, which stay in L1 meanwhile, with all images.  The first two
 * tiles ask for two rows each of the filters that follow: without, they would wait for memory. */
FC_INLINE void dots_images(const fc_dots *p, const real *x, const real *w, const real *bias,
                           real *y, int filters, int more)
{
    const int rest = (int)(p->images % DOT_IMAGES);
    const real *ahead = more ? w + DOT_FILTERS * p->w_row : w;
    for (ptrdiff_t n = DOT_IMAGES; n <= p->images; n += DOT_IMAGES) {
        dots_tile(p, x, w, bias, y, filters, ahead, DOT_IMAGES, DOT_FILTERS);
        x += DOT_IMAGES * p->x_row;
        y += DOT_IMAGES * p->y_row;
        ahead += more ? 2 * p->w_row : 0;
        more = 0;
    }
    if (rest == 1) dots_tile(p, x, w, bias, y, filters, ahead, 1, DOT_FILTERS);
    if (rest == 2) dots_tile(p, x, w, bias, y, filters, ahead, 2, DOT_FILTERS);
    if (DOT_IMAGES > 3 && rest == 3) dots_tile(p, x, w, bias, y, filters, ahead, 3, DOT_FILTERS);
    if (DOT_IMAGES > 4 && rest == 4) dots_tile(p, x, w, bias, y, filters, ahead, 4, DOT_FILTERS);
    if (DOT_IMAGES > 5 && rest == 5) dots_tile(p, x, w, bias, y, filters, ahead, 5, DOT_FILTERS);
}

static void dots(const fc_dots *p, const void *x, const void *w, const void *bias, void *y)
{
    const int most = p->images == 1 ? DOT_ALONE : DOT_FILTERS;
    for (ptrdiff_t f = 0; f < p->filters; f += most) {
        int filters = p->filters - f < most ? (int)(p->filters - f) : most;
        const real *rows = (const real *)w + f * p->w_row, *b = bias ? (const real *)bias + f : NULL;
        real *to = (real *)y + f;
        if (p->images == 1) dots_tile(p, x, rows, b, to, filters, NULL, 1, DOT_ALONE);
        else dots_images(p, x, rows, b, to, filters, f + 2 * DOT_FILTERS <= p->filters);
    }
}

/* Few images of y = x @ w, lanes: columns.  Vectors of y stay in registers while SPREAD_DEPTH rows
 * of w, each a stream from memory, pass by. */
enum { SPREAD_IMAGES = 3, SPREAD_DEPTH = 8 };

FC_INLINE void spread_lanes(const fc_spread *p, const real *x, const real *w, real *y,
                            const int images, const int depth, const int n)
{
    fcv sum[SPREAD_IMAGES];
#pragma GCC unroll 3
    for (int m = 0; m < images; m++)
        sum[m] = p->accumulate ? load_lanes(y + m * p->y_row, 1, n) : fcv_zero();
#pragma GCC unroll 8
    for (int k = 0; k < depth; k++) {
        fcv row = load_lanes(w + k * p->w_row, 1, n);
#pragma GCC unroll 3
        for (int m = 0; m < images; m++)
            sum[m] = fcv_fma(fcv_set1(x[m * p->x_row + k]), row, sum[m]);
    }
#pragma GCC unroll 3
    for (int m = 0; m < images; m++) store_lanes(y + m * p->y_row, 1, sum[m], n);
}

FC_INLINE void spread_rows(const fc_spread *given, const real *x, const real *w, real *y,
                           const int images, const int depth)
{
    const fc_spread p = *given; /* in registers: y might alias what is given */
    const ptrdiff_t whole = p.columns - p.columns % FC_LEN;
    for (ptrdiff_t j = 0; j < whole; j += FC_LEN)
        spread_lanes(&p, x, w + j, y + j, images, depth, FC_LEN);
    if (whole < p.columns)
        spread_lanes(&p, x, w + whole, y + whole, images, depth, (int)(p.columns - whole));
}

FC_INLINE void spread_images(const fc_spread *given, const real *x, const real *w, real *y,
                             const int images)
{
    fc_spread p = *given;
    for (ptrdiff_t k = 0; k < given->depth; k += SPREAD_DEPTH) {
        ptrdiff_t left = given->depth - k;
        if (left >= SPREAD_DEPTH)
            spread_rows(&p, x + k, w + k * p.w_row, y, images, SPREAD_DEPTH);
        for (; left < SPREAD_DEPTH && left > 0; left--, k++, p.accumulate = 1)
            spread_rows(&p, x + k, w + k * p.w_row, y, images, 1);
        p.accumulate = 1;
    }
}

static void spread(const fc_spread *p, const void *x, const void *w, void *y)
{
    if (p->images == 1) spread_images(p, x, w, y, 1);
    else if (p->images == 2) spread_images(p, x, w, y, 2);
    else spread_images(p, x, w, y, 3);
}
