"""Checks of the U-Net's arguments: each error names the argument, what was given and what is allowed."""

from __future__ import annotations


def check_unet(
    *,
    axes: int,
    widths: tuple[int, ...],
    attention: tuple[bool, ...],
    kernel: int,
    dropout: float,
    tokens: int,
) -> None:
    """Raise ValueError for arguments that are out of range or do not fit each other."""

    def need(true: bool, name: str, given: object, allowed: str) -> None:
        if not true:
            raise ValueError(f"{name}: {given} is not allowed. Allowed: {allowed}.")

    need(axes in (1, 2, 3), "axes", axes, "1, 2, 3")
    need(len(widths) > 0 and min(widths) > 1, "widths", widths, "2 channels or more, for one level or more")
    each = f"true or false for each of {len(widths)} widths"
    need(len(attention) == len(widths), "attention", attention, each)
    somewhere = "true for one level or more, because the condition has tokens"
    need(any(attention) or not tokens, "attention", attention, somewhere)
    need(kernel > 0 and kernel % 2 == 1, "kernel", kernel, "odd numbers")
    need(0 <= dropout < 1, "dropout", dropout, "0 to under 1")


def check_positive(**values: float | None) -> None:
    """Raise ValueError for a number that is not above 0; None passes."""
    for name, value in values.items():
        if value is not None and value <= 0:
            raise ValueError(f"{name}: {value} is not allowed. Allowed: over 0.")
