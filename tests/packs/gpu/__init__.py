"""A node pack for the tests only: PSA's routes see the GPU that tests say there is.

That of `user/default/psa/test_gpu.json`, with the fields of `psa_kernels.measured.Machine`.
"""

import json
import sys
from pathlib import Path

import folder_paths
from aiohttp import web
from server import PromptServer

NODE_CLASS_MAPPINGS = {}


def module(end):
    return next(x for name, x in list(sys.modules.items()) if name.endswith(end))


def machine_of(device):
    path = Path(folder_paths.get_user_directory()) / "default" / "psa" / "test_gpu.json"
    real = module(".psa_kernels.measured.machine")
    try:  # the next test may take the file away while the last one's page still asks
        return real.Machine(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return real.machine_of(device)


@web.middleware
async def with_gpu(request, handler):
    if request.path.endswith("/psa/estimate"):
        entries = module(".psa_kernels.measured.entries")
        entries.machine_of = module(".nodes.estimate.times").machine_of = machine_of
        entries.forget()  # another test's
    return await handler(request)


PromptServer.instance.app.middlewares.append(with_gpu)
