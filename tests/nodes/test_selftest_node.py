"""PSA Self-test in graphs that a real server runs."""

import json

import pytest
import torch


def test_the_node_alone_tests_this_machine_every_time_and_can_be_interrupted(graph):
    g = graph()
    g.add("PSASelfTest", {}, "test")
    shown = {i: g.add("PreviewAny", {"source": ["test", i]})[0] for i in (0, 1, 2)}
    run = g.run()
    (said,) = run.outputs["test"]["text"]
    assert said.startswith("PSA self-test") and "Result: all that can run here works" in said
    assert max(map(len, said.splitlines())) <= 100
    assert ("test", "testing PSA on this machine") in run.texts
    values = {i: run.outputs[node]["text"][0] for i, node in shown.items()}
    assert " ".join(values[0].split()) == " ".join(said.split())
    report = json.loads(values[1])
    serving = "the Triton kernels" if torch.cuda.is_available() else "the torch reference"
    assert report["ok"] is True and report["serving"].startswith(f"run on {serving}")
    assert values[2].lower() == "true"
    states = {check["name"]: check["state"] for check in report["checks"]}
    if torch.cuda.is_available():
        found = {s for name, s in states.items() if name.startswith("Triton kernels: ")}
        assert found == {"ok"}
    else:
        assert states["Triton kernels"] == "skipped"

    def stop(run, message):
        if message["type"] == "executing" and message["data"].get("node") == "test":
            g.client.interrupt(run.prompt_id)

    # nothing of it comes from a cache, so it can be met while it runs again
    again = g.run(on_message=stop)
    assert again.outcome == "execution_interrupted"


def test_verbose_lists_every_case_and_measuring_needs_a_gpu(graph):
    g = graph()
    # on a GPU the tuner's own tests have it: it takes minutes
    measure = not torch.cuda.is_available()
    g.add("PSASelfTest", {"verbose": True, "measure": measure, "head_dim": "64"}, "test")
    (said,) = g.run().outputs["test"]["text"]
    assert said.count("head dim") >= 10
    if measure:
        assert "Measuring this GPU: there is no GPU here" in " ".join(said.split())
        assert "Result: all that can run here works" in said


def test_a_head_size_that_is_no_choice_is_refused(comfy_inproc):
    """By the node itself: ComfyUI 0.3.75 lets it pass."""
    comfy_inproc.load_pack()
    from psa_pack.nodes.selftest import PSASelfTest

    with pytest.raises(ValueError, match="head_dim: found '96'; give one of 128, 64, 256"):
        PSASelfTest.execute(measure=True, head_dim="96")


def test_inputs_outside_their_range_are_refused(graph):
    g = graph()
    g.add("PSASelfTest", {"time_limit": 5}, "test")
    assert "time_limit" in json.dumps(g.refusal()["test"])
