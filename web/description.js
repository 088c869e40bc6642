// The server's description of all fields, fetched once for all nodes.

import * as api from "./api.js";
import { locale } from "./i18n.js";

let asked = null;

/** {groups, fields, levels, ...} of GET /psa/fields, and `fresh`: a preset with every field at its default. */
export function description() {
  asked ??= Promise.all([api.getFields(locale()), api.validate({ config: {} })])
    .then(([fields, fresh]) => ({ ...fields, fresh }))
    .catch((error) => {
      asked = null;
      throw error;
    });
  return asked;
}
