"""The exceptions that every verb raises for bad input."""

__all__ = ["ShapeError"]


class ShapeError(ValueError):
    """Shapes, or a shape and an option, do not fit each other."""
