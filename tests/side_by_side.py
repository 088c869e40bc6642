"""How processes share the suite: by files, those that take long first, all of tests/web in one.

xdist would begin with the files of most tests, and the processes would end far apart: some of the
longest files hold few. The browser tests share servers that each process would start for itself.
"""

from collections import Counter

from xdist.scheduler import LoadFileScheduling

WEB = "tests/web"
# the units that take half a minute and more, longest first; the rest as xdist would have it
LONG = (
    WEB,
    "tests/kernels/triton/test_offline.py",
    "tests/nodes/composition/test_compiled_graphs.py",
    "tests/benchmarks/test_quality_run.py",
    "tests/kernels/triton/test_interpreted.py",
    "tests/nodes/routes/test_users.py",
    "tests/nodes/routes/test_strange_requests.py",
    "tests/kernels/test_oracle.py",
    "tests/nodes/test_sampling_groups.py",
    "tests/dev/test_golden_clip.py",
    "tests/dev/test_demo.py",
)


def unit(nodeid: str) -> str:
    """What is run in one process."""
    return WEB if nodeid.startswith(WEB + "/") else nodeid.split("::", 1)[0]


class ByUnits(LoadFileScheduling):
    def __init__(self, config, log=None):
        super().__init__(config, log)
        config.option.loadscopereorder = False  # `in_order` has done it

    def _split_scope(self, nodeid):
        return unit(nodeid)


def in_order(items: list) -> None:
    """Sorts the collected tests; those of a unit stay as they are."""
    counts = Counter(unit(item.nodeid) for item in items)

    def rank(item):
        name = unit(item.nodeid)
        return LONG.index(name) if name in LONG else len(LONG), -counts[name], name

    items.sort(key=rank)
