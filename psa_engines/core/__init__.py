"""What decides in a run, without knowing its host: ComfyUI's nodes, diffusers, another engine.

A host tells

- of a run: the preset (`PresetValue`), the plan of its steps (`plan_whole` where the host knows the
  whole schedule, `plan_steps` where it has sigmas and they may be a part of one), blocks that stay
  dense, and what only a host has (`Host`): how its user stops a run, how memory comes back after an
  error;
- of a call of the model: where the video's tokens are (`TokenGrid`, None where unknown), which step
  it is in (None where unknown), and a key of its conditions, the same in every step;
- of an attention call: q, k, v as `[B, H, L, D]`, its scale, the transformer block if it is known,
  why PSA cannot serve it if the host sees that (`AttentionCall`), and what would serve it without
  PSA (`Asked`).

The core decides whether a call is sparse, with which settings, or dense and why; serves it; keeps
what calls carry from step to step; steps aside for the rest of a run after an error; looks for NaN;
and writes down what ran. A host never sees an exception of PSA's from `AttentionCalls.attend`.

    run = Run(preset, plan_of(timesteps, config))
    for every call of the model:
        calls = AttentionCalls(run, token_grid, step, key)
        run.recorder.model_call(step, device)
        ...                                     # its attention: out = calls.attend(asked)
        if calls.spoiled():                     # NaN or Inf: make the call again, now dense
            run.repeated()
        run.recorder.model_call_ended(device)
        run.forget(key)                         # after the last step's
    report, record = run.finish(None)           # figures in plain types, and all of them
    run.end()                                   # drops every tensor

Where the model is a torch module, `ModelCalls` does that around each of its calls, and `LastRun`
keeps the report of the last run: an engine derives its own of both.

A prefill has no steps: the plan of one, `plan_whole([1.0], 0, config.steps)`, serves it, its calls
`causal`.
"""
