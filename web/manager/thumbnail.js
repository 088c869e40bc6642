// A preset's pyramid as a small picture, and how its density changes over a run.

import { h } from "../dom.js";
import { runStrip } from "../run_strip.js";
import { miniBar } from "../editor/pyramid_bar.js";
import { boundsOf, levelNames } from "../editor/pyramid_section.js";

/** The picture of a stored preset; null for one without a pyramid. `range`: {low, high} of a boundary. */
export function thumbnail({ config, pyramid, step_ranges: ranges }, range) {
  if (config.type !== "psa" || !pyramid) return null;
  const levels = pyramid.map(({ level }) => ({ level, label: "" }));
  const levelBar = miniBar(levelNames(levels, pyramid), boundsOf(pyramid), range);
  const strip = runStrip(ranges?.run);
  return strip ? h("span", { class: "psa-thumbnail" }, levelBar, strip) : levelBar;
}
