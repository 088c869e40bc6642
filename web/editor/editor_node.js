// PSA Preset Editor: the node's widgets, what is linked to it, and its panel, put together.

import * as api from "../api.js";
import { openDialog, toast } from "../dialog.js";
import { description } from "../description.js";
import { h } from "../dom.js";
import { isLinked, source, videoOf, widgetValue } from "../graph.js";
import { t } from "../i18n.js";
import { library } from "../library.js";
import { PresetManager } from "../manager.js";
import { hideWidgets, mountPanel } from "../node_panel.js";
import { acceptDrops, chooseFiles, importText } from "../transfer.js";
import { Identity } from "./identity.js";
import { Saving } from "./saving.js";
import { EditorState } from "./state.js";
import { EditorView } from "./view.js";

export const EDITOR = "PSAPresetEditor";
export const LOADER = "PSAPresetLoader";
const OVERRIDES = "yaml_overrides";
const BASE = "base";
const WIDTH = 460;
const WIDE = 860;
/** What the estimate is for as long as neither the graph nor the user says. */
const USUAL_VIDEO = { width: 832, height: 480, frames: 81 };

/** A stored preset that a node gives, or null. */
export function storedOf(node) {
  if (node?.comfyClass !== LOADER) return null;
  const family = widgetValue(node, "family");
  const preset = widgetValue(node, "preset");
  return family && preset ? { family, preset } : null;
}

/** The form of "a preset in a request" for whatever PSA node gives it; null if none can be told. */
export async function requestOf(node) {
  const stored = storedOf(node);
  if (stored) return { preset: stored };
  if (node?.comfyClass !== EDITOR) return null;
  const editor = node.psaEditor;
  if (!editor) return null;
  await editor.state.flush();
  return editor.state.answer?.config ? { config: editor.state.answer.config } : null;
}

export class EditorNode {
  constructor(app, node) {
    this.app = app;
    this.node = node;
    this.plain = node.widgets.filter((widget) => widget.name !== undefined);
    this.body = h("div", { class: "psa-loading" }, t("view.loading"));
    this.frame = h("div", {}, this.body);
    this.state = new EditorState({
      read: () => this.#read(),
      write: (values, settled) => this.#write(values, settled),
      base: () => this.#base(),
      keepText: (yaml) => this.#keepText(yaml),
    });
    this.identity = new Identity(node, this.state);
    this.#showPlain(Boolean(node.properties.psa_plain));
    this.panel = mountPanel(node, "psa_editor", this.frame, { minWidth: WIDTH });
    acceptDrops(this.panel.root, (text, name) => this.#dropped(text, name));
    this.state.addEventListener("answer", () => this.#mark());
    library.addEventListener("change", () => this.identity.look());
    this.ready = this.#start();
  }

  async #start() {
    try {
      this.description = await description();
    } catch (error) {
      this.body.textContent = t("issue.server", { message: error.message });
      return;
    }
    this.identity.fresh = this.description.fresh;
    const first = this.description.levels[0].widget;
    const [, declared] = this.node.constructor.nodeData.input.optional[first];
    this.range = { low: declared.min, high: declared.max, step: declared.step };
    this.video = { now: () => this.#video(), choose: (part) => this.#chooseVideo(part) };
    this.saving = new Saving({
      state: this.state, identity: this.identity, fields: this.description.fields,
      family: () => this.#video().family,
      load: async (stored) => {
        await this.state.load(await this.#nodeFor(stored));
        this.identity.adopt(stored);
        this.#changed();
      },
    });
    this.actions = {
      choose: () => this.openManager(),
      expand: () => this.openLarge(),
      menu: () => this.#menu(),
      fold: () => this.#fold(),
      widen: () => {
        if (this.node.size[0] < WIDE) this.node.setSize([WIDE, this.node.size[1]]);
      },
    };
    await library.listing().catch(() => {});
    await this.refresh();
    this.view = new EditorView(this);
    this.frame.replaceChildren(this.view.element);
  }

  /** Look at the node anew, as after loading a workflow. */
  async refresh() {
    this.#showPlain(Boolean(this.node.properties.psa_plain));
    const kept = this.node.properties.psa_yaml_draft;
    if (kept && !this.state.text) this.state.type(kept);
    await Promise.all([this.identity.look(), this.state.refresh()]);
    this.view?.showYaml(Boolean(this.node.properties.psa_yaml));
  }

  /** Something in the graph changed; cheap if it was nothing of this node's. */
  look() {
    const linked = this.plain.filter((widget) => isLinked(this.node, widget.name)).length;
    if (linked !== this.seenLinks) {
      this.seenLinks = linked;
      this.#showPlain(Boolean(this.node.properties.psa_plain));
      this.panel.fit();
    }
    const node = isLinked(this.node, BASE) ? source(this.node, BASE) : null;
    const base = JSON.stringify([node?.id ?? null, storedOf(node)]);
    if (base !== this.seenBase) this.state.refresh();
    else this.state.look();
    this.seenBase = base;
    this.view?.estimate.update();
  }

  #read() {
    const widgets = {};
    let overrides = "";
    for (const widget of this.plain) {
      if (isLinked(this.node, widget.name)) continue;
      if (widget.name === OVERRIDES) overrides = widget.value ?? "";
      else widgets[widget.name] = widget.value;
    }
    const linked = this.plain.map((widget) => widget.name).filter((name) => isLinked(this.node, name));
    this.state && (this.state.linkedFields = this.#fieldsOf(linked));
    return { widgets, yaml_overrides: overrides };
  }

  #fieldsOf(names) {
    const fields = this.description?.fields ?? [];
    return new Set(fields.filter((field) => field.widgets.some((name) => names.includes(name))).map((field) => field.path));
  }

  #write({ widgets, yaml_overrides: overrides }, settled) {
    for (const widget of this.plain) {
      const value = widget.name === OVERRIDES ? overrides : widgets[widget.name];
      if (value !== undefined && widget.value !== value) widget.value = value;
    }
    if (settled) this.#changed();
    else this.node.graph?.setDirtyCanvas(true, true);
  }

  /** The workflow changed: it is to be saved, and the change can be undone. */
  #changed() {
    this.node.graph?.setDirtyCanvas(true, true);
    this.app.extensionManager?.workflow?.activeWorkflow?.changeTracker?.checkState?.();
  }

  /** What is linked to the input base: {request, label, family}; `request` is null if unknown. */
  async #base() {
    if (!isLinked(this.node, BASE)) return this.#follow(null);
    const node = source(this.node, BASE);
    const stored = storedOf(node);
    const editor = node?.comfyClass === EDITOR ? node.psaEditor : null;
    this.#follow(editor);
    if (stored) return { request: stored, label: `${stored.family}/${stored.preset}`, family: stored.family };
    const given = editor ? await requestOf(node) : null;
    return { request: given, label: node?.title ?? "", family: editor?.video?.now().family };
  }

  /** Look again when the editor that is linked to base has an answer. */
  #follow(editor) {
    if (this.followed !== editor) {
      this.followed = editor;
      const ask = () => {
        if (this.followed === editor) this.state.refresh();
        else editor.state.removeEventListener("answer", ask);
      };
      editor?.state.addEventListener("answer", ask);
    }
    return null;
  }

  async #nodeFor({ family, preset, node }) {
    const base = await this.#base();
    if (!base?.request) return node;
    return (await api.validate({ preset: { family, preset }, base: base.request })).node;
  }

  /** Take everything over from the base, so that the link can go. */
  async #fold() {
    await this.state.flush();
    const answer = await api.validate({ config: this.state.answer.config });
    if (!answer.node) return;
    const slot = this.node.inputs.findIndex((input) => input.name === BASE);
    this.node.disconnectInput(slot);
    await this.state.load(answer.node);
  }

  #keepText(yaml) {
    if (yaml === null) delete this.node.properties.psa_yaml_draft;
    else this.node.properties.psa_yaml_draft = yaml;
  }

  #mark() {
    if (Boolean(this.node.has_errors) === this.state.broken) return;
    this.node.has_errors = this.state.broken;
    this.node.graph?.setDirtyCanvas(true, true);
  }

  #video() {
    const typed = this.node.properties.psa_video ?? {};
    const graph = videoOf(this.node.graph);
    const family = typed.family ?? this.identity.named?.family ?? this.state.linked?.family ?? library.known?.families[0]?.name;
    const { width, height, frames } = { ...USUAL_VIDEO, ...graph, ...typed };
    return { family, width, height, frames, graph: Boolean(graph), typed: Object.keys(typed).some((name) => name !== "family"), from: graph?.title ?? null };
  }

  #chooseVideo(part) {
    const { properties } = this.node;
    if (part === null) {
      const { family } = properties.psa_video ?? {};
      if (family) properties.psa_video = { family };
      else delete properties.psa_video;
    } else properties.psa_video = { ...properties.psa_video, ...part };
    this.#changed();
  }

  #menu() {
    const { identity, saving } = this;
    const plain = Boolean(this.node.properties.psa_plain);
    return [
      { label: t("menu.manage"), icon: "search", action: () => this.openManager() },
      { label: t("save.as"), icon: "plus", action: () => saving.saveAs() },
      { label: t("menu.reset"), icon: "undo", disabled: !identity.stored || !identity.edited, action: () => saving.reset() },
      null,
      { label: t("menu.import"), icon: "upload", action: () => chooseFiles((text, name) => this.#dropped(text, name)) },
      { label: t("menu.export"), icon: "download", disabled: !this.state.answer?.yaml, action: () => this.#export() },
      { label: t("yaml.copy"), icon: "copy", disabled: !this.state.answer?.yaml, action: () => this.#copy() },
      null,
      { label: t(plain ? "menu.hidePlain" : "menu.showPlain"), icon: "link", title: t("menu.plainHelp"), action: () => this.#togglePlain() },
    ];
  }

  #export() {
    const url = URL.createObjectURL(new Blob([this.state.answer.yaml], { type: "application/yaml" }));
    h("a", { href: url, download: `${this.identity.named?.preset ?? "preset"}.yaml` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  async #copy() {
    await navigator.clipboard.writeText(this.state.answer.yaml);
    toast(t("yaml.copied"), { seconds: 3 });
  }

  #togglePlain() {
    const { properties } = this.node;
    if (properties.psa_plain) delete properties.psa_plain;
    else properties.psa_plain = true;
    this.#showPlain(Boolean(properties.psa_plain));
    this.panel.fit();
    this.#changed();
  }

  /** Plain widgets show on demand; one that another node supplies always does, with its socket. */
  #showPlain(shown) {
    const hidden = this.plain.filter((widget) => !shown && !isLinked(this.node, widget.name));
    hideWidgets(this.node, hidden, true);
    hideWidgets(this.node, this.plain.filter((widget) => !hidden.includes(widget)), false);
  }

  /** A dropped text: one preset goes into this node, families go to the presets. */
  async #dropped(text, name) {
    const answer = await api.validate({ yaml: text }).catch(() => null);
    if (!answer?.ok) return importText(text, name);
    if (!(await this.saving.mayReplace())) return null;
    this.identity.forget();
    return this.state.load(answer.node);
  }

  openManager() {
    const { named } = this.identity;
    new PresetManager({
      current: named, useLabel: t("manager.load"), range: this.range,
      use: (stored) => this.saving.replaceWith(stored),
      renamed: (was, stored) => {
        if (named?.family === was.family && named.preset === was.preset) this.identity.adopt(stored);
      },
    }).open();
  }

  async openLarge() {
    const view = new EditorView(this, { large: true });
    const dialog = openDialog({ title: t("view.largeTitle"), body: view.element, className: "psa-dialog-editor" });
    await dialog.closed;
    view.close();
  }
}
