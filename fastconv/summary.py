"""What a network is made of: shapes, parameters, work, receptive fields."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from .kernels import ShapeError


if TYPE_CHECKING:
    from .layers.base import Layer


__all__ = ["Row", "Summary", "summary"]

Field = int | tuple[int, int] | None


class Row(NamedTuple):
    """One layer.

    Attributes
    ----------
    name : str
        As in ``state_dict``.
    layer : str
    output_shape : tuple of int
        With N first if the summary was asked for a batch.
    parameters : int
    unshared : int
        Parameters if every result had weights of its own, over the same window.
    fully_connected : int
        Parameters if every result read the layer's whole input.
    macs : int
        Multiply-adds of one forward pass, padding counted.
    receptive_field : int, (int, int) or None
        Side (or height and width) of the input region that one result sees; None where
        results are no longer places in a plane.
    """

    name: str
    layer: str
    output_shape: tuple[int, ...]
    parameters: int
    unshared: int
    fully_connected: int
    macs: int
    receptive_field: Field


@dataclass(frozen=True)
class Summary:
    """The rows of a network, and their totals; ``str()`` is the table."""

    rows: tuple[Row, ...]

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def unshared(self) -> int:
        return sum(row.unshared for row in self.rows)

    @property
    def fully_connected(self) -> int:
        return sum(row.fully_connected for row in self.rows)

    @property
    def macs(self) -> int:
        return sum(row.macs for row in self.rows)

    def __str__(self) -> str:
        body = [_cells(r.name, r.layer, r.output_shape, r, r.receptive_field) for r in self.rows]
        return _table(_HEAD, body, _cells("", "total", None, self, None))

    __repr__ = __str__


_HEAD = (
    "",
    "layer",
    "output shape",
    "parameters",
    "unshared",
    "fully connected",
    "multiply-adds",
    "receptive field",
)


def _cells(
    name: str, layer: str, shape: tuple[int, ...] | None, counts: Row | Summary, field: Field
) -> tuple[str, ...]:
    """A line of the table, in the order of _HEAD."""
    numbers = (counts.parameters, counts.unshared, counts.fully_connected, counts.macs)
    return name, layer, _size(shape), *(f"{n:,}" for n in numbers), _size(field)


def _size(size: Field | tuple[int, ...]) -> str:
    if size is None:
        return ""
    return "×".join(map(str, size)) if isinstance(size, tuple) else str(size)


def _table(head: tuple[str, ...], body: list[tuple[str, ...]], foot: tuple[str, ...]) -> str:
    """Columns aligned, text to the left and numbers to the right."""
    rows = [head, *body, foot]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def summary(net: Layer, input_shape: tuple[int, ...]) -> Summary:
    """Shapes, parameters, multiply-adds and receptive fields of each layer.

    The receptive field grows by R_k = R_{k-1} + (K_k - 1)·Π_{i<k} s_i, K_k being the
    window of layer k, dilation included, and s_i the strides of the layers before it.

    Parameters
    ----------
    net : Layer
    input_shape : tuple of int
        Of one example, (C, H, W) or (features,), or of a batch, (N, C, H, W).

    Returns
    -------
    Summary

    Raises
    ------
    ShapeError
        If a layer does not take what the one before it makes.
    """
    if len(input_shape) not in (1, 3, 4):
        raise ShapeError(
            "summary: input_shape is that of one example, (C, H, W) or (features,), or of a "
            f"batch, (N, C, H, W); got {tuple(input_shape)}"
        )
    batch = len(input_shape) == 4
    shape = tuple(input_shape) if batch else (1, *input_shape)
    field, jump = (1, 1), (1, 1)
    rows = []
    for name, layer in net.leaves():
        out = layer.output_shape(shape)
        (kh, kw), stride = layer.window(shape)
        field = field[0] + (kh - 1) * jump[0], field[1] + (kw - 1) * jump[1]
        jump = jump[0] * stride[0], jump[1] * stride[1]
        rows.append(_row(name, layer, shape, out, batch, field))
        shape = out
    return Summary(tuple(rows))


def _row(
    name: str,
    layer: Layer,
    shape: tuple[int, ...],
    out: tuple[int, ...],
    batch: bool,
    field: tuple[int, int],
) -> Row:
    parameters = dict(layer.named_parameters())
    count = sum(p.read.size for p in parameters.values())
    weight, results = parameters.get("weight"), prod(out[1:])
    unshared = fully = macs = 0
    if weight is not None:
        inputs, bias = weight.read[0].size, int("bias" in parameters)
        unshared = results * (inputs + bias)
        fully = results * (prod(shape[1:]) + bias)
        macs = prod(out) * inputs
    square = field[0] == field[1]
    return Row(
        name=name,
        layer=repr(layer),
        output_shape=out if batch else out[1:],
        parameters=count,
        unshared=unshared,
        fully_connected=fully,
        macs=macs,
        receptive_field=None if len(out) != 4 else field[0] if square else field,
    )
