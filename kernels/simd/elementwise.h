/* Activations, loss and update: each one pass over numbers in one piece.  The lanes behind a
 * tail compute something too, which is not stored. */

FC_INLINE fcv load_some(const real *x, int n)
{
    return n == FC_LEN ? fcv_load(x) : fcv_load_tail(x, n);
}

FC_INLINE void store_some(real *y, fcv value, int n)
{
    if (n == FC_LEN) fcv_store(y, value);
    else fcv_store_tail(y, value, n);
}

FC_INLINE int lanes_of(ptrdiff_t left) { return left < FC_LEN ? (int)left : FC_LEN; }

static void relu(ptrdiff_t n, const void *x, void *y)
{
    const real *from = x;
    real *to = y;
    for (ptrdiff_t i = 0; i < n; i += FC_LEN) {
        const int some = lanes_of(n - i);
        store_some(to + i, fcv_max(fcv_zero(), load_some(from + i, some)), some);
    }
}

/* dy · (y > 0), which is 0 where y is NaN, and NaN where dy is */
static void relu_dx(ptrdiff_t n, const void *dy, const void *y, void *dx)
{
    const real *grad = dy, *result = y;
    real *to = dx;
    for (ptrdiff_t i = 0; i < n; i += FC_LEN) {
        const int some = lanes_of(n - i);
        fcv positive = fcv_max(load_some(result + i, some), fcv_zero());
        fcv slope = fcv_select(fcv_wins(positive, fcv_zero()), fcv_set1(1), fcv_zero());
        store_some(to + i, fcv_mul(load_some(grad + i, some), slope), some);
    }
}

/* x / (1 - p) where the chance is at least p, else 0 · x */
static void dropout(ptrdiff_t n, const void *x, const void *chance, void *y, double p)
{
    const real *from = x, *drawn = chance;
    real *to = y;
    fcv limit = fcv_set1((real)p), kept = fcv_set1((real)(1 / (1 - p)));
    for (ptrdiff_t i = 0; i < n; i += FC_LEN) {
        const int some = lanes_of(n - i);
        fcm dropped = fcv_wins(limit, load_some(drawn + i, some));
        fcv scale = fcv_select(dropped, fcv_zero(), kept);
        store_some(to + i, fcv_mul(load_some(from + i, some), scale), some);
    }
}

/* ---- the update ---- */

FC_INLINE fcv penalised(fcv g, fcv w, fcv l2, fcv l1)
{
    fcv zero = fcv_zero(), down = fcv_sub(zero, l1);
    fcv side = fcv_select(fcv_wins(w, zero), l1, fcv_select(fcv_wins(zero, w), down, zero));
    return fcv_add(fcv_fma(l2, w, g), side);
}

FC_INLINE void sgd_by(const fc_sgd *p, ptrdiff_t n, real *w, const real *grad, real *velocity,
                      const int momentum, const int nesterov)
{
    fcv down = fcv_set1((real)-p->lr), m = fcv_set1((real)p->momentum);
    fcv l2 = fcv_set1((real)p->l2), l1 = fcv_set1((real)p->l1);
    for (ptrdiff_t i = 0; i < n; i += FC_LEN) {
        const int some = lanes_of(n - i);
        fcv value = load_some(w + i, some);
        fcv g = penalised(load_some(grad + i, some), value, l2, l1);
        fcv step = g;
        if (momentum) {
            step = fcv_fma(m, load_some(velocity + i, some), g);
            store_some(velocity + i, step, some);
            if (nesterov) step = fcv_fma(m, step, g);
        }
        store_some(w + i, fcv_fma(down, step, value), some);
    }
}

static void sgd(const fc_sgd *p, ptrdiff_t n, void *w, const void *grad, void *velocity)
{
    if (!velocity) sgd_by(p, n, w, grad, NULL, 0, 0);
    else if (p->nesterov) sgd_by(p, n, w, grad, velocity, 1, 1);
    else sgd_by(p, n, w, grad, velocity, 1, 0);
}

FC_INLINE real sum_of_lanes(fcv a)
{
    real lane[FC_LEN], sum = 0;
    fcv_store(lane, a);
    for (int l = 0; l < FC_LEN; l++) sum += lane[l];
    return sum;
}

static void limit_norm(ptrdiff_t n, void *w, double most)
{
    real *value = w;
    fcv squares = fcv_zero();
    for (ptrdiff_t i = 0; i < n; i += FC_LEN) {
        const int some = lanes_of(n - i);
        fcv v = load_some(value + i, some);
        squares = fcv_fma(v, v, squares);
    }
    double norm = sqrt((double)sum_of_lanes(squares));
    if (norm <= most) return; /* else it is greater, or NaN, and so is the whole unit then */
    fcv scale = fcv_set1((real)(most / norm));
    for (ptrdiff_t i = 0; i < n; i += FC_LEN) {
        const int some = lanes_of(n - i);
        store_some(value + i, fcv_mul(load_some(value + i, some), scale), some);
    }
}

/* ---- the loss ---- */

/* e^x for x <= 0, NaN for NaN.  x = k·ln 2 + r, |r| <= ln 2 / 2, and the series of e^r, whose
 * first term left out is 5e-9 (float) or 4e-18 (double): an error of 1 to 2 units in the last
 * place.  Below the range of normal numbers: 0. */
FC_INLINE fcv exp_negative(fcv x)
{
    static const double series[] = {1., 1., 1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040,
                                    1. / 40320, 1. / 362880, 1. / 3628800, 1. / 39916800,
                                    1. / 479001600, 1. / 6227020800};
    const int last = FC_F64 ? 13 : 7;
    /* adding 1.5 · 2^23 or 2^52 rounds to a whole number */
    const fcv whole = fcv_set1(FC_F64 ? (real)6755399441055744. : (real)12582912.);
    const fcv high = fcv_set1(FC_F64 ? (real)6.93147180369123816490e-01 : (real)0.693359375);
    const fcv low = fcv_set1(FC_F64 ? (real)1.90821492927058770002e-10 : (real)-2.12194440e-4);
    x = fcv_max(fcv_set1(FC_F64 ? -709 : -88), x);
    fcv k = fcv_sub(fcv_fma(x, fcv_set1((real)1.44269504088896340736), whole), whole);
    fcv r = fcv_sub(fcv_sub(x, fcv_mul(k, high)), fcv_mul(k, low));
    fcv sum = fcv_set1((real)series[last]);
    for (int i = last - 1; i >= 0; i--) sum = fcv_fma(sum, r, fcv_set1((real)series[i]));
    return fcv_mul(sum, fcv_pow2(k));
}

FC_INLINE real largest(const real *a, ptrdiff_t n)
{
    ptrdiff_t whole = n - n % FC_LEN;
    fcv best = fcv_set1(a[0]);
    for (ptrdiff_t i = 0; i < whole; i += FC_LEN) best = fcv_max(fcv_load(a + i), best);
    real lane[FC_LEN], top;
    fcv_store(lane, best);
    top = lane[0];
    for (int l = 1; l < FC_LEN; l++) top = lane[l] > top ? lane[l] : top;
    for (ptrdiff_t i = whole; i < n; i++) top = a[i] > top ? a[i] : top;
    return top;
}

/* -log(softmax(scores)[label]), and dscores = share · (softmax - one-hot) */
static double cross_entropy(ptrdiff_t classes, ptrdiff_t label, double share, const void *scores,
                            void *dscores)
{
    const real *s = scores;
    real *d = dscores;
    const real top = largest(s, classes), at_label = s[label] - top;
    fcv sums = fcv_zero();
    for (ptrdiff_t i = 0; i < classes; i += FC_LEN) {
        const int some = lanes_of(classes - i);
        store_some(d + i, exp_negative(fcv_sub(load_some(s + i, some), fcv_set1(top))), some);
        sums = fcv_add(sums, load_some(d + i, some));
    }
    const real total = sum_of_lanes(sums);
    for (ptrdiff_t i = 0; i < classes; i += FC_LEN) {
        const int some = lanes_of(classes - i);
        fcv softmax = fcv_div(load_some(d + i, some), fcv_set1(total));
        store_some(d + i, fcv_mul(softmax, fcv_set1((real)share)), some);
    }
    d[label] -= (real)share;
    return log((double)total) - (double)at_label;
}
