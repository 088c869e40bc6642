// The preset as YAML text beside the fields: edit either, both stay in step.

import { h, icon } from "../dom.js";
import { t } from "../i18n.js";
import { toast } from "../dialog.js";
import { issueText } from "./issues.js";

const TOKEN =
  /(#.*$)|(^\s*(?:- )?)([^\s#:][^:#]*)(?=:(?:\s|$))|("(?:[^"\\]|\\.)*"|'[^']*')|\b(true|false|null)\b|(-?\b\d+(?:\.\d+)?\b)/gm;

/** The text as coloured spans; what is not known stays as it is. */
export function coloured(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(TOKEN)) {
    const [whole, comment, indent, key, quoted, word, number] = match;
    parts.push(text.slice(end, match.index));
    end = match.index + whole.length;
    if (key !== undefined) parts.push(indent, h("span", { class: "psa-y-key" }, key));
    else if (comment) parts.push(h("span", { class: "psa-y-comment" }, comment));
    else if (quoted) parts.push(h("span", { class: "psa-y-text" }, quoted));
    else parts.push(h("span", { class: "psa-y-value" }, word ?? number));
  }
  parts.push(text.slice(end));
  return parts;
}

export class YamlView {
  constructor(state) {
    this.state = state;
    this.area = h("textarea", {
      class: "psa-yaml-text",
      spellcheck: "false",
      autocomplete: "off",
      wrap: "off",
      "aria-label": t("yaml.title"),
    });
    this.paint = h("pre", { class: "psa-yaml-paint", "aria-hidden": "true" });
    this.gutter = h("div", { class: "psa-yaml-gutter", "aria-hidden": "true" });
    this.problems = h("div", { class: "psa-yaml-problems", "aria-live": "polite" });
    this.area.addEventListener("input", () => {
      this.own = true; // the text is the user's until a field changes
      this.#draw();
      state.type(this.area.value);
    });
    this.area.addEventListener("keydown", (event) => {
      if (event.key !== "Tab" || event.shiftKey || event.altKey || event.ctrlKey) return;
      if (this.released) return; // Escape first, then Tab: out of the text, for the keyboard
      event.preventDefault();
      document.execCommand("insertText", false, "  ");
    });
    this.area.addEventListener("keydown", (event) => {
      this.released = event.key === "Escape" || (this.released && event.key === "Tab");
    });
    this.area.addEventListener("blur", () => (this.released = false));
    this.drop = h(
      "button",
      {
        type: "button",
        class: "psa-mend",
        onclick: () => {
          this.own = false;
          state.dropText();
        },
      },
      t("yaml.drop"),
    );
    this.element = h(
      "section",
      { class: "psa-yaml", "aria-label": t("yaml.title") },
      h(
        "div",
        { class: "psa-yaml-head" },
        h("span", {}, "YAML"),
        h(
          "button",
          {
            type: "button",
            class: "psa-icon-button",
            title: t("yaml.copy"),
            "aria-label": t("yaml.copy"),
            onclick: () => this.#copy(),
          },
          icon("copy"),
        ),
      ),
      h(
        "div",
        { class: "psa-yaml-body" },
        this.gutter,
        h("div", { class: "psa-yaml-stack" }, this.paint, this.area),
      ),
      this.problems,
    );
  }

  async #copy() {
    await navigator.clipboard.writeText(this.area.value);
    toast(t("yaml.copied"));
  }

  update() {
    if (this.element.hidden) return;
    const { state } = this;
    const text = state.text?.yaml ?? state.answer?.yaml ?? "";
    const edited = state.pending.size > 0;
    if (state.text) {
      if (this.area.value !== text) this.area.value = text;
    } else if (!(this.own && !edited && this.sameAs === state.answer?.yaml)) {
      // The user's own wording stays as long as it says what the node holds.
      const kept = document.activeElement === this.area || this.area.value === state.taken;
      if (this.own && !edited && kept) this.sameAs = state.answer?.yaml;
      else if (!edited) {
        this.own = false;
        this.sameAs = null;
        if (this.area.value !== text) this.area.value = text;
      }
    }
    this.#draw();
  }

  #draw() {
    const { state } = this;
    const issues = this.state.text ? state.issues.filter((issue) => issue.line) : [];
    const wrong = new Set(issues.map((issue) => issue.line));
    const text = this.area.value;
    const key = `${[...wrong]}|${text}`;
    if (key !== this.drawn) {
      this.drawn = key;
      this.paint.replaceChildren(...coloured(`${text}\n`));
      const lines = text.split("\n");
      this.area.style.height = `calc(${lines.length} * var(--psa-line) + 16px)`;
      this.gutter.replaceChildren(
        ...(lines.at(-1) === "" ? lines.slice(0, -1) : lines).map((_, i) =>
          h("span", { class: wrong.has(i + 1) ? "psa-yaml-wrong" : "" }, String(i + 1)),
        ),
      );
    }
    const shown = JSON.stringify(state.text ? state.issues : null);
    if (shown === this.problems.dataset.shown) return;
    this.problems.dataset.shown = shown;
    this.problems.replaceChildren(
      ...(state.text && state.issues.length
        ? [
            ...state.issues.map((issue) =>
              h(
                "button",
                {
                  type: "button",
                  class: "psa-link psa-yaml-problem",
                  onclick: () => this.goTo(issue.line),
                },
                issue.found ? h("b", {}, issue.line ? t("issue.line", issue) : issue.path) : null,
                ` ${issueText(issue)}`,
              ),
            ),
            this.drop,
          ]
        : []),
    );
  }

  /** Put the cursor on a 1-based line. */
  goTo(line) {
    if (!line) return this.area.focus();
    const start =
      this.area.value
        .split("\n")
        .slice(0, line - 1)
        .join("\n").length + (line > 1 ? 1 : 0);
    const end = this.area.value.indexOf("\n", start);
    this.area.focus();
    this.area.setSelectionRange(start, end < 0 ? this.area.value.length : end);
  }
}
