#define FC_ISA avx2
#define FC_TYPE f32
#define FC_F64 0
#include "fc.h"
#include "fc_avx2.h"
#include "tiles.h"
