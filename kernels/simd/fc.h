/* What the Cython algorithms see of the tile functions: their arguments and their table.
 *
 * Arrays are handed over as void pointers; the table says whether they hold float or
 * double.  Offsets and steps count elements, not bytes.  README.md has the contracts.
 */
#ifndef FC_H
#define FC_H

#include <stddef.h>
#include <stdint.h>

#define FC_INLINE static inline __attribute__((always_inline, unused))

/* c[m][v][j] = Σ over taps t and i < run of
 *              a[m][offset[t] + i·step] · w[w_offset[t] + i·w_step + v·w_vector + j]
 * for rows m, vectors v and their lanes j; to it comes bias[v][j], or what c held before with
 * accumulate; then max(·, 0) with relu.
 *
 * Packed panels (w_offset NULL): w is [taps][run][vectors][lanes], zero beyond the columns.
 * Otherwise w is a plane that is read where it lies; lanes that are not stored may read
 * anything, up to a vector behind the last column. */
typedef struct {
    ptrdiff_t taps, run, step;
    const ptrdiff_t *offset, *w_offset; /* [taps] */
    const void *w;
    ptrdiff_t w_step, w_vector;
    ptrdiff_t c_vector;   /* vector v of row m is stored at c[m] + v·c_vector */
    const void *bias;     /* [vectors][lanes]; one number per row if by_row; or NULL */
    int by_row;
    int vectors, columns; /* vectors, each of at most `each` columns; columns in all */
    int each;
    int accumulate, relu;
} fc_product;

/* sums[m][v][lane] += Σ over spans s and i < run of a[m][s·a_span + i] · b[v][s·b_span + i],
 * number i into lane i modulo the lanes; for `rows` rows m and all columns v of the
 * largest tile: a and b hold pointers for a whole one, the last repeated. */
typedef struct {
    ptrdiff_t spans, run;
    ptrdiff_t a_span, b_span, ahead_span;
    const void *ahead;    /* what is read soon, as a row of a: fetched into the cache meanwhile */
} fc_dots;

/* Windows of pooling: rows × lanes of them, with the same taps.  Tap t of lane l in row r
 * reads x[offset[t] + r·x_row + l·x_lane]; its result goes to y[r·y_row + l·y_lane], its index
 * index[t] + first_index + r·next_row + l·next_lane to the same place by index_row and _lane. */
typedef struct {
    ptrdiff_t taps, rows, lanes;
    const ptrdiff_t *offset; /* [taps] */
    const int32_t *index;    /* [taps] */
    ptrdiff_t x_row, x_lane, y_row, y_lane, index_row, index_lane;
    int32_t first_index, next_row, next_lane;
    double area;             /* divisor of an average */
} fc_windows;

typedef struct {
    ptrdiff_t channels, size; /* size: channels in a window */
    double alpha_over_size, beta, k;
} fc_lrn;

/* The tile functions of one instruction set and one dtype. */
typedef struct {
    const char *isa;
    int item, lanes;   /* bytes of an element; elements of a vector */
    int rows, vectors; /* largest tile of product */
    int lrn_pixels;    /* pixels in a block of lrn, a multiple of lanes */

    void (*product)(const fc_product *p, int rows, const void *const *a, void *const *c);
    void (*dots)(const fc_dots *p, int rows, const void *const *a, const void *const *b,
                 void *sums);
    void (*fold)(ptrdiff_t count, void *y, const void *x);
    void (*copy)(ptrdiff_t rows, ptrdiff_t columns, void *y, ptrdiff_t y_row, ptrdiff_t y_column,
                 const void *x, ptrdiff_t x_row, ptrdiff_t x_column);
    void (*max_windows)(const fc_windows *p, const void *x, void *y, int32_t *index);
    void (*mean_windows)(const fc_windows *p, const void *x, void *y);
    void (*add)(ptrdiff_t rows, ptrdiff_t lanes, void *y, ptrdiff_t y_row, ptrdiff_t y_lane,
                const void *x, ptrdiff_t x_row, ptrdiff_t x_lane);
    void (*divide)(ptrdiff_t rows, ptrdiff_t lanes, void *y, const void *x, ptrdiff_t x_row,
                   ptrdiff_t x_lane, double height, const double *width);
    void (*add_at)(ptrdiff_t count, void *y, ptrdiff_t y_step, ptrdiff_t y_lane, const void *x,
                   ptrdiff_t x_step, const int32_t *index, ptrdiff_t index_step);
    void (*add_rows)(ptrdiff_t rows, ptrdiff_t lanes, double *total, const void *x,
                     ptrdiff_t x_row, ptrdiff_t x_lane);
    void (*lrn)(const fc_lrn *p, const void *x, void *y, void *work);
    void (*lrn_dx)(const fc_lrn *p, const void *dy, const void *x, void *dx, void *work);
} fc_tiles;

/* What was built and this processor can run, best first: found[2i] for float, found[2i + 1]
 * for double.  Returns how many pairs, at most `most`. */
int fc_find_tiles(const fc_tiles **found, int most);

#endif
