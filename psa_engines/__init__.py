"""PSA's engines: one neutral core that decides in a run, and one small module an engine.

    from psa_engines.core.schedule import plan_steps

Importing it imports no engine. ComfyUI's side of the pack, `nodes`, stands on the same core.
"""
