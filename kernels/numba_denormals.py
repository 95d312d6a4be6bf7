"""Denormal numbers as zeros while Numba's kernels run without the compiled pool.

Training with weight decay drives weights to 1e-42, and then kernels take 10 to 100 times as
long.  The mode belongs to a thread; it is put back, so the caller never sees it.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from .numba_options import compiled


_ARCHITECTURE = cpu_target.target_context.codegen().magic_tuple()[0].partition("-")[0]
# Bits of the control register: MXCSR's flush-to-zero and denormals-are-zero; FPCR's FZ.
_BITS = {"x86_64": 0x8040, "aarch64": 1 << 24, "arm64": 1 << 24}.get(_ARCHITECTURE, 0)


def _x86(builder, new=None):
    """stmxcsr and ldmxcsr, which go through memory."""
    pointer = ir.IntType(8).as_pointer()
    place = cgutils.alloca_once(builder, ir.IntType(32))
    if new is not None:
        builder.store(builder.trunc(new, ir.IntType(32)), place)
    name = "llvm.x86.sse.stmxcsr" if new is None else "llvm.x86.sse.ldmxcsr"
    kind = ir.FunctionType(ir.VoidType(), [pointer])
    call = cgutils.get_or_insert_function(builder.module, kind, name)
    builder.call(call, [builder.bitcast(place, pointer)])
    return builder.zext(builder.load(place), ir.IntType(64))


def _arm(builder, new=None):
    word = ir.IntType(64)
    if new is None:
        kind, name, given = ir.FunctionType(word, []), "llvm.aarch64.get.fpcr", []
    else:
        kind, name, given = ir.FunctionType(ir.VoidType(), [word]), "llvm.aarch64.set.fpcr", [new]
    done = builder.call(cgutils.get_or_insert_function(builder.module, kind, name), given)
    return done if new is None else new


_write = _x86 if _ARCHITECTURE == "x86_64" else _arm


@intrinsic
def _get(context):
    return types.int64(), lambda context, builder, signature, values: _write(builder)


@intrinsic
def _put(context, mode):
    return types.int64(types.int64), lambda context, builder, signature, values: _write(
        builder, values[0]
    )


def _flush(bits):
    """Set bits; the mode before."""
    mode = _get()
    _put(mode | bits)
    return mode


def _restore(mode):
    return _put(mode)


@cache
def _switches():
    signature = types.int64(types.int64)
    return compiled(_flush, signature), compiled(_restore, signature)


@contextmanager
def flushed() -> Iterator[None]:
    """Denormals are zeros in this thread inside a ``with`` block (where the bits are known)."""
    if config.DISABLE_JIT or not _BITS:
        yield
        return
    flush, restore = _switches()
    mode = flush(0)
    try:  # before the mode is changed: an interrupt may come behind any call
        flush(_BITS)
        yield
    finally:
        restore(mode)
