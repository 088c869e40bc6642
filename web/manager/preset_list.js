// The list of the preset manager: families and their presets, found by words, one of them chosen.

import { openMenu } from "../dialog.js";
import { h, icon, setChildren } from "../dom.js";
import { t } from "../i18n.js";
import { library } from "../library.js";
import { thumbnail } from "./thumbnail.js";

export class PresetList {
  #sections = new Map(); // family -> its section
  #buttons = new Map(); // what a line says, as JSON -> the line

  /**
   * select(family, preset), use()      what a click and a double click do
   * familyActions(name)                the entries of a family's menu
   * removeBroken(problem)              offered for a preset that cannot be read
   */
  constructor({ selected, range, select, use, familyActions, removeBroken }) {
    this.selected = selected;
    this.range = range;
    this.on = { select, use, familyActions, removeBroken };
    this.search = h("input", {
      type: "search",
      class: "psa-input",
      placeholder: t("manager.search"),
      "aria-label": t("manager.search"),
      oninput: () => this.update(),
    });
    this.items = h("div", { class: "psa-manager-items", onkeydown: (event) => this.#arrow(event) });
    this.problems = h("div", { class: "psa-manager-problems" });
    this.element = h(
      "div",
      { class: "psa-manager-list" },
      h("div", { class: "psa-search" }, icon("search"), this.search),
      this.items,
      this.problems,
    );
    this.seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        this.seen.unobserve(entry.target);
        this.#thumbnail(entry.target);
      }
    });
  }

  close() {
    this.seen.disconnect();
  }

  update() {
    const { families, problems } = library.known ?? { families: [], problems: [] };
    const wanted = this.search.value.trim().toLowerCase().split(/\s+/);
    const matches = (family, preset) => {
      const text = `${family.name} ${preset.name} ${preset.description}`.toLowerCase();
      return wanted.every((word) => text.includes(word));
    };
    const top = this.items.scrollTop;
    const focused = this.items.contains(document.activeElement)
      ? { ...document.activeElement.dataset }
      : null;
    const groups = families
      .map((family) => [family, family.presets.filter((preset) => matches(family, preset))])
      .filter(([, presets]) => presets.length);
    const buttons = new Map();
    const sections = groups.map(([family, presets]) => {
      const lines = presets.map((preset) => {
        const said = JSON.stringify([family.name, preset]); // its version too
        buttons.set(said, this.#buttons.get(said) ?? this.#item(family, preset));
        return buttons.get(said);
      });
      const section = this.#section(family);
      setChildren(section, [section.firstChild, ...lines]);
      return section;
    });
    this.#buttons = buttons;
    const nothing = t("manager.nothing", { text: this.search.value });
    setChildren(
      this.items,
      sections.length ? sections : [h("p", { class: "psa-empty-list" }, nothing)],
    );
    this.items.scrollTop = top;
    if (focused && !this.items.contains(document.activeElement))
      this.#focus(focused.family, focused.preset);
    this.problems.hidden = !problems.length;
    this.problems.replaceChildren(
      h("strong", {}, icon("warning"), t("manager.problems", { count: problems.length })),
      h(
        "ul",
        {},
        problems.map((problem) => h("li", {}, problem.message, this.#removeBroken(problem))),
      ),
    );
  }

  #arrow(event) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const all = [...this.items.querySelectorAll("button")];
    const next = all.indexOf(document.activeElement) + by;
    all[Math.min(all.length - 1, Math.max(0, next))]?.focus();
  }

  /** The keyboard stays where it was when that line is made anew. */
  #focus(family, preset) {
    const items = [...this.items.querySelectorAll(".psa-manager-item")];
    const item = items.find(
      ({ dataset }) => dataset.family === family && dataset.preset === preset,
    );
    (item ?? this.search).focus({ preventScroll: true });
  }

  select(family, preset, scroll = false) {
    this.selected = { family, preset };
    for (const item of this.items.querySelectorAll(".psa-manager-item")) {
      const on = item.dataset.family === family && item.dataset.preset === preset;
      if (on) item.setAttribute("aria-current", "true");
      else item.removeAttribute("aria-current");
      if (on && scroll) item.scrollIntoView({ block: "nearest" });
    }
  }

  #removeBroken(problem) {
    const { family, preset } = problem;
    if (!family || !preset || library.info(family, preset)) return null;
    return h(
      "button",
      { type: "button", class: "psa-link", onclick: () => this.on.removeBroken(problem) },
      ` ${t("manager.delete")}`,
    );
  }

  #section(family) {
    if (!this.#sections.has(family.name))
      this.#sections.set(
        family.name,
        h(
          "section",
          { class: "psa-manager-family", "aria-label": family.name },
          h("h3", {}, h("span", {}, family.name), this.#familyMenu(family)),
        ),
      );
    return this.#sections.get(family.name);
  }

  #familyMenu({ name }) {
    const button = h(
      "button",
      {
        type: "button",
        class: "psa-icon-button",
        "aria-label": t("manager.familyMenu", { family: name }),
        "aria-haspopup": "menu",
        onclick: () => openMenu(button, this.on.familyActions(name)),
      },
      icon("more"),
    );
    return button;
  }

  #item(family, preset) {
    const chosen = this.selected?.family === family.name && this.selected.preset === preset.name;
    const button = h(
      "button",
      {
        type: "button",
        class: "psa-manager-item",
        "aria-current": chosen ? "true" : null,
        "data-family": family.name,
        "data-preset": preset.name,
        onclick: () => this.on.select(family.name, preset.name),
        ondblclick: () => this.on.use(),
      },
      h(
        "span",
        { class: "psa-item-line" },
        h("b", {}, preset.name),
        preset.is_default ? h("span", { class: "psa-tag" }, t("manager.default")) : null,
        preset.origin === "user"
          ? h("span", { class: "psa-tag psa-tag-own" }, t("manager.yours"))
          : null,
      ),
      preset.type === "psa"
        ? h("span", { class: "psa-item-bar", "data-by-step": preset.by_step })
        : null,
      preset.description ? h("span", { class: "psa-item-text" }, preset.description) : null,
    );
    if (preset.type === "psa") this.seen.observe(button);
    return button;
  }

  async #thumbnail(button) {
    const { family, preset } = button.dataset;
    const stored = await library.preset(family, preset).catch(() => null);
    const picture = stored && thumbnail(stored, this.range);
    if (picture) button.querySelector(".psa-item-bar").replaceChildren(picture);
  }
}
