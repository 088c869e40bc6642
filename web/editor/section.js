// A group of fields that folds.

import { h, icon, setText, uniqueId } from "../dom.js";
import { brief } from "./fields.js";

/** A group of fields that folds; closed, its head says what is in it. */
export class Section {
  constructor(label, rows, state, open) {
    this.rows = rows;
    this.state = state;
    this.body = h(
      "div",
      { class: "psa-section-body", id: uniqueId("section"), hidden: true },
      rows.map((row) => row.element),
    );
    this.brief = h("span", { class: "psa-section-brief" });
    this.button = h(
      "button",
      {
        type: "button",
        class: "psa-section-head",
        "aria-expanded": "false",
        "aria-controls": this.body.id,
        onclick: () => this.toggle(),
      },
      icon("chevron"),
      h("span", { class: "psa-section-label" }, label),
      this.brief,
    );
    this.element = h("section", { class: "psa-section" }, this.button, this.body);
    if (open) this.toggle(true);
  }

  toggle(open = this.body.hidden) {
    this.body.hidden = !open;
    this.button.setAttribute("aria-expanded", String(open));
    this.update();
  }

  update() {
    const { state } = this;
    const wrong = this.rows.some(({ field }) =>
      state.issues.some((issue) => issue.field === field.path),
    );
    this.element.classList.toggle("psa-wrong", wrong);
    // A new problem is seen at its field, even in a folded section.
    if (wrong && !this.wrong && this.body.hidden) {
      this.body.hidden = false;
      this.button.setAttribute("aria-expanded", "true");
    }
    this.wrong = wrong;
    if (!this.body.hidden) for (const row of this.rows) row.update();
    const words = this.rows
      .filter(({ field }) => !state.shown?.not_applicable?.[field.path])
      .map(({ field }) => brief(field, state.value(field.path), state.shown))
      .filter(Boolean);
    setText(this.brief, this.body.hidden ? words.join(" · ") : "");
  }
}
