// A run from its first step to its last, each part as high as it is dense.

import { percent } from "./figures.js";
import { h } from "./dom.js";
import { t } from "./i18n.js";

/** A bar as high as `density`, null where that is not known; `more`: attributes. */
export function heightBar(density, dense, more = {}) {
  const kind = dense ? "psa-fill-dense" : density == null ? "psa-fill-unknown" : "";
  const fill = h("span", { class: `psa-fill ${kind}`, style: `--psa-density:${density ?? 1}` });
  return h("span", { class: "psa-height", ...more }, fill);
}

/** `run`: [{from, to, density}] in percent, as the server has it; null where all is alike. */
export function runStrip(run) {
  if (!run?.length) return null;
  const parts = run.map(({ from, to, density }) => {
    const said = density == null ? t("plan.densityUnknown") : percent(density);
    return heightBar(density, density === 1, {
      style: `flex-grow:${to - from}`,
      title: t("ranges.part", { from, to, density: said }),
    });
  });
  return h("span", { class: "psa-strip", role: "img", "aria-label": t("ranges.title") }, parts);
}
