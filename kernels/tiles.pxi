# The C side, declared for Cython: tile functions, pool, and the runtime that holds both.

from libc.stddef cimport size_t
from libc.stdint cimport int32_t


cdef extern from "simd/fc.h" nogil:
    void fc_prefetch(const void *at, size_t bytes)

    ctypedef struct fc_product:
        Py_ssize_t taps, run, step
        const Py_ssize_t *offset
        const Py_ssize_t *w_offset
        const void *w
        Py_ssize_t w_vector, c_vector
        const void *bias
        int by_row, vectors, columns, each, accumulate, relu

    ctypedef struct fc_depthwise:
        Py_ssize_t sources, across, along, step, dilation, results, lanes
        Py_ssize_t lane_step, x_source, x_across, low, high
        const Py_ssize_t *offset
        Py_ssize_t least_offset, most_offset
        const void *w
        Py_ssize_t w_source, w_across, w_along, w_lane
        const void *bias
        Py_ssize_t y_step
        int relu

    ctypedef struct fc_spans:
        Py_ssize_t spans, run, a_span, b_span, ahead_span
        const void *ahead

    ctypedef struct fc_windows:
        Py_ssize_t taps, across, rows, lanes
        const Py_ssize_t *offset
        const int32_t *index
        Py_ssize_t x_row, x_lane, y_row, y_lane, index_row, index_lane
        int32_t first_index, next_row, next_lane
        double area
        Py_ssize_t ahead

    ctypedef struct fc_scatter:
        Py_ssize_t rows, lanes, y_step, y_lane, x_row, x_lane, index_row, index_lane

    ctypedef struct fc_lrn:
        Py_ssize_t channels, size
        double alpha_over_size, beta, k

    ctypedef struct fc_winograd:
        int n, m, rows, columns, filters, relu
        Py_ssize_t s_element, y_row, y_column
        const void *bias

    ctypedef struct fc_sgd:
        double lr, momentum, l2, l1
        int nesterov

    ctypedef struct fc_dots:
        Py_ssize_t images, filters, depth, x_row, w_row, y_row
        int accumulate, relu

    ctypedef struct fc_spread:
        Py_ssize_t images, columns, depth, x_row, w_row, y_row
        int accumulate

    ctypedef struct fc_tiles:
        const char *isa
        int item, lanes, rows, vectors, dot_filters, lrn_pixels, depthwise_results
        void product(const fc_product *p, int rows, const void **a, void **c) noexcept nogil
        void dots(const fc_dots *p, const void *x, const void *w, const void *bias,
                  void *y) noexcept nogil
        void spread(const fc_spread *p, const void *x, const void *w, void *y) noexcept nogil
        void span_dots(const fc_spans *p, int rows, const void **a, const void **b,
                       void *sums) noexcept nogil
        void copy(Py_ssize_t rows, Py_ssize_t columns, void *y, Py_ssize_t y_row,
                  Py_ssize_t y_column, const void *x, Py_ssize_t x_row,
                  Py_ssize_t x_column) noexcept nogil
        void depthwise(const fc_depthwise *p, const void **x, void *y) noexcept nogil
        void depthwise_pair(const fc_depthwise *even, const fc_depthwise *odd, Py_ssize_t columns,
                            const void **x, void *y) noexcept nogil
        void depthwise_dw(const fc_depthwise *p, const void **x, const void *dy,
                          void *total) noexcept nogil
        void lane_sums(Py_ssize_t count, void *y, const void *x) noexcept nogil
        void max_windows(const fc_windows *p, const void *x, void *y, int32_t *index) noexcept nogil
        void mean_windows(const fc_windows *p, const void *x, void *y) noexcept nogil
        void add(Py_ssize_t rows, Py_ssize_t lanes, void *y, Py_ssize_t y_row,
                 Py_ssize_t y_lane, const void *x, Py_ssize_t x_row,
                 Py_ssize_t x_lane) noexcept nogil
        void divide(Py_ssize_t rows, Py_ssize_t lanes, void *y, const void *x,
                    Py_ssize_t x_row, Py_ssize_t x_lane, double height, const void *width,
                    int accumulate) noexcept nogil
        void combine(Py_ssize_t count, Py_ssize_t kernel, Py_ssize_t stride, void *y,
                     const void *x) noexcept nogil
        void add_at(const fc_scatter *p, void *y, const void *x,
                    const int32_t *index) noexcept nogil
        void add_rows(Py_ssize_t rows, Py_ssize_t lanes, double *total, const void *x,
                      Py_ssize_t x_row, Py_ssize_t x_lane) noexcept nogil
        void lrn(const fc_lrn *p, const void *x, void *y, void *work) noexcept nogil
        void lrn_dx(const fc_lrn *p, const void *dy, const void *x, void *dx,
                    void *work) noexcept nogil
        void winograd_in(int n, int r, Py_ssize_t channels, const void *x, Py_ssize_t x_row,
                         Py_ssize_t x_column, void *v, Py_ssize_t v_element) noexcept nogil
        void winograd_out(const fc_winograd *p, const void *s, void *y) noexcept nogil
        void relu(Py_ssize_t n, const void *x, void *y) noexcept nogil
        void relu_dx(Py_ssize_t n, const void *dy, const void *y, void *dx) noexcept nogil
        void dropout(Py_ssize_t n, const void *x, const void *chance, void *y,
                     double p) noexcept nogil
        double cross_entropy(Py_ssize_t classes, Py_ssize_t label, double share,
                             const void *scores, void *dscores) noexcept nogil
        void sgd(const fc_sgd *p, Py_ssize_t n, void *w, const void *grad,
                 void *velocity) noexcept nogil
        void limit_norm(Py_ssize_t n, void *w, double most) noexcept nogil

    int fc_find_tiles(const fc_tiles **found, int most)
    int fc_halves_avx512()


cdef extern from "threads.h" nogil:
    ctypedef void (*fc_task)(void *context, Py_ssize_t index, void *scratch) noexcept nogil
    int fc_parallel(fc_task task, void *context, Py_ssize_t count, int threads, size_t scratch)
    void *fc_take(size_t bytes)
    void fc_give(void *memory, size_t bytes)
    int fc_workers()


cdef extern from "runtime.h" nogil:
    const char *FC_RUNTIME

    ctypedef struct fc_runtime:
        const fc_tiles *tiles[2]
        int parallel(fc_task task, void *context, Py_ssize_t count, int threads,
                     size_t scratch) noexcept nogil
        void *take(size_t bytes) noexcept nogil
        void give(void *memory, size_t bytes) noexcept nogil

    ctypedef struct fc_step:
        void (*before)(void *memory) noexcept nogil
        void *memory
        fc_task task
        void *context
        Py_ssize_t count
        int threads
        size_t scratch
