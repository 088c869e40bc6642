// YAML that is being typed and cannot be applied yet is in no widget, so the server cannot refuse
// it: the page does, in the server's words and form. Everything else Python refuses itself.

import { EDITOR } from "./editor/given.js";
import { t } from "./i18n.js";

/** The issues of unapplied text, by the prompt's node ids: {id: [issue]}. */
function unapplied(prompt, editors) {
  const found = {};
  for (const { node, state } of editors) {
    if (!state.text) continue;
    // inside a subgraph the prompt has the ids of the nodes around it in front
    const id = Object.keys(prompt).find(
      (key) => prompt[key].class_type === EDITOR && key.split(":").at(-1) === String(node.id),
    );
    if (id) found[id] = state.issues;
  }
  return found;
}

/** ComfyUI's own form of a refused prompt, so that the page shows it and marks the nodes as ever. */
function refusal(found) {
  const lines = Object.values(found)
    .flat()
    .map(({ message }) => message);
  const node_errors = Object.fromEntries(
    Object.entries(found).map(([id, issues]) => [
      id,
      {
        class_type: EDITOR,
        dependent_outputs: [],
        errors: issues.map(({ message, path }) => ({
          type: "custom_validation_failed",
          message: t("queue.invalid"),
          details: message,
          extra_info: { input_name: path },
        })),
      },
    ]),
  );
  return {
    error: {
      type: "prompt_outputs_failed_validation",
      message: t("queue.refused"),
      details: lines.join("\n"),
      extra_info: {},
    },
    node_errors,
  };
}

/** Look at every prompt on its way to the server. `editors()`: all editor nodes of the page. */
export function guardQueue(api, editors) {
  const { fetchApi } = api;
  api.fetchApi = async function (route, options) {
    if (route === "/prompt" && options?.method === "POST") {
      const found = unapplied(JSON.parse(options.body).prompt ?? {}, editors());
      if (Object.keys(found).length) {
        return new Response(JSON.stringify(refusal(found)), {
          status: 400,
          headers: { "Content-Type": "application/json" },
        });
      }
    }
    return fetchApi.apply(this, arguments);
  };
}
