#define FC_ISA sse2
#define FC_TYPE f64
#define FC_F64 1
#include "fc.h"
#include "fc_sse2.h"
#include "tiles.h"
