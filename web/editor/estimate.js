// What the preset does to a video of a chosen size: density, attention, a whole step.

import * as api from "../api.js";
import { h, setText } from "../dom.js";
import { basis, factsOf, percent, times } from "../figures.js";
import { t } from "../i18n.js";
import { library } from "../library.js";
import { numberInput, showNumber } from "./controls.js";

const PAUSE = 250; // ms between two questions while something is being dragged

const SIZES = ["width", "height", "frames"];

export class Estimate {
  /**
   * video   the Video that it is for
   */
  constructor({ state, video }) {
    this.state = state;
    this.video = video;
    this.answer = null;
    this.tiles = ["density", "attention", "step"].map((name) => {
      const value = h("strong", {});
      const note = h("small", {});
      return {
        name,
        value,
        note,
        element: h(
          "div",
          { class: "psa-tile", "data-tile": name },
          h("span", {}, t(`estimate.${name}`)),
          value,
          note,
        ),
      };
    });
    this.family = h("select", {
      class: "psa-input psa-select",
      "aria-label": t("estimate.family"),
      onchange: () => this.#chose({ family: this.family.value }),
    });
    this.inputs = SIZES.map((name) =>
      numberInput(
        { low: 1, step: name === "frames" ? 4 : 16 },
        { "aria-label": t(`estimate.${name}`), title: t(`estimate.${name}`) },
        (value, final) => {
          this.typing = final ? null : name;
          if (final) this.#chose({ [name]: value });
        },
      ),
    );
    for (const input of this.inputs) input.addEventListener("blur", () => (this.typing = null));
    this.from = h("button", {
      type: "button",
      class: "psa-link psa-estimate-from",
      onclick: () => {
        this.video.forgetSize();
        this.update();
      },
    });
    this.facts = h("p", { class: "psa-note" });
    this.problem = h("p", { class: "psa-note" });
    this.element = h(
      "div",
      { class: "psa-estimate", role: "group", "aria-label": t("estimate.title") },
      h(
        "div",
        { class: "psa-tiles" },
        this.tiles.map((tile) => tile.element),
      ),
      h(
        "div",
        { class: "psa-video" },
        h("span", {}, t("estimate.for")),
        this.family,
        h(
          "span",
          { class: "psa-video-size" },
          this.inputs[0],
          h("span", {}, "×"),
          this.inputs[1],
          h("span", {}, "px"),
          this.inputs[2],
          h("span", {}, t("estimate.framesShort")),
        ),
      ),
      this.from,
      this.facts,
      this.problem,
    );
  }

  #chose(part) {
    this.video.choose(part);
    this.update();
  }

  update() {
    const video = this.video.now();
    const families = library.known?.families.map((family) => family.name) ?? [];
    if (this.family.dataset.of !== families.join()) {
      this.family.dataset.of = families.join();
      this.family.replaceChildren(...families.map((name) => h("option", { value: name }, name)));
    }
    this.family.value = video.family ?? "";
    // an answer that comes meanwhile leaves a box alone in which the user is typing
    SIZES.forEach((name, i) => name !== this.typing && showNumber(this.inputs[i], video[name]));
    this.from.hidden = !video.from && !video.typed;
    setText(
      this.from,
      video.typed
        ? video.graph
          ? t("estimate.useGraph")
          : t("estimate.useUsual")
        : t("estimate.from", { node: video.from }),
    );
    this.from.disabled = !video.typed;
    const { shown, issues } = this.state;
    const { family, width, height, frames } = video;
    if (!shown || issues.length || !family) {
      this.wanted = this.next = null;
      return this.#show(null, issues.length ? t("estimate.invalid") : "");
    }
    const request = { config: shown.config, family, width, height, frames };
    const key = JSON.stringify(request);
    if (key === this.wanted) return;
    this.wanted = key;
    this.#ask(request);
  }

  /** One question at a time; the latest one that came meanwhile is next. */
  async #ask(request) {
    if (this.busy) {
      this.next = request;
      return;
    }
    this.busy = true;
    let answer = null;
    let problem = "";
    try {
      answer = await api.estimate(request);
    } catch (error) {
      problem = error.message;
    }
    // Meanwhile the preset may have changed, or have no estimate any more.
    if (this.wanted === JSON.stringify(request)) this.#show(answer, problem);
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    this.busy = false;
    const { next } = this;
    this.next = null;
    if (next) this.#ask(next);
  }

  #show(answer, problem) {
    this.answer = answer;
    const shown = answer
      ? [densityTile(answer), speedTile(answer.attention), stepTile(answer.step)]
      : this.tiles.map(() => ({ value: "–", note: "", title: "" }));
    this.tiles.forEach((tile, i) => {
      setText(tile.value, shown[i].value);
      setText(tile.note, shown[i].note);
      tile.element.title = shown[i].title ?? "";
    });
    const facts = answer ? factsOf(answer) : [];
    this.facts.replaceChildren(
      ...facts.map(([fact, from]) => h("span", { class: "psa-fact", title: from }, fact)),
    );
    setText(this.problem, problem);
  }
}

function densityTile({ density, tokens }) {
  const notes = {
    exact: t("estimate.exact"),
    extrapolated: t("estimate.textLeftOut"),
    dense: t("estimate.dense"),
    profile: t("estimate.profile", { low: percent(density.low), high: percent(density.high) }),
  };
  return {
    value: `${["profile", "extrapolated"].includes(density.kind) ? "≈ " : ""}${percent(density.value)}`,
    note: notes[density.kind] ?? "",
    title: [density.note, t("estimate.tokens", { tokens: tokens.total.toLocaleString() })]
      .filter(Boolean)
      .join("\n"),
  };
}

const WORDS = { faster: "estimate.faster", even: "estimate.even", slower: "estimate.slower" };

function speedTile(found) {
  if (found.speedup == null) return { value: "–", note: t("estimate.unknown"), title: found.reason };
  // a dense preset has no verdict
  const note = t(WORDS[found.verdict] ?? "estimate.dense");
  return { value: times(found), note, title: basis(found) };
}

/** Without a time there is still how much less there is to compute. */
function stepTile(step) {
  if (step.speedup != null || step.less_work.value == null) return speedTile(step);
  return {
    value: times({ ...step.less_work, speedup: step.less_work.value }),
    note: t("estimate.lessWork"),
    title: [step.reason, basis(step.less_work)].join("\n"),
  };
}
