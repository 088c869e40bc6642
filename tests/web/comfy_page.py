"""One tab of ComfyUI: what a user does there, and what a test wants to know."""

import itertools
import json
from pathlib import Path

PACK_PATH = "/extensions/ComfyUI-PSA/"
SEEDS = itertools.count(1)
SECOND = 1000
# generous: the machine may be slow, and a condition ends the wait
TIMEOUT = 120 * SECOND
# no welcome, template or release dialog
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.InstalledVersion": "99.0.0",
    "Comfy.Minimap.Visible": False,
    "Comfy.Release.Status": "skipped",
    "Comfy.VueNodes.AutoScaleLayout": False,
}
READY = """() => {
    const app = window.app
    if (!app?.graph || !app.extensionManager || !window.LiteGraph?.registered_node_types?.PSAApply)
        return false
    if (document.querySelector('.p-blockui-mask')) return false
    // without them the page would not hear of its runs
    if (!app.api.clientId || app.api.socket?.readyState !== WebSocket.OPEN) return false
    // the workflow that every visit begins with is in place, and nothing comes after it
    const tracker = app.extensionManager.workflow.activeWorkflow?.changeTracker
    return Boolean(tracker) && !tracker.constructor.isLoadingGraph
}"""
# a part of a split button, or the button itself
RUN_BUTTON = "[data-testid=queue-button] button, button[data-testid=queue-button]"
# Once set, ComfyUI may still fit the view to a graph that it has loaded, frames later; and panels
# follow the canvas.
VIEW = """({scale, offset}) => {
    const {ds} = app.canvas
    const set = ds.scale === scale && offset.every((x, i) => x === ds.offset[i])
    if (!set) {
        ds.scale = scale
        ds.offset = offset
        app.canvas.setDirty(true, true)
    }
    const panels = app.graph.nodes.flatMap((node) => node.widgets ?? [])
        .map((widget) => widget.element)
        .filter((element) => element?.matches('.psa') && element.offsetWidth)
    const drawn = panels.every((element) => {
        const zoom = element.getBoundingClientRect().width / element.offsetWidth
        return Math.abs(zoom / scale - 1) < 0.01
    })
    window.psaFrames = set && drawn ? (window.psaFrames ?? 0) + 1 : 0
    return psaFrames > 3
}"""
# a node is as high as what its panel holds, or as Vue draws it around that, in two frames running
FITS_ITS_PANEL = """(id) => {
    const node = app.graph.nodes.find((n) => String(n.id) === id)
    const {element, options} = node.widgets.find((w) => w.element?.matches('.psa'))
    const content = Math.ceil(element.firstChild.offsetHeight) + 2 * options.margin
    const drawn = element.closest('[data-node-id]')?.offsetHeight - LiteGraph.NODE_TITLE_HEIGHT
    const height = drawn || node.computeSize()[1]
    const fits = options.getMinHeight() === content && Math.abs(node.size[1] - height) < 1
    window.psaFrames = fits ? (window.psaFrames ?? 0) + 1 : 0
    return psaFrames >= 2
}"""
# Nodes never get a number again under which something may be remembered; the list of presets is
# read again, since those of the test before are gone. Answers whether nothing of it is left.
EMPTY = """async () => {
    const {state} = app.graph.rootGraph ?? app.graph
    const {lastNodeId} = state
    document.activeElement?.blur()
    document.querySelectorAll('dialog.psa').forEach((e) => e.querySelector('header button').click())
    document.querySelectorAll('.psa-toast').forEach((e) => e.remove())
    app.extensionManager.toast?.removeAll?.()
    app.graph.clear()
    app.graph.state.lastNodeId = lastNodeId
    app.extensionManager.workflow.activeWorkflow?.changeTracker?.reset()
    const {library} = await import('/extensions/ComfyUI-PSA/library.js')
    if (library.known) await library.refresh()
    psaTestEvents.length = 0
    return !document.querySelector('dialog[open], [role=dialog], [role=menu], .p-toast-message')
        && (app.graph.rootGraph ?? app.graph) === app.graph && app.graph.nodes.length === 0
}"""
IDLE = """async () => {
    const {queue_running, queue_pending} = await (await app.api.fetchApi('/queue')).json()
    return queue_running.length + queue_pending.length === 0
}"""
LISTEN = """() => {
    window.psaTestEvents = []
    for (const type of ['psa.run_finished', 'execution_success', 'execution_error'])
        app.api.addEventListener(type, (e) => psaTestEvents.push({type, data: e.detail}))
}"""


class ComfyPage:
    """`page` is Playwright's; `faults` is what went wrong in our own scripts."""

    def __init__(
        self, browser, server, renderer, *, theme="dark", locale="en", size=(1500, 1500), scale=1,
        touch=False, context=None,
    ):  # fmt: skip
        self.server, self.renderer = server, renderer
        self.faults = []
        self.settings = {
            **SETTINGS,
            "Comfy.VueNodes.Enabled": renderer == "vue",
            "Comfy.ColorPalette": theme,
            "Comfy.Locale": locale,
        }
        self.context = context or browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            device_scale_factor=scale,
            has_touch=touch,
            color_scheme=theme,
            reduced_motion="reduce",
            permissions=["clipboard-read", "clipboard-write"],
            base_url=server.url,
        )
        self.context.set_default_timeout(TIMEOUT)
        self.context.add_init_script("localStorage.setItem('vueNodesBannerDismissed', 'true')")
        self.page = self.context.new_page()
        self._watch()
        self.load_page()

    def _watch(self):
        page = self.page

        def console(message):
            if message.type == "error" and PACK_PATH in f"{message.location} {message.text}":
                self.faults.append(f"console: {message.text}")

        def page_error(error):
            if PACK_PATH in f"{error.message}{error.stack}":
                self.faults.append(f"uncaught: {error.message}\n{error.stack}")

        def response(reply):
            if reply.status >= 500 and "/psa/" in reply.url:
                log = self.server.log_tail()
                self.faults.append(f"HTTP {reply.status} from {reply.url}; the log:\n{log}")

        page.on("console", console)
        page.on("pageerror", page_error)
        page.on("response", response)

    def load_page(self):
        """Also a reload: ComfyUI asks nothing then, since the address is typed anew."""
        path = self.server.base / "user" / "default" / "comfy.settings.json"
        path.write_text(json.dumps(self.settings), encoding="utf-8")
        self.page.goto(self.server.url, wait_until="domcontentloaded")
        self.page.wait_for_function(READY)
        self.page.evaluate(LISTEN)
        self.page.evaluate("app.graph.clear()")
        self.view()

    def start_anew(self):
        """As empty as `load_page` leaves it, in much less time."""
        self.page.unroute_all()
        self.page.wait_for_function(IDLE)
        if self.page.evaluate(EMPTY):
            self.view()
        else:
            self.load_page()

    # --- the graph

    def add(self, kind, at=(100, 100), size=None, links=None, **widgets):
        """A new node; returns its id as text.  links: input name -> (node id, output slot)."""
        return self.page.evaluate(
            """({kind, at, size, links, widgets}) => {
                const node = LiteGraph.createNode(kind)
                node.pos = at
                app.graph.add(node)
                if (size) node.setSize(size)
                for (const [name, value] of Object.entries(widgets)) {
                    const widget = node.widgets.find((w) => w.name === name)
                    if (!widget) throw new Error(`${kind} has no widget ${name}`)
                    widget.value = value
                    widget.callback?.(value)
                }
                for (const [name, [id, slot]] of Object.entries(links)) {
                    const from = app.graph.nodes.find((n) => String(n.id) === id)
                    from.connect(slot, node, node.findInputSlot(name))
                }
                app.graph.setDirtyCanvas(true, true)
                app.extensionManager.workflow.activeWorkflow?.changeTracker?.checkState()
                return String(node.id)
            }""",
            {"kind": kind, "at": list(at), "size": size, "links": links or {}, "widgets": widgets},
        )

    def view(self, scale=1.0, offset=(0, 0)):
        self._for_frames(VIEW, {"scale": scale, "offset": list(offset)})

    def wait_until_fitting(self, node):
        """Until a node is as high as what its panel holds."""
        self._for_frames(FITS_ITS_PANEL, node)

    def _for_frames(self, condition, arg):
        """Until a condition has held for some frames, which it counts in psaFrames."""
        self.page.evaluate("window.psaFrames = 0")
        self.page.wait_for_function(condition, arg=arg)

    def widgets(self, node):
        """Widget name -> value, as the workflow would carry them."""
        return self.page.evaluate(
            """(id) => Object.fromEntries(
                app.graph.nodes.find((n) => String(n.id) === id).widgets
                    .filter((w) => w.serialize !== false).map((w) => [w.name, w.value]))""",
            node,
        )

    def set_widget(self, node, name, value):
        """As if the user had set an ordinary widget."""
        self.page.evaluate(
            """([id, name, value]) => {
                const node = app.graph.nodes.find((n) => String(n.id) === id)
                const widget = node.widgets.find((w) => w.name === name)
                widget.value = value
                widget.callback?.(value, app.canvas, node)
                app.extensionManager.workflow.activeWorkflow?.changeTracker?.checkState()
            }""",
            [node, name, value],
        )

    def undo(self):
        self.page.evaluate("app.extensionManager.command.execute('Comfy.Undo')")

    def wait_for_widgets(self, node, **values):
        self.page.wait_for_function(
            """([id, values]) => {
                const {widgets} = app.graph.nodes.find((n) => String(n.id) === id)
                return Object.entries(values).every(([name, value]) =>
                    widgets.find((w) => w.name === name).value === value)
            }""",
            arg=[node, values],
        )

    def panel(self, node):
        """Our part of a node on the canvas."""
        self.page.wait_for_function(
            """(id) => {
                const node = app.graph.nodes.find((n) => String(n.id) === id)
                const element = node.widgets.find((w) => w.element?.matches('.psa'))?.element
                element?.setAttribute('data-test-node', id)
                return Boolean(element)
            }""",
            arg=node,
        )
        return self.page.locator(f'[data-test-node="{node}"]')

    def ask(self, method, route, body=None):
        """One of the pack's routes, asked from the page as its own scripts do."""
        return self.page.evaluate(
            """async ([method, route, body]) => {
                const headers = {"Content-Type": "application/json"}
                const options = {method, headers, body: body && JSON.stringify(body)}
                return await (await app.api.fetchApi("/psa/" + route, options)).json()
            }""",
            [method, route, body],
        )

    def prompt(self):
        """What would be queued: node id -> {class_type, inputs}."""
        return self.page.evaluate("async () => (await app.graphToPrompt()).output")

    def workflow(self):
        return self.page.evaluate("() => app.graph.serialize()")

    def load_workflow(self, workflow):
        self.page.evaluate("async (workflow) => await app.loadGraphData(workflow)", workflow)

    def sampler(self, model, steps=4, at=(1700, 100), **inputs):
        """Conditioning, a tiny video, KSampler and SaveLatent behind a link to a model."""
        texts = [self.add("PSADemoConditioning", (-400, 200 * i), prompt_number=i, tokens=16)
                 for i in (1, 2)]  # fmt: skip
        latent = self.add("EmptyHunyuanLatentVideo", (-400, 600), width=96, height=96, length=17)
        sampled = self.add(
            "KSampler", at,
            links={"model": model, "positive": (texts[0], 0), "negative": (texts[1], 0),
                   "latent_image": (latent, 0)},
            # a graph that the server has seen already would come from its cache
            seed=next(SEEDS), steps=steps, sampler_name="euler", scheduler="simple", **inputs,
        )  # fmt: skip
        self.add("SaveLatent", (at[0], at[1] + 500), links={"samples": (sampled, 0)})
        return sampled

    def model(self):
        return self.add("UNETLoader", (-400, 0), unet_name="tiny_wan.safetensors"), 0

    # --- text from outside

    def paste(self, text):
        """The clipboard's text, by the keyboard, to whatever has the focus."""
        self.page.evaluate("(text) => navigator.clipboard.writeText(text)", text)
        self.page.keyboard.press("ControlOrMeta+v")

    def drop(self, locator, name, text):
        """A file from the desktop."""
        transfer = self.page.evaluate_handle(
            """([name, text]) => {
                const transfer = new DataTransfer()
                transfer.items.add(new File([text], name, {type: "application/yaml"}))
                return transfer
            }""",
            [name, text],
        )
        for event in ("dragenter", "dragover", "drop"):
            locator.dispatch_event(event, {"dataTransfer": transfer})

    # --- queueing

    def queue(self):
        self.page.locator(RUN_BUTTON).first.click()

    def open_refusal(self):
        """Have ComfyUI show why it did not queue, which newer frontends hide behind two clicks."""
        details = self.page.get_by_role("button", name="View details")
        details.or_(self.page.get_by_role("dialog")).first.wait_for()
        if details.is_visible():
            details.click()
            self.page.get_by_role("button", name="Info for").first.click()

    def close_refusal(self):
        self.page.keyboard.press("Escape")

    def wait_for_event(self, *types):
        """The data of the first such event since the page was loaded; it is then forgotten."""
        return self.page.wait_for_function(
            """(types) => {
                const at = psaTestEvents.findIndex((event) => types.includes(event.type))
                return at >= 0 && psaTestEvents.splice(at, 1)[0]
            }""",
            arg=types,
        ).json_value()

    def run(self):
        """Queue, and wait for the end: the report of Apply PSA's run."""
        self.queue()
        end = self.wait_for_event("execution_success", "execution_error")
        assert end["type"] == "execution_success", end
        return self.wait_for_event("psa.run_finished")["data"]["report"]

    # --- looking

    def screenshot(self, path, clip=None):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, clip=clip)
