# A call whose sizes, cuts and packed weights are worked out, to be made again with other
# numbers in the same arrays (recording.py), on as many threads as it would get now.

from libc.stdlib cimport calloc


cdef class Step:
    """What cpu.Steps needs of a call, and the memory of it."""

    cdef fc_step step
    cdef void (*release)(void *) noexcept   # what the context has taken besides
    cdef object held                        # arrays that the context points into

    cdef void *own(self, size_t bytes, void (*release)(void *) noexcept) except NULL:
        """Zeroed memory that lives as long as the step."""
        self.step.memory = calloc(1, bytes)
        if self.step.memory == NULL:
            raise MemoryError(f"no memory for {bytes} bytes of a call that is kept")
        self.release = release
        return self.step.memory

    cdef int do(self, fc_task task, void *context, Py_ssize_t count, Py_ssize_t work,
                size_t scratch) except -1:
        """What calls will do; the arguments of `run`."""
        self.step.task, self.step.context, self.step.count = task, context, count
        self.step.threads, self.step.scratch = <int>threads_for(work), scratch
        return 0

    @property
    def address(self):
        return <size_t>&self.step

    def __dealloc__(self):
        if self.step.memory != NULL:
            if self.release != NULL:
                self.release(self.step.memory)
            free(self.step.memory)
