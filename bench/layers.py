"""The convolutions of public networks, each distinct geometry once.

LeNet-5 and AlexNet of one image and of a batch, the other ImageNet networks of one image,
the small ones for CIFAR in batches of 64, and sizes that divide nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from cases import Conv

from fastconv.kernels import ConvDims


def _conv(
    net: str,
    n: int,
    c: int,
    size: int,
    k: int,
    r: int,
    s: int = 1,
    p: int | None = None,
    g: int = 1,
) -> Conv:
    """A square window on a square image, padded to keep its size unless `p` is given."""
    p = r // 2 if p is None else p
    dims = ConvDims.parse(f"n{n}c{c}h{size}w{size}_k{k}r{r}x{r}_s{s}x{s}_p{p}x{p}_d1x1_g{g}")
    kind = f"{r}x{r}" + (f"/{s}" if s > 1 else "") + (" depthwise" if g > 1 else "")
    return Conv(f"{net} {kind} {c}-{k} @{size} N={n}", dims)


def _lenet(n: int) -> Iterator[Conv]:
    yield _conv("LeNet", n, 1, 28, 6, 5)
    yield _conv("LeNet", n, 6, 14, 16, 5, p=0)
    yield _conv("LeNet", n, 16, 5, 120, 5, p=0)


def _alexnet(n: int) -> Iterator[Conv]:
    yield _conv("AlexNet", n, 3, 227, 96, 11, 4, p=0)
    yield _conv("AlexNet", n, 96, 27, 256, 5)
    for c, k in ((256, 384), (384, 384), (384, 256)):
        yield _conv("AlexNet", n, c, 13, k, 3)


def _vgg16() -> Iterator[Conv]:
    c = 3
    for size, k in ((224, 64), (112, 128), (56, 256), (28, 512), (14, 512)):
        yield _conv("VGG-16", 1, c, size, k, 3)
        yield _conv("VGG-16", 1, k, size, k, 3)
        c = k


def _resnet18() -> Iterator[Conv]:
    yield _conv("ResNet", 1, 3, 224, 64, 7, 2)
    for size, c in ((56, 64), (28, 128), (14, 256), (7, 512)):
        yield _conv("ResNet-18", 1, c, size, c, 3)
        if c < 512:  # on to the next stage
            yield _conv("ResNet-18", 1, c, size, 2 * c, 3, 2)
            yield _conv("ResNet-18", 1, c, size, 2 * c, 1, 2)


def _resnet50() -> Iterator[Conv]:
    """Bottlenecks: narrow 1×1, 3×3, wide 1×1; the 3×3 has the stride of a stage."""
    yield _conv("ResNet-50", 1, 64, 56, 64, 1)
    for size, c in ((56, 64), (28, 128), (14, 256), (7, 512)):
        yield _conv("ResNet-50", 1, c, size, 4 * c, 1)
        yield _conv("ResNet-50", 1, 4 * c, size, c, 1)
        if c < 512:
            yield _conv("ResNet-50", 1, 4 * c, size, 2 * c, 1)
            yield _conv("ResNet-50", 1, 2 * c, size, 2 * c, 3, 2)
            yield _conv("ResNet-50", 1, 4 * c, size, 8 * c, 1, 2)


def _mobilenet() -> Iterator[Conv]:
    yield _conv("MobileNet", 1, 3, 224, 32, 3, 2)
    blocks = (
        (112, 32, 64, 1),
        (112, 64, 128, 2),
        (56, 128, 128, 1),
        (56, 128, 256, 2),
        (28, 256, 256, 1),
        (28, 256, 512, 2),
        (14, 512, 512, 1),
        (14, 512, 1024, 2),
        (7, 1024, 1024, 1),
    )
    for size, c, k, s in blocks:
        yield _conv("MobileNet", 1, c, size, c, 3, s, g=c)
        yield _conv("MobileNet", 1, c, size // s, k, 1)


def _googlenet() -> Iterator[Conv]:
    """Its 5×5: each behind a 1×1 that leaves few channels."""
    blocks = ((28, 16, 32), (28, 32, 96), (14, 16, 48), (14, 24, 64), (14, 32, 64), (14, 32, 128))
    for size, c, k in (*blocks, (7, 32, 128), (7, 48, 128)):
        yield _conv("GoogLeNet", 1, c, size, k, 5)


def _cifar() -> Iterator[Conv]:
    for size, c, k in ((32, 3, 32), (16, 32, 32), (8, 32, 64)):
        yield _conv("CIFAR", 64, c, size, k, 5)
    for size, c, k in ((32, 3, 32), (32, 32, 32), (16, 32, 64), (16, 64, 64), (8, 64, 128)):
        yield _conv("CIFAR", 64, c, size, k, 3)


PRIMES = (
    "n3c37h31w29_k53r3x3_s1x1_p1x1_d1x1_g1",
    "n1c67h41w43_k71r3x3_s1x1_p1x1_d1x1_g1",
    "n5c13h29w31_k17r5x5_s1x1_p2x2_d1x1_g1",
    "n3c7h37w41_k11r5x3_s2x3_p2x1_d1x1_g1",
    "n2c13h31w29_k17r3x3_s1x1_p2x2_d2x2_g1",
    "n7c61h13w11_k59r1x1_s1x1_p0x0_d1x1_g1",
)


def _all() -> Iterator[Conv]:
    for n in (1, 16):
        yield from _lenet(n if n == 1 else 64)
        yield from _alexnet(n)
    yield from (*_vgg16(), *_resnet18(), *_resnet50(), *_mobilenet(), *_googlenet(), *_cifar())
    for dims in PRIMES:
        yield Conv(f"primes {dims}", ConvDims.parse(dims))


def _once() -> Iterator[Conv]:
    seen = set()
    for case in _all():
        if case.dims not in seen:
            seen.add(case.dims)
            yield case


LAYERS = tuple(_once())


def wide(dims: ConvDims) -> bool:
    """Whether there are 64 channels and filters or more, of one group."""
    return dims.groups == 1 and min(dims.c, dims.k) >= 64


def plain3x3(dims: ConvDims) -> bool:
    return (dims.kh, dims.kw, dims.stride, dims.dilation) == (3, 3, (1, 1), (1, 1))
