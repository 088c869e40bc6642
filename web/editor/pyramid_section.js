// The pyramid: its mode, the bar, and the numbers beside it.

import { h, setAttr, setText } from "../dom.js";
import { t } from "../i18n.js";
import { numberInput, showNumber } from "./controls.js";
import { FieldRow, issuesAt, showIssues } from "./fields.js";
import { PyramidBar, percent } from "./pyramid_bar.js";
import { runStrip } from "../run_strip.js";

/** How the levels are called; `pyramid` says what becomes of the last one, which has no number. */
export function levelNames(levels, pyramid) {
  return levels.map(({ level, label }) => {
    if (level) return { level, name: `${level}×`, short: `${level}×`, title: label };
    const keys = pyramid?.find((part) => part.level === level)?.pool ?? null;
    return {
      level,
      tail: keys !== null,
      title: keys === null ? label : t("level.tail", { keys }),
      name: keys === null ? t("level.skip") : t("level.tailShort", { keys }),
    };
  });
}

/** Upper ends of all levels but the last. */
export const boundsOf = (pyramid) => pyramid.slice(0, -1).map(({ to }) => to);

export class PyramidSection {
  /** fields: those of the group, in order; `range`: {low, high, step} of a boundary. */
  constructor({ fields, levels, range, state }) {
    this.state = state;
    this.levels = levels;
    this.range = range;
    this.field = fields.find((field) => field.kind === "mask_ratios");
    const place = fields.indexOf(this.field);
    this.before = fields
      .slice(0, place)
      .map((field) => new FieldRow(field, state, { asCards: field.kind === "choice" }));
    this.rest = fields.slice(place + 1).map((field) => new FieldRow(field, state));
    this.bar = new PyramidBar({
      levels: levelNames(levels),
      range,
      onChange: (bounds, final) => state.change({ [this.field.path]: this.#ratios(bounds) }, final),
    });
    this.issues = h("div", { class: "psa-field-issues", "aria-live": "polite" });
    this.note = h("p", { class: "psa-note" });
    // where the budget changes over the run, the bar is one part of it
    this.run = h("div", { class: "psa-run-shape" });
    this.cells = levels.map((_, i) => this.#cell(i));
    this.element = h(
      "section",
      { class: "psa-pyramid", "aria-label": this.field.label },
      this.before.map((row) => row.element),
      this.bar.element,
      h(
        "div",
        { class: "psa-levels" },
        this.cells.map((cell) => cell.element),
      ),
      this.note,
      this.run,
      this.issues,
    );
  }

  #cell(i) {
    const last = i === this.levels.length - 1;
    const name = h("span", { class: "psa-level-name" });
    const width = h("span", { class: "psa-level-width" });
    const input = last
      ? null
      : numberInput(this.range, {}, (value, final) => {
          const bounds = this.#bounds();
          bounds[i] = value;
          this.state.change({ [this.field.path]: this.#ratios(bounds) }, final);
        });
    const element = h(
      "div",
      { class: "psa-level", "data-level": this.levels[i].level },
      h("span", { class: "psa-level-head" }, h("span", { class: "psa-swatch" }), name),
      width,
      last
        ? h("span", { class: "psa-level-end" }, t("level.rest"))
        : h("label", { class: "psa-level-end" }, h("span", {}, t("level.to")), input),
    );
    return { element, name, width, input };
  }

  /** The ratios for these boundaries. A level that the preset does not name stays away while empty. */
  #ratios(bounds) {
    const known = this.state.value(this.field.path) ?? {};
    const edges = [this.range.low, ...bounds, this.range.high];
    const ratios = {};
    this.levels.forEach(({ level }, i) => {
      const pair = [edges[i], edges[i + 1]];
      if (pair[0] !== pair[1] || String(level) in known) ratios[level] = pair;
    });
    return ratios;
  }

  /** Boundaries as the preset has them, well-formed or not. */
  #bounds() {
    const ratios = this.state.value(this.field.path);
    let upper = this.range.low;
    return this.levels.slice(0, -1).map(({ level }) => (upper = ratios?.[level]?.[1] ?? upper));
  }

  update() {
    const { state, field } = this;
    for (const row of this.before) row.update();
    const bounds = this.#bounds();
    const reason = state.shown?.not_applicable?.[field.path];
    const linked = state.linkedFields?.has(field.path);
    const levels = levelNames(this.levels, state.shown?.pyramid);
    const drawn = bounds.map((bound, i) =>
      Number.isFinite(bound) ? bound : (this.drawn?.[i] ?? this.range.low),
    );
    this.drawn = drawn;
    this.bar.update({ bounds: drawn, levels, disabled: Boolean(reason || linked) });
    this.element.classList.toggle("psa-inapplicable", Boolean(reason || linked));
    setText(
      this.note,
      linked ? t("field.linked") : reason ? t("field.inapplicable", { reason }) : "",
    );
    this.#showRun(state.shown?.step_ranges);
    const edges = [this.range.low, ...drawn, this.range.high];
    this.cells.forEach((cell, i) => {
      const width = edges[i + 1] - edges[i];
      setText(cell.name, levels[i].name);
      setAttr(cell.element, "data-tail", levels[i].tail ? "" : null);
      cell.name.title = levels[i].title;
      setText(cell.width, percent(width));
      cell.element.classList.toggle("psa-empty", width <= 0);
      if (!cell.input) return;
      cell.input.setAttribute("aria-label", t("bar.knob", { level: levels[i].title }));
      cell.input.disabled = Boolean(reason || linked);
      showNumber(cell.input, bounds[i]);
    });
    const issues = issuesAt(state, field.path);
    this.element.classList.toggle("psa-wrong", issues.length > 0);
    showIssues(this.issues, issues, state);
  }

  #showRun(ranges) {
    const key = JSON.stringify(ranges ?? null);
    if (key === this.runDrawn) return;
    this.runDrawn = key;
    const note = ranges?.count ? [h("p", { class: "psa-note" }, t("ranges.bar"))] : [];
    const strip = runStrip(ranges?.run);
    this.run.replaceChildren(...note, ...(strip ? [strip] : []));
  }

  close() {
    this.bar.close();
  }

  focus() {
    this.bar.knobs[0].focus();
  }
}
