/* The machine's peak: multiply-adds on registers, as many chains as hide their latency.

   With -O2 -march=native the compiler makes one FMA instruction of each line's a * b + c.
   Ten chains: two per cycle of latency 4 or 5 need that many, and b, c and they fit in 16
   registers. */

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif

enum { CHAINS = 10, LANES = BYTES / 4 };
typedef float vector __attribute__((vector_size(BYTES)));

/* Returns the operations made: a multiply-add is two. */
double fma_peak(long rounds, float *sink)
{
    vector a[CHAINS], b, c, sum = {0};
    for (int i = 0; i < LANES; i++)
        b[i] = 0.999f, c[i] = 0.001f; /* tend to 1: no overflow, no denormals */
    for (int i = 0; i < CHAINS; i++)
        a[i] = b * (float)i; /* equal chains would be computed once */
    for (long r = 0; r < rounds; r++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++)
            a[i] = a[i] * b + c;
    }
    for (int i = 0; i < CHAINS; i++)
        sum += a[i];
    *sink = sum[0];
    return 2.0 * rounds * CHAINS * LANES;
}
