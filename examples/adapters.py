"""A transformer is trained once, frozen, and learns further tasks through adapters that a hypernetwork writes.

Run it: python examples/adapters.py (no data needed; under a minute)
"""

import tempfile
from pathlib import Path

from safetensors.torch import save_file

import hypermnesia as hm
from hypermnesia.core.tensors import num_bytes
from hypermnesia.nets import ViTOptions

NET = ["net=vit", "net.patch=2", "net.depth=2", "net.width=32", "net.heads=2"]


def main() -> None:
    # 1. Pre-training on the digits 0 to 5. A file of your own, or of another library, would do as well.
    first = hm.StreamOptions(order=(0, 1, 2, 3, 4, 5), tasks=1, classes_per_task=6)
    stream = hm.load("split-digits", options=first)
    net = ViTOptions(patch=2, depth=2, width=32, heads=2)
    model = hm.model_for(stream, lambda outputs: net.build(stream.shape, outputs))
    hm.fit(model, stream, hm.Finetune(), hm.TrainOptions(iterations=300))
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base.safetensors"
        save_file(model.task_state(0), base)

        # 2. Two tasks of other digits. The network stays as it is; each task adds an embedding and a classifier.
        lora = [
            "weights=lora",
            "rank=4",
            'target=["*.attn.*.weight", "*.mlp.*.weight"]',
            f"weights.base={base}",
        ]
        tasks = ["stream.order=[6,7,8,9]", "stream.tasks=2", "train.iterations=200", "drift.beta=1"]
        run = hm.build(hm.resolve("split-digits", "hnet", [*lora, *tasks, *NET]))
    for _ in run:
        pass
    accuracy = run.records.rows["task"][-1]
    print("accuracy on each task in the end: " + " ".join(f"{100 * a:.1f}" for a in accuracy))

    # 3. What it costs: the generator is paid once, and a hundred tasks add a hundred embeddings.
    writer = run.learner.model.generator
    embedding = num_bytes({"": writer.embeddings[0]})
    once = num_bytes(dict(writer.named_parameters())) - writer.num_tasks * embedding
    adapter = sum(4 * 4 * (out + inputs) for out, inputs in writer.shapes.values())  # rank 4, 4 bytes
    print(f"100 tasks: {once + 100 * embedding:,} bytes; 100 stored adapters: {100 * adapter:,} bytes")


if __name__ == "__main__":
    main()
