"""`PromptLedger`: the roll-outs of a training, those that taught nothing, and those of replacements."""

from dataclasses import asdict, dataclass

from samplewise.data.html import html_table

__all__ = ["PromptLedger"]


@dataclass(frozen=True)
class PromptLedger:
    """Counts of steps, groups and roll-outs of all processes. A group is what one prompt got in one step.

    - `steps`: steps that were planned; `full`: those with `batch_size` groups that vary.
    - `groups`, `rollouts`: with at least one reward.
    - `flat_groups`, `flat_rollouts`: without variance: all rewards of the group are equal.
    - `replacement_groups`, `replacement_rollouts`: of prompts planned by `replacements`.
    - `unobserved`: prompts that were planned and never got a reward.
    """

    steps: int = 0
    full: int = 0
    groups: int = 0
    rollouts: int = 0
    flat_groups: int = 0
    flat_rollouts: int = 0
    replacement_groups: int = 0
    replacement_rollouts: int = 0
    unobserved: int = 0

    def __add__(self, other: "PromptLedger") -> "PromptLedger":
        mine, more = asdict(self), asdict(other)
        return PromptLedger(**{name: count + more[name] for name, count in mine.items()})

    def __str__(self) -> str:
        rows = self._rows()
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value:>16}" for name, value in rows)

    def _repr_html_(self) -> str:
        return html_table(self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        """The rows of the printed table: name and value."""
        made = max(1, self.rollouts)
        return [
            ("steps", f"{self.steps:,}"),
            ("with a full batch", f"{self.full:,}"),
            ("roll-outs", f"{self.rollouts:,}"),
            ("without variance", f"{self.flat_rollouts:,} ({self.flat_rollouts / made:.1%})"),
            ("of replacements", f"{self.replacement_rollouts:,} ({self.replacement_rollouts / made:.1%})"),
            ("prompts not observed", f"{self.unobserved:,}"),
        ]
