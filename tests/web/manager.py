"""The window of all presets, by what it is called."""

from .words import say


class Manager:
    def __init__(self, comfy):
        self.comfy, self.page = comfy, comfy.page
        self.dialog = comfy.page.get_by_role("dialog", name=say("manager.title"), exact=True)
        self.dialog.wait_for()

    @classmethod
    def of_loader(cls, comfy, node):
        comfy.panel(node).get_by_role("button", name=say("loader.browse")).click()
        return cls(comfy)

    @classmethod
    def of_editor(cls, editor):
        editor.source.click()
        return cls(editor.comfy)

    def search(self, text):
        self.dialog.get_by_role("searchbox", name=say("manager.search")).fill(text)

    def family(self, name):
        return self.dialog.get_by_role("region", name=name, exact=True)

    def item(self, family, preset):
        """A preset's line in the list: its name is how it begins."""
        return self.family(family).locator(f'button[data-preset="{preset}"]')

    def names(self, family):
        items = self.family(family).locator("button[data-preset]")
        return [item.get_attribute("data-preset") for item in items.all()]

    def press(self, key, **values):
        self.dialog.get_by_role("button", name=say(key, **values), exact=True).click()

    def choose(self, family, preset):
        self.item(family, preset).click()
        self.dialog.get_by_role("heading", name=preset, exact=True).wait_for()

    def use(self):
        load, use = say("manager.load"), say("manager.use")
        button = self.dialog.get_by_role("button", name=load, exact=True)
        button.or_(self.dialog.get_by_role("button", name=use, exact=True)).click()

    def close(self):
        self.page.keyboard.press("Escape")
        self.dialog.wait_for(state="detached")


def load(editor, family, preset):
    """Put a stored preset into an editor without changes."""
    manager = Manager.of_editor(editor)
    manager.choose(family, preset)
    manager.use()
    manager.dialog.wait_for(state="detached")
    editor.source.get_by_text(f"{family} / {preset}").wait_for()
