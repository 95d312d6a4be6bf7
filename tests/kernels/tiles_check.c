/* Every tile function of every instruction set found here against the scalar ones.
 *
 * Built and run by test_tiles.py; for another architecture by hand, e.g.
 *   aarch64-linux-gnu-gcc -std=gnu11 -O3 -static -Ikernels/simd tests/kernels/tiles_check.c \
 *       kernels/simd/find.c kernels/simd/tiles_scalar_*.c kernels/simd/tiles_neon_*.c -lm
 *   qemu-aarch64 a.out
 *
 * Values are small integers, so results must be equal bit for bit (but for powers and norms).
 * Memory behind every array ends at its last element under the sanitizers.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fc.h"

enum { MOST = 8 };
static int failures;
static unsigned seed = 1;

static int digit(void) { return (int)((seed = seed * 1103515245u + 12345u) >> 16) % 9 - 4; }

/* n numbers of `item` bytes */
static void *numbers(ptrdiff_t n, int item)
{
    char *a = malloc((size_t)(n * item));
    for (ptrdiff_t i = 0; i < n; i++) {
        if (item == 4) ((float *)a)[i] = (float)digit();
        else ((double *)a)[i] = digit();
    }
    return a;
}

static void *copy_of(const void *a, ptrdiff_t bytes) { return memcpy(malloc((size_t)bytes), a, (size_t)bytes); }

static double at(const fc_tiles *t, const void *a, ptrdiff_t i)
{
    return t->item == 4 ? ((const float *)a)[i] : ((const double *)a)[i];
}

static void expect(const fc_tiles *t, const char *what, const void *a, const void *b,
                   ptrdiff_t n, double tolerance)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        double x = at(t, a, i), y = at(t, b, i);
        if (!(fabs(x - y) <= tolerance * (1 + fabs(y)))) {
            printf("%s %s: %g at %td, scalar %g\n", t->isa, what, x, i, y);
            failures++;
            return;
        }
    }
}

/* rows × columns, depth taps·run, against a plain sum */
static void check_product(const fc_tiles *t, int rows, int columns, int planar, int relu)
{
    enum { TAPS = 3, RUN = 5 };
    int vectors = (columns + t->lanes - 1) / t->lanes, width = vectors * t->lanes;
    ptrdiff_t a_size = rows * TAPS * RUN, w_size = TAPS * RUN * width + width;
    char *a = numbers(a_size, t->item), *w = numbers(w_size, t->item);
    char *c = numbers(rows * columns, t->item), *want = copy_of(c, rows * columns * t->item);
    char *bias = numbers(width + rows, t->item);
    ptrdiff_t offset[TAPS] = {0, RUN, 2 * RUN}, w_offset[TAPS * RUN];
    const void *row[16];
    void *result[16];
    fc_product p = {.taps = TAPS, .run = planar ? TAPS * RUN : RUN, .step = 1, .offset = offset, .w = w,
                    .w_offset = planar ? w_offset : NULL, .w_vector = t->lanes,
                    .c_vector = t->lanes, .bias = bias, .by_row = planar, .vectors = vectors,
                    .columns = columns, .each = t->lanes, .relu = relu};
    for (int k = 0; k < TAPS * RUN; k++) w_offset[k] = k / RUN * width + k % RUN;
    for (int m = 0; m < 16; m++) {
        int real = m < rows ? m : rows - 1;
        row[m] = a + real * TAPS * RUN * t->item;
        result[m] = c + real * columns * t->item;
    }
    for (int m = 0; m < rows; m++)
        for (int j = 0; j < columns; j++) {
            double sum = 0;
            for (int k = 0; k < TAPS * RUN; k++) {
                ptrdiff_t at = planar ? w_offset[k] + j : k * width + j;
                sum += t->item == 4 ? ((float *)a)[m * TAPS * RUN + k] * ((float *)w)[at]
                                    : ((double *)a)[m * TAPS * RUN + k] * ((double *)w)[at];
            }
            int b = planar ? m : j;
            sum += t->item == 4 ? ((float *)bias)[b] : ((double *)bias)[b];
            if (relu && sum < 0) sum = 0;
            if (t->item == 4) ((float *)want)[m * columns + j] = (float)sum;
            else ((double *)want)[m * columns + j] = sum;
        }
    t->product(&p, rows, row, result);
    expect(t, planar ? "product of planes" : "product", c, want, rows * columns, 0);
    p.relu = 0, p.bias = NULL;
    t->product(&p, rows, row, result);
    memcpy(want, c, (size_t)(rows * columns * t->item));
    t->add(1, rows * columns, want, 0, 1, c, 0, 1);
    p.accumulate = 1;
    t->product(&p, rows, row, result);
    expect(t, "product accumulated", c, want, rows * columns, 0);
    free(a), free(w), free(c), free(want), free(bias);
}

/* images × filters in one piece, then by halves with accumulate, against a plain sum */
static void check_dots(const fc_tiles *t, int images, int filters, int depth)
{
    ptrdiff_t n = images * filters;
    int half = depth / 2;
    char *x = numbers(images * depth, t->item), *w = numbers(filters * depth, t->item);
    char *bias = numbers(filters, t->item), *y = numbers(n, t->item), *want = copy_of(y, n * t->item);
    fc_dots p = {.images = images, .filters = filters, .depth = depth, .x_row = depth,
                 .w_row = depth, .y_row = filters, .relu = 1};
    for (int i = 0; i < n; i++) {
        double sum = at(t, bias, i % filters);
        for (int k = 0; k < depth; k++)
            sum += at(t, x, i / filters * depth + k) * at(t, w, i % filters * depth + k);
        sum = sum < 0 ? 0 : sum;
        if (t->item == 4) ((float *)want)[i] = (float)sum;
        else ((double *)want)[i] = sum;
    }
    t->dots(&p, x, w, bias, y);
    expect(t, "dots", y, want, n, 0);
    p.relu = 0, p.depth = half;
    t->dots(&p, x, w, bias, y);
    p.relu = 1, p.depth = depth - half, p.accumulate = 1;
    t->dots(&p, x + half * t->item, w + half * t->item, NULL, y);
    expect(t, "dots accumulated", y, want, n, 0);
    free(x), free(w), free(bias), free(y), free(want);
}

static void check_spread(const fc_tiles *t, const fc_tiles *scalar, int images, int columns, int depth)
{
    ptrdiff_t n = images * columns;
    char *x = numbers(images * depth, t->item), *w = numbers(depth * columns, t->item);
    char *y = numbers(n, t->item), *want = copy_of(y, n * t->item);
    fc_spread p = {.images = images, .columns = columns, .depth = depth, .x_row = depth,
                   .w_row = columns, .y_row = columns};
    for (p.accumulate = 0; p.accumulate < 2; p.accumulate++) {
        t->spread(&p, x, w, y);
        scalar->spread(&p, x, w, want);
        expect(t, "spread", y, want, n, 0);
    }
    free(x), free(w), free(y), free(want);
}

static void check_copy(const fc_tiles *t, const fc_tiles *scalar, int rows, int columns)
{
    ptrdiff_t n = rows * columns;
    char *x = numbers(n, t->item), *y = numbers(n, t->item), *want = copy_of(y, n * t->item);
    t->copy(rows, columns, y, columns, 1, x, 1, rows);
    scalar->copy(rows, columns, want, columns, 1, x, 1, rows);
    expect(t, "transpose", y, want, n, 0);
    t->copy(rows, columns, y, 1, rows, x, columns, 1);
    scalar->copy(rows, columns, want, 1, rows, x, columns, 1);
    expect(t, "transpose back", y, want, n, 0);
    free(x), free(y), free(want);
}

/* columns 1024 bytes apart: many of them are moved before they are transposed */
static void check_far_copy(const fc_tiles *t, const fc_tiles *scalar, int rows, int columns)
{
    ptrdiff_t n = rows * columns, step = 1024 / t->item;
    char *x = numbers(columns * step, t->item), *y = numbers(n, t->item);
    char *want = copy_of(y, n * t->item);
    t->copy(rows, columns, y, columns, 1, x, 1, step);
    scalar->copy(rows, columns, want, columns, 1, x, 1, step);
    expect(t, "transpose of far columns", y, want, n, 0);
    free(x), free(y), free(want);
}

/* rows × lanes of x with `edge` columns of padding on either side, against the scalar one;
 * by column every one, or every second, is read (`apart`) */
static void check_depthwise(const fc_tiles *t, const fc_tiles *scalar, int results, int lanes,
                            int along, int step, int dilation, int by_lane, int apart)
{
    enum { ACROSS = 3 };
    int tile = t->depthwise_results, edge = by_lane ? 0 : 1;
    int rows = (results - 1) * step + (along - 1) * dilation + 1;
    int entries = ((results + tile - 1) / tile * tile - 1) * step + (along - 1) * dilation + 1;
    int pitch = by_lane ? ACROSS * lanes : lanes * apart + 2 - 2 * edge, taps = ACROSS * along;
    int count = by_lane ? (lanes + t->lanes - 1) / t->lanes * t->lanes : t->lanes;
    ptrdiff_t offset[ACROSS] = {0, by_lane ? lanes : 1, by_lane ? 2 * lanes : 2}, i, u;
    char *x = numbers(rows * pitch, t->item), *w = numbers(taps * lanes, t->item);
    char *zeros = calloc((size_t)(pitch + 2), (size_t)t->item), *bias = numbers(lanes, t->item);
    char *y = numbers(results * lanes, t->item), *want = copy_of(y, results * lanes * t->item);
    char *total = calloc((size_t)(taps * count), (size_t)t->item);
    char *sums = calloc((size_t)taps, (size_t)t->item), *wanted = calloc((size_t)taps, (size_t)t->item);
    char *scalar_total = calloc((size_t)(taps * count), (size_t)t->item);
    const void **table = malloc((size_t)entries * sizeof(void *));
    for (u = 0; u < entries; u++)
        table[u] = u < rows ? x + (u * pitch - edge) * t->item : zeros;
    fc_depthwise p = {.sources = 1, .across = ACROSS, .along = along, .step = step,
                      .dilation = dilation, .results = results, .lanes = lanes, .low = edge,
                      .high = pitch + edge, .offset = offset, .most_offset = offset[2], .w = w,
                      .w_across = lanes, .w_along = ACROSS * lanes, .w_lane = by_lane,
                      .lane_step = apart, .bias = bias, .y_step = lanes, .relu = step == 1};
    t->depthwise(&p, table, y);
    scalar->depthwise(&p, table, want);
    expect(t, "depthwise", y, want, results * lanes, 0);
    p.w_across = count, p.w_along = ACROSS * count;
    t->depthwise_dw(&p, table, y, total);
    if (!by_lane) {
        t->lane_sums(taps, sums, total);
        p.w_across = 1, p.w_along = ACROSS;
        scalar->depthwise_dw(&p, table, y, wanted);
        expect(t, "depthwise_dw and lane_sums", sums, wanted, taps, 0);
    } else {
        scalar->depthwise_dw(&p, table, y, scalar_total);
        for (i = 0; i < taps; i++)
            expect(t, "depthwise_dw", total + i * count * t->item,
                   scalar_total + i * count * t->item, lanes, 0);
    }
    free(x), free(w), free(zeros), free(bias), free(y), free(want), free(total), free(sums);
    free(wanted), free(scalar_total), free(table);
}

/* Two phases at once, of 2 and 1 taps across, against one after the other */
static void check_pair(const fc_tiles *t, const fc_tiles *scalar, int results, int columns,
                       int along)
{
    int n = (columns + 1) / 2, tile = t->depthwise_results, taps = 2 * along, i, r;
    int rows = results + along - 1, entries = (results + tile - 1) / tile * tile + along - 1;
    ptrdiff_t offset[2] = {0, 1};
    char *x = numbers(rows * (n + 1), t->item), *w = numbers(2 * taps, t->item);
    char *y = numbers(results * columns, t->item), *want = copy_of(y, results * columns * t->item);
    char *apart = numbers(results * n, t->item);
    const void **table = malloc((size_t)entries * sizeof(void *));
    for (i = 0; i < entries; i++) table[i] = x + (i < rows ? i : 0) * (n + 1) * t->item;
    for (i = 0; i < 2; i++) {
        fc_depthwise p = {.sources = 1, .across = 2 - i, .along = along, .step = 1, .dilation = 1,
                          .results = results, .lanes = i ? columns / 2 : n, .lane_step = 1,
                          .high = n + 1, .offset = offset, .most_offset = 1 - i,
                          .w = w + i * taps * t->item, .w_across = along, .w_along = 1,
                          .y_step = n};
        scalar->depthwise(&p, table, apart);
        for (r = 0; r < results; r++)
            scalar->copy(1, p.lanes, want + (r * columns + i) * t->item, 0, 2,
                         apart + r * n * t->item, 0, 1);
    }
    fc_depthwise even = {.sources = 1, .across = 2, .along = along, .step = 1, .dilation = 1,
                         .results = results, .lanes = n, .lane_step = 1, .high = n + 1,
                         .offset = offset, .most_offset = 1, .w = w, .w_across = along,
                         .w_along = 1, .y_step = columns};
    fc_depthwise odd = even;
    odd.across = 1, odd.lanes = columns / 2, odd.most_offset = 0, odd.w = w + taps * t->item;
    t->depthwise_pair(&even, &odd, columns, table, y);
    expect(t, "depthwise_pair", y, want, results * columns, 0);
    free(x), free(w), free(y), free(want), free(apart), free(table);
}

static void check_even(const fc_tiles *t, int columns)
{
    ptrdiff_t n = 2 * columns - 1;
    char *x = numbers(n, t->item), *y = numbers(columns, t->item), *want = numbers(columns, t->item);
    for (int c = 0; c < columns; c++) memcpy(want + c * t->item, x + 2 * c * t->item, (size_t)t->item);
    t->copy(1, columns, y, columns, 1, x, n, 2);
    expect(t, "every second", y, want, columns, 0);
    free(x), free(y), free(want);
}

/* rows × columns of dot products over two spans, onto what was there */
static void check_span_dots(const fc_tiles *t, int rows, int run)
{
    int wide = t->vectors, sums = t->rows * wide;
    ptrdiff_t n = 2 * run + 1;
    char *a = numbers(rows * n, t->item), *b = numbers(wide * n, t->item);
    char *sum = numbers(sums * t->lanes, t->item), *before = copy_of(sum, sums * t->lanes * t->item);
    char *want = numbers(sums, t->item);
    const void *row[16], *column[16];
    fc_spans p = {.spans = 2, .run = run, .a_span = run + 1, .b_span = run, .ahead = a};
    for (int m = 0; m < 16; m++) {
        row[m] = a + (m < rows ? m : rows - 1) * n * t->item;
        column[m] = b + (m < wide ? m : wide - 1) * n * t->item;
    }
    t->lane_sums(sums, before, before);
    for (int m = 0; m < rows; m++)
        for (int v = 0; v < wide; v++) {
            double total = at(t, before, m * wide + v);
            for (int i = 0; i < 2 * run; i++)
                total += at(t, a, m * n + i + i / run) * at(t, b, v * n + i);
            if (t->item == 4) ((float *)want)[m * wide + v] = (float)total;
            else ((double *)want)[m * wide + v] = total;
        }
    t->span_dots(&p, rows, row, column, sum);
    t->lane_sums(sums, sum, sum);
    expect(t, "span_dots", sum, want, rows * wide, 0);
    free(a), free(b), free(sum), free(before), free(want);
}

static void check_windows(const fc_tiles *t, const fc_tiles *scalar, int lanes, int step)
{
    ptrdiff_t n = 2 * (lanes * step + 2), results = 2 * lanes;
    ptrdiff_t offset[4] = {0, 1, n / 2, n / 2 + 1};
    int32_t index[4] = {0, 1, 40, 41}, found[256], wanted[256];
    char *x = numbers(n, t->item), *y = numbers(results, t->item);
    char *want = copy_of(y, results * t->item);
    fc_windows p = {.taps = 4, .across = 1, .rows = 1, .lanes = lanes, .offset = offset, .index = index,
                    .x_row = n, .x_lane = step, .y_row = lanes, .y_lane = 2, .index_row = lanes,
                    .index_lane = 1, .first_index = 7, .next_row = 80, .next_lane = step, .area = 4};
    if (t->item == 4) ((float *)x)[n / 2] = NAN;
    else ((double *)x)[n / 2] = NAN;
    t->max_windows(&p, x, y, found);
    scalar->max_windows(&p, x, want, wanted);
    if (memcmp(y, want, (size_t)(results * t->item)) || memcmp(found, wanted, (size_t)lanes * 4)) {
        printf("%s max_windows: %d lanes by %d differ\n", t->isa, lanes, step);
        failures++;
    }
    memset(x + n / 2 * t->item, 0, (size_t)t->item);
    t->mean_windows(&p, x, y);
    scalar->mean_windows(&p, x, want);
    expect(t, "mean_windows", y, want, results, 0);
    free(x), free(y), free(want);
}

static void put_nan(char *x, ptrdiff_t at, size_t item)
{
    if (item == 4) ((float *)x)[at] = NAN;
    else ((double *)x)[at] = NAN;
}

/* Windows by twos, of size × size neighbours: of four rows, without a NaN, and with one in any row;
 * maxima alone, memory asked for ahead or not, and with indices */
static void check_twos(const fc_tiles *t, const fc_tiles *scalar, int lanes, int size, int gap)
{
    ptrdiff_t wide = 2 * (lanes - 1) + size, n = (size + 6) * wide, results = 4 * (lanes + gap);
    ptrdiff_t offset[9];
    int32_t index[9], *found = calloc((size_t)results, 4), *wanted = calloc((size_t)results, 4);
    for (int i = 0; i < size * size; i++) index[i] = (int32_t)(offset[i] = i / size * wide + i % size);
    char *x = numbers(n, t->item), *y = numbers(results, t->item);
    char *want = copy_of(y, results * t->item), *cells = copy_of(x, n * t->item);
    fc_windows p = {.taps = size * size, .across = size, .rows = 4, .lanes = lanes, .offset = offset,
                    .index = index, .x_row = 2 * wide, .x_lane = 2, .y_row = lanes + gap, .y_lane = 1,
                    .index_row = lanes + gap, .index_lane = 1, .first_index = 7,
                    .next_row = (int32_t)(2 * wide), .next_lane = 2};
    for (int row = -1; row < size + 6; row++) {
        memcpy(x, cells, (size_t)n * t->item);
        if (row >= 0) put_nan(x, row * wide + (7 * row + 1) % wide, t->item);
        p.ahead = row % 2 ? 1000 : 0;
        for (int indexed = 0; indexed < 2; indexed++) {
            t->max_windows(&p, x, y, indexed ? found : NULL);
            scalar->max_windows(&p, x, want, indexed ? wanted : NULL);
            if (memcmp(y, want, (size_t)(results * t->item))
                || memcmp(found, wanted, (size_t)results * 4)) {
                printf("%s max_windows: %d by twos of %d differ\n", t->isa, lanes, size);
                failures++;
            }
        }
    }
    free(x), free(y), free(want), free(cells), free(found), free(wanted);
}

static void check_sums(const fc_tiles *t, const fc_tiles *scalar, int lanes)
{
    char *x = numbers(3 * lanes, t->item), *y = numbers(3 * lanes, t->item);
    char *want = copy_of(y, 3 * lanes * t->item);
    double total[64] = {0}, wanted[64] = {0}, width[3] = {1, 2, 4};
    float narrow[3] = {1, 2, 4};
    const void *widths = t->item == 4 ? (void *)narrow : (void *)width;
    t->add(3, lanes, y, lanes, 1, x, lanes, 1);
    scalar->add(3, lanes, want, lanes, 1, x, lanes, 1);
    expect(t, "add", y, want, 3 * lanes, 0);
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        t->divide(3, lanes, y, x, lanes, 1, 2, widths, accumulate);
        scalar->divide(3, lanes, want, x, lanes, 1, 2, widths, accumulate);
        t->divide(3, 1, y, x, 1, 0, 2, widths, accumulate);
        scalar->divide(3, 1, want, x, 1, 0, 2, widths, accumulate);
    }
    expect(t, "divide", y, want, 3 * lanes, 0);
    t->add_rows(3, lanes, total, x, lanes, 1);
    scalar->add_rows(3, lanes, wanted, x, lanes, 1);
    if (memcmp(total, wanted, sizeof total)) {
        printf("%s add_rows: %d lanes differ\n", t->isa, lanes);
        failures++;
    }
    free(x), free(y), free(want);
}

static void check_combine(const fc_tiles *t, const fc_tiles *scalar, int kernel, int stride)
{
    enum { COUNT = 48 }; /* whole vectors, of any instruction set */
    char *x = numbers(kernel + COUNT, t->item), *y = numbers(COUNT * stride, t->item);
    char *want = copy_of(y, COUNT * stride * t->item);
    t->combine(COUNT, kernel, stride, y, x + kernel * t->item);
    scalar->combine(COUNT, kernel, stride, want, x + kernel * t->item);
    expect(t, "combine", y, want, COUNT * stride, 0);
    free(x), free(y), free(want);
}

static void check_add_at(const fc_tiles *t, const fc_tiles *scalar, int lanes)
{
    int32_t index[64];
    char *x = numbers(lanes, t->item), *y = numbers(3 * lanes, t->item);
    char *want = copy_of(y, 3 * lanes * t->item);
    for (int l = 0; l < lanes; l++) index[l] = l % 3; /* several meet in a cell */
    fc_scatter plane = {.rows = 1, .lanes = lanes, .y_step = 1, .x_lane = 1, .index_lane = 1};
    fc_scatter pixel = {.rows = 1, .lanes = lanes, .y_step = lanes, .y_lane = 1, .x_lane = 1,
                        .index_lane = 1};
    fc_scatter apart = {.rows = lanes, .lanes = 1, .y_step = 1, .x_row = 1, .index_row = 1};
    const fc_scatter *each[3] = {&plane, &pixel, &apart};
    for (int i = 0; i < 3; i++) {
        t->add_at(each[i], y, x, index);
        scalar->add_at(each[i], want, x, index);
    }
    expect(t, "add_at", y, want, 3 * lanes, 0);
    free(x), free(y), free(want);
}

/* against the formula, in double */
static void check_lrn(const fc_tiles *t, double beta)
{
    enum { C = 7, SIZE = 4 };
    int pixels = t->lrn_pixels;
    ptrdiff_t n = C * pixels;
    fc_lrn p = {C, SIZE, 0.05, beta, 2};
    void *x = numbers(n, t->item), *y = numbers(n, t->item), *work = numbers(2 * (n + SIZE * pixels), t->item);
    t->lrn(&p, x, y, work);
    for (int i = 0; i < n; i++) {
        double sum = 0, c = i / pixels;
        for (int s = -SIZE / 2; s <= (SIZE - 1) / 2; s++)
            if (c + s >= 0 && c + s < C) sum += pow(at(t, x, i + s * pixels), 2);
        double want = at(t, x, i) * pow(2 + 0.05 * sum, -beta);
        if (fabs(at(t, y, i) - want) > (t->item == 4 ? 1e-6 : 1e-14) * (1 + fabs(want))) {
            printf("%s lrn: %g, not %g\n", t->isa, at(t, y, i), want);
            failures++;
            break;
        }
    }
    free(x), free(y), free(work);
}

/* against the scalar one, pixel by pixel: blocks differ in their width */
static void check_lrn_dx(const fc_tiles *t, const fc_tiles *scalar, double beta)
{
    enum { C = 7, SIZE = 4 };
    int wide = t->lrn_pixels, narrow = scalar->lrn_pixels;
    fc_lrn p = {C, SIZE, 0.05, beta, 2};
    char *x = numbers(C * wide, t->item), *dy = numbers(C * wide, t->item);
    char *dx = numbers(C * wide, t->item), *work = numbers(2 * (C + SIZE) * wide, t->item);
    char *few = numbers(C * narrow, t->item), *grads = copy_of(few, C * narrow * t->item);
    char *want = copy_of(few, C * narrow * t->item), *got = copy_of(few, C * narrow * t->item);
    char *scalar_work = numbers(2 * (C + SIZE) * narrow, t->item);
    t->lrn_dx(&p, dy, x, dx, work);
    for (int first = 0; first + narrow <= wide; first += narrow) {
        scalar->copy(C, narrow, few, narrow, 1, x + first * t->item, wide, 1);
        scalar->copy(C, narrow, grads, narrow, 1, dy + first * t->item, wide, 1);
        scalar->copy(C, narrow, got, narrow, 1, dx + first * t->item, wide, 1);
        scalar->lrn_dx(&p, grads, few, want, scalar_work);
        expect(t, "lrn_dx", got, want, C * narrow, t->item == 4 ? 1e-5 : 1e-13);
    }
    free(x), free(dy), free(dx), free(work), free(few), free(grads), free(want), free(got);
    free(scalar_work);
}

static void check_elementwise(const fc_tiles *t, const fc_tiles *scalar, int n)
{
    char *x = numbers(n, t->item), *z = numbers(n, t->item), *y = numbers(n, t->item);
    char *want = copy_of(y, n * t->item);
    t->relu(n, x, y);
    scalar->relu(n, x, want);
    expect(t, "relu", y, want, n, 0);
    t->relu_dx(n, z, x, y);
    scalar->relu_dx(n, z, x, want);
    expect(t, "relu_dx", y, want, n, 0);
    t->dropout(n, x, z, y, 0.5);
    scalar->dropout(n, x, z, want, 0.5);
    expect(t, "dropout", y, want, n, 0);
    free(x), free(z), free(y), free(want);
}

static void check_update(const fc_tiles *t, const fc_tiles *scalar, int n, int kind)
{
    fc_sgd p = {.lr = 0.5, .momentum = 0.5, .l2 = 0.25, .l1 = 2, .nesterov = kind == 2};
    char *grad = numbers(n, t->item), *w = numbers(n, t->item), *v = numbers(n, t->item);
    char *want = copy_of(w, n * t->item), *want_v = copy_of(v, n * t->item);
    t->sgd(&p, n, w, grad, kind ? v : NULL);
    scalar->sgd(&p, n, want, grad, kind ? want_v : NULL);
    expect(t, "sgd", w, want, n, 0);
    expect(t, "sgd's velocity", v, want_v, n, 0);
    t->limit_norm(n, w, 1.5);
    scalar->limit_norm(n, want, 1.5);
    expect(t, "limit_norm", w, want, n, t->item == 4 ? 1e-6 : 1e-14);
    free(grad), free(w), free(v), free(want), free(want_v);
}

static void check_loss(const fc_tiles *t, const fc_tiles *scalar, int n)
{
    double tolerance = t->item == 4 ? 1e-6 : 1e-14;
    char *s = numbers(n, t->item), *d = numbers(n, t->item), *want = copy_of(d, n * t->item);
    double loss = t->cross_entropy(n, n / 2, 0.25, s, d);
    double wanted = scalar->cross_entropy(n, n / 2, 0.25, s, want);
    expect(t, "cross_entropy", d, want, n, tolerance);
    if (!(fabs(loss - wanted) <= tolerance * (1 + wanted))) {
        printf("%s cross_entropy: %g, scalar %g\n", t->isa, loss, wanted);
        failures++;
    }
    if (t->item == 4) ((float *)s)[n - 1] = NAN;
    else ((double *)s)[n - 1] = NAN;
    if (!isnan(t->cross_entropy(n, 0, 1, s, d)) || !isnan(at(t, d, 0))) {
        printf("%s cross_entropy: a NaN was lost\n", t->isa);
        failures++;
    }
    free(s), free(d), free(want);
}

/* Winograd's matrices by their definition: polynomials at these points, and infinity last. */
static const double point[7] = {0, 1, -1, 2, -2, 0.5, -0.5};

/* Bᵀ[e][i]: the coefficient of x^i in Π (x - p) over all points but that of e */
static double of_data(int n, int e, int i)
{
    double c[8] = {1};
    for (int k = 0, degree = 0; k < n - 1; k++) {
        if (k == e) continue;
        for (int j = ++degree; j >= 0; j--) c[j] = (j ? c[j - 1] : 0) - point[k] * c[j];
    }
    return c[i];
}

/* G[e][i], of r taps */
static double of_taps(int n, int r, int e, int i)
{
    double others = 1;
    if (e == n - 1) return i == r - 1;
    for (int k = 0; k < n - 1; k++)
        if (k != e) others *= point[e] - point[k];
    return pow(point[e], i) / others;
}

/* Aᵀ[i][e], of m results */
static double of_sums(int n, int m, int i, int e) { return e == n - 1 ? i == m - 1 : pow(point[e], i); }

static void put(const fc_tiles *t, void *a, ptrdiff_t i, double value)
{
    if (t->item == 4) ((float *)a)[i] = (float)value;
    else ((double *)a)[i] = value;
}

/* r × r values, read forwards or (as dx reads filters) backwards; zeros behind the channels */
static void check_winograd_in(const fc_tiles *t, int n, int r, int channels, int sign)
{
    int width = (channels + t->lanes - 1) / t->lanes * t->lanes, window = r * r;
    char *x = numbers(window * channels, t->item), *v = numbers(n * n * width, t->item);
    char *want = copy_of(v, n * n * width * t->item);
    char *first = x + (sign < 0 ? (window - 1) * channels * t->item : 0);
    for (int e = 0; e < n * n; e++)
        for (int c = 0; c < width; c++) {
            double sum = 0;
            for (int k = 0; k < window && c < channels; k++) {
                int row = e / n, column = e % n, i = k / r, j = k % r;
                double b = r == n ? of_data(n, row, i) * of_data(n, column, j)
                                  : of_taps(n, r, row, i) * of_taps(n, r, column, j);
                sum += b * at(t, x, (sign < 0 ? window - 1 - k : k) * channels + c);
            }
            put(t, want, e * width + c, sum);
        }
    t->winograd_in(n, r, channels, first, sign * r * channels, sign * channels, v, width);
    expect(t, "winograd_in", v, want, n * n * width, t->item == 4 ? 1e-4 : 1e-13);
    free(x), free(v), free(want);
}

/* the first rows × columns of m × m results, and nothing else */
static void check_winograd_out(const fc_tiles *t, int n, int m, int rows, int columns, int filters,
                               int relu)
{
    int width = (filters + t->lanes - 1) / t->lanes * t->lanes, results = rows * columns * filters;
    char *s = numbers(n * n * width, t->item), *bias = numbers(width, t->item);
    char *y = numbers(results, t->item), *want = copy_of(y, results * t->item);
    fc_winograd p = {.n = n, .m = m, .rows = rows, .columns = columns, .filters = filters,
                     .relu = relu, .s_element = width, .y_row = columns * filters,
                     .y_column = filters, .bias = relu ? bias : NULL};
    for (int k = 0; k < results; k++) {
        int row = k / filters / columns, column = k / filters % columns, f = k % filters;
        double sum = relu ? at(t, bias, f) : 0;
        for (int e = 0; e < n * n; e++)
            sum += of_sums(n, m, row, e / n) * of_sums(n, m, column, e % n) * at(t, s, e * width + f);
        put(t, want, k, relu && sum < 0 ? 0 : sum);
    }
    t->winograd_out(&p, s, y);
    expect(t, "winograd_out", y, want, results, t->item == 4 ? 1e-4 : 1e-13);
    free(s), free(bias), free(y), free(want);
}

static void check_winograd(const fc_tiles *t)
{
    static const int in[][2] = {{4, 4}, {6, 6}, {8, 8}, {4, 3}, {6, 3}, {8, 3},
                                {6, 5}, {8, 5}, {6, 4}, {8, 6}, {8, 4}};
    static const int out[][2] = {{4, 2}, {6, 4}, {8, 6}, {6, 2}, {8, 4}, {6, 3}, {8, 3}, {8, 5}};
    for (int lanes = 1; lanes <= 2 * t->lanes + 1; lanes++) {
        for (size_t i = 0; i < sizeof in / sizeof *in; i++)
            for (int sign = -1; sign <= 1; sign += 2)
                check_winograd_in(t, in[i][0], in[i][1], lanes, sign);
        for (size_t i = 0; i < sizeof out / sizeof *out; i++)
            for (int n = out[i][0], m = out[i][1], rows = 1; rows <= m; rows++) {
                check_winograd_out(t, n, m, rows, m + 1 - rows, lanes, rows % 2);
                check_winograd_out(t, n, m, rows, m, lanes, rows % 2);
            }
    }
}

int main(void)
{
    const fc_tiles *found[2 * MOST];
    int count = fc_find_tiles(found, MOST);
    for (int i = 0; i < 2 * count; i++) {
        const fc_tiles *t = found[i], *scalar = found[2 * (count - 1) + i % 2];
        for (int rows = 1; rows <= t->rows; rows++)
            for (int columns = 1; columns <= t->vectors * t->lanes; columns++)
                for (int kind = 0; kind < 4; kind++)
                    check_product(t, rows, columns, kind & 1, kind >> 1);
        for (int images = 1; images < 15; images++)
            for (int filters = 1; filters < 20; filters += 3)
                check_dots(t, images, filters, 9 * images);
        for (int columns = 1; columns < 40; columns++)
            for (int images = 1; images <= 3; images++)
                check_spread(t, scalar, images, columns, columns % 19 + 1);
        for (int rows = 1; rows < 40; rows += 3)
            for (int columns = 1; columns < 40; columns++) check_copy(t, scalar, rows, columns);
        for (int rows = 15; rows < 125; rows++)
            for (int columns = 7; columns < 140; columns += 9) check_far_copy(t, scalar, rows, columns);
        for (int rows = 1; rows <= t->rows; rows++)
            for (int run = 1; run < 40; run++) check_span_dots(t, rows, run);
        for (int lanes = 1; lanes < 40; lanes++) {
            check_even(t, lanes);
            for (int step = 1; step < 4; step++) check_windows(t, scalar, lanes, step);
            for (int kind = 0; kind < 4; kind++)
                check_twos(t, scalar, lanes, 2 + (kind & 1), kind & 2);
            for (int along = 1; along < 5; along++) check_pair(t, scalar, lanes % 9 + 1, lanes, along);
            for (int along = 1; along < 8; along++)
                for (int kind = 0; kind < 12; kind++)
                    check_depthwise(t, scalar, lanes % 9 + 1, lanes, along, 1 + (kind & 1),
                                    1 + (kind >> 1 & 1), kind >> 2 == 1, 1 + (kind >> 3));
            check_sums(t, scalar, lanes);
            check_add_at(t, scalar, lanes);
            check_elementwise(t, scalar, lanes);
            for (int kind = 0; kind < 3; kind++) check_update(t, scalar, lanes, kind);
            check_loss(t, scalar, lanes);
        }
        check_winograd(t);
        for (int kernel = 1; kernel < 8; kernel++)
            for (int stride = 1; stride < 5; stride++) check_combine(t, scalar, kernel, stride);
        check_lrn(t, 0.75);
        check_lrn(t, 0.6);
        check_lrn_dx(t, scalar, 0.75);
        check_lrn_dx(t, scalar, 0.6);
        printf("%s %d: checked\n", t->isa, t->item);
    }
    printf("%d failures\n", failures);
    return failures != 0;
}
