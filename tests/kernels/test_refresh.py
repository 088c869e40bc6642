"""For how many steps groups and plans are kept (section 3b), and how much of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from psa_kernels import OrderState, reference

from .stepped import ALL, CONFIG, call, made_in

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("refresh", "anew"),
    [(1, list(range(9))), (2, [0, 1, 3, 5, 7]), (3, [0, 1, 4, 7]), (100, [0, 1])],
)
def test_the_first_two_steps_and_then_every_so_many(made, refresh, anew):
    found = made_in(made, OrderState(), range(9), config=CONFIG.replace(refresh=refresh))
    assert found == [ALL if step in anew else [] for step in range(9)]


@pytest.mark.parametrize(
    ("steps", "anew"),
    [
        # of a sampler that asks the model twice in a step: its calls share
        ([0, 0, 1, 1, 2, 2, 3, 3, 4, 4], [0, 2, 8]),
        # dense steps between them age what is kept; the first two sparse ones make everything
        ([5, 6, 8, 9, 10, 14, 15], [0, 1, 3, 5]),
        # heunpp2 goes back, which ages nothing
        ([0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4, 5], [0, 1, 8]),
        # calls without a number are steps
        ([None] * 6, [0, 1, 4]),
    ],
)
def test_calls_of_other_steps_than_one_after_another(made, steps, anew):
    """`anew`: the places in `steps` of those that make everything."""
    state = OrderState()
    wanted = [ALL if place in anew else [] for place in range(len(steps))]
    for _ in range(2):
        assert made_in(made, state, steps) == wanted
        state.reset()


def test_a_call_apart_takes_nothing_and_leaves_nothing(made):
    state, found = OrderState(), []
    calls = [(0, False), (0, True), (1, False), (2, True), (2, False), (3, False), (4, False)]
    for step, apart in calls:
        if apart:
            state.next_is_apart()
        found += made_in(made, state, [step])
    assert found == [ALL, ALL, ALL, ALL, [], [], ALL]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.lists(st.integers(1, 3), min_size=1, max_size=25))
def test_an_item_serves_as_many_steps_as_refresh_says(refresh, calls_of_step):
    """Of the state alone: `calls_of_step` calls in each step, all of which ask and keep."""
    state, made = OrderState(), []
    for step, calls in enumerate(calls_of_step):
        for _ in range(calls):
            state.begin(step)
            found = state.recall("groups", "this", refresh)
            if found is None:
                made.append(step)
                state.remember("groups", "this", step, 0)
            else:
                assert 0 <= step - found < refresh
                assert found == step or found >= 1  # the first step's serve that step only
    every = range(len(calls_of_step))
    assert made == [i for i in every if i < 2 or (i - 1) % refresh == 0]


@pytest.mark.parametrize("refused", ["groups", "plan", "both"])
def test_without_room_things_are_made_anew_and_nothing_else_changes(made, refused):
    asked = []

    def room(name, size):
        asked.append((name, size))
        return refused not in (name, "both")

    state = OrderState(room)
    found = []
    for step in range(5):
        made.clear()
        out = call(state, step)
        found.append(list(made))
        if refused == "both":
            assert torch.equal(out, call(None, step))
    kept = {"groups": ALL[1:], "plan": ALL[:1], "both": []}[refused]
    anew = [x for x in ALL if x not in kept]
    assert found == [ALL, ALL, anew, anew, ALL]
    # a byte for each key of each head, beside float32 weights; a byte for each pair of blocks,
    # beside twelve int64 sums of each head
    sizes = {"groups": 2 * 192 + 2 * 16 * 4, "plan": 2 * 2 * 6 + 2 * 12 * 8}
    assert set(asked) == set(sizes.items())
    # room that was granted is not asked for again; room that was refused is
    for name in sizes:
        times = 1 if refused not in (name, "both") else found.count(ALL) if name in kept else 5
        assert len([x for x in asked if x[0] == name]) == times


def test_more_room_is_asked_for_only_as_far_as_it_grows():
    asked = []
    state = OrderState(lambda name, size: asked.append(size) or sum(asked) <= 100)
    for size, item in ((40, "a"), (70, "b"), (50, "c"), (120, "d"), (70, "e")):
        state.begin(None)
        state.remember("plan", None, item, size)
        assert state.recall("plan", None, 2) == (item if item != "d" else None)
    assert asked == [40, 30, 50]


def test_the_first_call_of_a_state_depends_on_its_inputs_alone():
    state = OrderState()
    runs = []
    for _ in range(2):
        runs.append([call(state, step) for step in range(6)])
        state.reset()
    assert all(map(torch.equal, *runs))


def test_a_failed_call_leaves_a_state_that_works(monkeypatch):
    state = OrderState()
    call(state, 0)
    with monkeypatch.context() as patch:
        patch.setattr(reference, "assign_levels", None)
        with pytest.raises(TypeError):
            call(state, 1)
    assert torch.equal(call(state, 1), call(None, 1))
