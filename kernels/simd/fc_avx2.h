/* 8 floats or 4 doubles, with FMA.  Meaning of each name: fc_scalar.h.
 *
 * No masked stores: one is 42 operations and 12 cycles on Zen 1 to 3 (uops.info); a tail goes by
 * halves of the vector, its half and so on. */
#include <immintrin.h>
#include <stdint.h>

#define FC_ROWS 6 /* × 2 vectors: 12 sums, 2 columns and 1 row fill 15 of 16 registers */
#define FC_VECS 2
#define FC_MASKED 0

#if FC_F64

typedef double real;
typedef int64_t fc_bits;
typedef __m256d fcv;
typedef __m256d fcm;
#define FC_LEN 4

FC_INLINE __m256i fc_mask(int n)
{
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}
FC_INLINE fcv fcv_zero(void) { return _mm256_setzero_pd(); }
FC_INLINE fcv fcv_set1(real a) { return _mm256_set1_pd(a); }
FC_INLINE fcv fcv_load(const real *p) { return _mm256_loadu_pd(p); }
FC_INLINE void fcv_store(real *p, fcv a) { _mm256_storeu_pd(p, a); }
FC_INLINE fcv fcv_load_tail(const real *p, int n) { return _mm256_maskload_pd(p, fc_mask(n)); }
FC_INLINE fcv fcv_load_part(const real *p, int from, int to)
{
    return _mm256_maskload_pd(p, _mm256_andnot_si256(fc_mask(from), fc_mask(to)));
}
FC_INLINE void fcv_store_tail(real *p, fcv a, int n)
{
    __m128d left = _mm256_castpd256_pd128(a);
    if (n & 2) {
        _mm_storeu_pd(p, left);
        left = _mm256_extractf128_pd(a, 1);
    }
    if (n & 1) _mm_store_sd(p + (n & 2), left);
}
FC_INLINE void fcv_store_part(real *p, fcv a, int from, int to)
{
    fcv_store_tail(p + from, from ? _mm256_permute2f128_pd(a, a, 1) : a, to - from);
}
FC_INLINE fcv fcv_add(fcv a, fcv b) { return _mm256_add_pd(a, b); }
FC_INLINE fcv fcv_sub(fcv a, fcv b) { return _mm256_sub_pd(a, b); }
FC_INLINE fcv fcv_mul(fcv a, fcv b) { return _mm256_mul_pd(a, b); }
FC_INLINE fcv fcv_div(fcv a, fcv b) { return _mm256_div_pd(a, b); }
FC_INLINE fcv fcv_fma(fcv a, fcv b, fcv c) { return _mm256_fmadd_pd(a, b, c); }
FC_INLINE fcv fcv_sqrt(fcv a) { return _mm256_sqrt_pd(a); }
FC_INLINE fcv fcv_max(fcv a, fcv b) { return _mm256_max_pd(a, b); }
FC_INLINE fcv fcv_pow2(fcv k)
{
    __m128i biased = _mm_add_epi32(_mm256_cvtpd_epi32(k), _mm_set1_epi32(1023));
    return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_cvtepi32_epi64(biased), 52));
}
FC_INLINE fcm fcv_more(fcv a, fcv b) { return _mm256_cmp_pd(a, b, _CMP_GT_OQ); }
FC_INLINE fcm fcv_wins(fcv a, fcv best)
{
    fcm ordered = _mm256_cmp_pd(best, best, _CMP_ORD_Q);
    return _mm256_and_pd(_mm256_cmp_pd(a, best, _CMP_NLE_UQ), ordered);
}
FC_INLINE fcm fcv_any_nan(fcv a, fcv b) { return _mm256_cmp_pd(a, b, _CMP_UNORD_Q); }
FC_INLINE fcm fcv_or(fcm a, fcm b) { return _mm256_or_pd(a, b); }
FC_INLINE int fcv_some(fcm c) { return _mm256_movemask_pd(c); }
FC_INLINE fcv fcv_select(fcm c, fcv a, fcv b) { return _mm256_blendv_pd(b, a, c); }
FC_INLINE fcv fcv_even(fcv a, fcv b)
{
    return _mm256_permute4x64_pd(_mm256_unpacklo_pd(a, b), _MM_SHUFFLE(3, 1, 2, 0));
}
FC_INLINE fcv fcv_odd(fcv a, fcv b)
{
    return _mm256_permute4x64_pd(_mm256_unpackhi_pd(a, b), _MM_SHUFFLE(3, 1, 2, 0));
}
FC_INLINE fcv fcv_next(fcv a) { return _mm256_permute4x64_pd(a, _MM_SHUFFLE(3, 3, 2, 1)); }
FC_INLINE fcv fcv_zip_low(fcv a, fcv b)
{
    return _mm256_permute2f128_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b), 0x20);
}
FC_INLINE fcv fcv_zip_high(fcv a, fcv b)
{
    return _mm256_permute2f128_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b), 0x31);
}
FC_INLINE fcv fcv_piece_low(fcv a, fcv b) { return _mm256_unpacklo_pd(a, b); }
FC_INLINE fcv fcv_piece_high(fcv a, fcv b) { return _mm256_unpackhi_pd(a, b); }
FC_INLINE fcv fcv_load_pieces(const real *const *p)
{
    return _mm256_set_m128d(_mm_loadu_pd(p[1]), _mm_loadu_pd(p[0]));
}
FC_INLINE fcv fcv_add_bits(fcv a, fcv b)
{
    return _mm256_castsi256_pd(_mm256_add_epi64(_mm256_castpd_si256(a), _mm256_castpd_si256(b)));
}
FC_INLINE fcv fcv_set1_bits(int32_t i) { return _mm256_castsi256_pd(_mm256_set1_epi64x(i)); }

#else

typedef float real;
typedef int32_t fc_bits;
typedef __m256 fcv;
typedef __m256 fcm;
#define FC_LEN 8

FC_INLINE __m256i fc_mask(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
FC_INLINE fcv fcv_zero(void) { return _mm256_setzero_ps(); }
FC_INLINE fcv fcv_set1(real a) { return _mm256_set1_ps(a); }
FC_INLINE fcv fcv_load(const real *p) { return _mm256_loadu_ps(p); }
FC_INLINE void fcv_store(real *p, fcv a) { _mm256_storeu_ps(p, a); }
FC_INLINE fcv fcv_load_tail(const real *p, int n) { return _mm256_maskload_ps(p, fc_mask(n)); }
FC_INLINE fcv fcv_load_part(const real *p, int from, int to)
{
    return _mm256_maskload_ps(p, _mm256_andnot_si256(fc_mask(from), fc_mask(to)));
}
FC_INLINE void fcv_store_tail(real *p, fcv a, int n)
{
    __m128 left = _mm256_castps256_ps128(a);
    if (n & 4) {
        _mm_storeu_ps(p, left);
        left = _mm256_extractf128_ps(a, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)p, left);
        left = _mm_movehl_ps(left, left);
        p += 2;
    }
    if (n & 1) _mm_store_ss(p, left);
}
FC_INLINE void fcv_store_part(real *p, fcv a, int from, int to)
{
    fcv_store_tail(p + from, from ? _mm256_permute2f128_ps(a, a, 1) : a, to - from);
}
FC_INLINE fcv fcv_add(fcv a, fcv b) { return _mm256_add_ps(a, b); }
FC_INLINE fcv fcv_sub(fcv a, fcv b) { return _mm256_sub_ps(a, b); }
FC_INLINE fcv fcv_mul(fcv a, fcv b) { return _mm256_mul_ps(a, b); }
FC_INLINE fcv fcv_div(fcv a, fcv b) { return _mm256_div_ps(a, b); }
FC_INLINE fcv fcv_fma(fcv a, fcv b, fcv c) { return _mm256_fmadd_ps(a, b, c); }
FC_INLINE fcv fcv_sqrt(fcv a) { return _mm256_sqrt_ps(a); }
FC_INLINE fcv fcv_max(fcv a, fcv b) { return _mm256_max_ps(a, b); }
FC_INLINE fcv fcv_pow2(fcv k)
{
    __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(k), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
}
FC_INLINE fcm fcv_more(fcv a, fcv b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
FC_INLINE fcm fcv_wins(fcv a, fcv best)
{
    fcm ordered = _mm256_cmp_ps(best, best, _CMP_ORD_Q);
    return _mm256_and_ps(_mm256_cmp_ps(a, best, _CMP_NLE_UQ), ordered);
}
FC_INLINE fcm fcv_any_nan(fcv a, fcv b) { return _mm256_cmp_ps(a, b, _CMP_UNORD_Q); }
FC_INLINE fcm fcv_or(fcm a, fcm b) { return _mm256_or_ps(a, b); }
FC_INLINE int fcv_some(fcm c) { return _mm256_movemask_ps(c); }
FC_INLINE fcv fcv_select(fcm c, fcv a, fcv b) { return _mm256_blendv_ps(b, a, c); }
FC_INLINE fcv fcv_even(fcv a, fcv b)
{
    __m256 pairs = _mm256_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0));
    __m256d halves = _mm256_castps_pd(pairs);
    return _mm256_castpd_ps(_mm256_permute4x64_pd(halves, _MM_SHUFFLE(3, 1, 2, 0)));
}
FC_INLINE fcv fcv_odd(fcv a, fcv b)
{
    __m256 pairs = _mm256_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1));
    __m256d halves = _mm256_castps_pd(pairs);
    return _mm256_castpd_ps(_mm256_permute4x64_pd(halves, _MM_SHUFFLE(3, 1, 2, 0)));
}
FC_INLINE fcv fcv_next(fcv a)
{
    return _mm256_permutevar8x32_ps(a, _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 7));
}
FC_INLINE fcv fcv_zip_low(fcv a, fcv b)
{
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x20);
}
FC_INLINE fcv fcv_zip_high(fcv a, fcv b)
{
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x31);
}
FC_INLINE fcv fcv_piece_low(fcv a, fcv b) { return _mm256_unpacklo_ps(a, b); }
FC_INLINE fcv fcv_piece_high(fcv a, fcv b) { return _mm256_unpackhi_ps(a, b); }
FC_INLINE fcv fcv_load_pieces(const real *const *p)
{
    return _mm256_set_m128(_mm_loadu_ps(p[1]), _mm_loadu_ps(p[0]));
}
FC_INLINE fcv fcv_add_bits(fcv a, fcv b)
{
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)));
}
FC_INLINE fcv fcv_set1_bits(int32_t i) { return _mm256_castsi256_ps(_mm256_set1_epi32(i)); }

#endif

FC_INLINE fcv fcv_load_bits(const fc_bits *p) { return fcv_load((const real *)p); }
FC_INLINE void fcv_store_bits(fc_bits *p, fcv a) { fcv_store((real *)p, a); }
FC_INLINE fcv fcv_keep(fcv a) { __asm__("" : "+x"(a)); return a; }
