"""Seconds per sampler step of full-size Wan models in ComfyUI: dense, sparse peers, PSA.

benchmarks/README.md says what is measured, and how.
"""

from .. import quality  # noqa: F401 - names the repository's root as a package, `psa_pack`
