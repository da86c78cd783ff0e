"""The order of samples: complete epochs, full batches, and exact resumption."""

import torch

from hypermnesia.training.batches import Order


def order(**options: bool) -> Order:
    return Order(10, 4, options.pop("endless", False), torch.Generator().manual_seed(0), **options)


def test_an_epoch_visits_every_sample_once_and_keeps_its_partial_batch() -> None:
    visits = order()
    batches = [visits.next() for _ in range(6)]
    assert [len(b) for b in batches] == [4, 4, 2, 4, 4, 2]
    assert visits.steps_per_epoch() == 3
    for epoch in (batches[:3], batches[3:]):
        assert sorted(torch.cat(epoch).tolist()) == list(range(10))
    assert not torch.equal(torch.cat(batches[:3]), torch.cat(batches[3:]))


def test_endless_batches_are_full_and_straddle_epochs() -> None:
    visits = order(endless=True)
    batches = [visits.next() for _ in range(5)]
    assert [len(b) for b in batches] == [4] * 5
    assert sorted(torch.cat(batches)[:10].tolist()) == list(range(10))
    assert sorted(torch.cat(batches)[10:].tolist()) == list(range(10))


def test_a_batch_may_be_larger_than_the_data() -> None:
    visits = Order(3, 8, True, torch.Generator().manual_seed(0))
    assert torch.bincount(visits.next()).tolist() in ([3, 3, 2], [3, 2, 3], [2, 3, 3])


def test_without_shuffling_the_order_is_the_samples_own() -> None:
    visits = order(shuffle=False)
    assert torch.cat([visits.next() for _ in range(3)]).tolist() == list(range(10))


def test_resuming_goes_on_with_the_same_batches() -> None:
    whole = order(endless=True)
    for _ in range(3):
        whole.next()
    rng = torch.Generator()
    rng.set_state(whole.rng.get_state())
    again = Order(10, 4, True, rng, True, whole.permutation.clone(), whole.offset)
    assert all(torch.equal(whole.next(), again.next()) for _ in range(5))
