// Storing what a node holds, and loading something else into it, without losing anything silently.

import * as api from "../api.js";
import { ask, toast } from "../dialog.js";
import { t } from "../i18n.js";
import { library } from "../library.js";
import { at, same } from "./paths.js";

/** Where two presets differ: [{path, from, to}], in the order of the fields. */
function differences(fields, from, to) {
  return fields
    .map(({ path }) => ({ path, from: at(from, path), to: at(to, path) }))
    .filter((difference) => !same(difference.from, difference.to));
}

const listed = (list) =>
  list.map(({ path, from, to }) => `${path}: ${shown(from)} → ${shown(to)}`).join("\n");
const shown = (value) => (value === undefined ? "–" : JSON.stringify(value).replaceAll('"', ""));

export class Saving {
  constructor({ state, identity, fields, family, load }) {
    this.state = state;
    this.identity = identity;
    this.fields = fields;
    this.family = family; // () => the family that a new preset most likely belongs to
    this.load = load; // (stored) => put a stored preset into the node
  }

  /** Store under the name that it has; a shipped or nameless one asks for a name. */
  async save() {
    const { state, identity } = this;
    if (!(await this.#ready())) return false;
    if (!identity.named || identity.isShipped || identity.missing) return this.saveAs();
    const { family, preset, version } = identity.named;
    try {
      return await this.#store(family, preset, version);
    } catch (error) {
      if (error.kind === "conflict") return this.#conflict(family, preset, error.current);
      toast(error.message, { danger: true });
      return false;
    }
  }

  async saveAs() {
    if (!(await this.#ready())) return false;
    await library.listing();
    const { named } = this.identity;
    const families = library.known.families.map((family) => family.name);
    let saved = false;
    const answer = await ask({
      title: t("save.asTitle"),
      fields: [
        {
          name: "family",
          label: t("save.family"),
          value: named?.family ?? this.family() ?? families[0],
          options: families,
        },
        {
          name: "preset",
          label: t("save.name"),
          value: named ? freeName(named.family, named.preset) : "",
        },
      ],
      choices: [{ id: "save", label: t("save.save"), primary: true }],
      check: async (_choice, { family, preset }) => {
        try {
          saved = await this.#store(family, preset, "absent");
        } catch (error) {
          if (error.kind !== "conflict" || !error.current) throw error;
          const over = await ask({
            title: t("save.overwriteTitle", { name: preset }),
            message: t("save.overwrite", {
              changes: listed(
                differences(this.fields, error.current.config, this.state.answer.config),
              ),
            }),
            choices: [
              { id: "over", label: t("save.overwriteButton"), primary: true, danger: true },
            ],
          });
          if (!over) return t("save.taken", { name: preset });
          saved = await this.#store(family, preset, error.current.version);
        }
        return null;
      },
    });
    return Boolean(answer && saved);
  }

  /** Load a stored preset, after asking about changes that are stored nowhere. */
  async replaceWith(stored) {
    if (!(await this.mayReplace())) return false;
    const { named } = this.identity;
    const back = this.#wayBack();
    await this.load(stored);
    toast(t("load.done", { name: `${stored.family}/${stored.preset}` }), {
      label: t("load.undo"),
      action: async () => {
        this.identity.named = named;
        await back();
        await this.identity.look();
      },
    });
    return true;
  }

  /** Whether what the node holds may be replaced. */
  async mayReplace() {
    const { identity } = this;
    await this.state.flush();
    if (!identity.edited) return true;
    const name = identity.named
      ? `${identity.named.family}/${identity.named.preset}`
      : t("source.none");
    const answer = await ask({
      title: t("unsaved.title"),
      message: t("unsaved.message", { name }),
      choices: [
        { id: "replace", label: t("unsaved.replace"), danger: true },
        { id: "save", label: t("unsaved.save"), primary: true },
      ],
    });
    if (!answer) return false;
    return answer.choice === "replace" || this.save();
  }

  /** Back to what is stored under the name that the settings came from. */
  async reset() {
    const { identity } = this;
    await this.state.flush();
    await identity.look();
    if (!identity.stored) return;
    const back = this.#wayBack();
    const { named } = identity;
    await this.load(identity.stored);
    toast(t("reset.done", { name: `${named.family}/${named.preset}` }), {
      label: t("load.undo"),
      action: async () => {
        identity.named = named;
        await back();
      },
    });
  }

  /** Brings back what the node holds now, and text that it cannot hold. */
  #wayBack() {
    const { state } = this;
    const [node, text] = [state.read(), state.text?.yaml];
    return async () => {
      await state.load(node);
      if (text !== undefined) state.type(text);
    };
  }

  async #ready() {
    await this.state.flush();
    if (!this.state.broken && !this.state.unheld && this.state.answer) return true;
    toast(t("save.broken"), { danger: true });
    return false;
  }

  async #store(family, preset, expected) {
    const stored = await api.savePreset(
      family,
      preset,
      { config: this.state.answer.config },
      expected,
    );
    this.identity.adopt(stored);
    await library.refresh();
    const notes = stored.notes.map((note) => note.message);
    toast([t("save.done", { name: `${family}/${preset}` }), ...notes].join("\n"));
    return true;
  }

  async #conflict(family, preset, current) {
    const changes = current
      ? listed(differences(this.fields, current.config, this.state.answer.config))
      : t("conflict.deleted");
    const choices = [{ id: "as", label: t("save.as") }];
    if (current) choices.push({ id: "load", label: t("conflict.load") });
    choices.push({ id: "over", label: t("save.overwriteButton"), primary: true, danger: true });
    const answer = await ask({
      title: t("conflict.title", { name: `${family}/${preset}` }),
      message: t("conflict.message", { changes }),
      choices,
    });
    if (answer?.choice === "as") return this.saveAs();
    if (answer?.choice === "load") await this.load(current);
    if (answer?.choice === "over") {
      try {
        return await this.#store(family, preset, current ? current.version : "absent");
      } catch (error) {
        if (error.kind === "conflict") return this.#conflict(family, preset, error.current);
        toast(error.message, { danger: true });
      }
    }
    return false;
  }
}

/** A name like `name` that the family does not have yet. */
function freeName(family, name) {
  const taken = new Set(library.family(family)?.presets.map((preset) => preset.name.toLowerCase()));
  for (let i = 1; ; i++) {
    const candidate = i === 1 ? `${name} mine` : `${name} mine ${i}`;
    if (!taken.has(candidate.toLowerCase())) return candidate;
  }
}
