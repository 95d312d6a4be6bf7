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

/* c[m][j] = bias[j] + Σ over taps t and i < run of a[m][offset[t] + i·step] · w[t][i][j],
 * or c[m][j] += … with accumulate; then max(·, 0) with relu. */
typedef struct {
    ptrdiff_t taps, run, step;
    const ptrdiff_t *offset; /* [taps] */
    const void *w;           /* [taps][run][vectors · lanes], zero beyond columns */
    const void *bias;        /* [vectors · lanes], or NULL */
    int vectors, columns;    /* columns: how many of vectors · lanes are written */
    int accumulate, relu;
} fc_product;

/* Windows of pooling, one per lane: lane l of tap t reads x[offset[t] + l·x_step]. */
typedef struct {
    ptrdiff_t taps, count;   /* count: lanes */
    const ptrdiff_t *offset; /* [taps] */
    const int32_t *index;    /* [taps] flat position of a cell in its plane */
    ptrdiff_t x_step, y_step, index_step; /* index_step: of the stored indices' memory */
    int32_t index_first, index_lane; /* what is added to an index, and what per lane */
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
    void (*copy)(ptrdiff_t rows, ptrdiff_t columns, void *y, ptrdiff_t y_row, ptrdiff_t y_column,
                 const void *x, ptrdiff_t x_row, ptrdiff_t x_column);
    void (*max_windows)(const fc_windows *p, const void *x, void *y, int32_t *index);
    void (*mean_windows)(const fc_windows *p, const void *x, void *y);
    void (*add_share)(ptrdiff_t count, void *y, ptrdiff_t y_step, const void *x, ptrdiff_t x_step,
                      double height, const double *width, ptrdiff_t width_step);
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
