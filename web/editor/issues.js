// What is wrong with the preset, in one place, and the offered ways out.

import { h, icon } from "../dom.js";
import { t } from "../i18n.js";

/** What is wrong, without the ways out, which have buttons. */
export const issueText = ({ found, allowed, message }) =>
  found ? t("issue.found", { found, allowed }) : message;

/** One button for each way out of an issue; a click takes it. */
export function mendButtons(issue, state) {
  if (!issue.mends.length) return null;
  return h(
    "div",
    { class: "psa-mends" },
    issue.mends.map((mend, i) =>
      h(
        "button",
        {
          type: "button",
          class: `psa-mend${i === 0 ? " psa-mend-first" : ""}`,
          onclick: () => state.change(mend.changes),
        },
        mend.label,
      ),
    ),
  );
}

/** The line at the top of the node: how many problems, each one a link to its field. */
export class IssueSummary {
  constructor(state, goTo) {
    this.state = state;
    this.goTo = goTo;
    this.element = h("div", { class: "psa-summary", role: "status" });
  }

  update() {
    const { state } = this;
    const key = JSON.stringify([state.issues, state.failure?.message, Boolean(state.text)]);
    if (this.key === key) return;
    this.key = key;
    this.element.hidden = !state.issues.length && !state.failure;
    if (state.failure) {
      this.element.replaceChildren(
        h(
          "div",
          { class: "psa-issue" },
          icon("warning"),
          h("span", {}, t("issue.server", { message: state.failure.message })),
        ),
      );
      return;
    }
    const count = state.issues.length;
    this.element.replaceChildren(
      h("strong", {}, icon("warning"), t(count === 1 ? "issue.one" : "issue.many", { count })),
      h(
        "ul",
        {},
        state.issues.map((issue) => h("li", {}, this.#link(issue))),
      ),
    );
  }

  #link(issue) {
    const where = !issue.found ? "" : issue.line ? t("issue.line", issue) : issue.path;
    return h(
      "button",
      { type: "button", class: "psa-link", onclick: () => this.goTo(issue) },
      h("b", {}, where),
      ` ${issueText(issue)}`,
    );
  }
}
