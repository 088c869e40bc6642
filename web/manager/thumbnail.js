// A preset's pyramid as a small picture.

import { miniBar } from "../editor/pyramid_bar.js";
import { boundsOf, levelNames } from "../editor/pyramid_section.js";

/** Of a stored preset; null for one that has no pyramid. `range`: {low, high} of a boundary. */
export function thumbnail({ config, pyramid }, range) {
  if (config.type !== "psa" || !pyramid) return null;
  const levels = pyramid.map(({ level }) => ({ level, label: "" }));
  return miniBar(levelNames(levels, pyramid), boundsOf(pyramid), range);
}
