// One row for each field that the server describes: a control, its help, its issues.

import { h, icon, setAttr, setText, uniqueId } from "../dom.js";
import { t } from "../i18n.js";
import { blocksText, choiceText, controlFor, rangesText } from "./controls.js";
import { issueText, mendButtons } from "./issues.js";
import { within } from "./paths.js";

/** A field in a few words, for the heads of closed sections; "" says nothing. */
export function brief(field, value, shown) {
  if (field.kind === "block_overrides") return blocksText(shown);
  if (field.kind === "step_ranges") return rangesText(shown);
  if (value === undefined || value === "") return "";
  if (field.kind === "bool") return value ? field.label : "";
  if (field.kind === "text") return String(value);
  if (field.kind === "ints") return Array.isArray(value) ? value.join("×") : "";
  return `${field.label} ${field.kind === "choice" ? choiceText(value) : value}`;
}

const YAML_ONLY = ["block_overrides", "step_ranges"];

/** "0 to 1000 · default 0 · steps" */
function facts(field) {
  const parts = [];
  if (field.low != null) parts.push(t("field.range", { low: field.low, high: field.high }));
  if (field.unit) parts.push(field.unit);
  if (field.default !== "" && !["mask_ratios", ...YAML_ONLY].includes(field.kind)) {
    parts.push(t("field.default", { value: defaultText(field) }));
  }
  return parts.join(" · ");
}

function defaultText(field) {
  if (field.kind === "bool") return t(field.default ? "field.on" : "field.off");
  if (field.kind === "ints") return field.default.join(", ");
  if (YAML_ONLY.includes(field.kind)) return t("field.none");
  return field.kind === "choice" ? choiceText(field.default) : String(field.default);
}

export class FieldRow {
  constructor(field, state, { asCards = false } = {}) {
    this.field = field;
    this.state = state;
    this.id = uniqueId("field");
    this.control = controlFor(field, this.id, asCards, (value, final) =>
      state.change({ [field.path]: value }, final),
    );
    this.note = h("p", { class: "psa-note" });
    this.issues = h("div", {
      class: "psa-field-issues",
      "aria-live": "polite",
      id: `${this.id}-issue`,
    });
    this.help = h(
      "div",
      { class: "psa-help", id: `${this.id}-help`, hidden: true },
      h("p", {}, field.help),
      h("p", { class: "psa-facts" }, facts(field)),
    );
    this.reset = h(
      "button",
      {
        type: "button",
        class: "psa-icon-button",
        "aria-label": t("field.reset", { label: field.label }),
        title: t("field.resetTitle", { value: defaultText(field) }),
        onclick: () => state.change({ [field.path]: field.default }),
      },
      icon("undo"),
    );
    const info = h(
      "button",
      {
        type: "button",
        class: "psa-icon-button",
        "aria-expanded": "false",
        "aria-controls": this.help.id,
        "aria-label": t("field.help", { label: field.label }),
        title: field.help,
        onclick: () => {
          this.help.hidden = !this.help.hidden;
          info.setAttribute("aria-expanded", String(!this.help.hidden));
        },
      },
      icon("info"),
    );
    const wide = field.kind === "text" || YAML_ONLY.includes(field.kind) || asCards;
    this.element = h(
      "div",
      { class: `psa-field${wide ? " psa-field-wide" : ""}`, "data-path": field.path },
      h(
        "div",
        { class: "psa-field-line" },
        h(
          "div",
          { class: "psa-field-head" },
          h(
            this.control.labelled ? "label" : "span",
            {
              class: "psa-label",
              for: this.control.labelled ? this.id : null,
              id: `${this.id}-label`,
            },
            field.label,
          ),
          info,
          field.kind === "text" ? null : this.reset,
        ),
        this.control.element,
      ),
      this.note,
      this.issues,
      this.help,
    );
  }

  update() {
    const { field, state } = this;
    const value = state.value(field.path);
    const reason = state.shown?.not_applicable?.[field.path];
    const linked = state.linkedFields?.has(field.path);
    const issues = state.issues.filter((issue) => issue.field === field.path);
    this.control.set(value, state.shown);
    const disabled = Boolean(linked) || (Boolean(reason) && issues.length === 0);
    this.control.disable(disabled);
    this.element.classList.toggle("psa-inapplicable", disabled);
    this.element.classList.toggle("psa-wrong", issues.length > 0);
    setText(
      this.note,
      linked ? t("field.linked") : reason ? t("field.inapplicable", { reason }) : "",
    );
    this.reset.hidden =
      disabled || value === undefined || JSON.stringify(value) === JSON.stringify(field.default);
    for (const input of this.control.inputs) {
      setAttr(input, "aria-invalid", issues.length ? "true" : null);
      setAttr(input, "aria-describedby", issues.length ? this.issues.id : this.help.id);
    }
    showIssues(this.issues, issues, state);
  }

  focus() {
    this.control.inputs[0]?.focus();
  }
}

/** The issues of one place, each with its ways out. Rebuilt only when they change. */
export function showIssues(element, issues, state) {
  const key = JSON.stringify(issues);
  if (element.dataset.shown === key) return;
  element.dataset.shown = key;
  element.replaceChildren(
    ...issues.map((issue) =>
      h(
        "div",
        { class: "psa-issue" },
        icon("warning"),
        h("div", {}, h("span", {}, issueText(issue)), mendButtons(issue, state)),
      ),
    ),
  );
}

/** All issues that belong to `path` or what is in it. */
export const issuesAt = (state, path) =>
  state.issues.filter((issue) => issue.field === path || within(issue.path, path));
