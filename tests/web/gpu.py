"""What the page shows on a machine with another GPU than the tests'."""

import json

H100 = "NVIDIA H100 80GB HBM3"


def on_gpu(comfy, name):
    """The page's questions for estimates are for this GPU; the server answers them itself."""

    def asked(route):
        body = json.dumps({**route.request.post_data_json, "gpu": name})
        route.continue_(post_data=body)

    comfy.page.route("**/psa/estimate", asked)
