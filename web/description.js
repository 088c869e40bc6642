// The server's description of all fields, fetched once for all nodes.

import * as api from "./api.js";
import { locale } from "./i18n.js";

let asked = null;

/**
 * {groups, fields, levels, ...} of GET /psa/fields; `fresh`: a preset with every field at its
 * default; `range`: {low, high, step} of a pyramid level's boundary.
 */
export function description() {
  asked ??= Promise.all([api.getFields(locale()), api.validate({ config: {} })])
    .then(([answer, fresh]) => {
      const range = answer.fields.find((field) => field.kind === "mask_ratios");
      return { ...answer, fresh, range };
    })
    .catch((error) => {
      asked = null;
      throw error;
    });
  return asked;
}
