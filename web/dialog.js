// Modal dialogs, menus and short messages, on the browser's own <dialog> and popover.

import { h, icon, uniqueId } from "./dom.js";
import { t } from "./i18n.js";

/** Keys pressed in our own surfaces are not ComfyUI's shortcuts. */
function keepKeys(element) {
  element.addEventListener("keydown", (event) => event.stopPropagation());
  for (const type of ["copy", "cut", "paste"]) {
    element.addEventListener(type, (event) => event.stopPropagation());
  }
}

/**
 * A modal dialog with `body`; {element, close, closed}, where `closed` is a promise of what `close`
 * was given (undefined for Escape).
 */
export function openDialog({ title, body, footer = [], className = "" }) {
  const heading = h("h2", { id: uniqueId("title") }, title);
  const element = h(
    "dialog",
    { class: `psa psa-dialog ${className}`, "aria-labelledby": heading.id },
    h(
      "header",
      { class: "psa-dialog-head" },
      heading,
      h(
        "button",
        {
          type: "button",
          class: "psa-icon-button",
          "aria-label": t("dialog.close"),
          title: t("dialog.close"),
          onclick: () => close(),
        },
        icon("close"),
      ),
    ),
    h("div", { class: "psa-dialog-body" }, body),
    footer.length ? h("footer", { class: "psa-dialog-foot" }, footer) : null,
  );
  let done;
  const closed = new Promise((resolve) => (done = resolve));
  const before = document.activeElement;
  function close(result) {
    if (!element.isConnected) return;
    element.close();
    const messages = [...element.querySelectorAll(":scope > .psa-toast")];
    element.remove();
    messages.forEach(show); // what was said last, with its Undo, outlives the dialog
    // what had the focus may have been rebuilt meanwhile
    const outer = [...document.querySelectorAll("dialog.psa-dialog")].at(-1);
    const back = before?.isConnected ? before : outer?.querySelector("button");
    back?.focus?.({ preventScroll: true });
    done(result);
  }
  keepKeys(element);
  element.addEventListener("cancel", (event) => {
    event.preventDefault();
    close();
  });
  document.body.append(element);
  element.showModal();
  return { element, close, closed };
}

/**
 * Ask one question. `fields`: [{name, label, value, options}]; `choices`: [{id, label, primary,
 * danger}]. A promise of {choice, values}, or null. `check(choice, values)` may answer a text that
 * says why not.
 */
export async function ask({ title, message, fields = [], choices, check = async () => null }) {
  const problem = h("p", { class: "psa-ask-problem", role: "alert" });
  const inputs = new Map();
  const rows = fields.map(({ name, label, value, options }) => {
    const id = uniqueId("ask");
    const input = options
      ? h(
          "select",
          { id, class: "psa-input psa-select" },
          options.map((o) => h("option", { value: o, selected: o === value }, o)),
        )
      : h("input", {
          id,
          class: "psa-input",
          type: "text",
          value: value ?? "",
          autocomplete: "off",
          spellcheck: "false",
        });
    inputs.set(name, input);
    return h("div", { class: "psa-ask-row" }, h("label", { for: id }, label), input);
  });
  const read = () =>
    Object.fromEntries([...inputs].map(([name, input]) => [name, input.value.trim()]));
  let dialog;
  let busy = false;
  const choose = async (id) => {
    if (busy) return;
    busy = true;
    problem.textContent = ""; // what was wrong with the values before
    const values = read();
    const wrong = await check(id, values).catch((error) => error.message);
    busy = false;
    if (wrong !== null) problem.textContent = wrong;
    else dialog.close({ choice: id, values });
  };
  const buttons = choices.map(({ id, label, primary, danger }) =>
    h(
      "button",
      {
        type: "button",
        "data-choice": id,
        class: `psa-button${primary ? " psa-primary" : ""}${danger ? " psa-danger" : ""}`,
        onclick: () => choose(id),
      },
      label,
    ),
  );
  const cancel = h(
    "button",
    { type: "button", class: "psa-button", onclick: () => dialog.close() },
    t("dialog.cancel"),
  );
  const form = h(
    "form",
    {
      class: "psa-ask",
      onsubmit: (event) => {
        event.preventDefault();
        choose(choices.find((c) => c.primary)?.id ?? choices[0].id);
      },
    },
    message ? h("p", { class: "psa-ask-message" }, message) : null,
    rows,
    problem,
    h("button", { type: "submit", hidden: true, tabindex: "-1" }),
  );
  dialog = openDialog({
    title,
    body: form,
    footer: [cancel, ...buttons],
    className: "psa-dialog-small",
  });
  const first = inputs.values().next().value;
  if (first) {
    first.focus();
    first.select?.();
  } else cancel.focus(); // Enter must not overwrite or delete
  return (await dialog.closed) ?? null;
}

/** A menu under `anchor`: [{label, icon, action, disabled, danger} or null for a line]. */
export function openMenu(anchor, items) {
  const menu = h("div", { class: "psa psa-menu", role: "menu", popover: "auto" });
  const close = () => menu.hidePopover();
  menu.append(
    ...items.map((item) =>
      item === null
        ? h("hr", {})
        : h(
            "button",
            {
              type: "button",
              role: "menuitem",
              class: `psa-menu-item${item.danger ? " psa-danger" : ""}`,
              disabled: Boolean(item.disabled),
              title: item.title ?? null,
              onclick: () => {
                close();
                item.action();
              },
            },
            item.icon ? icon(item.icon) : h("span", { class: "psa-icon" }),
            item.label,
          ),
    ),
  );
  keepKeys(menu);
  menu.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const all = [...menu.querySelectorAll("button:not(:disabled)")];
    all[(all.indexOf(document.activeElement) + by + all.length) % all.length]?.focus();
  });
  menu.addEventListener("toggle", (event) => {
    if (event.newState !== "closed") return;
    menu.remove();
    anchor.setAttribute("aria-expanded", "false");
    if (document.activeElement === document.body) anchor.focus({ preventScroll: true });
  });
  // an open <dialog> makes the rest of the page inert, so the menu goes into it
  (anchor.closest("dialog") ?? document.body).append(menu);
  menu.showPopover();
  anchor.setAttribute("aria-expanded", "true");
  const box = anchor.getBoundingClientRect();
  const size = menu.getBoundingClientRect();
  menu.style.left = `${Math.max(8, Math.min(box.right - size.width, innerWidth - size.width - 8))}px`;
  const below = box.bottom + 4 + size.height <= innerHeight - 8;
  menu.style.top = `${Math.max(8, below ? box.bottom + 4 : box.top - size.height - 4)}px`;
  menu.querySelector("button:not(:disabled)")?.focus();
}

/** A message that goes by itself; with an action it stays longer. */
export function toast(message, { action, label, danger, seconds = action ? 20 : 8 } = {}) {
  const element = h(
    "div",
    {
      class: `psa psa-toast${danger ? " psa-danger" : ""}`,
      role: danger ? "alert" : "status",
      popover: "manual",
    },
    h("span", {}, message),
  );
  const close = () => element.remove();
  if (action) {
    element.append(
      h(
        "button",
        {
          type: "button",
          class: "psa-button",
          onclick: () => {
            close();
            action();
          },
        },
        label,
      ),
    );
  }
  element.append(
    h(
      "button",
      { type: "button", class: "psa-icon-button", "aria-label": t("dialog.close"), onclick: close },
      icon("close"),
    ),
  );
  keepKeys(element);
  document.querySelector(".psa-toast")?.remove();
  show(element);
  setTimeout(close, seconds * 1000);
}

/** Put a message on top of everything; an open dialog makes all outside it inert. */
function show(message) {
  const open = [...document.querySelectorAll("dialog.psa-dialog")].at(-1);
  (open ?? document.body).append(message);
  message.showPopover();
}
