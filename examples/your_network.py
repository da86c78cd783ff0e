"""Your own network on a sequence of tasks: plain, written by a hypernetwork, and with low-rank additions.

Run it: python examples/your_network.py (no data needed; about ten seconds)
"""

import torch
from torch import nn

import hypermnesia as hm


class Mine(nn.Module):
    """Any nn.Module will do: no base class, no declaration. It ends in an nn.Linear."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 12, 3, padding=1)
        self.hidden = nn.Linear(12 * 16, 48)
        self.head = nn.Linear(48, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.max_pool2d(torch.relu(self.conv(x)), 2)
        return self.head(torch.relu(self.hidden(x.flatten(1))))


def main() -> None:
    stream = hm.load("split-digits")  # five tasks of two digits
    for kind in ("plain", "hyper", "lora"):
        model = hm.model_for(stream, Mine, kind)
        method = hm.Finetune() if kind == "plain" else hm.combine(hm.Finetune(), hm.Drift(beta=1.0))
        result = hm.fit(model, stream, method, hm.TrainOptions(iterations=150))
        last = result.rows["task"][-1]
        print(f"{kind:5} accuracy on each task in the end: " + " ".join(f"{100 * a:5.1f}" for a in last))

    # The network of one task by itself, as a plain state_dict:
    third = Mine(outputs=2)
    third.load_state_dict(model.task_state(2))
    raw, y = stream.tasks[2].test.batch(torch.arange(len(stream.tasks[2].test)))
    right = third(stream.preprocess(raw)).argmax(1) == y - 4
    print(f"task 3 by its own network: {100 * right.float().mean():.1f}")


if __name__ == "__main__":
    main()
