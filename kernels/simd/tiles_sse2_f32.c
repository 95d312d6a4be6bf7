#define FC_ISA sse2
#define FC_TYPE f32
#define FC_F64 0
#include "fc.h"
#include "fc_sse2.h"
#include "tiles.h"
