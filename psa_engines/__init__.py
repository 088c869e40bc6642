"""PSA for any host: a neutral core that decides in a run (`core`), and a package for each engine.

    from psa_engines.diffusers import apply_psa

Importing it imports no engine. ComfyUI's side of the pack, `nodes`, uses the same core.
"""
