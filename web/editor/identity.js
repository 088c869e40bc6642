// Which stored preset a node's settings came from, and whether they are still that preset.
//
// Kept in the node's properties, beside the widgets: {family, preset, version}.

import { library } from "../library.js";

const PROPERTY = "psa_preset";

/** A preset's content as text. A level without a width is the same as one that is not there. */
function content({ config, pyramid }) {
  return JSON.stringify(pyramid ? { ...config, mask_ratios: pyramid } : config);
}

export class Identity extends EventTarget {
  constructor(node, state) {
    super();
    this.node = node;
    this.state = state;
    this.stored = null; // GET of the preset as it is stored now
    this.fresh = null; // a preset with every field at its default
    this.missing = false;
  }

  /** {family, preset, version} or null. */
  get named() {
    return this.node.properties?.[PROPERTY] ?? null;
  }

  set named(value) {
    if (value) this.node.properties[PROPERTY] = value;
    else delete this.node.properties[PROPERTY];
  }

  get isShipped() {
    return this.stored?.origin === "shipped";
  }

  /** Whether somebody else changed the stored preset since it was loaded here. */
  get changedElsewhere() {
    return Boolean(this.named && this.stored && this.stored.version !== this.named.version);
  }

  /** Whether the node holds anything that is stored nowhere. */
  get edited() {
    const { state } = this;
    if (state.unheld) return true;
    if (!state.answer) return false;
    const origin = this.named ? this.stored : this.fresh;
    return !origin || content(state.answer) !== content(origin);
  }

  /** Take `stored` (an answer with family, preset, version) for where the settings come from. */
  adopt(stored) {
    this.stored = stored;
    this.missing = false;
    this.named = { family: stored.family, preset: stored.preset, version: stored.version };
    this.dispatchEvent(new Event("change"));
  }

  forget() {
    this.named = null;
    this.stored = null;
    this.missing = false;
    this.dispatchEvent(new Event("change"));
  }

  /** Read the stored preset again. */
  async look() {
    const { named } = this;
    if (!named) {
      this.stored = null;
      this.missing = false;
      return;
    }
    try {
      await library.listing();
      this.missing = !library.info(named.family, named.preset);
      this.stored = this.missing ? null : await library.preset(named.family, named.preset);
    } catch {
      this.stored = null;
    }
    this.dispatchEvent(new Event("change"));
  }
}
