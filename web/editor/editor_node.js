// PSA Preset Editor: the node's widgets, what is linked to it, and its panel, put together.

import * as api from "../api.js";
import { openDialog, toast } from "../dialog.js";
import { description } from "../description.js";
import { h } from "../dom.js";
import { t } from "../i18n.js";
import { library } from "../library.js";
import { PresetManager } from "../manager/manager.js";
import { mountPanel } from "../node_panel.js";
import { acceptDrops, chooseFiles, importText, saveFile } from "../transfer.js";
import { Base } from "./given.js";
import { Identity } from "./identity.js";
import { PlainWidgets } from "./plain_widgets.js";
import { Saving } from "./saving.js";
import { EditorState } from "./state.js";
import { Video } from "./video.js";
import { EditorView } from "./view.js";

const BASE = "base";
const DRAFT = "psa_yaml_draft"; // the property that holds YAML which cannot be applied yet
const WIDTH = 460; // px of a new node
const WIDE = 860; // px of one that shows the YAML as well

export class EditorNode {
  constructor(app, node) {
    this.app = app;
    this.node = node;
    this.body = h("div", { class: "psa-loading" }, t("view.loading"));
    this.frame = h("div", {}, this.body);
    this.plain = new PlainWidgets(node);
    this.base = new Base(node, BASE, () => this.state.refresh());
    this.state = new EditorState({
      read: () => this.plain.read(),
      write: (values, settled) => this.#write(values, settled),
      base: () => this.base.ask(),
      keepText: (yaml) => this.#keepText(yaml),
    });
    this.identity = new Identity(node, this.state);
    this.video = new Video(
      node,
      () =>
        this.identity.named?.family ??
        this.state.linked?.family ??
        library.known?.families[0]?.name,
      () => this.changed(),
    );
    this.plain.arrange();
    this.panel = mountPanel(node, "psa_editor", this.frame, { minWidth: WIDTH });
    acceptDrops(this.panel.root, (text, name) => this.#take(text, name));
    this.stop = new AbortController();
    const { signal } = this.stop;
    this.state.addEventListener("answer", () => this.#mark(), { signal });
    library.addEventListener("change", () => this.identity.look(), { signal });
    this.ready = this.#start();
  }

  async #start() {
    try {
      this.description = await description();
    } catch (error) {
      this.body.textContent = t("issue.server", { message: error.message });
      return;
    }
    const { fresh, fields } = this.description;
    this.identity.fresh = fresh;
    this.saving = new Saving({
      state: this.state,
      identity: this.identity,
      fields,
      family: () => this.video.now().family,
      load: (stored) => this.#load(stored),
    });
    await library.listing().catch(() => {});
    if (this.stop.signal.aborted) return;
    await this.refresh();
    if (this.stop.signal.aborted) return;
    this.view = new EditorView(this);
    this.frame.replaceChildren(this.view.element);
  }

  /** The node left the graph. */
  close() {
    this.stop.abort();
    this.base.follower.follow(null);
    this.state.close();
    this.view?.close();
    this.large?.close();
  }

  /** Look at the node anew, as after loading a workflow. */
  async refresh() {
    this.#arrange();
    const kept = this.node.properties[DRAFT];
    if (kept && !this.state.text) this.state.type(kept);
    this.seenBase = this.base.signature();
    await Promise.all([this.identity.look(), this.state.refresh()]);
    this.view?.showYaml(Boolean(this.node.properties.psa_yaml));
  }

  /** Something in the graph changed; cheap if it was nothing of this node's. */
  look() {
    if (this.plain.linked.join() !== this.seenLinks) this.#arrange();
    const base = this.base.signature();
    if (base !== this.seenBase) this.state.refresh();
    else this.state.look();
    this.seenBase = base;
    this.view?.estimate.update();
  }

  /** The workflow changed: it is to be saved, and the change can be undone. */
  changed() {
    this.node.graph?.setDirtyCanvas(true, true);
    this.app.extensionManager?.workflow?.activeWorkflow?.changeTracker?.checkState?.();
  }

  widen() {
    if (this.node.size[0] < WIDE) this.node.setSize([WIDE, this.node.size[1]]);
  }

  /** Take everything over from the base, so that the link can go. */
  async fold() {
    await this.state.flush();
    const config = this.state.answer?.config;
    if (!config || this.state.unheld) return; // it shows what is wrong; nothing typed is lost
    const answer = await api.validate({ config });
    if (!answer.node) return;
    this.node.disconnectInput(this.node.inputs.findIndex((input) => input.name === BASE));
    await this.state.load(answer.node);
  }

  openManager() {
    const { named } = this.identity;
    new PresetManager({
      current: named,
      useLabel: t("manager.load"),
      use: (stored) => this.saving.replaceWith(stored),
      renamed: (was, stored) => {
        const now = this.identity.named; // it may be renamed twice
        if (now?.family === was.family && now.preset === was.preset) this.identity.adopt(stored);
      },
    }).open();
  }

  async openLarge() {
    const view = new EditorView(this, { large: true });
    const title = t("view.largeTitle");
    this.large = openDialog({ title, body: view.element, className: "psa-dialog-editor" });
    await this.large.closed;
    this.large = null;
    view.close();
  }

  menu() {
    const { identity, saving } = this;
    const yaml = this.state.answer?.yaml;
    const item = (key, icon, action, more) => ({ label: t(key), icon, action, ...more });
    const take = (text, name) => this.#take(text, name);
    return [
      item("menu.manage", "search", () => this.openManager()),
      item("save.as", "plus", () => saving.saveAs()),
      item("menu.reset", "undo", () => saving.reset(), {
        disabled: !identity.stored || !identity.edited,
      }),
      null,
      item("menu.import", "upload", () => chooseFiles(take)),
      item("menu.export", "download", () => this.#export(yaml), { disabled: !yaml }),
      item("yaml.copy", "copy", () => this.#copy(yaml), { disabled: !yaml }),
      null,
      item(
        this.plain.shown ? "menu.hidePlain" : "menu.showPlain",
        "link",
        () => this.#togglePlain(),
        {
          title: t("menu.plainHelp"),
        },
      ),
    ];
  }

  #export(yaml) {
    saveFile(yaml, `${this.identity.named?.preset ?? "preset"}.yaml`);
  }

  async #copy(yaml) {
    await navigator.clipboard.writeText(yaml);
    toast(t("yaml.copied"));
  }

  #togglePlain() {
    this.plain.shown = !this.plain.shown;
    this.panel.fit();
    this.changed();
  }

  #arrange() {
    const { linked } = this.plain;
    this.seenLinks = linked.join();
    const supplied = (field) => field.widgets.some((name) => linked.includes(name));
    const fields = this.description?.fields.filter(supplied) ?? [];
    this.state.linkedFields = new Set(fields.map((field) => field.path));
    this.plain.arrange();
    this.panel.fit();
  }

  #write(values, settled) {
    this.plain.write(values);
    if (settled) this.changed();
    else this.node.graph?.setDirtyCanvas(true, true);
  }

  async #load(stored) {
    const base = await this.base.ask();
    const { family, preset } = stored;
    const fitting = base?.request
      ? (await api.validate({ preset: { family, preset }, base: base.request })).node
      : stored.node;
    await this.state.load(fitting);
    this.identity.adopt(stored);
    this.video.forgetFamily();
  }

  #keepText(yaml) {
    if (yaml === null) delete this.node.properties[DRAFT];
    else this.node.properties[DRAFT] = yaml;
  }

  #mark() {
    if (Boolean(this.node.has_errors) === this.state.broken) return;
    this.node.has_errors = this.state.broken;
    this.node.graph?.setDirtyCanvas(true, true);
  }

  /** A text from a file: one preset goes into this node, families go to the presets. */
  async #take(text, name) {
    const base = (await this.base.ask())?.request ?? null;
    const answer = await api.validate({ yaml: text, base }).catch(() => null);
    if (!answer?.ok) return importText(text, name);
    if (!(await this.saving.mayReplace())) return null;
    this.identity.forget();
    return this.state.load(answer.node);
  }
}
