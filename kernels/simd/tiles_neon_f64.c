#define FC_ISA neon
#define FC_TYPE f64
#define FC_F64 1
#include "fc.h"
#include "fc_neon.h"
#include "tiles.h"
