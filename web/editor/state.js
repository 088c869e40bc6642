// What one editor node holds, and what the server says of it.
//
// The node's ordinary widgets are the truth. An edit is a change of a field path; the server says
// which widget values it means, whether it fits, and how the preset reads as YAML. Until it has
// answered, the change is `pending` and shown as it was typed. Answers come in the order of the
// questions: a new question ends the one before, and carries its changes along.

import * as api from "../api.js";
import { at, merged, same, within } from "./paths.js";

const TYPING = 150; // ms without a further change before the server is asked
const PATIENCE = 400; // ms after which it is asked during a drag too

export class EditorState extends EventTarget {
  /**
   * read()        {widgets, yaml_overrides} as the node has them
   * write(node, settled)   put such values into the node; `settled` is false during a drag or a word
   * base()        a promise of what is linked to the node's base: {request, label} or null
   * keepText(yaml or null)  typed text that the node's values cannot hold, to be kept with the node
   */
  constructor({ read, write, base, keepText }) {
    super();
    this.read = read;
    this.write = write;
    this.base = base;
    this.keepText = keepText;
    this.answer = null; // the last answer of POST /psa/validate
    this.pending = new Map(); // path -> value
    this.text = null; // {yaml, answer}: YAML being typed that the node cannot hold yet
    this.taken = null; // typed text that the node holds since the last answer
    this.failure = null; // why the server could not be asked
    this.linked = null; // the base, as `base()` gave it
    this.settled = true; // whether the last change was a whole one
    this.#seen = "";
  }

  #seen;
  #asked = 0;
  #timer = null;
  #since = 0; // when the first change came that the server has not been asked about
  #running = null;
  #abort = null;

  /** The value to show for a path. */
  value(path) {
    for (const [changed, value] of this.pending) {
      if (within(path, changed))
        return path === changed ? value : at(value, path.slice(changed.length + 1));
    }
    return at(this.shown?.config, path);
  }

  /** The answer that the views show: of the typed text as far as it can be read. */
  get shown() {
    return this.text?.answer?.config ? this.text.answer : this.answer;
  }

  get issues() {
    return (this.text ? this.text.answer : this.answer)?.issues ?? [];
  }

  /** Whether there is something that must be fixed before the preset can be used. */
  get broken() {
    return this.issues.length > 0;
  }

  /** Whether what is seen is more than what the node holds. */
  get unheld() {
    return this.pending.size > 0 || this.text !== null;
  }

  /** Edit: `changes` maps paths to values; `final` asks the server at once. */
  change(changes, final = true) {
    // Text that cannot be read at all has nothing that a change could be put into.
    if (this.text && !this.text.answer?.config) this.#keep(null);
    this.pending = merged(this.pending, changes);
    this.#tell("edit");
    this.#schedule(final);
  }

  /** The whole preset as typed text; it reaches the node as soon as the node can hold it. */
  type(yaml) {
    this.pending = new Map();
    this.#keep({ yaml, answer: this.text?.answer ?? null });
    this.#schedule(false);
  }

  /** Drop typed text that the node cannot hold. */
  dropText() {
    this.#keep(null);
    this.pending = new Map();
    this.#tell("edit");
    this.#schedule(true);
  }

  /** Put a stored preset's `node` values into the node. */
  load(node) {
    this.pending = new Map();
    this.#keep(null);
    this.write(node, true);
    return this.refresh();
  }

  /** Ask again if the node's widgets or its base are not what was asked about. */
  look() {
    if (this.#signature() !== this.#seen && !this.#timer) this.#schedule(true);
  }

  refresh() {
    this.#schedule(true);
    return this.flush();
  }

  /** Wait until everything typed so far has its answer. */
  async flush() {
    if (this.#timer) {
      clearTimeout(this.#timer);
      this.#timer = null;
      this.#running = this.#ask();
    }
    let awaited;
    do {
      awaited = this.#running;
      await awaited;
    } while (awaited !== this.#running); // a newer question ended it, and carries its changes along
  }

  /** Nothing more is asked, and an answer on its way is dropped. */
  close() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#asked += 1;
    this.#abort?.abort();
  }

  #schedule(now) {
    this.settled = now;
    const time = performance.now();
    if (!this.#timer) this.#since = time;
    clearTimeout(this.#timer);
    // Never at once: several changes in a row are one question.
    const wait = now ? 0 : Math.max(0, Math.min(TYPING, this.#since + PATIENCE - time));
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#running = this.#ask();
    }, wait);
  }

  #signature() {
    return JSON.stringify(this.read());
  }

  async #ask() {
    const number = ++this.#asked;
    this.#abort?.abort();
    this.#abort = new AbortController();
    this.#seen = this.#signature();
    const sent = this.pending;
    const text = this.text;
    try {
      this.linked = await this.base();
      const preset = text ? { yaml: text.yaml } : this.read();
      const request = { ...preset, base: this.linked?.request ?? null };
      if (sent.size) request.changes = Object.fromEntries(sent);
      const answer = await api.validate(request, this.#abort.signal);
      if (number !== this.#asked) return;
      this.failure = null;
      if (text) this.#takeText(text, sent, answer);
      else this.#take(sent, answer);
    } catch (error) {
      if (number !== this.#asked || error.name === "AbortError") return;
      this.failure = error;
    }
    this.#tell("answer");
  }

  #take(sent, answer) {
    this.answer = answer;
    this.taken = null;
    if (!answer.node) return; // the node cannot hold it: it stays pending, shown with its issues
    this.pending = new Map(
      [...this.pending].filter(([path, value]) => !same(sent.get(path), value)),
    );
    if (sent.size) this.#put(answer.node);
  }

  #takeText(text, sent, answer) {
    if (this.text !== text) return; // typed on, or dropped: the next answer is about that
    this.pending = new Map(
      [...this.pending].filter(([path, value]) => !same(sent.get(path), value)),
    );
    if (answer.node) {
      this.#keep(null);
      this.answer = answer;
      this.taken = sent.size ? null : text.yaml;
      this.#put(answer.node);
    } else this.#keep({ yaml: sent.size && answer.yaml ? answer.yaml : text.yaml, answer });
  }

  #keep(text) {
    this.text = text;
    this.keepText(text?.yaml ?? null);
  }

  #put(node) {
    this.write(node, this.settled);
    this.#seen = this.#signature();
  }

  #tell(type) {
    this.dispatchEvent(new Event(type));
  }
}
