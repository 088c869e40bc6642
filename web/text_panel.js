// A node that says something when it has run: the text stands on the node.

import { app } from "../../scripts/app.js";
import { h, setText } from "./dom.js";
import { t } from "./i18n.js";
import { mountPanel } from "./node_panel.js";

const WIDTH = 540;

export class TextNode {
  constructor(_, node) {
    this.node = node;
    this.text = h("pre", { class: "psa-said", "aria-live": "polite" }, t("said.nothing"));
    this.panel = mountPanel(node, "psa_said", this.text, { minWidth: WIDTH });
    const executed = node.onExecuted;
    node.onExecuted = (output) => {
      this.#say(output);
      return executed?.call(node, output);
    };
  }

  close() {}

  look() {}

  /** A workflow that is opened again still has what its nodes said. */
  refresh() {
    this.#say(app.nodeOutputs?.[this.node.id]);
  }

  #say(output) {
    const text = [output?.text ?? []].flat().join("\n");
    if (text) setText(this.text, text);
  }
}
