/* The tile functions of one instruction set and dtype, and their table.
 *
 * tiles_<isa>_<dtype>.c sets FC_ISA, FC_TYPE and FC_F64, includes fc.h and the header of
 * the instruction set, then this file; it is compiled with that instruction set's flags.
 */
#include <math.h>
#include <string.h>

#include "copy.h"
#include "elementwise.h"
#include "depthwise.h"
#include "depthwise_dw.h"
#include "dots.h"
#include "lrn.h"
#include "pool.h"
#include "dense.h"
#include "product.h"
#include "winograd.h"

#define FC_JOIN(isa, type) fc_tiles_##isa##_##type
#define FC_NAME(isa, type) FC_JOIN(isa, type)
#define FC_STRING(isa) #isa
#define FC_TEXT(isa) FC_STRING(isa)

const fc_tiles FC_NAME(FC_ISA, FC_TYPE) = {
    .isa = FC_TEXT(FC_ISA),
    .item = sizeof(real),
    .lanes = FC_LEN,
    .rows = FC_ROWS,
    .vectors = FC_VECS,
    .dot_filters = DOT_ALONE,
    .lrn_pixels = LRN_PIXELS,
    .depthwise_results = DEPTHWISE_RESULTS,
    .product = product,
    .dots = dots,
    .spread = spread,
    .span_dots = span_dots,
    .copy = copy,
    .depthwise = depthwise,
    .depthwise_pair = depthwise_pair,
    .depthwise_dw = depthwise_dw,
    .lane_sums = lane_sums,
    .max_windows = max_windows,
    .mean_windows = mean_windows,
    .add = add,
    .divide = divide,
    .combine = combine,
    .add_at = add_at,
    .add_rows = add_rows,
    .lrn = lrn,
    .lrn_dx = lrn_dx,
    .winograd_in = winograd_in,
    .winograd_out = winograd_out,
    .relu = relu,
    .relu_dx = relu_dx,
    .dropout = dropout,
    .cross_entropy = cross_entropy,
    .sgd = sgd,
    .limit_norm = limit_norm,
};
