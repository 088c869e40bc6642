// Elements in one call, and the few icons that the editor draws itself.

/** h("button", {class: "a", onclick: f, "aria-label": "x"}, "text", child, ...) */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

function setAttribute(element, name, value) {
  if (value == null || value === false) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "class") element.className = value;
  else if (name in element && typeof value !== "string") element[name] = value;
  else element.setAttribute(name, value === true ? "" : value);
}

/** Write only what differs: an unchanged attribute costs no style recalculation. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttr(element, name, value) {
  if (value == null || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/**
 * Give `parent` these children. Those that it has already are not touched where they need not move:
 * an element that is taken out and put back loses the keyboard, and a click that has begun on it.
 */
export function setChildren(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.childNodes]) if (!wanted.has(child)) child.remove();
  children.forEach((child, index) => {
    const there = parent.childNodes[index] ?? null;
    if (there !== child) parent.insertBefore(child, there);
  });
}

const PATHS = {
  chevron: "M4 6l4 4 4-4",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  expand: "M9.5 2.5h4v4M13.5 2.5l-5 5M6.5 13.5h-4v-4M2.5 13.5l5-5",
  close: "M3.5 3.5l9 9M12.5 3.5l-9 9",
  search: "M7 12a5 5 0 1 0 0-10 5 5 0 0 0 0 10zM14 14l-3.5-3.5",
  check: "M3 8.5l3.5 3.5L13 4.5",
  warning: "M8 2l6.5 11.5h-13zM8 6.5v3M8 11.6h.01",
  info: "M8 14.5a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13zM8 7.5v3.7M8 5h.01",
  copy: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
  download: "M8 2v8M4.5 6.8L8 10.3l3.5-3.5M2.5 13.5h11",
  upload: "M8 10.5v-8M4.5 5.8L8 2.3l3.5 3.5M2.5 13.5h11",
  trash: "M2.5 4.5h11M6 4V2.5h4V4M4 4.5l.7 9h6.6l.7-9",
  pencil: "M2.5 13.5l.8-3.2 7.4-7.4 2.4 2.4-7.4 7.4z",
  lock: "M4 7.5h8v6H4zM5.5 7.5v-2a2.5 2.5 0 0 1 5 0v2",
  undo: "M5.5 3L2.5 6l3 3M2.8 6H9a4 4 0 0 1 0 8H6",
  plus: "M8 3v10M3 8h10",
  link: "M6.8 9.2a2.8 2.8 0 0 0 4 0l2-2a2.8 2.8 0 0 0-4-4l-.8.8M9.2 6.8a2.8 2.8 0 0 0-4 0l-2 2a2.8 2.8 0 0 0 4 4l.8-.8",
};

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function icon(name) {
  return svg(
    "svg",
    { viewBox: "0 0 16 16", class: `psa-icon psa-icon-${name}`, "aria-hidden": "true" },
    svg("path", { d: PATHS[name] }),
  );
}

let counter = 0;

/** An id that no other element of the page has. */
export function uniqueId(prefix) {
  counter += 1;
  return `psa-${prefix}-${counter}`;
}
