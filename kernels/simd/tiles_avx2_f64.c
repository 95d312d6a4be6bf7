#define FC_ISA avx2
#define FC_TYPE f64
#define FC_F64 1
#include "fc.h"
#include "fc_avx2.h"
#include "tiles.h"
