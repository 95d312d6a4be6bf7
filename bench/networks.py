"""Whole networks: a training step and a prediction, by us and by the peers.

A peer's network is made from ours, layer by layer, with the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from peers import onnx_bytes, onnx_run

import fastconv as fc


LR, MOMENTUM, L2 = 1e-3, 0.9, 5e-4
_CHECKED_STEPS = 3
_TOLERANCE = 1e-3  # of a loss: three steps of sums in other orders


class Network(NamedTuple):
    name: str
    make: Callable[..., fc.Sequential]
    image: tuple[int, int, int]
    classes: int


LENET = Network("LeNet-5", fc.models.lenet5, (1, 28, 28), 10)
ALEXNET = Network("AlexNet", fc.models.alexnet, (3, 227, 227), 1000)


class Trainer(NamedTuple):
    """`step` trains on its batch and returns the loss (as a number, by float())."""

    step: Callable[[], Any]
    dropout: Callable[[float], None]


def batch(network: Network, n: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, *network.image), np.float32)
    return x, rng.integers(0, network.classes, n)


def ours(net: fc.Sequential, x: Any, labels: Any) -> Trainer:
    optimizer = fc.SGD(net.parameters(), LR, momentum=MOMENTUM, l2=L2)

    def step() -> float:
        loss, dscores = fc.softmax_cross_entropy(net.forward(x, train=True), labels)
        optimizer.zero_grad()
        net.backward_parameters(dscores)
        optimizer.step()
        return loss

    def dropout(p: float) -> None:
        for layer in net:
            if isinstance(layer, fc.Dropout):
                layer.p = p

    return Trainer(step, dropout)


def check(trainers: dict[str, Trainer]) -> None:
    """The first losses of all are equal, without dropout: chance differs."""
    for trainer in trainers.values():
        trainer.dropout(0.0)
    losses = {
        name: [float(t.step()) for _ in range(_CHECKED_STEPS)] for name, t in trainers.items()
    }
    want = next(iter(losses.values()))
    for name, got in losses.items():
        if not np.allclose(got, want, rtol=_TOLERANCE, atol=0):
            raise AssertionError(f"losses {got} by {name}, but {want} by {next(iter(losses))}")


def check_scores(scores: dict[str, Any]) -> None:
    """All networks predict the same."""
    first, want = next(iter(scores.items()))
    for name, got in scores.items():
        error = np.abs(np.asarray(got) - want).max() / np.abs(want).max()
        if not error <= _TOLERANCE:
            raise AssertionError(f"scores by {name} differ from those by {first} by {error:g}")


def torch_model(net: fc.Sequential, memory: str) -> Any:
    import torch

    model = torch.nn.Sequential(*(_torch_layer(torch, layer) for layer in net))
    formats = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
    return model.to(memory_format=formats[memory])


def _torch_layer(torch: Any, layer: Any) -> Any:
    nn = torch.nn
    match layer:
        case fc.Conv2d():
            k, c, *size = layer.weight.value.shape
            module = nn.Conv2d(c * layer.geometry["groups"], k, size, **layer.geometry)
        case fc.Linear():
            module = nn.Linear(*layer.weight.value.shape[::-1])
        case fc.ReLU():
            return nn.ReLU()
        case fc.MaxPool2d():
            return nn.MaxPool2d(**layer.geometry)
        case fc.LocalResponseNorm():
            return nn.LocalResponseNorm(layer.size, **layer.constants)
        case fc.Flatten():
            return nn.Flatten()
        case fc.Dropout():
            return nn.Dropout(layer.p)
        case _:
            raise NotImplementedError(f"{layer} in PyTorch")
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(layer.weight.value))
        module.bias.copy_(torch.from_numpy(layer.bias.value))
    return module


def _torch_images(x: Any, memory: str) -> Any:
    import torch

    images = torch.from_numpy(x)
    return images.contiguous(memory_format=torch.channels_last) if memory == "nhwc" else images


def torch(net: fc.Sequential, x: Any, labels: Any, threads: int, memory: str) -> Trainer:
    """Eager, with the optimizer as it comes."""
    import torch

    torch.set_num_threads(threads)
    model, images, classes = (
        torch_model(net, memory),
        _torch_images(x, memory),
        torch.from_numpy(labels),
    )
    optimizer = torch.optim.SGD(model.parameters(), LR, momentum=MOMENTUM, weight_decay=L2)

    def step() -> Any:
        loss = torch.nn.functional.cross_entropy(model(images), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    def dropout(p: float) -> None:
        for module in model:
            if isinstance(module, torch.nn.Dropout):
                module.p = p

    return Trainer(step, dropout)


def torch_predict(net: fc.Sequential, x: Any, threads: int, memory: str) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(threads)
    model, images = torch_model(net, memory).eval(), _torch_images(x, memory)

    def run() -> Any:
        with torch.inference_mode():
            return model(images)

    return run


def jax(net: fc.Sequential, x: Any, labels: Any) -> Trainer:
    """One jitted function; how many threads it has, NPROC said when jax was loaded."""
    import jax
    from jax import numpy as jnp

    layers = list(net)
    x, labels = jnp.asarray(x), jnp.asarray(labels)
    parameters = [tuple(jnp.array(p.value) for p in layer.parameters()) for layer in layers]
    velocities = jax.tree.map(jnp.zeros_like, parameters)

    def loss_of(parameters: Any) -> Any:
        y = x
        for layer, own in zip(layers, parameters, strict=True):
            y = _jax_layer(jax, layer, own, y)
        return -jax.nn.log_softmax(y)[jnp.arange(len(labels)), labels].mean()

    @jax.jit
    def update(parameters: Any, velocities: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(parameters)
        velocities = jax.tree.map(
            lambda v, g, w: MOMENTUM * v + g + L2 * w, velocities, gradients, parameters
        )
        return loss, jax.tree.map(lambda w, v: w - LR * v, parameters, velocities), velocities

    state = [parameters, velocities]

    def step() -> Any:
        loss, *state[:] = jax.block_until_ready(update(*state))
        return loss

    return Trainer(step, lambda p: None)


def _jax_layer(jax: Any, layer: Any, own: Any, y: Any) -> Any:
    match layer:
        case fc.Conv2d():
            p = layer.geometry["padding"]
            y = jax.lax.conv_general_dilated(y, own[0], (1, 1), ((p, p), (p, p)))
            return y + own[1][:, None, None]
        case fc.Linear():
            return y @ own[0].T + own[1]
        case fc.ReLU():
            return jax.nn.relu(y)
        case fc.MaxPool2d():
            window = (1, 1, *2 * (layer.geometry["kernel_size"],))
            return jax.lax.reduce_window(y, -np.inf, jax.lax.max, window, window, "VALID")
        case fc.Flatten():
            return y.reshape(len(y), -1)
        case _:
            raise NotImplementedError(f"{layer} in JAX")


def onnxruntime_predict(net: fc.Sequential, x: Any, threads: int) -> Callable[[], Any]:
    names = map("a{}".format, count())
    nodes, weights, source = [], {}, "x"
    for layer in net:
        if isinstance(layer, fc.Dropout):
            continue
        target = next(names)
        own = {f"{target}.{p.name}": p.value for p in layer.parameters()}
        nodes.append(_onnx_node(layer, [source, *own], target))
        weights |= own
        source = target
    nodes[-1].output[0] = "y"
    y_shape = net.output_shape(x.shape)
    return onnx_run(onnx_bytes(nodes, x.shape, y_shape, weights), x, y_shape, threads)


def _onnx_node(layer: Any, sources: list[str], target: str) -> Any:
    from onnx.helper import make_node

    def node(kind: str, **attributes: Any) -> Any:
        return make_node(kind, sources, [target], **attributes)

    match layer:
        case fc.Conv2d():
            g = layer.geometry
            return node("Conv", strides=2 * [g["stride"]], pads=4 * [g["padding"]])
        case fc.Linear():
            return node("Gemm", transB=1)
        case fc.ReLU():
            return node("Relu")
        case fc.MaxPool2d():
            g = layer.geometry
            return node("MaxPool", kernel_shape=2 * [g["kernel_size"]], strides=2 * [g["stride"]])
        case fc.LocalResponseNorm():
            c = layer.constants
            return node("LRN", size=layer.size, alpha=c["alpha"], beta=c["beta"], bias=c["k"])
        case fc.Flatten():
            return node("Flatten")
        case _:
            raise NotImplementedError(f"{layer} in ONNX")
