"""The face of one PSA Preset Editor node, by what it is called and not by how it looks."""

import copy

from .words import say


class Editor:
    """`scope` is where to look: the node's panel, or the large window."""

    def __init__(self, comfy, at=(100, 130), size=None, node=None, **widgets):
        self.comfy, self.page = comfy, comfy.page
        self.node = node or comfy.add("PSAPresetEditor", at, size, **widgets)
        self.scope = comfy.panel(self.node)
        self.scope.get_by_role("slider").first.wait_for()
        described = comfy.ask("GET", "fields")
        self.fields = {field["path"]: field for field in described["fields"]}
        self.groups = {group["id"]: group["label"] for group in described["groups"]}
        self.levels = {level["level"]: level for level in described["levels"]}

    # --- the pyramid

    def _level(self, level):
        return say("bar.knob", level=self.levels[level]["label"])

    def knob(self, level):
        return self.scope.get_by_role("slider", name=self._level(level), exact=True)

    def number(self, level):
        """The box beside the bar that holds where a level ends."""
        return self.scope.get_by_role("textbox", name=self._level(level), exact=True)

    def ends(self):
        """Level -> where it ends, as the bar shows it."""
        return {
            level: float(self.knob(level).get_attribute("aria-valuenow"))
            for level in self.levels
            if level
        }

    def pyramid(self):
        """The part with the bar and its numbers."""
        return self.scope.get_by_role("region", name=self.fields["mask_ratios"]["label"])

    def bar(self):
        """The stacked bar, which has the knobs beneath it."""
        return (
            self.pyramid().get_by_role("slider").first.locator("xpath=../preceding-sibling::*[1]")
        )

    # --- fields

    def open_section(self, path):
        """Unfold the section that holds a field, if it is folded."""
        label = self.groups[self.fields[path]["group"]]
        head = self.scope.get_by_role("button", name=label).first
        if head.get_attribute("aria-expanded") == "false":
            head.click()

    def fold_section(self, path):
        label = self.groups[self.fields[path]["group"]]
        self.scope.get_by_role("button", name=label).first.click()

    def row(self, path):
        """A field with its label, help and issues."""
        return self.scope.locator(f'[data-path="{path}"]')

    def field(self, path):
        """The control of a field, by its label."""
        return self.scope.get_by_label(self.fields[path]["label"], exact=True).first

    def choose(self, path, choice):
        self.open_section(path)
        self.field(path).select_option(label=say("field.none") if choice is None else str(choice))

    def switch(self, path):
        self.open_section(path)
        self.field(path).click()

    # --- the rest

    def estimate(self):
        return self.scope.get_by_role("group", name=say("estimate.title"))

    def wait_for_figures(self):
        """Until the estimate is of what the node holds now, and a node as high as that."""
        self.page.wait_for_function(
            """(id) => {
                const {psaEditor} = app.graph.nodes.find((n) => String(n.id) === id)
                const {answer, busy, next} = psaEditor.view.estimate
                return answer && !busy && !next && !psaEditor.state.unheld
            }""",
            arg=self.node,
        )
        self.comfy.wait_until_fitting(self.node)

    def choose_family(self, name):
        """The family that figures and step plan are for."""
        self.estimate().get_by_label(say("estimate.family")).select_option(name)

    def button(self, key, **values):
        return self.scope.get_by_role("button", name=say(key, **values), exact=True)

    def menu(self, key):
        """Choose from the menu behind the three dots."""
        self.button("view.more").click()
        self.page.get_by_role("menuitem", name=say(key), exact=True).click()

    @property
    def summary(self):
        """All problems at the top of the node."""
        return self.scope.get_by_role("status").first

    @property
    def yaml_view(self):
        return self.scope.get_by_role("region", name=say("yaml.title"))

    @property
    def yaml(self):
        """The text."""
        return self.scope.get_by_role("textbox", name=say("yaml.title"))

    def show_yaml(self):
        self.scope.get_by_role("button", name="YAML", exact=True).click()
        self.yaml.wait_for()

    def within(self, scope):
        """The same node's editor in another place."""
        other = copy.copy(self)
        other.scope = scope
        return other

    @property
    def unsaved(self):
        """The mark of changes that are stored nowhere."""
        return self.scope.get_by_role("img", name=say("source.edited"))

    def save_as(self, family, preset):
        self.menu("save.as")
        dialog = self.page.get_by_role("dialog", name=say("save.asTitle"))
        dialog.get_by_label(say("save.family")).select_option(family)
        dialog.get_by_label(say("save.name")).fill(preset)
        dialog.get_by_role("button", name=say("save.save"), exact=True).click()
        dialog.wait_for(state="detached")

    @property
    def source(self):
        """The button that names the preset and opens the manager."""
        return self.scope.get_by_title(say("source.choose"))

    def widgets(self):
        return self.comfy.widgets(self.node)

    def plain_values(self):
        """The widgets that say settings, as POST /psa/validate takes them."""
        values = self.widgets()
        values.pop("yaml_overrides", None)
        return values

    def wait_for(self, **widgets):
        """Until the node's plain widgets have these values."""
        self.comfy.wait_for_widgets(self.node, **widgets)
