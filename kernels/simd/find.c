/* Which instruction sets were built and can run here. */
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include "fc.h"

#define FC_DECLARE(isa) extern const fc_tiles fc_tiles_##isa##_f32, fc_tiles_##isa##_f64;
FC_DECLARE(scalar)
#if defined(__x86_64__)
FC_DECLARE(sse2)
FC_DECLARE(avx2)
FC_DECLARE(avx512)
#elif defined(__aarch64__)
FC_DECLARE(neon)
#endif

#define FC_ADD(isa)                                     \
    do {                                                \
        if (n < most) {                                 \
            found[2 * n] = &fc_tiles_##isa##_f32;        \
            found[2 * n + 1] = &fc_tiles_##isa##_f64;        \
            n++;                                        \
        }                                               \
    } while (0)

/* Family 19h (Zen 4) does a vector of 512 bits in two halves.  (Of Intel's some have one unit
 * instead of two, which nothing tells.) */
int fc_halves_avx512(void)
{
#if defined(__x86_64__)
    unsigned a, b, c, d;
    if (!__get_cpuid(0, &a, &b, &c, &d) || c != signature_AMD_ecx) return 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    return (a >> 8 & 0xf) + (a >> 20 & 0xff) == 0x19;
#else
    return 0;
#endif
}

int fc_find_tiles(const fc_tiles **found, int most)
{
    int n = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
        FC_ADD(avx512);
    if (avx2) FC_ADD(avx2);
    FC_ADD(sse2);
#elif defined(__aarch64__)
    FC_ADD(neon);
#endif
    FC_ADD(scalar);
    return n;
}
