/* What the module `cpu` owns and every other compiled module uses: handed over in a capsule,
 * so that one process has one pool and one choice of instruction set. */
#ifndef FC_RUNTIME_H
#define FC_RUNTIME_H

#include "simd/fc.h"
#include "threads.h"

#define FC_RUNTIME "fastconv.kernels.cpu.runtime"

typedef struct {
    const fc_tiles *tiles[2]; /* float, double */
    int (*parallel)(fc_task task, void *context, ptrdiff_t count, int threads, size_t scratch);
    void *(*take)(size_t bytes);
    void (*give)(void *memory, size_t bytes);
} fc_runtime;

/* A kernel call that is ready: its tasks, and what is done before them, or NULL. */
typedef struct {
    void (*before)(void *memory);
    void *memory;
    fc_task task;
    void *context;
    ptrdiff_t count;
    int threads;
    size_t scratch;
} fc_step;

#endif
