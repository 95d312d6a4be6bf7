#define FC_ISA neon
#define FC_TYPE f32
#define FC_F64 0
#include "fc.h"
#include "fc_neon.h"
#include "tiles.h"
