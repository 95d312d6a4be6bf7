/* Local response normalisation of a block of LRN_PIXELS pixels, stored [channels][pixels]:
 * lanes are pixels, and a channel's neighbours are whole vectors away. */

enum { LRN_PIXELS = 4 * FC_LEN };

FC_INLINE fcv lrn_power(fcv d, double beta)
{
    fcv one = fcv_set1(1);
    if (beta == 0.75) { /* d^-3/4 = d^-1/2 · d^-1/4: two roots for a power, AlexNet's case */
        fcv root = fcv_sqrt(fcv_div(one, d));
        return fcv_mul(root, fcv_sqrt(root));
    }
    real lane[FC_LEN];
    fcv_store(lane, d);
    for (int l = 0; l < FC_LEN; l++)
        lane[l] = FC_F64 ? (real)pow(lane[l], -beta) : (real)powf((float)lane[l], (float)-beta);
    return fcv_load(lane);
}

/* Σ over the window of `size` rows of squares that begins at row c, of one vector */
FC_INLINE fcv lrn_window(const real *rows, ptrdiff_t size)
{
    fcv sum = fcv_zero();
    for (ptrdiff_t t = 0; t < size; t++) sum = fcv_add(sum, fcv_load(rows + t * LRN_PIXELS));
    return sum;
}

/* work: [size - 1 + channels][pixels], the channels between rows of zeros */
FC_INLINE real *lrn_bordered(const fc_lrn *p, real *work, ptrdiff_t before)
{
    ptrdiff_t after = p->size - 1 - before;
    memset(work, 0, (size_t)(before * LRN_PIXELS) * sizeof(real));
    memset(work + (before + p->channels) * LRN_PIXELS, 0,
           (size_t)(after * LRN_PIXELS) * sizeof(real));
    return work + before * LRN_PIXELS;
}

FC_INLINE void lrn_squares(const fc_lrn *p, const real *x, real *work)
{
    real *square = lrn_bordered(p, work, p->size / 2);
    for (ptrdiff_t i = 0; i < p->channels * LRN_PIXELS; i += FC_LEN) {
        fcv v = fcv_load(x + i);
        fcv_store(square + i, fcv_mul(v, v));
    }
}

static void lrn(const fc_lrn *p, const void *x, void *y, void *work)
{
    const real *from = x;
    real *to = y, *squares = work;
    fcv alpha = fcv_set1((real)p->alpha_over_size), k = fcv_set1((real)p->k);
    lrn_squares(p, from, squares);
    for (ptrdiff_t i = 0; i < p->channels * LRN_PIXELS; i += FC_LEN) {
        fcv d = fcv_add(k, fcv_mul(alpha, lrn_window(squares + i, p->size)));
        fcv_store(to + i, fcv_mul(fcv_load(from + i), lrn_power(d, p->beta)));
    }
}

/* work: two bordered blocks; dx holds the first term until the second is known */
static void lrn_dx(const fc_lrn *p, const void *dy, const void *x, void *dx, void *work)
{
    const real *from = x, *grad = dy;
    real *to = dx, *squares = work;
    real *spread = squares + (p->channels + p->size - 1) * LRN_PIXELS;
    fcv alpha = fcv_set1((real)p->alpha_over_size), k = fcv_set1((real)p->k);
    fcv factor = fcv_set1((real)(2 * p->alpha_over_size * p->beta));
    lrn_squares(p, from, squares);
    real *ratio = lrn_bordered(p, spread, (p->size - 1) / 2);
    for (ptrdiff_t i = 0; i < p->channels * LRN_PIXELS; i += FC_LEN) {
        fcv d = fcv_add(k, fcv_mul(alpha, lrn_window(squares + i, p->size)));
        fcv first = fcv_mul(fcv_load(grad + i), lrn_power(d, p->beta));
        fcv_store(to + i, first);
        fcv_store(ratio + i, fcv_div(fcv_mul(first, fcv_load(from + i)), d));
    }
    for (ptrdiff_t i = 0; i < p->channels * LRN_PIXELS; i += FC_LEN) {
        fcv second = fcv_mul(fcv_load(from + i), lrn_window(spread + i, p->size));
        fcv_store(to + i, fcv_sub(fcv_load(to + i), fcv_mul(factor, second)));
    }
}
