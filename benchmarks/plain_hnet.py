"""Hypernetwork continual learning on Split MNIST once more, in plain PyTorch: a second opinion on the library's figures.

    python -m benchmarks.plain_hnet --data-dir data --seed 0 [--look-ahead] [--init default] [--mask-heads] [--steps 2000]

Nothing of the library takes part but the reading of MNIST. The settings are those of the paper's code (von Oswald et al.
2019): a 784-400-400-10 perceptron, its weights one flat vector written in chunks of 42,000 by a 10-10 perceptron from two
embeddings of 96 numbers. Prints the accuracy with the task given, and with the task of least entropy, after five tasks.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypermnesia.data import load

SHAPES = ((400, 784), (400,), (400, 400), (400,), (10, 400), (10,))
SIZES = [torch.Size(shape).numel() for shape in SHAPES]
CHUNK, EMBEDDING, HIDDEN, BETA, LR, BATCH, TASKS = 42_000, 96, 10, 0.01, 1e-3, 128, 5
CHUNKS = -(-sum(SIZES) // CHUNK)


class Hypernetwork(nn.Module):
    """Task embedding (96,) → all weights (478410,)."""

    def __init__(self, init: str) -> None:
        super().__init__()
        self.chunks = nn.Parameter(torch.randn(CHUNKS, EMBEDDING))
        first = nn.Linear(2 * EMBEDDING, HIDDEN)
        self.layers = nn.ModuleList([first, nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, CHUNK)])
        for layer in self.layers if init == "xavier" else ():
            nn.init.xavier_uniform_(layer.weight)  # pyright: ignore[reportArgumentType]
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, embedding: Tensor) -> Tensor:
        x = torch.cat([self.chunks, embedding.expand(CHUNKS, EMBEDDING)], dim=1)
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x).flatten()[: sum(SIZES)]


def answers(weights: Tensor, x: Tensor, task: int) -> Tensor:
    """(B, 2) logits of the task's two classes."""
    w = [part.view(shape) for part, shape in zip(weights.split(SIZES), SHAPES, strict=True)]
    hidden = F.relu(F.linear(F.relu(F.linear(x, w[0], w[1])), w[2], w[3]))
    return F.linear(hidden, w[4], w[5])[:, 2 * task : 2 * task + 2]


def ahead(net: nn.Module, adam: torch.optim.Adam) -> dict[str, Tensor]:
    """The parameters where Adam would move them with the gradients that they have now."""
    found = {}
    for name, p in net.named_parameters():
        assert p.grad is not None
        known = adam.state.get(p)
        step, mean, square = (
            (0.0, 0.0, 0.0) if not known else (known["step"].item(), known["exp_avg"], known["exp_avg_sq"])
        )
        mean, square = 0.9 * mean + 0.1 * p.grad, 0.999 * square + 0.001 * p.grad**2
        direction = mean / (1 - 0.9 ** (step + 1)) / ((square / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
        found[name] = (p - LR * direction).detach().requires_grad_()
    return found


def penalty(
    net: nn.Module, at: Mapping[str, Tensor], old: Sequence[Tensor], kept: Sequence[Tensor], mask: bool
) -> Tensor:
    """β times the mean over earlier tasks of the squared distance to the weights that they had."""
    total = torch.zeros(())
    for task, (embedding, weights) in enumerate(zip(old, kept, strict=True)):
        change = torch.func.functional_call(net, dict(at), (embedding.detach(),)) - weights
        if mask:  # the rows of other tasks' classes
            own = torch.zeros(10)
            own[2 * task : 2 * task + 2] = 1
            rows = torch.cat([own.repeat_interleave(400), own])
            change = torch.cat([change[: -len(rows)], change[-len(rows) :] * rows])
        total = total + change.square().sum()
    return BETA / len(old) * total


def train(x: Tensor, y: Tensor, chosen: argparse.Namespace) -> list[Tensor]:
    """The weights of every task after the last one."""
    net = Hypernetwork(chosen.init)
    embeddings = [nn.Parameter(torch.randn(EMBEDDING)) for _ in range(TASKS)]
    for task in range(TASKS):
        adam = torch.optim.Adam([*net.parameters(), embeddings[task]], LR)
        with torch.no_grad():
            kept = [net(embedding) for embedding in embeddings[:task]]
        rows, order = (y // 2 == task).nonzero().flatten(), torch.empty(0, dtype=torch.int64)
        for _ in range(chosen.steps):
            if len(order) < BATCH:
                order = rows[torch.randperm(len(rows))]
            batch, order = order[:BATCH], order[BATCH:]
            adam.zero_grad()
            F.cross_entropy(answers(net(embeddings[task]), x[batch], task), y[batch] - 2 * task).backward()
            if task:
                at = ahead(net, adam) if chosen.look_ahead else dict(net.named_parameters())
                found = torch.autograd.grad(
                    penalty(net, at, embeddings[:task], kept, chosen.mask_heads), list(at.values())
                )
                for parameter, gradient in zip(net.parameters(), found, strict=True):
                    assert parameter.grad is not None
                    parameter.grad += gradient
            adam.step()
    with torch.no_grad():
        return [net(embedding) for embedding in embeddings]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--init", choices=("xavier", "default"), default="xavier")
    parser.add_argument("--look-ahead", action="store_true")
    parser.add_argument("--mask-heads", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(chosen.seed)
    stream = load("split-mnist", data_dir=chosen.data_dir)

    def whole(part: str) -> tuple[Tensor, Tensor]:
        pieces = [getattr(task, part) for task in stream.tasks]
        raw, y = zip(*(piece.batch(torch.arange(len(piece))) for piece in pieces), strict=True)
        return torch.cat(raw).flatten(1) / 255, torch.cat(y)

    weights = train(*whole("train"), chosen)
    x, y = whole("test")
    with torch.no_grad():
        logits = torch.stack([answers(w, x, task) for task, w in enumerate(weights)])
        logp = logits.log_softmax(-1)
        guess = -(logp.exp() * logp).sum(-1)
        labels = logits.argmax(-1) + 2 * torch.arange(TASKS)[:, None]
        guessed = labels.gather(0, guess.argmin(0, keepdim=True))[0]
        given = labels.gather(0, (y // 2)[None])[0]
    by_task = [(given == y)[y // 2 == t].float().mean() for t in range(TASKS)]
    by_class = [(guessed == y)[y // 2 == t].float().mean() for t in range(TASKS)]
    print(f"task {torch.stack(by_task).mean():.4f}   class, by entropy {torch.stack(by_class).mean():.4f}")


if __name__ == "__main__":
    main()
