// Figures of POST /psa/estimate as people read them. Each says what it rests on.

import { t } from "./i18n.js";

export const percent = (x) => `${Number((x * 100).toPrecision(3))}%`;
const rounded = (x) => `${Number((x * 100).toPrecision(2))}%`;

const ABOUT = new Set(["extrapolated", "arithmetic"]);

/** "2.1×", with ≈ before a figure that is an estimate. */
export const times = ({ speedup, kind }) =>
  `${ABOUT.has(kind) ? "≈ " : ""}${Number(speedup.toPrecision(2))}×`;

/** Where a figure is from: its note and its measurement. */
export const basis = ({ reason, note, measured }) =>
  [reason, note, measured ? t("estimate.source", measured) : ""].filter(Boolean).join("\n");

/** [[text, basis], ...] of what is known of a step beside its gain. */
export function factsOf(answer) {
  const { step, break_even: even, tokens, offer } = answer;
  const offered = offer && [t("estimate.offer", { offer }), step.reason];
  return [share(step), seconds(step), breakEven(even, tokens), offered].filter(Boolean);
}

/** Attention's part of a dense step, in time if that is known. */
function share({ time_share: time, flops_share: counted }) {
  if (time.value != null) return [t("estimate.share", { share: rounded(time.value) }), basis(time)];
  if (counted.value == null) return null;
  return [t("estimate.shareCounted", { share: rounded(counted.value) }), basis(counted)];
}

/** A step's time. */
function seconds({ dense_s: dense, sparse_s: sparse }) {
  if (sparse.value == null) return null;
  const [inDense, inSparse] = [dense, sparse].map(({ value }) => Number(value.toPrecision(2)));
  return [t("estimate.seconds", { dense: inDense, sparse: inSparse }), basis(sparse)];
}

/** The length from which PSA is faster. */
function breakEven(found, tokens) {
  if (found.tokens == null) return null;
  const values = { tokens: found.tokens.toLocaleString(), here: tokens.total.toLocaleString() };
  return [t("estimate.breakEven", values), basis(found)];
}
