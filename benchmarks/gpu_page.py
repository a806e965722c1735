"""The page of benchmarks/gpu.py: its rows as Markdown."""

from typing import Any

Row = dict[str, Any]


def ms(row: dict[str, float]) -> str:
    """Seconds as milliseconds, with their spread."""
    return f"{1e3 * row['median']:.2f} ({1e3 * row['low']:.2f} to {1e3 * row['high']:.2f})"


def of_one(row: dict[str, float]) -> str:
    """A share with its spread."""
    return f"{row['median']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


HEADS = {
    "waits": ("waits in a step", "a wait is an error there"),
    "precision": ("ms a step", "share of float32", "overlap of the highest quarter", "finite"),
    "compiled": ("ms a step", "share of eager", "graphs", "samples trained on equally often"),
    "overhead": ("added, ms a step", "bare step, ms"),
    "scoring": ("share of a full step", "ms a step"),
    "training": ("test accuracy, %", "seconds", "cost, share of full training"),
}


def cells(row: Row) -> list[str]:
    """A row of a table, without its name."""
    if "error" in row:
        return [row["error"], *[""] * (len(HEADS[row["part"]]) - 1)]
    if row["part"] == "waits":
        seen = ", ".join(f"{key} {count:.2f}" for key, count in row["waits"].items())
        return [seen or "none", "yes" if row["refused"] else "no"]
    if row["part"] == "precision":
        return [
            ms(row["step"]),
            of_one(row["share"]),
            f"{row['overlap']:.2f}",
            "yes" if row["finite"] else "NO",
        ]
    if row["part"] == "compiled":
        return [ms(row["step"]), of_one(row["share"]), f"{row['graphs']}", f"{row['same_choices']:.1%}"]
    if row["part"] == "overhead":
        return [ms(row["added"]), ms(row["plain"])]
    if row["part"] == "scoring":
        return [of_one(row["share"]), ms(row["step"])]
    return [f"{row['accuracy']:.2f}", f"{row['seconds']:.1f}", f"{row['cost']:.2f}"]


def page(found: Row) -> str:
    """All rows as Markdown."""
    about = found["machine"]
    where = about.get("accelerator", f"{about['cpu']}, no accelerator")
    lines = [
        "# On an accelerator",
        "",
        f"Machine: {where}; torch {about['torch']}, Python {about['python']}.",
        "",
    ]
    lines += ["Median (10th to 90th percentile) of steps in turns, unless the head says otherwise.", ""]
    if found["quick"]:
        lines += ["Quick form: it shows that the script works. Its numbers say nothing.", ""]
    if found["left_out"]:
        lines += [f"The time was over before {found['left_out']} more rows.", ""]
    for part, head in HEADS.items():
        rows = [row for row in found["rows"] if row["part"] == part]
        if rows:
            lines += [
                f"## {part}",
                "",
                "| " + " | ".join((part, *head)) + " |",
                "| --- |" + " --- |" * len(head),
            ]
            lines += ["| " + " | ".join((row["name"], *cells(row))) + " |" for row in rows] + [""]
    return (
        "\n".join([*lines, "Numbers: the JSON file beside this page; made with `python benchmarks/gpu.py`."])
        + "\n"
    )
