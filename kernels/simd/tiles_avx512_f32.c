#define FC_ISA avx512
#define FC_TYPE f32
#define FC_F64 0
#include "fc.h"
#include "fc_avx512.h"
#include "tiles.h"
