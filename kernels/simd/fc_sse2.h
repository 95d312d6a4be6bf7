/* 4 floats or 2 doubles, the baseline of x86-64.  Meaning of each name: fc_scalar.h. */
#include <emmintrin.h>
#include <stdint.h>

#define FC_ROWS 6
#define FC_VECS 2
#define FC_MASKED 0

#if FC_F64

typedef double real;
typedef int64_t fc_bits;
typedef __m128d fcv;
typedef __m128d fcm;
#define FC_LEN 2

FC_INLINE fcv fcv_zero(void) { return _mm_setzero_pd(); }
FC_INLINE fcv fcv_set1(real a) { return _mm_set1_pd(a); }
FC_INLINE fcv fcv_load(const real *p) { return _mm_loadu_pd(p); }
FC_INLINE void fcv_store(real *p, fcv a) { _mm_storeu_pd(p, a); }
FC_INLINE fcv fcv_load_tail(const real *p, int n) { (void)n; return _mm_load_sd(p); }
FC_INLINE void fcv_store_tail(real *p, fcv a, int n) { (void)n; _mm_store_sd(p, a); }
FC_INLINE fcv fcv_add(fcv a, fcv b) { return _mm_add_pd(a, b); }
FC_INLINE fcv fcv_sub(fcv a, fcv b) { return _mm_sub_pd(a, b); }
FC_INLINE fcv fcv_mul(fcv a, fcv b) { return _mm_mul_pd(a, b); }
FC_INLINE fcv fcv_div(fcv a, fcv b) { return _mm_div_pd(a, b); }
FC_INLINE fcv fcv_fma(fcv a, fcv b, fcv c) { return _mm_add_pd(_mm_mul_pd(a, b), c); }
FC_INLINE fcv fcv_sqrt(fcv a) { return _mm_sqrt_pd(a); }
FC_INLINE fcv fcv_max(fcv a, fcv b) { return _mm_max_pd(a, b); }
FC_INLINE fcv fcv_pow2(fcv k)
{
    __m128i biased = _mm_add_epi32(_mm_cvtpd_epi32(k), _mm_set1_epi32(1023));
    return _mm_castsi128_pd(_mm_slli_epi64(_mm_unpacklo_epi32(biased, biased), 52));
}
FC_INLINE fcm fcv_more(fcv a, fcv b) { return _mm_cmpgt_pd(a, b); }
FC_INLINE fcm fcv_wins(fcv a, fcv best)
{
    return _mm_and_pd(_mm_cmpnle_pd(a, best), _mm_cmpord_pd(best, best));
}
FC_INLINE fcm fcv_any_nan(fcv a, fcv b) { return _mm_cmpunord_pd(a, b); }
FC_INLINE fcm fcv_or(fcm a, fcm b) { return _mm_or_pd(a, b); }
FC_INLINE int fcv_some(fcm c) { return _mm_movemask_pd(c); }
FC_INLINE fcv fcv_select(fcm c, fcv a, fcv b)
{
    return _mm_or_pd(_mm_and_pd(c, a), _mm_andnot_pd(c, b));
}
FC_INLINE fcv fcv_even(fcv a, fcv b) { return _mm_unpacklo_pd(a, b); }
FC_INLINE fcv fcv_odd(fcv a, fcv b) { return _mm_unpackhi_pd(a, b); }
FC_INLINE fcv fcv_next(fcv a) { return _mm_unpackhi_pd(a, a); }
FC_INLINE fcv fcv_zip_low(fcv a, fcv b) { return _mm_unpacklo_pd(a, b); }
FC_INLINE fcv fcv_zip_high(fcv a, fcv b) { return _mm_unpackhi_pd(a, b); }
FC_INLINE fcv fcv_piece_low(fcv a, fcv b) { return _mm_unpacklo_pd(a, b); }
FC_INLINE fcv fcv_piece_high(fcv a, fcv b) { return _mm_unpackhi_pd(a, b); }
FC_INLINE fcv fcv_add_bits(fcv a, fcv b)
{
    return _mm_castsi128_pd(_mm_add_epi64(_mm_castpd_si128(a), _mm_castpd_si128(b)));
}
FC_INLINE fcv fcv_load_pieces(const real *const *p) { return fcv_load(p[0]); }
FC_INLINE fcv fcv_set1_bits(int32_t i) { return _mm_castsi128_pd(_mm_set1_epi64x(i)); }

#else

typedef float real;
typedef int32_t fc_bits;
typedef __m128 fcv;
typedef __m128 fcm;
#define FC_LEN 4

FC_INLINE fcv fcv_zero(void) { return _mm_setzero_ps(); }
FC_INLINE fcv fcv_set1(real a) { return _mm_set1_ps(a); }
FC_INLINE fcv fcv_load(const real *p) { return _mm_loadu_ps(p); }
FC_INLINE void fcv_store(real *p, fcv a) { _mm_storeu_ps(p, a); }
FC_INLINE fcv fcv_load_tail(const real *p, int n)
{
    real t[4] = {p[0], n > 1 ? p[1] : 0, n > 2 ? p[2] : 0, 0};
    return _mm_loadu_ps(t);
}
FC_INLINE void fcv_store_tail(real *p, fcv a, int n)
{
    real t[4];
    _mm_storeu_ps(t, a);
    for (int i = 0; i < n; i++) p[i] = t[i];
}
FC_INLINE fcv fcv_add(fcv a, fcv b) { return _mm_add_ps(a, b); }
FC_INLINE fcv fcv_sub(fcv a, fcv b) { return _mm_sub_ps(a, b); }
FC_INLINE fcv fcv_mul(fcv a, fcv b) { return _mm_mul_ps(a, b); }
FC_INLINE fcv fcv_div(fcv a, fcv b) { return _mm_div_ps(a, b); }
FC_INLINE fcv fcv_fma(fcv a, fcv b, fcv c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
FC_INLINE fcv fcv_sqrt(fcv a) { return _mm_sqrt_ps(a); }
FC_INLINE fcv fcv_max(fcv a, fcv b) { return _mm_max_ps(a, b); }
FC_INLINE fcv fcv_pow2(fcv k)
{
    __m128i biased = _mm_add_epi32(_mm_cvtps_epi32(k), _mm_set1_epi32(127));
    return _mm_castsi128_ps(_mm_slli_epi32(biased, 23));
}
FC_INLINE fcm fcv_more(fcv a, fcv b) { return _mm_cmpgt_ps(a, b); }
FC_INLINE fcm fcv_wins(fcv a, fcv best)
{
    return _mm_and_ps(_mm_cmpnle_ps(a, best), _mm_cmpord_ps(best, best));
}
FC_INLINE fcm fcv_any_nan(fcv a, fcv b) { return _mm_cmpunord_ps(a, b); }
FC_INLINE fcm fcv_or(fcm a, fcm b) { return _mm_or_ps(a, b); }
FC_INLINE int fcv_some(fcm c) { return _mm_movemask_ps(c); }
FC_INLINE fcv fcv_select(fcm c, fcv a, fcv b)
{
    return _mm_or_ps(_mm_and_ps(c, a), _mm_andnot_ps(c, b));
}
FC_INLINE fcv fcv_even(fcv a, fcv b) { return _mm_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0)); }
FC_INLINE fcv fcv_odd(fcv a, fcv b) { return _mm_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1)); }
FC_INLINE fcv fcv_next(fcv a) { return _mm_shuffle_ps(a, a, _MM_SHUFFLE(3, 3, 2, 1)); }
FC_INLINE fcv fcv_zip_low(fcv a, fcv b) { return _mm_unpacklo_ps(a, b); }
FC_INLINE fcv fcv_zip_high(fcv a, fcv b) { return _mm_unpackhi_ps(a, b); }
FC_INLINE fcv fcv_piece_low(fcv a, fcv b) { return _mm_unpacklo_ps(a, b); }
FC_INLINE fcv fcv_piece_high(fcv a, fcv b) { return _mm_unpackhi_ps(a, b); }
FC_INLINE fcv fcv_add_bits(fcv a, fcv b)
{
    return _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(a), _mm_castps_si128(b)));
}
FC_INLINE fcv fcv_load_pieces(const real *const *p) { return fcv_load(p[0]); }
FC_INLINE fcv fcv_set1_bits(int32_t i) { return _mm_castsi128_ps(_mm_set1_epi32(i)); }

#endif

FC_INLINE fcv fcv_load_bits(const fc_bits *p) { return fcv_load((const real *)p); }
FC_INLINE void fcv_store_bits(fc_bits *p, fcv a) { fcv_store((real *)p, a); }
FC_INLINE fcv fcv_load_part(const real *p, int from, int to)
{
    real t[FC_LEN] = {0};
    for (int i = from; i < to; i++) t[i] = p[i];
    return fcv_load(t);
}
FC_INLINE void fcv_store_part(real *p, fcv a, int from, int to)
{
    real t[FC_LEN];
    fcv_store(t, a);
    for (int i = from; i < to; i++) p[i] = t[i];
}
FC_INLINE fcv fcv_keep(fcv a) { __asm__("" : "+x"(a)); return a; }
