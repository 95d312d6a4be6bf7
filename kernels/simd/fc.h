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

FC_INLINE void fc_prefetch(const void *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)at + i);
}

/* c[m][v][j] = Σ over taps t and i < run of
 *              a[m][offset[t] + i·step] · w[t][i][v][j]
 * for rows m, vectors v and their lanes j; to it comes bias[v][j], or what c held before with
 * accumulate; then max(·, 0) with relu.
 *
 * The packed panel w is zero beyond the columns.  With w_offset it is planes that are read where
 * they lie: Σ over i < run of a[m][i] · w[w_offset[i] + v·w_vector + j]; lanes that are not stored
 * may read anything, up to a vector behind the last column. */
typedef struct {
    ptrdiff_t taps, run, step;
    const ptrdiff_t *offset;   /* [taps] */
    const ptrdiff_t *w_offset; /* [run], of planes, or NULL */
    const void *w;
    ptrdiff_t w_vector;
    ptrdiff_t c_vector;   /* vector v of row m is stored at c[m] + v·c_vector */
    const void *bias;     /* [vectors][lanes]; one number per row if by_row; or NULL */
    int by_row;
    int vectors, columns; /* vectors, each of at most `each` columns; columns in all */
    int each;
    int accumulate, relu;
} fc_product;

/* y[r·y_step + l] = Σ over sources s and taps a, b of
 *     x[s·x_source + a·x_across + r·step + b·dilation][offset[a] + l·lane_step]
 *     · w[s·w_source + a·w_across + b·w_along + l·w_lane]
 * for results r and lanes l; to it comes bias[l·w_lane]; then max(·, 0) with relu.
 * x are pointers, as many as whole tiles of `depthwise_results` results name, to rows of
 * which [low, high) may be read; beside that is padding: zeros. */
typedef struct {
    ptrdiff_t sources, across, along, step, dilation, results, lanes;
    ptrdiff_t lane_step; /* 1; or 2, which needs rows along the tile and w_lane 0 */
    ptrdiff_t x_source, x_across, low, high;
    const ptrdiff_t *offset; /* [across], from least_offset to most_offset */
    ptrdiff_t least_offset, most_offset;
    const void *w;
    ptrdiff_t w_source, w_across, w_along, w_lane; /* w_lane: 0 or 1 */
    const void *bias;
    ptrdiff_t y_step;
    int relu;
} fc_depthwise;

/* sums[m][v][lane] += Σ over spans s and i < run of a[m][s·a_span + i] · b[v][s·b_span + i],
 * number i into lane i modulo the lanes; for `rows` rows m and all columns v of the
 * largest tile: a and b hold pointers for a whole one, the last repeated. */
typedef struct {
    ptrdiff_t spans, run;
    ptrdiff_t a_span, b_span, ahead_span;
    const void *ahead;    /* what is read soon, as a row of a: fetched into the cache meanwhile */
} fc_spans;

/* Windows of pooling: rows × lanes of them, with the same taps.  Tap t of lane l in row r
 * reads x[offset[t] + r·x_row + l·x_lane]; its result goes to y[r·y_row + l·y_lane], its index
 * index[t] + first_index + r·next_row + l·next_lane to the same place by index_row and _lane.
 * Taps come in rows of `across` at offsets one apart, or across is 1. */
typedef struct {
    ptrdiff_t taps, across, rows, lanes;
    const ptrdiff_t *offset; /* [taps] */
    const int32_t *index;    /* [taps] */
    ptrdiff_t x_row, x_lane, y_row, y_lane, index_row, index_lane;
    int32_t first_index, next_row, next_lane;
    double area;             /* divisor of an average */
    ptrdiff_t ahead;         /* as many numbers further on memory is asked for; 0: not at all */
} fc_windows;

/* The scatter of max pooling's gradient: lane l of row r of x to y[l·y_lane + index·y_step]. */
typedef struct {
    ptrdiff_t rows, lanes, y_step, y_lane, x_row, x_lane, index_row, index_lane;
} fc_scatter;

typedef struct {
    ptrdiff_t channels, size; /* size: channels in a window */
    double alpha_over_size, beta, k;
} fc_lrn;

/* The sums of one tile of Winograd's, [n·n elements][filters], to m × m results, of which
 * rows × columns are wanted. */
typedef struct {
    int n, m, rows, columns, filters, relu;
    ptrdiff_t s_element, y_row, y_column;
    const void *bias; /* [filters], whole vectors; or NULL */
} fc_winograd;

typedef struct {
    double lr, momentum, l2, l1;
    int nesterov;
} fc_sgd;

/* y[n][f] = Σ over i < depth of x[n][i] · w[f][i], + bias[f], or + y[n][f] with accumulate; then
 * max(·, 0) with relu.  Rows are x_row, w_row and y_row apart, the numbers of a row neighbours. */
typedef struct {
    ptrdiff_t images, filters, depth, x_row, w_row, y_row;
    int accumulate, relu;
} fc_dots;

/* y[n][j] = Σ over k < depth of x[n][k] · w[k][j], + y[n][j] with accumulate; for 1 to 3 images,
 * rows as above. */
typedef struct {
    ptrdiff_t images, columns, depth, x_row, w_row, y_row;
    int accumulate;
} fc_spread;

/* The tile functions of one instruction set and one dtype. */
typedef struct {
    const char *isa;
    int item, lanes;   /* bytes of an element; elements of a vector */
    int rows, vectors; /* largest tile of product */
    int dot_filters;   /* filters that dots takes at once */
    int lrn_pixels;    /* pixels in a block of lrn, a multiple of lanes */
    int depthwise_results; /* results of a tile of depthwise */

    void (*product)(const fc_product *p, int rows, const void *const *a, void *const *c);
    void (*dots)(const fc_dots *p, const void *x, const void *w, const void *bias, void *y);
    void (*spread)(const fc_spread *p, const void *x, const void *w, void *y);
    void (*span_dots)(const fc_spans *p, int rows, const void *const *a, const void *const *b,
                      void *sums);
    void (*copy)(ptrdiff_t rows, ptrdiff_t columns, void *y, ptrdiff_t y_row, ptrdiff_t y_column,
                 const void *x, ptrdiff_t x_row, ptrdiff_t x_column);
    void (*depthwise)(const fc_depthwise *p, const void *const *x, void *y);
    void (*depthwise_pair)(const fc_depthwise *even, const fc_depthwise *odd, ptrdiff_t columns,
                           const void *const *x, void *y);
    void (*depthwise_dw)(const fc_depthwise *p, const void *const *x, const void *dy, void *total);
    void (*lane_sums)(ptrdiff_t count, void *y, const void *x);
    void (*max_windows)(const fc_windows *p, const void *x, void *y, int32_t *index);
    void (*mean_windows)(const fc_windows *p, const void *x, void *y);
    void (*add)(ptrdiff_t rows, ptrdiff_t lanes, void *y, ptrdiff_t y_row, ptrdiff_t y_lane,
                const void *x, ptrdiff_t x_row, ptrdiff_t x_lane);
    void (*divide)(ptrdiff_t rows, ptrdiff_t lanes, void *y, const void *x, ptrdiff_t x_row,
                   ptrdiff_t x_lane, double height, const void *width, int accumulate);
    void (*combine)(ptrdiff_t count, ptrdiff_t kernel, ptrdiff_t stride, void *y, const void *x);
    void (*add_at)(const fc_scatter *p, void *y, const void *x, const int32_t *index);
    void (*add_rows)(ptrdiff_t rows, ptrdiff_t lanes, double *total, const void *x,
                     ptrdiff_t x_row, ptrdiff_t x_lane);
    void (*lrn)(const fc_lrn *p, const void *x, void *y, void *work);
    void (*lrn_dx)(const fc_lrn *p, const void *dy, const void *x, void *dx, void *work);
    /* r × r values of channels (data: r = n; filters: r < n) to n × n elements */
    void (*winograd_in)(int n, int r, ptrdiff_t channels, const void *x, ptrdiff_t x_row,
                        ptrdiff_t x_column, void *v, ptrdiff_t v_element);
    void (*winograd_out)(const fc_winograd *p, const void *s, void *y);

    void (*relu)(ptrdiff_t n, const void *x, void *y);
    void (*relu_dx)(ptrdiff_t n, const void *dy, const void *y, void *dx);
    void (*dropout)(ptrdiff_t n, const void *x, const void *chance, void *y, double p);
    double (*cross_entropy)(ptrdiff_t classes, ptrdiff_t label, double share, const void *scores,
                            void *dscores);
    void (*sgd)(const fc_sgd *p, ptrdiff_t n, void *w, const void *grad, void *velocity);
    void (*limit_norm)(ptrdiff_t n, void *w, double most);
} fc_tiles;

/* What was built and this processor can run, best first: found[2i] for float, found[2i + 1]
 * for double.  Returns how many pairs, at most `most`. */
int fc_find_tiles(const fc_tiles **found, int most);
int fc_halves_avx512(void);

#endif
