"""`Waiting`: accepted samples wait until they fill a batch.

This is the form of Selective Backprop in its paper. The loader moves every meta-batch to the model, scores it
and chooses. The ids of the accepted rows wait until there are `batch_size` of them. Then the main process
loads these samples a second time, because rows of two collated batches cannot be put together in general
(paddings differ); random transforms draw again. So each trained sample costs one more load, without the
workers. Samples that still wait at the end of an epoch come first in the next one. Samples that wait after
the last epoch, fewer than `batch_size`, are not trained on.
"""

from typing import Any

__all__ = ["Waiting"]


class Waiting:
    """The ids of accepted samples, in the order of acceptance. They are removed when they are trained on."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.carried: list[int] = []
        """The ids that waited when the epoch opened."""
        self.handed = 0
        """Number of leading ids that are in the batch last yielded."""

    def open(self) -> None:
        """Note which ids wait when an epoch opens."""
        self.carried = list(self.ids)

    def restart(self) -> None:
        """Go back to the ids that waited when the epoch opened."""
        self.ids, self.handed = list(self.carried), 0

    def trained(self, ids: list[int]) -> None:
        """Remove the batch last yielded, which is trained on now.

        Raises:
            ValueError: for another batch.
        """
        if not self.handed or ids != self.ids[: self.handed]:
            raise ValueError(
                "with assemble=True, train on every batch of selector.loader() exactly once, before you take "
                f"the next one. Got ids {ids[:5]}, expected ids {self.ids[: self.handed][:5]}."
            )
        self.strike()

    def strike(self) -> None:
        """Remove the batch last yielded, trained on or not."""
        self.ids, self.handed = self.ids[self.handed :], 0

    def state_dict(self) -> dict[str, Any]:
        """The ids that wait, including a batch that was yielded and not trained on."""
        return {"ids": list(self.ids), "carried": list(self.carried)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.ids, self.carried, self.handed = list(state["ids"]), list(state["carried"]), 0
