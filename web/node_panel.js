// A panel of ours in a node: mounted, kept as high as its content, in either renderer.

import { h } from "./dom.js";

const MARGIN = 8; // px around a DOM widget in the canvas renderer
const HIDDEN = Symbol("what a hidden widget had before");

/** Show or hide the node's ordinary widgets; their values stay and travel as ever. */
export function hideWidgets(node, widgets, hide) {
  const others = widgets.filter((widget) => hide !== HIDDEN in widget);
  if (!others.length) return;
  for (const widget of others) {
    if (hide) {
      widget[HIDDEN] = { computeSize: Object.getOwnPropertyDescriptor(widget, "computeSize") };
      widget.computeSize = () => [0, -4]; // the canvas renderer of 1.32 leaves room otherwise
    } else {
      const { computeSize } = widget[HIDDEN];
      delete widget.computeSize;
      if (computeSize) Object.defineProperty(widget, "computeSize", computeSize);
      delete widget[HIDDEN];
    }
    widget.hidden = hide;
    widget.options.hidden = hide;
  }
  // The Vue renderer reads which widgets show when a node is added, and only then.
  if (window.LiteGraph?.vueNodesMode && node.graph) node.graph.onNodeAdded?.(node);
}

/**
 * Put `content` into `node` as a widget that is saved nowhere. Answers {fit}, which makes the
 * node as high as the content, and {root}.
 */
export function mountPanel(node, name, content, { minWidth }) {
  const inner = h("div", { class: "psa-panel" }, content);
  const root = h("div", { class: "psa psa-root" }, inner);
  let height = 60;
  const widget = node.addDOMWidget(name, name, root, {
    hideOnZoom: false,
    // the page's side panel would show an empty row, and leave the widget as wide as itself
    hideInPanel: true,
    serialize: false,
    margin: MARGIN,
    getMinHeight: () => height + 2 * MARGIN,
    getMaxHeight: () => height + 2 * MARGIN,
    getValue: () => "",
    setValue: () => {},
  });
  widget.serialize = false;
  keepPlainKeys(root);
  root.addEventListener("wheel", (event) => forwardWheel(event, root), { passive: false });

  const fit = () => {
    node.setSize([Math.max(node.size[0], minWidth), node.computeSize()[1]]);
    if (window.LiteGraph?.vueNodesMode) requestAnimationFrame(() => takeDrawnHeight(node, root));
    node.graph?.setDirtyCanvas(true, true);
  };
  const observer = new ResizeObserver(() => {
    const now = Math.ceil(inner.offsetHeight);
    if (!now || now === height) return;
    height = now;
    fit();
  });
  observer.observe(inner);
  const removed = node.onRemoved;
  node.onRemoved = function () {
    observer.disconnect();
    return removed?.apply(this, arguments);
  };
  fit();
  return { root, fit };
}

/**
 * The Vue renderer draws a node no smaller than its content, whatever height the node has, and
 * tells the node of that only when what it draws changes.
 */
function takeDrawnHeight(node, root) {
  const drawn = root.closest("[data-node-id]")?.offsetHeight;
  const height = drawn - window.LiteGraph.NODE_TITLE_HEIGHT;
  if (height > node.size[1]) node.setSize([node.size[0], height]);
}

/** Keys without Ctrl or Cmd are for the panel; "Delete" in a field must not delete the node. */
function keepPlainKeys(root) {
  root.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey) event.stopPropagation();
  });
  for (const type of ["copy", "cut", "paste"]) {
    root.addEventListener(type, (event) => {
      if (event.target.closest("input, textarea, select")) event.stopPropagation();
    });
  }
}

/** The wheel zooms the canvas, as anywhere on a node, unless something under it scrolls. */
function forwardWheel(event, root) {
  for (let at = event.target; at && at !== root; at = at.parentElement) {
    if (
      at.scrollHeight > at.clientHeight + 1 &&
      /auto|scroll/.test(getComputedStyle(at).overflowY) &&
      at.contains(document.activeElement)
    ) {
      event.stopPropagation();
      return;
    }
  }
  if (root.closest("[data-node-id]")) return; // the Vue renderer forwards it itself
  const canvas = window.app?.canvas;
  if (!canvas) return;
  event.preventDefault();
  canvas.canvas.dispatchEvent(new WheelEvent("wheel", event));
}
