"""The Trainer on two processes: one plan, the steps of one process, and a resumed run that is the same."""

import gc
import os
import socket
import traceback

import pytest
import torch

import samplewise as sw
from tests.integrations.trainer_runs import (
    BATCH,
    SaveAt,
    bert,
    classes,
    llama,
    selective,
    sentences,
    trained_ids,
    weights,
)
from tests.ranks import start


def partly(data):
    """Some labels are missing, more of them in some batches than in others."""
    labels = [-100 if i % 5 in (0, 1) or i > 22 else label for i, label in enumerate(data["labels"])]
    return data.remove_columns("labels").add_column("labels", labels)


# N is no multiple of two batches: Accelerate fills up the last round of an epoch.
CASES = {
    "causal": ("full", llama, sentences, {"gradient_accumulation_steps": 3}),
    "classes": ("infobatch", bert, classes, {"gradient_accumulation_steps": 2}),
    "passes": ("ucb", bert, classes, {}),
    "batches": ("eswp", bert, classes, {}),
    "ignored": ("full", bert, lambda: partly(classes()), {"gradient_accumulation_steps": 2}),
    "ignored, batches": ("loss_sampling", bert, lambda: partly(classes()), {}),
    "ignored, uneven": (sw.recipes.selective_backprop(), bert, lambda: partly(classes()), {}),
    "rounds": ("eswp", bert, lambda: classes(30), {}),  # no last batch of one row, which padding joins
}
EPOCHS = 3


def run(case, folder, batch, callbacks=(), **how):
    recipe, model, data, given = CASES[case]
    trainer = selective(
        folder,
        recipe,
        model=model(),
        data=data(),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=batch,
        extra={"callbacks": list(callbacks)},
        **given,
    )
    noted = trained_ids(trainer, **how)
    # What Selective Backprop ranks by is each process's own.
    scores = trainer.selector.score() if recipe != "full" and isinstance(recipe, str) else None
    return {
        "ids": noted,
        "weights": weights(trainer.accelerator.unwrap_model(trainer.model)),
        "scores": scores,
        "steps": trainer.state.global_step,
    }


def worker(rank, port, folder):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        torch.set_num_threads(1)
        found = {case: run(case, f"{folder}/{case}", BATCH) for case in CASES}
        saved = f"{folder}/saved"
        found["whole"] = run("rounds", saved, BATCH, [SaveAt(5)])
        found["resumed"] = run(
            "rounds", f"{folder}/resumed", BATCH, resume_from_checkpoint=f"{saved}/checkpoint-5"
        )
        unlike = selective(f"{folder}/unlike", "infobatch", settings={"seed": rank})
        with pytest.raises(ValueError, match="the 2 processes must train with the same Selector") as refused:
            unlike.train()
        found["unlike"] = str(refused.value)
        torch.save(found, f"{folder}/rank{rank}.pt")
        del unlike
        gc.collect()  # wrapped models in cycles keep threads of gloo, which abort the process at its end
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    except BaseException:
        torch.save(traceback.format_exc(), f"{folder}/rank{rank}.pt")
        raise


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start(worker, (port, str(folder)), 2)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_both_ranks_end_with_the_same_weights_and_scores(case, ranks):
    first, second = (found[case] for found in ranks)
    assert torch.equal(first["weights"], second["weights"])
    assert first["steps"] == second["steps"]
    assert str(first["scores"]) == str(second["scores"])


@pytest.mark.parametrize("case", ["causal", "classes", "passes", "ignored"])
def test_two_processes_make_the_steps_of_one(case, ranks, tmp_path):
    alone = run(case, tmp_path, 2 * BATCH)
    both = ranks[0][case]
    torch.testing.assert_close(both["weights"], alone["weights"], rtol=0, atol=2e-6)
    assert both["steps"] == alone["steps"]
    if alone["scores"] is not None:
        torch.testing.assert_close(both["scores"], alone["scores"], rtol=1e-4, atol=1e-5)
    for ids, mine, yours in zip(alone["ids"], ranks[0][case]["ids"], ranks[1][case]["ids"], strict=True):
        assert ids[:BATCH] == mine[: len(ids)]
        assert ids[BATCH:] == yours[: max(0, len(ids) - BATCH)]


def test_a_run_resumed_inside_an_epoch_is_the_uninterrupted_one(ranks):
    for found in ranks:
        rest = found["resumed"]["ids"]
        assert 0 < len(rest) < len(found["whole"]["ids"])
        assert rest == found["whole"]["ids"][-len(rest) :]
        assert torch.equal(found["resumed"]["weights"], found["whole"]["weights"])
        assert torch.equal(found["whole"]["weights"], found["rounds"]["weights"])


def test_processes_with_other_seeds_are_told_so_before_the_first_step(ranks):
    assert "these differ: seed (0 on rank 0, 1 on rank 1)" in ranks[0]["unlike"]
    assert ranks[0]["unlike"] == ranks[1]["unlike"]
