// The node's ordinary widgets: read, written, and shown when they are wanted.

import { isLinked } from "../graph.js";
import { hideWidgets } from "../node_panel.js";

const OVERRIDES = "yaml_overrides";
const SHOWN = "psa_plain"; // the property that says so

export class PlainWidgets {
  constructor(node) {
    this.node = node;
    this.all = [...node.widgets];
  }

  /** Names of those that another node supplies. */
  get linked() {
    return this.all.map(({ name }) => name).filter((name) => isLinked(this.node, name));
  }

  /** {widgets, yaml_overrides}, without what is linked. */
  read() {
    const linked = new Set(this.linked);
    const own = this.all.filter(({ name }) => !linked.has(name));
    const values = Object.fromEntries(own.map(({ name, value }) => [name, value]));
    const { [OVERRIDES]: overrides, ...widgets } = values;
    return { widgets, yaml_overrides: overrides ?? "" };
  }

  write({ widgets, yaml_overrides: overrides }) {
    for (const widget of this.all) {
      const value = widget.name === OVERRIDES ? overrides : widgets[widget.name];
      if (value !== undefined && widget.value !== value) widget.value = value;
    }
  }

  get shown() {
    return Boolean(this.node.properties[SHOWN]);
  }

  set shown(shown) {
    if (shown) this.node.properties[SHOWN] = true;
    else delete this.node.properties[SHOWN];
    this.arrange();
  }

  /** One that another node supplies always shows, with its socket. */
  arrange() {
    const linked = new Set(this.linked);
    const hidden = this.all.filter(({ name }) => !this.shown && !linked.has(name));
    hideWidgets(this.node, hidden, true);
    hideWidgets(
      this.node,
      this.all.filter((widget) => !hidden.includes(widget)),
      false,
    );
  }
}
