/* The tile functions of one instruction set and dtype, and their table.
 *
 * tiles_<isa>_<dtype>.c sets FC_ISA, FC_TYPE and FC_F64, includes fc.h and the header of
 * the instruction set, then this file; it is compiled with that instruction set's flags.
 */
#include <math.h>
#include <string.h>

#include "copy.h"
#include "dots.h"
#include "lrn.h"
#include "pool.h"
#include "product.h"

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
    .lrn_pixels = LRN_PIXELS,
    .product = product,
    .dots = dots,
    .fold = fold,
    .copy = copy,
    .max_windows = max_windows,
    .mean_windows = mean_windows,
    .add = add,
    .divide = divide,
    .add_at = add_at,
    .add_rows = add_rows,
    .lrn = lrn,
    .lrn_dx = lrn_dx,
};
