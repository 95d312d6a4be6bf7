/* 16 floats or 8 doubles (AVX-512 F, VL, BW, DQ).  Meaning of each name: fc_scalar.h. */
#include <immintrin.h>
#include <stdint.h>

#define FC_ROWS 8 /* × 3 vectors: 24 sums, 3 columns; rows are broadcast from memory */
#define FC_VECS 3
#define FC_MASKED 1

#if FC_F64

typedef double real;
typedef int64_t fc_bits;
typedef __m512d fcv;
typedef __mmask8 fcm;
#define FC_LEN 8

FC_INLINE fcm fc_mask(int n) { return (fcm)((1u << n) - 1u); }
FC_INLINE fcv fcv_zero(void) { return _mm512_setzero_pd(); }
FC_INLINE fcv fcv_set1(real a) { return _mm512_set1_pd(a); }
FC_INLINE fcv fcv_load(const real *p) { return _mm512_loadu_pd(p); }
FC_INLINE void fcv_store(real *p, fcv a) { _mm512_storeu_pd(p, a); }
FC_INLINE fcv fcv_load_tail(const real *p, int n) { return _mm512_maskz_loadu_pd(fc_mask(n), p); }
FC_INLINE fcv fcv_load_part(const real *p, int from, int to)
{
    return _mm512_maskz_loadu_pd((fcm)(fc_mask(to) & ~fc_mask(from)), p);
}
FC_INLINE void fcv_store_tail(real *p, fcv a, int n) { _mm512_mask_storeu_pd(p, fc_mask(n), a); }
FC_INLINE void fcv_store_part(real *p, fcv a, int from, int to)
{
    _mm512_mask_storeu_pd(p, (fcm)(fc_mask(to) & ~fc_mask(from)), a);
}
FC_INLINE fcv fcv_add(fcv a, fcv b) { return _mm512_add_pd(a, b); }
FC_INLINE fcv fcv_sub(fcv a, fcv b) { return _mm512_sub_pd(a, b); }
FC_INLINE fcv fcv_mul(fcv a, fcv b) { return _mm512_mul_pd(a, b); }
FC_INLINE fcv fcv_div(fcv a, fcv b) { return _mm512_div_pd(a, b); }
FC_INLINE fcv fcv_fma(fcv a, fcv b, fcv c) { return _mm512_fmadd_pd(a, b, c); }
FC_INLINE fcv fcv_sqrt(fcv a) { return _mm512_sqrt_pd(a); }
FC_INLINE fcv fcv_max(fcv a, fcv b) { return _mm512_max_pd(a, b); }
FC_INLINE fcv fcv_pow2(fcv k)
{
    __m512i biased = _mm512_add_epi64(_mm512_cvtpd_epi64(k), _mm512_set1_epi64(1023));
    return _mm512_castsi512_pd(_mm512_slli_epi64(biased, 52));
}
FC_INLINE fcm fcv_more(fcv a, fcv b) { return _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ); }
FC_INLINE fcm fcv_wins(fcv a, fcv best)
{
    fcm ordered = _mm512_cmp_pd_mask(best, best, _CMP_ORD_Q);
    return _mm512_mask_cmp_pd_mask(ordered, a, best, _CMP_NLE_UQ);
}
FC_INLINE fcm fcv_any_nan(fcv a, fcv b) { return _mm512_cmp_pd_mask(a, b, _CMP_UNORD_Q); }
FC_INLINE fcm fcv_or(fcm a, fcm b) { return (fcm)(a | b); }
FC_INLINE int fcv_some(fcm c) { return c != 0; }
FC_INLINE fcv fcv_select(fcm c, fcv a, fcv b) { return _mm512_mask_blend_pd(c, b, a); }
FC_INLINE fcv fcv_even(fcv a, fcv b)
{
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), b);
}
FC_INLINE fcv fcv_odd(fcv a, fcv b)
{
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), b);
}
FC_INLINE fcv fcv_next(fcv a)
{
    __m512i bits = _mm512_castpd_si512(a);
    return _mm512_castsi512_pd(_mm512_alignr_epi64(bits, bits, 1));
}
FC_INLINE fcv fcv_zip_low(fcv a, fcv b)
{
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b);
}
FC_INLINE fcv fcv_zip_high(fcv a, fcv b)
{
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b);
}
FC_INLINE fcv fcv_piece_low(fcv a, fcv b) { return _mm512_unpacklo_pd(a, b); }
FC_INLINE fcv fcv_piece_high(fcv a, fcv b) { return _mm512_unpackhi_pd(a, b); }
FC_INLINE fcv fcv_load_pieces(const real *const *p)
{
    __m512d v = _mm512_castpd128_pd512(_mm_loadu_pd(p[0]));
    v = _mm512_insertf64x2(v, _mm_loadu_pd(p[1]), 1);
    v = _mm512_insertf64x2(v, _mm_loadu_pd(p[2]), 2);
    return _mm512_insertf64x2(v, _mm_loadu_pd(p[3]), 3);
}
FC_INLINE fcv fcv_add_bits(fcv a, fcv b)
{
    return _mm512_castsi512_pd(_mm512_add_epi64(_mm512_castpd_si512(a), _mm512_castpd_si512(b)));
}
FC_INLINE fcv fcv_set1_bits(int32_t i) { return _mm512_castsi512_pd(_mm512_set1_epi64(i)); }

#else

typedef float real;
typedef int32_t fc_bits;
typedef __m512 fcv;
typedef __mmask16 fcm;
#define FC_LEN 16

FC_INLINE fcm fc_mask(int n) { return (fcm)((1u << n) - 1u); }
FC_INLINE fcv fcv_zero(void) { return _mm512_setzero_ps(); }
FC_INLINE fcv fcv_set1(real a) { return _mm512_set1_ps(a); }
FC_INLINE fcv fcv_load(const real *p) { return _mm512_loadu_ps(p); }
FC_INLINE void fcv_store(real *p, fcv a) { _mm512_storeu_ps(p, a); }
FC_INLINE fcv fcv_load_tail(const real *p, int n) { return _mm512_maskz_loadu_ps(fc_mask(n), p); }
FC_INLINE fcv fcv_load_part(const real *p, int from, int to)
{
    return _mm512_maskz_loadu_ps((fcm)(fc_mask(to) & ~fc_mask(from)), p);
}
FC_INLINE void fcv_store_tail(real *p, fcv a, int n) { _mm512_mask_storeu_ps(p, fc_mask(n), a); }
FC_INLINE void fcv_store_part(real *p, fcv a, int from, int to)
{
    _mm512_mask_storeu_ps(p, (fcm)(fc_mask(to) & ~fc_mask(from)), a);
}
FC_INLINE fcv fcv_add(fcv a, fcv b) { return _mm512_add_ps(a, b); }
FC_INLINE fcv fcv_sub(fcv a, fcv b) { return _mm512_sub_ps(a, b); }
FC_INLINE fcv fcv_mul(fcv a, fcv b) { return _mm512_mul_ps(a, b); }
FC_INLINE fcv fcv_div(fcv a, fcv b) { return _mm512_div_ps(a, b); }
FC_INLINE fcv fcv_fma(fcv a, fcv b, fcv c) { return _mm512_fmadd_ps(a, b, c); }
FC_INLINE fcv fcv_sqrt(fcv a) { return _mm512_sqrt_ps(a); }
FC_INLINE fcv fcv_max(fcv a, fcv b) { return _mm512_max_ps(a, b); }
FC_INLINE fcv fcv_pow2(fcv k)
{
    __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(k), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(biased, 23));
}
FC_INLINE fcm fcv_more(fcv a, fcv b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
FC_INLINE fcm fcv_wins(fcv a, fcv best)
{
    fcm ordered = _mm512_cmp_ps_mask(best, best, _CMP_ORD_Q);
    return _mm512_mask_cmp_ps_mask(ordered, a, best, _CMP_NLE_UQ);
}
FC_INLINE fcm fcv_any_nan(fcv a, fcv b) { return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q); }
FC_INLINE fcm fcv_or(fcm a, fcm b) { return (fcm)(a | b); }
FC_INLINE int fcv_some(fcm c) { return c != 0; }
FC_INLINE fcv fcv_select(fcm c, fcv a, fcv b) { return _mm512_mask_blend_ps(c, b, a); }
FC_INLINE fcv fcv_even(fcv a, fcv b)
{
    __m512i lanes = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_ps(a, lanes, b);
}
FC_INLINE fcv fcv_odd(fcv a, fcv b)
{
    __m512i lanes = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return _mm512_permutex2var_ps(a, lanes, b);
}
FC_INLINE fcv fcv_next(fcv a)
{
    __m512i bits = _mm512_castps_si512(a);
    return _mm512_castsi512_ps(_mm512_alignr_epi32(bits, bits, 1));
}
FC_INLINE fcv fcv_zip_low(fcv a, fcv b)
{
    __m512i lanes = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    return _mm512_permutex2var_ps(a, lanes, b);
}
FC_INLINE fcv fcv_zip_high(fcv a, fcv b)
{
    __m512i lanes = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    return _mm512_permutex2var_ps(a, lanes, b);
}
FC_INLINE fcv fcv_piece_low(fcv a, fcv b) { return _mm512_unpacklo_ps(a, b); }
FC_INLINE fcv fcv_piece_high(fcv a, fcv b) { return _mm512_unpackhi_ps(a, b); }
FC_INLINE fcv fcv_load_pieces(const real *const *p)
{
    __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(p[0]));
    v = _mm512_insertf32x4(v, _mm_loadu_ps(p[1]), 1);
    v = _mm512_insertf32x4(v, _mm_loadu_ps(p[2]), 2);
    return _mm512_insertf32x4(v, _mm_loadu_ps(p[3]), 3);
}
FC_INLINE fcv fcv_add_bits(fcv a, fcv b)
{
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
}
FC_INLINE fcv fcv_set1_bits(int32_t i) { return _mm512_castsi512_ps(_mm512_set1_epi32(i)); }

#endif

FC_INLINE fcv fcv_load_bits(const fc_bits *p) { return fcv_load((const real *)p); }
FC_INLINE void fcv_store_bits(fc_bits *p, fcv a) { fcv_store((real *)p, a); }
FC_INLINE fcv fcv_keep(fcv a) { __asm__("" : "+v"(a)); return a; }
