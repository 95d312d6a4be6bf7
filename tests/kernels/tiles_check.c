/* Every tile function of every instruction set found here against the scalar ones.
 *
 * Built and run by test_tiles.py; for another architecture by hand, e.g.
 *   aarch64-linux-gnu-gcc -std=gnu11 -O3 -static -Ikernels/simd tests/kernels/tiles_check.c \
 *       kernels/simd/find.c kernels/simd/tiles_scalar_*.c kernels/simd/tiles_neon_*.c -lm
 *   qemu-aarch64 a.out
 *
 * Values are small integers, so results must be equal bit for bit (but for lrn's powers).
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
        double x = t->item == 4 ? ((const float *)a)[i] : ((const double *)a)[i];
        double y = t->item == 4 ? ((const float *)b)[i] : ((const double *)b)[i];
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
    ptrdiff_t offset[TAPS] = {0, RUN, 2 * RUN}, w_offset[TAPS] = {0, width, 2 * width};
    const void *row[16];
    void *result[16];
    fc_product p = {.taps = TAPS, .run = RUN, .step = 1, .offset = offset, .w = w,
                    .w_offset = planar ? w_offset : NULL, .w_step = 1, .w_vector = t->lanes,
                    .c_vector = t->lanes, .bias = bias, .by_row = planar, .vectors = vectors,
                    .columns = columns, .each = t->lanes, .relu = relu};
    for (int m = 0; m < 16; m++) {
        int real = m < rows ? m : rows - 1;
        row[m] = a + real * TAPS * RUN * t->item;
        result[m] = c + real * columns * t->item;
    }
    for (int m = 0; m < rows; m++)
        for (int j = 0; j < columns; j++) {
            double sum = 0;
            for (int k = 0; k < TAPS * RUN; k++) {
                ptrdiff_t at = planar ? w_offset[k / RUN] + k % RUN + j : k * width + j;
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
static void check_dots(const fc_tiles *t, int rows, int run)
{
    int wide = t->vectors, sums = t->rows * wide;
    ptrdiff_t n = 2 * run + 1;
    char *a = numbers(rows * n, t->item), *b = numbers(wide * n, t->item);
    char *sum = numbers(sums * t->lanes, t->item), *before = copy_of(sum, sums * t->lanes * t->item);
    char *want = numbers(sums, t->item);
    const void *row[16], *column[16];
    fc_dots p = {.spans = 2, .run = run, .a_span = run + 1, .b_span = run, .ahead = a};
    for (int m = 0; m < 16; m++) {
        row[m] = a + (m < rows ? m : rows - 1) * n * t->item;
        column[m] = b + (m < wide ? m : wide - 1) * n * t->item;
    }
    t->fold(sums, before, before);
    for (int m = 0; m < rows; m++)
        for (int v = 0; v < wide; v++) {
            double total = at(t, before, m * wide + v);
            for (int i = 0; i < 2 * run; i++)
                total += at(t, a, m * n + i + i / run) * at(t, b, v * n + i);
            if (t->item == 4) ((float *)want)[m * wide + v] = (float)total;
            else ((double *)want)[m * wide + v] = total;
        }
    t->dots(&p, rows, row, column, sum);
    t->fold(sums, sum, sum);
    expect(t, "dots", sum, want, rows * wide, 0);
    free(a), free(b), free(sum), free(before), free(want);
}

static void check_windows(const fc_tiles *t, const fc_tiles *scalar, int lanes, int step)
{
    ptrdiff_t n = 2 * (lanes * step + 2), results = 2 * lanes;
    ptrdiff_t offset[4] = {0, 1, n / 2, n / 2 + 1};
    int32_t index[4] = {0, 1, 40, 41}, found[256], wanted[256];
    char *x = numbers(n, t->item), *y = numbers(results, t->item);
    char *want = copy_of(y, results * t->item);
    fc_windows p = {.taps = 4, .rows = 1, .lanes = lanes, .offset = offset, .index = index,
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

static void check_sums(const fc_tiles *t, const fc_tiles *scalar, int lanes)
{
    char *x = numbers(3 * lanes, t->item), *y = numbers(3 * lanes, t->item);
    char *want = copy_of(y, 3 * lanes * t->item);
    double total[64] = {0}, wanted[64] = {0}, width[3] = {1, 2, 4};
    t->add(3, lanes, y, lanes, 1, x, lanes, 1);
    scalar->add(3, lanes, want, lanes, 1, x, lanes, 1);
    expect(t, "add", y, want, 3 * lanes, 0);
    t->divide(3, lanes, y, x, lanes, 1, 2, width);
    scalar->divide(3, lanes, want, x, lanes, 1, 2, width);
    expect(t, "divide", y, want, 3 * lanes, 0);
    t->add_rows(3, lanes, total, x, lanes, 1);
    scalar->add_rows(3, lanes, wanted, x, lanes, 1);
    if (memcmp(total, wanted, sizeof total)) {
        printf("%s add_rows: %d lanes differ\n", t->isa, lanes);
        failures++;
    }
    free(x), free(y), free(want);
}

static void check_add_at(const fc_tiles *t, const fc_tiles *scalar, int lanes)
{
    int32_t index[64];
    char *x = numbers(lanes, t->item), *y = numbers(3 * lanes, t->item);
    char *want = copy_of(y, 3 * lanes * t->item);
    for (int l = 0; l < lanes; l++) index[l] = l % 3; /* several meet in a cell */
    t->add_at(lanes, y, 1, 0, x, 1, index, 1);
    scalar->add_at(lanes, want, 1, 0, x, 1, index, 1);
    t->add_at(lanes, y, lanes, 1, x, 1, index, 1);
    scalar->add_at(lanes, want, lanes, 1, x, 1, index, 1);
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
        for (int rows = 1; rows < 40; rows += 3)
            for (int columns = 1; columns < 40; columns++) check_copy(t, scalar, rows, columns);
        for (int rows = 1; rows <= t->rows; rows++)
            for (int run = 1; run < 40; run++) check_dots(t, rows, run);
        for (int lanes = 1; lanes < 40; lanes++) {
            check_even(t, lanes);
            for (int step = 1; step < 4; step++) check_windows(t, scalar, lanes, step);
            check_sums(t, scalar, lanes);
            check_add_at(t, scalar, lanes);
        }
        check_lrn(t, 0.75);
        check_lrn(t, 0.6);
        check_lrn_dx(t, scalar, 0.75);
        check_lrn_dx(t, scalar, 0.6);
        printf("%s %d: checked\n", t->isa, t->item);
    }
    printf("%d failures\n", failures);
    return failures != 0;
}
