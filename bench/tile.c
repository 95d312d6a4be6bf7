/* The micro-kernel alone: a packed panel and rows that stay in L1; nothing is gathered, packed or
   unrolled.  What it makes is the most that a direct convolution can.

   TILES is the table of the instruction set (kernels/simd/tiles.h), for float. */
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "fc.h"

extern const fc_tiles TILES;

enum { TILES_OF_ROWS = 4, MOST_ROWS = 16 * TILES_OF_ROWS };

static float row_value(long m, long i) { return (float)((m + i) % 5 - 2); }
static float panel_value(long i, long j) { return (float)((3 * i + j) % 7 - 3); }

/* The largest difference from plain sums, of whole numbers: 0 if all is well. */
static float error_of(const float *c, long rows, long columns, long depth)
{
    float most = 0;
    for (long m = 0; m < rows; m++)
        for (long j = 0; j < columns; j++) {
            float sum = 0;
            for (long i = 0; i < depth; i++) sum += row_value(m, i) * panel_value(i, j);
            most = fmaxf(most, fabsf(sum - c[m * columns + j]));
        }
    return most;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* Multiplies some tiles of rows by one panel, `rounds` times; returns GFLOP/s of that alone, a
   multiply-add being two operations, or 0 without memory. */
double tile(long rounds, long depth, float *error)
{
    const long rows = TILES_OF_ROWS * TILES.rows, columns = TILES.vectors * TILES.lanes;
    float *a = malloc(sizeof(float) * (rows * depth)), *c = malloc(sizeof(float) * rows * columns);
    float *w = aligned_alloc(64, (sizeof(float) * depth * columns + 63) / 64 * 64);
    const void *row[MOST_ROWS];
    void *result[MOST_ROWS];
    ptrdiff_t offset = 0;
    fc_product p = {.taps = 1, .run = depth, .step = 1, .offset = &offset, .w = w,
                    .c_vector = TILES.lanes, .each = TILES.lanes, .vectors = TILES.vectors,
                    .columns = (int)columns};
    double speed = 0;
    if (a && c && w) {
        for (long m = 0; m < rows; m++) {
            row[m] = a + m * depth, result[m] = c + m * columns;
            for (long i = 0; i < depth; i++) a[m * depth + i] = row_value(m, i);
        }
        for (long i = 0; i < depth; i++)
            for (long j = 0; j < columns; j++) w[i * columns + j] = panel_value(i, j);
        double start = now();
        for (long r = 0; r < rounds; r++)
            for (long m = 0; m < rows; m += TILES.rows)
                TILES.product(&p, TILES.rows, row + m, result + m);
        speed = 2e-9 * rounds * rows * columns * depth / (now() - start);
        *error = error_of(c, rows, columns, depth);
    }
    free(a), free(c), free(w);
    return speed;
}
