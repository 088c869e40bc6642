// The preset manager: all families and presets, searchable; look, use, copy, rename, delete, share.

import * as api from "./api.js";
import { ask, openDialog, openMenu, toast } from "./dialog.js";
import { h, icon } from "./dom.js";
import { coloured } from "./editor/yaml_view.js";
import { boundsOf, levelNames } from "./editor/pyramid_section.js";
import { miniBar } from "./editor/pyramid_bar.js";
import { t } from "./i18n.js";
import { library } from "./library.js";
import { acceptDrops, chooseFiles, exportToClipboard, exportToFile, importText } from "./transfer.js";

export class PresetManager {
  /**
   * current   {family, preset} to start at, or null
   * use       (stored) => a promise; true closes the manager
   * renamed   ({family, preset}, stored): a preset got another name
   * range     {low, high} of a level's boundary
   */
  constructor({ current, use, useLabel, renamed = () => {}, range }) {
    this.selected = current;
    this.use = use;
    this.useLabel = useLabel;
    this.renamed = renamed;
    this.range = range;
  }

  async open() {
    await library.listing();
    this.search = h("input", { type: "search", class: "psa-input", placeholder: t("manager.search"), "aria-label": t("manager.search"), oninput: () => this.#list() });
    this.items = h("div", { class: "psa-manager-items" });
    this.detail = h("div", { class: "psa-manager-detail", "aria-live": "polite" });
    this.problems = h("div", { class: "psa-manager-problems" });
    const body = h("div", { class: "psa-manager" },
      h("div", { class: "psa-manager-list" }, h("div", { class: "psa-search" }, icon("search"), this.search), this.items, this.problems),
      this.detail);
    const footer = [
      h("span", { class: "psa-hint" }, t("manager.drop")),
      h("button", { type: "button", class: "psa-button", onclick: () => chooseFiles((text, name) => this.#import(text, name)) }, icon("upload"), t("manager.import")),
    ];
    this.dialog = openDialog({ title: t("manager.title"), body, footer, className: "psa-dialog-wide" });
    this.seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        this.seen.unobserve(entry.target);
        this.#thumbnail(entry.target);
      }
    });
    acceptDrops(this.dialog.element, (text, name) => this.#import(text, name));
    this.dialog.element.addEventListener("paste", (event) => {
      if (event.target.closest("input, textarea")) return;
      const text = event.clipboardData.getData("text/plain");
      if (text.trim()) this.#import(text);
    });
    this.items.addEventListener("keydown", (event) => {
      const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      const all = [...this.items.querySelectorAll("button")];
      all[Math.min(all.length - 1, Math.max(0, all.indexOf(document.activeElement) + by))]?.focus();
    });
    const change = () => this.#list();
    library.addEventListener("change", change);
    this.#list();
    this.#show();
    this.search.focus();
    await this.dialog.closed;
    library.removeEventListener("change", change);
    this.seen.disconnect();
  }

  #list() {
    const { families, problems } = library.known ?? { families: [], problems: [] };
    const wanted = this.search.value.trim().toLowerCase().split(/\s+/);
    const matches = (family, preset) => {
      const text = `${family.name} ${preset.name} ${preset.description}`.toLowerCase();
      return wanted.every((word) => text.includes(word));
    };
    const top = this.items.scrollTop;
    const focused = this.items.contains(document.activeElement) ? { ...document.activeElement.dataset } : null;
    const groups = families
      .map((family) => [family, family.presets.filter((preset) => matches(family, preset))])
      .filter(([, presets]) => presets.length);
    this.items.replaceChildren(
      ...groups.map(([family, presets]) =>
        h("section", { class: "psa-manager-family", "aria-label": family.name },
          h("h3", {}, h("span", {}, family.name), this.#familyMenu(family)),
          presets.map((preset) => this.#item(family, preset)))),
    );
    if (!groups.length) this.items.append(h("p", { class: "psa-empty-list" }, t("manager.nothing", { text: this.search.value })));
    this.items.scrollTop = top;
    if (focused) this.#focus(focused.family, focused.preset);
    this.problems.hidden = !problems.length;
    this.problems.replaceChildren(
      h("strong", {}, icon("warning"), t("manager.problems", { count: problems.length })),
      h("ul", {}, problems.map((problem) => h("li", {}, problem.message, this.#removeBroken(problem)))),
    );
  }

  /** The keyboard stays where it was when the list is made anew. */
  #focus(family, preset) {
    const items = [...this.items.querySelectorAll(".psa-manager-item")];
    const item = items.find(({ dataset }) => dataset.family === family && dataset.preset === preset);
    (item ?? this.search).focus({ preventScroll: true });
  }

  #removeBroken({ family, preset, what }) {
    if (!family || !preset || library.info(family, preset)) return null;
    return h("button", {
      type: "button", class: "psa-link",
      onclick: async () => {
        const sure = await ask({
          title: t("delete.brokenTitle", { name: `${family}/${preset}` }), message: what,
          choices: [{ id: "delete", label: t("manager.delete"), primary: true, danger: true }],
        });
        if (sure) await this.#done(api.deletePreset(family, preset, null));
      },
    }, ` ${t("manager.delete")}`);
  }

  #familyMenu(family) {
    const button = h("button", {
      type: "button", class: "psa-icon-button", "aria-label": t("manager.familyMenu", { family: family.name }), "aria-haspopup": "menu",
      onclick: () => openMenu(button, [
        { label: t("manager.exportFamily"), icon: "download", action: () => this.#done(exportToFile(family.name)) },
        { label: t("manager.copyFamily"), icon: "copy", action: () => this.#done(exportToClipboard(family.name)) },
      ]),
    }, icon("more"));
    return button;
  }

  #item(family, preset) {
    const chosen = this.selected?.family === family.name && this.selected.preset === preset.name;
    const button = h("button", {
      type: "button", class: "psa-manager-item", "aria-current": chosen ? "true" : null,
      "data-family": family.name, "data-preset": preset.name,
      onclick: () => this.#select(family.name, preset.name),
      ondblclick: () => this.#use(),
    },
    h("span", { class: "psa-item-line" }, h("b", {}, preset.name),
      preset.is_default ? h("span", { class: "psa-tag" }, t("manager.default")) : null,
      preset.origin === "user" ? h("span", { class: "psa-tag psa-tag-own" }, t("manager.yours")) : null),
    preset.type === "psa" ? h("span", { class: "psa-item-bar" }) : null,
    preset.description ? h("span", { class: "psa-item-text" }, preset.description) : null);
    if (preset.type === "psa") this.seen.observe(button);
    return button;
  }

  async #thumbnail(button) {
    const { family, preset } = button.dataset;
    const stored = await library.preset(family, preset).catch(() => null);
    if (stored?.pyramid) {
      button.querySelector(".psa-item-bar").replaceChildren(thumbnail(stored, this.range));
    }
  }

  #select(family, preset) {
    this.selected = { family, preset };
    for (const item of this.items.querySelectorAll(".psa-manager-item")) {
      const on = item.dataset.family === family && item.dataset.preset === preset;
      if (on) item.setAttribute("aria-current", "true");
      else item.removeAttribute("aria-current");
    }
    this.#show();
  }

  async #show() {
    const { selected } = this;
    if (!selected || !library.info(selected.family, selected.preset)) {
      this.stored = null;
      this.detail.replaceChildren(h("p", { class: "psa-empty-list" }, t("manager.choose")));
      return;
    }
    let stored;
    try {
      stored = await library.preset(selected.family, selected.preset);
    } catch (error) {
      this.detail.replaceChildren(h("p", { class: "psa-issue" }, error.message));
      return;
    }
    if (this.selected !== selected) return;
    this.stored = stored;
    const own = stored.origin === "user";
    const button = (name, iconName, action, extra = {}) =>
      h("button", { type: "button", class: "psa-button", onclick: action, ...extra }, icon(iconName), t(`manager.${name}`));
    const { family, preset } = stored;
    const parts = [
      h("h3", {}, preset),
      h("p", { class: "psa-detail-where" }, icon(own ? "pencil" : "lock"), `${family} · ${t(own ? "manager.yoursLong" : "manager.shippedLong")}`),
      stored.config.description ? h("p", { class: "psa-detail-text" }, stored.config.description) : null,
      stored.config.type === "psa" && stored.pyramid ? h("div", { class: "psa-detail-bar" }, thumbnail(stored, this.range)) : null,
      h("pre", { class: "psa-detail-yaml", tabindex: "0", "aria-label": "YAML" }, coloured(stored.yaml)),
      h("div", { class: "psa-detail-buttons" },
        h("button", { type: "button", class: "psa-button psa-primary", onclick: () => this.#use() }, icon("check"), this.useLabel),
        button("duplicate", "copy", () => this.#duplicate(stored)),
        own ? button("rename", "pencil", () => this.#rename(stored)) : null,
        own ? button("delete", "trash", () => this.#delete(stored)) : null,
        button("file", "download", () => this.#done(exportToFile(family, preset))),
        button("clipboard", "copy", () => this.#done(exportToClipboard(family, preset)))),
    ];
    this.detail.replaceChildren(...parts.filter(Boolean));
  }

  async #use() {
    if (this.stored && (await this.use(this.stored))) this.dialog.close();
  }

  async #duplicate({ family, preset }) {
    const families = library.known.families.map((f) => f.name);
    await ask({
      title: t("manager.duplicateTitle", { name: preset }),
      fields: [
        { name: "family", label: t("save.family"), value: family, options: families },
        { name: "to", label: t("save.name"), value: `${preset} copy` },
      ],
      choices: [{ id: "save", label: t("manager.duplicate"), primary: true }],
      check: async (_choice, values) => {
        const stored = await api.duplicatePreset(family, preset, values.to, values.family);
        await this.#changed(stored);
        return null;
      },
    });
  }

  async #rename({ family, preset, version }) {
    await ask({
      title: t("manager.renameTitle", { name: preset }),
      fields: [{ name: "to", label: t("save.name"), value: preset }],
      choices: [{ id: "save", label: t("manager.rename"), primary: true }],
      check: async (_choice, { to }) => {
        const stored = await api.renamePreset(family, preset, to, version);
        await this.#changed(stored);
        this.renamed({ family, preset }, stored);
        return null;
      },
    });
  }

  async #delete({ family, preset, version }) {
    const answer = await this.#done(api.deletePreset(family, preset, version));
    if (!answer) return;
    await library.refresh();
    this.#show();
    toast(t("delete.done", { name: `${family}/${preset}` }), {
      label: t("load.undo"), seconds: 20,
      action: async () => {
        await this.#done(api.send(answer.undo));
        await library.refresh();
        if (this.dialog.element.isConnected) this.#select(family, preset);
      },
    });
  }

  async #import(text, fileName) {
    const answer = await importText(text, fileName);
    const first = answer?.saved[0] ?? answer?.skipped[0];
    if (first) await this.#changed(first);
  }

  async #changed({ family, preset }) {
    await library.refresh();
    this.#list();
    this.#select(family, preset);
    this.items.querySelector('[aria-current="true"]')?.scrollIntoView({ block: "nearest" });
  }

  /** Await a request; what it is refused for is shown. */
  async #done(request) {
    try {
      return (await request) ?? true;
    } catch (error) {
      toast(error.message, { danger: true, seconds: 15 });
      return null;
    }
  }
}

/** A preset's pyramid as a small picture. */
export function thumbnail(stored, range) {
  const levels = levelNames(stored.pyramid.map(({ level }) => ({ level, label: "" })), stored.pyramid);
  return miniBar(levels, boundsOf(stored.pyramid), range);
}
