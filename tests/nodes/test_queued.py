"""Whose a prompt is, on a server of many users: the book of prompt ids, without the server."""

from types import SimpleNamespace

import pytest


@pytest.fixture
def claim(comfy_inproc, monkeypatch):
    """claim(user, prompt id, waiting=...) -> the id under which it runs."""
    comfy_inproc.load_pack()
    from psa_pack.nodes import queued

    monkeypatch.setattr(queued.args, "multi_user", True)
    monkeypatch.setattr(queued, "_user_of_prompt", {})
    monkeypatch.setattr(queued, "MOST_PROMPTS", 20)

    def ask(user, prompt_id, waiting=()):
        queue = SimpleNamespace(
            get_current_queue_volatile=lambda: ([], [(0, name, {}) for name in waiting])
        )
        token = queued._user.set(user)
        try:
            request = {"prompt": {}, "prompt_id": prompt_id}
            if prompt_id is None:
                del request["prompt_id"]
            server = SimpleNamespace(prompt_queue=queue)
            return queued._on_prompt(request, {}, server)["prompt_id"]
        finally:
            queued._user.reset(token)

    ask.owner = lambda prompt_id: queued._user_of_prompt.get(prompt_id, "forgotten")
    ask.count = lambda: len(queued._user_of_prompt)
    return ask


def test_an_id_is_its_first_users_and_another_gets_a_new_one(claim):
    assert claim("ann", "a") == "a" and claim("ann", "a") == "a"
    new = claim("bob", "a")
    assert new != "a" and claim.owner(new) == "bob" and claim.owner("a") == "ann"
    nobody = claim(None, "a")
    assert nobody not in ("a", new) and claim.owner(nobody) is None
    # and nobody's own is not another's for the asking
    assert claim(None, "n") == "n" and claim("ann", "n") != "n"
    assert claim("ann", 7) == 7 and claim("bob", "7") != "7"


def test_each_without_an_id_gets_one_of_its_own(claim):
    assert len({claim("ann", None) for _ in range(5)}) == 5


def test_what_waits_is_never_forgotten_and_the_book_stays_small(claim):
    claim("ann", "a")
    for i in range(500):
        claim("bob", f"b{i}", waiting=["a", "b3"])
    assert claim.count() <= 22
    assert claim.owner("a") == "ann" and claim.owner("b3") == "bob"
    assert claim("bob", "a") != "a"
    assert claim.owner("b10") == "forgotten" and claim.owner("b499") == "bob"
