#define FC_ISA scalar
#define FC_TYPE f64
#define FC_F64 1
#include "fc.h"
#include "fc_scalar.h"
#include "tiles.h"
