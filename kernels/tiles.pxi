# The C side, declared for Cython: tile functions, pool, and the runtime that holds both.

from libc.stddef cimport size_t
from libc.stdint cimport int32_t


cdef extern from "simd/fc.h" nogil:
    ctypedef struct fc_product:
        Py_ssize_t taps, run, step
        const Py_ssize_t *offset
        const Py_ssize_t *w_offset
        const void *w
        Py_ssize_t w_step, w_vector, c_vector
        const void *bias
        int by_row, vectors, columns, each, accumulate, relu

    ctypedef struct fc_dots:
        Py_ssize_t spans, run, a_span, b_span, ahead_span
        const void *ahead

    ctypedef struct fc_windows:
        Py_ssize_t taps, rows, lanes
        const Py_ssize_t *offset
        const int32_t *index
        Py_ssize_t x_row, x_lane, y_row, y_lane, index_row, index_lane
        int32_t first_index, next_row, next_lane
        double area

    ctypedef struct fc_lrn:
        Py_ssize_t channels, size
        double alpha_over_size, beta, k

    ctypedef struct fc_tiles:
        const char *isa
        int item, lanes, rows, vectors, lrn_pixels
        void product(const fc_product *p, int rows, const void **a, void **c) noexcept nogil
        void dots(const fc_dots *p, int rows, const void **a, const void **b,
                  void *sums) noexcept nogil
        void fold(Py_ssize_t count, void *y, const void *x) noexcept nogil
        void copy(Py_ssize_t rows, Py_ssize_t columns, void *y, Py_ssize_t y_row,
                  Py_ssize_t y_column, const void *x, Py_ssize_t x_row,
                  Py_ssize_t x_column) noexcept nogil
        void max_windows(const fc_windows *p, const void *x, void *y, int32_t *index) noexcept nogil
        void mean_windows(const fc_windows *p, const void *x, void *y) noexcept nogil
        void add(Py_ssize_t rows, Py_ssize_t lanes, void *y, Py_ssize_t y_row,
                 Py_ssize_t y_lane, const void *x, Py_ssize_t x_row,
                 Py_ssize_t x_lane) noexcept nogil
        void divide(Py_ssize_t rows, Py_ssize_t lanes, void *y, const void *x,
                    Py_ssize_t x_row, Py_ssize_t x_lane, double height,
                    const double *width) noexcept nogil
        void add_at(Py_ssize_t count, void *y, Py_ssize_t y_step, Py_ssize_t y_lane,
                    const void *x, Py_ssize_t x_step, const int32_t *index,
                    Py_ssize_t index_step) noexcept nogil
        void add_rows(Py_ssize_t rows, Py_ssize_t lanes, double *total, const void *x,
                      Py_ssize_t x_row, Py_ssize_t x_lane) noexcept nogil
        void lrn(const fc_lrn *p, const void *x, void *y, void *work) noexcept nogil
        void lrn_dx(const fc_lrn *p, const void *dy, const void *x, void *dx,
                    void *work) noexcept nogil

    int fc_find_tiles(const fc_tiles **found, int most)


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
