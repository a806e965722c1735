"""Specifications of charts for Vega-Lite. Colours are variables of the style sheet, so they follow its theme.

Names from data are values and never fields: a field has a meaning for Vega-Lite, such as a dot in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["bars", "chart", "heat", "layer", "lines", "quantitative", "title_of", "whole"]

Spec = dict[str, Any]
Values = Sequence[Mapping[str, Any]]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
PALETTE = tuple(f"var(--c{i})" for i in range(6))
SHAPES = ("square", "triangle-up", "diamond", "triangle-down", "cross")
DASHES = ([1, 0], [6, 2], [2, 2], [8, 2, 2, 2])
_FONT = "system-ui, sans-serif"
_TEXT = {"labelColor": "var(--ink)", "titleColor": "var(--ink)", "labelFont": _FONT, "titleFont": _FONT}
_CONFIG: Spec = {
    "background": None,
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        **_TEXT,
        "gridColor": "var(--line)",
        "domainColor": "var(--soft)",
        "tickColor": "var(--soft)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelOverlap": "greedy",
        "labelSeparation": 4,
    },
    "legend": {
        **_TEXT,
        "labelFontSize": 12,
        "labelLimit": 330,
        "orient": "bottom",
        "direction": "vertical",
        "columns": {"expr": "width > 520 ? 2 : 1"},
        "symbolStrokeWidth": 2,
    },
    "range": {"category": list(PALETTE), "symbol": list(SHAPES)},
    "text": {"color": "var(--ink)", "fontSize": 12},
    "bar": {"color": PALETTE[0]},
    "line": {"strokeWidth": 2},
}


def chart(body: Mapping[str, Any], height: int = 260) -> Spec:
    """A whole specification: as wide as its place on the page. The plot alone is `height` pixels high."""
    return {
        "$schema": SCHEMA,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding", "resize": True},
        "config": _CONFIG,
        **body,
    }


def layer(values: Values, mark: Mapping[str, Any], **encoding: Any) -> Spec:
    """One layer: rows of values, a mark, and what each channel shows."""
    return {"data": {"values": list(values)}, "mark": dict(mark), "encoding": encoding}


def quantitative(field: str, title: str, zero: bool = False, **more: Any) -> Spec:
    """A channel that shows a number."""
    scale = {"zero": zero, "nice": True} | more.pop("scale", {})
    return {"field": field, "type": "quantitative", "title": title, "scale": scale} | more


def whole(field: str, title: str) -> Spec:
    """A channel that shows whole numbers, such as epochs."""
    return quantitative(field, title, axis={"tickMinStep": 1, "format": ",d"}, scale={"nice": False})


def title_of(*pairs: tuple[str, str]) -> list[Spec]:
    """What the pointer shows: pairs of a field and its name."""
    return [{"field": field, "title": title} for field, title in pairs]


def lines(values: Values, x: str, y: str, *, epochs: bool = False) -> Spec:
    """A line for each `name` through its points. `epochs`: x is whole, and y a share in percent."""
    return chart(
        layer(
            values,
            {"type": "line", "point": {"size": 25}, "clip": True},
            x=whole("x", x) if epochs else quantitative("x", x),
            y=quantitative("y", y, zero=epochs),
            color={
                "field": "name", "type": "nominal", "title": None, "sort": None,
                "legend": {"symbolType": "stroke"},
            },
            strokeDash={
                "field": "name", "type": "nominal", "title": None, "sort": None,
                "scale": {"range": [list(dash) for dash in DASHES]},
            },
            tooltip=title_of(("name", "name"), ("x", x), ("y", y)),
        ),
        200 if epochs else 260,
    )  # fmt: skip


def bars(
    values: Values, x: str, y: str, *, beside: Values = (), beside_name: str = "", counts: bool = False
) -> Spec:
    """A histogram: bars from `low` to `high` of the height `y`. `beside` is a line over the same axis.

    `counts`: the axis holds whole numbers.
    """
    axis: Spec = {"axis": {"tickMinStep": 1, "format": ",d"}, "scale": {"nice": False}} if counts else {}
    parts = [
        layer(
            values,
            {"type": "bar", "binSpacing": 0.5},
            x=quantitative("low", x, bin={"binned": True}, **axis),
            x2={"field": "high"},
            y=quantitative("y", y, zero=True),
            tooltip=title_of(("low", "from"), ("high", "to"), ("y", y)),
        )
    ]
    if beside:
        parts.append(
            layer(
                [{**row, "name": beside_name} for row in beside],
                {"type": "line", "strokeWidth": 2},
                x=quantitative("x", x, **axis),
                y=quantitative("y", y, zero=True),
                color={
                    "field": "name", "type": "nominal", "title": None,
                    "scale": {"domain": [beside_name], "range": [PALETTE[1]]},
                },
            )
        )  # fmt: skip
    return chart({"layer": parts}, 150)


def heat(values: Values, x: str, y: str, cell: str, rows: Iterable[str]) -> Spec:
    """A heat map: for each column `x` and row `name` the number `value` in [0, 100], as opacity."""
    order = list(rows)
    return chart(
        layer(
            values,
            {"type": "rect", "color": PALETTE[0]},
            x={"field": "x", "type": "ordinal", "title": x, "axis": {"labelOverlap": True, "labelAngle": 0}},
            y={
                "field": "name", "type": "nominal", "title": y, "sort": order,
                "axis": {"labelLimit": 140},
            },
            opacity={
                "field": "value", "type": "quantitative", "title": cell,
                "scale": {"domain": [0, 100], "range": [0.04, 1]},
                "legend": {"direction": "horizontal", "symbolFillColor": PALETTE[0], "columns": 0},
            },
            tooltip=title_of(("name", y), ("x", x), ("value", cell)),
        ),
        17 * len(order),
    )  # fmt: skip
