/* The thread pool: one per process, workers that sleep when idle. */
#ifndef FC_THREADS_H
#define FC_THREADS_H

#include <stddef.h>

/* One task: `index` of a job's `count`; `scratch` is the thread's own for the whole job. */
typedef void (*fc_task)(void *context, ptrdiff_t index, void *scratch);

/* Run task(context, 0 … count-1, scratch) on at most `threads` threads, the caller's
 * included, and return when all are done.  A thread does its share of neighbouring tasks, in
 * order, then what is left of the others'.
 * Denormals are flushed to zero inside tasks and nowhere else.
 *
 * Any number of threads may call at once: one has the workers, the others do their tasks
 * alone.  A forked child starts workers of its own when it first needs them.
 *
 * Returns 0, or -1 if there was no memory for scratch (then no task has run). */
int fc_parallel(fc_task task, void *context, ptrdiff_t count, int threads, size_t scratch);

/* Memory for one call: kept between calls up to a few MiB, so that its pages are mapped once.
 * Aligned to a cache line; NULL if there is none. */
void *fc_take(size_t bytes);
void fc_give(void *memory, size_t bytes);

/* What is known of the pool, for reports and tests. */
int fc_workers(void);

#endif
