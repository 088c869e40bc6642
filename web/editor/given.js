// What PSA nodes give along their links: a stored preset, or an editor's.

import { isLinked, source, widgetValue } from "../graph.js";

export const EDITOR = "PSAPresetEditor";
export const LOADER = "PSAPresetLoader";

/** A stored preset that a node gives, or null. */
export function storedOf(node) {
  if (node?.comfyClass !== LOADER) return null;
  const family = widgetValue(node, "family");
  const preset = widgetValue(node, "preset");
  return family && preset ? { family, preset } : null;
}

/** The face of a node that is an editor, or null. */
export const editorOf = (node) => (node?.comfyClass === EDITOR ? (node.psaEditor ?? null) : null);

/** The form of "a preset in a request" for whatever PSA node gives it; null if unknown. */
export async function requestOf(node) {
  const stored = storedOf(node);
  if (stored) return { preset: stored };
  const editor = editorOf(node);
  if (!editor) return null;
  await editor.state.flush();
  return editor.state.answer?.config ? { config: editor.state.answer.config } : null;
}

/** Calls `listener` whenever the editor that is followed has an answer; one at a time. */
export class Follower {
  constructor(listener) {
    this.listener = listener;
    this.editor = null;
    this.stop = null;
  }

  follow(editor) {
    if (editor === this.editor) return;
    this.stop?.abort();
    this.editor = editor;
    this.stop = new AbortController();
    editor?.state.addEventListener("answer", this.listener, { signal: this.stop.signal });
  }
}

/** What is linked to an editor's input `base`. */
export class Base {
  /** `changed` is called when an editor that is linked there has another answer. */
  constructor(node, input, changed) {
    this.node = node;
    this.input = input;
    this.follower = new Follower(changed);
  }

  #source() {
    return isLinked(this.node, this.input) ? source(this.node, this.input) : null;
  }

  /** Whether the bases lead back here; each would wait for the other's answer for ever. */
  #circular() {
    const seen = new Set([this.node]);
    for (let node = this.#source(); editorOf(node); node = editorOf(node).base.#source()) {
      if (seen.has(node)) return true;
      seen.add(node);
    }
    return false;
  }

  /** A text that changes when something else is linked or chosen there. */
  signature() {
    const node = this.#source();
    return JSON.stringify([node?.id ?? null, storedOf(node), this.#circular()]);
  }

  /** {request, label, family}, or null without a link; `request` is null if it cannot be known. */
  async ask() {
    const node = this.#source();
    const editor = this.#circular() ? null : editorOf(node);
    this.follower.follow(editor);
    if (!isLinked(this.node, this.input)) return null;
    const stored = storedOf(node);
    if (stored) {
      return { request: stored, label: `${stored.family}/${stored.preset}`, family: stored.family };
    }
    const given = editor ? await requestOf(node) : null;
    return { request: given, label: node?.title ?? "", family: editor?.video?.now().family };
  }
}
