// The editor's face for one state: in the node, and once more in the large window.

import { openMenu } from "../dialog.js";
import { h, icon, setAttr, setText } from "../dom.js";
import { t } from "../i18n.js";
import { SHOW_YAML } from "./controls.js";
import { Estimate } from "./estimate.js";
import { FieldRow } from "./fields.js";
import { IssueSummary } from "./issues.js";
import { PyramidSection } from "./pyramid_section.js";
import { Section } from "./section.js";
import { YamlView } from "./yaml_view.js";

export class EditorView {
  /**
   * editor   {state, identity, saving, description, video, ...}: an EditorNode
   * large    whether this is the large window
   */
  constructor(editor, { large = false } = {}) {
    this.editor = editor;
    this.large = large;
    const { state, description } = editor;
    this.summary = new IssueSummary(state, (issue) => this.goTo(issue));
    const grouped = new Map(
      description.groups.map(({ id }) => [
        id,
        description.fields.filter((field) => field.group === id),
      ]),
    );
    const pyramid = description.groups.find(({ id }) =>
      grouped.get(id).some((field) => field.kind === "mask_ratios"),
    );
    this.pyramid = new PyramidSection({
      fields: grouped.get(pyramid.id),
      levels: description.levels,
      range: description.range,
      state,
    });
    this.estimate = new Estimate({ state, video: editor.video });
    // The pyramid's further fields come first among the sections: they are about the same thing.
    const others = description.groups.filter((group) => group !== pyramid);
    const order = [...others.slice(1), others[0]];
    this.sections = [
      new Section(pyramid.label, this.pyramid.rest, state, large),
      ...order.map(
        ({ id, label }) =>
          new Section(
            label,
            grouped.get(id).map((field) => new FieldRow(field, state)),
            state,
            large,
          ),
      ),
    ].filter((section) => section.rows.length);
    this.yaml = new YamlView(state);
    this.head = this.#head();
    this.notice = h("div", { class: "psa-notices" });
    this.main = h(
      "div",
      { class: "psa-main" },
      this.notice,
      this.summary.element,
      this.pyramid.element,
      this.estimate.element,
      h(
        "div",
        { class: "psa-sections" },
        this.sections.map((section) => section.element),
      ),
    );
    this.element = h(
      "div",
      { class: `psa-editor${large ? " psa-editor-large" : ""}` },
      this.head,
      h("div", { class: "psa-columns" }, this.main, this.yaml.element),
    );
    this.element.addEventListener(SHOW_YAML, () => {
      this.showYaml(true, !large);
      this.yaml.area.focus();
    });
    this.#listen();
    this.showYaml(large || Boolean(editor.node.properties.psa_yaml));
    this.update();
  }

  #head() {
    const { editor } = this;
    this.name = h("span", { class: "psa-source-name" });
    this.dot = h("span", {
      class: "psa-dirty",
      role: "img",
      "aria-label": t("source.edited"),
      title: t("source.edited"),
    });
    const source = h(
      "button",
      {
        type: "button",
        class: "psa-source",
        title: t("source.choose"),
        onclick: () => editor.openManager(),
      },
      this.name,
      this.dot,
      icon("chevron"),
    );
    this.saveButton = h(
      "button",
      { type: "button", class: "psa-button", onclick: () => editor.saving.save() },
      t("save.save"),
    );
    this.yamlButton = h(
      "button",
      {
        type: "button",
        class: "psa-button psa-toggle",
        "aria-pressed": "false",
        onclick: () => this.showYaml(this.yaml.element.hidden, true),
      },
      "YAML",
    );
    const expand = h(
      "button",
      {
        type: "button",
        class: "psa-icon-button",
        "aria-label": t("view.expand"),
        title: t("view.expand"),
        onclick: () => editor.openLarge(),
      },
      icon("expand"),
    );
    const more = h(
      "button",
      {
        type: "button",
        class: "psa-icon-button",
        "aria-label": t("view.more"),
        title: t("view.more"),
        "aria-haspopup": "menu",
        "aria-expanded": "false",
        onclick: () => openMenu(more, editor.menu()),
      },
      icon("more"),
    );
    return h(
      "header",
      { class: "psa-head" },
      source,
      h(
        "span",
        { class: "psa-head-buttons" },
        this.saveButton,
        this.large ? null : this.yamlButton,
        this.large ? null : expand,
        more,
      ),
    );
  }

  #listen() {
    const { state, identity } = this.editor;
    let planned = false;
    const plan = () => {
      if (planned) return;
      planned = true;
      requestAnimationFrame(() => {
        planned = false;
        this.update();
      });
    };
    this.stop = new AbortController();
    const { signal } = this.stop;
    state.addEventListener("edit", plan, { signal });
    state.addEventListener("answer", plan, { signal });
    identity.addEventListener("change", plan, { signal });
  }

  close() {
    this.stop.abort();
    this.pyramid.close();
  }

  showYaml(shown, remember = false) {
    this.yaml.element.hidden = !shown;
    this.yaml.update();
    this.element.classList.toggle("psa-with-yaml", shown);
    setAttr(this.yamlButton, "aria-pressed", String(shown));
    if (!remember) return;
    const { properties } = this.editor.node;
    if (shown) properties.psa_yaml = true;
    else delete properties.psa_yaml;
    if (shown) this.editor.widen();
  }

  update() {
    const { identity, state } = this.editor;
    const { named } = identity;
    setText(this.name, named ? `${named.family} / ${named.preset}` : t("source.none"));
    this.dot.hidden = !identity.edited;
    this.saveButton.classList.toggle("psa-primary", identity.edited && !state.broken);
    this.#notices();
    this.summary.update();
    this.pyramid.update();
    this.estimate.update();
    for (const section of this.sections) section.update();
    this.yaml.update();
  }

  #notices() {
    const { identity, state, saving } = this.editor;
    const list = [];
    const action = (label, onclick) =>
      h("button", { type: "button", class: "psa-link", onclick }, label);
    if (identity.missing) list.push([t("notice.missing")]);
    else if (identity.changedElsewhere) {
      list.push([
        t("notice.changed"),
        action(t("notice.load"), () => saving.reset()),
        action(t("notice.keep"), () => identity.adopt(identity.stored)),
      ]);
    }
    if (state.linked) {
      list.push([
        state.linked.request
          ? t("notice.base", { name: state.linked.label })
          : t("notice.baseUnknown"),
        action(t("notice.fold"), () => this.editor.fold()),
      ]);
    }
    if (state.text) {
      list.push([
        t("notice.text"),
        action(t("notice.showText"), () => {
          this.showYaml(true, true);
          this.yaml.area.focus();
        }),
      ]);
    }
    const key = JSON.stringify(list.map(([text]) => text));
    if (key === this.notice.dataset.shown) return;
    this.notice.dataset.shown = key;
    this.notice.replaceChildren(
      ...list.map((parts) =>
        h(
          "p",
          { class: "psa-notice" },
          icon("info"),
          h("span", {}, ...parts.flatMap((part, i) => (i ? [" ", part] : [part]))),
        ),
      ),
    );
  }

  /** Bring an issue's field into view and put the cursor there. */
  goTo(issue) {
    if (this.editor.state.text && issue.line) {
      this.showYaml(true, true);
      return this.yaml.goTo(issue.line);
    }
    for (const section of this.sections) {
      const row = section.rows.find(({ field }) => field.path === issue.field);
      if (!row) continue;
      section.toggle(true);
      row.focus();
      return;
    }
    const row = this.pyramid.before.find(({ field }) => field.path === issue.field);
    (row ?? this.pyramid).focus();
  }
}
