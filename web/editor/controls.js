// Controls for the kinds of fields. Each is {element, inputs, set(value), disable(off), labelled}; what
// the user enters goes to change(value, final), as it is: whether it fits is the server's to say.

import { h, setAttr, setText } from "../dom.js";
import { t } from "../i18n.js";
import { runStrip } from "../run_strip.js";

export const SHOW_YAML = "psa-show-yaml"; // the event that asks for the text beside the fields

/** How a choice reads: null is the absence of one. */
export const choiceText = (choice) => (choice === null ? t("field.none") : String(choice));

/** What was typed, as a number if it is one, else as text: the server judges it. */
function typedNumber(text) {
  const number = Number(text);
  return text.trim() !== "" && Number.isFinite(number) ? number : text;
}

const CONTROLS = {
  bool: toggle,
  int: number,
  float: number,
  text,
  choice: select,
  ints,
  block_overrides: yamlOnly((shown) => [
    blocksText(shown),
    shown?.single_blocks?.entries.map(({ blocks, settings }) => [blocks, settings]),
  ]),
  step_ranges: yamlOnly((shown) => [
    rangesText(shown),
    shown?.step_ranges?.entries.map((entry) => [entry.steps, entry.settings]),
    runStrip(shown?.step_ranges?.run),
  ]),
};

export function controlFor(field, id, asCards, change) {
  if (asCards) return cards(field, id, change);
  return (CONTROLS[field.kind] ?? text)(field, id, change);
}

function toggle(field, id, change) {
  const button = h(
    "button",
    {
      type: "button",
      id,
      role: "switch",
      class: "psa-switch",
      "aria-checked": "false",
      "aria-labelledby": `${id}-label`,
      onclick: () => change(button.getAttribute("aria-checked") !== "true", true),
    },
    h("span", {}),
  );
  return {
    element: button,
    inputs: [button],
    set: (value) => setAttr(button, "aria-checked", String(value === true)),
    disable: (off) => (button.disabled = off),
  };
}

/** A box for one number. It holds any text: what is wrong with it is the server's to say. */
export function numberInput({ low, high, step }, attributes, change) {
  const input = h("input", {
    type: "text",
    inputmode: "decimal",
    autocomplete: "off",
    spellcheck: "false",
    class: "psa-input psa-number",
    ...attributes,
  });
  input.addEventListener("input", () => change(typedNumber(input.value), false));
  input.addEventListener("change", () => change(typedNumber(input.value), true));
  input.addEventListener("keydown", (event) => {
    const direction = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    const now = Number(input.value);
    if (!direction || !step || !Number.isFinite(now) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const next = now + direction * step * (event.shiftKey ? 10 : 1);
    const inside = Math.min(high ?? next, Math.max(low ?? next, Number(next.toFixed(6))));
    input.value = String(inside);
    change(inside, true);
  });
  return input;
}

/** Show a value in a box, unless the user is typing there and means the same. */
export function showNumber(input, value) {
  const shown =
    value === undefined || value === null
      ? ""
      : typeof value === "number"
        ? String(Number(value.toFixed(6)))
        : String(value);
  if (document.activeElement === input && typedNumber(input.value) === value) return;
  if (input.value !== shown) input.value = shown;
}

function number(field, id, change) {
  const input = numberInput(field, { id }, change);
  return {
    element: input,
    inputs: [input],
    labelled: true,
    set: (value) => showNumber(input, value),
    disable: (off) => (input.disabled = off),
  };
}

function text(field, id, change) {
  const area = h("textarea", { id, rows: "2", class: "psa-input", spellcheck: "false" });
  area.addEventListener("input", () => change(area.value, false));
  area.addEventListener("change", () => change(area.value, true));
  return {
    element: area,
    inputs: [area],
    labelled: true,
    set: (value) => {
      const shown = value == null ? "" : String(value);
      if (area.value !== shown && document.activeElement !== area) area.value = shown;
    },
    disable: (off) => (area.disabled = off),
  };
}

function select(field, id, change) {
  const box = h("select", {
    id,
    class: "psa-input psa-select",
    onchange: () => change(values[Number(box.value)], true),
  });
  let values = [];
  const fill = (list) => {
    values = list;
    box.replaceChildren(
      ...list.map((choice, i) => h("option", { value: String(i) }, choiceText(choice))),
    );
  };
  fill(field.choices);
  return {
    element: box,
    inputs: [box],
    labelled: true,
    set: (value) => {
      if (value === undefined) return;
      // a value that is no choice is shown as what it is
      if (!values.includes(value)) fill([...field.choices, value]);
      else if (values.length > field.choices.length && field.choices.includes(value))
        fill(field.choices);
      box.value = String(values.indexOf(value));
    },
    disable: (off) => (box.disabled = off),
  };
}

/** A choice as cards, each with its line of help. */
function cards(field, id, change) {
  const lines = new Map(field.choice_help);
  const buttons = field.choices.map((choice) =>
    h(
      "button",
      {
        type: "button",
        role: "radio",
        class: "psa-card",
        "aria-checked": "false",
        "data-choice": String(choice),
        onclick: () => change(choice, true),
        onkeydown: (event) => {
          const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
          if (!by) return;
          event.preventDefault();
          const next = (field.choices.indexOf(choice) + by + buttons.length) % buttons.length;
          buttons[next].focus();
          change(field.choices[next], true);
        },
      },
      h("b", {}, choiceText(choice)),
      lines.has(choice) ? h("span", {}, lines.get(choice)) : null,
    ),
  );
  return {
    element: h(
      "div",
      { class: "psa-cards", role: "radiogroup", id, "aria-labelledby": `${id}-label` },
      buttons,
    ),
    inputs: buttons,
    set: (value) => {
      const known = field.choices.includes(value);
      buttons.forEach((button, i) => {
        const on = field.choices[i] === value;
        setAttr(button, "aria-checked", String(on));
        button.tabIndex = on || (!known && i === 0) ? 0 : -1;
      });
    },
    disable: (off) => buttons.forEach((button) => (button.disabled = off)),
  };
}

/**
 * What has settings of its own, as the server lists it; it is edited as text. `said` gives, for
 * an answer: how many there are, in words; [name, settings] of each; a picture, if there is one.
 */
function yamlOnly(said) {
  return () => {
    const head = h("span", { class: "psa-single-head" });
    const edit = h("button", { type: "button", class: "psa-link" }, t("single.edit"));
    edit.addEventListener("click", () =>
      edit.dispatchEvent(new CustomEvent(SHOW_YAML, { bubbles: true })),
    );
    const picture = h("div", { class: "psa-single-run" });
    const list = h("ul", { class: "psa-single-list" });
    let drawn = null;
    return {
      element: h("div", { class: "psa-single" }, h("p", {}, head, " ", edit), picture, list),
      inputs: [edit],
      set: (_value, shown) => {
        const [text, entries = [], drawing] = said(shown);
        setText(head, text || t("field.none"));
        const key = JSON.stringify([entries, drawing?.outerHTML]);
        if (key === drawn) return;
        drawn = key;
        picture.replaceChildren(...(drawing ? [drawing] : []));
        list.replaceChildren(
          ...entries.map(([name, settings]) =>
            h("li", {}, h("b", {}, name), h("span", {}, settings)),
          ),
        );
      },
      disable: () => {},
    };
  };
}

/** "8 blocks with settings of their own"; "" where there are none. */
export const blocksText = (shown) => counted(shown?.single_blocks, "single.one", "single.many");

/** "2 ranges of steps with settings of their own" */
export const rangesText = (shown) => counted(shown?.step_ranges, "ranges.one", "ranges.many");

function counted(listed, one, many) {
  const count = listed?.count ?? 0;
  if (!count) return "";
  return count === 1 ? t(one) : t(many, { count });
}

function ints(field, id, change) {
  const read = (final) =>
    change(
      inputs.map((input) => typedNumber(input.value)),
      final,
    );
  const inputs = Array.from({ length: field.length }, (_, i) =>
    numberInput(
      field,
      { id: i ? null : id, "aria-label": `${field.label} ${i + 1}/${field.length}` },
      (_value, final) => read(final),
    ),
  );
  return {
    element: h(
      "div",
      { class: "psa-ints", role: "group", "aria-labelledby": `${id}-label` },
      inputs,
    ),
    inputs,
    set: (value) =>
      inputs.forEach((input, i) => showNumber(input, Array.isArray(value) ? value[i] : undefined)),
    disable: (off) => inputs.forEach((input) => (input.disabled = off)),
  };
}
