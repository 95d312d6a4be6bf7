/* See threads.h.  No OpenMP: two of its runtimes in one process crash or hang, libgomp
 * hangs after fork, and its spinning workers starve the next library.
 *
 * A job is published by raising `generation`.  Workers that see it take a ticket, and draw
 * task numbers until none is left: first of their own share, neighbours, which in the next call
 * of its kind finds in this core's cache what it left there (depthwise 3x3 on two threads 1.17,
 * a Xeon).  The caller draws too, then withdraws the remaining
 * tickets, so that whoever wakes late finds none and touches nothing, and waits for the
 * workers that had got one.
 */
#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

enum { MOST_WORKERS = 255, ALIGN = 64 };
enum { SPIN_NS = 50 * 1000 };  /* how long an idle worker watches before it sleeps */
enum { SLABS = 64, SLAB = 1 << 20, KEEP = 32 << 20 }; /* bytes of a slab; kept in all */

/* A thread's part of the tasks, on a cache line of its own. */
struct share {
    _Alignas(ALIGN) atomic_ptrdiff_t next;
    ptrdiff_t end;
};

static struct {
    pthread_mutex_t owner;      /* held by the caller whose job the workers do */
    pthread_mutex_t door;       /* guards sleeping */
    pthread_cond_t wake;
    atomic_int sleepers;
    int workers;                /* changed by the owner only */
    pthread_t thread[MOST_WORKERS];
    atomic_uint generation;

    fc_task task;
    void *context;
    int shares;
    atomic_int tickets;
    atomic_int finished;
    void *scratch[MOST_WORKERS + 1]; /* [0]: the caller's, then by ticket */
    struct share share[MOST_WORKERS + 1];
} pool = {.owner = PTHREAD_MUTEX_INITIALIZER,
          .door = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER};

/* ---- memory: slabs of a few sizes are kept between calls ---- */

static struct {
    pthread_mutex_t lock;
    int count;
    size_t total;
    struct { void *at; size_t size; } slab[SLABS];
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

static size_t slab_size(size_t bytes)
{
    return bytes < SLAB ? SLAB : (bytes + SLAB - 1) / SLAB * SLAB;
}

void *fc_take(size_t bytes)
{
    size_t size = slab_size(bytes);
    void *at = NULL;
    pthread_mutex_lock(&kept.lock);
    for (int i = kept.count - 1; i >= 0 && !at; i--)
        if (kept.slab[i].size == size) {
            at = kept.slab[i].at;
            kept.slab[i] = kept.slab[--kept.count];
            kept.total -= size;
        }
    pthread_mutex_unlock(&kept.lock);
    return at ? at : aligned_alloc(ALIGN, size);
}

void fc_give(void *at, size_t bytes)
{
    size_t size = slab_size(bytes);
    pthread_mutex_lock(&kept.lock);
    if (at && kept.count < SLABS && kept.total + size <= KEEP) {
        kept.slab[kept.count].at = at;
        kept.slab[kept.count++].size = size;
        kept.total += size;
        at = NULL;
    }
    pthread_mutex_unlock(&kept.lock);
    free(at);
}

/* ---- denormals: 10 to 100 times slower, so they are zero inside tasks ---- */

#if defined(__x86_64__)
#include <xmmintrin.h>
static unsigned flush_denormals(void)
{
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* FTZ: results, DAZ: operands */
    return before;
}
static void restore_denormals(unsigned before) { _mm_setcsr(before); }
#elif defined(__aarch64__)
static uint64_t flush_denormals(void)
{
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | (1u << 24)));
    return before;
}
static void restore_denormals(uint64_t before)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
}
#else
static int flush_denormals(void) { return 0; }
static void restore_denormals(int before) { (void)before; }
#endif

/* ---- workers ---- */

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* First the tasks of the thread's own share, then what is left of the others'. */
static void draw_tasks(int mine, int shares, fc_task task, void *context)
{
    void *scratch = pool.scratch[mine];
    for (int s = 0; s < shares; s++) {
        struct share *from = &pool.share[(mine + s) % shares];
        ptrdiff_t i;
        while ((i = atomic_fetch_add(&from->next, 1)) < from->end) task(context, i, scratch);
    }
}

static unsigned next_generation(unsigned seen)
{
    int64_t until = now_ns() + SPIN_NS;
    for (int i = 1;; i++) {
        unsigned found = atomic_load(&pool.generation);
        if (found != seen) return found;
        relax();
        if (i % 64 == 0 && now_ns() > until) break;
    }
    pthread_mutex_lock(&pool.door);
    atomic_fetch_add(&pool.sleepers, 1);
    while (atomic_load(&pool.generation) == seen) pthread_cond_wait(&pool.wake, &pool.door);
    atomic_fetch_sub(&pool.sleepers, 1);
    pthread_mutex_unlock(&pool.door);
    return atomic_load(&pool.generation);
}

static void *work(void *unused)
{
    unsigned seen = 0; /* a new worker may join the job for which it was started */
    (void)unused;
    for (;;) {
        int ticket = atomic_fetch_sub(&pool.tickets, 1);
        if (ticket > 0) {
            typeof(flush_denormals()) before = flush_denormals();
            draw_tasks(ticket, pool.shares, pool.task, pool.context);
            restore_denormals(before);
            atomic_fetch_add(&pool.finished, 1);
        }
        seen = next_generation(seen);
    }
    return NULL;
}

static void start_workers(int wanted)
{
    while (pool.workers < wanted) {
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        int failed = pthread_create(&pool.thread[pool.workers], &attributes, work, NULL);
        pthread_attr_destroy(&attributes);
        if (failed) return; /* fewer threads, same result */
        pool.workers++;
    }
}

/* A woken worker may be queued on its caller's processor, behind the caller, while another
 * stands idle: for 4 ms, seen on two processors.  So a few workers are sent elsewhere. */
static void send_workers_elsewhere(void)
{
#if defined(__linux__)
    enum { FEW = 8 };
    cpu_set_t allowed;
    int here = sched_getcpu();
    if (here < 0 || pool.workers > FEW || sched_getaffinity(0, sizeof allowed, &allowed)) return;
    if (CPU_COUNT(&allowed) < 2) return;
    CPU_CLR(here, &allowed);
    for (int i = 0; i < pool.workers; i++)
        pthread_setaffinity_np(pool.thread[i], sizeof allowed, &allowed);
#endif
}

static void share_out(ptrdiff_t count, int shares)
{
    pool.shares = shares;
    for (int i = 0; i < shares; i++) {
        atomic_store(&pool.share[i].next, count * i / shares);
        pool.share[i].end = count * (i + 1) / shares;
    }
}

static void publish(int tickets)
{
    atomic_store(&pool.finished, 0);
    atomic_store(&pool.tickets, tickets);
    atomic_fetch_add(&pool.generation, 1);
    if (atomic_load(&pool.sleepers)) {
        send_workers_elsewhere();
        pthread_mutex_lock(&pool.door);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.door);
    }
}

static void wait_for_workers(int tickets)
{
    int left = atomic_exchange(&pool.tickets, 0);
    int joined = tickets - (left > 0 ? left : 0);
    for (int i = 1; atomic_load(&pool.finished) < joined; i++) {
        relax();
        if (i % 1024 == 0) sched_yield();
    }
}

static int run_alone(fc_task task, void *context, ptrdiff_t count, size_t bytes)
{
    void *scratch = bytes ? fc_take(bytes) : NULL;
    if (bytes && !scratch) return -1;
    typeof(flush_denormals()) before = flush_denormals();
    for (ptrdiff_t i = 0; i < count; i++) task(context, i, scratch);
    restore_denormals(before);
    if (bytes) fc_give(scratch, bytes);
    return 0;
}

static int run_together(fc_task task, void *context, ptrdiff_t count, int threads, size_t bytes)
{
    start_workers(threads - 1);
    int tickets = threads - 1 < pool.workers ? threads - 1 : pool.workers;
    int taken = 0;
    while (bytes && taken <= tickets) {
        pool.scratch[taken] = fc_take(bytes);
        if (!pool.scratch[taken]) break;
        taken++;
    }
    int short_of_memory = bytes && taken <= tickets;
    if (!short_of_memory) {
        pool.task = task, pool.context = context;
        share_out(count, tickets + 1);
        publish(tickets);
        typeof(flush_denormals()) before = flush_denormals();
        draw_tasks(0, pool.shares, task, context);
        restore_denormals(before);
        wait_for_workers(tickets);
    }
    while (taken) fc_give(pool.scratch[--taken], bytes);
    return short_of_memory ? -1 : 0;
}

/* ---- fork: the child has none of the workers, and locks as they happened to be ---- */

static void after_fork(void)
{
    pthread_mutex_init(&pool.owner, NULL);
    pthread_mutex_init(&pool.door, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pthread_mutex_init(&kept.lock, NULL);
    kept.count = 0;
    kept.total = 0;
    pool.workers = 0;
    atomic_store(&pool.sleepers, 0);
    atomic_store(&pool.tickets, 0);
}

static void watch_forks(void) { pthread_atfork(NULL, NULL, after_fork); }

int fc_parallel(fc_task task, void *context, ptrdiff_t count, int threads, size_t scratch)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (count <= 0) return 0;
    if (threads > MOST_WORKERS) threads = MOST_WORKERS;
    if (threads > count) threads = (int)count;
    if (threads <= 1) return run_alone(task, context, count, scratch);
    pthread_once(&once, watch_forks);
    if (pthread_mutex_trylock(&pool.owner)) return run_alone(task, context, count, scratch);
    int failed = run_together(task, context, count, threads, scratch);
    pthread_mutex_unlock(&pool.owner);
    return failed;
}

int fc_workers(void) { return pool.workers; }
