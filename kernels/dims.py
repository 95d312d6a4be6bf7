"""Shape arithmetic: the only place that knows how sizes follow from one another.

``ConvDims`` and ``PoolDims`` are built once per call from shapes and options, check
them, and carry the result to every kernel, so that no kernel sees an int-or-tuple.
``str(dims)`` is the problem's name in tests, benchmarks, logs and bug reports, and
``parse`` reads it back.

Letters: n images, c input channels, h × w input plane, k filters, kh × kw window.
"""

from __future__ import annotations

import operator
import re
import struct
from dataclasses import InitVar, dataclass
from functools import cached_property, lru_cache
from math import gcd, prod
from typing import NamedTuple

from .errors import ShapeError


__all__ = ["ConvDims", "Padding", "Pads", "Pair", "PoolDims", "Shape4", "TapAxis"]

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]
Shape4 = tuple[int, int, int, int]
Padding = int | str | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]

_PADDING_RULE = (
    "padding is an int, (ph, pw), ((top, bottom), (left, right)), 'valid', 'same' or 'same_lower'"
)
# No array of NumPy's can be larger, and kernels compute offsets in 64 bits.
_MAX_BYTES = 2**63 - 1
_LARGEST_ITEM = 8
# Beyond any plane; products of two stay within 64 bits.
_LARGEST_OPTION = 2**31 - 1
_FOUR_INTS = [int] * 4


class TapAxis(NamedTuple):
    """One axis of a convolution, or of a pooling without weights, as a kernel walks it.

    Result i lies at ``out_first + i * out_step``; its tap j reads source position
    ``first + i * step + j * dilation`` (outside [0, size_in) is padding) and weight
    ``k_first + j * k_step``.  Forward is one such walk; the gradient with respect to
    x is one per phase of the stride.
    """

    size_in: int
    size_out: int
    first: int
    step: int
    taps: int
    dilation: int
    k_first: int
    k_step: int
    out_first: int
    out_step: int


def _words(dims: ConvDims | PoolDims, filters: int, groups: int) -> bytes:
    """The sizes and axes of the forward walk as the compiled kernels read them."""
    rows, columns = dims.forward_taps
    return struct.pack("24n", dims.n, dims.c, filters, groups, *rows, *columns)


def _plain(options: tuple[object, ...]) -> bool:
    """Whether options are of the plain types, which alone may be keys of a cache.

    (1.0 and True are equal to 1 and would pass for it; lists cannot be keys.)
    """
    for option in options:
        kind = type(option)
        if kind is not int and kind is not str:
            if kind is not tuple or not _plain(option):  # type: ignore[arg-type]
                return False
    return True


def as_int(value: object, verb: str, name: str) -> int:
    """An integer argument as int; TypeError for floats, bools and the rest."""
    if not isinstance(value, bool):
        try:
            return operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            pass
    raise TypeError(f"{verb}: {name} must be an integer, got {value!r}")


def as_pair(value: object, verb: str, name: str, least: int) -> Pair:
    """An int, or two of them, as a pair whose members are at least `least`."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"{verb}: {name} must be an int or a pair, got {value!r}")
        pair = (as_int(value[0], verb, name), as_int(value[1], verb, name))
    else:
        one = as_int(value, verb, name)
        pair = (one, one)
    if min(pair) < least:
        raise ValueError(f"{verb}: {name} must be at least {least}, got {value!r}")
    if max(pair) > _LARGEST_OPTION:
        raise ValueError(f"{verb}: {name} must be at most {_LARGEST_OPTION}, got {value!r}")
    return pair


def as_shape4(value: object, verb: str, name: str) -> Shape4:
    """A shape given by the caller, as four ints."""
    if type(value) is tuple and [*map(type, value)] == _FOUR_INTS:
        return value
    if not isinstance(value, (tuple, list)) or len(value) != 4:
        raise ShapeError(f"{verb}: {name} must be a shape of 4 sizes (N, C, H, W), got {value!r}")
    n, c, h, w = (as_int(v, verb, name) for v in value)
    return n, c, h, w


def _same(size: int, window: int, stride: int, lower: bool) -> Pair:
    """Padding that makes ceil(size / stride) results; the odd cell goes last."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    small = total // 2
    return (total - small, small) if lower else (small, total - small)


def as_pads(padding: object, verb: str, sizes: Pair, windows: Pair, stride: Pair) -> Pads:
    """Any of the accepted forms of padding as ((top, bottom), (left, right))."""
    if isinstance(padding, str):
        if padding == "valid":
            return (0, 0), (0, 0)
        if padding not in ("same", "same_lower"):
            raise ValueError(f"{verb}: padding={padding!r} is unknown; {_PADDING_RULE}")
        lower = padding == "same_lower"
        return (
            _same(sizes[0], windows[0], stride[0], lower),
            _same(sizes[1], windows[1], stride[1], lower),
        )
    if isinstance(padding, (tuple, list)):
        if len(padding) != 2:
            raise ValueError(f"{verb}: padding={padding!r} has a wrong form; {_PADDING_RULE}")
        if any(isinstance(p, (tuple, list)) for p in padding):
            top_bottom = as_pair(padding[0], verb, "padding", 0)
            return top_bottom, as_pair(padding[1], verb, "padding", 0)
    ph, pw = as_pair(padding, verb, "padding", 0)
    return (ph, ph), (pw, pw)


def _check_positive(verb: str, name: str, shape: Shape4, least_n: int = 0) -> None:
    if shape[0] < least_n or min(shape[1:]) < 1:
        raise ShapeError(
            f"{verb}: {name} has shape {shape}; only N may be 0, every other size "
            "must be at least 1"
        )


def _check_bytes(verb: str, *shapes: Shape4) -> None:
    for shape in shapes:
        if prod(shape) * _LARGEST_ITEM > _MAX_BYTES:
            raise ShapeError(f"{verb}: an array of shape {shape} would not fit in memory")


def _show_pads(pads: Pads) -> str:
    return "x".join(str(lo) if lo == hi else f"{lo}:{hi}" for lo, hi in pads)


def _parse_pads(text: str) -> Pads:
    (top, _, bottom), (left, _, right) = (part.partition(":") for part in text.split("x"))
    return (int(top), int(bottom or top)), (int(left), int(right or left))


def _parse_pair(text: str) -> Pair:
    first, second = text.split("x")
    return int(first), int(second)


_INPUT = r"n(?P<n>\d+)c(?P<c>\d+)h(?P<h>\d+)w(?P<w>\d+)"
_WINDOW = r"_s(?P<s>\d+x\d+)_p(?P<p>[\d:]+x[\d:]+)_d(?P<d>\d+x\d+)"
# Compiled where parse() first uses them: half a millisecond of the import's twenty.
_CONV = rf"{_INPUT}_k(?P<k>\d+)r(?P<r>\d+x\d+){_WINDOW}_g(?P<g>\d+)"
_POOL = rf"{_INPUT}_r(?P<r>\d+x\d+){_WINDOW}(?P<ceil>_ceil)?"


def _forward_axis(dims: ConvDims | PoolDims, axis: int) -> TapAxis:
    return TapAxis(
        size_in=(dims.h, dims.w)[axis],
        size_out=(dims.out_h, dims.out_w)[axis],
        first=-dims.pad[axis][0],
        step=dims.stride[axis],
        taps=(dims.kh, dims.kw)[axis],
        dilation=dims.dilation[axis],
        k_first=0,
        k_step=1,
        out_first=0,
        out_step=1,
    )


@dataclass(frozen=True)
class ConvDims:
    """The geometry of one 2-D convolution, its gradients included.

    Raises
    ------
    ShapeError
        If the shapes and options contradict one another.
    """

    n: int
    c: int
    h: int
    w: int
    k: int
    kh: int
    kw: int
    stride: Pair = (1, 1)
    pad: Pads = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1
    verb: InitVar[str] = "ConvDims"  # whose name error messages begin with

    @staticmethod
    def of(
        x_shape: tuple[int, ...],
        w_shape: tuple[int, ...],
        *,
        stride: object = 1,
        padding: object = 0,
        dilation: object = 1,
        groups: object = 1,
        verb: str = "conv2d",
    ) -> ConvDims:
        """Dims from the shapes (N, C, H, W) and (O, C/groups, KH, KW) and the options."""
        plain = type(stride) is type(padding) is type(dilation) is type(groups) is int
        plain = plain or _plain((stride, padding, dilation, groups))
        make = _cached_conv_dims if plain else _conv_dims
        return make(x_shape, w_shape, stride, padding, dilation, groups, verb)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Computed once: every call looks its implementation up by the dims."""
        return hash((*self.x_shape, *self.w_shape, self.stride, self.pad, self.dilation))

    @cached_property
    def window(self) -> Pair:
        """Height and width of the dilated window."""
        return _windows((self.kh, self.kw), self.dilation)

    @cached_property
    def x_shape(self) -> Shape4:
        return self.n, self.c, self.h, self.w

    @cached_property
    def w_shape(self) -> Shape4:
        return self.k, self.c // self.groups, self.kh, self.kw

    @cached_property
    def y_shape(self) -> Shape4:
        return self.n, self.k, self.out_h, self.out_w

    @cached_property
    def out_h(self) -> int:
        return (self.h + sum(self.pad[0]) - self.window[0]) // self.stride[0] + 1

    @cached_property
    def out_w(self) -> int:
        return (self.w + sum(self.pad[1]) - self.window[1]) // self.stride[1] + 1

    @property
    def macs(self) -> int:
        """Multiply-adds of the direct algorithm, padding counted (as everybody does)."""
        return prod(self.y_shape) * prod(self.w_shape[1:])

    @property
    def flops(self) -> int:
        return 2 * self.macs

    @cached_property
    def flattened(self) -> ConvDims | None:
        """The same product as a 1×1 convolution, where one window is the whole image.

        So it is in LeNet's last convolution: a linear layer of C·H·W inputs.
        """
        whole = (self.kh, self.kw) == (self.h, self.w) == self.window
        if not whole or any(map(any, self.pad)) or self.groups > 1 or self.h * self.w == 1:
            return None
        return ConvDims(self.n, self.c * self.h * self.w, 1, 1, self.k, 1, 1)

    @cached_property
    def forward_taps(self) -> tuple[TapAxis, TapAxis]:
        """The rows' and the columns' walk of the forward convolution."""
        return _forward_axis(self, 0), _forward_axis(self, 1)

    @cached_property
    def words(self) -> bytes:
        return _words(self, self.k, self.groups)

    @cached_property
    def dx_phases(self) -> tuple[tuple[TapAxis, TapAxis], ...]:
        """The walks that together write every element of dx exactly once."""
        rows, columns = self._dx_axes(0), self._dx_axes(1)
        return tuple((row, column) for row in rows for column in columns)

    def _dx_axes(self, axis: int) -> list[TapAxis]:
        """One walk over dy per phase of the stride.

        dx[i] gathers w[k] · dy[o] wherever o·s + k·d = i + p.  Positions i + p = s·q + r
        of phase r meet only the taps with k·d = s·t + r, at o = q - t: a convolution
        of stride 1 with a part of the kernel, flipped.
        """
        size, out = (self.h, self.w)[axis], (self.out_h, self.out_w)[axis]
        kernel, s, d = (self.kh, self.kw)[axis], self.stride[axis], self.dilation[axis]
        pad, common = self.pad[axis][0], gcd(self.stride[axis], self.dilation[axis])
        axes = []
        for r in range(s):
            q_first, q_last = -((r - pad) // s), (size - 1 + pad - r) // s
            if q_last < q_first:
                continue
            ks = [k for k in range(kernel) if k * d % s == r]
            k_last = ks[-1] if ks else 0
            t_last = (k_last * d - r) // s
            axes.append(
                TapAxis(
                    size_in=out,
                    size_out=q_last - q_first + 1,
                    first=q_first - t_last,
                    step=1,
                    taps=len(ks),
                    dilation=d // common,
                    k_first=k_last,
                    k_step=-(s // common),
                    out_first=s * q_first + r - pad,
                    out_step=s,
                )
            )
        return axes

    @cached_property
    def dx_merged(self) -> tuple[TapAxis, TapAxis] | None:
        """All phases of dx as one walk: for kernels that do not skip (a dilation of 1).

        Result q of phase r lies at ``out_first + q * out_step + r`` (perhaps outside x) and
        its tap j meets weight ``k_first + j * k_step + r`` (perhaps beyond the kernel).
        """
        if self.dilation != (1, 1):
            return None
        axes = []
        for axis in (0, 1):
            s, pad = self.stride[axis], self.pad[axis][0]
            taps = -(-(self.kh, self.kw)[axis] // s)
            q_first, q_last = pad // s, ((self.h, self.w)[axis] - 1 + pad) // s
            axes.append(
                TapAxis(
                    size_in=(self.out_h, self.out_w)[axis],
                    size_out=q_last - q_first + 1,
                    first=q_first - (taps - 1),
                    step=1,
                    taps=taps,
                    dilation=1,
                    k_first=s * (taps - 1),
                    k_step=-s,
                    out_first=s * q_first - pad,
                    out_step=s,
                )
            )
        return axes[0], axes[1]

    def __post_init__(self, verb: str) -> None:
        _check_positive(verb, "x", self.x_shape)
        if min(self.k, self.kh, self.kw) < 1:
            raise ShapeError(f"{verb}: w has shape {self.w_shape}; every size must be at least 1")
        if self.groups < 1 or self.c % self.groups or self.k % self.groups:
            raise ShapeError(
                f"{verb}: groups={self.groups} must divide both the {self.c} channels of x "
                f"and the {self.k} filters of w"
            )
        for axis, name in enumerate(("height", "width")):
            padded = (self.h, self.w)[axis] + sum(self.pad[axis])
            if padded < self.window[axis]:
                raise ShapeError(
                    f"{verb}: the {name} of x with padding is {padded}, smaller than the "
                    f"window of {self.window[axis]} (kernel {(self.kh, self.kw)[axis]}, dilation "
                    f"{self.dilation[axis]}); use more padding, a smaller kernel or larger images"
                )
        _check_bytes(verb, self.x_shape, self.w_shape, self.y_shape)

    def __str__(self) -> str:
        return (
            f"n{self.n}c{self.c}h{self.h}w{self.w}_k{self.k}r{self.kh}x{self.kw}"
            f"_s{self.stride[0]}x{self.stride[1]}_p{_show_pads(self.pad)}"
            f"_d{self.dilation[0]}x{self.dilation[1]}_g{self.groups}"
        )

    @classmethod
    def parse(cls, text: str) -> ConvDims:
        """The dims whose name is `text`: the inverse of ``str``."""
        found = re.fullmatch(_CONV, text)
        if found is None:
            raise ValueError(
                f"ConvDims.parse: {text!r} is not of the form "
                "n2c8h14w14_k16r3x3_s2x2_p1x1_d1x1_g2 (asymmetric padding: p1:2x0:1)"
            )
        n, c, h, w, k = (int(found[name]) for name in "nchwk")
        return cls(
            n,
            c,
            h,
            w,
            k,
            *_parse_pair(found["r"]),
            _parse_pair(found["s"]),
            _parse_pads(found["p"]),
            _parse_pair(found["d"]),
            int(found["g"]),
        )


def _windows(kernel: Pair, dilation: Pair) -> Pair:
    return dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1


def _conv_dims(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    stride: object,
    padding: object,
    dilation: object,
    groups: object,
    verb: str,
) -> ConvDims:
    x4, w4 = as_shape4(x_shape, verb, "x"), as_shape4(w_shape, verb, "w")
    strides = as_pair(stride, verb, "stride", 1)
    dilations = as_pair(dilation, verb, "dilation", 1)
    count = as_int(groups, verb, "groups")
    if count < 1:
        raise ValueError(f"{verb}: groups must be at least 1, got {groups!r}")
    (n, c, h, w), (k, cg, kh, kw) = x4, w4
    if cg * count != c:
        raise ShapeError(
            f"{verb}: x {x4} has {c} channels, but w {w4} with groups={count} reads "
            f"{cg * count}; w must have shape (O, C/groups, KH, KW)"
        )
    pads = as_pads(padding, verb, (h, w), _windows((kh, kw), dilations), strides)
    return ConvDims(n, c, h, w, k, kh, kw, strides, pads, dilations, count, verb)


_cached_conv_dims = lru_cache(maxsize=1024)(_conv_dims)


@dataclass(frozen=True)
class PoolDims:
    """The geometry of one 2-D pooling.

    Raises
    ------
    ShapeError
        If the shapes and options contradict one another, or a window would hold
        nothing but padding.
    """

    n: int
    c: int
    h: int
    w: int
    kh: int
    kw: int
    stride: Pair = (1, 1)
    pad: Pads = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    ceil_mode: bool = False
    verb: InitVar[str] = "PoolDims"  # whose name error messages begin with

    @staticmethod
    def of(
        x_shape: tuple[int, ...],
        kernel_size: object,
        *,
        stride: object = None,
        padding: object = 0,
        dilation: object = 1,
        ceil_mode: bool = False,
        verb: str = "max_pool2d",
    ) -> PoolDims:
        """Dims from the shape (N, C, H, W) and the options; stride None is kernel_size."""
        if stride is None:
            stride = kernel_size
        plain = type(kernel_size) is type(stride) is type(padding) is type(dilation) is int
        plain = plain or _plain((kernel_size, stride, padding, dilation))
        make = _cached_pool_dims if plain else _pool_dims
        return make(x_shape, kernel_size, stride, padding, dilation, bool(ceil_mode), verb)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((*self.x_shape, self.kh, self.kw, self.stride, self.pad, self.dilation))

    @cached_property
    def window(self) -> Pair:
        return _windows((self.kh, self.kw), self.dilation)

    @cached_property
    def x_shape(self) -> Shape4:
        return self.n, self.c, self.h, self.w

    @cached_property
    def y_shape(self) -> Shape4:
        return self.n, self.c, self.out_h, self.out_w

    @cached_property
    def out_h(self) -> int:
        return self._out(0)

    @cached_property
    def out_w(self) -> int:
        return self._out(1)

    def _out(self, axis: int) -> int:
        size, (lo, hi), stride = (self.h, self.w)[axis], self.pad[axis], self.stride[axis]
        room = size + lo + hi - self.window[axis]
        if not self.ceil_mode:
            return room // stride + 1
        out = -(-room // stride) + 1
        return out - 1 if (out - 1) * stride >= size + lo else out

    @cached_property
    def forward_taps(self) -> tuple[TapAxis, TapAxis]:
        """The rows' and the columns' walk; there are no weights."""
        return _forward_axis(self, 0), _forward_axis(self, 1)

    @cached_property
    def words(self) -> bytes:
        return _words(self, self.c, self.c)

    def starts(self, axis: int) -> range:
        """Where the window of each result begins (negative: in the padding)."""
        lo, stride = self.pad[axis][0], self.stride[axis]
        return range(-lo, -lo + stride * (self.out_h, self.out_w)[axis], stride)

    def counts(self, axis: int, include_pad: bool) -> tuple[int, ...]:
        """Cells of each window along one axis: the divisor of average pooling.

        With ``include_pad`` the padding counts, but not what ``ceil_mode`` lets a window
        reach beyond it (the rule of PyTorch and of ONNX from opset 19 on).
        """
        size, hi, kernel = (self.h, self.w)[axis], self.pad[axis][1], (self.kh, self.kw)[axis]
        if include_pad:
            return tuple(min(start + kernel, size + hi) - start for start in self.starts(axis))
        return tuple(min(start + kernel, size) - max(start, 0) for start in self.starts(axis))

    def __post_init__(self, verb: str) -> None:
        _check_positive(verb, "x", self.x_shape)
        if self.h * self.w >= 2**31:
            raise ShapeError(
                f"{verb}: a plane of {self.h} x {self.w} has more cells than a 32-bit index"
            )
        for axis, name in enumerate(("height", "width")):
            size, pads, window = (self.h, self.w)[axis], self.pad[axis], self.window[axis]
            if max(pads) >= window:
                raise ShapeError(
                    f"{verb}: padding {pads} of the {name} must be smaller than the window "
                    f"of {window}, so that every window holds a cell of x"
                )
            if size + sum(pads) < window and not self.ceil_mode:
                raise ShapeError(
                    f"{verb}: the {name} of x with padding is {size + sum(pads)}, smaller "
                    f"than the window of {window}; use a smaller window or ceil_mode=True"
                )
            if (self.out_h, self.out_w)[axis] < 1 or self._steps_over(axis):
                raise ShapeError(
                    f"{verb}: a window of {window} (dilation {self.dilation[axis]}) would hold "
                    f"no cell of x, whose {name} is {size}; use less padding or dilation"
                )
        _check_bytes(verb, self.x_shape, self.y_shape)

    def _steps_over(self, axis: int) -> bool:
        """Whether the taps of some window all miss x (only a dilation above its size can)."""
        size, d = (self.h, self.w)[axis], self.dilation[axis]
        if d <= size:
            return False
        taps = range(0, d * (self.kh, self.kw)[axis], d)
        return any(all(not 0 <= s + t < size for t in taps) for s in self.starts(axis))

    def __str__(self) -> str:
        return (
            f"n{self.n}c{self.c}h{self.h}w{self.w}_r{self.kh}x{self.kw}"
            f"_s{self.stride[0]}x{self.stride[1]}_p{_show_pads(self.pad)}"
            f"_d{self.dilation[0]}x{self.dilation[1]}{'_ceil' if self.ceil_mode else ''}"
        )

    @classmethod
    def parse(cls, text: str) -> PoolDims:
        """The dims whose name is `text`: the inverse of ``str``."""
        found = re.fullmatch(_POOL, text)
        if found is None:
            raise ValueError(
                f"PoolDims.parse: {text!r} is not of the form "
                "n2c8h14w14_r3x3_s2x2_p1x1_d1x1 (then perhaps _ceil)"
            )
        n, c, h, w = (int(found[name]) for name in "nchw")
        return cls(
            n,
            c,
            h,
            w,
            *_parse_pair(found["r"]),
            _parse_pair(found["s"]),
            _parse_pads(found["p"]),
            _parse_pair(found["d"]),
            found["ceil"] is not None,
        )


def _pool_dims(
    x_shape: tuple[int, ...],
    kernel_size: object,
    stride: object,
    padding: object,
    dilation: object,
    ceil_mode: bool,
    verb: str,
) -> PoolDims:
    n, c, h, w = as_shape4(x_shape, verb, "x")
    kernel = as_pair(kernel_size, verb, "kernel_size", 1)
    strides = as_pair(stride, verb, "stride", 1)
    dilations = as_pair(dilation, verb, "dilation", 1)
    pads = as_pads(padding, verb, (h, w), _windows(kernel, dilations), strides)
    return PoolDims(n, c, h, w, *kernel, strides, pads, dilations, ceil_mode, verb)


_cached_pool_dims = lru_cache(maxsize=1024)(_pool_dims)
