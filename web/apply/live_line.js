// Apply PSA: what its run is doing, and when it is over, what it did. The server says both.

import { h, setText } from "../dom.js";

export class LiveLine {
  constructor() {
    this.bar = h("progress", { class: "psa-live-bar", "aria-hidden": "true" });
    this.text = h("p", { class: "psa-live-text" });
    this.element = h("div", { class: "psa-live", hidden: true }, this.text, this.bar);
  }

  /** `state`: sparse, dense or failed. */
  progress({ text, state, step, steps }) {
    this.#show(text, state);
    this.bar.max = steps;
    this.bar.value = step;
    this.bar.hidden = false;
  }

  finished({ text, state }) {
    this.#show(text, state);
    this.bar.hidden = true;
  }

  #show(text, state) {
    setText(this.text, text);
    this.element.dataset.state = state;
    this.element.hidden = false;
  }
}
