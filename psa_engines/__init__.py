"""PSA's engines: one neutral core that decides in a run (`core`), and a package an engine over it.

    from psa_engines.diffusers import apply_psa

Importing it imports no engine. ComfyUI's side of the pack, `nodes`, stands on the same core.
"""
