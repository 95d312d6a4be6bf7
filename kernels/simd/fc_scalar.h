/* One number at a time: the definition of every name that the other headers give.
 *
 * A header is included once per translation unit, with FC_F64 set to 0 (float) or 1
 * (double), and defines
 *
 *   real, fcv, fcm     number, vector of numbers, vector of conditions
 *   FC_LEN             numbers in a vector
 *   FC_ROWS, FC_VECS   largest tile of the product: rows × vectors of columns
 *   FC_MASKED          whether a part of a vector is read as fast as all of it, and there are
 *                      32 registers
 *
 * and the functions below.  n of a tail is 0 < n < FC_LEN: lanes from n on are read as 0
 * and not written, and memory behind them is not touched.  A part that is stored begins with
 * lane 0 or FC_LEN / 2, and is no whole vector.
 */
#include <math.h>
#include <stdint.h>

#if FC_F64
typedef double real;
typedef int64_t fc_bits;
#else
typedef float real;
typedef int32_t fc_bits;
#endif
typedef real fcv;
typedef int fcm;

#define FC_LEN 1
#define FC_ROWS 4
#define FC_VECS 3
#define FC_MASKED 0

FC_INLINE fcv fcv_zero(void) { return 0; }
FC_INLINE fcv fcv_set1(real a) { return a; }
FC_INLINE fcv fcv_load(const real *p) { return *p; }
FC_INLINE void fcv_store(real *p, fcv a) { *p = a; }
FC_INLINE fcv fcv_load_tail(const real *p, int n) { return n ? *p : 0; }
FC_INLINE fcv fcv_load_part(const real *p, int from, int to) { return from < to ? *p : 0; }
FC_INLINE void fcv_store_tail(real *p, fcv a, int n) { if (n) *p = a; }
FC_INLINE void fcv_store_part(real *p, fcv a, int from, int to) { if (from < to) *p = a; }

FC_INLINE fcv fcv_add(fcv a, fcv b) { return a + b; }
FC_INLINE fcv fcv_sub(fcv a, fcv b) { return a - b; }
FC_INLINE fcv fcv_mul(fcv a, fcv b) { return a * b; }
FC_INLINE fcv fcv_div(fcv a, fcv b) { return a / b; }
FC_INLINE fcv fcv_fma(fcv a, fcv b, fcv c) { return a * b + c; } /* rounded once or twice */
FC_INLINE fcv fcv_sqrt(fcv a) { return FC_F64 ? (real)sqrt(a) : (real)sqrtf((float)a); }
FC_INLINE fcv fcv_max(fcv a, fcv b) { return a > b ? a : b; } /* b where either is NaN */

/* 2^k for whole numbers k of the normal range, 0 for the one below it, anything for others */
FC_INLINE fcv fcv_pow2(fcv k)
{
    union { uint64_t i; double r; } wide = {(uint64_t)(1023 + (int64_t)k) << 52};
    union { uint32_t i; float r; } narrow = {(uint32_t)(127 + (int64_t)k) << 23};
    return FC_F64 ? (real)wide.r : (real)narrow.r;
}

FC_INLINE fcm fcv_more(fcv a, fcv b) { return a > b; } /* not if one is NaN */
/* a wins over best: it is larger, or the first NaN */
FC_INLINE fcm fcv_wins(fcv a, fcv best) { return !(a <= best) & (best == best); }
FC_INLINE fcm fcv_any_nan(fcv a, fcv b) { return (a != a) | (b != b); }
FC_INLINE fcm fcv_or(fcm a, fcm b) { return a | b; }
FC_INLINE int fcv_some(fcm c) { return c; } /* in any lane */
FC_INLINE fcv fcv_select(fcm c, fcv a, fcv b) { return c ? a : b; }

/* every second lane of a then b: lanes 0, 2, 4, …; lanes 1, 3, 5, … */
FC_INLINE fcv fcv_even(fcv a, fcv b) { (void)b; return a; }
FC_INLINE fcv fcv_odd(fcv a, fcv b) { (void)a; return b; }

/* each lane what the next one had, the last anything */
FC_INLINE fcv fcv_next(fcv a) { return a; }

/* a and b interleaved, a0 b0 a1 b1 …: the first FC_LEN numbers of that, and the rest */
FC_INLINE fcv fcv_zip_low(fcv a, fcv b) { (void)b; return a; }
FC_INLINE fcv fcv_zip_high(fcv a, fcv b) { (void)a; return b; }

/* Pieces are 16 bytes of a vector (FC_PIECE numbers; here one).  a and b interleaved piece by
 * piece, a0 b0 a1 b1 …: of each the first FC_PIECE numbers, and the rest; and a vector with
 * piece i loaded from p[i] */
FC_INLINE fcv fcv_piece_low(fcv a, fcv b) { (void)b; return a; }
FC_INLINE fcv fcv_piece_high(fcv a, fcv b) { (void)a; return b; }
FC_INLINE fcv fcv_load_pieces(const real *const *p) { return fcv_load(p[0]); }

/* integers carried in the bits of a vector: set, loaded, added, selected, stored */
FC_INLINE fcv fcv_set1_bits(int32_t i) { union { fc_bits i; real r; } u = {i}; return u.r; }
FC_INLINE fcv fcv_load_bits(const fc_bits *p) { union { fc_bits i; real r; } u = {*p}; return u.r; }
FC_INLINE fcv fcv_add_bits(fcv a, fcv b)
{
    union { real r; fc_bits i; } u = {a}, v = {b};
    u.i += v.i;
    return u.r;
}
FC_INLINE void fcv_store_bits(fc_bits *p, fcv a) { union { real r; fc_bits i; } u = {a}; *p = u.i; }

/* a in a register: a compiler may not read it from memory again at every use */
FC_INLINE fcv fcv_keep(fcv a) { return a; }
