#define FC_ISA scalar
#define FC_TYPE f32
#define FC_F64 0
#include "fc.h"
#include "fc_scalar.h"
#include "tiles.h"
