# A call whose sizes, cuts and packed weights are worked out, to be done again and again with
# other numbers in the same arrays (kernels/recording.py).

cdef class Step:
    """Called, it does its tasks."""

    cdef fc_task task
    cdef void *context                      # of the tasks, in `memory`
    cdef Py_ssize_t count, work
    cdef size_t scratch
    cdef void *memory
    cdef void (*release)(void *) noexcept   # what the context has taken besides
    cdef void (*before)(void *) noexcept    # done with `memory` before the tasks, or NULL
    cdef object held                        # arrays that the context points into

    cdef void *own(self, size_t bytes, void (*release)(void *) noexcept) except NULL:
        """Zeroed memory that lives as long as the step."""
        self.memory = calloc(1, bytes)
        if self.memory == NULL:
            raise MemoryError(f"no memory for {bytes} bytes of a call that is kept")
        self.release = release
        return self.memory

    cdef void do(self, fc_task task, void *context, Py_ssize_t count, Py_ssize_t work,
                 size_t scratch) noexcept:
        """What calls will do; the arguments of `run`."""
        self.task, self.context, self.count = task, context, count
        self.work, self.scratch = work, scratch

    def __call__(self):
        if self.before != NULL:
            self.before(self.memory)
        run(self.task, self.context, self.count, self.work, self.scratch)

    def __dealloc__(self):
        if self.memory != NULL:
            if self.release != NULL:
                self.release(self.memory)
            free(self.memory)
