"""What is measured.  Append only: a case that changes gets a new name, or old runs lie.

A case is a name for people and the dims that ``str`` and ``parse`` know, so a row of a
benchmark, a test and a bug report speak of the same problem.  Small cases also run,
once and untimed, with every test run.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.kernels import ConvDims, PoolDims


class Conv(NamedTuple):
    name: str
    dims: ConvDims
    small: bool = False


class Pool(NamedTuple):
    name: str
    dims: PoolDims
    small: bool = False


class Lrn(NamedTuple):
    """AlexNet's normalisation: 5 channels, k = 2, β = 0.75, α of the paper times 5."""

    name: str
    shape: tuple[int, int, int, int]
    small: bool = False
    size: int = 5
    alpha: float = 5e-4
    beta: float = 0.75
    k: float = 2.0


def _conv(name: str, dims: str, small: bool = False) -> Conv:
    return Conv(name, ConvDims.parse(dims), small)


def _pool(name: str, dims: str, small: bool = False) -> Pool:
    return Pool(name, PoolDims.parse(dims), small)


CONV = (
    _conv("LeNet conv1 N=64", "n64c1h28w28_k6r5x5_s1x1_p2x2_d1x1_g1", small=True),
    _conv("LeNet conv2 N=64", "n64c6h14w14_k16r5x5_s1x1_p0x0_d1x1_g1", small=True),
    _conv("LeNet conv3 N=64", "n64c16h5w5_k120r5x5_s1x1_p0x0_d1x1_g1", small=True),
    _conv("LeNet conv1 28x28 no padding N=64", "n64c1h28w28_k6r5x5_s1x1_p0x0_d1x1_g1"),
    _conv("LeNet conv1 N=1", "n1c1h28w28_k6r5x5_s1x1_p2x2_d1x1_g1"),
    _conv("LeNet conv2 N=1", "n1c6h14w14_k16r5x5_s1x1_p0x0_d1x1_g1"),
    _conv("LeNet conv3 N=1", "n1c16h5w5_k120r5x5_s1x1_p0x0_d1x1_g1"),
    _conv("AlexNet conv1 N=1", "n1c3h227w227_k96r11x11_s4x4_p0x0_d1x1_g1"),
    _conv("AlexNet conv2 N=1", "n1c96h27w27_k256r5x5_s1x1_p2x2_d1x1_g1"),
    _conv("AlexNet conv3 N=1", "n1c256h13w13_k384r3x3_s1x1_p1x1_d1x1_g1"),
    _conv("AlexNet conv4 N=1", "n1c384h13w13_k384r3x3_s1x1_p1x1_d1x1_g1"),
    _conv("AlexNet conv5 N=1", "n1c384h13w13_k256r3x3_s1x1_p1x1_d1x1_g1"),
    _conv("AlexNet conv1 N=16", "n16c3h227w227_k96r11x11_s4x4_p0x0_d1x1_g1"),
    _conv("AlexNet conv2 N=16", "n16c96h27w27_k256r5x5_s1x1_p2x2_d1x1_g1"),
    _conv("AlexNet conv3 N=16", "n16c256h13w13_k384r3x3_s1x1_p1x1_d1x1_g1"),
    _conv("AlexNet conv4 N=16", "n16c384h13w13_k384r3x3_s1x1_p1x1_d1x1_g1"),
    _conv("AlexNet conv5 N=16", "n16c384h13w13_k256r3x3_s1x1_p1x1_d1x1_g1"),
    _conv("VGG conv1_1 N=1", "n1c3h224w224_k64r3x3_s1x1_p1x1_d1x1_g1"),
    _conv("VGG conv1_2 N=1", "n1c64h224w224_k64r3x3_s1x1_p1x1_d1x1_g1"),
    _conv("VGG conv3_2 N=1", "n1c256h56w56_k256r3x3_s1x1_p1x1_d1x1_g1"),
    _conv("VGG conv5_1 N=1", "n1c512h14w14_k512r3x3_s1x1_p1x1_d1x1_g1"),
    _conv("ResNet conv1 7x7/2 N=1", "n1c3h224w224_k64r7x7_s2x2_p3x3_d1x1_g1"),
    _conv("ResNet 3x3 64 N=1", "n1c64h56w56_k64r3x3_s1x1_p1x1_d1x1_g1"),
    _conv("ResNet 3x3/2 128 N=1", "n1c128h56w56_k128r3x3_s2x2_p1x1_d1x1_g1"),
    _conv("ResNet 1x1 64 to 256 N=1", "n1c64h56w56_k256r1x1_s1x1_p0x0_d1x1_g1"),
    _conv("MobileNet depthwise 128 N=1", "n1c128h56w56_k128r3x3_s1x1_p1x1_d1x1_g128"),
    _conv("MobileNet depthwise/2 256 N=1", "n1c256h28w28_k256r3x3_s2x2_p1x1_d1x1_g256"),
    _conv("MobileNet pointwise 128 N=1", "n1c128h56w56_k128r1x1_s1x1_p0x0_d1x1_g1"),
    _conv("CIFAR 3x3 3 to 32 N=64", "n64c3h32w32_k32r3x3_s1x1_p1x1_d1x1_g1"),
    _conv("CIFAR 3x3 32 to 64 N=64", "n64c32h16w16_k64r3x3_s1x1_p1x1_d1x1_g1"),
    _conv("primes, stride 2x3", "n3c7h37w41_k11r5x3_s2x3_p2x1_d1x1_g1", small=True),
    _conv("primes, dilation 2", "n2c13h31w29_k17r3x3_s1x1_p2x2_d2x2_g1", small=True),
    _conv("depthwise 3x3 small", "n2c24h14w14_k24r3x3_s1x1_p1x1_d1x1_g24", small=True),
)

POOL = (
    _pool("LeNet pool1 N=64", "n64c6h28w28_r2x2_s2x2_p0x0_d1x1", small=True),
    _pool("LeNet pool2 N=64", "n64c16h10w10_r2x2_s2x2_p0x0_d1x1", small=True),
    _pool("AlexNet pool1 N=1", "n1c96h55w55_r3x3_s2x2_p0x0_d1x1"),
    _pool("AlexNet pool2 N=1", "n1c256h27w27_r3x3_s2x2_p0x0_d1x1"),
    _pool("AlexNet pool5 N=1", "n1c256h13w13_r3x3_s2x2_p0x0_d1x1", small=True),
    _pool("AlexNet pool1 N=16", "n16c96h55w55_r3x3_s2x2_p0x0_d1x1"),
    _pool("AlexNet pool2 N=16", "n16c256h27w27_r3x3_s2x2_p0x0_d1x1"),
    _pool("AlexNet pool5 N=16", "n16c256h13w13_r3x3_s2x2_p0x0_d1x1"),
    _pool("ResNet pool 3x3/2 N=1", "n1c64h112w112_r3x3_s2x2_p1x1_d1x1"),
    _pool("primes, ceil mode", "n3c5h37w41_r3x2_s2x3_p1x1_d1x1_ceil", small=True),
)

LRN = (
    Lrn("AlexNet norm1 N=1", (1, 96, 27, 27), small=True),
    Lrn("AlexNet norm2 N=1", (1, 256, 13, 13), small=True),
    Lrn("AlexNet norm1 N=16", (16, 96, 27, 27)),
    Lrn("AlexNet norm2 N=16", (16, 256, 13, 13)),
)
