/* 4 floats or 2 doubles, the baseline of aarch64.  Meaning of each name: fc_scalar.h. */
#include <arm_neon.h>
#include <stdint.h>

#define FC_ROWS 8 /* × 2 vectors: 16 sums, 2 columns and 8 rows of 32 registers */
#define FC_VECS 2
#define FC_MASKED 0

#if FC_F64

typedef double real;
typedef int64_t fc_bits;
typedef float64x2_t fcv;
typedef uint64x2_t fcm;
#define FC_LEN 2

FC_INLINE fcv fcv_zero(void) { return vdupq_n_f64(0); }
FC_INLINE fcv fcv_set1(real a) { return vdupq_n_f64(a); }
FC_INLINE fcv fcv_load(const real *p) { return vld1q_f64(p); }
FC_INLINE void fcv_store(real *p, fcv a) { vst1q_f64(p, a); }
FC_INLINE fcv fcv_load_tail(const real *p, int n) { (void)n; return vsetq_lane_f64(*p, vdupq_n_f64(0), 0); }
FC_INLINE void fcv_store_tail(real *p, fcv a, int n) { (void)n; vst1q_lane_f64(p, a, 0); }
FC_INLINE fcv fcv_add(fcv a, fcv b) { return vaddq_f64(a, b); }
FC_INLINE fcv fcv_sub(fcv a, fcv b) { return vsubq_f64(a, b); }
FC_INLINE fcv fcv_mul(fcv a, fcv b) { return vmulq_f64(a, b); }
FC_INLINE fcv fcv_div(fcv a, fcv b) { return vdivq_f64(a, b); }
FC_INLINE fcv fcv_fma(fcv a, fcv b, fcv c) { return vfmaq_f64(c, a, b); }
FC_INLINE fcv fcv_sqrt(fcv a) { return vsqrtq_f64(a); }
FC_INLINE fcm fcv_or(fcm a, fcm b) { return vorrq_u64(a, b); }
FC_INLINE int fcv_some(fcm c) { return vmaxvq_u32(vreinterpretq_u32_u64(c)) != 0; }
FC_INLINE fcm fcv_any_nan(fcv a, fcv b)
{
    fcm numbers = vandq_u64(vceqq_f64(a, a), vceqq_f64(b, b));
    return vceqq_u64(numbers, vdupq_n_u64(0));
}
FC_INLINE fcv fcv_select(fcm c, fcv a, fcv b) { return vbslq_f64(c, a, b); }
FC_INLINE fcv fcv_max(fcv a, fcv b) { return fcv_select(vcgtq_f64(a, b), a, b); }
FC_INLINE fcv fcv_pow2(fcv k)
{
    int64x2_t biased = vaddq_s64(vcvtq_s64_f64(k), vdupq_n_s64(1023));
    return vreinterpretq_f64_s64(vshlq_n_s64(biased, 52));
}
FC_INLINE fcm fcv_more(fcv a, fcv b) { return vcgtq_f64(a, b); }
FC_INLINE fcm fcv_wins(fcv a, fcv best)
{
    return vbicq_u64(vceqq_f64(best, best), vcleq_f64(a, best));
}
FC_INLINE fcv fcv_even(fcv a, fcv b) { return vuzp1q_f64(a, b); }
FC_INLINE fcv fcv_odd(fcv a, fcv b) { return vuzp2q_f64(a, b); }
FC_INLINE fcv fcv_next(fcv a) { return vextq_f64(a, a, 1); }
FC_INLINE fcv fcv_zip_low(fcv a, fcv b) { return vzip1q_f64(a, b); }
FC_INLINE fcv fcv_zip_high(fcv a, fcv b) { return vzip2q_f64(a, b); }
FC_INLINE fcv fcv_piece_low(fcv a, fcv b) { return vzip1q_f64(a, b); }
FC_INLINE fcv fcv_piece_high(fcv a, fcv b) { return vzip2q_f64(a, b); }
FC_INLINE fcv fcv_add_bits(fcv a, fcv b)
{
    return vreinterpretq_f64_s64(vaddq_s64(vreinterpretq_s64_f64(a), vreinterpretq_s64_f64(b)));
}
FC_INLINE fcv fcv_load_pieces(const real *const *p) { return fcv_load(p[0]); }
FC_INLINE fcv fcv_load_bits(const fc_bits *p) { return vreinterpretq_f64_s64(vld1q_s64(p)); }
FC_INLINE fcv fcv_set1_bits(int32_t i) { return vreinterpretq_f64_s64(vdupq_n_s64(i)); }

#else

typedef float real;
typedef int32_t fc_bits;
typedef float32x4_t fcv;
typedef uint32x4_t fcm;
#define FC_LEN 4

FC_INLINE fcv fcv_zero(void) { return vdupq_n_f32(0); }
FC_INLINE fcv fcv_set1(real a) { return vdupq_n_f32(a); }
FC_INLINE fcv fcv_load(const real *p) { return vld1q_f32(p); }
FC_INLINE void fcv_store(real *p, fcv a) { vst1q_f32(p, a); }
FC_INLINE fcv fcv_load_tail(const real *p, int n)
{
    real t[4] = {p[0], n > 1 ? p[1] : 0, n > 2 ? p[2] : 0, 0};
    return vld1q_f32(t);
}
FC_INLINE void fcv_store_tail(real *p, fcv a, int n)
{
    real t[4];
    vst1q_f32(t, a);
    for (int i = 0; i < n; i++) p[i] = t[i];
}
FC_INLINE fcv fcv_add(fcv a, fcv b) { return vaddq_f32(a, b); }
FC_INLINE fcv fcv_sub(fcv a, fcv b) { return vsubq_f32(a, b); }
FC_INLINE fcv fcv_mul(fcv a, fcv b) { return vmulq_f32(a, b); }
FC_INLINE fcv fcv_div(fcv a, fcv b) { return vdivq_f32(a, b); }
FC_INLINE fcv fcv_fma(fcv a, fcv b, fcv c) { return vfmaq_f32(c, a, b); }
FC_INLINE fcv fcv_sqrt(fcv a) { return vsqrtq_f32(a); }
FC_INLINE fcm fcv_or(fcm a, fcm b) { return vorrq_u32(a, b); }
FC_INLINE int fcv_some(fcm c) { return vmaxvq_u32(c) != 0; }
FC_INLINE fcm fcv_any_nan(fcv a, fcv b)
{
    fcm numbers = vandq_u32(vceqq_f32(a, a), vceqq_f32(b, b));
    return vceqq_u32(numbers, vdupq_n_u32(0));
}
FC_INLINE fcv fcv_select(fcm c, fcv a, fcv b) { return vbslq_f32(c, a, b); }
FC_INLINE fcv fcv_max(fcv a, fcv b) { return fcv_select(vcgtq_f32(a, b), a, b); }
FC_INLINE fcv fcv_pow2(fcv k)
{
    int32x4_t biased = vaddq_s32(vcvtq_s32_f32(k), vdupq_n_s32(127));
    return vreinterpretq_f32_s32(vshlq_n_s32(biased, 23));
}
FC_INLINE fcm fcv_more(fcv a, fcv b) { return vcgtq_f32(a, b); }
FC_INLINE fcm fcv_wins(fcv a, fcv best)
{
    return vbicq_u32(vceqq_f32(best, best), vcleq_f32(a, best));
}
FC_INLINE fcv fcv_even(fcv a, fcv b) { return vuzp1q_f32(a, b); }
FC_INLINE fcv fcv_odd(fcv a, fcv b) { return vuzp2q_f32(a, b); }
FC_INLINE fcv fcv_next(fcv a) { return vextq_f32(a, a, 1); }
FC_INLINE fcv fcv_zip_low(fcv a, fcv b) { return vzip1q_f32(a, b); }
FC_INLINE fcv fcv_zip_high(fcv a, fcv b) { return vzip2q_f32(a, b); }
FC_INLINE fcv fcv_piece_low(fcv a, fcv b) { return vzip1q_f32(a, b); }
FC_INLINE fcv fcv_piece_high(fcv a, fcv b) { return vzip2q_f32(a, b); }
FC_INLINE fcv fcv_add_bits(fcv a, fcv b)
{
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a), vreinterpretq_s32_f32(b)));
}
FC_INLINE fcv fcv_load_pieces(const real *const *p) { return fcv_load(p[0]); }
FC_INLINE fcv fcv_load_bits(const fc_bits *p) { return vreinterpretq_f32_s32(vld1q_s32(p)); }
FC_INLINE fcv fcv_set1_bits(int32_t i) { return vreinterpretq_f32_s32(vdupq_n_s32(i)); }

#endif

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
FC_INLINE fcv fcv_keep(fcv a) { __asm__("" : "+w"(a)); return a; }
