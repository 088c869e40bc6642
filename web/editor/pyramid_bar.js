// The pyramid as one stacked bar with a knob at the end of every level but the last.

import { h, setAttr, setText, svg } from "../dom.js";
import { t } from "../i18n.js";
import { clamp, keyed, meant, pushed, rest, spread } from "./pyramid_geometry.js";

const KNOB = 26; // px between neighbouring knobs: a finger's minimum
const LEADER = 12; // px between the bar and the knobs
const NARROW = 30; // px below which a level shows no name

export const percent = (x, digits = 1) => `${Number((x * 100).toFixed(digits))}%`;

/** The same bar without knobs, for lists. `bounds`: the upper ends of all levels but the last. */
export function miniBar(levels, bounds, { low, high }) {
  const edges = [low, ...bounds, high].map((x) => (x - low) / (high - low));
  const parts = levels.map(({ level, tail }, i) =>
    h("span", {
      class: "psa-mini-part",
      "data-level": level,
      "data-tail": tail ? "" : null,
      style: `flex-grow:${clamp(edges[i + 1] - edges[i], 0, 1)}`,
    }),
  );
  return h("span", { class: "psa-mini", "aria-hidden": "true" }, parts);
}

export class PyramidBar {
  /**
   * levels    [{level, name, title, tail}] in reading order
   * range     {low, high, step} of a boundary
   * onChange  (bounds, final): `final` is false while a drag goes on
   */
  constructor({ levels, range, onChange }) {
    this.levels = levels;
    this.range = range;
    this.onChange = onChange;
    this.bounds = levels.slice(1).map(() => range.low);
    this.disabled = false;
    this.width = 0;
    this.#build();
    this.observer = new ResizeObserver(() => {
      // offsetWidth is in the node's own pixels, whatever the canvas' zoom
      this.width = this.track.offsetWidth;
      this.#place();
    });
    this.observer.observe(this.track);
  }

  close() {
    this.observer.disconnect();
  }

  #build() {
    this.segments = this.levels.map(({ level }) =>
      h(
        "div",
        { class: "psa-segment", "data-level": level },
        h("span", { class: "psa-segment-name" }),
      ),
    );
    this.track = h("div", { class: "psa-bar-track" }, this.segments);
    this.track.addEventListener("pointerdown", (event) => this.#grabTrack(event));
    this.lines = this.bounds.map(() => svg("polyline", { class: "psa-leader" }));
    this.leaders = svg(
      "svg",
      { class: "psa-leaders", height: LEADER, "aria-hidden": "true" },
      ...this.lines,
    );
    this.knobs = this.bounds.map((_, i) => this.#knob(i));
    const { low, high } = this.range;
    const ticks = [0, 0.25, 0.5, 0.75, 1].map((x) =>
      h("span", { class: "psa-tick", style: `left:${x * 100}%` }, percent(low + x * (high - low))),
    );
    this.element = h(
      "div",
      { class: "psa-bar" },
      h("div", { class: "psa-ticks", "aria-hidden": "true" }, ticks),
      this.track,
      h("div", { class: "psa-knobs" }, this.leaders, this.knobs),
    );
  }

  #knob(i) {
    const knob = h(
      "div",
      {
        class: "psa-knob",
        role: "slider",
        tabindex: "0",
        "aria-orientation": "horizontal",
        "data-level": this.levels[i].level,
      },
      h("span", {}, this.levels[i].short),
    );
    knob.addEventListener("pointerdown", (event) => this.#grab(event, knob, () => i));
    knob.addEventListener("keydown", (event) => {
      if (this.disabled || event.ctrlKey || event.metaKey) return;
      const value = keyed(event.key, event.shiftKey, this.bounds[i], this.range);
      if (value == null) return;
      event.preventDefault();
      event.stopPropagation();
      this.#change(pushed(this.bounds, i, value), true);
    });
    return knob;
  }

  #grabTrack(event) {
    if (this.disabled || event.button) return;
    const box = this.track.getBoundingClientRect();
    const { low, high } = this.range;
    const at = low + ((event.clientX - box.left) / box.width) * (high - low);
    this.#grab(event, this.track, (direction) => meant(this.bounds, at, direction));
  }

  /** Follow a pointer until it is let go; `which` tells the boundary once the direction is known. */
  #grab(event, target, which) {
    if (this.disabled || event.button) return;
    event.preventDefault();
    event.stopPropagation();
    target.setPointerCapture(event.pointerId);
    const { low, high } = this.range;
    const perPixel = (high - low) / this.track.getBoundingClientRect().width;
    const from = event.clientX;
    const before = this.bounds;
    let index = null;
    const move = (e) => {
      e.stopPropagation();
      const moved = e.clientX - from;
      if (index == null) {
        if (Math.abs(moved) < 2) return;
        index = which(moved);
        this.knobs[index].focus({ preventScroll: true });
        this.element.classList.add("psa-dragging");
      }
      const value = rest(before[index] + moved * perPixel, this.range, perPixel, e.altKey);
      // Pushed from where the drag began: going back brings the others back.
      this.#change(pushed(before, index, value), false);
    };
    const end = (e) => {
      e.stopPropagation();
      target.removeEventListener("pointermove", move);
      target.removeEventListener("pointerup", end);
      target.removeEventListener("pointercancel", cancel);
      this.element.classList.remove("psa-dragging");
      if (index != null) this.#change(this.bounds, true);
      else which(0) != null && this.knobs[which(0)].focus({ preventScroll: true });
    };
    const cancel = (e) => {
      if (index != null) this.#change(before, false);
      end(e);
    };
    target.addEventListener("pointermove", move);
    target.addEventListener("pointerup", end);
    target.addEventListener("pointercancel", cancel);
  }

  #change(bounds, final) {
    const same = bounds.every((bound, i) => bound === this.bounds[i]);
    if (same && !final) return;
    this.bounds = bounds;
    this.#draw();
    this.onChange(bounds, final);
  }

  /** Show other values or other words; nothing is reported back. */
  update({ bounds, levels, disabled }) {
    this.levels = levels;
    this.bounds = bounds;
    this.disabled = disabled;
    this.element.classList.toggle("psa-disabled", disabled);
    this.#draw();
  }

  #draw() {
    const { low, high } = this.range;
    const share = (x) => clamp((x - low) / (high - low), 0, 1);
    const edges = [0, ...this.bounds.map(share), 1];
    this.edges = edges;
    this.segments.forEach((segment, i) => {
      const { name, title, tail } = this.levels[i];
      const width = Math.max(0, edges[i + 1] - edges[i]);
      segment.style.left = `${edges[i] * 100}%`;
      segment.style.width = `${width * 100}%`;
      setAttr(segment, "data-tail", tail ? "" : null);
      setAttr(segment, "title", `${title}: ${percent(width, 2)}`);
      setText(segment.firstChild, name);
    });
    this.knobs.forEach((knob, i) => {
      const { title, short } = this.levels[i];
      const start = i ? this.bounds[i - 1] : low;
      setText(knob.firstChild, short);
      setAttr(knob, "aria-valuemin", low);
      setAttr(knob, "aria-valuemax", high);
      setAttr(knob, "aria-valuenow", this.bounds[i]);
      setAttr(knob, "aria-disabled", this.disabled ? "true" : null);
      setAttr(knob, "aria-label", t("bar.knob", { level: title }));
      const said = {
        end: percent(this.bounds[i], 2),
        width: percent(Math.max(0, this.bounds[i] - start), 2),
      };
      setAttr(knob, "aria-valuetext", t("bar.value", said));
      setAttr(knob, "title", `${t("bar.knob", { level: title })}: ${said.end}`);
    });
    this.#place();
  }

  /** Everything that is in pixels; uses the width last observed and reads no layout. */
  #place() {
    if (!this.width || !this.edges) return;
    const wanted = this.edges.slice(1, -1).map((x) => x * this.width);
    const places = spread(wanted, KNOB, this.width);
    this.knobs.forEach((knob, i) => {
      knob.style.transform = `translateX(${(places[i] - KNOB / 2).toFixed(1)}px)`;
      this.lines[i].setAttribute(
        "points",
        `${wanted[i].toFixed(1)},0 ${wanted[i].toFixed(1)},3 ${places[i].toFixed(1)},${LEADER}`,
      );
    });
    this.segments.forEach((segment, i) => {
      const width = (this.edges[i + 1] - this.edges[i]) * this.width;
      segment.classList.toggle("psa-narrow", width < NARROW);
    });
  }
}
