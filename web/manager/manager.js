// The preset manager: all families and presets, searchable; look, use, copy, rename, delete, share.

import * as api from "../api.js";
import { description } from "../description.js";
import { ask, openDialog, toast } from "../dialog.js";
import { h, icon } from "../dom.js";
import { coloured } from "../editor/yaml_view.js";
import { t } from "../i18n.js";
import { library } from "../library.js";
import {
  acceptDrops,
  chooseFiles,
  exportToClipboard,
  exportToFile,
  importText,
} from "../transfer.js";
import { PresetList } from "./preset_list.js";
import { thumbnail } from "./thumbnail.js";

export class PresetManager {
  /**
   * current   {family, preset} to start at, or null
   * use       (stored) => a promise; true closes the manager
   * renamed   ({family, preset}, stored): a preset got another name
   */
  constructor({ current, use, useLabel, renamed = () => {} }) {
    this.selected = current;
    this.use = use;
    this.useLabel = useLabel;
    this.renamed = renamed;
  }

  async open() {
    const known = await this.#done(Promise.all([description(), library.listing()]));
    if (!known) return;
    this.range = known[0].range; // of a level's boundary
    this.list = new PresetList({
      selected: this.selected,
      range: this.range,
      select: (family, preset) => this.#select(family, preset),
      use: () => this.#use(),
      familyActions: (family) => this.#familyActions(family),
      removeBroken: (problem) => this.#removeBroken(problem),
    });
    this.detail = h("div", { class: "psa-manager-detail", "aria-live": "polite" });
    const choose = () => chooseFiles((text, name) => this.#import(text, name));
    const footer = [
      h("span", { class: "psa-hint" }, t("manager.drop")),
      h(
        "button",
        { type: "button", class: "psa-button", onclick: choose },
        icon("upload"),
        t("manager.import"),
      ),
    ];
    this.dialog = openDialog({
      title: t("manager.title"),
      body: h("div", { class: "psa-manager" }, this.list.element, this.detail),
      footer,
      className: "psa-dialog-wide",
    });
    acceptDrops(this.dialog.element, (text, name) => this.#import(text, name));
    this.dialog.element.addEventListener("paste", (event) => {
      if (event.target.closest("input, textarea")) return;
      const text = event.clipboardData.getData("text/plain");
      if (text.trim()) this.#import(text);
    });
    const change = () => {
      this.list.update();
      this.#show();
    };
    library.addEventListener("change", change);
    this.list.update();
    this.#show();
    this.list.search.focus();
    await this.dialog.closed;
    library.removeEventListener("change", change);
    this.list.close();
  }

  #familyActions(family) {
    return [
      {
        label: t("manager.exportFamily"),
        icon: "download",
        action: () => this.#done(exportToFile(family)),
      },
      {
        label: t("manager.copyFamily"),
        icon: "copy",
        action: () => this.#done(exportToClipboard(family)),
      },
    ];
  }

  async #removeBroken({ family, preset, what }) {
    const sure = await ask({
      title: t("delete.brokenTitle", { name: `${family}/${preset}` }),
      message: what,
      choices: [{ id: "delete", label: t("manager.delete"), primary: true, danger: true }],
    });
    if (sure) await this.#done(api.deletePreset(family, preset, null));
  }

  #select(family, preset, scroll = false) {
    this.selected = { family, preset };
    this.list.select(family, preset, scroll);
    this.#show();
  }

  #show() {
    this.showing = this.#showSelected();
  }

  /** Do something to the selected preset, which may have been selected only a moment ago. */
  async #act(action) {
    await this.showing;
    if (this.stored) await action(this.stored);
  }

  async #showSelected() {
    const { selected } = this;
    if (!selected || !library.info(selected.family, selected.preset)) {
      this.stored = null;
      this.#fill(h("p", { class: "psa-empty-list" }, t("manager.choose")));
      return;
    }
    let stored;
    try {
      stored = await library.preset(selected.family, selected.preset);
    } catch (error) {
      if (this.selected !== selected) return;
      this.stored = null;
      this.#fill(h("p", { class: "psa-issue" }, error.message));
      return;
    }
    if (this.selected !== selected || this.stored === stored) return;
    this.stored = stored;
    const own = stored.origin === "user";
    const picture = thumbnail(stored, this.range);
    const button = (name, iconName, action) =>
      h(
        "button",
        {
          type: "button",
          class: "psa-button",
          onclick: () => this.#act(action),
          "data-part": name,
        },
        icon(iconName),
        t(`manager.${name}`),
      );
    const { family, preset } = stored;
    const parts = [
      h("h3", {}, preset),
      h(
        "p",
        { class: "psa-detail-where" },
        icon(own ? "pencil" : "lock"),
        `${family} · ${t(own ? "manager.yoursLong" : "manager.shippedLong")}`,
      ),
      stored.config.description ? h("p", {}, stored.config.description) : null,
      picture && h("div", { class: "psa-detail-bar" }, picture),
      h(
        "pre",
        { class: "psa-detail-yaml", tabindex: "0", "aria-label": "YAML", "data-part": "yaml" },
        coloured(stored.yaml),
      ),
      h(
        "div",
        { class: "psa-detail-buttons" },
        h(
          "button",
          {
            type: "button",
            class: "psa-button psa-primary",
            onclick: () => this.#use(),
            "data-part": "use",
          },
          icon("check"),
          this.useLabel,
        ),
        button("duplicate", "copy", (it) => this.#duplicate(it)),
        own ? button("rename", "pencil", (it) => this.#rename(it)) : null,
        own ? button("delete", "trash", (it) => this.#delete(it)) : null,
        button("file", "download", (it) => this.#done(exportToFile(it.family, it.preset))),
        button("clipboard", "copy", (it) => this.#done(exportToClipboard(it.family, it.preset))),
      ),
    ];
    this.#fill(...parts.filter(Boolean));
  }

  /** Another detail; the keyboard stays where it was, or goes to what is nearest to it. */
  #fill(...parts) {
    const { activeElement } = document;
    const focused = this.detail.contains(activeElement) ? activeElement.dataset.part : null;
    this.detail.replaceChildren(...parts);
    if (!focused) return;
    const find = (part) => this.detail.querySelector(`[data-part="${part}"]`);
    (find(focused) ?? find("use") ?? this.list.search).focus({ preventScroll: true });
  }

  #use() {
    return this.#act(async (stored) => {
      if (await this.use(stored)) this.dialog.close();
    });
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
      label: t("load.undo"),
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
    this.#select(family, preset, true);
  }

  /** Await a request; a refusal is shown. */
  async #done(request) {
    try {
      return (await request) ?? true;
    } catch (error) {
      toast(error.message, { danger: true, seconds: 15 });
      return null;
    }
  }
}
