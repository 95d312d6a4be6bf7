"""A figure that a notebook shows, though pyplot, which would tell it how, is not imported."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


__all__ = ["Picture"]


class Picture(Figure):
    def _repr_png_(self) -> bytes:
        """The name by which IPython asks an object for its picture."""
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()
