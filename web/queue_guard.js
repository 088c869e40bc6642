// A preset that breaks rules does not get into the queue: the page answers as the server would.

import * as server from "./api.js";
import { EDITOR, LOADER } from "./editor/editor_node.js";
import { t } from "./i18n.js";

const isLink = (value) => Array.isArray(value) && value.length === 2;

/** The problems of all editor nodes of a prompt: {node id: [{message, input}]}. */
export async function problemsOf(prompt, editorOf = () => null) {
  const found = {};
  for (const [id, { class_type }] of Object.entries(prompt)) {
    if (class_type !== EDITOR) continue;
    const unheld = editorOf(id)?.state;
    if (unheld) await unheld.flush();
    const issues = unheld?.text ? unheld.issues : ((await answerFor(prompt[id], prompt))?.issues ?? []);
    if (issues.length) {
      found[id] = issues.map((issue) => ({ message: issue.message, input: issue.field ?? issue.path, path: issue.path }));
    }
  }
  return found;
}

/** What the server says of an editor node of a prompt; null where that is known only in the run. */
async function answerFor({ inputs }, prompt) {
  const { base, yaml_overrides = "", ...rest } = inputs;
  const from = base ? await baseOf(prompt[base[0]], prompt) : null;
  // What comes through links is checked by Python, when the graph runs.
  if ((base && !from) || isLink(yaml_overrides)) return null;
  const widgets = Object.fromEntries(Object.entries(rest).filter(([, value]) => !isLink(value)));
  return server.validate({ widgets, yaml_overrides, base: from });
}

async function baseOf(node, prompt) {
  if (node?.class_type === LOADER) {
    const { family, preset } = node.inputs;
    return isLink(family) || isLink(preset) ? null : { family, preset };
  }
  if (node?.class_type !== EDITOR) return null;
  const answer = await answerFor(node, prompt);
  return answer?.ok ? { config: answer.config } : null;
}

/** ComfyUI's own form of a refused prompt, so that the page shows it and marks the nodes as ever. */
export function refusal(problems) {
  const lines = Object.values(problems).flat().map(({ message }) => message);
  const node_errors = Object.fromEntries(
    Object.entries(problems).map(([id, list]) => [
      id,
      {
        class_type: EDITOR, dependent_outputs: [],
        errors: list.map(({ message, input }) => ({
          type: "custom_validation_failed", message: t("queue.invalid"), details: message,
          extra_info: { input_name: input },
        })),
      },
    ]),
  );
  return { error: { type: "prompt_outputs_failed_validation", message: t("queue.refused"), details: lines.join("\n"), extra_info: {} }, node_errors };
}

/** Look at every prompt on its way to the server. */
export function guardQueue(api, editorOf) {
  const fetchApi = api.fetchApi;
  api.fetchApi = async function (route, options) {
    if (route !== "/prompt" || options?.method !== "POST") return fetchApi.call(this, route, options);
    let problems = {};
    try {
      problems = await problemsOf(JSON.parse(options.body).prompt ?? {}, editorOf);
    } catch (error) {
      console.warn("PSA: presets could not be checked before queueing; they are when the graph runs", error);
    }
    if (!Object.keys(problems).length) return fetchApi.call(this, route, options);
    return new Response(JSON.stringify(refusal(problems)), { status: 400, headers: { "Content-Type": "application/json" } });
  };
}
