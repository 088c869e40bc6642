// PSA Preset Loader: the chosen preset at a glance, and the manager to choose from.

import { description } from "../description.js";
import { h, icon, setText } from "../dom.js";
import { t } from "../i18n.js";
import { library } from "../library.js";
import { PresetManager } from "../manager/manager.js";
import { thumbnail } from "../manager/thumbnail.js";
import { mountPanel } from "../node_panel.js";

const WIDTH = 300;

export class LoaderNode {
  constructor(app, node) {
    this.app = app;
    this.node = node;
    this.family = node.widgets.find((widget) => widget.name === "family");
    this.preset = node.widgets.find((widget) => widget.name === "preset");
    this.picture = h("div", { class: "psa-loader-bar" });
    this.text = h("p", { class: "psa-loader-text" });
    this.name = h("span");
    const browse = h(
      "button",
      { type: "button", class: "psa-button", onclick: () => this.openManager() },
      icon("search"),
      t("loader.browse"),
    );
    this.panel = mountPanel(
      node,
      "psa_loader",
      h(
        "div",
        { class: "psa-loader" },
        h("div", { class: "psa-loader-head" }, this.name, browse),
        this.picture,
        this.text,
      ),
      { minWidth: WIDTH },
    );
    for (const widget of [this.family, this.preset]) {
      const called = widget.callback;
      widget.callback = (...args) => {
        const result = called?.apply(widget, args);
        this.update();
        return result;
      };
    }
    this.stop = new AbortController();
    library.addEventListener("change", () => this.update(), { signal: this.stop.signal });
    this.ready = this.update();
  }

  close() {
    this.stop.abort();
  }

  refresh() {
    return this.update();
  }

  look() {
    if (`${this.family.value}/${this.preset.value}` !== this.seen) this.update();
  }

  async update() {
    const [family, preset] = [this.family.value, this.preset.value];
    this.seen = `${family}/${preset}`;
    try {
      await library.listing();
      this.#offer();
      const { range } = await description();
      const stored = await library.preset(family, preset);
      if (this.seen !== `${family}/${preset}`) return;
      const where = t(stored.origin === "user" ? "manager.yoursLong" : "manager.shippedLong");
      setText(
        this.name,
        stored.preset === preset ? where : t("loader.default", { name: stored.preset }),
      );
      setText(this.text, stored.config.description || "");
      this.picture.replaceChildren(...[thumbnail(stored, range)].filter(Boolean));
      this.text.classList.remove("psa-issue");
    } catch (error) {
      if (this.seen !== `${family}/${preset}`) return;
      this.picture.replaceChildren();
      setText(this.name, "");
      setText(this.text, error.message);
      this.text.classList.add("psa-issue");
    }
  }

  /** The lists offer what there is now, and of presets only the family's. */
  #offer() {
    const { families } = library.known;
    const own = library.family(this.family.value)?.presets.map(({ name }) => name) ?? [];
    const special = (this.declared ??= this.preset.options.values?.[0]);
    put(
      this.family,
      families.map(({ name }) => name),
    );
    put(this.preset, [special, ...own]);
  }

  openManager() {
    const name = library.family(this.family.value)?.default;
    const chosen = library.info(this.family.value, this.preset.value) ? this.preset.value : name;
    new PresetManager({
      current: { family: this.family.value, preset: chosen },
      useLabel: t("manager.use"),
      use: async ({ family, preset }) => {
        this.family.value = family;
        this.family.callback?.(family); // the Vue renderer of 1.32 shows a value only so
        this.#offer();
        this.preset.value = preset;
        this.preset.callback?.(preset);
        this.app.extensionManager?.workflow?.activeWorkflow?.changeTracker?.checkState?.();
        this.node.graph?.setDirtyCanvas(true, true);
        await this.update();
        return true;
      },
    }).open();
  }
}

function put(widget, values) {
  const now = widget.options.values;
  if (Array.isArray(now) && now.join("\n") === values.join("\n")) return;
  widget.options.values = values;
}
