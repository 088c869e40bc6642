// The list of presets, one for all nodes of the page; notices what others change.

import * as api from "./api.js";

const POLL = 5000; // ms between two looks for changes on disk, while the page is seen

class Library extends EventTarget {
  #listing = null;
  #loading = null;
  #watched = false;
  #presets = new Map(); // "family/preset@version" -> answer of GET

  /** {version, families, problems}; asked once until something changes. */
  async listing() {
    this.#watch();
    return this.#listing ?? this.#read();
  }

  async #read() {
    this.#loading ??= api.getPresets().finally(() => (this.#loading = null));
    this.#listing = await this.#loading;
    return this.#listing;
  }

  /** What is known right now, or null. */
  get known() {
    return this.#listing;
  }

  info(family, preset) {
    const found = this.#listing?.families.find((f) => f.name === family);
    return found?.presets.find((p) => p.name === preset) ?? null;
  }

  family(name) {
    return this.#listing?.families.find((family) => family.name === name) ?? null;
  }

  /** One preset in full; kept as long as its version is the listed one. */
  async preset(family, preset) {
    await this.listing();
    const name = this.family(family)?.presets.find((p) => p.name === preset)
      ? preset
      : (this.family(family)?.default ?? preset);
    const key = `${family}/${name}@${this.info(family, name)?.version}`;
    if (!this.#presets.has(key)) {
      const asked = api.getPreset(family, preset);
      this.#presets.set(key, asked);
      asked.catch(() => this.#presets.delete(key));
    }
    return this.#presets.get(key);
  }

  /** Read the list again and tell everybody if it changed. */
  async refresh() {
    const before = this.#listing?.version;
    const after = await this.#read(); // the old list stays if this fails
    if (after.version !== before) this.dispatchEvent(new Event("change"));
    return after;
  }

  #watch() {
    if (this.#watched) return;
    this.#watched = true;
    api.onPresetsChanged(() => this.refresh().catch(() => {}));
    const look = async () => {
      if (document.visibilityState !== "visible" || !this.#listing) return;
      const { version } = await api.getVersion();
      if (version !== this.#listing?.version) await this.refresh();
    };
    setInterval(() => look().catch(() => {}), POLL);
    document.addEventListener("visibilitychange", () => look().catch(() => {}));
  }
}

export const library = new Library();
