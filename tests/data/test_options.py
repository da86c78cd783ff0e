from hypermnesia.data import StreamOptions


def test_given_options_cover_defaults_also_with_false_and_zero():
    defaults = StreamOptions(tasks=5, augment=True, seed=3)
    chosen = StreamOptions(augment=False, seed=0, size=8).over(defaults)
    assert chosen == StreamOptions(tasks=5, augment=False, seed=0, size=8)
