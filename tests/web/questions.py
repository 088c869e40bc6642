"""What the page asks of the pack's routes, and when it has come to rest."""

import time

from .comfy_page import SECOND, TIMEOUT


class Questions:
    """`asked`: the routes' names in order, from now on, without the looks for changes on disk."""

    def __init__(self, page):
        self.page = page
        self.asked = []
        self._open = set()
        page.on("request", self._begin)
        for event in ("requestfinished", "requestfailed"):
            page.on(event, self._end)

    def _begin(self, request):
        _, psa, route = request.url.partition("/psa/")
        name = route.partition("?")[0]
        if psa and name != "version":
            self.asked.append(name)
            self._open.add(request)

    def _end(self, request):
        self._open.discard(request)

    def wait_for_quiet(self, seconds=1):
        """Until nothing was asked for so long, and nothing is unanswered."""
        end = time.monotonic() + TIMEOUT / SECOND
        before = None
        while self._open or len(self.asked) != before:
            assert time.monotonic() < end, f"the page goes on asking: {self.asked[-20:]}"
            before = len(self.asked)
            # the page's own time, and then nothing to do: on a crowded machine it may be far behind
            self.page.evaluate(
                "(ms) => new Promise((done) => setTimeout(() => requestIdleCallback(done), ms))",
                seconds * SECOND,
            )
