#define FC_ISA avx512
#define FC_TYPE f64
#define FC_F64 1
#include "fc.h"
#include "fc_avx512.h"
#include "tiles.h"
